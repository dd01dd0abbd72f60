package rules

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the findings and out.yaml of every case")

// A testCase is one txtar file: in.yaml, and optionally old.yaml (makes it an UPDATE), policy.yaml, others.yaml (the rest of
// the same input, one List), subresource; then what comes out: findings and out.yaml.
type testCase struct {
	name    string
	archive *txtar.Archive
	raw     []byte // in.yaml as JSON
	req     Request
	policy  *Policy
	set     *Set // made of policy when first asked
	rule    string
}

func (c *testCase) file(name string) string {
	for _, f := range c.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// fresh returns the case's request on newly parsed objects.
func (c *testCase) fresh(t testing.TB) *Request {
	t.Helper()
	return c.with(t, c.raw)
}

func (c *testCase) with(t testing.TB, raw []byte) *Request {
	t.Helper()
	req := c.req
	req.Object = mustParse(t, raw)
	if old := c.file("old.yaml"); old != "" {
		req.Old, req.Operation = mustParse(t, toJSON(t, old)), Update
	}
	if others := c.file("others.yaml"); others != "" {
		var all []*Object
		list := mustParse(t, toJSON(t, others))
		for i := range list.List("items") {
			all = append(all, NewObject(list.Map("items", i)))
		}
		req.Index = NewIndex(all, "default")
	}
	return &req
}

// active returns the case's rule as the policy sets it, or nil if it does not look at the object.
func (c *testCase) active(req *Request) *Active {
	if c.set == nil {
		c.set = NewSet(c.policy)
	}
	active, _ := c.set.Rules(req)
	for _, a := range active {
		if a.ID == c.rule {
			return a
		}
	}
	return nil
}

func (c *testCase) findings(req *Request) []Finding {
	if a := c.active(req); a != nil {
		return a.Findings(req)
	}
	return nil
}

func mustParse(t testing.TB, raw []byte) *Object {
	t.Helper()
	o, err := ParseObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func toJSON(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func loadCases(t testing.TB) []*testCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	var out []*testCase
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		c := &testCase{name: file, archive: a, rule: filepath.Base(filepath.Dir(file))}
		c.raw = toJSON(t, c.file("in.yaml"))
		c.policy = DefaultPolicy("IPv6")
		if text := c.file("policy.yaml"); text != "" {
			if c.policy, err = ReadPolicy([]byte(text)); err != nil {
				t.Fatalf("%s: policy.yaml: %v", file, err)
			}
			if c.policy.Cluster.Families == nil {
				c.policy.Cluster.Families = []string{"IPv6"}
			}
		}
		o := mustParse(t, c.raw)
		c.req = Request{Audit: true, Operation: Create, Namespace: o.Namespace(), Subresource: strings.TrimSpace(c.file("subresource"))}
		if c.req.Namespace == "" {
			c.req.Namespace = "default"
		}
		out = append(out, c)
	}
	return out
}

// TestCases compares what every rule says and does on every case with what the case records.
func TestCases(t *testing.T) {
	for _, c := range loadCases(t) {
		t.Run(strings.TrimPrefix(c.name, "testdata/"), func(t *testing.T) {
			req := c.fresh(t)
			found := c.findings(req)
			var text strings.Builder
			for _, f := range found {
				fmt.Fprintf(&text, "%s %s\n", f.Level, f)
				if f.Changed != "" {
					fmt.Fprintf(&text, "\t%s\n", f.ChangedString())
				}
			}
			applyAll(req.Object, found)
			var out string
			if len(req.Object.Patch()) > 0 {
				b, err := yaml.Marshal(req.Object.Root())
				if err != nil {
					t.Fatal(err)
				}
				out = string(b)
			}
			if *update {
				c.write(t, text.String(), out)
				return
			}
			if want := c.file("findings"); text.String() != want {
				t.Errorf("findings:\n%swant:\n%s", text.String(), want)
			}
			if want := c.file("out.yaml"); out != want {
				t.Errorf("out.yaml:\n%swant:\n%s", out, want)
			}
		})
	}
}

func (c *testCase) write(t *testing.T, findings, out string) {
	t.Helper()
	c.archive.Files = slices.DeleteFunc(c.archive.Files, func(f txtar.File) bool { return f.Name == "findings" || f.Name == "out.yaml" })
	c.archive.Files = append(c.archive.Files, txtar.File{Name: "findings", Data: []byte(findings)})
	if out != "" {
		c.archive.Files = append(c.archive.Files, txtar.File{Name: "out.yaml", Data: []byte(out)})
	}
	if err := os.WriteFile(c.name, txtar.Format(c.archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func applyAll(o *Object, found []Finding) {
	for _, f := range found {
		if f.Fix != nil {
			f.Fix(o)
		}
	}
}

// TestLaws holds every rule to what all rules promise.
func TestLaws(t *testing.T) {
	cases := loadCases(t)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, c := range cases {
		t.Run(strings.TrimPrefix(c.name, "testdata/"), func(t *testing.T) {
			if !slices.Contains(IDs(), c.rule) {
				t.Fatalf("folder %s is not a rule", c.rule)
			}
			found := c.findings(c.fresh(t))
			if len(found) > 0 {
				fires[c.rule] = true
			} else {
				silent[c.rule] = true
			}
			lawMessages(t, found)
			lawCheckIsPure(t, c)
			lawAsked(t, c)
			lawPatch(t, c, c.raw)
			lawPatch(t, c, withUnknown(t, c.raw))
			lawFixOnce(t, c)
			lawMutilated(t, c)
		})
	}
	for _, r := range All() {
		if !fires[r.ID] || !silent[r.ID] {
			t.Errorf("%s: needs at least one case that fires (%t) and one that is silent (%t)", r.ID, fires[r.ID], silent[r.ID])
		}
		if Doc(r.ID) == "" {
			t.Errorf("%s: no testdata/%[1]s/page.md", r.ID)
		}
		if r.Title == "" || r.Since == "" || len(r.Targets) == 0 {
			t.Errorf("%s: title, since and targets must be set", r.ID)
		}
	}
	dirs, err := docFS.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if !slices.Contains(IDs(), dir.Name()) {
			t.Errorf("testdata/%s/page.md belongs to no rule", dir.Name())
		}
	}
}

func lawMessages(t *testing.T, found []Finding) {
	for _, f := range found {
		for _, line := range []string{f.String(), f.ChangedString()} {
			if n := utf8.RuneCountInString(line); n > maxMessage {
				t.Errorf("%d runes, the limit is %d: %s", n, maxMessage, line)
			}
			if strings.ContainsFunc(line, unicode.IsControl) || !utf8.ValidString(line) {
				t.Errorf("control character or bad UTF-8: %q", line)
			}
		}
		if strings.HasSuffix(f.Message, ".") || f.Message == "" {
			t.Errorf("message is empty or ends in a full stop: %q", f.Message)
		}
		if strings.Contains(f.String(), "…"+" [") {
			t.Errorf("message is cut: %s", f)
		}
	}
}

// lawAsked: a rule that does not say that it asked the Index finds the same without one.
func lawAsked(t *testing.T, c *testCase) {
	with, without := c.fresh(t), c.fresh(t)
	without.Index = nil
	a, b := fmt.Sprint(c.findings(with)), fmt.Sprint(c.findings(without))
	if a != b && (!with.Asked || !without.Asked) {
		t.Errorf("the index makes a difference, and Asked is %t with it, %t without:\n%s\n%s", with.Asked, without.Asked, a, b)
	}
}

func lawCheckIsPure(t *testing.T, c *testCase) {
	req := c.fresh(t)
	before := req.Object.Copy()
	first, second := c.findings(req), c.findings(req)
	if !reflect.DeepEqual(before.Root(), req.Object.Root()) || len(req.Object.Patch()) > 0 {
		t.Error("Check changed the object")
	}
	for i := range first {
		if first[i].String() != second[i].String() {
			t.Errorf("Check differs from run to run: %s / %s", first[i], second[i])
		}
	}
}

// lawPatch: an independent library, applied to the raw bytes, gets the same object, and nothing else is touched.
func lawPatch(t *testing.T, c *testCase, raw []byte) {
	t.Helper()
	req := c.with(t, raw)
	applyAll(req.Object, c.findings(req))
	ops, err := json.Marshal(req.Object.Patch())
	if err != nil {
		t.Fatal(err)
	}
	if len(req.Object.Patch()) == 0 {
		ops = []byte("[]")
	}
	patch, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		t.Fatal(err)
	}
	opts := jsonpatch.NewApplyOptions()
	opts.EnsurePathExistsOnAdd, opts.AllowMissingPathOnRemove = false, false
	got, err := patch.ApplyWithOptions(raw, opts)
	if err != nil {
		t.Fatalf("patch does not apply: %v\n%s", err, ops)
	}
	if !reflect.DeepEqual(mustParse(t, got).Root(), req.Object.Root()) {
		t.Errorf("patch gives another object than the edits:\n%s\n%v", got, req.Object.Root())
	}
	if bytes.Contains(raw, []byte("9007199254740993")) && bytes.Count(got, []byte("9007199254740993")) < bytes.Count(raw, []byte("9007199254740993")) {
		t.Error("an unknown field or a large integer was lost")
	}
}

// withUnknown puts a field that no build knows, holding an integer above 2^53, into every object of the tree.
func withUnknown(t *testing.T, raw []byte) []byte {
	var add func(v any)
	add = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				if !slices.Contains([]string{"annotations", "labels", "selector", "matchLabels", "data", "nodeSelector"}, k) {
					add(e)
				}
			}
			v["futureField"] = int64(9007199254740993)
		case []any:
			for _, e := range v {
				add(e)
			}
		}
	}
	o := mustParse(t, raw)
	add(o.Root())
	out, err := json.Marshal(o.Root())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// lawFixOnce: a fix removes its finding, and a second round changes nothing.
func lawFixOnce(t *testing.T, c *testCase) {
	req := c.fresh(t)
	found := c.findings(req)
	applyAll(req.Object, found)
	ops := len(req.Object.Patch())
	for _, f := range c.findings(req) {
		if f.Fix != nil {
			t.Errorf("fix did not remove its finding: %s", f)
		}
	}
	applyAll(req.Object, c.findings(req))
	if len(req.Object.Patch()) != ops {
		t.Error("a second round changed the object again")
	}
}

// lawMutilated: partial and malformed objects are common (kustomize patches, test asserts). Each part of the object is taken
// away, or replaced by a value of another type: no rule may crash, and whatever it repairs must still apply.
func lawMutilated(t *testing.T, c *testCase) {
	var paths []Path
	var walk func(v any, at Path)
	walk = func(v any, at Path) {
		if len(at) > 0 {
			paths = append(paths, at)
		}
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(e, at.With(k))
			}
		case []any:
			for i, e := range v {
				walk(e, at.With(i))
			}
		}
	}
	walk(mustParse(t, c.raw).Root(), nil)
	for _, path := range paths {
		for _, value := range []any{nil, "x", int64(7), true, []any{}, []any{nil}, map[string]any{}, "gone"} {
			o := mustParse(t, c.raw)
			if value == "gone" {
				o.Remove(path)
			} else {
				o.Set(path, value)
			}
			raw, err := json.Marshal(o.Root())
			if err != nil {
				t.Fatal(err)
			}
			lawPatch(t, c, raw)
		}
	}
}

// TestInactive: on a cluster that is not IPv6-only no rule says or does anything.
func TestInactive(t *testing.T) {
	for _, families := range [][]string{nil, {"IPv4"}, {"IPv6", "IPv4"}, {"IPv4", "IPv6"}} {
		for _, c := range loadCases(t) {
			p := *c.policy
			p.Cluster.Families = families
			if active, _ := NewSet(&p).Rules(c.fresh(t)); len(active) > 0 {
				t.Errorf("families %v: %d rules are active on %s", families, len(active), c.name)
			}
		}
	}
}

// BenchmarkCheck is one look of each rule at the case of its own that takes it longest.
func BenchmarkCheck(b *testing.B) {
	slowest, took := map[string]*testCase{}, map[string]time.Duration{}
	for _, c := range loadCases(b) {
		for range 5 {
			req := c.fresh(b)
			start := time.Now()
			c.findings(req)
			if d := time.Since(start); d > took[c.rule] {
				slowest[c.rule], took[c.rule] = c, d
			}
		}
	}
	for _, id := range IDs() {
		if c := slowest[id]; c != nil {
			b.Run(id, func(b *testing.B) {
				b.ReportAllocs()
				req := c.fresh(b)
				for b.Loop() {
					again := *req
					again.Object = req.Object.Copy() // nothing is known of it yet
					c.findings(&again)
				}
			})
		}
	}
}
