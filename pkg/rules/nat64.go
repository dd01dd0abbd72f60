package rules

import "net/netip"

// nat64 is the IPv6 address by which the cluster's NAT64 reaches an IPv4 address: the last 32 bits of the policy's prefix filled
// (RFC 6052, section 2.2); "" where the policy gives no prefix.
func (p *Policy) nat64(v4 string) string {
	prefix, err := netip.ParsePrefix(p.Cluster.NAT64.Prefix)
	addr, errAddr := netip.ParseAddr(v4)
	if err != nil || errAddr != nil || !addr.Unmap().Is4() {
		return ""
	}
	out, last := prefix.Addr().As16(), addr.Unmap().As4()
	copy(out[12:], last[:])
	return netip.AddrFrom16(out).String()
}
