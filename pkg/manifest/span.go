package manifest

import (
	"bytes"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A kid is one item of a collection as it is written: from the key, the dash or the value in brackets to the end of the value.
type kid struct {
	start, after, end int // after: behind the colon or the dash
	gone              bool
}

// kids are the items of a collection, in order. The caller does not change them.
func (s *splicer) kids(n *yaml.Node, in place) []kid {
	kids, ok := s.items[n]
	if !ok {
		kids = s.measureKids(n, in)
		s.items[n] = kids
	}
	return kids
}

func (s *splicer) measureKids(n *yaml.Node, in place) []kid {
	if n.Kind != yaml.MappingNode && n.Kind != yaml.SequenceNode {
		s.odd(in, "is written as something else than it is; write it out first")
	}
	open := s.props(s.offset(n))
	flow := s.flow(n)
	if flow && (open >= len(s.b) || s.b[open] != "{["[b2i(n.Kind == yaml.SequenceNode)]) {
		s.odd(in, "is a pair without brackets; write it as a mapping")
	}
	var out []kid
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			k := kid{start: s.offset(key)}
			if !flow && k.start > s.start && !s.isIndent(k.start) || key.Kind != yaml.ScalarNode && key.Kind != yaml.AliasNode {
				s.odd(in, "has a key that is written with \"?\" or is no text; write it as \"key: value\"")
			}
			if k.after = s.colon(key, in); k.after < 0 {
				s.odd(in, "has a key without a value; write it as \"key: value\"")
			}
			k.end = s.endOf(n.Content[i+1], k.after, in)
			out = append(out, k)
		}
		return out
	}
	at := open
	for _, c := range n.Content {
		k := kid{start: s.offset(c)}
		if !flow {
			k.start = s.skip(at)
			if k.start >= len(s.b) || s.b[k.start] != '-' || !s.isIndent(k.start) {
				s.odd(in, "%s", errOdd)
			}
			k.after = k.start + 1
		}
		k.end = s.endOf(c, k.after, in)
		at = k.end
		out = append(out, k)
	}
	return out
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// column is where the items of a block collection start, 0-based.
func (s *splicer) column(kids []kid, n *yaml.Node, in place) int {
	if s.flow(n) || len(kids) == 0 {
		return in.indent
	}
	return kids[0].start - s.lineStart(kids[0].start)
}

// isIndent tells whether only blanks and dashes stand before an offset on its line, so that a column can be counted.
func (s *splicer) isIndent(off int) bool {
	return len(bytes.Trim(s.b[s.lineStart(off):off], " -")) == 0
}

func (s *splicer) firstOnLine(off int) bool {
	return len(bytes.Trim(s.b[s.lineStart(off):off], " \t")) == 0
}

// lineStart is where the line of an offset starts, as YAML counts lines.
func (s *splicer) lineStart(off int) int {
	starts := s.lines()
	return s.start + starts[sort.SearchInts(starts, off-s.start+1)-1]
}

// lineEnd is where the next line starts.
func (s *splicer) lineEnd(off int) int {
	starts := s.lines()
	if i := sort.SearchInts(starts, off-s.start+1); i < len(starts) {
		return s.start + starts[i]
	}
	return len(s.b)
}

// skip returns the offset of the next token: blanks, line ends and comments mean nothing.
func (s *splicer) skip(off int) int {
	for off < len(s.b) {
		switch c := s.b[off]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			off++
		case c == '#' && !s.isJSON && (off == s.start || strings.IndexByte(" \t\r\n", s.b[off-1]) >= 0 || bytes.IndexByte([]byte(",{[]}"), s.b[off-1]) >= 0):
			if i := bytes.IndexByte(s.b[off:], '\n'); i >= 0 {
				off += i
			} else {
				return len(s.b)
			}
		default:
			return off
		}
	}
	return off
}

// props returns the end of the anchor and the tag that start at an offset, and of the blanks behind them.
func (s *splicer) props(off int) int {
	if s.isJSON {
		return off
	}
	for off < len(s.b) && (s.b[off] == '&' || s.b[off] == '!') {
		for off < len(s.b) && strings.IndexByte(" \t\r\n,[]{}", s.b[off]) < 0 {
			off++
		}
		off = s.skip(off)
	}
	return off
}

// colon is the offset behind the colon of a key; -1 if it has none.
func (s *splicer) colon(key *yaml.Node, in place) int {
	if off := s.skip(s.endOf(key, s.offset(key), in)); off < len(s.b) && s.b[off] == ':' {
		return off + 1
	}
	return -1
}

// isEmpty: nothing is written, which means null.
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// endOf is the offset behind a value. after is where it may start: an empty one has no place of its own.
func (s *splicer) endOf(n *yaml.Node, after int, in place) int {
	if end, ok := s.ends[n]; ok {
		return end
	}
	end := s.measure(n, after, in)
	s.ends[n] = end
	return end
}

func (s *splicer) measure(n *yaml.Node, after int, in place) int {
	at := s.offset(n)
	if isEmpty(n) {
		if n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 {
			return after
		}
		for at < len(s.b) && (s.b[at] == '&' || s.b[at] == '!') {
			end := at
			for end < len(s.b) && strings.IndexByte(" \t\r\n,[]{}", s.b[end]) < 0 {
				end++
			}
			after, at = end, s.skip(end)
		}
		return after
	}
	at = s.props(at)
	if at >= len(s.b) {
		s.odd(in, "%s", errOdd)
	}
	switch {
	case n.Kind == yaml.AliasNode:
		return min(at+1+len(n.Value), len(s.b))
	case n.Kind != yaml.ScalarNode:
		return s.measureCollection(n, at, in)
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return s.measureBlock(n, in).end
	case n.Style&yaml.DoubleQuotedStyle != 0:
		for at++; at < len(s.b); at++ {
			switch s.b[at] {
			case '\\':
				at++
			case '"':
				return at + 1
			}
		}
	case n.Style&yaml.SingleQuotedStyle != 0:
		for at++; at < len(s.b); at++ {
			if s.b[at] != '\'' {
				continue
			}
			if at+1 < len(s.b) && s.b[at+1] == '\'' {
				at++
				continue
			}
			return at + 1
		}
	case s.isJSON:
		for at < len(s.b) && strings.IndexByte(" \t\r\n,]}", s.b[at]) < 0 {
			at++
		}
		return at
	default: // only white space differs between the text and its meaning
		for _, r := range n.Value {
			if isWhite(r) {
				continue
			}
			for at < len(s.b) {
				got, size := utf8.DecodeRune(s.b[at:])
				at += size
				if got == r {
					break
				}
				if !isWhite(got) {
					s.odd(in, "%s", errOdd)
				}
			}
		}
		return at
	}
	s.odd(in, "%s", errOdd)
	return 0
}

func (s *splicer) measureCollection(n *yaml.Node, at int, in place) int {
	end, last := at, len(n.Content)-1
	if s.flow(n) {
		end++
	}
	if last >= 0 {
		after := s.offset(n.Content[last])
		if n.Kind == yaml.MappingNode {
			if after = s.colon(n.Content[last-1], in); after < 0 { // a key alone
				after = s.endOf(n.Content[last-1], s.offset(n.Content[last-1]), in)
			}
		}
		end = s.endOf(n.Content[last], after, in)
	}
	if !s.flow(n) || s.b[at] != '{' && s.b[at] != '[' { // the second: a pair without brackets
		return end
	}
	if end = s.skip(end); end < len(s.b) && s.b[end] == ',' {
		end = s.skip(end + 1)
	}
	if end >= len(s.b) || s.b[end] != s.b[at]+2 {
		s.odd(in, "%s", errOdd)
	}
	return end + 1
}

// A block is a literal or folded scalar as it is written.
type block struct {
	head   int      // offset of | or >
	body   int      // offset of the first line
	lines  []string // with indentation and line end, those after the last text too
	indent int      // of the text; -1 if there is none
	end    int      // behind the last line that means something, before its line end
}

func (s *splicer) measureBlock(n *yaml.Node, in place) block {
	k := block{head: s.props(s.offset(n)), indent: -1}
	k.body = s.lineEnd(k.head)
	k.end = len(bytes.TrimRight(s.b[:k.body], "\r\n"))
	value := strings.Split(n.Value, "\n")
	first := 0 // line of the value with text
	for first < len(value)-1 && strings.Trim(value[first], " ") == "" {
		first++
	}
	literal := n.Style&yaml.LiteralStyle != 0
	keep := bytes.IndexByte(bytes.TrimRight(firstWord(s.b[k.head:k.body]), "\r\n"), '+') >= 0
	for at := k.body; at < len(s.b); {
		next := s.lineEnd(at)
		line := strings.TrimRight(string(s.b[at:next]), "\r\n")
		blanks := len(line) - len(strings.TrimLeft(line, " "))
		text := blanks < len(line)
		if text && k.indent < 0 {
			k.indent = blanks - (len(value[first]) - len(strings.TrimLeft(value[first], " ")))
			if k.indent < 0 || !literal && k.indent > blanks {
				s.odd(in, "%s", errOdd)
			}
		}
		if text && blanks < k.indent {
			break
		}
		k.lines = append(k.lines, string(s.b[at:next]))
		if text || keep || k.indent >= 0 && blanks > k.indent {
			k.end = at + len(line)
		}
		at = next
	}
	return k
}

func firstWord(b []byte) []byte {
	if i := bytes.IndexAny(b, " \t\r\n"); i >= 0 {
		return b[:i]
	}
	return b
}
