package listen

import (
	"net/netip"
	"strings"
)

// A stack is what the wildcard addresses mean to one kind of program.
type stack struct {
	zero  Family // 0.0.0.0
	colon Family // ::
	empty Family // no host
	star  Family // *
}

// What was measured for each (docs/listen.md); the comments name members.
var (
	plain   = stack{IPv4, Dual, IPv4, IPv4}    // one socket, no IPV6_V6ONLY: most C, Rust, Ruby, PHP, gunicorn, Flask
	split   = stack{IPv4, IPv6, IPv4, IPv4}    // sets IPV6_V6ONLY: nginx, Redis
	asyncio = stack{IPv4, IPv6, Dual, Unknown} // Python asyncio
	node    = stack{IPv4, Dual, Dual, Unknown} // Node.js
	golang  = stack{Dual, Dual, Dual, Unknown} // Go, network "tcp"
	jvm     = stack{Dual, Dual, Dual, Unknown} // Java without preferIPv4Stack
)

// family classifies a host without port; brackets around it are ignored. An IPv4-mapped address is what the program makes of it.
func (s stack) family(host string) Family {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	switch host {
	case "":
		return s.empty
	case "*":
		return s.star
	case "localhost":
		return Loopback
	}
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil, addr.Is4In6(), addr.Zone() != "":
		return Unknown
	case addr.IsLoopback():
		return Loopback
	case addr.Is4() && addr.IsUnspecified():
		return s.zero
	case addr.Is4():
		return IPv4
	case addr.IsUnspecified():
		return s.colon
	}
	return IPv6
}

// isConcrete reports whether host is one IPv4 address: not a wildcard, not loopback.
func isConcrete(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is4() && !addr.IsUnspecified() && !addr.IsLoopback()
}

// splitHostPort splits host:port, [host]:port, :port and host. ok is false for anything else, such as ::1:80. A port may be
// a variable.
func splitHostPort(s string) (host, port string, ok bool) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		if i < 0 {
			return "", "", false
		}
		host, s = s[:i+1], s[i+1:]
		if s == "" {
			return host, "", true
		}
		port, ok = strings.CutPrefix(s, ":")
		return host, port, ok
	}
	if i := strings.Index(s, "${"); i >= 0 && strings.Contains(s[i:], ":-") {
		// A default value inside a shell variable has a colon of its own: only host:${PORT:-80} can be told.
		if i > 0 && s[i-1] == ':' && strings.IndexByte(s, ':') == i-1 && strings.IndexByte(s[i:], '}') == len(s)-i-1 {
			return s[:i-1], s[i:], true
		}
		return "", "", false
	}
	host, port, colon := strings.Cut(s, ":")
	if colon && strings.ContainsRune(port, ':') {
		return "", "", false
	}
	return host, port, true
}

// binds0 is the reason of a listener with this address.
func binds0(host string) string {
	if isConcrete(host) {
		return "binds an IPv4 address only"
	}
	return "binds IPv4 only"
}

// isPort reports whether s is a port number.
func isPort(s string) bool { return s != "" && len(s) < 6 && strings.Trim(s, "0123456789") == "" }
