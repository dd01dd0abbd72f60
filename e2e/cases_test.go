//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/rules"
)

// A ruleCase is one case of pkg/rules/testdata: the texts of its files by name.
type ruleCase struct {
	name string
	rule *rules.Rule
	text map[string]string
}

func ruleCases(t *testing.T) []*ruleCase {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, "pkg/rules/testdata/*/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	byID := map[string]*rules.Rule{}
	for _, r := range rules.All() {
		byID[r.ID] = r
	}
	var out []*ruleCase
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		id := filepath.Base(filepath.Dir(file))
		c := &ruleCase{name: id + "/" + filepath.Base(file), rule: byID[id], text: map[string]string{}}
		for _, f := range archive.Files {
			c.text[f.Name] = string(f.Data)
		}
		out = append(out, c)
	}
	return out
}

// sample returns one object of the case; nil where the rule does not look at its kind.
func (c *ruleCase) sample(t *testing.T, file string) *sample {
	t.Helper()
	raw, err := yaml.YAMLToJSON([]byte(c.text[file]))
	if err != nil {
		t.Fatalf("%s: %s: %v", c.name, file, err)
	}
	o := decode(t, raw)
	i := slices.IndexFunc(c.rule.Targets, func(target rules.Target) bool {
		return target.Group == o.Group() && target.Kind == o.Kind() && target.Subresource == c.text["subresource"]
	})
	if i < 0 {
		return nil
	}
	s := &sample{doc: &manifest.Document{File: c.name + " " + file, Line: 1, Object: o}, target: c.rule.Targets[i]}
	if s.body, err = postable(raw); err != nil {
		t.Fatal(err)
	}
	return s
}

// refused reports whether the rule says that the API server itself refuses the object.
func (c *ruleCase) refused(t *testing.T, s *sample) bool {
	t.Helper()
	policy := rules.DefaultPolicy("IPv6")
	if text := c.text["policy.yaml"]; text != "" {
		var err error
		if policy, err = rules.ReadPolicy([]byte(text)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if policy.Cluster.Families == nil {
			policy.Cluster.Families = []string{"IPv6"}
		}
	}
	req := &rules.Request{Object: s.doc.Object, Operation: rules.Create, Namespace: s.namespace()}
	active, _ := rules.NewSet(policy).Rules(req)
	for _, a := range active {
		if a.ID == c.rule.ID {
			return slices.ContainsFunc(a.Findings(req), func(f rules.Finding) bool { return f.Refused })
		}
	}
	return false
}

// TestCases: an API server of an IPv6-only cluster accepts what every rule makes of its cases, on creation and on update, and
// refuses what a rule says that it refuses. Where it refuses the object of a case for another reason, the repair adds none.
func TestCases(t *testing.T) {
	in := get(t, withoutSixgate)
	in.defineCustomResources(t)
	api, counts := in.api(t), map[string]int{}
	for _, c := range ruleCases(t) {
		t.Run(c.name, func(t *testing.T) { counts[c.try(t, api)]++ })
	}
	t.Log(table(counts))
}

// try writes the object of the case, and what the rule makes of it, and returns what came out.
func (c *ruleCase) try(t *testing.T, api *apiServer) string {
	sent := c.sample(t, "in.yaml")
	if sent == nil || sent.target.Resource == "" || sent.target.Subresource != "" {
		return "of no collection"
	}
	update := c.text["old.yaml"] != ""
	refused := !update && c.refused(t, sent)
	if c.text["out.yaml"] == "" && !refused {
		return "not repaired"
	}
	sent = c.own(t, "in.yaml")
	api.makeNamespaces(t, []*sample{sent})
	method, path, version := http.MethodPost, sent.path(), ""
	if update {
		old := c.own(t, "old.yaml")
		stored := api.create(t, old, old.body, false)
		if !stored.ok() {
			return "of a stored object that this cluster does not take"
		}
		version = decode(t, stored.body).Str("metadata", "resourceVersion")
		method, path = http.MethodPut, path+"/"+old.doc.Object.Name()
		defer func() {
			if a := api.do(t, http.MethodDelete, path+"?gracePeriodSeconds=0", nil); !a.ok() {
				t.Errorf("delete %s: %s", old, a.status.Message)
			}
		}()
	}
	write := func(s *sample) *answer {
		return api.do(t, method, path+"?dryRun=All&fieldValidation=Strict", withVersion(t, s.body, version))
	}
	before := write(sent)
	if refused && before.ok() {
		t.Error("the rule says that the API server refuses it, it does not")
	}
	if c.text["out.yaml"] == "" {
		return "not repaired, the API server refuses it"
	}
	after := write(c.own(t, "out.yaml"))
	if after.ok() {
		return "repaired and accepted"
	}
	t.Log(after.status.Message)
	for _, reason := range after.reasons() {
		if before.ok() || !slices.Contains(before.reasons(), reason) {
			t.Errorf("refused after the repair only: %s", reason)
		}
	}
	return "repaired, refused for another reason"
}

// own returns an object of the case; one without namespace gets a name that no other test uses.
func (c *ruleCase) own(t *testing.T, file string) *sample {
	t.Helper()
	s := c.sample(t, file)
	if s.target.Cluster {
		o := decode(t, s.body)
		o.Set(rules.Path{"metadata", "name"}, strings.ReplaceAll(strings.TrimSuffix(c.name, ".txtar"), "/", "-"))
		s.doc.Object = o
		body, err := json.Marshal(o.Root())
		if err != nil {
			t.Fatal(err)
		}
		s.body = body
	}
	return s
}

// withVersion gives an object the version of the stored one, without which some kinds cannot be replaced.
func withVersion(t *testing.T, body []byte, version string) []byte {
	t.Helper()
	if version == "" {
		return body
	}
	o := decode(t, body)
	o.Set(rules.Path{"metadata", "resourceVersion"}, version)
	out, err := json.Marshal(o.Root())
	if err != nil {
		t.Fatal(err)
	}
	return out
}
