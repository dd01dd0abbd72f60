package listen

import (
	"cmp"
	"slices"
	"strings"
)

// An options says how a program is told its address: by options of the command line, else by variables.
type options struct {
	stack
	address    []string // options that take host:port; each is a listener
	host, port []string // options that take one of them; the last counts
	scheme     []string // may stand before an address: "tcp://"

	addressVar, hostVar, portVar string

	local string // the port without any
	both  string // the host that binds both families
	// advice is the way out where both is not; for variables only if varAdvice.
	advice, varAdvice string
}

// run returns the listeners of a command; none if it leaves the address to the program's default.
func (o options) run(c *Command) []Listener {
	if c.Has("--version", "--help") {
		return nil
	}
	var out []Listener
	flags := values(c.Flags(o.address...))
	for _, f := range flags {
		w, doubt := c.expanded(f.Word)
		out = append(out, doubted(o.pair(f.Name+" ", w), doubt)...)
	}
	if len(flags) > 0 {
		return beside(out)
	}
	if f := values(c.Flags(o.host...)); len(f) > 0 {
		last := f[len(f)-1]
		w, doubt := c.expanded(last.Word)
		return doubted([]Listener{o.listener(last.Name+" ", w, 0, w.Text, o.portOf(c))}, doubt)
	}
	o.advice = cmp.Or(o.varAdvice, o.advice)
	if w, set := c.Var(o.addressVar); set {
		if w == nil {
			return nil
		}
		return o.pair(o.addressVar+"=", w)
	}
	if w, set := c.Var(o.hostVar); set && w != nil && w.Text != "" {
		return []Listener{o.listener(o.hostVar+"=", w, 0, w.Text, o.portOf(c))}
	}
	return nil
}

// beside takes the fault from an IPv4 wildcard whose port has an IPv6 one too: either both serve, or the program exits and says so.
func beside(listeners []Listener) []Listener {
	six := map[string]bool{}
	for _, l := range listeners {
		six[l.Port] = six[l.Port] || l.Family == IPv6 || l.Family == Dual
	}
	for i, l := range listeners {
		if six[l.Port] && l.Fault == IPv4Only {
			listeners[i].Fault, listeners[i].Reason, listeners[i].Advice, listeners[i].Edits = None, "", "", nil
		}
	}
	return listeners
}

// given reports whether the command says where to listen, even if only at run time.
func (o options) given(c *Command) bool {
	_, address := c.Var(o.addressVar)
	_, host := c.Var(o.hostVar)
	return address || host || len(c.Flags(o.address...)) > 0 || len(c.Flags(o.host...)) > 0
}

// values are the flags that have one: the next option is none.
func values(flags []Flag) []Flag {
	var out []Flag
	for _, f := range flags {
		if !strings.HasPrefix(f.Text, "-") {
			out = append(out, f)
		}
	}
	return out
}

// portOf is the port that host options are about; "" if only the pod knows it.
func (o options) portOf(c *Command) string {
	if f := values(c.Flags(o.port...)); len(f) > 0 {
		return f[len(f)-1].Text
	}
	if w, set := c.Var(o.portVar); set {
		if w == nil {
			return ""
		}
		return w.Text
	}
	return o.local
}

// pair reads host:port.
func (o options) pair(prefix string, w *Word) []Listener {
	text, from := w.Text, 0
	for _, s := range o.scheme {
		if rest, ok := strings.CutPrefix(text, s); ok {
			from, text = len(s), rest
			break
		}
	}
	if strings.HasPrefix(text, "unix:") || strings.HasPrefix(text, "/") {
		return []Listener{w.Listener(prefix+w.Text, text, "", Unix)}
	}
	text, _, _ = strings.Cut(text, "?")
	text, _, _ = strings.Cut(text, "/")
	host, port, ok := splitHostPort(text)
	if !ok {
		return nil
	}
	return []Listener{o.listener(prefix, w, from, host, cmp.Or(port, o.local))}
}

// listener is what a host at offset from of a word means.
func (o options) listener(prefix string, w *Word, from int, host, port string) Listener {
	l := w.Listener(prefix+w.Text, host, port, o.family(host))
	switch {
	case l.Fault == None:
	case isConcrete(host):
		l.Advice = "give an IPv6 address"
	case o.advice != "":
		l.Advice = o.advice
	default:
		repaired := w.Text[:from] + o.both + w.Text[from+len(host):]
		if repaired == "" {
			repaired = "''"
		}
		l.Advice = `use "` + oneLine(prefix+repaired) + `"`
		l.Edits = w.Replace(from, from+len(host), o.both)
	}
	return l
}

// byDefault is the listener of a command that says nothing of its address.
func (c *Command) byDefault(port, advice, doubt string) []Listener {
	if c.Exec == nil {
		return nil
	}
	l := c.Exec.Listener(c.Exec.Text, "", port, IPv4)
	l.Reason, l.Advice, l.Doubt = "binds IPv4 only by default", advice, doubt
	return []Listener{l}
}

// doubted gives listeners a doubt, where they have none.
func doubted(listeners []Listener, doubt string) []Listener {
	for i := range listeners {
		listeners[i].Doubt = cmp.Or(listeners[i].Doubt, doubt)
	}
	return listeners
}

// wildcardsOf leaves out IPv4 addresses that no server may be meant to bind: a client's target looks the same.
func wildcardsOf(listeners []Listener) []Listener {
	return slices.DeleteFunc(listeners, func(l Listener) bool { return isConcrete(l.Address) })
}
