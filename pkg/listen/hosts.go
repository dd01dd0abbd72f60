package listen

import "strings"

// Why a case is not run.
const (
	noAddress = "a pod of an IPv6-only cluster has no IPv4 address to bind"
	notDebian = "not in Debian"
)

// together is what a list of addresses binds.
type together struct {
	Family
	first    string // the first IPv4 address that is not loopback, else the first
	wildcard bool   // no IPv4 address but a wildcard, so that nothing is lost with a list for both families
}

// together says what a list of addresses binds. A wildcard beside 127.0.0.1 is Unknown: most programs exit, "Address already
// in use".
func (s stack) together(hosts []string) together {
	if len(hosts) == 0 || len(hosts) > maxAddresses {
		return together{}
	}
	out := together{first: hosts[0]}
	var seen [Unix + 1]bool
	zero, local, concrete := false, false, false
	for _, h := range hosts {
		f := s.family(h)
		if f == Unknown {
			return together{first: hosts[0]}
		}
		if f == IPv4 && !seen[IPv4] {
			out.first = h
		}
		seen[f] = true
		concrete = concrete || isConcrete(h)
		zero = zero || f == IPv4 && !isConcrete(h)
		local = local || f == Loopback && !strings.Contains(h, ":")
	}
	switch {
	case zero && local:
	case seen[Dual], seen[IPv4] && seen[IPv6]:
		out.Family = Dual
	case seen[IPv4]:
		out.Family, out.wildcard = IPv4, !concrete
	case seen[IPv6]:
		out.Family = IPv6
	default:
		out.Family = Loopback
	}
	return out
}

// in completes a listener with what its addresses bind, and with the way out where one is right.
func (t together) in(l Listener, advice string, edits []Edit) Listener {
	l.Address, l.Family = t.first, t.Family
	if t.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(t.first), "give an IPv6 address"
		if t.wildcard {
			l.Advice, l.Edits = advice, edits
		}
	}
	return l
}

// aside is a listener of a file, in doubt where the file has the name of a backup or sample.
func aside(f File, program string, l Listener) []Listener {
	if isAside(f.Name) {
		return doubted([]Listener{l}, program+" does not load this file")
	}
	return []Listener{l}
}

// otherProgram reports whether the arguments of an image name another program, which the entrypoint runs: args: [pg_dump, -h, db].
func (c *Command) otherProgram() bool {
	return c.Program == "" && len(c.Args) > 0 && !strings.HasPrefix(c.Args[0].Text, "-") && !strings.HasSuffix(c.Args[0].Text, ".conf")
}

// list splits a list with commas.
func list(s string) []string {
	parts := strings.SplitN(s, ",", maxAddresses+2)
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}
