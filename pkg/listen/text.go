package listen

import (
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/quickyaml"
)

// A span is a part of a text.
type span struct {
	text       string // without quotes
	start, end int    // offsets in the whole text, with the quotes
}

// A directive of a format that has one in each line: "name argument argument # comment".
type lineDirective struct {
	name span // its text is not empty
	args []span
	end  int // offset after the last word
}

// at gives the place of a directive or span to a listener.
func at(f File, offset int, l Listener) Listener {
	l.File = f.Name
	l.Line, l.Column = position(f.Text, offset)
	return l
}

// source is the text of a directive in one line, as it is written.
func (d lineDirective) source(f File) string { return oneLine(f.Text[d.name.start:d.end]) }

// maxLines bounds the work on one file; no configuration of a server that people write has more.
const maxLines = 100000

// lineDirectives splits a text into lines and words. Words may be in single or double quotes; a word that starts with the
// comment character ends the line, unless it is the first of two (\#). A backslash at the end of a line continues it where
// continued is true.
func lineDirectives(text string, comment byte, continued bool) []lineDirective {
	return firstDirectives(text, comment, continued, lineCount(text))
}

// firstDirectives are so many of lineDirectives.
func firstDirectives(text string, comment byte, continued bool, most int) []lineDirective {
	out := make([]lineDirective, 0, most)
	var words []span // of one line
	var args pool[span]
	for i, lines := 0, 0; i < len(text) && lines < maxLines && len(out) < most; lines++ {
		words = words[:0]
		for i < len(text) && text[i] != '\n' {
			switch c := text[i]; {
			case c == ' ' || c == '\t' || c == '\r':
				i++
			case continued && c == '\\' && strings.HasPrefix(strings.TrimPrefix(text[i+1:], "\r"), "\n"):
				i += 1 + strings.IndexByte(text[i:], '\n')
			case c == comment:
				i += len(lineAt(text, i))
			default:
				var w span
				w, i = lineWord(text, i)
				words = append(words, w)
			}
		}
		i++
		if len(words) > 0 {
			if words[0].text == "" { // a name has a first letter
				words[0].text = text[words[0].start:words[0].end]
			}
			out = append(out, lineDirective{words[0], args.keep(words[1:]), words[len(words)-1].end})
		}
	}
	return out
}

// A pool has parts of large arrays for many short lists, which takes few allocations.
type pool[T any] struct{ array []T }

// keep returns a copy of a list.
func (p *pool[T]) keep(list []T) []T {
	if len(list) > cap(p.array)-len(p.array) {
		p.array = make([]T, 0, max(len(list), 32, min(2*cap(p.array), 1024)))
	}
	start := len(p.array)
	p.array = append(p.array, list...)
	return p.array[start:len(p.array):len(p.array)]
}

// lineCount is how many lines a text has at most, for the first allocation.
func lineCount(text string) int { return min(strings.Count(text, "\n")+1, maxLines) }

func lineWord(text string, i int) (span, int) {
	start := i
	if q := text[i]; q == '"' || q == '\'' {
		if end := strings.IndexByte(text[i+1:], q); end >= 0 && !strings.Contains(text[i+1:i+1+end], "\n") {
			end += i + 2
			return span{text[i+1 : end-1], start, end}, end
		}
	}
	for i < len(text) && text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n' {
		i++
	}
	return span{text[start:i], start, i}, i
}

// A setting is a "key = value" line of an INI-like format.
type setting struct {
	section string // of the nearest [section] above, lower case; ""
	key     span   // text is lower case
	value   span   // without the quotes around it and without a comment after it
	end     int    // offset after the value
}

func (s setting) source(f File) string { return oneLine(f.Text[s.key.start:s.value.end]) }

// settings reads "key = value" lines with [sections]; comments starts with one of the characters at the start of a line, or after
// white space. A key without "=" has an empty value. Where colon is true, ":" separates too.
func settings(text, comments string, colon bool) []setting {
	out := make([]setting, 0, lineCount(text))
	section := ""
	for start, lines := 0, 0; start < len(text) && lines < maxLines; lines++ {
		end := len(text)
		if i := strings.IndexByte(text[start:], '\n'); i >= 0 {
			end = start + i
		}
		line := text[start:end]
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "" || strings.IndexByte(comments, trimmed[0]) >= 0:
		case trimmed[0] == '[':
			if i := strings.IndexByte(trimmed, ']'); i > 0 {
				section = strings.ToLower(strings.TrimSpace(trimmed[1:i]))
			}
		default:
			out = append(out, readSetting(text, section, comments, colon, start, end))
		}
		start = end + 1
	}
	return out
}

func readSetting(text, section, comments string, colon bool, start, end int) setting {
	sep := end
	for i := start; i < end; i++ {
		if text[i] == '=' || colon && text[i] == ':' {
			sep = i
			break
		}
	}
	trim := func(a, b int) (int, int) {
		for a < b && strings.IndexByte(" \t\r", text[a]) >= 0 {
			a++
		}
		for a < b && strings.IndexByte(" \t\r", text[b-1]) >= 0 {
			b--
		}
		return a, b
	}
	ka, kb := trim(start, sep)
	s := setting{section: section, key: span{strings.ToLower(text[ka:kb]), ka, kb}}
	va, vb := trim(min(sep+1, end), end)
	if va < vb && (text[va] == '"' || text[va] == '\'') {
		if i := strings.IndexByte(text[va+1:vb], text[va]); i >= 0 {
			s.value = span{text[va+1 : va+1+i], va, va + 2 + i}
			s.end = s.value.end
			return s
		}
	}
	for i := va + 1; i < vb; i++ {
		if strings.IndexByte(comments, text[i]) >= 0 && (text[i-1] == ' ' || text[i-1] == '\t') {
			va, vb = trim(va, i)
			break
		}
	}
	s.value = span{text[va:vb], va, vb}
	s.end = vb
	return s
}

// A yamlNode is a value of a YAML document with its place in the text.
type yamlNode struct {
	*yaml.Node
	f     File
	lines *yamlLines
}

// yamlLines are the offsets of the lines of a text. In ASCII a column is an offset too.
type yamlLines struct {
	offsets []int
	ascii   bool
}

// maxYAML is the longest YAML text that is read: the parser takes about a second for 10 MB.
const maxYAML = 1 << 20

// maxYAMLLine is the longest line outside ASCII: there a column is found by counting.
const maxYAMLLine = 1 << 16

// maxYAMLDepth is how deep brackets nest: the parser takes quadratic time.
const maxYAMLDepth = 1000

// maxDocuments is how many documents a YAML text has at most: no server is configured by as many.
const maxDocuments = 1000

// readYAML returns the documents of a YAML or JSON text; none if any of it cannot be parsed.
func readYAML(f File) []yamlNode {
	if len(f.Text) > maxYAML || strings.Contains(f.Text, "{{") {
		return nil
	}
	lines := &yamlLines{[]int{0}, true}
	longest, start := 0, 0
	depth, deepest := 0, 0 // of brackets; those in comments and strings do no harm
	for i := range len(f.Text) {
		switch f.Text[i] {
		case '[', '{':
			depth++
			deepest = max(deepest, depth)
		case ']', '}':
			depth--
		}
		lines.ascii = lines.ascii && f.Text[i] < utf8.RuneSelf
		if f.Text[i] == '\n' {
			longest, start = max(longest, i-start), i+1
			lines.offsets = append(lines.offsets, start)
		}
	}
	if longest = max(longest, len(f.Text)-start); longest > maxYAMLLine && !lines.ascii || deepest > maxYAMLDepth {
		return nil
	}
	if strings.Count(f.Text, "\r") != strings.Count(f.Text, "\r\n") || !lines.ascii && strings.ContainsAny(f.Text, "\u0085\u2028\u2029") {
		return nil // the parser breaks lines there
	}
	if n := quickyaml.Node(f.Text); n != nil {
		return []yamlNode{{n, f, lines}}
	}
	var out []yamlNode
	decoder := yaml.NewDecoder(strings.NewReader(f.Text))
	for {
		var n yaml.Node
		if err := decoder.Decode(&n); err != nil {
			if err == io.EOF {
				return out
			}
			return nil
		}
		if len(out) == maxDocuments {
			return nil
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			out = append(out, yamlNode{n.Content[0], f, lines})
		}
	}
}

// get returns the value below keys; Node is nil if there is none. Aliases are followed, merge keys are not.
func (n yamlNode) get(keys ...string) yamlNode {
	at := n.Node
next:
	for _, k := range keys {
		if at = target(at); at == nil || at.Kind != yaml.MappingNode {
			return yamlNode{}
		}
		for i := 0; i+1 < len(at.Content); i += 2 {
			if at.Content[i].Value == k {
				at = at.Content[i+1]
				continue next
			}
		}
		return yamlNode{}
	}
	return yamlNode{target(at), n.f, n.lines}
}

func target(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode; i++ {
		if i > 10 {
			return nil
		}
		n = n.Alias
	}
	return n
}

// exists reports whether there is a value.
func (n yamlNode) exists() bool { return n.Node != nil }

// str is the value of a scalar, else "".
func (n yamlNode) str() string {
	if n.Node == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// items are the elements of a list; a scalar is a list of one.
func (n yamlNode) items() []yamlNode {
	if n.Node == nil {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		return []yamlNode{n}
	}
	var out []yamlNode
	for _, c := range n.Content {
		out = append(out, yamlNode{target(c), n.f, n.lines})
	}
	return out
}

// keys are the keys of a mapping with their values, in order.
func (n yamlNode) keys() []yamlKey {
	if n.Node == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	var out []yamlKey
	for i := 0; i+1 < len(n.Content); i += 2 {
		out = append(out, yamlKey{yamlNode{n.Content[i], n.f, n.lines}, yamlNode{target(n.Content[i+1]), n.f, n.lines}})
	}
	return out
}

type yamlKey struct{ key, value yamlNode }

// offset is where the value starts in the text; 0 if there is none. Columns of the parser count characters.
func (n yamlNode) offset() int {
	if n.Node == nil || n.Line < 1 || n.Line > len(n.lines.offsets) {
		return 0
	}
	off := n.lines.offsets[n.Line-1]
	if n.lines.ascii {
		return min(off+n.Column-1, len(n.f.Text))
	}
	column := 1
	for i := range n.f.Text[off:] {
		if column == n.Column {
			return off + i
		}
		column++
	}
	return len(n.f.Text)
}

func lineAt(text string, off int) string {
	line, _, _ := strings.Cut(text[off:], "\n")
	return line
}

// listener is a listener that this scalar configures; text is how a message quotes it.
func (n yamlNode) listener(text, address, port string, family Family) Listener {
	l := Listener{File: n.f.Name, Line: 1, Column: 1, Text: oneLine(text), Address: address, Port: port, Family: family}
	if n.Node != nil && n.Line >= 1 && n.Line <= len(n.lines.offsets) {
		l.Line, l.Column = n.Line, 1+n.offset()-n.lines.offsets[n.Line-1]
	}
	if family == IPv4 {
		l.Fault, l.Reason = IPv4Only, binds0(address)
	}
	return l
}

// replace is the edit that writes another value for a plain or quoted scalar of one line, quoted; none for others.
func (n yamlNode) replace(value string) []Edit {
	if n.Node == nil {
		return nil
	}
	start := n.offset()
	var end int
	switch n.Style {
	case 0:
		end = start + len(n.Value)
	case yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle:
		end = start + len(n.Value) + 2
	default:
		return nil
	}
	// Escapes and folded lines are written in another length than they have.
	if end > len(n.f.Text) || strings.Trim(n.f.Text[start:end], `"'`) != n.Value || strings.ContainsAny(value, "\"\\\n") {
		return nil
	}
	return []Edit{{n.f.Name, start, end, `"` + value + `"`}}
}
