package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// replace writes another value in the place of one.
func (s *splicer) replace(n *yaml.Node, in place, want any) {
	s.unused(n, in)
	text, isText := want.(string)
	isBlock := n.Kind != yaml.ScalarNode && !s.flow(n)
	if n.Kind == yaml.ScalarNode && isText && !isEmpty(n) {
		s.scalar(n, in, text)
		return
	}
	start, end := s.props(s.offset(n)), s.endOf(n, in.after, in)
	if isEmpty(n) {
		start = end
	}
	if n.Style&yaml.TaggedStyle != 0 {
		s.odd(in, "has the tag %s; remove it first", cut(n.Tag, 40))
	}
	if in.flow {
		text := s.flowText(want)
		if start > 0 && s.b[start-1] == ':' && !s.isJSON {
			text = " " + text
		}
		s.edit(start, end, text)
		return
	}
	if in.after <= 0 {
		s.odd(in, "is the whole document; replace it by hand")
	}
	if n.Anchor != "" {
		s.odd(in, "has the anchor &%s; remove it first", cut(n.Anchor, 40))
	}
	_, isMap := want.(map[string]any)
	_, isList := want.([]any)
	inBlock := !isEmptyCollection(want) && (isMap || isList) && (isBlock || isEmpty(n) || n.Kind == yaml.ScalarNode || len(n.Content) == 0)
	dash := s.b[in.after-1] == '-'
	switch {
	case inBlock && dash:
		s.edit(in.after, end, " "+strings.Join(s.block(want, in.indent+2, in.indent), s.newline))
	case inBlock:
		s.edit(in.after, end, "")
		lines := s.block(want, s.below(want, in.indent), in.indent)
		margin := strings.Repeat(" ", s.below(want, in.indent))
		at := s.lineEnd(max(end-1, in.after))
		s.edit(at, at, margin+strings.Join(lines, s.newline)+s.newline)
	case isBlock || isEmpty(n):
		s.edit(in.after, end, " "+s.inline(want))
	default:
		s.edit(start, end, s.inline(want))
	}
}

func isEmptyCollection(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return false
}

// below is the column of a collection that stands below a key.
func (s *splicer) below(v any, indent int) int {
	if _, isList := v.([]any); isList {
		return indent + s.listStep
	}
	return indent + s.mapStep
}

// added is a new item of a block collection, in lines; the first has no indentation, the others have all.
func (s *splicer) added(n *yaml.Node, a addition, column int) []string {
	if n.Kind == yaml.MappingNode {
		return s.entry(a.key, a.value, column)
	}
	return s.dash(a.value, column)
}

func (s *splicer) dash(v any, column int) []string {
	lines := s.block(v, column+2, column)
	lines[0] = "- " + lines[0]
	return lines
}

func (s *splicer) entry(key string, v any, column int) []string {
	head := yamlText(key) + ":"
	switch v.(type) {
	case map[string]any, []any:
		if !isEmptyCollection(v) {
			below := s.below(v, column)
			lines := s.block(v, below, column)
			lines[0] = strings.Repeat(" ", below) + lines[0]
			return append([]string{head}, lines...)
		}
	}
	lines := s.block(v, column+s.mapStep, column)
	lines[0] = head + " " + lines[0]
	return lines
}

// block is a value in lines: a collection whose items start at a column, or a scalar. The first line has no indentation, the
// others have all. parent is the column of the key or dash.
func (s *splicer) block(v any, column, parent int) []string {
	var out []string
	add := func(lines []string) {
		if len(out) > 0 {
			lines[0] = strings.Repeat(" ", column) + lines[0]
		}
		out = append(out, lines...)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			add(s.entry(key, v[key], column))
		}
	case []any:
		for _, e := range v {
			add(s.dash(e, column))
		}
	case string:
		if strings.Contains(v, "\n") {
			if text, ok := s.literal(v, "|", nil, max(column, parent+1), parent); ok {
				return strings.Split(strings.TrimSuffix(text, s.newline), s.newline)
			}
		}
	}
	if out == nil {
		out = []string{s.inline(v)}
	}
	return out
}

// inline is a value on one line outside of brackets.
func (s *splicer) inline(v any) string {
	if text, ok := v.(string); ok {
		return yamlText(text)
	}
	return s.flowText(v)
}

// flowText is a value on one line.
func (s *splicer) flowText(v any) string {
	comma := ", "
	if s.minified() {
		comma = ","
	}
	var parts []string
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			parts = append(parts, s.flowEntry(key, v[key]))
		}
		return "{" + strings.Join(parts, comma) + "}"
	case []any:
		for _, e := range v {
			parts = append(parts, s.flowText(e))
		}
		return "[" + strings.Join(parts, comma) + "]"
	case string:
		if !s.isJSON {
			return yamlText(v)
		}
	}
	return jsonText(v)
}

func (s *splicer) flowEntry(key string, v any) string {
	if s.isJSON {
		colon := ": "
		if s.minified() {
			colon = ":"
		}
		return jsonText(key) + colon + s.flowText(v)
	}
	return yamlText(key) + ": " + s.flowText(v)
}

// minified: JSON without blanks.
func (s *splicer) minified() bool {
	root := s.text.root()
	return s.isJSON && len(root.Content) > 1 && s.b[s.offset(root.Content[1])-1] == ':'
}

func jsonText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // v was decoded from JSON
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// plainText is what needs no quotes, if it is no boolean or null either; everything else is quoted.
var plainText = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*( [A-Za-z0-9_./][A-Za-z0-9_./-]*)*$`)

func plain(text string) bool {
	if !plainText.MatchString(text) || bool11.MatchString(text) || len(text) > 200 {
		return false
	}
	raw, err := sigsyaml.YAMLToJSON([]byte("a: " + text))
	return err == nil && string(raw) == `{"a":`+jsonText(text)+`}`
}

// yamlText is a string on one line.
func yamlText(text string) string {
	if plain(text) {
		return text
	}
	if strings.ContainsAny(text, `"\`) && !strings.Contains(text, "'") && printable(text, false) {
		return "'" + text + "'"
	}
	return `"` + escaped(text) + `"`
}

// printable: every character may stand in a YAML text as it is; lines: line ends and tabs too.
func printable(text string, lines bool) bool {
	for _, r := range text {
		switch {
		case r == '\n' || r == '\t':
			if !lines {
				return false
			}
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			return false
		}
	}
	return true
}

// escaped is a string as it stands between double quotes.
func escaped(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\r':
			b.WriteString(`\r`)
		case printable(string(r), false):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// scalar writes another string in the place of a scalar, in its style where that can hold it.
func (s *splicer) scalar(n *yaml.Node, in place, want string) {
	start, end := s.props(s.offset(n)), s.endOf(n, in.after, in)
	switch {
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && !in.flow:
		old := s.measureBlock(n, in)
		from, to := old.head, old.body
		for _, line := range old.lines {
			to += len(line)
		}
		head := string(firstWord(s.b[old.head:old.body]))
		rest := string(s.b[old.head+len(head) : old.body]) // a comment, and the line end
		write := s.literal
		if n.Style&yaml.FoldedStyle != 0 {
			write = s.folded
		}
		indent := old.indent
		if indent < 0 {
			indent = in.indent + s.mapStep
		}
		text, ok := write(want, head, &written{n.Value, old.lines, rest, old.indent}, indent, in.indent)
		if !ok && n.Style&yaml.FoldedStyle != 0 {
			text, ok = s.literal(want, "|", &written{"", nil, rest, -1}, indent, in.indent)
		}
		if ok {
			s.edit(from, to, text)
			return
		}
		s.edit(start, end, yamlText(want))
	case n.Style&yaml.DoubleQuotedStyle != 0:
		if from, to, text, ok := s.within(n, start, end, want); ok {
			s.edit(from, to, text)
			return
		}
		if s.isJSON {
			s.edit(start, end, jsonText(want))
			return
		}
		s.edit(start, end, `"`+escaped(want)+`"`)
	case n.Style&yaml.SingleQuotedStyle != 0 && printable(want, false):
		s.edit(start, end, "'"+strings.ReplaceAll(want, "'", "''")+"'")
	case s.isJSON:
		s.edit(start, end, jsonText(want))
	default:
		s.edit(start, end, yamlText(want))
	}
}

// written is a block scalar as it was: its value, its lines, what stands on the first line behind the header.
type written struct {
	value  string
	lines  []string
	rest   string
	indent int
}

var blockHeader = regexp.MustCompile(`^([|>])(?:([1-9])?([-+])?|([-+])([1-9]))$`)

// header returns the header of a block scalar for a text, with the indicators that it needs.
func header(head, text string, indent, parent int) (string, bool) {
	m := blockHeader.FindStringSubmatch(head)
	if m == nil {
		return "", false
	}
	digit, chomp := m[2]+m[5], m[3]+m[4]
	body := strings.TrimRight(text, "\n")
	switch ends := len(text) - len(body); {
	case body == "":
		return "", false // it would depend on the lines that follow
	case ends == 0:
		chomp = "-"
	case ends > 1:
		chomp = "+"
	case chomp == "-":
		chomp = ""
	}
	if first := strings.TrimLeft(text, "\n"); digit == "" && (first[0] == ' ' || first[0] == '\t') {
		step := indent - max(parent, 0)
		if step < 1 || step > 9 {
			return "", false
		}
		digit = strconv.Itoa(step)
	}
	return m[1] + digit + chomp, true
}

// literal is a text as a literal block scalar with its header and line ends. The lines that it shares with the old one are
// written as they were. It reports whether the text can be written so.
func (s *splicer) literal(text, head string, old *written, indent, parent int) (string, bool) {
	if old == nil {
		old = &written{rest: s.newline}
	}
	head, ok := header(head, text, indent, parent)
	if !ok || !printable(text, true) {
		return "", false
	}
	body := strings.TrimRight(text, "\n")
	lines := strings.Split(body, "\n")
	var was []string
	if old.indent >= 0 && old.value != "" {
		was = strings.Split(strings.TrimRight(old.value, "\n"), "\n")
	}
	var b strings.Builder
	b.WriteString(head + old.rest)
	same := reuse(was, lines)
	for i, line := range lines {
		switch {
		case same[i] >= 0 && same[i] < len(old.lines):
			b.WriteString(old.lines[same[i]])
		case line == "":
			b.WriteString(s.newline)
		default:
			b.WriteString(strings.Repeat(" ", indent) + line + s.newline)
		}
	}
	s.tail(&b, head, len(text)-len(body), old, len(was))
	return b.String(), s.decodes(b.String(), parent, text)
}

// tail writes the blank lines behind a block scalar: those that were there, or as many as the text ends with.
func (s *splicer) tail(b *strings.Builder, head string, ends int, old *written, from int) {
	keep := strings.Contains(head, "+")
	var blank []string
	if from > 0 && from < len(old.lines) {
		blank = old.lines[from:]
	}
	for i := 0; keep && i < ends-1 || !keep && i < len(blank); i++ {
		if i < len(blank) {
			b.WriteString(blank[i])
		} else {
			b.WriteString(s.newline)
		}
	}
}

// reuse tells for each new line which old line it is; -1: none. Both are used in order.
func reuse(was, now []string) []int {
	left := map[string]int{} // how often a line is still to come
	for _, line := range now {
		left[line]++
	}
	out := make([]int, len(now))
	j := 0
	for i, line := range now {
		for j < len(was) && was[j] != line && left[was[j]] == 0 { // it was removed
			j++
		}
		if out[i] = -1; j < len(was) && was[j] == line {
			out[i] = j
			j++
		}
		left[line]--
	}
	return out
}

// folded is a text as a folded block scalar. The paragraphs that it shares with the old one are written as they were.
func (s *splicer) folded(text, head string, old *written, indent, parent int) (string, bool) {
	head, ok := header(head, text, indent, parent)
	if !ok || !printable(text, true) || old.indent < 0 {
		return "", false
	}
	// A paragraph is one line of the value; it may be folded into several.
	var was []string
	var raw [][]string
	rest, blank, start := old.value, 0, 0 // start: of the last paragraph in the value
	for _, line := range old.lines {
		content := strings.TrimRight(line, "\r\n")
		if strings.Trim(content, " ") == "" && len(content) <= old.indent {
			blank++
			continue
		}
		content = content[old.indent:]
		trimmed := strings.TrimLeft(rest, "\n")
		if len(trimmed) == len(rest) && len(was) > 0 && strings.HasPrefix(rest, " "+content) && blank == 0 {
			raw[len(raw)-1] = append(raw[len(raw)-1], line)
			rest = rest[1+len(content):]
			was[len(was)-1] = old.value[start : len(old.value)-len(rest)]
		} else if strings.HasPrefix(trimmed, content) {
			was, raw = append(was, content), append(raw, []string{line})
			start = len(old.value) - len(trimmed)
			rest = trimmed[len(content):]
		} else {
			return "", false
		}
		blank = 0
	}
	if strings.Trim(rest, "\n") != "" {
		return "", false
	}
	body := strings.TrimRight(text, "\n")
	var lines []string
	for _, line := range strings.Split(body, "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	same := reuse(was, lines)
	var b strings.Builder
	b.WriteString(head + old.rest)
	at, more := body, true // the lines before the first one are kept as they are
	for i, line := range lines {
		breaks := len(at) - len(strings.TrimLeft(at, "\n"))
		deeper := line[0] == ' ' || line[0] == '\t'
		if i > 0 && (more || deeper) {
			breaks--
		}
		b.WriteString(strings.Repeat(s.newline, max(breaks, 0)))
		if same[i] >= 0 {
			b.WriteString(strings.Join(raw[same[i]], ""))
		} else {
			b.WriteString(strings.Repeat(" ", indent) + line + s.newline)
		}
		more = deeper
		at = strings.TrimLeft(at, "\n")[len(line):]
	}
	used := len(old.lines)
	for used > 0 && strings.Trim(strings.TrimRight(old.lines[used-1], "\r\n"), " ") == "" {
		used--
	}
	s.tail(&b, head, len(text)-len(body), old, used)
	return b.String(), s.decodes(b.String(), parent, text)
}

// decodes tells whether a scalar that is a value below a column means a text.
func (s *splicer) decodes(scalar string, parent int, text string) bool {
	var got map[string]string
	err := yaml.Unmarshal([]byte(strings.Repeat(" ", max(parent, 0))+"a: "+scalar), &got)
	return err == nil && got["a"] == text
}

// within finds the smallest part of a double-quoted scalar that has to change.
func (s *splicer) within(n *yaml.Node, start, end int, want string) (from, to int, text string, ok bool) {
	type unit struct {
		from, to int
		value    string
	}
	var units []unit
	known := map[string]string{} // what an escape sequence means
	var value strings.Builder
	for at := start + 1; at < end-1; {
		next := at + 1
		switch c := s.b[at]; {
		case c == '\r' || c == '\n':
			return 0, 0, "", false
		case c == '\\':
			size := map[byte]int{'x': 4, 'u': 6, 'U': 10}[s.b[at+1]]
			next = at + max(size, 2)
			if next <= end-1 && size == 6 && next+6 <= end-1 && s.b[next] == '\\' && (s.b[at+2]|0x20) == 'd' {
				next += 6 // perhaps a pair
			}
			if next > end-1 {
				return 0, 0, "", false
			}
		case c >= 0x80:
			for next < end-1 && s.b[next]&0xc0 == 0x80 {
				next++
			}
		}
		raw := string(s.b[at:next])
		means := raw
		if raw[0] == '\\' {
			if means, ok = known[raw]; !ok {
				if means, ok = s.unquote(`"` + raw + `"`); !ok {
					return 0, 0, "", false
				}
				known[raw] = means
			}
		}
		units = append(units, unit{at, next, means})
		value.WriteString(means)
		at = next
	}
	if value.String() != n.Value {
		return 0, 0, "", false
	}
	i, j := 0, len(units)
	for i < j && strings.HasPrefix(want, units[i].value) {
		want = want[len(units[i].value):]
		i++
	}
	for j > i && strings.HasSuffix(want, units[j-1].value) {
		want = strings.TrimSuffix(want, units[j-1].value)
		j--
	}
	from, to = end-1, end-1
	if i < len(units) {
		from = units[i].from
	}
	if j < len(units) {
		to = units[j].from
	}
	if text = escaped(want); s.isJSON {
		text = strings.TrimSuffix(strings.TrimPrefix(jsonText(want), `"`), `"`)
	}
	return from, to, text, true
}

// unquote decodes a double-quoted scalar.
func (s *splicer) unquote(quoted string) (text string, ok bool) {
	if s.isJSON {
		err := json.Unmarshal([]byte(quoted), &text)
		return text, err == nil
	}
	err := yaml.Unmarshal([]byte(quoted), &text)
	return text, err == nil
}
