package rules

import (
	"slices"
	"testing"
)

// TestServicePools: what the policy makes each system be asked is what the judge of its annotation takes.
func TestServicePools(t *testing.T) {
	for _, lb := range loadBalancers {
		p := &ServicePool{Addresses: []string{"2001:DB8:0::1"}, IPv6Pools: []string{"public"}}
		if lb.manyPools {
			p.IPv6Pools = append(p.IPv6Pools, "2001:db8::1/120")
		}
		written := lb.annotations(p)
		if len(written) == 0 {
			t.Errorf("%s: nothing is written", lb.name)
		}
		for _, a := range written {
			i := slices.IndexFunc(poolKeys, func(k poolKey) bool { return k.name == lb.name && slices.Contains(k.keys, a.key) })
			if i < 0 {
				t.Errorf("%s: nobody judges %s", lb.name, a.key)
				continue
			}
			if fault := poolKeys[i].judge(a.value); fault.message != "" {
				t.Errorf("%s: %s: %q %s", lb.name, a.key, a.value, fault.message)
			}
		}
	}
}

func TestServicePoolErrors(t *testing.T) {
	for text, want := range map[string]string{
		"services: {loadBalancer: metalb}\n":                                                               `line 3: services.loadBalancer: "metalb" must be one of calico, cilium, metallb, purelb, kube-vip, antrea; did you mean "metallb"?`,
		"services: {pools: [{ipv6Pools: [a]}]}\n":                                                          "line 3: services.pools[0]: each load balancer has annotations of its own; set services.loadBalancer",
		"services:\n  loadBalancer: metallb\n  pools:\n  - namespaces: [a]\n":                              "line 6: services.pools[0]: gives nothing; set ipv6Pools or addresses",
		"services:\n  loadBalancer: metallb\n  pools:\n  - ipv6Pools: [a, b]\n":                            "line 6: services.pools[0].ipv6Pools: MetalLB reads one pool; name one",
		"services:\n  loadBalancer: metallb\n  pools:\n  - ipv6Pools: [\"2001:db8::/120\"]\n":              `line 6: services.pools[0].ipv6Pools: "2001:db8::/120" is not the name of a pool, the Service gets no address; give one name, no CIDR and no list`,
		"services:\n  loadBalancer: calico\n  pools:\n  - ipv6Pools: [10.0.0.0/8]\n":                       `line 6: services.pools[0].ipv6Pools: "[\"10.0.0.0/8\"]" holds an IPv4 pool, Calico gives no address; give an IPv6 CIDR or the name of an IPPool`,
		"services:\n  loadBalancer: cilium\n  pools:\n  - ipv6Pools: [a]\n":                                "line 6: services.pools[0].ipv6Pools: a CiliumLoadBalancerIPPool selects its Services itself; give addresses",
		"services:\n  loadBalancer: kube-vip\n  pools:\n  - ipv6Pools: [a]\n":                              "line 6: services.pools[0].ipv6Pools: kube-vip reads its ranges from a ConfigMap by namespace; give addresses",
		"services:\n  loadBalancer: antrea\n  pools:\n  - addresses: [\"2001:db8::1\"]\n":                  "line 6: services.pools[0].addresses: Antrea reads one address from spec.loadBalancerIP only; name a pool",
		"services:\n  loadBalancer: purelb\n  pools:\n  - addresses: [192.0.2.1]\n":                        `line 6: services.pools[0].addresses[0]: "192.0.2.1" is not an IPv6 address`,
		"services:\n  loadBalancer: purelb\n  pools:\n  - addresses: [\"2001:db8::1\", \"2001:db8::2\"]\n": "line 6: services.pools[0].addresses: 2 addresses: a Service takes one IPv6 address; write one entry for each",
		"services:\n  loadBalancer: purelb\n  pools:\n  - {pods: {a: b}, ipv6Pools: [a]}\n":                `line 6: services.pools[0]: unknown field "pods"`,
	} {
		_, err := ReadPolicy([]byte("apiVersion: sixgate.io/v1alpha1\nkind: Policy\n" + text))
		if err == nil || err.Error() != want {
			t.Errorf("%s\n%v\nwant:\n%s", text, err, want)
		}
	}
}
