package listen

import (
	"slices"
	"strings"
)

// An addressed program opens a socket for each address that an option or variable gives, and makes of a wildcard what its
// runtime makes of it: for Go and the JVM that is one socket for both families, so only an address of IPv4 is a fault.
type addressed struct {
	name, rule    string
	ran, source   string
	names, images []string
	flags         []string // options without dashes: address, host:port, URL, or several with commas between
	vars          []string // variables of the same form
	port          string   // where the value has none
	cases         []Case   // besides those of the first option or variable

	keys, gist []string // as in Program
	files      func([]File) []Listener
}

// proven reports whether the options were run or looked up.
func (a addressed) proven() bool { return a.ran != "" || a.source != unread }

// unread is the source of options that nobody has run or looked up for this table: what they say is only warned about.
const unread = "the names of the options were not looked up, so nothing is refused; Go's net.Listen and the JVM were run"

func (a addressed) stack() stack {
	if a.rule == "listen-java" {
		return jvm
	}
	return golang
}

func (a addressed) row() Program {
	return Program{Name: a.name, Rule: a.rule, Ran: a.ran, Source: a.source, Keys: a.keys, Gist: a.gist, Files: a.files,
		Names: a.names, Images: a.images, Run: a.run, Cases: a.allCases}
}

func (a addressed) run(c *Command) []Listener {
	var out []Listener
	var names []string
	for _, f := range a.flags {
		names = append(names, "--"+f, "-"+f)
	}
	for _, f := range c.Flags(names...) {
		out = append(out, a.listeners(f.Word, f.Name+" ")...)
	}
	for _, name := range a.vars {
		if w, _ := c.Var(name); w != nil {
			out = append(out, a.listeners(w, name+"=")...)
		}
	}
	return out
}

// maxAddresses is how many addresses of one value are read.
const maxAddresses = 100

func (a addressed) listeners(w *Word, prefix string) []Listener {
	var out []Listener
	for i, item := range strings.Split(w.Text, ",") {
		if i == maxAddresses {
			break
		}
		host, port, family := a.stack().address(item)
		if port == "" {
			port = a.port
		}
		l := w.Listener(prefix+strings.TrimSpace(item), host, port, family)
		if l.Fault != None {
			l.Advice = "give an IPv6 address, or none to listen on all"
			if !a.proven() {
				l.Doubt = "the option means something else"
			}
		}
		out = append(out, l)
	}
	return out
}

// address reads host:port, host, :port or a URL.
func (s stack) address(text string) (host, port string, family Family) {
	text = strings.TrimSpace(text)
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if strings.HasPrefix(scheme, "unix") {
			return "", "", Unix
		}
		text, _, _ = strings.Cut(rest, "/")
	}
	if strings.HasPrefix(text, "/") || strings.HasPrefix(text, "unix:") {
		return "", "", Unix
	}
	host, port, ok := splitHostPort(text)
	if !ok || text == "" {
		return text, "", Unknown
	}
	return host, port, s.family(host)
}

// allCases are a wildcard, which is no fault, and an IPv4 address, which is, for the first option or variable.
func (a addressed) allCases() []Case {
	out := slices.Clone(a.cases)
	port := a.port
	if port == "" {
		port = "8080"
	}
	why := ""
	if a.ran == "" {
		why = "not in Debian"
	}
	for _, f := range a.flags[:min(1, len(a.flags))] {
		out = append(out, Case{Config: a.names[0] + " --" + f + "=10.1.2.3:" + port, Port: port, Binds: IPv4, NoFix: true, Doubt: !a.proven(), NotRun: noAddress})
		if why != "" {
			out = append(out, Case{Config: a.names[0] + " --" + f + "=0.0.0.0:" + port, Port: port, Binds: Dual, NotRun: why})
		}
	}
	if len(a.flags) == 0 {
		for _, v := range a.vars[:min(1, len(a.vars))] {
			if strings.ToUpper(v) != v {
				continue // a command line of the shell has no such variable
			}
			out = append(out, Case{Config: v + "=10.1.2.3:" + port + " " + a.names[0], Port: port, Binds: IPv4, NoFix: true, Doubt: !a.proven(), NotRun: noAddress})
			if why != "" {
				out = append(out, Case{Config: v + "=0.0.0.0:" + port + " " + a.names[0], Port: port, Binds: Dual, NotRun: why})
			}
		}
	}
	return out
}
