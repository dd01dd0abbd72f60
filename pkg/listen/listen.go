// Package listen answers one question about the configuration of a server program: which addresses does it bind?
// It knows programs and their syntax, and nothing of Kubernetes. What it says was measured by running the program and reading
// its sockets, or read in the program's source or documentation; each program's row says which. e2e/listen repeats the
// measurements.
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
	Dual                   // both
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
	Program string // Name of a Program
	File    string // the File, or the word or variable of a Process, that holds the directive
	Line    int    // 1-based position of the directive, or of the block that should hold one
	Column  int    // 1-based, in bytes
	Text    string // the directive in one line, or the word that opens the block
	Address string // as written, without the port: "", "*", "0.0.0.0", "[::]", "10.1.2.3"
	Port    string // as written or by default: "80", "8000-8010", "${PORT}"; "" for a Unix socket or if it is set elsewhere
	UDP     bool
	Family  Family
	Fault   Fault
	Reason  string // the fault as a fact about Text: `binds 0.0.0.0 only`; "" without a fault
	Doubt   string // why Fault, or its absence, may be wrong; "" when the configuration leaves no doubt
	Advice  string // the way out, imperative, in one line: `add "listen [::]:80;"`; "" without a fault
	Edits   []Edit // what Advice means for the texts, where there is one right answer; all of them or none
}

// An Edit replaces bytes Start to End of a File, of a word or of a variable by New.
type Edit struct {
	File       string
	Start, End int
	New        string
}

// Certain reports whether the configuration alone proves the answer.
func (l Listener) Certain() bool { return l.Doubt == "" }

// Fixable reports whether Repair knows the one right answer.
func (l Listener) Fixable() bool { return len(l.Edits) > 0 }

// Repair returns the text of f with the Edits of all listeners made; everything else stays as it is. The listeners must come
// from the same text. An edit that two listeners share is made once; of two that overlap, the first.
func Repair(f File, listeners []Listener) string {
	var edits []Edit
	seen := map[Edit]bool{}
	for _, l := range listeners {
		for _, e := range l.Edits {
			if e.File == f.Name && !seen[e] {
				seen[e] = true
				edits = append(edits, e)
			}
		}
	}
	slices.SortStableFunc(edits, func(a, b Edit) int { return cmp.Compare(a.Start, b.Start) })
	var out strings.Builder
	done := 0
	for _, e := range edits {
		if e.Start < done || e.End < e.Start || e.End > len(f.Text) {
			continue
		}
		out.WriteString(f.Text[done:e.Start])
		out.WriteString(e.New)
		done = e.End
	}
	out.WriteString(f.Text[done:])
	return out.String()
}

// addLine is the edit that adds a directive after the one that ends at offset end of f: on a line of its own, with the
// indentation of its neighbour, if nothing but a # comment follows in the line, else in the same line.
func addLine(f File, end int, directive string) Edit {
	at, lead := place(f.Text, end)
	return Edit{f.Name, at, at, lead + directive}
}

// place says where a directive after the one that ends at offset end goes and what separates it from the text before.
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

// position is the 1-based line and column, in bytes, of an offset in a text.
func position(text string, offset int) (line, column int) {
	before := text[:offset]
	return 1 + strings.Count(before, "\n"), offset - strings.LastIndexByte(before, '\n')
}
