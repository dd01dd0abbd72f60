// Command generate writes what follows from the rules: the webhook registrations and the rules' pages. Run it at the
// repository's root; its test fails where a committed file differs.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

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
	var err error
	files["config/webhook/registrations.yaml"], err = registrations()
	return files, err
}

func index() []byte {
	var b bytes.Buffer
	b.WriteString("<!-- Generated from pkg/rules by `make generate`; do not edit. -->\n# Rules\n\n| rule | level | webhook repairs | |\n| --- | --- | --- | --- |\n")
	for _, r := range rules.All() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s | %s | %s |\n", r.ID, r.ID, level(r), repairs(r), r.Title)
	}
	return b.Bytes()
}

func page(r *rules.Rule) []byte {
	return fmt.Appendf(nil, "<!-- Generated from pkg/rules/doc by `make generate`; do not edit. -->\n# %s\n\n%s.\n\nLevel: %s. The webhook repairs it: %s. Since %s.\n\n%s",
		r.ID, r.Title, level(r), repairs(r), r.Since, rules.Doc(r.ID))
}

func level(r *rules.Rule) string {
	if r.Level == rules.None {
		return "—"
	}
	return r.Level.String()
}

func repairs(r *rules.Rule) string {
	if r.Mutate {
		return "yes"
	}
	return "no"
}

// registrations are the two webhook configurations. The CA is put in by the running webhook.
func registrations() ([]byte, error) {
	var mutating, validating []rules.Target
	for _, r := range rules.All() {
		for _, t := range r.Targets {
			if t.Leaf && r.Mutate {
				mutating = append(mutating, t)
			}
			if t.Subresource == "" {
				validating = append(validating, t)
			}
		}
	}
	sideEffects, policy, match := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Ignore, admissionregistrationv1.Equivalent
	again, timeout := admissionregistrationv1.IfNeededReinvocationPolicy, int32(5)
	own := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"sixgate-system"},
	}}}
	client := func(path string) admissionregistrationv1.WebhookClientConfig {
		port := int32(443)
		return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{
			Namespace: "sixgate-system", Name: "sixgate-webhook", Path: &path, Port: &port,
		}}
	}
	meta := metav1.ObjectMeta{Name: "sixgate", Labels: map[string]string{"app.kubernetes.io/name": "sixgate"}}
	mutate := admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: meta,
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "mutate.sixgate.io", ClientConfig: client("/mutate"), Rules: operations(mutating),
			FailurePolicy: &policy, MatchPolicy: &match, SideEffects: &sideEffects, ReinvocationPolicy: &again, TimeoutSeconds: &timeout,
			NamespaceSelector: own, MatchConditions: conditions(), AdmissionReviewVersions: []string{"v1"},
		}},
	}
	deleting := admissionregistrationv1.MatchCondition{Name: "not-being-deleted", Expression: "!has(object.metadata.deletionTimestamp)"}
	validate := admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
		ObjectMeta: meta,
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: "validate.sixgate.io", ClientConfig: client("/validate"), Rules: operations(validating),
			FailurePolicy: &policy, MatchPolicy: &match, SideEffects: &sideEffects, TimeoutSeconds: &timeout,
			NamespaceSelector: own, MatchConditions: append(conditions(), deleting), AdmissionReviewVersions: []string{"v1"},
		}},
	}
	out := []byte(header)
	for _, o := range []any{mutate, validate} {
		b, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		out = append(append(out, "---\n"...), b...)
	}
	return out, nil
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
