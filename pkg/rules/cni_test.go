package rules

import (
	"bufio"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestNetworkSelections: Sixgate refuses the values that Multus refuses. tools/cni asks Multus itself about the same lines.
func TestNetworkSelections(t *testing.T) {
	f, err := os.Open("../../tools/cni/networks.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		verdict, quoted, _ := strings.Cut(s.Text(), " ")
		if verdict == "#" {
			continue
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			t.Fatalf("%s: %v", quoted, err)
		}
		if _, message := networkSelections(value); (message == "") != (verdict == "take") {
			t.Errorf("%s: the line says %s, the judge %q", quoted, verdict, message)
		}
	}
}

// FuzzAnnotations: no value makes a judge panic, and every message fits one warning.
func FuzzAnnotations(f *testing.F) {
	f.Add(`[{"name":"a","ips":["::1/64"],"default-route":[null]},null]`)
	f.Add("10.0.0.1,::1; ::2 ,x")
	f.Add(`{"ipv6":["a*"]}`)
	f.Fuzz(func(t *testing.T, value string) {
		for _, on := range []bool{false, true} {
			read := annotations{map[string]any{}, on}
			for _, key := range []string{
				calicoIPv6Pools, calicoIPAddrs, ciliumIPv6Pool, ciliumIPPool, antreaIPPools, antreaPodIPs, kubeOVNAddress, kubeOVNPool, kubeOVNFamily,
				spiderIPPoolKey, spiderIPPools, spiderNamespace6, spiderNamespace4, multusNetworks, multusDefault,
			} {
				read.values[key] = value
			}
			for _, c := range cnis {
				c.judge(read, func(key string, limit Level, message string) {
					at := Path{"spec", "jobTemplate", "spec", "template", "metadata", "annotations", key}
					line := Finding{Rule: podIPPoolValue(), Path: at, Message: quote(value) + " " + message}.String()
					if strings.Contains(line, "… [") || line != clean(line) {
						t.Errorf("%q", line)
					}
				})
			}
		}
	})
}

// TestExamplePolicies: there is a good policy for every CNI, and each of its entries writes something.
func TestExamplePolicies(t *testing.T) {
	for _, c := range cnis {
		data, err := os.ReadFile("../../examples/policies/" + c.name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		p, err := ReadPolicy(data)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if p.Cluster.CNI != c.name || len(p.Pools) == 0 {
			t.Errorf("%s: %+v", c.name, p)
		}
		for i := range p.Pools {
			write := c.pod
			if p.Pools[i].onNamespace() {
				write = c.namespace
			}
			if !slices.ContainsFunc(write(&p.Pools[i]), func(a addition) bool { return a.value != "" }) {
				t.Errorf("%s: entry %d writes nothing", c.name, i)
			}
		}
	}
}
