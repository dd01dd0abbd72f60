package manifest

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/sixgate/sixgate/pkg/rules"
)

// lines are the objects and errors of an input, one line each.
func lines(docs []*Document, errs []error) string {
	var b strings.Builder
	for _, d := range docs {
		line, column := d.Position(rules.Path{"metadata", "name"})
		at, _ := d.SourceNear(line, column, 20)
		fmt.Fprintf(&b, "%d.%d %s/%s@%d:%d %s %d:%d %q %q\n", d.Number, d.Item, d.Object.Kind(), d.Object.Name(), d.Line, d.Column, d.Source, line, column, d.SourceLine(line), at)
	}
	for _, err := range errs {
		fmt.Fprintln(&b, err)
	}
	return b.String()
}

func scan(r io.Reader) (docs []*Document, errs []error) {
	for d, err := range Scan("f", r) {
		if err != nil {
			errs = append(errs, err)
		} else {
			docs = append(docs, d)
		}
	}
	return docs, errs
}

// sameScan holds Scan to Read, but for what costs a whole file there.
func sameScan(t *testing.T, in string, docs []*Document, errs []error) {
	t.Helper()
	if strings.Contains(in, "\x00") || strings.HasPrefix(in, "\xff\xfe") || strings.HasPrefix(in, "\xfe\xff") || len(errs) > 0 && errors.Is(errs[0], errNotUTF8) {
		return
	}
	got, want := lines(scan(strings.NewReader(in))), lines(docs, errs)
	if got != want && !strings.HasPrefix(in, bom) { // a mark at the start is no character
		t.Errorf("Scan of %q:\n%s\nRead:\n%s", in, got, want)
	}
}

func TestScan(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	big := func(name string) string { return head(name) + "data: {x: " + strings.Repeat("y", maxDocument) + "}\n" }
	jsonObject := func(name string) string {
		return `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + name + `"},` + "\n" + `"data": {"x": "}` + strings.Repeat("z", 600_000) + `\""}}` + "\n"
	}
	utf16 := func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, u := range utf16.Encode([]rune(s)) {
			b = append(b, byte(u), byte(u>>8))
		}
		return string(b)
	}
	for _, tt := range []struct {
		name, in, objects string
		errs              []string
	}{
		{"long lines", "---\n# " + long + "\n" + head("a") + "--- # " + long + "\n" + head("b"), "a@3 b@7", nil},
		{"a document that is too large", head("a") + "---\n# next\n" + big("b") + "---\n" + head("c"), "a@1 c@11", []string{"f:6:1: document is larger than 16 MiB; split it"}},
		{"not UTF-8", head("a") + "---\n" + head("\xff") + "---\n" + head("c"), "a@1 c@9", []string{"f:7:18: not UTF-8; save the file as UTF-8"}},
		{"binary", head("a") + "---\n\x00\x01---\n" + head("c"), "a@1", []string{"f: not a text file; leave it out, or convert it"}},
		{"UTF-16", utf16("# ä\n" + head("a") + "---\n" + head("ä")), "a@2 ä@6", nil},
		{"JSON values", "# here\n" + jsonObject("a") + jsonObject("b") + "\n" + jsonObject("c") + jsonObject("d") + jsonObject("e"), "a@2 b@4 c@7 d@9 e@11", nil},
		{"JSON values, then not", jsonObject("a") + jsonObject("b") + "x: y\n---\n" + head("c"), "a@1 b@3 c@7", []string{"f:5:1: invalid character 'x' looking for beginning of value; correct the JSON"}},
		{"an error of the reader", "", "", []string{"f: read: timeout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := io.Reader(strings.NewReader(tt.in))
			if tt.in == "" {
				r = iotest.ErrReader(iotest.ErrTimeout)
			}
			docs, errs := scan(r)
			var objects []string
			for _, d := range docs {
				objects = append(objects, fmt.Sprintf("%s@%d", d.Object.Name(), d.Line))
			}
			if got := strings.Join(objects, " "); got != tt.objects {
				t.Errorf("objects %q, want %q", got, tt.objects)
			}
			var got []string
			for _, err := range errs {
				got = append(got, err.Error())
			}
			if strings.Join(got, "\n") != strings.Join(tt.errs, "\n") {
				t.Errorf("errors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(tt.errs, "\n"))
			}
		})
	}
}

// TestScanStops: who has seen enough gets nothing more.
func TestScanStops(t *testing.T) {
	n := 0
	for range Scan("f", strings.NewReader(strings.Repeat("---\n"+head("a"), 10))) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d objects", n)
	}
}

// TestRescan: what is read again is what was read, and nothing else is.
func TestRescan(t *testing.T) {
	var in strings.Builder
	for i := range 3000 { // several tasks
		name := fmt.Sprintf("n%d", i)
		switch i % 7 {
		case 0:
			fmt.Fprintf(&in, "---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: %s}}\n- {apiVersion: v1, kind: Pod, metadata: {name: %[1]s}}\n", name)
		case 1:
			in.WriteString("---\n# empty\n")
		case 2:
			in.WriteString("---\na: b: c\n")
		case 3:
			in.WriteString("---\n" + head(name) + "...\n---\n")
		default:
			in.WriteString("---\n" + head(name))
		}
	}
	docs, _ := scan(strings.NewReader(in.String()))
	parts := map[int]int{}
	var want []*Document
	for i := 0; i < len(docs); i += 10 {
		index, before := docs[i].Part()
		parts[index] = before
	}
	for _, d := range docs {
		if index, _ := d.Part(); parts[index] > 0 || index == 0 {
			want = append(want, d)
		}
	}
	var got []*Document
	for d, err := range Rescan("f", strings.NewReader(in.String()), parts) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	if len(want) < len(docs)/20 || len(want) > len(docs)/5 {
		t.Errorf("%d of %d objects", len(want), len(docs))
	}
	if a, b := lines(got, nil), lines(want, nil); a != b {
		t.Errorf("read again:\n%s\nwant\n%s", a, b)
	}
}
