package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// An objectExplanation says what admission changed on an object of a cluster. Nothing of Sixgate is stored on the object, so it
// compares what was sent, as far as that is recorded, with what is stored.
type objectExplanation struct {
	kubeconfig, context, namespace, policy string
}

func (e *objectExplanation) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&e.namespace, "namespace", "n", "", "`NAMESPACE` of KIND/NAME; none: that of the context")
	flags.StringVar(&e.kubeconfig, "kubeconfig", "", "kubeconfig `FILE` for KIND/NAME; none: as kubectl")
	flags.StringVar(&e.context, "context", "", "`CONTEXT` of the kubeconfig")
	flags.StringVar(&e.policy, "policy", "", "policy `FILE` for KIND/NAME; none: that of the installed webhook, else the default policy")
}

// installedPolicy is where config/webhook puts the policy.
const installedPolicy = "/api/v1/namespaces/sixgate-system/configmaps/sixgate-policy"

func (e *objectExplanation) run(ctx context.Context, w io.Writer, what string) error {
	ctx = klog.NewContext(ctx, klog.Logger{}) // what matters is returned as an error
	c, namespace, err := connect(e.kubeconfig, e.context, e.namespace, "or explain a rule")
	if err != nil {
		return err
	}
	kind, name, _ := strings.Cut(what, "/")
	target, err := c.kind(ctx, kind)
	if err != nil {
		return err
	}
	policy, from, err := e.readPolicy(ctx, c)
	if err != nil {
		return err
	}
	if target.Cluster {
		namespace = ""
	}
	result := c.client.Get().AbsPath(append(pathOf(target, namespace), name)...).SetHeader("Accept", "application/json").Do(ctx)
	if err := result.Error(); err != nil { // Raw has not read the reason
		return refused("get "+what, "get", resourceName(target), err)
	}
	raw, err := result.Raw()
	if err != nil {
		return fmt.Errorf("get %s: %w", what, err)
	}
	o, err := rules.ParseObject(raw)
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return writeExplanation(w, o, rules.NewSet(policy), from)
}

// kind finds what a person calls a kind: Service, services, svc, services.GROUP. It must be one that rules look at.
func (c *connection) kind(ctx context.Context, word string) (rules.Target, error) {
	client, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return rules.Target{}, fmt.Errorf("read kubeconfig: %w", err)
	}
	_, lists, err := client.ServerGroupsAndResourcesWithContext(ctx)
	if _, partial := discovery.GroupDiscoveryFailedErrorGroups(err); err != nil && !partial {
		return rules.Target{}, refused("read the APIs of the cluster", "get", "/api and /apis", err)
	}
	name, group, hasGroup := strings.Cut(word, ".")
	same := func(s string) bool { return strings.EqualFold(s, name) }
	served := ""
	for _, l := range lists {
		g, version, _ := cutVersion(l.GroupVersion)
		for _, r := range l.APIResources {
			if hasGroup && g != group || strings.Contains(r.Name, "/") || !slices.ContainsFunc(append([]string{r.Kind, r.Name, r.SingularName}, r.ShortNames...), same) {
				continue
			}
			for _, rule := range rules.All() {
				for _, t := range rule.Targets {
					if t.Group == g && t.Kind == r.Kind && t.Subresource == "" {
						t.Version, t.Cluster = version, !r.Namespaced
						return t, nil
					}
				}
			}
			served = r.Kind
		}
	}
	if served != "" {
		return rules.Target{}, fmt.Errorf("no rule looks at objects of the kind %s", served)
	}
	return rules.Target{}, fmt.Errorf("the cluster has no kind %q", word)
}

func (e *objectExplanation) readPolicy(ctx context.Context, c *connection) (policy *rules.Policy, from string, err error) {
	from = "the default policy"
	policy = rules.DefaultPolicy("IPv6")
	if e.policy != "" {
		if policy, err = readPolicy(e.policy); err != nil {
			return nil, "", err
		}
		from = e.policy
	} else if raw, err := c.client.Get().AbsPath(installedPolicy).SetHeader("Accept", "application/json").Do(ctx).Raw(); err == nil {
		var installed struct{ Data map[string]string }
		if err := json.Unmarshal(raw, &installed); err != nil {
			return nil, "", fmt.Errorf("read installed policy: %w", err)
		}
		if policy, err = rules.ReadPolicy([]byte(installed.Data["policy.yaml"])); err != nil {
			return nil, "", fmt.Errorf("read installed policy: %w; name another with --policy", err)
		}
		from = "the policy of the installed webhook"
	}
	if ctx.Err() != nil {
		return nil, "", errors.New("interrupted")
	}
	return ipv6Only(policy), from, nil
}

// writeExplanation compares what was sent with what is stored: what a rule repairs in the one and finds no more in the other was
// changed between them.
func writeExplanation(w io.Writer, o *rules.Object, set *rules.Set, policy string) error {
	sent, how := sentObject(o)
	fmt.Fprintf(w, "%s: %s\nrules as %s sets them\n", place(o), how, policy)
	if sent == nil {
		return writeHints(w, nil, o)
	}
	var changed []string // rules
	for _, f := range changes(set, sent, o) {
		fmt.Fprintf(w, "changed: %s\n", report.Printable(f.ChangedString()))
		if f.Changed != "" {
			fmt.Fprintf(w, "    sent    %s\n    stored  %s\n", valueAt(sent, f.Path), valueAt(o, f.Path))
		}
		if !slices.Contains(changed, f.Rule.ID) {
			changed = append(changed, f.Rule.ID)
		}
	}
	fields := managedFields(o)
	if fields != nil && o.Str("metadata", "annotations", lastApplied) == "" {
		for _, path := range fields.missing(o.Root(), nil) {
			by := "a webhook"
			if strings.HasSuffix(path, ".hostIP") {
				by = "Sixgate by host-port-ipv4, or another webhook"
				if !slices.Contains(changed, "host-port-ipv4") {
					changed = append(changed, "host-port-ipv4")
				}
			}
			fmt.Fprintf(w, "removed: %s was sent, by %s, and is not stored: %s; its value is not recorded\n", report.Printable(path), managers(o), by)
		}
		if o.Kind() == "Service" {
			for _, field := range []string{"ipFamilies", "ipFamilyPolicy", "clusterIP"} {
				if fields.at("f:spec", "f:"+field) != nil {
					fmt.Fprintf(w, "not known: spec.%s was sent, by %s; if it was another value than the stored %s, that is not recorded\n", field, managers(o), valueAt(o, rules.Path{"spec", field}))
				}
			}
		}
	}
	if len(changed) == 0 {
		fmt.Fprintln(w, "changed: nothing that the object shows")
	}
	return writeHints(w, changed, o)
}

// writeHints says how a change is undone, and where else to look.
func writeHints(w io.Writer, changed []string, o *rules.Object) error {
	for _, id := range changed {
		annotation := rules.OptOutPrefix + id + `: "<reason>"`
		if id == "service-headless" {
			annotation = rules.ServiceModeAnnotation + ": single-stack"
		}
		where := "the manifest"
		if kind, name := controllerOf(o); kind != "" {
			where = "the pod template that " + kind + "/" + name + " is made from"
		}
		fmt.Fprintf(w, "undo %s: put the annotation %s into %s, then delete and create the object again; for all objects: rules: {%s: {mutate: false}} in the policy\n",
			id, annotation, report.Printable(where), id)
		if id == "service-ip-family" {
			fmt.Fprintln(w, "    a cluster with IPv6 only refuses the Service then")
		}
	}
	_, err := fmt.Fprintln(w, "each change is in the audit log of the API server, as the annotation mutate.sixgate.io/changed, where that is switched on")
	return err
}

func place(o *rules.Object) string {
	who := o.Kind() + "/" + o.Name()
	if ns := o.Namespace(); ns != "" {
		who += " -n " + ns
	}
	return report.Printable(who)
}

func controllerOf(o *rules.Object) (kind, name string) {
	if at := rules.Controller(o); at != nil {
		return o.Str(at.With("kind")...), o.Str(at.With("name")...)
	}
	return "", ""
}

// sentObject is what a person or controller sent, as far as it is recorded, and how that is known. Admission leaves no manager in
// managedFields: they are written before it (measured on kube-apiserver v1.37 with create, apply and server-side apply).
func sentObject(o *rules.Object) (sent *rules.Object, how string) {
	if text := o.Str("metadata", "annotations", lastApplied); text != "" {
		if sent, err := rules.ParseObject([]byte(text)); err == nil && sent.Kind() == o.Kind() {
			return sent, "compared with what kubectl apply sent, the annotation " + lastApplied
		}
	}
	fields := managedFields(o)
	if fields == nil {
		return nil, "what was sent is not recorded: it has no managedFields and no annotation " + lastApplied
	}
	root, _ := fields.prune(o.Root()).(map[string]any)
	metadata, _ := root["metadata"].(map[string]any)
	if metadata == nil {
		metadata = map[string]any{}
		root["metadata"] = metadata
	}
	for _, key := range []string{"name", "namespace", "ownerReferences"} {
		if v, ok := o.Get("metadata", key); ok {
			metadata[key] = v
		}
	}
	root["kind"], root["apiVersion"] = o.Kind(), o.APIVersion()
	return rules.NewObject(root).Copy(), "compared with the fields that " + managers(o) + " sent, metadata.managedFields: they have no values"
}

// managers are who sent fields.
func managers(o *rules.Object) string {
	names := map[string]bool{}
	for i := range o.List("metadata", "managedFields") {
		at := rules.Path{"metadata", "managedFields", i}
		if o.Str(at.With("subresource")...) == "" {
			names[o.Str(at.With("manager")...)] = true
		}
	}
	return report.Printable(strings.Join(slices.Sorted(maps.Keys(names)), ", "))
}

// prune is the part of a value that is in the set.
func (s fieldSet) prune(value any) any {
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, v := range value {
			if below := s.at("f:" + key); below != nil {
				out[key] = v
				if len(below) > 0 {
					out[key] = below.prune(v)
				}
			}
		}
		return out
	case []any:
		if !s.byElement() {
			return value
		}
		out := []any{}
		for _, v := range value {
			if _, below := s.element(v); below != nil {
				out = append(out, below.prune(v))
			} else if _, isMap := v.(map[string]any); !isMap {
				out = append(out, v)
			}
		}
		return out
	}
	return value
}

func (s fieldSet) byElement() bool {
	for key := range s {
		if strings.HasPrefix(key, "k:") {
			return true
		}
	}
	return false
}

// missing are the fields of the set that a value does not have.
func (s fieldSet) missing(value any, at rules.Path) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		below := s.at(key)
		if name, ok := strings.CutPrefix(key, "f:"); ok {
			m, isMap := value.(map[string]any)
			v, has := m[name]
			if !isMap || len(at) == 0 && name != "spec" {
				continue
			}
			if !has {
				out = append(out, at.With(name).String())
				continue
			}
			out = append(out, below.missing(v, at.With(name))...)
		}
	}
	list, _ := value.([]any)
	for i, v := range list {
		if _, below := s.element(v); below != nil {
			out = append(out, below.missing(v, at.With(i))...)
		}
	}
	return out
}

// changes are the repairs of the webhook that what was sent needs and what is stored does not.
func changes(set *rules.Set, sent, stored *rules.Object) []rules.Finding {
	request := func(o *rules.Object) *rules.Request {
		req := set.Creation(o, stored.Namespace())
		req.Policy = set.Policy()
		return &req
	}
	fixable := func(rule *rules.Active, o *rules.Object) []rules.Finding {
		return slices.DeleteFunc(rule.Findings(request(o)), func(f rules.Finding) bool { return f.Fix == nil })
	}
	var out []rules.Finding
	work := sent.Copy()
	active, _ := set.Rules(request(work))
	for _, rule := range active {
		if !rule.Repairs() {
			continue
		}
		left := map[[2]string]int{}
		for _, f := range fixable(rule, stored) {
			left[[2]string{f.Subject, f.Value}]++
		}
		for _, f := range fixable(rule, work) {
			f.Fix(work)
			if key := [2]string{f.Subject, f.Value}; left[key] > 0 {
				left[key]--
				continue
			}
			out = append(out, f)
		}
	}
	return out
}

// valueAt is a value as people read it.
func valueAt(o *rules.Object, path rules.Path) string {
	v, ok := o.Get(path...)
	if !ok {
		return "nothing"
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "nothing"
	}
	const most = 200
	if len(text) > most {
		return report.Printable(strings.ToValidUTF8(string(text[:most]), "")) + "…"
	}
	return report.Printable(string(text))
}
