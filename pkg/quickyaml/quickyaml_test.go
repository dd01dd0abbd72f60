package quickyaml

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// agree fails where the parser does not decline a document and its values or places are not those of the libraries. It
// reports whether it declines.
func agree(t *testing.T, doc []byte) bool {
	t.Helper()
	var q Parser
	if !q.Parse(doc) {
		return true
	}
	got, ok := q.Tree()
	if !ok {
		return true
	}
	raw, err := sigsyaml.YAMLToJSONStrict(doc)
	if err != nil {
		t.Fatalf("%s\nof\n%s", err, doc)
	}
	var want any
	if strict, err := kjson.UnmarshalStrict(raw, &want); err != nil || len(strict) > 0 {
		t.Fatalf("%v, %v\nof\n%s", err, strict, doc)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("values\n%#v\nwant\n%#v\nof\n%s", got, want, doc)
	}
	var parsed yaml.Node
	if err := yaml.Unmarshal(doc, &parsed); err != nil {
		t.Fatalf("%s\nof\n%s", err, doc)
	}
	sameNodes(t, q.Node(), parsed.Content[0], doc)
	if places := q.Places(); places != nil {
		found := 0
		findAll(t, places, q.Node(), nil, nil, &found)
	}
	return false
}

// findAll fails where Find does not find the node that a path leads to, or more than there is.
func findAll(t *testing.T, places Places, n, key *yaml.Node, path []any, found *int) {
	t.Helper()
	if *found++; *found > 500 { // each takes as long as what is before it
		return
	}
	same := func(a, b *yaml.Node) bool {
		if a == nil || b == nil {
			return a == b
		}
		return a.Kind == b.Kind && a.Style == b.Style && a.Value == b.Value && a.Line == b.Line && a.Column == b.Column
	}
	beyond := append(slices.Clip(path), "no such key", 1)
	beside := append(slices.Clip(path), len(n.Content))
	for _, p := range [][]any{path, beyond, beside} {
		if value, under, depth := places.Find(p); !same(value, n) || !same(under, key) || depth != len(path) {
			t.Fatalf("Find(%q) = %v, %v, %d; want %v, %v, %d", p, value, under, depth, n, key, len(path))
		}
	}
	for i, c := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			findAll(t, places, c, nil, append(slices.Clip(path), i), found)
		case i%2 == 1:
			findAll(t, places, c, n.Content[i-1], append(slices.Clip(path), n.Content[i-1].Value), found)
		}
	}
}

func sameNodes(t *testing.T, got, want *yaml.Node, doc []byte) {
	t.Helper()
	show := func(n *yaml.Node) string {
		return fmt.Sprintf("%d:%d kind %d style %d %s %q, %d below", n.Line, n.Column, n.Kind, n.Style, n.Tag, n.Value, len(n.Content))
	}
	if show(got) != show(want) || want.Anchor != "" || want.Alias != nil {
		t.Fatalf("node %s\nwant %s\nof\n%s", show(got), show(want), doc)
	}
	for i := range got.Content {
		sameNodes(t, got.Content[i], want.Content[i], doc)
	}
}

// documents are those of the manifests below a folder.
func documents(t testing.TB, dir string) (docs [][]byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(path); err != nil || d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return err
		}
		data, err := os.ReadFile(path)
		text := "\n" + strings.TrimSuffix(string(data), "\n")
		for doc := range strings.SplitSeq(text, "\n---") {
			_, doc, _ = strings.Cut(doc, "\n") // the rest of the separator
			docs = append(docs, []byte(doc+"\n"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// corpus is the folder of real manifests: the whole one where it is known.
func corpus() string {
	return cmp.Or(os.Getenv("SIXGATE_CORPUS"), filepath.Join("..", "..", "e2e", "testdata", "corpus"))
}

func TestCorpus(t *testing.T) {
	docs, declined, bytesAll, bytesDeclined := documents(t, corpus()), 0, 0, 0
	for _, doc := range docs {
		bytesAll += len(doc)
		if agree(t, doc) && hasContent(doc) {
			declined++
			bytesDeclined += len(doc)
			if testing.Verbose() {
				t.Logf("declined %q", doc[:min(len(doc), 80)])
			}
		}
	}
	t.Logf("%d of %d documents declined, %d of %d bytes", declined, len(docs), bytesDeclined, bytesAll)
}

// hasContent: the document is more than blank lines and comments.
func hasContent(doc []byte) bool {
	for line := range bytes.Lines(doc) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

func BenchmarkParse(b *testing.B) {
	docs := documents(b, corpus())
	var all int64
	for _, d := range docs {
		all += int64(len(d))
	}
	b.SetBytes(all)
	b.ReportAllocs()
	var q Parser
	for b.Loop() {
		for _, d := range docs {
			if q.Parse(d) {
				q.Tree()
			}
		}
	}
}

// seeds have what is at the border of what the parser takes.
func seeds() (docs [][]byte) {
	for _, doc := range []string{
		"a:\n- b\n-   - c\n    - d: e\n      f:\n-\n-\n  g: h\ni: # none\nj:\n  - k # l\n",
		"a: |\n\n  b\n\n   c\n  \td\n\n\ne: >-\n  f\n  g\n\n  h\n    i\n  j\n# k\nl: |+\n  m\n\nn: >+ # o\n  p\n\n",
		"a: b c\n  d\n\n\n  e # f\ng: 'h ''i''\n\n  j  \n  k'\nl: \"m \\n\\t\\\"\\\\ \n  n\n\n\n  o\"\n",
		"a: [b, \"c\", 'd', [1, {e: f, \"g\": []}]]\nh: {}\ni: [\n  j,\n  k: l ]\nm: [http://n:80/o, -1]\n",
		"a: 1\nb: -2\nc: 0x1F\nd: 017\ne: 1_000\nf: 1.5\ng: 1e3\nh: .5\ni: .inf\nj: 10.0.0.1\nk: 100m\nl: ~\nm: yes\nn: 12:30\no: 2001-01-01\np: 0b11\nq: -\n",
		"\"a b\": c\n'd': e\n\"f\\n\": g\né: ü # ß\n\u65e5\u672c: [ä, b]\n",
		"a: b: c\n", "a: b\n c: d\n", "a:\n  b\n c\n", "a: 'b\nc'\n", "a: |\n\tb\n", "a: >2\n   b\n", "? a\n: b\n", "a: &b c\nd: *b\n<<: {e: f}\n",
		"a: |\n   \n b\n", "a: -\n", "a: - b\n", "a: !b c\n", "a: @b\n", "a: b\na: c\n", "1: a\n", "a: b #c\n  d\n", "a : b\n", "a: 'b' c\n", "a:b\n",
	} {
		docs = append(docs, []byte(doc))
	}
	return docs
}

// TestWords: what a scalar without quotes is.
func TestWords(t *testing.T) {
	for _, word := range strings.Fields(`y Y yes Yes YES yEs true True TRUE on On ON n N no No NO false False FALSE off Off OFF ~ null Null NULL nULL .nan .NaN .NAN
		.inf .Inf .INF +.inf -.inf .infinity +1 -1 +a -a -0 0 00 1. .1 +.1 1.1.1 1e3 1E+3 1.5e-3 e3 0x1f 0X1F 0xg 0o17 017 08 0b11 -0b11 0b12 1_000 _1 1__0 -_1 0x_1
		9223372036854775807 9223372036854775808 -9223372036854775808 18446744073709551616 123456789012345678 1234567890123456789 12:30 1:2:3 2001-1-1
		2001-01-01T00:00:00Z 2001-01-01t1:2:3.4 1Gi 100m 1k 10.0.0.1 fd00::1 ::1 - -- --a = + . .. ... infinity nan Inf p1 0p1 0x1p2 1_`) {
		for _, doc := range []string{"a: " + word + "\n", word + ": a\n", "a: [" + word + "]\n", "a: {" + word + ": " + word + "}\n", "a:\n- " + word + "\n"} {
			agree(t, []byte(doc))
		}
	}
}

// TestBroken breaks documents at random, token by token: what the parser still takes must be what the libraries see.
func TestBroken(t *testing.T) {
	tokens := []string{
		" ", "  ", "\n", "\n\n", "\n  ", "\n    ", ":", ": ", ":\n", "-", "- ", "\n- ", "\n  - ", "? ", "#", " #", " # x", "'", "''", "\"", "\\", "\\n", "\\\n", "\t",
		"|", "|\n", ">\n", ": |\n", ": >-\n", ": |+\n", "[", "]", "{", "}", ",", ", ", "[]", "{}", "{a: b}", "[a, b]", "&a ", "*a", "!", "!!str ", "%", "@", "`", "<<", "<<: ", "~", "null", "yes", "no",
		"0", "1", "-1", "0x1", "017", "1_0", "1.5", "1e3", ".5", ".inf", "-.inf", ".nan", "2001-01-01", "12:30", "+", "=", "...", "---", "--", "é", "\u65e5", "\u00a0", "\u0085", "\u2028", "\ufeff", "\r", "\r\n", "\x01", "a", "a: b",
	}
	iterations := 20_000
	if n, err := strconv.Atoi(os.Getenv("SIXGATE_ITERATIONS")); err == nil {
		iterations = n
	}
	seed := uint64(1)
	if n, err := strconv.ParseUint(os.Getenv("SIXGATE_SEED"), 10, 64); err == nil {
		seed = n
	}
	random := rand.New(rand.NewPCG(seed, 0))
	var docs [][]byte
	for _, doc := range append(documents(t, filepath.Join("..", "..", "e2e", "testdata", "corpus")), seeds()...) {
		if len(doc) < 1500 && len(doc) > 1 {
			docs = append(docs, doc)
		}
	}
	taken := 0
	for range iterations {
		doc := docs[random.IntN(len(docs))]
		from := random.IntN(len(doc))
		doc = slices.Clone(doc[from:min(len(doc), from+10+random.IntN(200))]) // short ones stay well-formed more often
		if i := bytes.IndexByte(doc, '\n'); i >= 0 && random.IntN(3) > 0 {
			doc = doc[i+1:]
			indent := len(doc) - len(bytes.TrimLeft(doc, " "))
			doc = bytes.ReplaceAll(append([]byte("\n"), doc...), append([]byte("\n"), bytes.Repeat([]byte(" "), indent)...), []byte("\n"))[1:]
		}
		for range random.IntN(4) {
			at := random.IntN(len(doc) + 1)
			end := min(len(doc), at+random.IntN(3)*random.IntN(4))
			doc = slices.Concat(doc[:at], []byte(tokens[random.IntN(len(tokens))]), doc[end:])
		}
		if utf8.Valid(doc) && !agree(t, append(doc, '\n')) {
			taken++
		}
	}
	t.Logf("%d of %d taken", taken, iterations)
	if taken < iterations/10 {
		t.Errorf("only %d of %d documents were compared", taken, iterations)
	}
}

func FuzzParse(f *testing.F) {
	for _, doc := range documents(f, filepath.Join("..", "..", "e2e", "testdata", "corpus")) {
		if len(doc) < 2000 {
			f.Add(doc)
		}
	}
	for _, doc := range seeds() {
		f.Add(doc)
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		if utf8.Valid(doc) && len(doc) < 1<<16 {
			agree(t, append(doc, '\n'))
		}
	})
}

// TestPlacesBounded: Find walks over the nodes in front of what it looks for, so a List with a finding in each item takes quadratic time
// without a bound.
func TestPlacesBounded(t *testing.T) {
	for _, items := range []int{10, maxPlaces} {
		var q Parser
		if !q.Parse([]byte("items:\n" + strings.Repeat("- kind: Service\n", items))) {
			t.Fatal("declined")
		}
		if got := q.Places() != nil; got != (items == 10) {
			t.Errorf("%d items: places %v", items, got)
		}
	}
}
