// Package manifest reads YAML and JSON streams of Kubernetes objects the way kubectl does, and knows the line and column
// of every field.
package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/quickyaml"
	"github.com/sixgate/sixgate/pkg/rules"
)

const (
	// maxFile and maxDocument bound memory: decoding takes up to 120 times the size of a document (10 times for a
	// usual one). An object that etcd can store has less than 2 MiB.
	maxFile     = 256 << 20
	maxDocument = 16 << 20
	// maxDepth is what encoding/json and the YAML decoder accept.
	maxDepth = 10000
)

// ErrNotObject says that a document is well-formed and not a Kubernetes object: it has no apiVersion or no kind, as Helm
// values have not.
var ErrNotObject = errors.New("not a Kubernetes object")

// ErrDuplicateKey says that an object gives a key twice. Read returns the object too, with the last value, as kubectl sends it.
var ErrDuplicateKey = errors.New("duplicate key")

var errUTF16 = errors.New("UTF-16; save the file as UTF-8")

var errNotUTF8 = errors.New("not UTF-8; save the file as UTF-8")

var errTooLarge = fmt.Errorf("document is larger than %d MiB; split it", maxDocument>>20)

// A Document is one Kubernetes object of an input.
type Document struct {
	File   string // as given to Read
	Number int    // 1-based number of the document in the file; empty ones do not count
	Item   int    // 0, or the 1-based position of the object in a List
	Line   int    // 1-based line of the file where the object starts
	Column int    // 1-based, in characters
	Source string // the template that rendered it: Helm's leading comment "# Source: chart/templates/x.yaml"; else ""
	Object *rules.Object
	JSON   []byte // the object as kubectl sends it; only of Read

	part, before int // of the stream, and documents before it
	size         int

	text   *text
	prefix rules.Path // from the document to the object: items and its index, for an item of a List
}

// An Error is what is wrong with one document, or with a file.
type Error struct {
	File         string
	Line, Column int // 1-based in the file; 0 where unknown
	Err          error
}

// Error is one line: "file:line:column: what; way out".
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
		if e.Column > 0 {
			where += ":" + strconv.Itoa(e.Column)
		}
	}
	return where + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Read returns the objects of a YAML or JSON stream; file is the name for reports. Lists are expanded to their items. A
// document without apiVersion or kind is an error that wraps ErrNotObject; an empty one is skipped. Every error is an *Error,
// in the order of the file, and costs its own document only; a file that is too large, not UTF-8 or cannot be read gives
// one error and no objects.
//
// A document is decoded as kubectl decodes it. Two things that kubectl passes over in silence are errors: a key that is given
// twice, which wraps ErrDuplicateKey (kubectl takes the last one, and so does Read), and text after a document end marker "...".
func Read(file string, r io.Reader) (docs []*Document, errs []error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, []error{&Error{File: file, Err: fmt.Errorf("read: %w", err)}}
	}
	if len(data) > maxFile {
		return nil, []error{&Error{File: file, Err: fmt.Errorf("larger than %d MiB; split it", maxFile>>20)}}
	}
	rd := &reader{src: &source{file: file, data: data}}
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")):
		rd.fail(0, errUTF16)
		return nil, rd.errs
	case bytes.IndexByte(data, 0) >= 0:
		return nil, []error{&Error{File: file, Err: ErrBinary}}
	}
	if off := invalidUTF8(data); off >= 0 {
		rd.fail(off, errNotUTF8)
		return nil, rd.errs
	}
	if len(data) > 0 && data[len(data)-1] != '\n' {
		rd.src.data, rd.src.ended = append(data, '\n'), true // as kubectl does: a block scalar at the end has its line end
	}
	rd.split()
	return rd.docs, rd.errs
}

func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	off := 0
	for {
		r, n := utf8.DecodeRune(b[off:])
		if r == utf8.RuneError && n == 1 {
			return off
		}
		off += n
	}
}

type reader struct {
	src    *source
	docs   []*Document
	errs   []error
	number int

	// Of Scan.
	part                int  // of the stream
	tooLarge, continued bool // as the chunker says
	binary              bool // not a text
	quick               *quickyaml.Parser
}

func (r *reader) fail(off int, err error) {
	line, column := r.src.place(off)
	r.errs = append(r.errs, &Error{File: r.src.file, Line: line, Column: column, Err: err})
}

// failLine is for errors whose column is not known.
func (r *reader) failLine(line int, err error) {
	r.errs = append(r.errs, &Error{File: r.src.file, Line: line, Err: err})
}

const bom = "\ufeff"

// split finds the documents as apimachinery's YAMLReader does: a line that starts with "---" separates, and only a comment
// may follow. Content of block scalars is indented, so it cannot look like a separator.
func (r *reader) split() {
	data := r.src.data
	start, ended, bad := 0, false, false
	for pos := 0; pos <= len(data); {
		next := len(data) + 1
		if i := bytes.IndexByte(data[min(pos, len(data)):], '\n'); i >= 0 {
			next = pos + i + 1
		}
		line := data[pos:min(next, len(data))]
		if i := len(bom); bytes.HasPrefix(line, []byte(bom)) {
			line = line[i:]
		}
		separator := bytes.HasPrefix(line, []byte("---"))
		end := !separator && bytes.HasPrefix(line, []byte("...")) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0)
		if separator || end || next > len(data) {
			stop := pos
			if !separator && !end {
				stop = len(data)
			}
			if !bad {
				r.document(start, stop, ended)
			}
			start, ended, bad = min(next, len(data)), end || ended && !separator, false
		}
		if separator {
			if rest := bytes.TrimSpace(line[3:]); len(rest) > 0 && rest[0] != '#' {
				r.fail(pos, fmt.Errorf("%s after the document separator ---; start a new line after it", quote(rest)))
				bad = true
			}
		}
		pos = next
	}
}

// document reads one document; afterEnd: it follows "..." with no separator in between.
func (r *reader) document(start, end int, afterEnd bool) {
	if bytes.HasPrefix(r.src.data[start:end], []byte(bom)) {
		start += len(bom)
	}
	body := r.src.data[start:end]
	content := firstContent(body)
	if content < 0 {
		return
	}
	r.number++
	defer func() {
		if p := recover(); p != nil {
			r.fail(start+content, fmt.Errorf("cannot be decoded (%s); please report this", quote([]byte(fmt.Sprint(p)))))
		}
	}()
	if afterEnd {
		r.fail(start+content, errors.New("kubectl ignores what follows the document end marker ...; put --- in front of it"))
		return
	}
	helm := helmSource(body[:content])
	var notJSON *Error
	if body[content] == '{' {
		if notJSON = r.json(start+content, end, helm, true); notJSON == nil {
			return
		}
	}
	t := newText(r.src, start, end, false)
	t.content = start + content
	if r.quick != nil && len(t.bytes()) <= maxDocument && r.quick.Parse(t.bytes()) {
		if value, ok := r.quick.Tree(); ok {
			t.isQuick = true
			r.addValue(t, value, nil, helm)
			return
		}
	}
	raw, err := r.yaml(t)
	switch {
	case err == nil:
		r.add(t, raw, helm)
	case notJSON != nil && jsonStart.Match(body[content:]):
		r.errs[len(r.errs)-1] = notJSON
	}
}

// json reads concatenated JSON values; first: they start with the first one of their document. If that is not JSON it returns why,
// and records nothing: it may be YAML.
func (r *reader) json(start, end int, helm string, first bool) *Error {
	body := r.src.data[start:end]
	dec := json.NewDecoder(bytes.NewReader(body))
	for ; ; first = false {
		before := int(dec.InputOffset())
		var raw json.RawMessage
		err := dec.Decode(&raw)
		if err == io.EOF || err != nil && !first && firstContent(body[before:]) < 0 { // only comments after the last value
			return nil
		}
		if !first {
			r.number++
		}
		if err != nil {
			at := len(bytes.TrimRight(body, " \t\r\n"))
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				at = max(int(syntax.Offset)-1, 0)
			}
			line, column := r.src.place(start + at)
			e := &Error{File: r.src.file, Line: line, Column: column, Err: fmt.Errorf("%s; correct the JSON%s", oneLine(err.Error()), r.templated(body, line))}
			if first {
				return e
			}
			r.errs = append(r.errs, e)
			return nil
		}
		stop := start + int(dec.InputOffset())
		if t := newText(r.src, stop-len(raw), stop, true); len(raw) <= maxDocument {
			r.add(t, raw, helm)
		} else {
			r.fail(t.content, errTooLarge)
		}
	}
}

// jsonStart tells a JSON object from a YAML flow mapping without quotes and from a Helm template.
var jsonStart = regexp.MustCompile(`^\{\s*["}]`)

// yaml returns a document as JSON. The error has been recorded already.
func (r *reader) yaml(t *text) ([]byte, error) {
	body := t.bytes()
	if len(body) > maxDocument {
		r.fail(t.content, errTooLarge)
		return nil, errTooLarge
	}
	if mayAlias(body) {
		if err := expands(t.root()); err != nil {
			r.fail(t.content, err)
			return nil, err
		}
	}
	raw, err := sigsyaml.YAMLToJSONStrict(body)
	if err != nil && strings.Contains(err.Error(), "already set in map") {
		r.duplicate(t) // nothing if the key came out of a merge (<<), which may be overridden
		raw, err = sigsyaml.YAMLToJSON(body)
	}
	if err != nil {
		line, e := r.explain(t, err)
		r.failLine(line, e)
	}
	return raw, err
}

// duplicate records a key that is given twice, if there is one.
func (r *reader) duplicate(t *text) {
	if first, again := duplicateKey(t.root()); again != nil {
		line, _ := r.src.place(t.offset(first))
		r.fail(t.offset(again), fmt.Errorf("%w: %s is already set on line %d; remove one of the two", ErrDuplicateKey, quote([]byte(again.Value)), line))
	}
}

// add records the objects of one decoded document.
func (r *reader) add(t *text, raw []byte, helm string) {
	var value any
	strict, err := kjson.UnmarshalStrict(raw, &value)
	if err != nil {
		r.fail(t.content, fmt.Errorf("%s; correct it", oneLine(err.Error())))
		return
	}
	if len(strict) > 0 {
		r.duplicate(t)
	}
	r.addValue(t, value, raw, helm)
}

// addValue records the objects of one value; raw is nil where no JSON is needed.
func (r *reader) addValue(t *text, value any, raw []byte, helm string) {
	if value == nil {
		return
	}
	root, ok := value.(map[string]any)
	if !ok {
		r.fail(t.content, fmt.Errorf("%w: %s", ErrNotObject, kindOf(value)))
		return
	}
	if missing := noObject(root); missing != "" {
		r.fail(t.content, fmt.Errorf("%w: no %s", ErrNotObject, missing))
		return
	}
	doc := Document{File: r.src.file, Number: r.number, Source: helm, text: t}
	kind, apiVersion := root["kind"].(string), root["apiVersion"].(string)
	items, isArray := root["items"].([]any)
	if !strings.HasSuffix(kind, "List") || !isArray && (kind != "List" || apiVersion != "v1") {
		doc.Line, doc.Column = r.src.place(t.content)
		doc.Object, doc.JSON, doc.size = rules.NewObject(root), raw, t.end-t.start
		r.docs = append(r.docs, &doc)
		return
	}
	for i, item := range items {
		d := doc
		d.size = (t.end - t.start) / len(items)
		d.Item, d.prefix = i+1, rules.Path{"items", i}
		line, column := d.Position(nil)
		d.Line, d.Column = line, column
		fail := func(err error) {
			r.errs = append(r.errs, &Error{File: r.src.file, Line: line, Column: column, Err: err})
		}
		obj, ok := item.(map[string]any)
		if !ok {
			fail(fmt.Errorf("item %d of the %s is %s; make it an object or remove it", i+1, kind, kindOf(item)))
			continue
		}
		// A typed list names the type of its items once (unstructuredJSONScheme.decodeToList in apimachinery).
		if obj["kind"] == nil && obj["apiVersion"] == nil && kind != "List" {
			obj["kind"], obj["apiVersion"] = strings.TrimSuffix(kind, "List"), apiVersion
		}
		if missing := noObject(obj); missing != "" {
			fail(fmt.Errorf("%w: item %d of the %s has no %s", ErrNotObject, i+1, kind, missing))
			continue
		}
		if _, nested := obj["items"].([]any); nested && strings.HasSuffix(obj["kind"].(string), "List") {
			fail(fmt.Errorf("item %d of the %s is a list itself, which kubectl refuses; move its items up", i+1, kind))
			continue
		}
		if raw != nil {
			var err error
			if d.JSON, err = json.Marshal(obj); err != nil {
				fail(fmt.Errorf("encode item %d: %w", i+1, err))
				continue
			}
		}
		d.Object = rules.NewObject(obj)
		r.docs = append(r.docs, &d)
	}
}

// noObject names what a tree lacks to be a Kubernetes object.
func noObject(root map[string]any) string {
	for _, field := range []string{"kind", "apiVersion"} {
		if s, _ := root[field].(string); s == "" {
			return field
		}
	}
	return ""
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		return "a string"
	case bool:
		return "a boolean"
	}
	return "a number"
}

// firstContent is the offset of the first character that is not blank, comment or directive; -1 if there is none.
func firstContent(b []byte) int {
	for pos := 0; pos < len(b); {
		next := len(b)
		if i := bytes.IndexByte(b[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		line := b[pos:next]
		trimmed := bytes.TrimLeft(line, " \t\r\n")
		if len(trimmed) > 0 && trimmed[0] != '#' && !bytes.HasPrefix(line, []byte("%YAML")) && !bytes.HasPrefix(line, []byte("%TAG")) {
			return pos + len(line) - len(trimmed)
		}
		pos = next
	}
	return -1
}

var helmComment = regexp.MustCompile(`(?m)^# Source: (\S.*?)\s*$`)

func helmSource(comment []byte) string {
	if m := helmComment.FindSubmatch(comment); m != nil {
		return string(m[1])
	}
	return ""
}

var (
	lineMessage  = regexp.MustCompile(`(?s)^(?:unmarshal errors:\s*)?line (\d+): (.*)`)
	anchorQuoted = regexp.MustCompile(`^unknown anchor '([^']*)' referenced`)
)

// parserProblems are the messages of the YAML parser; for these the library prints the line before the one it means,
// for those of its scanner the line itself (parser.fail in its decode.go).
var parserProblems = []string{
	"did not find expected <", "did not find expected node content", "did not find expected key", "did not find expected '-'",
	"did not find expected ',' or", "found undefined tag handle", "found duplicate %", "found incompatible YAML document",
}

// wayOut tells what to do about a message of the YAML library, by how the message starts.
var wayOut = [...][2]string{
	{"mapping values are not allowed", "check the indentation, and quote a value that contains \": \""},
	{"found character that cannot start any token", "quote the value, and indent with spaces, not tabs"},
	{"found a tab character", "indent with spaces, not tabs"},
	{"found unexpected end of stream", "close the quote or bracket that starts here"},
	{"could not find expected ':'", "write \"key: value\", and check the indentation"},
	{"did not find expected ',' or", "close the bracket, or separate its elements by commas"},
	{"unknown anchor", "define the anchor before it is used"},
	{"control characters", "remove the character"},
	{"document contains excessive aliasing", "write the aliases out"},
	{"anchor '", "an anchor cannot be used inside itself"},
	{"map merge", "give << a mapping or an alias of one"},
	{"exceeded max depth", "close the brackets"},
	{"invalid map key", "quote the key"},
	{"json: unsupported value", "JSON has no such number"},
}

// explain turns a message of the YAML library into the line of the file and a message with a way out.
func (r *reader) explain(t *text, err error) (int, error) {
	body := t.bytes()
	first, _ := r.src.place(t.start)
	line, _ := r.src.place(t.content)
	known := false
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := lineMessage.FindStringSubmatch(msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		msg = m[2]
		for _, p := range parserProblems {
			if strings.HasPrefix(msg, p) {
				n++
				break
			}
		}
		if strings.HasPrefix(msg, "could not find expected ':'") || strings.HasPrefix(msg, "found unexpected end of stream") {
			// Version 3 of the library names the line where the key or the quote starts, not where it gave up.
			if m := lineMessage.FindStringSubmatch(strings.TrimPrefix(t.problem(), "yaml: ")); m != nil {
				n, _ = strconv.Atoi(m[1])
			}
		}
		line, known = r.line(t, n), true
	}
	at := -1
	switch {
	case known:
	case strings.HasPrefix(msg, "control characters"):
		at = bytes.IndexFunc(body, func(r rune) bool {
			return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r >= 0x7f && r < 0xa0 && r != 0x85
		})
	case anchorQuoted.MatchString(msg):
		at = bytes.Index(body, []byte("*"+anchorQuoted.FindStringSubmatch(msg)[1]))
	case strings.HasPrefix(msg, "did not find"), strings.HasPrefix(msg, "found"), strings.HasPrefix(msg, "mapping values"):
		line = first // the library prints no line for the first one
	case strings.HasPrefix(msg, "map merge"):
		at = t.culprit(func(key, value *yaml.Node) bool { return isMerge(key) && !mergeable(value) })
	case strings.HasPrefix(msg, "invalid map key"), strings.HasPrefix(msg, "unsupported map key"): // followed by a Go value
		msg = "invalid map key: only a string, a number or a boolean can be one"
		at = t.culprit(func(key, _ *yaml.Node) bool {
			k := resolved(key)
			return k.Kind != yaml.ScalarNode || k.Tag == "!!null"
		})
	}
	if at >= 0 {
		line, _ = r.src.place(t.start + at)
	}
	if out := r.templated(body, line); out != "" {
		return line, fmt.Errorf("%s%s", oneLine(msg), out)
	}
	for _, w := range wayOut {
		if strings.HasPrefix(msg, w[0]) {
			return line, fmt.Errorf("%s; %s", oneLine(msg), w[1])
		}
	}
	return line, fmt.Errorf("%s; check the indentation of this line and of the one above", oneLine(msg))
}

// line translates a 1-based line as the YAML library counts them, in a document, into a line of the file.
func (r *reader) line(t *text, n int) int {
	starts := t.lines()
	// A document ends where the next line starts, which is not its own.
	line, _ := r.src.place(min(t.start+starts[min(max(n, 1), len(starts))-1], t.end-1))
	return line
}

// helmTemplate matches what only a chart's template has; other texts in a manifest use {{ too.
var helmTemplate = regexp.MustCompile(`\{\{.*(\.Values|\.Release|\.Chart|include |template )`)

// templated is the way out for a chart that was not rendered, where that may be the cause of an error on a line.
func (r *reader) templated(body []byte, line int) string {
	if helmTemplate.Match(body) || bytes.Contains(r.src.line(line), []byte("{{")) || bytes.Contains(r.src.line(line-1), []byte("{{")) {
		return "; this is a template: render the chart first: helm template"
	}
	return ""
}

func quote(b []byte) string { return strconv.Quote(cut(string(b), 40)) }

func oneLine(s string) string { return cut(strings.Join(strings.Fields(s), " "), 200) }

func cut(s string, runes int) string {
	if r := []rune(s); len(r) > runes {
		return string(r[:runes-1]) + "…"
	}
	return s
}

// mayAlias is false if b certainly has no YAML alias.
func mayAlias(b []byte) bool {
	return token(b, '&') && token(b, '*')
}

func token(b []byte, sigil byte) bool {
	for i := 0; ; i++ {
		j := bytes.IndexByte(b[i:], sigil)
		if j < 0 {
			return false
		}
		i += j
		before := i == 0 || b[i-1] >= utf8.RuneSelf || strings.IndexByte(" \t\r\n[{,:", b[i-1]) >= 0
		after := i+1 < len(b) && strings.IndexByte(" \t\r\n&*", b[i+1]) < 0
		if before && after {
			return true
		}
	}
}

// expands fails if a document is too large or too deep once its aliases are written out. The decoder bounds the number of
// aliased nodes, and neither the size of the strings in them nor the JSON that comes out.
func expands(root *yaml.Node) error {
	type extent struct{ size, depth int }
	seen := map[*yaml.Node]extent{}
	var measure func(n *yaml.Node) extent
	measure = func(n *yaml.Node) extent {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		if e, ok := seen[n]; ok {
			return e
		}
		seen[n] = extent{} // an alias to its own parent; the decoder reports it
		e := extent{size: len(n.Value) + 1}
		for _, c := range n.Content {
			ce := measure(c)
			e.size = min(e.size+ce.size, 1<<40)
			e.depth = max(e.depth, ce.depth+1)
		}
		seen[n] = e
		return e
	}
	if root == nil { // not YAML; the decoder reports it
		return nil
	}
	if e := measure(root); e.size > maxDocument || e.depth > maxDepth {
		return fmt.Errorf("document is larger than %d MiB or nested more than %d deep once its aliases are expanded; write it out in smaller documents",
			maxDocument>>20, maxDepth)
	}
	return nil
}

// duplicateKey returns the first key that is given twice in one mapping, and its earlier place.
func duplicateKey(n *yaml.Node) (first, again *yaml.Node) {
	if n == nil {
		return nil, nil
	}
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || isMerge(key) {
				continue
			}
			if seen[key.Value] != nil {
				return seen[key.Value], key
			}
			seen[key.Value] = key
		}
	}
	for _, c := range n.Content {
		if first, again = duplicateKey(c); again != nil {
			return first, again
		}
	}
	return nil, nil
}

// newText keeps what positions need and parses nothing yet.
func newText(src *source, start, end int, isJSON bool) *text {
	t := &text{src: src, start: start, end: end, content: start, isJSON: isJSON}
	t.lines = sync.OnceValue(func() []int { return lineStarts(t.bytes()) })
	t.parsed = sync.OnceValues(t.parse)
	t.places = sync.OnceValue(t.quickPlaces)
	return t
}
