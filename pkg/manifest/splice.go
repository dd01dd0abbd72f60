package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	patch "github.com/evanphx/json-patch/v5"
	"go.yaml.in/yaml/v3"
	"gomodules.xyz/jsonpatch/v2"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A Change is an RFC 6902 patch for one object of a file. It applies to Document.JSON.
type Change struct {
	Document *Document
	Patch    []jsonpatch.Operation
}

// A SpliceError says why a change cannot be written into the text that the object comes from.
type SpliceError struct {
	Path   rules.Path // of the object
	Reason string     // "fact; way out"
}

// Error is "path: reason".
func (e *SpliceError) Error() string {
	if len(e.Path) == 0 {
		return e.Reason
	}
	return cut(e.Path.String(), 120) + ": " + e.Reason
}

// Splice writes changes into the bytes of the one file that all the documents were read from, and returns the new bytes. Only
// the lines that a change needs differ: comments, order, quotes, indentation, anchors and line ends stay. A change is made as a
// whole or not at all: where it is not made, errs[i] is an *Error that wraps a *SpliceError; else it is nil.
//
// What is returned has been read again: every object is as its patch makes it, and all others are as they were.
func Splice(changes []Change) (data []byte, errs []error) {
	errs = make([]error, len(changes))
	if len(changes) == 0 {
		return nil, nil
	}
	src := changes[0].Document.text.src
	byText := map[*text][]int{}
	var texts []*text
	for i, c := range changes {
		t := c.Document.text
		if t.src != src {
			errs[i] = c.fail(&SpliceError{Reason: "not of the same file"})
			continue
		}
		if byText[t] == nil {
			texts = append(texts, t)
		}
		byText[t] = append(byText[t], i)
	}
	wants := map[number]any{}
	var edits []edit
	for _, t := range texts {
		made := t.splice(changes, byText[t], errs)
		for _, i := range byText[t] {
			if d := changes[i].Document; errs[i] == nil {
				wants[number{d.Number, d.Item}] = made.wants[i]
			}
		}
		edits = append(edits, made.edits...)
	}
	out, err := apply(src.data, edits)
	if err == nil {
		err = same(src.data, out, wants)
	}
	if err != nil {
		for i, c := range changes {
			if errs[i] == nil {
				errs[i] = c.fail(err)
			}
		}
		out = src.data
	}
	if src.ended {
		open := bytes.TrimSuffix(out, []byte("\n"))
		if !bytes.HasSuffix(src.data, []byte("\r\n")) {
			open = bytes.TrimSuffix(open, []byte("\r"))
		}
		if !bytes.HasSuffix(open, []byte("\n")) { // else a text may end there that needs both line ends
			out = open
		}
	}
	return out, errs
}

// Text returns the bytes of the file that a document was read from.
func (d *Document) Text() []byte {
	if d.text.src.ended {
		return bytes.TrimSuffix(d.text.src.data, []byte("\n"))
	}
	return d.text.src.data
}

// fail tells where the text is that a change cannot be written into.
func (c Change) fail(err error) error {
	var s *SpliceError
	if !errors.As(err, &s) {
		err = &SpliceError{Reason: err.Error() + "; make the change by hand"}
	}
	e := &Error{File: c.Document.File, Line: c.Document.Line, Column: c.Document.Column, Err: err}
	if s != nil {
		e.Line, e.Column = c.Document.Position(s.Path)
	}
	return e
}

// A number names an object of a file.
type number struct{ document, item int }

// want is the object with the patch applied.
func (c Change) want() (any, error) {
	raw, err := json.Marshal(c.Patch)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	p, err := patch.DecodePatch(raw)
	if err != nil {
		return nil, fmt.Errorf("decode patch: %w", err)
	}
	if raw, err = p.Apply(c.Document.JSON); err != nil {
		return nil, fmt.Errorf("apply patch: %w", err)
	}
	return decode(raw)
}

func decode(raw []byte) (any, error) {
	var v map[string]any
	if err := utiljson.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	return v, nil
}

// maxAlone bounds how many changes of one document are tried one by one when they do not work together.
const maxAlone = 16

// spliced is what the changes of one text need, and what becomes of their objects, by the index of the change.
type spliced struct {
	edits []edit
	wants map[int]any
}

// splice makes the changes of one text, by their indices; errs tells which ones it leaves out.
func (t *text) splice(changes []Change, of []int, errs []error) spliced {
	s := newSplicer(t)
	out := spliced{wants: map[int]any{}}
	edits := map[int][]edit{}
	var good []int
	for _, i := range of {
		want, err := changes[i].want()
		if err == nil {
			edits[i], err = s.edits(changes[i], want)
		}
		if err != nil {
			errs[i] = changes[i].fail(err)
			continue
		}
		out.wants[i] = want
		good = append(good, i)
	}
	try := func(some []int) error {
		out.edits = nil
		wants := map[number]any{}
		var inText []edit
		for _, i := range some {
			for _, e := range edits[i] {
				out.edits = append(out.edits, e)
				inText = append(inText, edit{e.from - t.start, e.to - t.start, e.text})
			}
			wants[number{1, changes[i].Document.Item}] = out.wants[i]
		}
		after, err := apply(t.bytes(), inText)
		if err != nil {
			return err
		}
		return same(t.bytes(), after, wants)
	}
	err := try(good)
	if err == nil {
		return out
	}
	var kept []int
	for _, i := range good {
		if len(good) > maxAlone || try([]int{i}) != nil {
			errs[i] = changes[i].fail(err)
		} else {
			kept = append(kept, i)
		}
	}
	if err = try(kept); err != nil {
		for _, i := range kept {
			errs[i] = changes[i].fail(err)
		}
		out.edits = nil
	}
	return out
}

var errOdd = errors.New("the text cannot be changed safely")

// same fails unless a text that was edited has the same objects as before, apart from those that are wanted otherwise.
func same(before, after []byte, wants map[number]any) error {
	then, thenErrs := Read("", bytes.NewReader(before))
	now, nowErrs := Read("", bytes.NewReader(after))
	if len(then) != len(now) || faults(thenErrs) != faults(nowErrs) {
		return errOdd
	}
	for i, d := range then {
		n := now[i]
		if d.Number != n.Number || d.Item != n.Item {
			return errOdd
		}
		want, changed := wants[number{d.Number, d.Item}]
		if !changed && !bytes.Equal(d.JSON, n.JSON) || changed && !reflect.DeepEqual(want, any(n.Object.Root())) {
			return errOdd
		}
	}
	return nil
}

// faults counts what could not be read. A duplicate key could, and a change may remove it.
func faults(errs []error) int {
	n := 0
	for _, err := range errs {
		if !errors.Is(err, ErrDuplicateKey) {
			n++
		}
	}
	return n
}

// An edit replaces the bytes between two offsets of the file.
type edit struct {
	from, to int
	text     string
}

// apply makes edits that do not overlap.
func apply(data []byte, edits []edit) ([]byte, error) {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b edit) int {
		if a.from != b.from {
			return a.from - b.from
		}
		return a.to - b.to
	})
	var out []byte
	at := 0
	for _, e := range edits {
		if e.from < at || e.to < e.from || e.to > len(data) {
			return nil, errOdd
		}
		out = append(append(out, data[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, data[at:]...), nil
}

// A splicer turns differences between a value and the one that is wanted into edits of its text.
type splicer struct {
	*text
	b       []byte // of the file, to the end of the document
	newline string
	aliased map[*yaml.Node]bool
	ends    map[*yaml.Node]int
	items   map[*yaml.Node][]kid
	indices map[*yaml.Node]map[string][]int
	// How the document indents a mapping and a list below a key.
	mapStep, listStep int
	list              []edit
}

// A place is where a value stands.
type place struct {
	path   rules.Path // in the object
	flow   bool       // inside brackets
	indent int        // column of the key or the dash, 0-based
	after  int        // offset after the colon or the dash
}

func newSplicer(t *text) *splicer {
	s := &splicer{
		text: t, b: t.src.data[:t.end], newline: "\n", aliased: map[*yaml.Node]bool{},
		ends: map[*yaml.Node]int{}, items: map[*yaml.Node][]kid{}, indices: map[*yaml.Node]map[string][]int{},
	}
	if i := bytes.IndexByte(t.bytes(), '\n'); i > 0 && t.bytes()[i-1] == '\r' {
		s.newline = "\r\n"
	}
	if root := t.root(); root != nil {
		if mayAlias(t.bytes()) {
			s.aliases(root)
		}
		s.mapStep, s.listStep = steps(root)
	}
	return s
}

func (s *splicer) aliases(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		s.aliased[n.Alias] = true
	}
	for _, c := range n.Content {
		s.aliases(c)
	}
}

// steps finds how a document indents what stands below a key: the first of each kind counts.
func steps(root *yaml.Node) (mapStep, listStep int) {
	mapStep, listStep = 0, -1
	var search func(n *yaml.Node)
	search = func(n *yaml.Node) {
		for i, c := range n.Content {
			if mapStep > 0 && listStep >= 0 || n.Style&yaml.FlowStyle != 0 {
				return
			}
			if n.Kind == yaml.MappingNode && i%2 == 1 && c.Style&yaml.FlowStyle == 0 && len(c.Content) > 0 && c.Line > n.Content[i-1].Line {
				step := c.Column - n.Content[i-1].Column
				if c.Kind == yaml.MappingNode && mapStep == 0 && step > 0 {
					mapStep = step
				}
				if c.Kind == yaml.SequenceNode && listStep < 0 && step >= 0 {
					listStep = step
				}
			}
			search(c)
		}
	}
	search(root)
	if mapStep == 0 {
		mapStep = 2
	}
	return mapStep, max(listStep, 0)
}

// edits returns what it takes to make the object of a change what is wanted.
func (s *splicer) edits(c Change, want any) (edits []edit, err error) {
	was, err := decode(c.Document.JSON)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			e, ok := p.(*SpliceError)
			if !ok {
				e = &SpliceError{Reason: fmt.Sprintf("cannot be spliced (%v); please report this", p)}
			}
			edits, err = nil, e
		}
	}()
	s.list = nil
	n, in := s.text.root(), place{indent: -1, flow: s.isJSON}
	if n == nil {
		return nil, errOdd
	}
	for _, e := range c.Document.prefix { // items and its index
		s.guard(n, in)
		n, in = s.item(n, in, e)
	}
	in.path = nil
	s.value(n, in, was, want)
	return s.list, nil
}

// item is an item of a collection, by its key or index, and where it stands.
func (s *splicer) item(n *yaml.Node, in place, e any) (*yaml.Node, place) {
	kids := s.kids(n, in)
	i, ok := e.(int)
	content := i
	if !ok {
		written := s.index(n)[e.(string)]
		if len(written) == 0 {
			s.odd(in, "comes from an alias or a merge key; write it out first")
		}
		i = written[len(written)-1]
		content = 2*i + 1
	}
	if i >= len(kids) {
		s.odd(in, "%s", errOdd)
	}
	return n.Content[content], s.inside(n, in, kids, i, e)
}

// inside is the place of one item.
func (s *splicer) inside(n *yaml.Node, in place, kids []kid, i int, e any) place {
	return place{path: in.path.With(e), flow: s.flow(n), indent: s.column(kids, n, in), after: kids[i].after}
}

func (s *splicer) flow(n *yaml.Node) bool { return s.isJSON || n.Style&yaml.FlowStyle != 0 }

// odd gives up the change.
func (s *splicer) odd(in place, format string, args ...any) {
	panic(&SpliceError{Path: in.path, Reason: fmt.Sprintf(format, args...)})
}

// guard refuses what stands, or is used, elsewhere.
func (s *splicer) guard(n *yaml.Node, in place) {
	if n.Kind == yaml.AliasNode {
		s.odd(in, "comes from the alias *%s; write it out first", cut(n.Value, 40))
	}
	if s.aliased[n] {
		s.odd(in, "is used elsewhere by the alias *%s; write it out there first", cut(n.Anchor, 40))
	}
}

func (s *splicer) edit(from, to int, text string) {
	if from != to || text != "" {
		s.list = append(s.list, edit{from, to, text})
	}
}

// value changes one value.
func (s *splicer) value(n *yaml.Node, in place, was, want any) {
	if reflect.DeepEqual(was, want) {
		return
	}
	s.guard(n, in)
	oldMap, isMap := was.(map[string]any)
	newMap, wantMap := want.(map[string]any)
	oldList, isList := was.([]any)
	newList, wantList := want.([]any)
	switch {
	case isMap && wantMap && n.Kind == yaml.MappingNode && len(n.Content) > 0:
		s.mapping(n, in, oldMap, newMap)
	case isList && wantList && n.Kind == yaml.SequenceNode && len(n.Content) > 0:
		s.sequence(n, in, oldList, newList)
	default:
		s.replace(n, in, want)
	}
}

// An addition is a value for which there is a new place in a collection, before the item with an index.
type addition struct {
	before int
	key    string // of a mapping
	value  any
}

// index is where the keys of a mapping are written. Of several the last one counts.
func (s *splicer) index(n *yaml.Node) map[string][]int {
	if index, ok := s.indices[n]; ok {
		return index
	}
	index := make(map[string][]int, len(n.Content)/2)
	for i := 0; i < len(n.Content); i += 2 {
		if k := n.Content[i]; k.Kind == yaml.ScalarNode && !isMerge(k) {
			index[k.Value] = append(index[k.Value], i/2)
		}
	}
	s.indices[n] = index
	return index
}

func (s *splicer) mapping(n *yaml.Node, in place, was, want map[string]any) {
	kids := slices.Clone(s.kids(n, in))
	index := s.index(n)
	var added []addition
	names := slices.Sorted(maps.Keys(was))
	for name := range want {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names[len(was):])
	for _, name := range names {
		old, had := was[name]
		value, has := want[name]
		if had && has && reflect.DeepEqual(old, value) {
			continue
		}
		if !had {
			added = append(added, addition{len(kids), name, value})
			continue
		}
		written := index[name]
		if len(written) == 0 {
			s.odd(place{path: in.path.With(name)}, "comes from an alias, a merge key or an unusual key; write it out first")
		}
		if i := written[len(written)-1]; has {
			s.value(n.Content[2*i+1], s.inside(n, in, kids, i, name), old, value)
			continue
		}
		for _, i := range written {
			at := s.inside(n, in, kids, i, name)
			s.unused(n.Content[2*i], at)
			s.unused(n.Content[2*i+1], at)
			kids[i].gone = true
		}
	}
	s.children(n, in, kids, added)
}

// unused refuses to remove an anchor that something else uses.
func (s *splicer) unused(n *yaml.Node, in place) {
	if len(s.aliased) == 0 {
		return
	}
	if s.aliased[n] {
		s.odd(in, "has the anchor &%s, which is used elsewhere; write it out there first", cut(n.Anchor, 40))
	}
	for _, c := range n.Content {
		s.unused(c, in)
	}
}

func (s *splicer) sequence(n *yaml.Node, in place, was, want []any) {
	kids := slices.Clone(s.kids(n, in))
	if len(kids) != len(was) {
		s.odd(in, "%s", errOdd)
	}
	var added []addition
	i, j := 0, 0
	gap := func(oldEnd, newEnd int) { // pairs what is left between two items that are equal
		for ; i < oldEnd && j < newEnd; i, j = i+1, j+1 {
			s.value(n.Content[i], s.inside(n, in, kids, i, i), was[i], want[j])
		}
		for ; i < oldEnd; i++ {
			s.unused(n.Content[i], s.inside(n, in, kids, i, i))
			kids[i].gone = true
		}
		for ; j < newEnd; j++ {
			added = append(added, addition{before: i, value: want[j]})
		}
	}
	for _, pair := range align(was, want) {
		gap(pair[0], pair[1])
		i, j = i+1, j+1
	}
	gap(len(was), len(want))
	s.children(n, in, kids, added)
}

// maxAlign bounds the table of align.
const maxAlign = 1 << 20

// align pairs the items of two lists that are equal, in order.
func align(was, want []any) (pairs [][2]int) {
	prefix := 0
	for prefix < len(was) && prefix < len(want) && reflect.DeepEqual(was[prefix], want[prefix]) {
		pairs = append(pairs, [2]int{prefix, prefix})
		prefix++
	}
	suffix := 0
	for suffix < len(was)-prefix && suffix < len(want)-prefix && reflect.DeepEqual(was[len(was)-1-suffix], want[len(want)-1-suffix]) {
		suffix++
	}
	// Of one item each, which differ, nothing can be paired.
	if rows, columns := len(was)-prefix-suffix, len(want)-prefix-suffix; rows*columns > 1 && rows*columns <= maxAlign {
		a, b := texts(was[prefix:len(was)-suffix]), texts(want[prefix:len(want)-suffix])
		// longest[i][j] is how many items of a[i:] and b[j:] can be paired.
		longest := make([][]int, len(a)+1)
		for i := range longest {
			longest[i] = make([]int, len(b)+1)
		}
		for i := len(a) - 1; i >= 0; i-- {
			for j := len(b) - 1; j >= 0; j-- {
				if longest[i][j] = max(longest[i+1][j], longest[i][j+1]); a[i] == b[j] {
					longest[i][j] = longest[i+1][j+1] + 1
				}
			}
		}
		for i, j := 0, 0; i < len(a) && j < len(b); {
			switch {
			case a[i] == b[j]:
				pairs = append(pairs, [2]int{prefix + i, prefix + j})
				i, j = i+1, j+1
			case longest[i+1][j] >= longest[i][j+1]:
				i++
			default:
				j++
			}
		}
	}
	for k := suffix; k > 0; k-- {
		pairs = append(pairs, [2]int{len(was) - k, len(want) - k})
	}
	return pairs
}

func texts(list []any) []string {
	var out []string
	for _, v := range list {
		b, _ := json.Marshal(v) // sorted keys
		out = append(out, string(b))
	}
	return out
}

// children removes and adds items of a collection.
func (s *splicer) children(n *yaml.Node, in place, kids []kid, added []addition) {
	kept := slices.ContainsFunc(kids, func(k kid) bool { return !k.gone })
	gone := slices.ContainsFunc(kids, func(k kid) bool { return k.gone })
	switch {
	case !gone && len(added) == 0:
	case !kept:
		var value any = map[string]any{}
		if n.Kind == yaml.SequenceNode {
			value = []any{}
		}
		for _, a := range added {
			switch v := value.(type) {
			case map[string]any:
				v[a.key] = a.value
			case []any:
				value = append(v, a.value)
			}
		}
		s.replace(n, in, value)
	case s.flow(n):
		s.flowChildren(n, kids, added)
	default:
		s.blockChildren(n, in, kids, added)
	}
}

func (s *splicer) blockChildren(n *yaml.Node, in place, kids []kid, added []addition) {
	column := s.column(kids, n, in)
	margin := strings.Repeat(" ", column)
	before := map[int]string{} // the lines that come before an item
	for _, a := range added {
		before[a.before] += margin + strings.Join(s.added(n, a, column), s.newline) + s.newline
	}
	first := 0 // after the items that are done
	if inline := !s.firstOnLine(kids[0].start); inline {
		for first < len(kids) && kids[first].gone {
			first++
		}
		// The first item stands after a dash, and so does what comes in its place.
		text := ""
		for i := range first + 1 {
			text += before[i]
		}
		if text != "" {
			text = strings.TrimPrefix(text, margin) + margin
		}
		from, to := kids[0].start, kids[0].start
		if first > 0 {
			to = s.lineEnd(kids[first-1].end)
			for to < len(s.b) && strings.IndexByte(" \t\r\n", s.b[to]) >= 0 {
				to++
			}
		}
		s.edit(from, to, text)
		for i := range first + 1 {
			delete(before, i)
		}
	} else if before[0] != "" {
		at := s.lineStart(kids[0].start)
		for at > s.start { // comments right above belong to the item
			above := s.lineStart(at - 1)
			line := bytes.TrimLeft(s.b[above:at], " ")
			if len(line) == 0 || line[0] != '#' || above < in.after {
				break
			}
			at = above
		}
		s.edit(at, at, before[0])
	}
	for i := range kids {
		if i >= first && kids[i].gone {
			s.edit(s.lineStart(kids[i].start), s.lineEnd(kids[i].end), "")
		}
		at := s.lineEnd(kids[i].end)
		s.edit(at, at, before[i+1])
	}
}

func (s *splicer) flowChildren(n *yaml.Node, kids []kid, added []addition) {
	last := len(kids) - 1
	for kids[last].gone {
		last--
	}
	comma := ", "
	if s.minified() {
		comma = ","
	}
	// separator is a comma and what goes between it and the next item.
	separator := func(k kid) string {
		if s.firstOnLine(k.start) {
			return "," + s.newline + string(s.b[s.lineStart(k.start):k.start])
		}
		return comma
	}
	write := func(a addition) string {
		if n.Kind == yaml.MappingNode {
			return s.flowEntry(a.key, a.value)
		}
		return s.flowText(a.value)
	}
	for i, k := range kids {
		switch {
		case !k.gone:
		case i > last: // with the comma before it
			from := kids[i-1].end
			if between := s.b[from:k.start]; !s.isJSON && bytes.IndexByte(between, '#') >= 0 {
				at := s.skip(from)
				s.edit(at, at+1, "")
				from = k.start
			}
			s.edit(from, k.end, "")
		default: // with the comma behind it
			to := s.skip(k.end) + 1
			for to < len(s.b) && (s.b[to] == ' ' || s.b[to] == '\t') {
				to++
			}
			if !s.isJSON && to < len(s.b) && s.b[to] == '#' {
				to = s.lineEnd(to)
			}
			for to < kids[i+1].start && strings.IndexByte(" \t\r\n", s.b[to]) >= 0 {
				to++
			}
			s.edit(k.start, to, "")
		}
	}
	next := slices.IndexFunc(kids, func(k kid) bool { return !k.gone })
	at, k := -1, 0 // the item that the addition comes after; additions are in order
	for _, a := range added {
		for ; k < a.before; k++ {
			if !kids[k].gone {
				at = k
			}
		}
		if at >= 0 {
			s.edit(kids[at].end, kids[at].end, separator(kids[at])+write(a))
		} else {
			s.edit(kids[next].start, kids[next].start, write(a)+separator(kids[next]))
		}
	}
}
