package rules

import "net/netip"

// networkRules are the rules about network policies, volumes, DNS, the text form of addresses, and clients.
func networkRules() []*Rule {
	return []*Rule{networkPolicyIPv4(), volumeServerIPv4(), dnsCorefile(), clientIPv4(), ipTextForm(), yamlUnquotedIPv6()}
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

// isLoopback: a literal that stays inside the network namespace.
func isLoopback(s string) bool {
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Unmap().IsLoopback()
}

// hostOf is the address of "address", "address:port" or "[address]:port"; other texts stay as they are.
func hostOf(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().String()
	}
	return s
}
