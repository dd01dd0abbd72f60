package listen

import (
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Read returns the listeners of a case and the texts that Repair may change: the file, or the words of the command line.
func (c Case) Read() ([]Listener, []File) {
	if c.File != "" {
		f := File{c.File, c.Config}
		return ReadFiles([]File{f}), []File{f}
	}
	p, files := c.process()
	return ReadProcess(p), files
}

// process is the command line of a case.
func (c Case) process() (Process, []File) {
	p := Process{Image: c.Image}
	var files []File
	for i, w := range Words(c.Config) {
		f := File{fmt.Sprint("word ", i), w}
		name, value, ok := strings.Cut(w, "=")
		if ok && len(p.Command) == 0 && strings.ToUpper(name) == name {
			f.Text = value
			p.Env = append(p.Env, Variable{name, f, true})
		} else {
			p.Command = append(p.Command, f)
		}
		files = append(files, f)
	}
	return p, files
}

// Answer is who reaches a port according to listeners; Unknown if none has it, or if the program exits. A listener that knows
// no port counts for any.
func Answer(listeners []Listener, port string) Family {
	answer := Unknown
	for _, l := range listeners {
		switch {
		case l.Fault == Conflict:
			return Unknown
		case l.Port != port && l.Port != "" || l.UDP:
		case answer == Unknown || answer == Loopback, l.Family == Dual:
			answer = l.Family
		case answer == IPv4 && l.Family == IPv6, answer == IPv6 && l.Family == IPv4:
			answer = Dual
		}
	}
	return answer
}

// Repaired is the case with its faults repaired; the same case where there is nothing to repair.
func (c Case) Repaired() Case {
	listeners, files := c.Read()
	if c.File != "" {
		c.Config = Repair(files[0], listeners)
		return c
	}
	if !slices.ContainsFunc(listeners, Listener.Fixable) {
		return c
	}
	var words []string
	for i, w := range Words(c.Config) {
		text := Repair(files[i], listeners)
		if name, value, ok := strings.Cut(w, "="); ok && value == files[i].Text && w != files[i].Text {
			text = name + "=" + text
		}
		quoted, err := syntax.Quote(text, syntax.LangBash)
		if err != nil {
			return c
		}
		words = append(words, quoted)
	}
	c.Config = strings.Join(words, " ")
	return c
}

// Words splits a command line of a Case as a shell does, without expansions.
func Words(line string) []string {
	var out []string
	file, err := syntax.NewParser().Parse(strings.NewReader(line), "")
	if err != nil || len(file.Stmts) != 1 {
		return nil
	}
	w := plainWord(File{Text: line})
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Assign:
			if n.Name == nil {
				return true // an argument of export and its like
			}
			text := n.Name.Value + "="
			if n.Value != nil {
				text += w.shellWord(n.Value).Text
			}
			out = append(out, text)
			return false
		case *syntax.Word:
			out = append(out, w.shellWord(n).Text)
			return false
		}
		return true
	})
	return out
}
