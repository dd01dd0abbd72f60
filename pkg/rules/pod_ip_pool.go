package rules

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	netutils "k8s.io/utils/net"
)

// Calico's annotations. Each holds a JSON array inside a string.
const (
	calicoIPv6Pools     = "cni.projectcalico.org/ipv6pools"
	calicoIPv4Pools     = "cni.projectcalico.org/ipv4pools"
	calicoIPAddrs       = "cni.projectcalico.org/ipAddrs"
	calicoIPAddrsNoIpam = "cni.projectcalico.org/ipAddrsNoIpam"
	calicoIPFamilies    = "cni.projectcalico.org/ipFamilies"
	calicoFloatingIPs   = "cni.projectcalico.org/floatingIPs"
)

// podIPPool gives pods the address pools, or the fixed address, that the policy has for them.
//
// Source: projectcalico/calico, cni-plugin/pkg/k8s/k8s.go (keys, syntax, and which exclude each other) and
// libcalico-go/lib/ipam/ipam.go (a CIDR must be a whole enabled pool).
func podIPPool() *Rule {
	return &Rule{
		ID: "pod-ip-pool", Since: "v0.1.0", Level: None, Mutate: true,
		Title:   "Pods are given the address pools of the policy",
		Targets: append([]Target{targetPod}, workloads()...),
		Check:   checkPodIPPool,
		CEL:     celPodIPPool(),
	}
}

func checkPodIPPool(req *Request) []Finding {
	o := req.Object
	pod, ok := podPath(o)
	// The CNI plugin reads the annotations once, when the pod's network is made; one with hostNetwork has none.
	if !ok || req.Policy.Cluster.CNI != "calico" || isMirror(o) || isWindows(o, pod) || o.Bool(pod.With("spec", "hostNetwork")...) {
		return nil
	}
	pool := req.Policy.pool(req.Namespace, o.Map(pod.With("metadata", "labels")...))
	if pool == nil {
		return nil
	}
	if len(pod) > 0 {
		return checkFixedAddress(o, pod, pool)
	}
	if req.Operation != Create {
		return nil
	}
	annotations := Path{"metadata", "annotations"}
	if o.Str(annotations.With(calicoIPAddrs)...) != "" || o.Str(annotations.With(calicoIPAddrsNoIpam)...) != "" {
		return nil // a user who gives addresses has no use for a pool
	}
	var out []Finding
	for _, a := range pool.annotations() {
		path := annotations.With(a.key)
		if a.value == "" || has(o.Map(annotations...), a.key) {
			continue // never over a user's key
		}
		if a.key == calicoIPAddrs && o.Str(annotations.With(calicoIPv6Pools)...) != "" {
			continue // an address would overrule the pools that the user chose
		}
		out = append(out, Finding{
			Path: path, Subject: a.key, Message: "adds " + a.value,
			Fix: func(o *Object) { o.Set(path, a.value) },
		})
	}
	return out
}

func has(m map[string]any, key string) bool {
	_, ok := m[key]
	return ok
}

// pool returns the first entry that selects a pod, or nil.
func (p *Policy) pool(namespace string, labels map[string]any) *Pool {
	for i := range p.Pools {
		pool := &p.Pools[i]
		if len(pool.Namespaces) > 0 && !globAny(pool.Namespaces, namespace) {
			continue
		}
		matches := true
		for k, v := range pool.Pods {
			matches = matches && labels[k] == v
		}
		if matches {
			return pool
		}
	}
	return nil
}

type keyValue struct{ key, value string }

// annotations are what Calico reads for this entry: CIDRs masked and canonical, since older versions compare the text.
func (p *Pool) annotations() []keyValue {
	var pools, addresses []string
	for _, v := range p.IPv6Pools {
		if prefix, err := netip.ParsePrefix(v); err == nil {
			v = prefix.Masked().String()
		}
		pools = append(pools, v)
	}
	for _, v := range p.Addresses {
		if a, err := netip.ParseAddr(v); err == nil {
			v = a.String()
		}
		addresses = append(addresses, v)
	}
	return []keyValue{
		{calicoIPv6Pools, jsonArray(pools)},
		{calicoIPAddrs, jsonArray(addresses)},
		{calicoIPFamilies, jsonArray(p.IPFamilies)},
	}
}

func jsonArray(values []string) string {
	if len(values) == 0 {
		return ""
	}
	b, _ := json.Marshal(values) // strings always encode
	return string(b)
}

// checkFixedAddress: one address serves one pod at a time.
func checkFixedAddress(o *Object, pod Path, pool *Pool) []Finding {
	if len(pool.Addresses) == 0 {
		return nil
	}
	finding := func(path Path, value, message string) []Finding {
		return []Finding{{Path: path, Subject: "addresses", Value: value, Own: Warn, Message: message}}
	}
	address := pool.Addresses[0]
	kind := o.Kind()
	if kind == "DaemonSet" {
		return finding(pod, address, fmt.Sprintf("the policy gives its pods the one address %s, only the first will start; use a pool", quote(address)))
	}
	for _, field := range []string{"replicas", "parallelism"} {
		if v, ok := o.Get("spec", field); ok {
			if n, ok := integer(v); ok && n > 1 {
				return finding(Path{"spec", field}, strconv.FormatInt(n, 10), fmt.Sprintf("%d pods share the one address %s of the policy, only the first will start; use 1", n, quote(address)))
			}
		}
	}
	if kind == "Deployment" && o.Str("spec", "strategy", "type") != "Recreate" {
		return finding(Path{"spec", "strategy"}, o.Str("spec", "strategy", "type"),
			fmt.Sprintf("a rolling update starts the new pod while the old one has the address %s, and waits for ever; use Recreate", quote(address)))
	}
	return nil
}

// podIPPoolValue judges the annotations that users wrote by the rules of the parser that reads them.
//
// Source: projectcalico/calico, cni-plugin/pkg/k8s/k8s.go and cni-plugin/internal/pkg/utils/utils.go. A malformed value leaves
// the pod in ContainerCreating.
func podIPPoolValue() *Rule {
	return &Rule{
		ID: "pod-ip-pool-value", Since: "v0.1.0", Level: Deny,
		Title:   "Address annotation that the CNI plugin cannot use",
		Targets: append([]Target{targetPod, targetNamespace}, workloads()...),
		Check:   checkPodIPPoolValue,
		CEL:     &CEL{Never: "judges lists that are JSON inside a string, for which CEL has no parser"},
	}
}

func checkPodIPPoolValue(req *Request) []Finding {
	o := req.Object
	if isMirror(o) {
		return nil
	}
	path := Path{"metadata", "annotations"}
	if pod, ok := podPath(o); ok {
		if o.Bool(pod.With("spec", "hostNetwork")...) || isWindows(o, pod) {
			return nil // Calico makes no network for them
		}
		path = pod.With("metadata", "annotations")
	}
	annotations := o.Map(path...)
	var out []Finding
	report := func(key string, limit Level, message string) {
		value, _ := annotations[key].(string)
		if req.Policy.Cluster.CNI == "" {
			limit = Warn // the cluster may have another CNI, which does not read this
		}
		out = append(out, Finding{Path: path.With(key), Subject: key, Value: value, Limit: limit, Message: quote(value) + " " + message})
	}
	for _, key := range []string{calicoIPv6Pools, calicoIPv4Pools, calicoIPAddrs, calicoIPAddrsNoIpam, calicoIPFamilies, calicoFloatingIPs} {
		value, ok := annotations[key].(string)
		if !ok || value == "" && key != calicoFloatingIPs {
			continue // counts as unset
		}
		if o.Kind() == "Namespace" && key != calicoIPv6Pools && key != calicoIPv4Pools && key != calicoIPFamilies {
			continue // not read there
		}
		var values []string
		if err := json.Unmarshal([]byte(value), &values); err != nil {
			report(key, None, `is not a JSON array of strings, the pod will not start; write ["…"] inside the string`)
			continue
		}
		if message, limit := calicoValue(key, values); message != "" {
			report(key, limit, message)
		}
	}
	ipam, _ := annotations[calicoIPAddrs].(string)
	if noIpam, _ := annotations[calicoIPAddrsNoIpam].(string); ipam != "" && noIpam != "" && o.Kind() != "Namespace" {
		report(calicoIPAddrsNoIpam, None, "stands beside ipAddrs, Calico refuses the pod; keep one of them")
	}
	return out
}

// calicoValue judges one decoded annotation; message is "" if Calico takes it and IPv6 comes out.
func calicoValue(key string, values []string) (message string, limit Level) {
	switch key {
	case calicoIPv6Pools:
		for _, v := range values {
			if m := calicoPool(v, "IPv6"); m != "" {
				return quote(v) + " " + m, None
			}
		}
	case calicoIPv4Pools:
		return "names IPv4 pools, which an IPv6-only cluster does not have; use ipv6pools", Warn
	case calicoIPFamilies:
		for _, v := range values {
			if v != "IPv4" && v != "IPv6" {
				return quote(v) + ` must be "IPv4" or "IPv6", in this spelling`, None
			}
		}
		if slices.Contains(values, "IPv4") {
			return `asks for an IPv4 address too, which a cluster without IPv4 pools does not have; use ["IPv6"]`, Warn
		}
	case calicoIPAddrs, calicoIPAddrsNoIpam:
		if len(values) == 0 {
			return "holds no address, Calico refuses the pod; remove the annotation", None
		}
		count := map[string]int{}
		for _, v := range values {
			family := ipFamily(v)
			if family == "" {
				return quote(v) + " is not an address, Calico refuses the pod; give an IPv6 address", None
			}
			count[family]++
		}
		if count["IPv4"] > 1 || count["IPv6"] > 1 {
			return "holds two addresses of one family, Calico refuses the pod; keep one", None
		}
		if count["IPv4"] > 0 {
			return "asks for an IPv4 address; give an IPv6 address of an enabled pool", Warn
		}
	}
	return "", None
}

var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

// calicoPool judges one entry of a pool list: a CIDR of the family, or the name of an IPPool; "" if it is one.
func calicoPool(v, family string) string {
	ip, _, err := netutils.ParseCIDRSloppy(v) // as lenient as the parser in Calico
	switch {
	case err == nil && ipFamily(ip.String()) != family:
		return "is not an " + family + " pool, Calico refuses the pod; give an " + family + " CIDR or the name of an IPPool"
	case err == nil:
		return ""
	case ipFamily(v) != "":
		return "is an address, the pool's whole CIDR is needed; add its prefix length"
	case !poolName.MatchString(v):
		return "is neither a CIDR nor the name of an IPPool"
	}
	return ""
}
