// Package cni has the parsers of network plugins judge what Sixgate writes and what it says of users' values. It is a module of
// its own: what these plugins need is not needed by anything else here.
package cni

import (
	"bufio"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/cilium/pkg/annotation"
	nadv1 "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/apis/k8s.cni.cncf.io/v1"
	nadutils "github.com/k8snetworkplumbingwg/network-attachment-definition-client/pkg/utils"
	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/k8snetworkplumbingwg/multus-cni.v4/pkg/k8sclient"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

const networks = "k8s.v1.cni.cncf.io/networks"

func multus(value string) ([]string, error) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Annotations: map[string]string{networks: value}}}
	found, err := k8sclient.GetPodNetwork(pod)
	var names []string
	for _, n := range found {
		names = append(names, n.Name)
	}
	return names, err
}

// TestNetworks: Multus says of every line of networks.txt what the line says. pkg/rules holds its own judge to the same lines.
func TestNetworks(t *testing.T) {
	f, err := os.Open("networks.txt")
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
		names, err := multus(value)
		got := "take"
		for _, n := range names {
			if n == "" {
				got = "unnamed"
			}
		}
		if err != nil {
			got = "refuse"
		}
		if got != verdict {
			t.Errorf("%s: Multus says %s (%v), the line %s", quoted, got, err, verdict)
		}
	}
}

// annotationsOf reads the annotations of one file of a case, wherever the kind has its pod.
func annotationsOf(t *testing.T, a *txtar.Archive, name string) map[string]string {
	t.Helper()
	type meta struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	var o struct {
		meta
		Spec struct{ Template meta } `json:"spec"`
	}
	for _, f := range a.Files {
		if f.Name == name {
			if err := yaml.Unmarshal(f.Data, &o); err != nil {
				t.Fatal(err)
			}
		}
	}
	if o.Spec.Template.Metadata.Annotations != nil {
		return o.Spec.Template.Metadata.Annotations
	}
	return o.Metadata.Annotations
}

// TestWritten: what pod-ip-pool writes for OVN-Kubernetes comes out of the parser that OVN-Kubernetes uses as it was meant, Multus
// takes it too, and the key for Cilium is Cilium's.
func TestWritten(t *testing.T) {
	selections, pools := 0, 0
	files, err := filepath.Glob("../../pkg/rules/testdata/pod-ip-pool/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range annotationsOf(t, a, "out.yaml") {
			switch {
			case key == "v1.multus-cni.io/default-network" && strings.HasPrefix(value, "["):
				selections++
				got, err := nadutils.ParseNetworkAnnotation(value, "shop")
				if err != nil {
					t.Errorf("%s: %v", file, err)
					continue
				}
				var want []*nadv1.NetworkSelectionElement
				if err := json.Unmarshal([]byte(value), &want); err != nil || !reflect.DeepEqual(got, want) || len(got) != 1 ||
					got[0].Name != "default" || !strings.HasSuffix(got[0].Namespace, "ovn-kubernetes") || len(got[0].IPRequest) != 1 {
					t.Errorf("%s: %+v, %v", file, got, err)
				}
				if _, err := multus(value); err != nil {
					t.Errorf("%s: %v", file, err)
				}
			case strings.HasPrefix(key, annotation.IPAMPrefix):
				if key == annotation.IPAMIPv6PoolKey {
					pools++
				} else if key != annotation.IPAMPoolKey && key != annotation.IPAMIPv4PoolKey && key != annotation.IPAMRequirePoolMatch {
					t.Errorf("%s: %s is no key of Cilium", file, key)
				}
			}
		}
	}
	if selections == 0 || pools == 0 {
		t.Errorf("%d selections and %d pools of Cilium are written by the cases", selections, pools)
	}
}

// TestJudged: a case of pod-ip-pool-value that denies a network selection is one that Multus refuses, or one without name.
func TestJudged(t *testing.T) {
	files, err := filepath.Glob("../../pkg/rules/testdata/pod-ip-pool-value/multus-*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		value, ok := annotationsOf(t, a, "in.yaml")[networks]
		if !ok {
			continue
		}
		denied := false
		for _, f := range a.Files {
			denied = denied || f.Name == "findings" && strings.Contains(string(f.Data), networks)
		}
		names, err := multus(value)
		refused := err != nil
		for _, n := range names {
			refused = refused || n == ""
		}
		if silent := strings.Contains(file, "not-said") || strings.Contains(file, "namespace"); refused != denied && !silent {
			t.Errorf("%s: denied %t, Multus: %v", file, denied, err)
		}
	}
}
