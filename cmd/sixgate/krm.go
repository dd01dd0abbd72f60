package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

type krmOptions struct {
	fixOptions
	quiet bool
}

// newKRM returns the command; program is the name that its examples use.
func newKRM(program string, now func() time.Time) *cobra.Command {
	o := krmOptions{fixOptions: fixOptions{failOn: newFixFailOn(), now: now}}
	cmd := &cobra.Command{
		Use:   "krm",
		Short: "Repair manifests as a KRM function, in kustomize and kpt",
		Long: `Repair the items of a ResourceList from standard input as "fix" does, and write it to standard output with the results: what was
repaired is info, what is left is warning or error. Comments stay. functionConfig is the policy, or a ConfigMap that has it in
data["policy.yaml"]; without one it is the default policy, for a cluster with IPv6 only.

Exit codes: 0 no finding at or above --fail-on is left, 1 there is one, 3 could not run, or could not read all of the input.`,
		Example: "  kustomize build --enable-alpha-plugins --enable-exec overlay/\n" +
			"  kpt fn eval deploy/ --exec '" + program + " krm -q' --fn-config policy.yaml",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none")
	flags.BoolVar(&o.additions, "additions", false, "also write what the webhook adds when an object is created")
	flags.Var(&o.levels, "level", levelUsage)
	flags.Var(&o.failOn, "fail-on", "lowest level of findings left that gives exit code 1, which ends the build")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "findings in the results only, not on standard error too")
	return cmd
}

// A krmResult is one entry of results, by the KRM functions specification (kubernetes-sigs/kustomize,
// cmd/config/docs/api-conventions/functions-spec.md; its fields are those of kyaml's framework.Result).
type krmResult struct {
	Message     string            `yaml:"message" json:"message"`
	Severity    string            `yaml:"severity" json:"severity"`
	ResourceRef krmResource       `yaml:"resourceRef" json:"resourceRef"`
	Field       krmField          `yaml:"field" json:"field"`
	File        *krmFile          `yaml:"file,omitempty" json:"file,omitempty"`
	Tags        map[string]string `yaml:"tags" json:"tags"` // rule
}

type krmResource struct {
	APIVersion string `yaml:"apiVersion" json:"apiVersion"`
	Kind       string `yaml:"kind" json:"kind"`
	Name       string `yaml:"name" json:"name"`
	Namespace  string `yaml:"namespace,omitempty" json:"namespace,omitempty"`
}

type krmField struct {
	Path string `yaml:"path" json:"path"`
}

type krmFile struct {
	Path  string `yaml:"path" json:"path"`
	Index int    `yaml:"index,omitempty" json:"index,omitempty"`
}

func (o *krmOptions) run(cmd *cobra.Command) error {
	var stdin bytes.Buffer
	in, err := o.input.list(cmd.Context(), []string{"-"}, o.namespace, io.TeeReader(cmd.InOrStdin(), &stdin))
	if err != nil {
		return err
	}
	defer in.close()
	if err := in.load(cmd.Context()); err != nil {
		return err
	}
	root, err := resourceList(stdin.Bytes())
	if err != nil {
		for _, e := range in.errs { // which has the line
			if !e.Audited {
				return errors.New(e.String())
			}
		}
		return fmt.Errorf("read standard input: %w", err)
	}
	policy, err := functionConfig(value(root, "functionConfig"))
	if err != nil {
		return err
	}
	if err := o.levels.apply(policy); err != nil {
		return err
	}
	stderr, code := cmd.ErrOrStderr(), 0
	for _, e := range in.errs {
		fmt.Fprintln(stderr, e.String())
		if !e.Audited {
			code = exitError
		}
	}
	warnInactive(stderr, policy)
	text := stdin.Bytes()
	var results []krmResult
	failOn, _ := rules.ParseLevel(o.failOn.value) // none is rules.None
	for _, f := range o.fix(in, rules.NewSetAt(policy, o.now)) {
		text = f.after
		for i, err := range f.failed {
			fmt.Fprintf(stderr, "%s\n%s\n", report.Printable("sixgate: splice "+err.Error()), f.patches[i])
		}
		for _, r := range f.repairs {
			for _, done := range r.done {
				results = append(results, r.result("info", done))
			}
			for _, left := range r.left {
				severity := "warning"
				if left.Level >= rules.Deny {
					severity = "error"
				}
				results = append(results, r.result(severity, left))
				if code == 0 && failOn != rules.None && left.Level >= failOn {
					code = exitFindings
				}
			}
		}
	}
	for _, r := range results { // kustomize build shows no results
		if !o.quiet {
			fmt.Fprintln(stderr, report.Printable(r.String()))
		}
	}
	if text, err = withResults(text, results); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return fmt.Errorf("write ResourceList: %w", err)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// resourceList returns the one object of a function's input.
func resourceList(text []byte) (*yaml.Node, error) {
	const want = "a function of kustomize or kpt reads one ResourceList"
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("empty; " + want)
	case err != nil:
		return nil, fmt.Errorf("%s; %s", strings.TrimPrefix(err.Error(), "yaml: "), want)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document; " + want)
	}
	root := doc.Content[0]
	kind := value(root, "kind")
	switch {
	case kind == nil:
		return nil, errors.New("no kind; " + want)
	case kind.Value != "ResourceList" && kind.Value != "List":
		return nil, fmt.Errorf("kind %q; %s, sixgate fix - reads manifests", kind.Value, want)
	}
	return root, nil
}

// value returns a value of a mapping, or nil.
func value(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

var policyLine = regexp.MustCompile(`(?m)^(read policy functionConfig: )line \d+: `)

// functionConfig reads the policy of a function.
func functionConfig(n *yaml.Node) (*rules.Policy, error) {
	var tree map[string]any
	if n != nil {
		if err := n.Decode(&tree); err != nil {
			return nil, fmt.Errorf("read functionConfig: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
	}
	var text []byte
	inline := false
	switch kind := tree["kind"]; {
	case len(tree) == 0:
	case kind == rules.PolicyKind:
		inline = true
		delete(tree, "metadata") // kustomize and kpt need it, a policy has none
		var err error
		if text, err = yaml.Marshal(tree); err != nil {
			return nil, fmt.Errorf("read functionConfig: %w", err)
		}
	case kind == "ConfigMap":
		data, _ := tree["data"].(map[string]any)
		for key, v := range data {
			if key != "policy.yaml" {
				return nil, fmt.Errorf(`read functionConfig: data has %q; a ConfigMap holds the policy in data["policy.yaml"]`, key)
			}
			s, _ := v.(string)
			text = []byte(s)
		}
	default:
		return nil, fmt.Errorf("read functionConfig: kind %q; give a %s of %s, or a ConfigMap", fmt.Sprint(kind), rules.PolicyKind, rules.PolicyVersion)
	}
	policy := rules.DefaultPolicy("IPv6")
	if text != nil {
		var err error
		if policy, err = parsePolicy("functionConfig", text); err != nil && inline { // whose lines nobody has seen
			return nil, errors.New(policyLine.ReplaceAllString(err.Error(), "$1"))
		} else if err != nil {
			return nil, err
		}
	}
	return ipv6Only(policy), nil
}

// result is one finding of an object: repaired, or left.
func (r *repair) result(severity string, f rules.Finding) krmResult {
	message := f.Message
	if severity == "info" && f.Changed != "" {
		message = f.Changed
	}
	if f.Text.Line > 0 {
		message = fmt.Sprintf("line %d: %s", f.Text.Line, message)
	}
	o := r.doc.Object
	out := krmResult{
		Message: message + " [" + f.Rule.ID + "]", Severity: severity,
		ResourceRef: krmResource{APIVersion: o.APIVersion(), Kind: o.Kind(), Name: o.Name(), Namespace: o.Namespace()},
		Field:       krmField{Path: f.Path.String()},
		Tags:        map[string]string{"rule": f.Rule.ID},
	}
	for _, prefix := range []string{"internal.config.kubernetes.io/", "config.kubernetes.io/"} { // the second is what v1beta1 had
		if path := o.Str("metadata", "annotations", prefix+"path"); path != "" && out.File == nil {
			index, _ := strconv.Atoi(o.Str("metadata", "annotations", prefix+"index"))
			out.File = &krmFile{Path: path, Index: index}
		}
	}
	if out.File == nil { // kustomize has buildMetadata: [originAnnotations] for it
		var origin struct{ Path string }
		if err := yaml.Unmarshal([]byte(o.Str("metadata", "annotations", "config.kubernetes.io/origin")), &origin); err == nil && origin.Path != "" {
			out.File = &krmFile{Path: origin.Path}
		}
	}
	return out
}

// String is the result as one line for people.
func (r krmResult) String() string {
	who := strings.TrimSuffix(r.ResourceRef.Kind+" "+r.ResourceRef.Name, " ")
	if r.File != nil {
		who = r.File.Path + ": " + who
	}
	severity := r.Severity
	if severity == "info" {
		severity = "repaired"
	}
	return fmt.Sprintf("%s: %s: %s: %s", severity, who, r.Field.Path, r.Message)
}

// withResults adds results to a ResourceList, after those of functions before.
func withResults(text []byte, results []krmResult) ([]byte, error) {
	if len(results) == 0 {
		return text, nil
	}
	root, err := resourceList(text)
	if err != nil {
		return nil, err
	}
	before := value(root, "results")
	if before == nil && root.Style&yaml.FlowStyle == 0 {
		var b bytes.Buffer
		b.Write(text)
		if !bytes.HasSuffix(text, []byte("\n")) {
			b.WriteByte('\n')
		}
		enc := yaml.NewEncoder(&b)
		enc.SetIndent(2)
		if err := errors.Join(enc.Encode(map[string]any{"results": results}), enc.Close()); err != nil {
			return nil, err
		}
		if whole, err := resourceList(b.Bytes()); err == nil && value(whole, "results") != nil { // not where it ends with "..."
			return b.Bytes(), nil
		}
	}
	raw, err := json.Marshal(results) // in brackets and quotes, as a ResourceList in JSON is
	if err != nil {
		return nil, err
	}
	var added yaml.Node
	if err := yaml.Unmarshal(raw, &added); err != nil {
		return nil, err
	}
	list := added.Content[0]
	if before != nil && before.Kind == yaml.SequenceNode {
		before.Content = append(before.Content, list.Content...)
	} else if before != nil {
		*before = *list
	} else {
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Style: yaml.DoubleQuotedStyle, Value: "results"}, list)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	err = errors.Join(enc.Encode(root), enc.Close())
	return b.Bytes(), err
}
