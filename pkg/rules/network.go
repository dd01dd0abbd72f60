package rules

import "net/netip"

// networkRules are the rules about network policies, volumes, DNS, the text form of addresses, and clients.
func networkRules() []*Rule {
	return []*Rule{networkPolicyIPv4(), volumeServerIPv4(), dnsCorefile(), clientIPv4(), ipTextForm(), yamlUnquotedIPv6()}
}

// hostOf is the address of "address", "address:port" or "[address]:port"; other texts stay as they are.
func hostOf(s string) string {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr().String()
	}
	return s
}
