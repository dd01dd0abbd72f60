package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"unicode/utf16"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/quickyaml"
	"github.com/sixgate/sixgate/pkg/rules"
)

// Stored reports whether the object comes from a cluster: nothing of it has a line.
func (d *Document) Stored() bool { return d.text == nil }

// Position returns where the value of a field is written: 1-based line and column (in characters) of the file. For a block
// mapping or list that starts below its key, for an empty value and for a field that is missing it is the key: the field's
// own, or that of the nearest ancestor that exists. A field that comes from an alias or a merge key is where its anchor has it.
func (d *Document) Position(p rules.Path) (line, column int) {
	if d.Stored() {
		return 0, 0
	}
	n, key, depth := d.text.find(d.prefix.With(p...))
	if n == nil {
		return max(d.Line, 1), 1
	}
	empty := n.Kind == yaml.ScalarNode && n.Value == "" && n.Style == 0
	below := n.Kind != yaml.ScalarNode && key != nil && n.Line > key.Line
	if key != nil && (depth < len(d.prefix)+len(p) || empty || below) {
		n = key
	}
	return d.text.place(n)
}

// TextPosition returns where a place inside a string is written: t is a 1-based line and column (in characters) of the string
// that is the value of the field. Column 0 is the first character of the line that is not blank. It is exact for literal
// block scalars; for other ones it is the place of that character, or of the next one that is not white space, and the
// field's Position where there is none, or where t is zero.
func (d *Document) TextPosition(p rules.Path, t rules.TextPos) (line, column int) {
	if d.Stored() || t.Line < 1 {
		return d.Position(p)
	}
	n, _, depth := d.text.find(d.prefix.With(p...))
	if n != nil && depth == len(d.prefix)+len(p) {
		if n = resolved(n); n.Kind == yaml.ScalarNode {
			if off, ok := d.text.inside(n, t); ok {
				return d.text.src.place(off)
			}
		}
	}
	return d.Position(p)
}

// SourceLine returns a 1-based line of the file without its end; "" past the last one.
func (d *Document) SourceLine(line int) string {
	if d.Stored() {
		return ""
	}
	return string(d.text.src.line(line))
}

// SourceNear returns what a 1-based line of the file has around a 1-based column, at most so many characters on either side,
// and the column in that part. A whole file may be one line.
func (d *Document) SourceNear(line, column, characters int) (part string, at int) {
	if d.Stored() {
		return "", 1
	}
	s := d.text.src
	b := s.line(line)
	if b == nil {
		return "", 1
	}
	start := s.starts[line-s.first-1]
	if bytes.HasPrefix(s.data[start:], []byte(bom)) {
		start += len(bom)
	}
	first := max(column-1-characters, 0)
	from := min(s.forward(start, first)-start, len(b))
	to := min(s.forward(start, column-1+characters)-start, len(b))
	return string(b[from:to]), column - first
}

// A source is the bytes of one file.
type source struct {
	file   string
	data   []byte
	first  int  // lines of the file in front of data
	ended  bool // the last line had no end, Read has given it one
	once   sync.Once
	starts []int // offset of each line, as editors count them
	before []int // characters before each multiple of stride: a whole file may be one line
}

const stride = 1 << 10

func (s *source) lines() []int {
	s.once.Do(func() {
		s.starts = []int{0}
		characters := 0
		for i, c := range s.data {
			if i%stride == 0 {
				s.before = append(s.before, characters)
			}
			if utf8.RuneStart(c) {
				characters++
			}
			if c == '\n' {
				s.starts = append(s.starts, i+1)
			}
		}
		s.before = append(s.before, characters)
	})
	return s.starts
}

// characters is how many start before an offset.
func (s *source) characters(off int) int {
	s.lines()
	i := off / stride
	n := s.before[i]
	for _, c := range s.data[i*stride : off] {
		if utf8.RuneStart(c) {
			n++
		}
	}
	return n
}

// forward is the offset that lies so many characters after another one; that of the end where there are fewer.
func (s *source) forward(off, characters int) int {
	want := s.characters(off) + max(characters, 0)
	i := sort.SearchInts(s.before, want+1) - 1
	n := s.before[i]
	for off = min(i*stride, len(s.data)); off < len(s.data); off++ {
		if utf8.RuneStart(s.data[off]) {
			if n == want {
				break
			}
			n++
		}
	}
	return off
}

func (s *source) line(n int) []byte {
	starts := s.lines()
	n -= s.first
	if n < 1 || n > len(starts) {
		return nil
	}
	end := len(s.data)
	if n < len(starts) {
		end = starts[n] - 1
	}
	b := s.data[starts[n-1]:end]
	return bytes.TrimPrefix(bytes.TrimSuffix(b, []byte("\r")), []byte(bom))
}

// place is the 1-based line and column of an offset.
func (s *source) place(off int) (line, column int) {
	var start int
	if s.starts == nil && off < stride { // most documents are asked for nothing but where they begin
		line, start = bytes.Count(s.data[:off], []byte("\n"))+1, bytes.LastIndexByte(s.data[:off], '\n')+1
		return s.first + line, utf8.RuneCount(bytes.TrimPrefix(s.data[start:off], []byte(bom))) + 1
	}
	starts := s.lines()
	line = sort.SearchInts(starts, off+1)
	start = starts[line-1]
	if bytes.HasPrefix(s.data[start:off], []byte(bom)) {
		start += len(bom)
	}
	return s.first + line, s.characters(off) - s.characters(start) + 1
}

// A text is one document of a file. Its nodes are parsed when a position is asked for the first time.
type text struct {
	src        *source
	start, end int // offsets in the file
	content    int // offset of the first content
	isJSON     bool
	isQuick    bool // the quick parser takes it
	lines      func() []int
	parsed     func() (*yaml.Node, error)
	places     func() quickyaml.Places
}

func (t *text) bytes() []byte { return t.src.data[t.start:t.end] }

// root is the document's value; nil if it cannot be parsed.
func (t *text) root() *yaml.Node {
	n, _ := t.parsed()
	return n
}

// problem is why the document cannot be parsed.
func (t *text) problem() string {
	if _, err := t.parsed(); err != nil {
		return err.Error()
	}
	return ""
}

func (t *text) parse() (n *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = nil, fmt.Errorf("parse: %v", p)
		}
	}()
	if t.isJSON { // the YAML parser refuses tabs and \ud83d\ude00
		return parseJSON(t.bytes(), t.lines())
	}
	if t.isQuick {
		if q := parsers.Get().(*quickyaml.Parser); q.Parse(t.bytes()) {
			defer parsers.Put(q)
			return q.Node(), nil
		}
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(t.bytes(), &doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("empty document")
	}
	return doc.Content[0], nil
}

// culprit is the offset in the document of the first key for which bad is true; -1 if there is none.
func (t *text) culprit(bad func(key, value *yaml.Node) bool) int {
	var search func(n *yaml.Node) *yaml.Node
	search = func(n *yaml.Node) *yaml.Node {
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 0 && bad(c, n.Content[i+1]) {
				return c
			}
			if found := search(c); found != nil {
				return found
			}
		}
		return nil
	}
	if root := t.root(); root != nil {
		if n := search(root); n != nil {
			return t.offset(n) - t.start
		}
	}
	return -1
}

// mergeable tells whether the decoder accepts a value of the merge key.
func mergeable(n *yaml.Node) bool {
	if n.Kind == yaml.SequenceNode {
		return !slices.ContainsFunc(n.Content, func(c *yaml.Node) bool { return resolved(c).Kind != yaml.MappingNode })
	}
	return resolved(n).Kind == yaml.MappingNode
}

// offset is where a node starts in the file.
func (t *text) offset(n *yaml.Node) int {
	starts := t.lines()
	line := starts[min(max(n.Line, 1), len(starts))-1]
	return min(t.src.forward(t.start+line, n.Column-1), t.end)
}

// place is the line and column of a node in the file.
func (t *text) place(n *yaml.Node) (line, column int) {
	if t.isQuick { // a document of whole lines, which end with \n alone
		line, _ = t.src.place(t.start)
		return line + n.Line - 1, n.Column
	}
	return t.src.place(t.offset(n))
}

// width is the number of bytes of the first characters of b.
func width(b []byte, characters int) int {
	off := 0
	for ; characters > 0 && off < len(b); characters-- {
		_, n := utf8.DecodeRune(b[off:])
		off += n
	}
	return off
}

// lineStarts returns the offset of each line as YAML 1.1 counts them: it breaks at NEL, LS and PS too.
func lineStarts(b []byte) []int {
	starts := []int{0}
	for i := 0; i < len(b); i++ {
		if n := breakAt(b[i:]); n > 0 {
			i += n - 1
			starts = append(starts, i+1)
		}
	}
	return starts
}

// breakAt is the length of the line break that b starts with; 0 if there is none.
func breakAt(b []byte) int {
	switch {
	case b[0] == '\n':
		return 1
	case b[0] == '\r':
		if len(b) > 1 && b[1] == '\n' {
			return 2
		}
		return 1
	case b[0] == 0xc2 && len(b) > 1 && b[1] == 0x85:
		return 2
	case b[0] == 0xe2 && len(b) > 2 && b[1] == 0x80 && (b[2] == 0xa8 || b[2] == 0xa9):
		return 3
	}
	return 0
}

// parseJSON returns a JSON value as the YAML parser would.
func parseJSON(b []byte, lines []int) (*yaml.Node, error) {
	p := &jsonParser{b: b, lines: lines, dec: json.NewDecoder(bytes.NewReader(b))}
	p.dec.UseNumber()
	return p.value()
}

type jsonParser struct {
	b     []byte
	lines []int
	dec   *json.Decoder
	// Where the last token starts, so that columns are counted once.
	off, line, column int
}

func (p *jsonParser) value() (*yaml.Node, error) {
	at := int(p.dec.InputOffset())
	tok, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	for at < len(p.b) && strings.IndexByte(" \t\r\n,:", p.b[at]) >= 0 {
		at++
	}
	for p.line+1 < len(p.lines) && p.lines[p.line+1] <= at {
		p.line, p.column = p.line+1, 0
		p.off = p.lines[p.line]
	}
	p.column += utf8.RuneCount(p.b[p.off:at])
	p.off = at
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: p.line + 1, Column: p.column + 1}
	switch tok := tok.(type) {
	case json.Delim:
		n.Kind, n.Style = yaml.SequenceNode, yaml.FlowStyle
		if tok == '{' {
			n.Kind = yaml.MappingNode
		}
		for p.dec.More() {
			c, err := p.value()
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, c)
		}
		_, err = p.dec.Token() // the closing one
	case string:
		n.Tag, n.Style, n.Value = "!!str", yaml.DoubleQuotedStyle, tok
	default:
		n.Value = fmt.Sprint(tok)
	}
	return n, err
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.Tag == "!!merge" }

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// find is find from the root; it takes less where the quick parser takes the document.
func (t *text) find(p rules.Path) (n, key *yaml.Node, depth int) {
	if places := t.places(); len(places) > 0 {
		return places.Find(p)
	}
	return find(t.root(), p)
}

// quickPlaces are those of a document that the quick parser takes.
func (t *text) quickPlaces() quickyaml.Places {
	if !t.isQuick {
		return nil
	}
	q := parsers.Get().(*quickyaml.Parser)
	defer parsers.Put(q)
	if !q.Parse(t.bytes()) {
		return nil
	}
	return q.Places()
}

// find follows a path as far as it goes: the last value reached, the key it stands under (nil for the root and in a list)
// and how many elements of the path were found.
func find(root *yaml.Node, p rules.Path) (n, key *yaml.Node, depth int) {
	if n = root; n == nil {
		return nil, nil, 0
	}
	for ; depth < len(p); depth++ {
		in := resolved(n)
		switch e := p[depth].(type) {
		case string:
			k, v := lookup(in, e)
			if v == nil {
				return n, key, depth
			}
			key, n = k, v
		case int:
			if in.Kind != yaml.SequenceNode || e < 0 || e >= len(in.Content) {
				return n, key, depth
			}
			key, n = nil, in.Content[e]
		}
	}
	return n, key, depth
}

// lookup finds the entry of a mapping that the decoder takes: the last one, whether written or merged, and in a list of
// merged mappings the first.
func lookup(in *yaml.Node, name string) (key, value *yaml.Node) {
	if in.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := len(in.Content) - 2; i >= 0; i -= 2 {
		k, v := in.Content[i], in.Content[i+1]
		if !isMerge(k) {
			if keyIs(k, name) {
				return k, v
			}
			continue
		}
		merged := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			merged = v.Content
		}
		for _, m := range merged {
			if key, value = lookup(resolved(m), name); value != nil {
				return key, value
			}
		}
	}
	return nil, nil
}

var bool11 = regexp.MustCompile(`^(?i:y|n|yes|no|on|off|true|false)$`)

// keyIs tells whether a key is name once it is JSON: 080, 1.0 and yes become "64", "1" and "true".
func keyIs(k *yaml.Node, name string) bool {
	k = resolved(k)
	if k.Kind != yaml.ScalarNode || k.Value == name {
		return k.Kind == yaml.ScalarNode
	}
	if k.Style != 0 || k.Tag == "!!str" && !bool11.MatchString(k.Value) {
		return false
	}
	raw, err := sigsyaml.YAMLToJSON([]byte(k.Value + ": 0"))
	return err == nil && string(raw) == "{"+strconv.Quote(name)+":0}"
}

// inside is the offset in the file of a place in a scalar.
func (t *text) inside(n *yaml.Node, pos rules.TextPos) (int, bool) {
	value := n.Value
	for line := 1; line < pos.Line; line++ {
		_, rest, ok := strings.Cut(value, "\n")
		if !ok {
			return 0, false
		}
		value = rest
	}
	before := len(n.Value) - len(value)
	line, _, _ := strings.Cut(value, "\n")
	column := width([]byte(line), pos.Column-1)
	if pos.Column < 1 {
		column = len(line) - len(strings.TrimLeft(line, " \t"))
	}

	b := t.bytes()
	at := t.offset(n) - t.start
	for at < len(b) && strings.IndexByte("&! \t\r\n", b[at]) >= 0 { // anchor and tag
		if b[at] == '&' || b[at] == '!' {
			at += max(bytes.IndexAny(b[at:], " \t\r\n"), 1)
		} else {
			at++
		}
	}
	if at >= len(b) {
		return 0, false
	}
	if n.Style&yaml.LiteralStyle != 0 {
		starts := t.lines()
		i := sort.SearchInts(starts, at+1) - 1 + pos.Line // the header is line 0
		if i >= len(starts) {
			return 0, false
		}
		text := b[starts[i]:]
		if j := bytes.IndexAny(text, "\r\n\u0085\u2028\u2029"); j >= 0 {
			text = text[:j]
		}
		if line == "" {
			return t.start + starts[i], len(bytes.TrimLeft(text, " ")) == 0
		}
		return t.start + starts[i] + len(text) - len(line) + column, bytes.HasSuffix(text, []byte(line))
	}

	// In the other styles only white space differs between the text and what it means, once escapes are decoded: count
	// the characters that are not white space.
	target := before + column
	if strings.TrimLeftFunc(line[column:], isWhite) == "" { // none left on this line
		target = before
	}
	skip := 0
	for _, r := range n.Value[:target] {
		if !isWhite(r) {
			skip++
		}
	}
	want := strings.Join(strings.FieldsFunc(n.Value, isWhite), "")
	for off, r := range glyphs(b, at, n.Style) {
		w, size := utf8.DecodeRuneInString(want)
		if size == 0 || w != r {
			return 0, false
		}
		if skip == 0 {
			return t.start + off, true
		}
		skip--
		want = want[size:]
	}
	return 0, false
}

func isWhite(r rune) bool {
	switch r {
	case ' ', '\t', '\n', '\r', 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

// glyphs yields the characters of the scalar at an offset that are not white space, with their offsets. It does not know
// where a scalar without quotes ends.
func glyphs(b []byte, at int, style yaml.Style) iter.Seq2[int, rune] {
	return func(yield func(int, rune) bool) {
		switch {
		case style&yaml.FoldedStyle != 0:
			at += max(bytes.IndexByte(b[at:], '\n'), 0)
		case style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
			at++
		}
		for at < len(b) {
			r, n := utf8.DecodeRune(b[at:])
			switch {
			case style&yaml.DoubleQuotedStyle != 0 && r == '"':
				return
			case style&yaml.DoubleQuotedStyle != 0 && r == '\\':
				r, n = unescape(b[at:])
			case style&yaml.SingleQuotedStyle != 0 && r == '\'':
				if at+1 >= len(b) || b[at+1] != '\'' {
					return
				}
				n = 2
			}
			if !isWhite(r) && !yield(at, r) {
				return
			}
			at += n
		}
	}
}

// escapes are those of YAML double-quoted scalars and of JSON strings that stand for one character; white space, which
// is never looked at, is all written as a space.
var escapes = map[byte]rune{
	'0': 0, 'a': '\a', 'b': '\b', 't': ' ', '\t': ' ', 'n': ' ', 'v': '\v', 'f': '\f', 'r': ' ', 'e': 0x1b, ' ': ' ', '"': '"',
	'/': '/', '\\': '\\', 'N': ' ', '_': 0xa0, 'L': ' ', 'P': ' ', '\n': ' ', '\r': ' ', '\'': '\'',
}

// unescape decodes the escape sequence that b starts with.
func unescape(b []byte) (r rune, length int) {
	if len(b) < 2 {
		return utf8.RuneError, len(b)
	}
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[b[1]]
	if digits == 0 {
		r, ok := escapes[b[1]]
		if !ok {
			r = utf8.RuneError
		}
		return r, 2
	}
	r = hex(b, digits)
	if utf16.IsSurrogate(r) && len(b) >= 12 && b[6] == '\\' && b[7] == 'u' {
		if pair := utf16.DecodeRune(r, hex(b[6:], 4)); pair != utf8.RuneError {
			return pair, 12
		}
	}
	if !utf8.ValidRune(r) {
		r = utf8.RuneError
	}
	return r, 2 + digits
}

func hex(b []byte, digits int) rune {
	v, err := strconv.ParseUint(string(b[2:min(len(b), 2+digits)]), 16, 32)
	if err != nil {
		return utf8.RuneError
	}
	return rune(v)
}
