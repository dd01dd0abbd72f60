package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/rogpeppe/go-internal/txtar"
	operations "gomodules.xyz/jsonpatch/v2"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sixgate/sixgate/pkg/rules"
)

var update = flag.Bool("update", false, "rewrite the expected output of the cases")

// TestSplice: each case has a file "in", a file "patch" with one line for each change (the document's number, with /item in a
// List, and the operations), and what comes "out", or "errors". A comment "crlf" or "no end" changes the line ends of the first.
func TestSplice(t *testing.T) {
	cases, err := filepath.Glob("testdata/splice/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, name := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range a.Files {
				files[f.Name] = string(f.Data)
			}
			in := files["in"]
			crlf, open := strings.Contains(string(a.Comment), "crlf"), strings.Contains(string(a.Comment), "no end")
			if crlf {
				in = strings.ReplaceAll(in, "\n", "\r\n")
			}
			if open {
				in = strings.TrimRight(in, "\r\n")
			}
			docs, readErrs := Read("in", strings.NewReader(in))
			var changes []Change
			for line := range strings.Lines(files["patch"]) {
				number, raw, _ := strings.Cut(line, " ")
				document, item, _ := strings.Cut(number, "/")
				i := slices.IndexFunc(docs, func(d *Document) bool {
					return strconv.Itoa(d.Number) == document && (item == "" || strconv.Itoa(d.Item) == item)
				})
				if i < 0 {
					t.Fatalf("no document %s: %v", number, readErrs)
				}
				c := Change{Document: docs[i]}
				if err := json.Unmarshal([]byte(raw), &c.Patch); err != nil {
					t.Fatal(err)
				}
				changes = append(changes, c)
			}
			data, errs := Splice(changes)
			verify(t, in, changes, data, errs)
			out, problems := string(data), ""
			for _, err := range errs {
				var s *SpliceError
				if err != nil && !errors.As(err, &s) {
					t.Errorf("no SpliceError: %v", err)
				}
				if err != nil {
					problems += err.Error() + "\n"
				}
			}
			if crlf {
				if strings.Count(out, "\n") != strings.Count(out, "\r\n") {
					t.Errorf("line ends differ: %q", out)
				}
				out = strings.ReplaceAll(out, "\r\n", "\n")
			}
			if open {
				if strings.HasSuffix(out, "\n") {
					t.Error("the file has got a line end")
				}
				out += "\n"
			}
			if *update {
				a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "out" || f.Name == "errors" })
				if !slices.ContainsFunc(errs, func(err error) bool { return err == nil }) {
					out = ""
				}
				for _, f := range []txtar.File{{Name: "out", Data: []byte(out)}, {Name: "errors", Data: []byte(problems)}} {
					if len(f.Data) > 0 {
						a.Files = append(a.Files, f)
					}
				}
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want, ok := files["out"]; ok && out != want || !ok && string(data) != in {
				t.Errorf("got:\n%s", out)
			}
			if problems != files["errors"] {
				t.Errorf("errors:\n%s", problems)
			}
		})
	}
}

// verify holds for any changes: each one that was made gives what an independent library makes of the object, and all other
// objects are as they were.
func verify(t *testing.T, in string, changes []Change, data []byte, errs []error) {
	t.Helper()
	before, beforeErrs := Read("f", strings.NewReader(in))
	after, afterErrs := Read("f", bytes.NewReader(data))
	if len(before) != len(after) || faults(beforeErrs) != faults(afterErrs) {
		t.Fatalf("%d objects and %d errors became %d and %d: %v\n%s", len(before), len(beforeErrs), len(after), len(afterErrs), afterErrs, data)
	}
	made := 0
	for i, d := range before {
		want := d.JSON
		for k, c := range changes {
			if c.Document.Number == d.Number && c.Document.Item == d.Item && errs[k] == nil {
				made++
				raw, err := json.Marshal(c.Patch)
				if err != nil {
					t.Fatal(err)
				}
				p, err := jsonpatch.DecodePatch(raw)
				if err != nil {
					t.Fatal(err)
				}
				if want, err = p.Apply(want); err != nil {
					t.Fatal(err)
				}
			}
		}
		var wanted map[string]any
		if err := utiljson.Unmarshal(want, &wanted); err != nil {
			t.Fatal(err)
		}
		if got := after[i].Object.Root(); !reflect.DeepEqual(got, wanted) {
			t.Errorf("object %d is %v\nwant %v\n%s", i, got, wanted, data)
		}
	}
	if made == 0 && len(changes) > 0 && string(data) != in {
		t.Errorf("nothing was changed, but the text is\n%s", data)
	}
}

var somePlaces = []any{
	"::", "[::]:80", "* -::*", "true", "IPv6", "", " a", "a: b", "~", "0x1", "é", "it's", `"`, "server {\n  listen 80;\n}\n", "a\n\nb", " x\ny\n\n", "\t\n", "\u2028", "a\r\nb",
	int64(1), int64(-7), 1.5, true, nil, []any{}, map[string]any{}, []any{"a", int64(1)}, map[string]any{"a": "b", "c.d/e": []any{map[string]any{"x": int64(1), "y": "z"}}},
}

// scramble changes an object at some places and returns the journal.
func scramble(o *rules.Object, random *rand.Rand, changes int) []operations.Operation {
	for range changes {
		var paths []rules.Path
		walk(o.Root(), nil, func(p rules.Path, _ any) {
			if len(p) > 1 || len(p) == 1 && p[0] != "kind" && p[0] != "apiVersion" && p[0] != "items" {
				paths = append(paths, p)
			}
		})
		if len(paths) == 0 {
			return nil
		}
		slices.SortFunc(paths, func(a, b rules.Path) int { return strings.Compare(a.Pointer(), b.Pointer()) })
		p := paths[random.IntN(len(paths))]
		value := somePlaces[random.IntN(len(somePlaces))]
		now, _ := o.Get(p...)
		switch random.IntN(4) {
		case 0:
			o.Remove(p)
		case 1:
			if text, ok := now.(string); ok && text != "" { // a part of a text
				i := random.IntN(len(text) + 1)
				value = strings.ToValidUTF8(text[:i]+"\nlisten [::]:80;\n"+text[i:], "")
			}
			o.Set(p, value)
		case 2:
			if list, ok := now.([]any); ok {
				o.Insert(p, random.IntN(len(list)+1), value)
			} else {
				o.Set(p, value)
			}
		case 3:
			o.Set(p.With("key"+strconv.Itoa(random.IntN(3))), value)
		}
	}
	return o.Patch()
}

// TestSpliceCorpus changes the copied manifests at random. What has no alias can be spliced, whatever the change is.
func TestSpliceCorpus(t *testing.T) {
	root := "../../e2e/testdata/corpus"
	if dir := os.Getenv("SIXGATE_CORPUS"); dir != "" {
		root = dir
	}
	random := rand.New(rand.NewPCG(1, 2))
	files, made, refused := 0, 0, map[string]int{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		docs, _ := Read(path, bytes.NewReader(data))
		if len(docs) == 0 {
			return nil
		}
		files++
		for range 8 {
			var changes []Change
			for range min(len(docs), 3) {
				d := docs[random.IntN(len(docs))]
				if slices.ContainsFunc(changes, func(c Change) bool { return c.Document == d }) {
					continue
				}
				changes = append(changes, Change{d, scramble(d.Object.Copy(), random, 1+random.IntN(3))})
			}
			out, errs := Splice(changes)
			verify(t, string(data), changes, out, errs)
			for i, err := range errs {
				if err == nil {
					made++
					continue
				}
				var s *SpliceError
				if !errors.As(err, &s) {
					t.Errorf("no SpliceError: %v", err)
				}
				refused[s.Reason]++
				if !strings.Contains(s.Reason, "alias") && !strings.Contains(s.Reason, "anchor") {
					t.Errorf("%v: %v", err, changes[i].Patch)
				}
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("%d files: %v", files, err)
	}
	t.Logf("%d files, %d changes made, refused: %v", files, made, refused)
}

func FuzzSplice(f *testing.F) {
	for i, s := range []string{
		positions, head("a") + "data: {x: \"a\\nb\"}\n---\n" + head("b") + "...\n",
		`{"apiVersion":"v1","kind":"List","items":[{"kind":"Pod","apiVersion":"v1"},{"kind":"Pod","apiVersion":"v1","x":[1,{"a":"\u00e4\n"}]}]}`,
		head("a") + "data:\n  x: |2-\n     a\n    b\n  y: >\n    a\n    b\n\n    c\n  z: 'a\n    b'\n  q: \"\\u00e4\\\n    b\"\n",
		"%YAML 1.1\n---\n" + bom + head("a") + "x: &a [*a]\n<<: {{ y }}\n",
		"apiVersion: v1\nkind: ServiceList\nitems:\n- &x {metadata: {name: a}}\n- *x\n",
		head("a") + "x:\r\n- - a\r\n  - b: # c\r\n    - d\r\n-\r\n- ? e\r\n  : f\r\n",
		head("a") + "x: {a: , b, \"c\":1, d: [e: f, # g\n  h, ]}\ny:\nz: !!str\n",
	} {
		f.Add(s, uint64(i))
	}
	f.Fuzz(func(t *testing.T, in string, seed uint64) {
		docs, _ := Read("f", strings.NewReader(in))
		random := rand.New(rand.NewPCG(seed, 0))
		var changes []Change
		for _, d := range docs {
			if random.IntN(4) > 0 {
				changes = append(changes, Change{d, scramble(d.Object.Copy(), random, 1+random.IntN(3))})
			}
		}
		if len(changes) == 0 {
			return
		}
		data, errs := Splice(changes)
		verify(t, in, changes, data, errs)
		for _, err := range errs {
			if err != nil && strings.Contains(err.Error(), "please report") {
				t.Error(err)
			}
		}
	})
}
