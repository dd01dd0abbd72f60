// Package export writes rules as admission policies that the API server applies itself, for clusters where no webhook may run. What
// a rule says in CEL stands beside the rule in pkg/rules; here it becomes manifests.
package export

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A Skipped rule is not exported.
type Skipped struct{ Rule, Reason string }

// A Result is what was written of a policy.
type Result struct {
	// Objects are policies, each before its binding, in the order of the rules: *MutatingAdmissionPolicy,
	// *ValidatingAdmissionPolicy and their bindings, all of admissionregistration.k8s.io/v1.
	Objects []runtime.Object
	Rules   []string // exported
	Skipped []Skipped
	Notes   []string // what a reader must know to keep them right
}

// Policies writes the rules that a set has active. Only those whose IDs are given are looked at; none: all. The bindings select
// the namespaces that a label selector matches; nil: all.
func Policies(set *rules.Set, ids []string, namespaces *metav1.LabelSelector) Result {
	var out Result
	active := map[string]*rules.Active{}
	for _, a := range set.Active() {
		active[a.ID] = a
	}
	skip := func(id, reason string) { out.Skipped = append(out.Skipped, Skipped{id, reason}) }
	for _, r := range rules.All() {
		a := active[r.ID]
		switch {
		case len(ids) > 0 && !slices.Contains(ids, r.ID):
			continue
		case r.CEL.Never != "":
			skip(r.ID, r.CEL.Never)
			continue
		case a == nil:
			skip(r.ID, "off in the policy")
			continue
		}
		e := r.CEL.Write(a, set.Policy())
		if e == nil {
			skip(r.ID, "the policy has no "+r.CEL.Needs)
			continue
		}
		w := writer{set: set, rule: a, e: e, namespaces: namespaces}
		objects := w.objects()
		if len(objects) == 0 {
			skip(r.ID, "nothing to repair or to judge by this policy")
			continue
		}
		out.Objects = append(out.Objects, objects...)
		out.Rules = append(out.Rules, r.ID)
		if day := set.Until(r.ID); day != "" {
			out.Notes = append(out.Notes, fmt.Sprintf("%s: an exception ends on %s, which CEL cannot know: export again after it", r.ID, day))
		}
	}
	return out
}

// A writer writes the manifests of one rule.
type writer struct {
	set        *rules.Set
	rule       *rules.Active
	e          *rules.Expressions
	namespaces *metav1.LabelSelector
}

const group = "admissionregistration.k8s.io/v1"

func (w *writer) objects() []runtime.Object {
	var out []runtime.Object
	if w.e.Patch != "" {
		out = append(out, w.mutating()...)
	}
	if w.e.Faults == "" {
		return out
	}
	if !w.denies() {
		return append(out, w.validating("warn", admissionregistrationv1.Warn, "size(variables.faults) == 0", "variables.faults")...)
	}
	out = append(out, w.validating("deny", admissionregistrationv1.Deny, "size(variables.denied) == 0", "variables.denied")...)
	// A request that is denied carries no warnings.
	return append(out, w.validating("warn", admissionregistrationv1.Warn, "size(variables.denied) > 0 || size(variables.faults) == 0", "variables.faults")...)
}

func (w *writer) targets() []rules.Target {
	if len(w.rule.CEL.Targets) > 0 {
		return w.rule.CEL.Targets
	}
	return w.rule.Targets
}

// denies reports whether any fault of the rule can be refused by this policy.
func (w *writer) denies() bool { return strings.Contains(w.e.Faults, "'deny'") }

func (w *writer) meta(suffix string) metav1.ObjectMeta {
	name := "sixgate-" + w.rule.ID
	if suffix != "" {
		name += "-" + suffix
	}
	return metav1.ObjectMeta{
		Name:   name,
		Labels: map[string]string{"app.kubernetes.io/name": "sixgate", "app.kubernetes.io/component": "exported-policy", "sixgate.io/rule": w.rule.ID},
	}
}

func (w *writer) mutating() []runtime.Object {
	targets := slices.DeleteFunc(slices.Clone(w.targets()), func(t rules.Target) bool { return !t.Leaf || t.Asked || t.AuditOnly })
	policy, patch := admissionregistrationv1.Ignore, w.expand(w.e.Patch, false)
	meta := w.meta("")
	var variables []admissionregistrationv1.Variable
	for _, v := range w.variables(false, patch) {
		variables = append(variables, admissionregistrationv1.Variable(v))
	}
	return []runtime.Object{
		&admissionregistrationv1.MutatingAdmissionPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: group, Kind: "MutatingAdmissionPolicy"}, ObjectMeta: meta,
			Spec: admissionregistrationv1.MutatingAdmissionPolicySpec{
				MatchConstraints:   constraints(targets),
				MatchConditions:    w.conditions(targets),
				Variables:          variables,
				FailurePolicy:      &policy,
				ReinvocationPolicy: admissionregistrationv1.IfNeededReinvocationPolicy,
				Mutations: []admissionregistrationv1.Mutation{{
					PatchType: admissionregistrationv1.PatchTypeJSONPatch,
					JSONPatch: &admissionregistrationv1.JSONPatch{Expression: patch},
				}},
			},
		},
		&admissionregistrationv1.MutatingAdmissionPolicyBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: group, Kind: "MutatingAdmissionPolicyBinding"}, ObjectMeta: meta,
			Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: meta.Name, MatchResources: w.selected()},
		},
	}
}

// Every condition is one on which the webhook judges, too: an object that is being deleted, or of which nothing that rules look
// at has changed, is left alone.
var judged = []admissionregistrationv1.MatchCondition{
	{Name: "not-being-deleted", Expression: "!has(object.metadata.deletionTimestamp)"},
	{Name: "changed", Expression: "request.operation != 'UPDATE' || ['spec', 'data', 'stringData', 'template'].exists(f, dyn(object)[?f] != dyn(oldObject)[?f]) ||\n" +
		"  object.metadata.?annotations.orValue({}) != oldObject.metadata.?annotations.orValue({})"},
}

// denied are the faults that are refused: none of an object that a controller made, and on UPDATE only what got worse.
const denied = "variables.faults.filter(f, f.level == 'deny' && !object.metadata.?ownerReferences.orValue([]).exists(r, r.?controller.orValue(false)) &&\n" +
	"  size(variables.faults.filter(g, g.key == f.key)) > size(variables.storedFaults.filter(g, g.key == f.key)))"

func (w *writer) validating(suffix string, action admissionregistrationv1.ValidationAction, expression, faults string) []runtime.Object {
	// As the validating webhook: never a subresource.
	targets := slices.DeleteFunc(slices.Clone(w.targets()), func(t rules.Target) bool { return t.Subresource != "" || t.Asked || t.AuditOnly })
	policy, reason := admissionregistrationv1.Ignore, metav1.StatusReasonForbidden
	optOut := ""
	if action == admissionregistrationv1.Deny {
		optOut = ` + '; to keep it as it is, annotate the object with a reason: ` + rules.OptOutPrefix + w.rule.ID + `'`
	}
	variables := w.variables(true, w.e.Faults)
	if w.denies() {
		variables = append(variables, rules.Variable{Name: "denied", Expression: denied})
	}
	var out []admissionregistrationv1.Variable
	for _, v := range variables {
		out = append(out, admissionregistrationv1.Variable(v))
	}
	meta := w.meta(suffix)
	const most = "12"
	return []runtime.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{
			TypeMeta: metav1.TypeMeta{APIVersion: group, Kind: "ValidatingAdmissionPolicy"}, ObjectMeta: meta,
			Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
				MatchConstraints: constraints(targets),
				MatchConditions:  append(w.conditions(targets), judged...),
				Variables:        out,
				FailurePolicy:    &policy,
				Validations: []admissionregistrationv1.Validation{{
					Expression: expression, Reason: &reason, Message: w.rule.Title + " [" + w.rule.ID + "]",
					MessageExpression: "(size(" + faults + ") > " + most + " ? " + faults + ".slice(0, " + most + ") : " + faults + ").map(f, f.text).join('; ')" + optOut,
				}},
			},
		},
		&admissionregistrationv1.ValidatingAdmissionPolicyBinding{
			TypeMeta: metav1.TypeMeta{APIVersion: group, Kind: "ValidatingAdmissionPolicyBinding"}, ObjectMeta: meta,
			Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
				PolicyName: meta.Name, ValidationActions: []admissionregistrationv1.ValidationAction{action}, MatchResources: w.selected(),
			},
		},
	}
}

func (w *writer) selected() *admissionregistrationv1.MatchResources {
	if w.namespaces == nil {
		return nil
	}
	return &admissionregistrationv1.MatchResources{NamespaceSelector: w.namespaces}
}

func (w *writer) conditions(targets []rules.Target) []admissionregistrationv1.MatchCondition {
	var out []admissionregistrationv1.MatchCondition
	for _, c := range w.set.Skips(w.rule, targets) {
		out = append(out, admissionregistrationv1.MatchCondition{Name: c[0], Expression: c[1]})
	}
	return out
}

var placeholder = regexp.MustCompile(`\$([a-z][A-Za-z0-9]*)`)

// storedPrefix heads the variables that judge the stored object as if it were created.
const storedPrefix = "stored_"

// expand fills in the placeholders of an expression.
func (w *writer) expand(expression string, stored bool) string {
	object, old, prefix := "object", "oldObject", "variables."
	if stored {
		object, old, prefix = "oldObject", "dyn(null)", "variables."+storedPrefix
	}
	expression = strings.ReplaceAll(expression, "' + '", "") // one text out of two
	return placeholder.ReplaceAllStringFunc(expression, func(name string) string {
		switch name {
		case "$object":
			return object
		case "$old":
			return old
		}
		return prefix + name[1:]
	})
}

// variables are those that an expression needs, in order. To judge, the faults come after them, and the same on what is stored.
func (w *writer) variables(judge bool, expression string) []rules.Variable {
	needed := map[string]bool{}
	need := func(expression string) {
		for _, m := range regexp.MustCompile(`(?:\$|variables\.)([a-z][A-Za-z0-9]*)`).FindAllStringSubmatch(expression, -1) {
			needed[m[1]] = true
		}
	}
	need(expression)
	for _, v := range slices.Backward(w.e.Variables) {
		if needed[v.Name] {
			need(v.Expression)
		}
	}
	var now, stored []rules.Variable
	for _, v := range w.e.Variables {
		if needed[v.Name] {
			now = append(now, rules.Variable{Name: v.Name, Expression: w.expand(v.Expression, false)})
			stored = append(stored, rules.Variable{Name: storedPrefix + v.Name, Expression: w.expand(v.Expression, true)})
		}
	}
	if !judge {
		return now
	}
	now = append(now, rules.Variable{Name: "faults", Expression: w.expand(w.e.Faults, false)})
	if !w.denies() {
		return now
	}
	now = append(now, stored...)
	return append(now, rules.Variable{Name: "storedFaults", Expression: "oldObject == null ? [] : (" + w.expand(w.e.Faults, true) + ")"})
}

// constraints register targets: one rule for each group and set of operations.
func constraints(targets []rules.Target) *admissionregistrationv1.MatchResources {
	match := admissionregistrationv1.Equivalent
	out := &admissionregistrationv1.MatchResources{MatchPolicy: &match}
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
		i := slices.IndexFunc(out.ResourceRules, func(r admissionregistrationv1.NamedRuleWithOperations) bool {
			return r.APIGroups[0] == t.Group && r.APIVersions[0] == t.Version && *r.Scope == scope && slices.Equal(r.Operations, ops)
		})
		if i < 0 {
			out.ResourceRules = append(out.ResourceRules, admissionregistrationv1.NamedRuleWithOperations{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
				Operations: ops, Rule: admissionregistrationv1.Rule{APIGroups: []string{t.Group}, APIVersions: []string{t.Version}, Scope: &scope},
			}})
			i = len(out.ResourceRules) - 1
		}
		out.ResourceRules[i].Resources = append(out.ResourceRules[i].Resources, resource)
	}
	return out
}

// YAML returns the objects as one stream.
func (r *Result) YAML() ([]byte, error) {
	var out bytes.Buffer
	for _, o := range r.Objects {
		tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
		if err != nil {
			return nil, fmt.Errorf("encode policy: %w", err)
		}
		delete(tree, "status")
		b, err := yaml.Marshal(tree)
		if err != nil {
			return nil, fmt.Errorf("encode policy: %w", err)
		}
		out.WriteString("---\n")
		out.Write(b)
	}
	return out.Bytes(), nil
}
