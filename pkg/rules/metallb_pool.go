package rules

import (
	"net/netip"
	"slices"
	"strings"
)

// metalLBPool judges address pools and BGP peers of MetalLB.
//
// Source: metallb/metallb, internal/ipfamily and internal/config (ParseCIDR: "a CIDR, or first-last"); metallb#1742.
func metalLBPool() *Rule {
	kinds := []Target{
		{Group: "metallb.io", Version: "v1beta1", Resource: "ipaddresspools", Kind: "IPAddressPool", Operations: both},
		{Group: "metallb.io", Version: "v1beta1", Resource: "addresspools", Kind: "AddressPool", Operations: both},
		{Group: "metallb.io", Version: "v1beta2", Resource: "bgppeers", Kind: "BGPPeer", Operations: both},
		targetConfigMap,
	}
	return &Rule{
		ID: "metallb-pool", Since: "v0.1.0", Level: Deny,
		Title:   "MetalLB has IPv4 addresses only, or an IPv4 peer",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(kinds...),
		Check:   checkMetalLB,
	}
}

func checkMetalLB(req *Request) []Finding {
	var out []Finding
	o := req.Object
	switch {
	case isConfigMap(o): // up to v0.12
		text := dataText(o, "config")
		if !strings.Contains(text, "address-pools:") || !strings.Contains(req.Namespace+"/"+o.Namespace()+"/"+o.Name(), "metallb") {
			return nil // other programs took over the format
		}
		for _, d := range documents(text, Path{"data", "config"}, &out) {
			any6 := false
			for i := range d.List("address-pools") {
				any6 = any6 || slices.ContainsFunc(d.Strings("address-pools", i, "addresses"), func(s string) bool { return poolFamily(s) == "IPv6" })
			}
			for i := range d.List("address-pools") {
				d.metalLBAddresses(Path{"address-pools", i, "addresses"}, any6)
			}
			for i := range d.List("peers") {
				d.peer(Path{"peers", i, "peer-address"}, req)
			}
		}
	case o.Kind() == "BGPPeer":
		own(req, &out).peer(Path{"spec", "peerAddress"}, req)
	default:
		own(req, &out).metalLBAddresses(Path{"spec", "addresses"}, req.others().has6("IPAddressPool"))
	}
	return out
}

// poolFamily is the family of a CIDR or of a range "first-last"; "" if it is neither.
func poolFamily(s string) string {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		return cidrFamily(s)
	}
	family := ipFamily(strings.TrimSpace(first))
	if family != ipFamily(strings.TrimSpace(last)) {
		return ""
	}
	return family
}

// metalLBAddresses judges one pool. other: another pool has IPv6 addresses.
func (d document) metalLBAddresses(at Path, other bool) {
	entries := d.Strings(at...)
	other = other || slices.ContainsFunc(entries, func(s string) bool { return poolFamily(s) == "IPv6" })
	for i, v := range d.List(at...) {
		s, _ := v.(string)
		family := poolFamily(s)
		first, last, isRange := strings.Cut(s, "-")
		switch {
		case family == "IPv4" && other:
			d.report(at.With(i), Warn, quote(s)+" is IPv4, no Service of this cluster can have it; remove it")
		case family == "IPv4":
			d.report(at.With(i), None, quote(s)+" is IPv4, no Service of this cluster gets an address; give an IPv6 range")
		case family == "" && ipFamily(s) != "":
			d.report(at.With(i), None, quote(s)+" is one address, MetalLB wants a CIDR or a range; add its prefix length")
		case family == "" && (looksIPv6(s) || isRange && looksIPv6(strings.TrimSpace(first))):
			d.report(at.With(i), None, quote(s)+` is neither a CIDR nor a range; write address/length or "first-last"`)
		case family == "IPv6" && isRange:
			a, err := netip.ParseAddr(strings.TrimSpace(first))
			if b, err2 := netip.ParseAddr(strings.TrimSpace(last)); err == nil && err2 == nil && b.Less(a) {
				d.report(at.With(i), None, quote(s)+" ends before it begins, MetalLB refuses it; exchange the two")
			}
		}
	}
}
