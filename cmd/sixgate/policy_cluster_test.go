package main

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/rules"
)

// knownCluster is one of which everything is known.
func knownCluster() *live.Cluster {
	return &live.Cluster{
		Server: "https://api.example.net:6443", Version: "v1.37.0",
		Families:    live.Fact[[]string]{Value: []string{"IPv6"}, Evidence: "ServiceCIDR kubernetes: fd00:10:96::/112"},
		Nodes:       live.Fact[string]{Value: "IPv6", Evidence: "3 nodes"},
		CNI:         live.Fact[live.CNI]{Value: live.CNI{Name: "calico"}, Evidence: "DaemonSet calico-system/calico-node"},
		Proxy:       live.Fact[string]{Value: "kube-proxy, mode nftables", Evidence: "DaemonSet kube-system/kube-proxy"},
		DNS:         live.Fact[live.DNSService]{Value: live.DNSService{Namespace: "kube-system", Name: "kube-dns", IPv6: "fd00:10:96::a"}, Evidence: "label"},
		NAT64:       live.Fact[netip.Prefix]{Value: netip.MustParsePrefix("64:ff9b::/96"), Evidence: "asked"},
		Certificate: live.Fact[*x509.Certificate]{Value: &x509.Certificate{DNSNames: []string{"api.example.net"}}, Evidence: "shown"},
		Host:        live.Fact[live.HostPort]{Value: live.HostPort{Host: "api.example.net", Port: 6443}, Evidence: "this kubeconfig dials it"},
		Pools: []live.Pool{
			{CNI: "calico", Kind: "IPPool", Name: "six", IPv6: []string{"2001:db8:42::/64"}},
			{CNI: "calico", Kind: "IPPool", Name: "four", IPv4: []string{"10.0.0.0/8"}},
			{CNI: "calico", Kind: "IPPool", Name: "off", IPv6: []string{"2001:db8:43::/64"}, Unusable: "disabled"},
			{CNI: "cilium", Kind: "CiliumPodIPPool", Name: "other", IPv6: []string{"2001:db8:44::/64"}},
			{Kind: "MetalLB IPAddressPool", Name: "metallb-system/lb", IPv6: []string{"2001:db8:45::/124"}, LoadBalancer: true},
		},
	}
}

// unknownCluster is one of which nothing is; err is why.
func unknownCluster(err error) *live.Cluster {
	return &live.Cluster{
		Server: "https://api.example.net:6443", Version: "of unknown version",
		Families: live.Fact[[]string]{Err: err}, Nodes: live.Fact[string]{Err: err}, CNI: live.Fact[live.CNI]{Err: err}, Multus: live.Fact[bool]{Err: err},
		Proxy: live.Fact[string]{Err: err}, DNS: live.Fact[live.DNSService]{Err: err}, NAT64: live.Fact[netip.Prefix]{Err: err},
		Certificate: live.Fact[*x509.Certificate]{Err: err}, Host: live.Fact[live.HostPort]{Err: err}, PoolErrs: []live.PoolError{{CNI: "calico", Err: err}},
	}
}

// choice lines begin with # and no space.
var choiceLine = regexp.MustCompile(`(?m)^( *)#(\S)`)

// TestDraft: what is drafted is read back, with all choices made too, and agrees with the cluster.
func TestDraft(t *testing.T) {
	hostile := knownCluster()
	evil := "a\nrules: {x: off}\r# \u2028\x00\x1b[31m\"'"
	hostile.Server, hostile.Version = evil, evil
	hostile.Families.Evidence, hostile.Nodes.Evidence, hostile.CNI.Evidence, hostile.Proxy.Evidence, hostile.NAT64.Evidence = evil, evil, evil, evil, evil
	hostile.DNS = live.Fact[live.DNSService]{Value: live.DNSService{Namespace: evil, Name: evil, IPv6: "fd00:10:96::a"}, Evidence: evil}
	hostile.Certificate.Value.DNSNames = []string{evil}
	hostile.Host.Value.Host, hostile.Host.Evidence = evil, evil
	hostile.Pools = append(hostile.Pools, live.Pool{CNI: "calico", Kind: evil, Name: evil, IPv6: []string{evil}, Unusable: evil}, live.Pool{CNI: "calico", Kind: "IPPool", Name: evil, IPv6: []string{evil}},
		live.Pool{Kind: evil, Name: evil, IPv6: []string{evil}, LoadBalancer: true})
	dual := knownCluster()
	dual.Families.Value, dual.Nodes.Value, dual.DNS.Value.IPv6, dual.DNS.Value.IPv4, dual.CNI.Value.Deaf, dual.Proxy.Value = []string{"IPv4", "IPv6"}, "DualStack", "", "10.96.0.10", "deaf", ""
	dual.NAT64.Value = netip.MustParsePrefix("2001:db8::/64")
	flannel := knownCluster()
	flannel.CNI.Value.Name, flannel.NAT64.Value = "flannel", netip.Prefix{}
	cilium := knownCluster()
	cilium.CNI.Value.Name, cilium.Multus.Value = "cilium", true
	many := knownCluster()
	for len(many.Pools) < 5000 {
		many.Pools = append(many.Pools, many.Pools...)
	}
	for name, c := range map[string]*live.Cluster{
		"known": knownCluster(), "unknown": unknownCluster(errors.New(evil)), "hostile": hostile, "dual": dual, "flannel": flannel, "cilium": cilium, "many pools": many,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := draft(c)
			if err != nil {
				t.Fatal(err)
			}
			p, err := rules.ReadPolicy([]byte(text))
			if err != nil {
				t.Fatalf("%v:\n%s", err, text)
			}
			if len(p.Rules)+len(p.Exceptions)+len(p.Pools) > 0 || p.APIServer.Host != "" {
				t.Errorf("a choice was made:\n%s", text)
			}
			chosen, err := rules.ReadPolicy([]byte(choiceLine.ReplaceAllString(text, "$1$2")))
			if err != nil {
				t.Fatalf("with all choices: %v:\n%s", err, text)
			}
			if len(chosen.Rules) > 0 {
				t.Errorf("a rule came in:\n%s", text)
			}
			if len(text) > 20_000 {
				t.Errorf("%d bytes", len(text))
			}
			if name == "cilium" && (p.Cluster.CNI != "cilium" || !p.Cluster.Multus || len(chosen.Pools) != 1 || chosen.Pools[0].IPv6Pools[0] != "other") {
				t.Errorf("of Cilium, the pool by its name:\n%s", text)
			}
			if name == "known" {
				var got comparison
				got.compare(t.Context(), chosen, c)
				if len(got.differences)+len(got.unknown)+len(got.unread) > 0 || chosen.APIServer.Host == "" || len(chosen.Pools) != 1 {
					t.Errorf("%+v:\n%s", got, text)
				}
			}
		})
	}
}

// TestCNINames: each CNI whose annotations the rules know is found in clusters by the same name.
func TestCNINames(t *testing.T) {
	for _, name := range []string{"calico", "cilium", "antrea", "kube-ovn", "spiderpool", "ovn-kubernetes"} {
		if !loads("cluster: {cni: " + name + "}") {
			t.Errorf("%s is no CNI of the policy", name)
		}
	}
}

func TestCompare(t *testing.T) {
	const head = "apiVersion: sixgate.io/v1alpha1\nkind: Policy\n"
	for _, tt := range []struct{ policy, want string }{
		{"", ""},
		{"cluster: {families: [IPv6, IPv4]}", "cluster.families: [IPv6 IPv4]; the cluster has [IPv6] (ServiceCIDR kubernetes: fd00:10:96::/112)"},
		{"cluster: {nodes: DualStack}", "cluster.nodes: DualStack; the cluster has IPv6 (3 nodes)"},
		{`cluster: {dns: {address: "fd00:10:96:0::a"}}`, ""}, // the same in another form
		{`cluster: {dns: {address: "fd00:10:96::b"}}`, "cluster.dns.address: fd00:10:96::b; Service kube-system/kube-dns has fd00:10:96::a"},
		{`cluster: {nat64: {prefix: "2001:db8::/96"}}`, "cluster.nat64.prefix: 2001:db8::/96; the cluster has 64:ff9b::/96 (asked)"},
		{"apiServer: {host: API.example.net, port: 443}", "apiServer.port: 443; the kubeconfig dials 6443 on this host"},
		{`cluster: {cni: calico}` + "\n" + `pools: [{ipv6Pools: [six, "2001:db8:42::1/64"]}, {addresses: ["2001:db8:42::1"]}, {ipFamilies: [IPv6]}]`, ""},
		{"cluster: {cni: calico}\npools: [{ipv6Pools: [five, off]}]",
			"pools[0].ipv6Pools[0]: there is no pool five in the cluster; it has six (2001:db8:42::/64), off (2001:db8:43::/64)\npools[0].ipv6Pools[1]: IPPool off: disabled"},
		{"cluster: {cni: calico}\npools: [{ipv6Pools: [four]}]", "pools[0].ipv6Pools[0]: IPPool four has no IPv6 addresses"},
		{"cluster: {cni: calico}\npools: [{ipv6Pools: [other, \"2001:db8:42:1::/64\"]}]",
			"pools[0].ipv6Pools[0]: there is no pool other in the cluster; it has six (2001:db8:42::/64), off (2001:db8:43::/64)\n" +
				"pools[0].ipv6Pools[1]: there is no pool 2001:db8:42:1::/64 in the cluster; it has six (2001:db8:42::/64), off (2001:db8:43::/64)"},
		{"cluster: {cni: calico}\npools: [{addresses: [\"2001:db8:46::1\"]}]", "pools[0].addresses[0]: 2001:db8:46::1 is in no IPv6 pool of the cluster; it has six (2001:db8:42::/64), off (2001:db8:43::/64)"},
	} {
		p, err := rules.ReadPolicy([]byte(head + tt.policy))
		if err != nil {
			t.Fatal(err)
		}
		var c comparison
		c.compare(t.Context(), p, knownCluster())
		if got := strings.Join(c.differences, "\n"); got != tt.want || len(c.unknown)+len(c.unread) > 0 {
			t.Errorf("%s\n%s\n%v %v\nwant:\n%s", tt.policy, got, c.unknown, c.unread, tt.want)
		}
	}

	p, err := rules.ReadPolicy([]byte(head + "cluster: {cni: calico, families: [IPv6], nat64: {prefix: \"64:ff9b::/96\"}}\npools: [{ipv6Pools: [a]}]"))
	if err != nil {
		t.Fatal(err)
	}
	var c comparison
	c.compare(t.Context(), p, unknownCluster(errors.New("not there")))
	if len(c.unknown) != 4 || len(c.unread) != 1 || len(c.differences) != 0 {
		t.Errorf("of an unknown cluster: %+v", c)
	}
	calico := knownCluster()
	calico.CNI.Value = live.CNI{Name: "calico", Deaf: "IPAM is host-local"}
	calico.NAT64.Value = netip.Prefix{}
	c = comparison{}
	c.compare(t.Context(), p, calico)
	if want := "cluster.cni: calico; its annotations have no effect: IPAM is host-local"; len(c.differences) != 2 || c.differences[0] != want || len(c.unknown) != 1 {
		t.Errorf("Calico without its IPAM, a prefix that DNS does not use: %+v", c)
	}
}
