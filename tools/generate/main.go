// Command generate writes what follows from the rules and from go.mod: registrations, rights, the chart's values and manifests, pages,
// schemas and licences. Run it at the repository's root; its test fails where a committed file differs.
package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/listen"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

const header = "# Generated from pkg/rules by `make generate`; do not edit.\n"

func main() {
	files, err := generate()
	for name, content := range files {
		if err == nil {
			err = os.MkdirAll(filepath.Dir(name), 0o755)
		}
		if err == nil {
			err = os.WriteFile(name, content, 0o644)
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "generate: %v\n", err)
		os.Exit(1)
	}
}

// generate returns the files by path.
func generate() (map[string][]byte, error) {
	files := map[string][]byte{"docs/rules/README.md": index()}
	for _, r := range rules.All() {
		files["docs/rules/"+r.ID+".md"] = page(r)
	}
	files["docs/listen.md"] = programs()
	files["docs/charts.md"] = charts()
	files["docs/export.md"] = exported()
	var err error
	if files["docs/schema/report-v1.json"], err = reportSchema(); err != nil {
		return nil, err
	}
	chart, err := chartFiles()
	if err != nil {
		return nil, err
	}
	base, err := kustomizeFiles(repository(), chart)
	if err != nil {
		return nil, err
	}
	linked, err := dependencyFiles(rootFolder())
	if err != nil {
		return nil, err
	}
	maps.Copy(files, linked)
	maps.Copy(files, chart)
	maps.Copy(files, base)
	for name, c := range map[string]struct{ kind, resource string }{
		"repair-configmaps": {"MutatingWebhookConfiguration", "configmaps"},
		"secrets":           {"ValidatingWebhookConfiguration", "secrets"},
	} {
		files["config/webhook/components/"+name+"/kustomization.yaml"] = component(c.kind, c.resource)
	}
	files["config/webhook/components/events/kustomization.yaml"] = []byte(header + eventsComponent)
	if files["config/audit/clusterrole.yaml"], err = clusterRole("sixgate-audit", auditRights()); err != nil {
		return nil, err
	}
	files["config/audit/reports.yaml"], err = clusterRole("sixgate-audit-reports", reportRights())
	return files, err
}

func clusterRole(name string, rights []rbacv1.PolicyRule) ([]byte, error) {
	b, err := yaml.Marshal(rbacv1.ClusterRole{
		TypeMeta:   metav1.TypeMeta{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "ClusterRole"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app.kubernetes.io/name": "sixgate"}},
		Rules:      rights,
	})
	return append([]byte(header), b...), err
}

// reportRights are what --write-reports needs besides. Server-side apply of what is not there needs create too.
func reportRights() (rights []rbacv1.PolicyRule) {
	for _, api := range report.PolicyAPIs() {
		rights = append(rights, rbacv1.PolicyRule{
			APIGroups: []string{api.Group}, Resources: []string{"cluster" + api.Resource, api.Resource}, Verbs: []string{"list", "create", "patch", "delete"},
		})
	}
	return rights
}

// auditRights are what `sixgate audit --cluster` needs: to list what rules look at, whatever a policy switches on, and what they want to
// know besides. A policy that asks for Secrets needs more.
func auditRights() (rights []rbacv1.PolicyRule) {
	targets := rules.NewSet(rules.DefaultPolicy("IPv6")).Listed()
	for _, r := range rules.All() {
		targets = append(targets, r.Targets...)
	}
	byGroup := map[string][]string{}
	for _, t := range targets {
		if t.Resource != "" && t.Subresource == "" && !t.Asked && !slices.Contains(byGroup[t.Group], t.Resource) {
			byGroup[t.Group] = append(byGroup[t.Group], t.Resource)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(byGroup)) {
		slices.Sort(byGroup[group])
		rights = append(rights, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: byGroup[group], Verbs: []string{"list"}})
	}
	return rights
}

// reportSchema is the JSON Schema of `sixgate audit -o json`. It is open, as the promise of docs/audit-json.md is: what it does
// not know may be there.
func reportSchema() ([]byte, error) {
	schema, err := jsonschema.For[report.Report](nil)
	if err != nil {
		return nil, fmt.Errorf("infer schema of the report: %w", err)
	}
	schema.Schema = "https://json-schema.org/draft/2020-12/schema"
	schema.ID = "https://raw.githubusercontent.com/sixgate/sixgate/main/docs/schema/report-v1.json"
	schema.Title = "Report of sixgate audit, " + report.Version
	constant := func(s string) *any { v := any(s); return &v }
	schema.Properties["apiVersion"].Const = constant(report.Version)
	schema.Properties["kind"].Const = constant(report.Kind)
	open(schema)
	data, err := json.MarshalIndent(schema, "", "  ")
	return append(data, '\n'), err
}

// open allows further fields, and takes null from lists and maps: they are never null.
func open(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Properties != nil {
		s.AdditionalProperties = nil
	}
	for _, name := range []string{"array", "object"} {
		if slices.Contains(s.Types, name) {
			s.Type, s.Types = name, nil
		}
	}
	for _, p := range s.Properties {
		open(p)
	}
	open(s.Items)
	open(s.AdditionalProperties)
}

// component registers one more resource, for what a policy asks for.
func component(kind, resource string) []byte {
	return fmt.Appendf(nil, `%sapiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- target: {kind: %s, name: sixgate}
  patch: |
    - op: add
      path: /webhooks/0/rules/-
      value: {apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [%s], scope: Namespaced}
`, header, kind, resource)
}

// eventsComponent switches Events on, and gives the right to write them: sixgate.rbac.events of the chart.
const eventsComponent = `apiVersion: kustomize.config.k8s.io/v1alpha1
kind: Component
patches:
- target: {kind: Deployment, name: sixgate-webhook}
  patch: |
    - {op: add, path: /spec/template/spec/containers/0/args/-, value: --events}
- target: {kind: ClusterRole, name: sixgate-webhook}
  patch: |
    - {op: add, path: /rules/-, value: {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}}
`

func index() []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Generated from pkg/rules by `make generate`; do not edit. -->\n# Rules\n\n| rule | level | webhook repairs | |\n| --- | --- | --- | --- |\n")
	for _, r := range rules.All() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | %s |\n", r.ID, r.ID, level(r), repairs(r), r.Title)
	}
	return b.Bytes()
}

func page(r *rules.Rule) []byte {
	embedded := ""
	if r.Level != rules.None && slices.ContainsFunc(r.Targets, func(t rules.Target) bool { return t.Kind == "PodTemplate" }) {
		embedded = "\nIn [pods of custom resources](../audit.md#pods-in-custom-resources): at most warn, by `sixgate audit` and `sixgate fix` only.\n"
	}
	return fmt.Appendf(nil, "<!-- Generated from page.md in pkg/rules/testdata by `make generate`; do not edit. -->\n# %s\n\n%s.\n\nLevel: %s. The webhook repairs it: %s. Since %s.\n%s\n%s",
		r.ID, r.Title, level(r), repairs(r), r.Since, embedded, rules.Doc(r.ID))
}

// charts is the page of the values of stock charts.
func charts() []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Generated from pkg/rules by `make generate`; do not edit. -->\n# Where to change it: values of stock charts\n\n" +
		"A finding in what a chart rendered names the template and the chart ([inputs](inputs.md)); for these charts also the value to set. The value stands\n" +
		"under the name of the subchart where the chart is part of another one: `redis-ha.haproxy.IPv6.enabled` in Argo CD's. Each row was read in\n" +
		"the file named last. What was not read is not here: Sixgate does not guess.\n\n" +
		"| chart | template | rule | values | read in |\n| --- | --- | --- | --- | --- |\n")
	for _, v := range rules.ChartValues() {
		template := "any"
		if v.Template != "" {
			template = "`" + strings.TrimPrefix(strings.TrimPrefix(v.Template, "/"), "templates/") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | [%s](rules/%s.md) | `%s` | %s |\n", v.Chart, template, v.Rule, v.Rule, strings.Join(v.Values, "`<br>`"), v.Source)
	}
	return b.Bytes()
}

// programs is the page of what programs bind.
func programs() []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Generated from pkg/listen by ` + "`make generate`" + `; do not edit. -->
# What programs bind

One row is one form of configuration, and who reaches the port in a pod that has an IPv6 address and 127.0.0.1. "Run" means: e2e/listen
starts the real program with this form, connects over IPv4 and IPv6, repairs the text, and does the same again. "Read" means that the
program's documentation or source says so. ↵ is a new line.

`)
	for _, p := range listen.Programs() {
		fmt.Fprintf(&b, "## %s\n\nRule: [%s](rules/%s.md).", p.Name, p.Rule, p.Rule)
		if p.Ran != "" {
			fmt.Fprintf(&b, " Run: %s.", p.Ran)
		}
		if p.Source != "" {
			fmt.Fprintf(&b, " Read: %s.", p.Source)
		}
		b.WriteString("\n\n")
		if p.Cases == nil {
			continue
		}
		b.WriteString("| where | configuration | reached by | proven by | repaired |\n| --- | --- | --- | --- | --- |\n")
		for _, c := range p.Cases() {
			where, by, how, repaired := c.File, c.Binds.String(), "run", ""
			if where == "" {
				where = "command line"
			}
			if c.Binds == listen.Unknown {
				by = "nobody, or not known"
			}
			if c.NotRun != "" {
				how = "read (" + c.NotRun + ")"
			}
			if fixed := c.Repaired().Config; fixed != c.Config {
				repaired = code(fixed)
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", where, code(c.Config), by, how, repaired)
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

// exported is the page of the rules that CEL can express.
func exported() []byte {
	var b, differences bytes.Buffer
	b.WriteString("<!-- Generated from pkg/rules and tools/generate/export.md by `make generate`; do not edit. -->\n" + exportPage)
	b.WriteString("| rule | exported as | test cases, those with another outcome |\n| --- | --- | --- |\n")
	byReason := map[string][]string{}
	var reasons []string
	for _, r := range rules.All() {
		link := fmt.Sprintf("[%s](rules/%s.md)", r.ID, r.ID)
		if reason := r.CEL.Never; reason != "" {
			if byReason[reason] == nil {
				reasons = append(reasons, reason)
			}
			byReason[reason] = append(byReason[reason], link)
			continue
		}
		var as []string
		if r.Mutate {
			as = append(as, "mutation")
		}
		if r.Level != rules.None {
			as = append(as, r.Level.String()+" by default")
		} else {
			as = append(as, "warning")
		}
		if r.CEL.Needs != "" {
			as = append(as, "needs "+r.CEL.Needs+" in the policy")
		}
		cases, _ := filepath.Glob(filepath.Join(rootFolder(), "pkg/rules/testdata", r.ID, "*.txtar"))
		other := fmt.Sprintf("%d, ", len(cases))
		if len(r.CEL.Cases) == 0 {
			other += "none"
		}
		if len(r.CEL.Targets) > 0 {
			other += " of the kinds that are exported"
		}
		for i, name := range slices.Sorted(maps.Keys(r.CEL.Cases)) {
			if i > 0 {
				other += "; "
			}
			other += "`" + name + "`: " + r.CEL.Cases[name]
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", link, strings.Join(as, ", "), other)
		for _, d := range r.CEL.Differences {
			fmt.Fprintf(&differences, "- %s: %s\n", link, d)
		}
	}
	b.WriteString("\n## What single rules do otherwise than the webhook\n\n")
	b.Write(differences.Bytes())
	b.WriteString("\n## Not exported\n\n")
	for _, reason := range reasons {
		fmt.Fprintf(&b, "- %s: %s.\n", strings.Join(byReason[reason], ", "), reason)
	}
	return b.Bytes()
}

//go:embed export.md
var exportPage string

// code is a text as code in one cell of a table.
func code(text string) string {
	text = strings.Join(strings.Split(strings.TrimSpace(text), "\n"), " ↵ ")
	return "`" + strings.NewReplacer("|", "\\|", "`", "'").Replace(text) + "`"
}

func level(r *rules.Rule) string {
	if r.Level == rules.None {
		return "—"
	}
	return r.Level.String()
}

func repairs(r *rules.Rule) string {
	switch {
	case r.Mutate:
		return "yes"
	case r.MayMutate:
		return "where the policy says so"
	}
	return "no"
}

// targets are what the two registrations ask about.
func targets() (mutating, validating []rules.Target) {
	for _, r := range rules.All() {
		for _, t := range r.Targets {
			if t.Leaf && r.Mutate {
				mutating = append(mutating, t)
			}
			if t.Subresource == "" && !t.Asked && !t.AuditOnly {
				validating = append(validating, t)
			}
		}
	}
	return mutating, validating
}

// conditions skip requests on which no rule can fire; e2e posts the object of every firing case to hold them to it.
func conditions() []admissionregistrationv1.MatchCondition {
	return []admissionregistrationv1.MatchCondition{
		{Name: "not-a-mirror-pod", Expression: "!(has(object.metadata.annotations) && 'kubernetes.io/config.mirror' in object.metadata.annotations)"},
		{Name: "not-a-root-ca", Expression: "!(request.kind.kind == 'ConfigMap' && request.name == 'kube-root-ca.crt')"},
	}
}

// operations turns targets into registration rules: one for each group, scope and set of operations.
func operations(targets []rules.Target) []admissionregistrationv1.RuleWithOperations {
	var out []admissionregistrationv1.RuleWithOperations
	for _, t := range targets {
		resource := t.Resource
		if t.Subresource != "" {
			resource += "/" + t.Subresource
		}
		scope := admissionregistrationv1.NamespacedScope
		if t.Cluster {
			scope = admissionregistrationv1.ClusterScope
		}
		var ops []admissionregistrationv1.OperationType
		for _, op := range t.Operations {
			ops = append(ops, admissionregistrationv1.OperationType(op))
		}
		i := slices.IndexFunc(out, func(r admissionregistrationv1.RuleWithOperations) bool {
			return r.APIGroups[0] == t.Group && *r.Scope == scope && slices.Equal(r.Operations, ops)
		})
		if i < 0 {
			out = append(out, admissionregistrationv1.RuleWithOperations{Operations: ops, Rule: admissionregistrationv1.Rule{
				APIGroups: []string{t.Group}, APIVersions: []string{t.Version}, Scope: &scope,
			}})
			i = len(out) - 1
		}
		if !slices.Contains(out[i].Resources, resource) {
			out[i].Resources = append(out[i].Resources, resource)
		}
	}
	for _, r := range out {
		slices.Sort(r.Resources)
	}
	slices.SortStableFunc(out, func(a, b admissionregistrationv1.RuleWithOperations) int {
		return strings.Compare(a.APIGroups[0], b.APIGroups[0])
	})
	return out
}
