package validate

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/rogpeppe/go-internal/txtar"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/rules"
)

const fuzzPolicy = `apiVersion: sixgate.io/v1alpha1
kind: Policy
cluster: {families: [IPv6], cni: calico, nat64: {prefix: "64:ff9b::/96"}, dns: {address: "fd00:10:96::a", resolvers: ["2001:4860:4860::6464"]}}
apiServer: {host: api.example.net, port: 6443}
services: {headless: ["headless/*"]}
pools: [{namespaces: ["*"], ipv6Pools: ["2001:db8:42::/64"]}]
`

// FuzzAdmission: whatever an object is, it is judged; the patch applies to its bytes and gives the tree; a second time there is nothing to
// change; and every line is one line.
func FuzzAdmission(f *testing.F) {
	files, err := filepath.Glob("../rules/testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal(err, files)
	}
	for i, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, in := range a.Files {
			if in.Name == "in.yaml" {
				raw, err := yaml.YAMLToJSON(in.Data)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(raw, []byte(`{"apiVersion":"v1","kind":"Service","spec":{"clusterIP":"fd00::1","ipFamilies":["IPv6"]}}`), i%4 == 0)
			}
		}
	}
	f.Add([]byte(`{"apiVersion":"v1","kind":"Service","metadata":{"annotations":{"sixgate.io/ignore.service-ip-family":"\u001b[31m\n\u202e"}},"spec":{"ipFamilies":["IPv4"]}}`), []byte(`{}`), false)
	f.Add([]byte(`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[null,7,{"env":{"name":[]}},{"command":["sh","-c",{}]}],"hostAliases":[{"ip":7}]}}`), []byte(`{}`), true)
	policy, err := rules.ReadPolicy([]byte(fuzzPolicy))
	if err != nil {
		f.Fatal(err)
	}
	set := rules.NewSet(policy)
	f.Fuzz(func(t *testing.T, raw, old []byte, update bool) {
		if !utf8.Valid(raw) || len(raw) > 1<<16 {
			return
		}
		o, err := rules.ParseObject(raw)
		if err != nil {
			return
		}
		req := rules.Request{Object: o, Operation: rules.Create, Namespace: o.Namespace()}
		if update {
			if req.Old, err = rules.ParseObject(old); err != nil {
				return
			}
			req.Operation = rules.Update
		}
		result := mutate.Apply(set, &req)
		lines := result.Warnings()
		if len(result.Patch) > 0 {
			patched := apply(t, raw, result)
			if !reflect.DeepEqual(patched, any(o.Root())) {
				t.Errorf("the patch gives\n%v, the tree is\n%v", patched, o.Root())
			}
			again := req
			again.Object = rules.NewObject(patched.(map[string]any))
			if second := mutate.Apply(set, &again); len(second.Patch) > 0 {
				t.Errorf("a second time: %v, after %v", second.Patch, result.Patch)
			}
		}
		v := Judge(set, &req)
		for _, f := range append(v.Denied, v.Warned...) {
			lines = append(lines, f.String())
		}
		for _, l := range lines {
			if strings.ContainsFunc(l, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }) || utf8.RuneCountInString(l) > 256 || !utf8.ValidString(l) {
				t.Errorf("%q", l)
			}
		}
	})
}

// apply applies the patch by another library, which keeps what it does not touch as it is written.
func apply(t *testing.T, raw []byte, result mutate.Result) any {
	t.Helper()
	ops, err := json.Marshal(result.Patch)
	if err != nil {
		t.Fatal(err)
	}
	p, err := jsonpatch.DecodePatch(ops)
	if err != nil {
		t.Fatal(err)
	}
	data, err := p.Apply(bytes.TrimSpace(raw))
	if err != nil {
		t.Fatalf("%v: %s", err, ops)
	}
	var out any
	if err := utiljson.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
