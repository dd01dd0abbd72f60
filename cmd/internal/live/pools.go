package live

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// A Pool is a custom resource from which pods or LoadBalancer Services get addresses.
type Pool struct {
	CNI          string // as in cluster.cni of the policy; "" for load balancers
	Kind, Name   string // Name is "namespace/name" where the kind has namespaces
	IPv6, IPv4   []string
	LoadBalancer bool   // for Services; else for pods
	Unusable     string // why no pod may name it, "" if one may
}

// A poolKind is where a system keeps its pools.
type poolKind struct {
	cni, kind, resource string
	groups              []string // the first that is served
	loadBalancer        bool
	// Where the ranges are: fields with dots between, the last a text or an object with cidr, or start and stop or end.
	fields   []string
	unusable func(spec map[string]any) string
}

// poolKinds are the pools that are known. Sources: the CRDs of Calico v3.31, Cilium v1.18, MetalLB v0.15, Antrea v2.4, Kube-OVN v1.14,
// Spiderpool v1.0 and PureLB v0.13.
func poolKinds() []poolKind {
	return []poolKind{
		{cni: "calico", kind: "IPPool", resource: "ippools", groups: []string{"projectcalico.org", "crd.projectcalico.org"},
			fields: []string{"cidr"}, unusable: unusableCalico},
		{cni: "cilium", kind: "CiliumPodIPPool", resource: "ciliumpodippools", groups: []string{"cilium.io"}, fields: []string{"ipv6.cidrs", "ipv4.cidrs"}},
		{cni: "antrea", kind: "IPPool", resource: "ippools", groups: []string{"crd.antrea.io"}, fields: []string{"ipRanges"}},
		{cni: "kube-ovn", kind: "IPPool", resource: "ippools", groups: []string{"kubeovn.io"}, fields: []string{"ips"}},
		{cni: "spiderpool", kind: "SpiderIPPool", resource: "spiderippools", groups: []string{"spiderpool.spidernet.io"}, fields: []string{"subnet"}, unusable: unusableSpiderpool},
		{kind: "CiliumLoadBalancerIPPool", resource: "ciliumloadbalancerippools", groups: []string{"cilium.io"}, loadBalancer: true, fields: []string{"blocks", "cidrs"}},
		{kind: "MetalLB IPAddressPool", resource: "ipaddresspools", groups: []string{"metallb.io"}, loadBalancer: true, fields: []string{"addresses"}},
		{kind: "Antrea ExternalIPPool", resource: "externalippools", groups: []string{"crd.antrea.io"}, loadBalancer: true, fields: []string{"ipRanges"}},
		{kind: "PureLB ServiceGroup", resource: "servicegroups", groups: []string{"purelb.io"}, loadBalancer: true,
			fields: []string{"local.v6pools.pool", "local.v4pools.pool", "local.pool", "remote.v6pools.pool", "remote.v4pools.pool"}},
	}
}

func unusableCalico(spec map[string]any) string {
	if disabled, _ := spec["disabled"].(bool); disabled {
		return "disabled"
	}
	if uses, ok := spec["allowedUses"].([]any); ok && len(uses) > 0 && !slices.Contains(uses, any("Workload")) {
		return "allowedUses without Workload"
	}
	return ""
}

func unusableSpiderpool(spec map[string]any) string {
	if disable, _ := spec["disable"].(bool); disable {
		return "disabled"
	}
	return ""
}

// poolOf reads a custom resource.
func (k *poolKind) poolOf(namespace, name string, spec map[string]any) Pool {
	p := Pool{CNI: k.cni, Kind: k.kind, Name: name, LoadBalancer: k.loadBalancer}
	if namespace != "" {
		p.Name = namespace + "/" + name
	}
	for _, field := range k.fields {
		for _, r := range ranges(spec, strings.Split(field, ".")) {
			p.add(r)
		}
	}
	if k.unusable != nil {
		p.Unusable = k.unusable(spec)
	}
	return p
}

// add sorts a range to its family; what cannot be read as one is of no use to a pod either.
func (p *Pool) add(text string) {
	first, _, _ := strings.Cut(text, "-")
	first, _, _ = strings.Cut(first, "..")
	first, _, _ = strings.Cut(first, "/")
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	switch {
	case err != nil:
	case a.Is4():
		p.IPv4 = append(p.IPv4, text)
	default:
		p.IPv6 = append(p.IPv6, text)
	}
}

// ranges returns the texts at a path, in lists too.
func ranges(v any, path []string) []string {
	switch v := v.(type) {
	case []any:
		var out []string
		for _, e := range v {
			out = append(out, ranges(e, path)...)
		}
		return out
	case map[string]any:
		if len(path) > 0 {
			return ranges(v[path[0]], path[1:])
		}
		if cidr, ok := v["cidr"].(string); ok && cidr != "" {
			return []string{cidr}
		}
		from, _ := v["start"].(string)
		to, ok := v["stop"].(string)
		if !ok {
			to, _ = v["end"].(string)
		}
		if from == "" {
			return nil
		}
		return []string{strings.TrimSuffix(from+"-"+to, "-")}
	case string:
		if len(path) == 0 && v != "" {
			return []string{v}
		}
	}
	return nil
}

// Prefix returns the CIDR of a pool that is one IPv6 CIDR, as Calico's are.
func (p *Pool) Prefix() (netip.Prefix, error) {
	if len(p.IPv6) != 1 {
		return netip.Prefix{}, fmt.Errorf("%d IPv6 ranges", len(p.IPv6))
	}
	prefix, err := netip.ParsePrefix(p.IPv6[0])
	return prefix.Masked(), err
}
