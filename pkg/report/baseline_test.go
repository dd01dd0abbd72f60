package report

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/rules"
)

// FuzzReadBaseline: no input makes it panic, errors are one line, and what is read is written and read again as it was.
func FuzzReadBaseline(f *testing.F) {
	const head = "apiVersion: sixgate.io/v1alpha1\nkind: Baseline\nfindings:\n"
	f.Add([]byte(head + "- {kind: Pod, namespace: a, name: b, rule: listen-nginx, path: 'data[\"a: b\"]', value: \"0123\", count: 3}\n"))
	f.Add([]byte(head + "- {kind: 1e3, name: ~, rule: yes, path: x, value: 12e4}\n"))
	f.Add([]byte(head + "- &a {kind: Pod, name: a, rule: r, path: p, value: v}\n- *a\n- {<<: *a, name: \"\\u2028\\t\"}\n"))
	f.Add([]byte("\ufeff" + strings.ReplaceAll(head, "\n", "\r\n")))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ReadBaseline(data)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		var out bytes.Buffer
		if err := b.Write(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadBaseline(out.Bytes())
		if err != nil || !maps.Equal(b, again) {
			t.Errorf("%v: %v\n%v\n%s", err, b, again, out.Bytes())
		}
	})
}

// TestDiffMarkdown: a comment of GitHub takes 65,536 characters.
func TestDiffMarkdown(t *testing.T) {
	before := New()
	before.Finish(rules.Deny)
	d := Compare(Side{before, "/old"}, Side{large(5000), "/new"}, rules.Deny, false)
	var b bytes.Buffer
	if err := d.Write(&b, "markdown", Options{Root: "/", Dir: "/"}); err != nil {
		t.Fatal(err)
	}
	if b.Len() > maxMarkdown || b.Len() < maxMarkdown/2 || !strings.Contains(b.String(), fmt.Sprintf("of %d changes are left out", 10000)) {
		t.Errorf("%d bytes, ends with %s", b.Len(), b.String()[max(0, b.Len()-200):])
	}
}

// BenchmarkBaseline matches 30,000 findings with a baseline of as many.
func BenchmarkBaseline(b *testing.B) {
	r := large(30000)
	base := r.Baseline()
	for b.Loop() {
		again := New()
		again.Findings = r.Findings
		again.SetBaseline(base)
		again.Finish(rules.Deny)
		if len(again.Known) != len(r.Findings) {
			b.Fatal(len(again.Known))
		}
	}
}
