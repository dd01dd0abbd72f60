package rules

import "net/netip"

// nat64 returns the IPv6 address by which pods reach an IPv4 address through the NAT64 of the policy: the prefix with the address in
// its last 32 bits (RFC 6052, section 2.2). It is "" where the policy has no prefix, or v4 is no IPv4 address.
func (p *Policy) nat64(v4 string) string {
	prefix, err := netip.ParsePrefix(p.Cluster.NAT64.Prefix)
	a, err4 := netip.ParseAddr(v4)
	if err != nil || err4 != nil || !a.Unmap().Is4() {
		return ""
	}
	out, last := prefix.Addr().As16(), a.Unmap().As4()
	copy(out[12:], last[:])
	return netip.AddrFrom16(out).String()
}

// translated is the NAT64 form of an IPv4 address, or "". The well-known prefix stands for public addresses only (RFC 6052,
// section 3.1).
func translated(p *Policy, v4 string) string {
	addr, err := netip.ParseAddr(v4)
	if err != nil || addr.IsLoopback() || addr.IsUnspecified() || p.Cluster.NAT64.Prefix == "64:ff9b::/96" && (addr.IsPrivate() || addr.IsLinkLocalUnicast()) {
		return ""
	}
	return p.nat64(v4)
}
