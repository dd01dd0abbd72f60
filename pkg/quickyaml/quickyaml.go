// Package quickyaml reads the part of YAML that most manifests are written in, some twenty times as fast as the libraries, which stay
// the judges: it gives the values and places that they give, or it declines. It declines everything that is wrong, so that all messages
// are the libraries', and what is rare: several documents, anchors, aliases, tags, directives, complex keys, keys that are no strings,
// tabs that are not inside a scalar, carriage returns and the other line ends of YAML 1.1, brackets or text as the whole document.
package quickyaml

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// A Parser keeps its memory from one document to the next. The zero Parser is ready.
type Parser struct {
	b     []byte // ends with a line end
	nodes []node
	pos   int  // of the next byte
	start int  // of the line that pos is in
	line  int  // its number, from 1
	next  int  // indentation of the line, once pos is at its content; -1 at the end
	wide  bool // not ASCII only: columns are counted
	depth int
	text  []byte            // of a scalar that is not written as it is
	keys  map[string]string // one copy of each, as long as there are not too many
}

// A node is one node of the document; those below it follow it.
type node struct {
	kind         yaml.Kind
	style        yaml.Style
	line, column int32
	count        int32  // of its children
	value        string // of a scalar
}

const (
	// maxDepth bounds the recursion; nothing that an API server takes is nested so deep.
	maxDepth = 100
	// maxKey is what the libraries take as a key without "? ", at most.
	maxKey = 1000
	// maxKeys bounds the memory of a Parser.
	maxKeys = 4096
)

var errDeclined = errors.New("not in the quick subset")

// Parse reads one document, which is valid UTF-8 and ends with a line end. It reports whether it did: if so, Tree and Node give it,
// until the next call.
func (q *Parser) Parse(b []byte) (ok bool) {
	*q = Parser{b: b, nodes: q.nodes[:0], line: 1, text: q.text[:0], keys: q.keys}
	defer func() {
		if p := recover(); p != nil {
			if p != errDeclined {
				panic(p)
			}
			ok = false
		}
	}()
	if q.wide, ok = onlyText(b); !ok {
		return false
	}
	q.lines()
	if q.next != 0 {
		return false
	}
	end := q.keyEnd()
	if end < 0 {
		return false
	}
	q.mapping(end)
	return q.next < 0
}

// Node returns the value of a text that is one document; nil where the libraries must be asked. It is nil for one that does not
// end with a line end.
func Node(text string) *yaml.Node {
	var q Parser
	if !utf8.ValidString(text) || !q.Parse([]byte(text)) {
		return nil
	}
	return q.Node()
}

func (q *Parser) decline() { panic(errDeclined) }

// onlyText reports whether a document has nothing that a YAML reader takes for a line end but \n, or refuses, and whether it is
// more than ASCII. It is valid UTF-8.
func onlyText(b []byte) (wide, ok bool) {
	if len(b) == 0 || b[len(b)-1] != '\n' {
		return false, false
	}
	for i, c := range b {
		switch {
		case c >= ' ' && c < 0x7f || c == '\n' || c == '\t':
		case c < utf8.RuneSelf, c == 0xef,
			c == 0xc2 && b[i+1] < 0xa0, // controls and NEL
			c == 0xe2 && b[i+1] == 0x80 && (b[i+2] == 0xa8 || b[i+2] == 0xa9):
			return false, false
		default:
			wide = true
		}
	}
	return wide, true
}

// lines goes from the start of a line to the next one with content.
func (q *Parser) lines() {
	for q.pos < len(q.b) {
		i := q.pos
		for q.b[i] == ' ' {
			i++
		}
		switch q.b[i] {
		case '\n':
			q.pos = i
		case '#':
			q.pos = i + bytes.IndexByte(q.b[i:], '\n')
		case '\t', '%':
			q.decline()
		default:
			q.next = i - q.start
			q.pos = i
			return
		}
		q.newline()
	}
	q.next = -1
}

// newline goes from a line end to the start of the next line.
func (q *Parser) newline() {
	q.pos++
	q.start = q.pos
	q.line++
}

// endLine goes from behind a value to the next line with content.
func (q *Parser) endLine() {
	i := q.pos
	for q.b[i] == ' ' {
		i++
	}
	if q.b[i] == '#' && i > q.pos {
		i += bytes.IndexByte(q.b[i:], '\n')
	}
	if q.b[i] != '\n' {
		q.decline()
	}
	q.pos = i
	q.newline()
	q.lines()
}

// add appends a node at an offset of the line.
func (q *Parser) add(kind yaml.Kind, style yaml.Style, at int, value string) int {
	column := at - q.start
	if q.wide {
		column = utf8.RuneCount(q.b[q.start:at])
	}
	q.nodes = append(q.nodes, node{kind: kind, style: style, line: int32(q.line), column: int32(column) + 1, value: value})
	return len(q.nodes) - 1
}

func (q *Parser) enter() {
	if q.depth++; q.depth > maxDepth {
		q.decline()
	}
}

// dash reports whether an element of a block list starts here.
func (q *Parser) dash() bool {
	return q.b[q.pos] == '-' && (q.b[q.pos+1] == ' ' || q.b[q.pos+1] == '\n')
}

// keyEnd is where the colon of the key is that starts here; -1 if it is none.
func (q *Parser) keyEnd() int {
	b, i := q.b, q.pos
	switch c := b[i]; c {
	case '"', '\'':
		for i++; b[i] != c; i++ {
			if b[i] == '\n' || b[i] == '\\' {
				return -1
			}
		}
		if i++; b[i] != ':' || b[i+1] != ' ' && b[i+1] != '\n' {
			return -1
		}
		return i
	case '|', '>', '[', '{':
		return -1
	}
	for {
		switch b[i] {
		case ':':
			if b[i+1] == ' ' || b[i+1] == '\n' {
				return i
			}
		case '#':
			if i > q.pos && b[i-1] == ' ' {
				return -1
			}
		case '\n':
			return -1
		}
		i++
	}
}

// key reads a key whose colon is known.
func (q *Parser) key(end int) {
	text := q.b[q.pos:end]
	if len(text) == 0 || len(text) > maxKey {
		q.decline()
	}
	style := yaml.Style(0)
	switch c := text[0]; c {
	case '"':
		style, text = yaml.DoubleQuotedStyle, text[1:len(text)-1]
	case '\'':
		style, text = yaml.SingleQuotedStyle, text[1:len(text)-1]
	default:
		if indicator(c) || c == '.' || text[len(text)-1] == ' ' || bytes.IndexByte(text, '\t') >= 0 || !isText(text) {
			q.decline()
		}
	}
	if string(text) == "<<" || style != 0 && bytes.IndexByte(text, '\t') >= 0 {
		q.decline()
	}
	q.add(yaml.ScalarNode, style, q.pos, q.share(text))
	q.pos = end + 1
}

// share returns a key: all documents have the same few.
func (q *Parser) share(text []byte) string {
	if key, ok := q.keys[string(text)]; ok {
		return key
	}
	key := string(text)
	if q.keys == nil {
		q.keys = map[string]string{}
	}
	if len(q.keys) < maxKeys && len(key) < 64 {
		q.keys[key] = key
	}
	return key
}

// indicator reports whether a character has, or may have, a meaning at the start of a scalar.
func indicator(c byte) bool { return strings.IndexByte("-?:,[]{}#&*!|>'\"%@`", c) >= 0 }

// mapping reads a block mapping from its first key on, whose colon is known.
func (q *Parser) mapping(end int) {
	q.enter()
	column := q.pos - q.start
	at := q.add(yaml.MappingNode, 0, q.pos, "")
	for count := int32(2); ; count += 2 {
		q.key(end)
		q.value(column, true)
		if q.next < column {
			q.nodes[at].count = count
			break
		}
		if q.next > column {
			q.decline()
		}
		if end = q.keyEnd(); end < 0 {
			q.decline()
		}
	}
	q.depth--
}

// sequence reads a block list from its first dash on.
func (q *Parser) sequence() {
	q.enter()
	column := q.pos - q.start
	at := q.add(yaml.SequenceNode, 0, q.pos, "")
	for count := int32(1); ; count++ {
		q.pos++
		q.value(column, false)
		if q.next < column || q.next == column && !q.dash() {
			q.nodes[at].count = count
			break
		}
		if q.next > column {
			q.decline()
		}
	}
	q.depth--
}

// value reads what stands behind a colon or dash of a collection with a column.
func (q *Parser) value(column int, ofKey bool) {
	before := q.pos
	for q.b[q.pos] == ' ' {
		q.pos++
	}
	if c := q.b[q.pos]; c == '\n' || c == '#' {
		empty := q.add(yaml.ScalarNode, 0, before, "")
		q.pos = before
		q.endLine()
		switch {
		case q.next > column:
			q.nodes = q.nodes[:empty]
			if q.dash() {
				q.sequence()
			} else if end := q.keyEnd(); end >= 0 {
				q.mapping(end)
			} else {
				q.scalar(column)
			}
		case ofKey && q.next == column && q.dash():
			q.nodes = q.nodes[:empty]
			q.sequence()
		}
		return
	}
	if !ofKey {
		if q.dash() {
			q.sequence()
			return
		}
		if end := q.keyEnd(); end >= 0 {
			q.mapping(end)
			return
		}
	}
	q.scalar(column)
}

// scalar reads a scalar or flow collection and goes to the next line with content; column is that of the collection around it.
func (q *Parser) scalar(column int) {
	switch c := q.b[q.pos]; c {
	case '|', '>':
		q.block(column)
		return
	case '"', '\'':
		q.quoted(column)
	case '[', '{':
		q.flow(column)
	default:
		if indicator(c) && (c != '-' || q.dash()) {
			q.decline()
		}
		q.plain(column)
	}
	q.endLine()
}

// plain reads a scalar without quotes. The lines that it goes on for are indented more than what is around it.
func (q *Parser) plain(column int) {
	end := q.plainEnd()
	at := q.add(yaml.ScalarNode, 0, q.pos, "")
	text := q.b[q.pos:end]
	q.pos = end
	folded := false
	for {
		i := end
		for q.b[i] == ' ' {
			i++
		}
		if q.b[i] != '\n' { // a comment
			break
		}
		breaks, start := 0, 0
		for i < len(q.b) && q.b[i] == '\n' {
			breaks++
			i++
			start = i
			for i < len(q.b) && q.b[i] == ' ' {
				i++
			}
		}
		if i == len(q.b) || i-start <= column || q.b[i] == '#' {
			break
		}
		if !folded {
			folded = true
			q.text = append(q.text[:0], text...)
		}
		q.fold(breaks)
		q.line += breaks
		q.start, q.pos = start, i
		end = q.plainEnd()
		q.text = append(q.text, q.b[i:end]...)
		q.pos = end
	}
	if folded {
		text = q.text
	}
	q.nodes[at].value = string(text)
}

// plainEnd is where the part of a plain scalar on this line ends.
func (q *Parser) plainEnd() int {
	b, i := q.b, q.pos
loop:
	for ; ; i++ {
		switch b[i] {
		case '\n':
			break loop
		case '\t':
			q.decline()
		case ':':
			if b[i+1] == ' ' || b[i+1] == '\n' || b[i+1] == '\t' {
				q.decline()
			}
		case '#':
			if b[i-1] == ' ' {
				break loop
			}
		}
	}
	for i > q.pos && b[i-1] == ' ' {
		i--
	}
	return i
}

// fold appends what line ends between two parts of a scalar stand for.
func (q *Parser) fold(breaks int) {
	if breaks == 1 {
		q.text = append(q.text, ' ')
	}
	for ; breaks > 1; breaks-- {
		q.text = append(q.text, '\n')
	}
}

// quoted reads a scalar in quotes.
func (q *Parser) quoted(column int) {
	b, quote := q.b, q.b[q.pos]
	style := yaml.DoubleQuotedStyle
	if quote == '\'' {
		style = yaml.SingleQuotedStyle
	}
	at := q.add(yaml.ScalarNode, style, q.pos, "")
	q.pos++
	i := q.pos
	for b[i] != quote && b[i] != '\n' && (b[i] != '\\' || quote == '\'') {
		i++
	}
	if b[i] == quote && b[i+1] != '\'' {
		q.nodes[at].value = string(b[q.pos:i])
		q.pos = i + 1
		return
	}
	out, solid := append(q.text[:0], b[q.pos:i]...), 0 // solid: what a line end leaves of out
	folded, tab := false, bytes.IndexByte(out, '\t') >= 0
	if n := len(bytes.TrimRight(out, " ")); n > 0 {
		solid = n
	}
	for ; ; i++ {
		c := b[i]
		switch {
		case c == quote && quote == '\'' && b[i+1] == '\'':
			i++
		case c == quote:
			if tab && folded {
				q.decline()
			}
			q.text = out
			q.nodes[at].value = string(out)
			q.pos = i + 1
			return
		case c == '\\' && quote == '"':
			i++
			switch b[i] {
			case '"', '\\', '/':
				c = b[i]
			case 'n':
				c = '\n'
			case 't':
				c = '\t'
			case 'r':
				c = '\r'
			default:
				q.decline()
			}
		case c == '\t':
			tab = true
		case c == ' ':
			out = append(out, c)
			continue
		case c == '\n':
			breaks := 0
			for i < len(b) && b[i] == '\n' {
				breaks++
				i++
				q.start = i
				for i < len(b) && b[i] == ' ' {
					i++
				}
			}
			if i == len(b) || i-q.start <= column {
				q.decline()
			}
			q.line += breaks
			q.text = out[:solid]
			q.fold(breaks)
			out, folded = q.text, true
			solid = len(out)
			i--
			continue
		}
		out = append(out, c)
		solid = len(out)
	}
}

// block reads a literal or folded scalar, and goes to the next line with content.
func (q *Parser) block(column int) {
	b := q.b
	style, literal := yaml.FoldedStyle, b[q.pos] == '|'
	if literal {
		style = yaml.LiteralStyle
	}
	at := q.add(yaml.ScalarNode, style, q.pos, "")
	q.pos++
	chomp := byte(0)
	if c := b[q.pos]; c == '-' || c == '+' {
		chomp = c
		q.pos++
	}
	i := q.pos
	for b[i] == ' ' {
		i++
	}
	if b[i] == '#' && i > q.pos {
		i += bytes.IndexByte(b[i:], '\n')
	}
	if b[i] != '\n' { // an indentation of its own
		q.decline()
	}
	q.pos = i
	q.newline()
	out := q.text[:0]
	indent := -1
	breaks, widest := 0, 0   // line ends that are not written yet, before the first line of text: spaces of blank ones
	lead, spaced := 0, false // a line of text has ended; it starts with white space
	for q.pos < len(b) {
		i := q.pos
		for i < len(b) && b[i] == ' ' && (indent < 0 || i-q.start < indent) {
			i++
		}
		if b[i] == '\n' && (indent < 0 || i-q.start <= indent) {
			widest = max(widest, i-q.start)
			breaks++
			q.pos = i
			q.newline()
			continue
		}
		if indent < 0 {
			if indent = i - q.start; indent <= column {
				break
			}
			if widest > indent || b[i] == '\t' {
				q.decline()
			}
		} else if i-q.start < indent {
			if b[i] == '\t' {
				q.decline()
			}
			break
		}
		end := i + bytes.IndexByte(b[i:], '\n')
		blank := b[i] == ' ' || b[i] == '\t'
		switch {
		case lead == 0:
		case !literal && !spaced && !blank:
			if breaks == 0 {
				out = append(out, ' ')
			}
		default:
			out = append(out, '\n')
		}
		for ; breaks > 0; breaks-- {
			out = append(out, '\n')
		}
		out = append(out, b[i:end]...)
		lead, spaced = 1, blank
		q.pos = end
		q.newline()
	}
	if lead == 0 && (breaks > 0 || chomp == '+') {
		q.decline()
	}
	if lead > 0 && chomp != '-' {
		out = append(out, '\n')
	}
	if chomp == '+' {
		for ; breaks > 0; breaks-- {
			out = append(out, '\n')
		}
	}
	q.text = out
	q.nodes[at].value = string(out)
	q.pos = q.start
	q.lines()
}

// flow reads a collection in brackets, or what is in one.
func (q *Parser) flow(column int) {
	switch q.b[q.pos] {
	case '[':
		q.flowItems(column, yaml.SequenceNode, ']')
	case '{':
		q.flowItems(column, yaml.MappingNode, '}')
	case '"', '\'':
		q.quoted(column)
	default:
		q.flowPlain()
	}
}

func (q *Parser) flowItems(column int, kind yaml.Kind, closing byte) {
	q.enter()
	at := q.add(kind, yaml.FlowStyle, q.pos, "")
	q.pos++
	q.space(column)
	count := int32(0)
	for q.b[q.pos] != closing {
		if count > 0 {
			if q.b[q.pos] != ',' {
				q.decline()
			}
			q.pos++
			q.space(column)
		}
		count++
		if kind == yaml.MappingNode {
			q.flowKey(column)
			count++
		}
		q.flow(column)
		q.space(column)
	}
	q.pos++
	q.nodes[at].count = count
	q.depth--
}

func (q *Parser) flowKey(column int) {
	from, line, at := q.pos, q.line, len(q.nodes)
	if c := q.b[from]; c == '"' || c == '\'' {
		q.quoted(column)
	} else if q.flowPlain(); !isText([]byte(q.nodes[at].value)) {
		q.decline()
	}
	if q.line != line || q.pos-from > maxKey || q.nodes[at].value == "<<" || q.b[q.pos] != ':' || q.b[q.pos+1] != ' ' {
		q.decline()
	}
	q.pos++
	q.space(column)
}

// space passes over white space between the parts of a flow collection.
func (q *Parser) space(column int) {
	for {
		switch q.b[q.pos] {
		case ' ':
			q.pos++
			continue
		case '\n':
			q.newline()
			i := q.pos
			for i < len(q.b) && q.b[i] == ' ' {
				i++
			}
			if i == len(q.b) || i-q.start <= column {
				q.decline()
			}
			q.pos = i
			continue
		}
		return
	}
}

// flowPlain reads a scalar without quotes in a flow collection. It ends where nothing else can follow.
func (q *Parser) flowPlain() {
	b, i := q.b, q.pos
	if c := b[i]; indicator(c) && (c != '-' || !flowSafe(b[i+1])) {
		q.decline()
	}
	for flowSafe(b[i]) || b[i] == ' ' || b[i] == ':' && flowSafe(b[i+1]) {
		i++
	}
	text := bytes.TrimRight(b[q.pos:i], " ")
	if len(text) == 0 {
		q.decline()
	}
	q.add(yaml.ScalarNode, 0, q.pos, string(text))
	q.pos += len(text)
}

// flowSafe reports whether a character means nothing inside a flow collection.
func flowSafe(c byte) bool {
	return c >= utf8.RuneSelf || c > ' ' && strings.IndexByte(",[]{}:?#\"'&*!|>%@`", c) < 0
}

// Tree is the value of the document as kubectl reads it, by sigs.k8s.io/yaml and then sigs.k8s.io/json: map[string]any, []any, string,
// int64, float64, bool and nil. False where that is an error, as a key is that is given twice.
func (q *Parser) Tree() (any, bool) {
	at, ok := 0, true
	var value func() any
	value = func() any {
		n := &q.nodes[at]
		at++
		switch n.kind {
		case yaml.MappingNode:
			m := make(map[string]any, n.count/2)
			for range n.count / 2 {
				key := q.nodes[at].value
				at++
				m[key] = value()
			}
			ok = ok && len(m) == int(n.count/2)
			return m
		case yaml.SequenceNode:
			l := make([]any, n.count)
			for i := range l {
				l[i] = value()
			}
			return l
		}
		if n.style != 0 {
			return n.value
		}
		v, known := plainValue(n.value)
		ok = ok && known
		return v
	}
	v := value()
	return v, ok
}

// Node is the document as go.yaml.in/yaml/v3 parses it, without comments.
func (q *Parser) Node() *yaml.Node {
	all := make([]yaml.Node, len(q.nodes))
	at := 0
	var build func() *yaml.Node
	build = func() *yaml.Node {
		from, n := &q.nodes[at], &all[at]
		at++
		*n = *from.node()
		if n.Tag = "!!str"; from.style == 0 || from.kind != yaml.ScalarNode {
			n.Tag = ""
			n.Tag = n.ShortTag()
		}
		if from.count > 0 {
			n.Content = make([]*yaml.Node, from.count)
			for i := range n.Content {
				n.Content[i] = build()
			}
		}
		return n
	}
	return build()
}

// Places are where the nodes of a document are, without their values as a tree.
type Places []node

// maxPlaces bounds what Find walks over: a document may have a finding in each of its nodes.
const maxPlaces = 4096

// Places returns those of the document; nil where they are so many that the tree of Node is quicker to search. They stay what they are
// when the Parser is used again.
func (q *Parser) Places() Places {
	if len(q.nodes) > maxPlaces {
		return nil
	}
	return slices.Clone(q.nodes)
}

// Find follows a path of names and indices as far as it goes: the last value reached, the key it stands under (nil for the root and in
// a list) and how many elements of the path were found. The nodes are as those of Node, without Tag and Content.
func (p Places) Find(path []any) (value, key *yaml.Node, depth int) {
	at, under := 0, -1
	for ; depth < len(path); depth++ {
		in, next := &p[at], -1
		switch e := path[depth].(type) {
		case string:
			if in.kind == yaml.MappingNode {
				for i, n := at+1, in.count; n > 0; n -= 2 { // no key is there twice
					if p[i].value == e {
						next, under = i+1, i
						break
					}
					i = p.skip(i + 1)
				}
			}
		case int:
			if in.kind == yaml.SequenceNode && e >= 0 && e < int(in.count) {
				next, under = at+1, -1
				for range e {
					next = p.skip(next)
				}
			}
		}
		if next < 0 {
			break
		}
		at = next
	}
	if under >= 0 {
		key = p[under].node()
	}
	return p[at].node(), key, depth
}

// skip is where the node that follows another one and all below it is.
func (p Places) skip(at int) int {
	for left := 1; left > 0; at++ {
		left += int(p[at].count) - 1
	}
	return at
}

func (n *node) node() *yaml.Node {
	return &yaml.Node{Kind: n.kind, Style: n.style, Value: n.value, Line: int(n.line), Column: int(n.column)}
}

// isText reports whether a scalar without quotes is a string, and certainly so.
func isText(b []byte) bool {
	switch c := b[0]; {
	case strings.IndexByte("yYnNtTfFoO~", c) >= 0:
		switch string(b) {
		case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON", "n", "N", "no", "No", "NO", "false", "False", "FALSE",
			"off", "Off", "OFF", "~", "null", "Null", "NULL":
			return false
		}
		return true
	case (c == '+' || c == '-') && (len(b) == 1 || strings.IndexByte("._0123456789", b[1]) < 0):
		return true
	case c == '.' || c == '+' || c == '-' || c >= '0' && c <= '9':
		// No number has two dots, nor any character but these; of what looks like a time the libraries make a string too.
		dots := 0
		for _, c := range b {
			if c == '.' {
				dots++
			} else if (c < '0' || c > '9') && strings.IndexByte("+-_abcdefABCDEFxXoOpPinftyINFTY", c) < 0 {
				return true
			}
		}
		return dots > 1
	}
	return true
}

// plainValue is what a scalar without quotes stands for; false if that is an error.
func plainValue(s string) (any, bool) {
	switch s {
	case "":
		return nil, true
	case "true":
		return true, true
	case "false":
		return false, true
	}
	if c := s[0]; c >= '1' && c <= '9' && len(s) <= 18 {
		n := int64(0)
		for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			if n = 10*n + int64(s[i]-'0'); i == len(s)-1 {
				return n, true
			}
		}
	} else if s == "0" {
		return int64(0), true
	}
	if isText([]byte(s)) {
		return s, true
	}
	raw, err := sigsyaml.YAMLToJSON([]byte(s))
	if err != nil {
		return nil, false
	}
	var v any
	if _, err := kjson.UnmarshalStrict(raw, &v); err != nil {
		return nil, false
	}
	return v, true
}
