package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

const cm = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"

// head is the start of a ConfigMap with a name, three lines.
func head(name string) string { return fmt.Sprintf(cm, name) }

func TestRead(t *testing.T) {
	tests := []struct {
		name, in string
		want     []string // "number.item kind/name@line source"
		errs     []string
	}{
		{"empty", "", nil, nil},
		{"comments only", "# nothing\n---\n\n--- # here\n# either", nil, nil},
		{"null", "null\n---\n~\n", nil, nil},
		{"one, no line end", strings.TrimSpace(head("a")), []string{"1 ConfigMap/a@1"}, nil},
		{"several", "# licence\n---\n" + head("a") + "--- # next\n\n# c\n" + head("b") + "---\t\n---\n" + head("c"),
			[]string{"1 ConfigMap/a@3", "2 ConfigMap/b@9", "3 ConfigMap/c@14"}, nil},
		{"helm", "---\n# Source: shop/templates/cm.yaml\n" + head("a") + "---\n# Source: shop/charts/db/x.yaml\n\n" + head("b") + "---\n" + head("c"),
			[]string{"1 ConfigMap/a@3 shop/templates/cm.yaml", "2 ConfigMap/b@9 shop/charts/db/x.yaml", "3 ConfigMap/c@13"}, nil},
		{"CRLF", strings.ReplaceAll("---\n# Source: s/x.yaml\n"+head("a")+"---\n"+head("b"), "\n", "\r\n"),
			[]string{"1 ConfigMap/a@3 s/x.yaml", "2 ConfigMap/b@7"}, nil},
		{"byte order marks of concatenated files", bom + head("a") + "---\n" + bom + head("b") + bom + "---\n" + head("c"),
			[]string{"1 ConfigMap/a@1", "2 ConfigMap/b@5", "3 ConfigMap/c@9"}, nil},
		{"directive and document ends", "%YAML 1.1\n---\n" + head("a") + "...\n---\n" + head("b") + "...\n# bye\n",
			[]string{"1 ConfigMap/a@3", "2 ConfigMap/b@8"}, nil},
		{"text after a document end", head("a") + "...\n" + head("b") + "---\n" + head("c"),
			[]string{"1 ConfigMap/a@1", "3 ConfigMap/c@9"},
			[]string{"f:5:1: kubectl ignores what follows the document end marker ...; put --- in front of it"}},
		{"separator inside a block scalar", head("a") + "data:\n  x: |\n    ---\n    ...\n---\n" + head("b"),
			[]string{"1 ConfigMap/a@1", "2 ConfigMap/b@9"}, nil},
		{"text after a separator", head("a") + "--- foo\nx: 1\n---\n" + head("b") + "----\n",
			[]string{"1 ConfigMap/a@1", "2 ConfigMap/b@7"},
			[]string{`f:4:1: "foo" after the document separator ---; start a new line after it`,
				`f:10:1: "-" after the document separator ---; start a new line after it`}},
		{"broken between good ones", head("a") + "---\napiVersion: v1\nkind: ConfigMap\n metadata: {}\n---\n" + head("b"),
			[]string{"1 ConfigMap/a@1", "3 ConfigMap/b@9"},
			[]string{`f:7: mapping values are not allowed in this context; check the indentation, and quote a value that contains ": "`}},
		{"the line meant, not the one before", head("a") + "spec:\n  a: 1\n # c\n b: 2\n", nil,
			[]string{"f:7: did not find expected key; check the indentation of this line and of the one above"}},
		{"the key, not what follows it", "# c\n\nfoo\nbar: 1\n", nil,
			[]string{`f:4: mapping values are not allowed in this context; check the indentation, and quote a value that contains ": "`}},
		{"key without colon", "a: 1\nfoo\nbar: 1\n", nil,
			[]string{`f:2: could not find expected ':'; write "key: value", and check the indentation`}},
		{"quote left open", head("a") + "data:\n  x: \"abc\n  y: 1\n  z: 2\n", nil,
			[]string{"f:5: found unexpected end of stream; close the quote or bracket that starts here"}},
		{"tabs", head("a") + "data:\n\tx: y\n", nil,
			[]string{"f:5: found character that cannot start any token; quote the value, and indent with spaces, not tabs"}},
		{"a broken first line", "a: b: c\n", nil,
			[]string{`f:1: mapping values are not allowed in this context; check the indentation, and quote a value that contains ": "`}},
		{"control character", head("a") + "data:\n  x: \"a\x01\"\n", nil, []string{"f:5: control characters are not allowed; remove the character"}},
		{"unknown anchor", head("a") + "data:\n  x: *nope\n", nil, []string{"f:5: unknown anchor 'nope' referenced; define the anchor before it is used"}},
		{"template value", head("a") + "data:\n  x: {{ .Values.x }}\n---\n" + head("b"), []string{"2 ConfigMap/b@7"},
			[]string{"f:5: invalid map key: only a string, a number or a boolean can be one; this is a template: render the chart first: helm template"}},
		{"template line", "{{- if .Values.on }}\n" + head("a") + "{{- end }}\n", nil,
			[]string{"f:1: did not find expected node content; this is a template: render the chart first: helm template"}},
		{"template include", head("a") + "data:\n{{ include \"x\" . | indent 2 }}\n  y: 1\n", nil,
			[]string{"f:5: could not find expected ':'; this is a template: render the chart first: helm template"}},
		{"quoted template", head("a") + "data:\n  x: \"{{ .Values.x }}\"\n", []string{"1 ConfigMap/a@1"}, nil},
		{"duplicate key", head("a") + "data:\n  x: 1\n  y: 1\n  x: 2\n---\n" + head("b"), []string{"1 ConfigMap/a@1", "2 ConfigMap/b@9"},
			[]string{`f:7:3: duplicate key: "x" is already set on line 5; remove one of the two`}},
		{"null key", head("a") + "data:\n  x: 1\n  ~: 1\n", nil, []string{"f:6: invalid map key: only a string, a number or a boolean can be one; quote the key"}},
		{"a fault far from a template of another kind", head("a") + "data:\n  x: \"{{ $labels.pod }}\"\n  y: 1\n  z: a: b\n", nil,
			[]string{`f:7: mapping values are not allowed in this context; check the indentation, and quote a value that contains ": "`}},
		{"merge of a list", head("a") + "x: &x [{a: 1}]\ny: &y {b: 1}\nz: {<<: *y}\ndata:\n  <<: *x\n", nil,
			[]string{"f:8: map merge requires map or sequence of maps as the value; give << a mapping or an alias of one"}},
		{"merge of a string", head("a") + "data:\n  <<: x\n", nil, []string{"f:5: map merge requires map or sequence of maps as the value; give << a mapping or an alias of one"}},
		{"override of a merged key", head("a") + "data:\n  <<: {x: \"1\"}\n  x: \"2\"\n", []string{"1 ConfigMap/a@1"}, nil},
		{"not UTF-8", head("a") + "data: {x: \"\xff\"}\n", nil, []string{"f:4:12: not UTF-8; save the file as UTF-8"}},
		{"not objects", "replicas: 1\n---\napiVersion: v2\nname: chart\n---\n- 1\n---\nfoo\n---\nkind: 3\n", nil,
			[]string{"f:1:1: not a Kubernetes object: no kind", "f:3:1: not a Kubernetes object: no kind", "f:6:1: not a Kubernetes object: a list",
				"f:8:1: not a Kubernetes object: a string", "f:10:1: not a Kubernetes object: no kind"}},
		{"list", "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Pod\n  metadata: {name: a}\n-\n  apiVersion: v1\n  kind: Pod\n  metadata: {name: b}\n",
			[]string{"1.1 Pod/a@4", "1.2 Pod/b@8"}, nil},
		{"typed list", "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n", []string{"1.1 Service/a@4"}, nil},
		{"empty list", "apiVersion: v1\nkind: List\n---\napiVersion: v1\nkind: List\nitems: []\n", nil, nil},
		{"items that are not lists", "apiVersion: v1\nkind: Playlist\nmetadata: {name: a}\nitems: [1]\n", []string{"1 Playlist/a@1"}, nil},
		{"broken items", "apiVersion: v1\nkind: List\nitems:\n- 3\n- kind: Pod\n- {apiVersion: v1, kind: List, items: []}\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n",
			[]string{"1.4 Pod/b@7"},
			[]string{"f:4:3: item 1 of the List is a number; make it an object or remove it",
				"f:5:3: not a Kubernetes object: item 2 of the List has no apiVersion",
				"f:6:3: item 3 of the List is a list itself, which kubectl refuses; move its items up"}},
		{"JSON", "\n{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}\n}{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n\n" +
			"  {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"\\ud83d\\ude00\"}}\n# end\n---\n{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}",
			[]string{"1 Pod/a@2", "2 Pod/@5", "3 Pod/😀@7", "4 Pod/@10"}, nil},
		{"broken JSON", "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{\n  \"kind\": \"Pod\"\n  \"x\": 1\n}\n", []string{"1 Pod/@1"},
			[]string{"f:4:3: invalid character '\"' after object key:value pair; correct the JSON"}},
		{"truncated JSON", "{\n  \"kind\": \"Pod\",\n", nil, []string{"f:2:17: unexpected EOF; correct the JSON"}},
		{"duplicate key in JSON", "{\"kind\":\"Pod\",\n \"apiVersion\":\"v1\",\n \"kind\":\"Pod\"}", []string{"1 Pod/@1"},
			[]string{`f:3:2: duplicate key: "kind" is already set on line 1; remove one of the two`}},
		{"flow mapping", "{apiVersion: v1, kind: Pod, metadata: {name: a,},}\n", []string{"1 Pod/a@1"}, nil},
		{"flow mapping with quoted keys", "{\"apiVersion\": v1, \"kind\": Pod, metadata: {name: a}}\n", []string{"1 Pod/a@1"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			docs, errs := Read("f", strings.NewReader(tt.in))
			var got, gotErrs []string
			for _, d := range docs {
				at := fmt.Sprint(d.Number)
				if d.Item > 0 {
					at += fmt.Sprintf(".%d", d.Item)
				}
				got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s/%s@%d %s", at, d.Object.Kind(), d.Object.Name(), d.Line, d.Source)))
			}
			for _, err := range errs {
				gotErrs = append(gotErrs, err.Error())
				if isNot := strings.Contains(err.Error(), "not a Kubernetes object"); isNot != errors.Is(err, ErrNotObject) {
					t.Errorf("errors.Is(%v, ErrNotObject) = %v", err, !isNot)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			if !slices.Equal(gotErrs, tt.errs) {
				t.Errorf("got  %q\nwant %q", gotErrs, tt.errs)
			}
			check(t, tt.in, docs, errs)
			sameScan(t, tt.in, docs, errs)
		})
	}
}

// The line reader of kubectl ends a last line that has no end, which matters to a block scalar.
func TestLastLine(t *testing.T) {
	docs, _ := Read("f", strings.NewReader(head("a")+"data:\n  x: |\n    one"))
	if got := docs[0].Object.Str("data", "x"); got != "one\n" {
		t.Errorf("got %q", got)
	}
}

// What kubectl makes of numbers, booleans, anchors and merge keys.
func TestValues(t *testing.T) {
	docs, errs := Read("f", strings.NewReader(head("a")+`
big: 9007199254740993
oct: 0o17
mode: 0644
yes: on
base: &base {x: "1", z: "2"}
merged: {<<: *base, z: "3"}
again: *base
float: 1.5
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	o := docs[0].Object
	for _, tt := range []struct {
		path rules.Path
		want any
	}{
		{rules.Path{"big"}, int64(9007199254740993)}, {rules.Path{"mode"}, int64(420)}, {rules.Path{"true"}, true},
		{rules.Path{"merged", "x"}, "1"}, {rules.Path{"merged", "z"}, "3"}, {rules.Path{"again", "z"}, "2"}, {rules.Path{"float"}, 1.5},
	} {
		if got, _ := o.Get(tt.path...); got != tt.want {
			t.Errorf("%s = %#v, want %#v", tt.path, got, tt.want)
		}
	}
}

// Inputs that must not cost memory out of proportion.
func TestBombs(t *testing.T) {
	var laughs, chain strings.Builder
	laughs.WriteString(head("a") + "a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 20; i++ {
		fmt.Fprintf(&laughs, "a%d: &a%[1]d [*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d,*a%[2]d]\n", i, i-1)
	}
	chain.WriteString(head("a") + "a0: &a0 [x]\n")
	for i := 1; i < 30000; i++ {
		fmt.Fprintf(&chain, "a%d: &a%[1]d [*a%d]\n", i, i-1)
	}
	const expanded = "f:1:1: document is larger than 16 MiB or nested more than 10000 deep once its aliases are expanded; write it out in smaller documents"
	for name, tt := range map[string]struct{ in, want string }{
		"billion laughs":      {laughs.String(), expanded},
		"long string aliased": {head("a") + "a: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("*a,", 50000) + "]\n", expanded},
		"in flow style":       {"{\"apiVersion\": v1, \"a\": &a " + strings.Repeat("x", 1<<20) + ", \"b\": [" + strings.Repeat("*a,", 50000) + "]}", "f:1:16: invalid character 'v' looking for beginning of value; correct the JSON"},
		"chain":               {chain.String(), expanded},
		"own anchor":          {head("a") + "x: &x [*x]\n", "f:1: anchor 'x' value contains itself; an anchor cannot be used inside itself"},
		"large":               {head("a") + "data: {x: \"" + strings.Repeat("x", maxDocument) + "\"}\n", "f:1:1: document is larger than 16 MiB; split it"},
		"large JSON":          {`{"x": "` + strings.Repeat("x", maxDocument) + `"}`, "f:1:1: document is larger than 16 MiB; split it"},
		"deep":                {head("a") + "x: " + strings.Repeat("[", 100000), "f:4: exceeded max depth of 10000; close the brackets"},
		"deep JSON":           {`{"x": ` + strings.Repeat("[", 100000), "f:1:10006: invalid character '[' exceeded max depth; correct the JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			docs, errs := Read("f", strings.NewReader(tt.in))
			if len(docs) > 0 || len(errs) != 1 || errs[0].Error() != tt.want {
				t.Errorf("%d documents, %v; want %s", len(docs), errs, tt.want)
			}
		})
	}
}

// A failing reader is one error without a line.
func TestReadError(t *testing.T) {
	_, errs := Read("f", readerFunc(func([]byte) (int, error) { return 0, errors.New("broken disk") }))
	if len(errs) != 1 || errs[0].Error() != "f: read: broken disk" {
		t.Error(errs)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

const positions = `# a Deployment with everything
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: &labels
    app: web
    80: port
    yes: sir
spec:
  selector: {matchLabels: *labels}
  empty:
  template:
    metadata:
      labels:
        <<: *labels
        tier: "front"
    spec:
      containers:
      - name: web
        image: nginx
        ports:
          - containerPort: 80
            hostIP: &any 0.0.0.0
          - {containerPort: 81, hostIP: *any}
      -
        name: ünï   # two characters of two bytes
        args: ["ü", b]
`

func TestPosition(t *testing.T) {
	container := rules.Path{"spec", "template", "spec", "containers"}
	tests := []struct {
		path rules.Path
		want string
	}{
		{nil, "2:1"},
		{rules.Path{"kind"}, "3:7"},
		{rules.Path{"metadata"}, "4:1"}, // a block mapping: its key
		{rules.Path{"metadata", "name"}, "5:9"},
		{rules.Path{"metadata", "namespace"}, "4:1"}, // missing: the key of what it is missing in
		{rules.Path{"metadata", "labels"}, "6:11"},   // the anchor, on the key's line
		{rules.Path{"metadata", "labels", "80"}, "8:9"},
		{rules.Path{"metadata", "labels", "true"}, "9:10"},
		{rules.Path{"spec", "selector"}, "11:13"},
		{rules.Path{"spec", "selector", "nope"}, "11:3"},
		{rules.Path{"spec", "selector", "matchLabels"}, "11:27"},
		{rules.Path{"spec", "selector", "matchLabels", "app"}, "7:10"},
		{rules.Path{"spec", "empty"}, "12:3"},
		{rules.Path{"spec", "empty", "x", 3}, "12:3"},
		{rules.Path{"spec", "template", "metadata", "labels", "app"}, "7:10"}, // merged
		{rules.Path{"spec", "template", "metadata", "labels", "tier"}, "17:15"},
		{rules.Path{"spec", "template", "metadata", "labels", "nope"}, "15:7"},
		{container, "19:7"},
		{container.With(0), "20:9"},
		{container.With(0, "securityContext", "runAsUser"), "20:9"},
		{container.With(2), "19:7"},
		{container.With("web"), "19:7"},
		{container.With(0, "ports", 0, "hostIP"), "24:21"},
		{container.With(0, "ports", 1), "25:13"},
		{container.With(0, "ports", 1, "hostIP"), "25:41"},
		{container.With(1), "27:9"},
		{container.With(1, "name"), "27:15"},
		{container.With(1, "args", 1), "28:21"},
		{rules.Path{"status"}, "2:1"},
	}
	for _, nl := range []string{"\n", "\r\n"} {
		for _, before := range []string{"", bom, "a: b: c\n---\n" + head("x") + "--- # next\n"} {
			in := strings.ReplaceAll(before+positions, "\n", nl)
			docs, _ := Read("f", strings.NewReader(in))
			d, shift := docs[len(docs)-1], strings.Count(before, "\n")
			if d.Line != 2+shift {
				t.Errorf("document starts at line %d", d.Line)
			}
			if got := d.SourceLine(5 + shift); got != "  name: web" {
				t.Errorf("SourceLine = %q", got)
			}
			for _, tt := range tests {
				line, column := d.Position(tt.path)
				if got := fmt.Sprintf("%d:%d", line-shift, column); got != tt.want {
					t.Errorf("%s is at %s, want %s", tt.path, got, tt.want)
				}
			}
		}
	}
}

func TestSourceLine(t *testing.T) {
	docs, _ := Read("f", strings.NewReader(bom+"apiVersion: v1\r\nkind: Pod"))
	for line, want := range map[int]string{-1: "", 0: "", 1: "apiVersion: v1", 2: "kind: Pod", 3: ""} {
		if got := docs[0].SourceLine(line); got != want {
			t.Errorf("line %d is %q, want %q", line, got, want)
		}
	}
}

// TestOneLine: places in a line of many thousand characters, some of which are more than one byte, with and without a BOM.
func TestOneLine(t *testing.T) {
	for _, in := range []string{"", "\ufeff"} {
		for _, open := range []string{`{"apiVersion": "v1", "kind": "List", "items": [`, `{apiVersion: v1, kind: List, items: [`} {
			in := in + open
			var want []int
			for i := range 1000 {
				want = append(want, utf8.RuneCountInString(strings.TrimPrefix(in, "\ufeff"))+1)
				in += fmt.Sprintf(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c%d"}, "data": {"ä€😀%s": "b"}},`, i, strings.Repeat("é", i%7))
			}
			in = strings.TrimSuffix(in, ",") + "]}"
			line := []rune(strings.TrimPrefix(in, "\ufeff"))
			docs, errs := Read("x", strings.NewReader(in))
			if len(errs) > 0 || len(docs) != len(want) {
				t.Fatalf("%d objects, %v", len(docs), errs)
			}
			for i, d := range docs {
				if d.Line != 1 || d.Column != want[i] {
					t.Fatalf("item %d at %d:%d, want column %d", i+1, d.Line, d.Column, want[i])
				}
				_, column := d.Position(rules.Path{"metadata", "name"})
				if got, want := string(line[column-1:column+5]), fmt.Sprintf(`"c%d"}, `, i)[:6]; got != want {
					t.Fatalf("item %d: name at column %d: %s, want %s", i+1, column, got, want)
				}
				part, at := d.SourceNear(1, column, 50)
				from := max(column-51, 0)
				if want := string(line[from:min(column+49, len(line))]); part != want || at != column-from {
					t.Fatalf("item %d: SourceNear = %q, %d, want %q, %d", i+1, part, at, want, column-from)
				}
			}
			if part, at := docs[0].SourceNear(1, len(line)+1, 5); part != string(line[len(line)-5:]) || at != 6 {
				t.Errorf("SourceNear the end = %q, %d", part, at)
			}
			if part, at := docs[0].SourceNear(9, 9, 5); part != "" || at != 1 {
				t.Errorf("SourceNear past the end = %q, %d", part, at)
			}
		}
	}
}

// TestErrorLine: an error at the end of a document is on a line that the document has.
func TestErrorLine(t *testing.T) {
	for _, in := range []string{"a: [1", "a: [1\n", "a: [1\n---\n", "\ufeffa: [1\r\n", "a: {b", "a: \"b"} {
		_, errs := Read("x", strings.NewReader(in))
		var e *Error
		if len(errs) != 1 || !errors.As(errs[0], &e) || e.Line != 1 {
			t.Errorf("%q: %v", in, errs)
		}
	}
}

func TestJSONPosition(t *testing.T) {
	docs, errs := Read("f", strings.NewReader("{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"apiVersion\": \"v1\", \"kind\": \"Pod\"},\n"+
		"\t\t{\n\t\t\t\"kind\": \"ConfigMap\",\n\t\t\t\"apiVersion\": \"v1\",\n\t\t\t\"data\": {\"a\": \"😀\\ud83d\\ude00\\n\\tx\\/y\", \"b\": \"\"},\n\t\t\t\"n\": [1, null, true]\n\t\t}\n\t]\n}"))
	if len(docs) != 2 || len(errs) > 0 {
		t.Fatal(docs, errs)
	}
	d := docs[1]
	for _, tt := range []struct {
		path rules.Path
		want string
	}{
		{nil, "6:3"}, {rules.Path{"kind"}, "7:12"}, {rules.Path{"data"}, "9:12"}, {rules.Path{"data", "a"}, "9:18"},
		{rules.Path{"data", "b"}, "9:48"}, {rules.Path{"data", "c"}, "9:4"}, {rules.Path{"n", 1}, "10:13"}, {rules.Path{"n", 2}, "10:19"}, {rules.Path{"x"}, "6:3"},
	} {
		line, column := d.Position(tt.path)
		if got := fmt.Sprintf("%d:%d", line, column); got != tt.want {
			t.Errorf("%s is at %s, want %s", tt.path, got, tt.want)
		}
	}
	if line, column := d.TextPosition(rules.Path{"data", "a"}, rules.TextPos{Line: 2, Column: 4}); line != 9 || column != 39 {
		t.Errorf("y is at %d:%d", line, column)
	}
}

func TestTextPosition(t *testing.T) {
	in := head("a") + `data:
  literal: |
    server {
      listen 80;

      # ü x
    }
  strip: |-
     one
      two
  indented: |2
      one
     two
  keep: !!str |+ # header
    one

  anchored: &text
    |
      one
      two
  alias: *text
  folded: >
    one
    two

    three
      four
  plain: one
    two

    three
  single: 'it''s one

    two'
  double: "one\n  tw\x6f \
    three\nfour

    five \"six\""
  oneline: "server {\n  listen 80;\n}\n"
  short: word
  number: 12
`
	tests := []struct {
		key          string
		line, column int
		want         string
	}{
		{"literal", 1, 1, "server {"}, {"literal", 2, 3, "listen 80;"}, {"literal", 2, 0, "listen 80;"}, {"literal", 2, 1, "  listen 80;"},
		{"literal", 4, 5, "ü x"}, {"literal", 4, 6, " x"}, {"literal", 5, 1, "}"}, {"literal", 3, 1, ""}, {"literal", 2, 99, ""},
		{"strip", 1, 1, "one"}, {"strip", 2, 2, "two"},
		{"indented", 1, 3, "one"}, {"indented", 2, 2, "two"}, {"indented", 2, 1, " two"},
		{"keep", 1, 1, "one"}, {"keep", 2, 1, ""},
		{"anchored", 2, 2, "wo"}, {"alias", 1, 1, "one"},
		{"folded", 1, 1, "one"}, {"folded", 1, 5, "two"}, {"folded", 2, 1, "three"}, {"folded", 3, 3, "four"},
		{"plain", 1, 1, "one"}, {"plain", 1, 5, "two"}, {"plain", 2, 1, "three"},
		{"single", 1, 6, "one"}, {"single", 2, 1, "two'"},
		{"double", 1, 1, `one\n  tw\x6f \`}, {"double", 2, 3, `tw\x6f \`}, {"double", 2, 7, `three\nfour`}, {"double", 3, 1, "four"}, {"double", 4, 6, `\"six\""`},
		{"oneline", 2, 3, `listen 80;\n}\n"`}, {"oneline", 3, 1, `}\n"`},
		{"short", 1, 3, "rd"}, {"number", 1, 1, "12"},
		// no such place: the start of the value
		{"literal", 9, 1, "|"}, {"literal", 0, 1, "|"}, {"double", 9, 1, `"one\n  tw\x6f \`}, {"nope", 1, 1, "data:"},
	}
	for _, nl := range []string{"\n", "\r\n"} {
		docs, errs := Read("f", strings.NewReader(strings.ReplaceAll(in, "\n", nl)))
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		d := docs[0]
		for _, tt := range tests {
			line, column := d.TextPosition(rules.Path{"data", tt.key}, rules.TextPos{Line: tt.line, Column: tt.column})
			if got := string([]rune(d.SourceLine(line))[column-1:]); got != tt.want {
				t.Errorf("%s %d:%d is at %d:%d %q, want %q", tt.key, tt.line, tt.column, line, column, got, tt.want)
			}
		}
		check(t, in, docs, errs)
	}
}

// check holds for any input: documents are objects, their JSON is the object, and positions are inside the file and show the
// text that they are for.
func check(t *testing.T, in string, docs []*Document, errs []error) {
	t.Helper()
	for _, err := range errs {
		var e *Error
		if !errors.As(err, &e) || strings.ContainsAny(err.Error(), "\r\n") || !utf8.ValidString(in) && len(docs) > 0 {
			t.Errorf("bad error %q", err)
		}
	}
	for _, d := range docs {
		if d.Object.Kind() == "" || d.Object.APIVersion() == "" || d.Line < 1 {
			t.Errorf("bad document %+v", d)
		}
		var back map[string]any
		if err := utiljson.Unmarshal(d.JSON, &back); err != nil || !reflect.DeepEqual(back, d.Object.Root()) {
			t.Errorf("JSON %s is not the object %v: %v", d.JSON, d.Object.Root(), err)
		}
		if d.text.root() == nil {
			t.Errorf("no positions: %s", d.text.problem())
		}
		walk(d.Object.Root(), nil, func(p rules.Path, v any) {
			line, column := d.Position(p)
			if line < 1 || column < 1 || column > utf8.RuneCountInString(d.SourceLine(line))+1 {
				t.Errorf("%s is at %d:%d", p, line, column)
			}
			s, _ := v.(string)
			for i, text := range strings.Split(s, "\n") {
				l, c := d.TextPosition(p, rules.TextPos{Line: i + 1})
				rest := []rune(d.SourceLine(l))
				if c < 1 || c > len(rest)+1 {
					t.Errorf("%s %d is at %d:%d", p, i+1, l, c)
					continue
				}
				text = strings.TrimLeft(text, " \t")
				if r, _ := utf8.DecodeRuneInString(text); text != "" && (l != line || c != column) && !isWhite(r) && rest[c-1] != r && rest[c-1] != '\\' {
					t.Errorf("%s %d is at %d:%d %q, want %q", p, i+1, l, c, string(rest[c-1:]), text)
				}
			}
		})
	}
}

func walk(v any, p rules.Path, visit func(rules.Path, any)) {
	visit(p, v)
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			walk(c, p.With(k), visit)
		}
	case []any:
		for i, c := range v {
			walk(c, p.With(i), visit)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		positions, head("a") + "data: {x: \"a\\nb\"}\n---\n" + head("b") + "...\n", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{\"kind\":\"Pod\"}]}",
		head("a") + "data:\n  x: |2-\n     a\n    b\n  y: >\n    a\n    b\n\n    c\n  z: 'a\n    b'\n  q: \"\\u00e4\\\n    b\"\n",
		"%YAML 1.1\n---\n" + bom + head("a") + "x: &a [*a]\n<<: {{ y }}\n",
		"apiVersion: v1\nkind: ServiceList\nitems:\n- &x {metadata: {name: a}}\n- *x\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		docs, errs := Read("f", strings.NewReader(in))
		check(t, in, docs, errs)
		sameScan(t, in, docs, errs)
	})
}

// hundred is a file of 100 Deployments, ConfigMaps and Services.
func hundred() []byte {
	var b bytes.Buffer
	for i := range 100 {
		switch i % 3 {
		case 0:
			fmt.Fprintf(&b, "---\n%s", positions)
		case 1:
			b.WriteString("---\n" + head("a") + "data:\n  default.conf: |\n    server {\n" + strings.Repeat("      listen 80; # a line of configuration\n", 20) + "    }\n")
		case 2:
			b.WriteString("---\napiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  labels:\n    app: web\nspec:\n  type: ClusterIP\n  selector:\n    app: web\n  ports:\n  - name: http\n    port: 80\n    targetPort: http\n")
		}
	}
	return b.Bytes()
}

func BenchmarkRead(b *testing.B) {
	data := hundred()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if docs, errs := Read("f", bytes.NewReader(data)); len(docs) != 100 || len(errs) > 0 {
			b.Fatal(len(docs), errs)
		}
	}
}

// BenchmarkPosition is Read and one position in each document.
func BenchmarkPosition(b *testing.B) {
	data := hundred()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		docs, _ := Read("f", bytes.NewReader(data))
		for _, d := range docs {
			d.Position(rules.Path{"metadata", "name"})
		}
	}
}

// BenchmarkYAMLToJSON is the floor: the same bytes, converted only.
func BenchmarkYAMLToJSON(b *testing.B) {
	data := hundred()
	docs := bytes.Split(data, []byte("---\n"))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		for _, d := range docs {
			raw, err := sigsyaml.YAMLToJSON(d)
			if err != nil || !json.Valid(raw) {
				b.Fatal(err)
			}
		}
	}
}
