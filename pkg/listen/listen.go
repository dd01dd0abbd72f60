// Package listen answers one question about the configuration of a server program: which addresses does it bind?
// It knows programs and their syntax, and nothing of Kubernetes. Each answer was measured by running the program and
// reading its sockets; e2e/listen repeats the measurements.
package listen

import (
	"cmp"
	"slices"
	"strings"
)

// A File is one configuration file: a file of a folder, or a key of a ConfigMap.
type File struct {
	Name string // base name, by which other files include it
	Text string
}

// A Family is what a listener accepts.
type Family int

const (
	Unknown  Family = iota // a host name, a variable or an address in a form that was not measured
	IPv4                   // IPv4 only
	IPv6                   // IPv6 only, so not 127.0.0.1 either
	Dual                   // one socket for both
	Loopback               // 127.0.0.0/8, ::1 or localhost
	Unix                   // a Unix domain socket
)

func (f Family) String() string {
	names := [...]string{"unknown", "IPv4", "IPv6", "dual", "loopback", "unix"}
	if f < 0 || int(f) >= len(names) {
		return names[Unknown]
	}
	return names[f]
}

// A Fault is why a listener does not serve an IPv6-only cluster.
type Fault int

const (
	None     Fault = iota
	IPv4Only       // the server accepts nothing over IPv6 on this port
	Conflict       // the program exits: a dual-stack socket in the same configuration has the same port
)

func (f Fault) String() string {
	names := [...]string{"none", "IPv4-only", "conflict"}
	if f < 0 || int(f) >= len(names) {
		return names[None]
	}
	return names[f]
}

// A Listener is one address that a program binds, and what is wrong with it.
type Listener struct {
	Program string // as in Programs
	File    string // the File that holds the directive
	Line    int    // 1-based position of the directive, or of the block that should hold one
	Column  int    // 1-based, in bytes
	Text    string // the directive in one line, or the word that opens the block
	Address string // as written, without the port: "", "*", "0.0.0.0", "[::]", "10.1.2.3"
	Port    string // as written or by default: "80", "8000-8010", "${PORT}"; "" for a Unix socket
	UDP     bool
	Family  Family
	Fault   Fault
	Reason  string // the fault as a fact about Text: `binds 0.0.0.0 only`; "" without a fault
	Doubt   string // why Fault, or its absence, may be wrong; "" when the configuration leaves no doubt
	Fix     string // what to add to make the listener dual-stack, in one line; "" if there is no one right answer
	insert  int    // byte offset in the file where Fix belongs
}

// Certain reports whether the configuration alone proves the answer.
func (l Listener) Certain() bool { return l.Doubt == "" }

// A Program is a kind of server whose configuration this package reads.
type Program struct {
	Name      string
	Evidence  string                  // which version was run to learn what it binds
	Listeners func([]File) []Listener // the listeners in files that are unmistakably this program's, else none
}

// Programs returns the programs that are known. To add one: a row here, and a file with its parser.
func Programs() []Program {
	return []Program{
		{"nginx", "nginx 1.22.1, e2e/listen/nginx_test.go", Nginx},
	}
}

// Repair returns the text of f with the Fix of each of its listeners added; everything else stays as it is.
// The listeners must come from the same text.
func Repair(f File, listeners []Listener) string {
	var fixes []Listener
	for _, l := range listeners {
		if l.File == f.Name && l.Fix != "" {
			fixes = append(fixes, l)
		}
	}
	slices.SortStableFunc(fixes, func(a, b Listener) int { return cmp.Compare(a.insert, b.insert) })
	var out strings.Builder
	done := 0
	for _, l := range fixes {
		at, lead := place(f.Text, l.insert)
		// Two directives of one line: the first goes to the end of the line, the second must not go back.
		at = max(at, done)
		out.WriteString(f.Text[done:at])
		out.WriteString(lead + l.Fix)
		done = at
	}
	out.WriteString(f.Text[done:])
	return out.String()
}

// place says where a fix for the directive that ends at offset end goes and what separates it from the text before:
// on a line of its own if nothing but a comment follows, else in the same line.
func place(text string, end int) (at int, lead string) {
	line, _, _ := strings.Cut(text[end:], "\n")
	if rest := strings.TrimSpace(line); rest != "" && rest[0] != '#' {
		return end, " "
	}
	at = end + len(line)
	eol := "\n"
	if strings.HasSuffix(line, "\r") {
		at, eol = at-1, "\r\n"
	}
	start := strings.LastIndexByte(text[:end], '\n') + 1
	if end > 0 && text[end-1] == '{' && at < len(text) {
		// Inside a block that was just opened: the indentation of its first line.
		if next := at + len(eol); next < len(text) && strings.TrimLeft(text[next:], " \t") != "" {
			start = next
		}
	}
	body := strings.TrimLeft(text[start:], " \t")
	return at, eol + text[start:len(text)-len(body)]
}
