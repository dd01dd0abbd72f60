package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"go.yaml.in/yaml/v3"
	apijson "k8s.io/apimachinery/pkg/util/json"
)

// FuzzCommands: whatever is on standard input, audit, fix and krm end with one of their exit codes, print nothing that a terminal obeys, and
// what krm writes is YAML.
func FuzzCommands(f *testing.F) {
	f.Add([]byte(hostile))
	f.Add([]byte(service("a") + "---\n" + service("b")))
	f.Add([]byte("apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nfunctionConfig: {kind: ConfigMap, apiVersion: v1, data: {policy.yaml: \"apiVersion: sixgate.io/v1alpha1\\nkind: Policy\\n\"}}\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: \"a\\e[31m\", annotations: {config.kubernetes.io/path: ../../x, internal.config.kubernetes.io/index: '1'}}\n  spec: {ipFamilies: [IPv4]}\nresults: 7\n"))
	f.Add([]byte("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: &a {containers: [{name: \"\\x9b31m\", image: a, ports: [{hostIP: 0.0.0.0, containerPort: 80, hostPort: 80}]}]}}, *a]\n"))
	for _, what := range []string{"aliases", "UTF-16", "Latin-1", "CRLF", "byte order mark"} {
		f.Add(hostileInput(what))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, args := range [][]string{{"audit", "-"}, {"fix", "-"}, {"krm"}} {
			var out, errs bytes.Buffer
			code := run(t.Context(), append([]string{"sixgate"}, args...), bytes.NewReader(in), &out, &errs)
			if code != 0 && code != exitFindings && code != exitError {
				t.Errorf("%v: exit code %d", args, code)
			}
			said := errs.String()
			if args[0] == "audit" {
				said += out.String()
			}
			if obeyed := func(r rune) bool {
				return unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r)
			}; strings.ContainsFunc(said, obeyed) {
				t.Errorf("%v: %q", args, said)
			}
			if args[0] == "krm" && code != exitError {
				var list any
				if err := yaml.Unmarshal(out.Bytes(), &list); err != nil {
					t.Errorf("%v\n%s", err, out.Bytes())
				}
			}
		}
	})
}

// FuzzList: what an API server sends as a list is read object by object, as one would read the whole.
func FuzzList(f *testing.F) {
	f.Add([]byte(`{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"x"},"items":[{"a":1},{"b":{}}]}`))
	f.Add([]byte(`{"items":null,"metadata":{}}`))
	f.Add([]byte(`{"items":[{"a":[[[[`))
	f.Add([]byte(`{"metadata":7,"items":{}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		var got [][]byte
		_, err := readList(bytes.NewReader(in), func(raw []byte) { got = append(got, bytes.Clone(raw)) })
		if err != nil {
			return
		}
		var whole struct {
			Items []json.RawMessage `json:"items"`
		}
		// As client-go reads it: "Items" is another field.
		if apijson.Unmarshal(in, &whole) == nil && !bytes.Contains(bytes.ToLower(in), []byte(`\u`)) && bytes.Count(in, []byte(`"items"`)) == 1 && len(whole.Items) != len(got) {
			t.Errorf("%d of %d objects", len(got), len(whole.Items))
		}
	})
}

// FuzzIgnore: whatever a .gitignore says, and whatever a file is called, there is an answer, and comments do not change it.
func FuzzIgnore(f *testing.F) {
	for _, text := range []string{"*.yaml\n!a.yaml\r\n", "/**/a/**/\n", "[", "[!]a-", "\\", "!\n!!\n/\n//\n", strings.Repeat("*a", 40) + "b\n", strings.Repeat("**/", 40) + "x\n", "a\\ \n\ufeff#\n", "\xff\x00\n"} {
		f.Add(text, "a/b/c.yaml")
		f.Add(text, strings.Repeat("a", 200))
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		read := func(text string) []bool {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			patterns := readIgnore(dir)
			path := filepath.Join(dir, name)
			return []bool{ignored(patterns, path, false), ignored(patterns, path, true)}
		}
		if plain, commented := read(text), read(text+"\n\n# "+strings.ReplaceAll(name, "\n", " ")+"\n"); !slices.Equal(plain, commented) {
			t.Errorf("%q: %v, with a comment %v", text, plain, commented)
		}
	})
}
