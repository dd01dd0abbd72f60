package rules

import (
	"encoding/json"
	"fmt"
	"net/netip"
)

// publicPod finds pods that anybody on the Internet may dial.
//
// Source: kubernetes.io/docs/concepts/services-networking/network-policies: a pod that no policy selects accepts all; IPv6-only
// clusters on public addresses have no NAT in between.
func publicPod() *Rule {
	return &Rule{
		ID: "public-pod", Since: "v0.1.0", Level: Off,
		Title:   "Pod has a public address in a namespace without NetworkPolicy",
		CEL:     &CEL{Never: "must know the NetworkPolicies of the namespace, which an admission policy cannot read"},
		Targets: podTargets(),
		Check:   checkPublicPod,
	}
}

func checkPublicPod(req *Request) []Finding {
	o := req.Object
	pod, ok := podPath(o)
	if !ok || isMirror(o) || o.Bool(pod.With("spec", "hostNetwork")...) {
		return nil
	}
	path, address := publicAddress(req, pod)
	if address == "" {
		return nil
	}
	if x := req.others(); x == nil || x.guarded[req.Namespace] || x.guarded["*"] {
		return nil
	}
	return []Finding{{
		Path: path, Subject: "address", Value: address,
		Message: fmt.Sprintf("%s is public, and no NetworkPolicy of namespace %s is in this input; add one", quote(address), quote(req.Namespace)),
	}}
}

// publicAddress returns the pool or address that a pod will have, if it is known and public, and where that is said.
func publicAddress(req *Request, pod Path) (Path, string) {
	annotations := pod.With("metadata", "annotations")
	for _, key := range []string{calicoIPAddrs, calicoIPv6Pools} {
		var values []string
		text := req.Object.Str(annotations.With(key)...)
		if text == "" || json.Unmarshal([]byte(text), &values) != nil {
			continue
		}
		for _, v := range values {
			if isPublic(v) {
				return annotations.With(key), v
			}
		}
		return nil, ""
	}
	if pool := req.Policy.pool(req.Namespace, req.Object.Map(pod.With("metadata", "labels")...)); pool != nil {
		for _, v := range append(append([]string{}, pool.Addresses...), pool.IPv6Pools...) {
			if isPublic(v) {
				return pod.With("spec"), v
			}
		}
	}
	return nil, ""
}

// isPublic: an address or CIDR in 2000::/3, the global unicast addresses that are assigned.
func isPublic(s string) bool {
	a, err := netip.ParseAddr(s)
	if p, errPrefix := netip.ParsePrefix(s); errPrefix == nil {
		a, err = p.Addr(), nil
	}
	return err == nil && netip.MustParsePrefix("2000::/3").Contains(a)
}
