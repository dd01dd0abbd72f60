package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sixgate/sixgate/pkg/export"
	"github.com/sixgate/sixgate/pkg/rules"
)

type exportOptions struct {
	policy, output, namespaces string
	rules                      []string
}

// newExport returns the command; program is the name that its examples use.
func newExport(program string) *cobra.Command {
	o := exportOptions{}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write rules as admission policies that the API server applies without a webhook",
		Long: `Write the rules that CEL can express as ValidatingAdmissionPolicy and MutatingAdmissionPolicy manifests with their bindings,
for an API server of v1.36 or later. Levels, exclusions, exceptions and opt-outs are those of the policy. What is not exported
is listed on standard error, with the reason. docs/export.md says what they do otherwise than the webhook.`,
		Example: "  " + program + " export --policy policy.yaml | kubectl apply -f -\n" +
			"  " + program + " export --rule service-ip-family --rule host-port-ipv4 -o policies.yaml\n" +
			"  " + program + " export --namespace-selector ipv6-only=true",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, program) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.policy, "policy", "", "policy `FILE`; none: the default policy, for a cluster with IPv6 only")
	flags.StringArrayVar(&o.rules, "rule", nil, "`RULE` to export, may be given more than once; none: all")
	flags.StringVarP(&o.output, "output", "o", "-", "`FILE` to write; -: standard output")
	flags.StringVar(&o.namespaces, "namespace-selector", "", "label `SELECTOR` of the namespaces in which the policies hold; none: all")
	if err := cmd.RegisterFlagCompletionFunc("rule", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return rules.IDs(), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic(err) // the flag is named above
	}
	return cmd
}

func (o *exportOptions) run(cmd *cobra.Command, program string) error {
	policy, err := policyOf(o.policy, nil)
	if err != nil {
		return err
	}
	if !policy.Cluster.IPv6Only() {
		return fmt.Errorf("no rule is active: cluster.families of the policy is %v, not IPv6 only", policy.Cluster.Families)
	}
	if policy.Mode == rules.ModeAudit || len(policy.AuditNamespaces) > 0 {
		return errors.New("the policy only audits, and what is exported would enforce; take mode and auditNamespaces out, and choose by --namespace-selector")
	}
	for _, id := range o.rules {
		if !slices.Contains(rules.IDs(), id) {
			return fmt.Errorf("unknown rule %q%s", id, hint(cmd, id, rules.IDs()))
		}
	}
	var namespaces *metav1.LabelSelector
	if o.namespaces != "" {
		var err error
		if namespaces, err = metav1.ParseToLabelSelector(o.namespaces); err != nil {
			return fmt.Errorf("read --namespace-selector: %w", err)
		}
	}
	result := export.Policies(rules.NewSet(policy), o.rules, namespaces)
	sayExported(cmd.ErrOrStderr(), &result)
	if len(result.Objects) == 0 {
		return exitCode(exitError)
	}
	manifests, err := result.YAML()
	if err != nil {
		return err
	}
	text := fmt.Appendf(nil, "# Written by %s export, version %s: %s.\n", program, version(), strings.Join(result.Rules, ", "))
	for _, n := range result.Notes {
		text = fmt.Appendf(text, "# %s.\n", n)
	}
	text = append(text, manifests...)
	if o.output == "-" {
		_, err = cmd.OutOrStdout().Write(text)
	} else {
		err = os.WriteFile(o.output, text, 0o644) // #nosec G306 -- admission policies are no secret
	}
	if err != nil {
		return fmt.Errorf("write policies: %w", err)
	}
	return nil
}

// sayExported lists what a reader would miss: one line for each reason.
func sayExported(w io.Writer, r *export.Result) {
	for _, n := range r.Notes {
		fmt.Fprintf(w, "sixgate: %s\n", n)
	}
	var reasons []string
	byReason := map[string][]string{}
	for _, s := range r.Skipped {
		if byReason[s.Reason] == nil {
			reasons = append(reasons, s.Reason)
		}
		byReason[s.Reason] = append(byReason[s.Reason], s.Rule)
	}
	var text bytes.Buffer
	for _, reason := range reasons {
		fmt.Fprintf(&text, "sixgate: not exported: %s: %s\n", strings.Join(byReason[reason], ", "), reason)
	}
	_, _ = w.Write(text.Bytes())
}
