package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
	"github.com/sixgate/sixgate/pkg/validate"
)

type auditOptions struct {
	policy, namespace     string
	output, failOn, color choice
	verbose               bool
	input                 inputOptions
}

// newAudit returns the command; program is the name that its examples use.
func newAudit(program string) *cobra.Command {
	o := auditOptions{
		output: choice{"text", []string{"text", "json"}},
		failOn: choice{"deny", []string{"deny", "warn", "none"}},
		color:  choice{"auto", []string{"auto", "always", "never"}},
	}
	cmd := &cobra.Command{
		Use:   "audit FILE|DIR|-...",
		Short: "Report what fails on an IPv6-only cluster, and what the webhook would do",
		Long: `Report what fails on an IPv6-only cluster, and what the webhook would do with each object that is created: change, deny,
warn, or nothing. Folders are read with all *.yaml, *.yml and *.json below them that .gitignore does not name; charts and
kustomizations in them are rendered by helm and kustomize (or kubectl) where these are on PATH. "-" is standard input.`,
		Example: "  " + program + " audit deploy/ service.yaml\n" +
			"  helm template shop | " + program + " audit -\n" +
			"  " + program + " audit -o json --fail-on warn --policy policy.yaml deploy/",
		Args: atLeastOne(`a file, a folder, or "-" for standard input`),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.policy, "policy", "", "policy `FILE`; none: the default policy, for a cluster with IPv6 only")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none")
	flags.VarP(&o.output, "output", "o", "text, or JSON for programs")
	flags.Var(&o.failOn, "fail-on", "lowest level of findings that gives exit code 1")
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "also what each listener that was found binds, and texts that were not understood, on standard error")
	o.input.flags(flags)
	o.input.renderFlags(flags)
	flags.Var(&o.color, "color", "colours; auto: on a terminal, unless NO_COLOR is set")
	return cmd
}

func (o *auditOptions) run(cmd *cobra.Command, args []string) error {
	policy := rules.DefaultPolicy("IPv6")
	if o.policy != "" {
		var err error
		if policy, err = readPolicy(o.policy); err != nil {
			return err
		}
		if policy.Cluster.Families == nil {
			policy.Cluster.Families = []string{"IPv6"}
		}
	}
	in, err := o.input.list(cmd.Context(), args, o.namespace, cmd.InOrStdin())
	if err != nil {
		return err
	}
	defer in.close()
	in.progress = in.progressOf(cmd.ErrOrStderr())
	readings := io.Discard
	if o.verbose {
		readings = cmd.ErrOrStderr()
	}
	r := report.New()
	r.Brief = o.output.value == "text"
	err = audit(cmd.Context(), r, in, rules.NewSet(policy), o.namespace, readings)
	in.progress.finish()
	if err != nil {
		return err
	}
	failOn, _ := rules.ParseLevel(o.failOn.value) // none is rules.None
	r.Finish(failOn)
	if err := o.write(cmd, r, policy); err != nil {
		return err
	}
	if r.Summary.ExitCode != 0 {
		return exitCode(r.Summary.ExitCode)
	}
	return nil
}

func (o *auditOptions) write(cmd *cobra.Command, r *report.Report, policy *rules.Policy) error {
	w := cmd.OutOrStdout()
	if o.output.value == "json" {
		return writeError(r.WriteJSON(w))
	}
	for _, e := range r.Errors {
		fmt.Fprintln(cmd.ErrOrStderr(), e.String())
	}
	if !policy.Cluster.IPv6Only() {
		fmt.Fprintf(cmd.ErrOrStderr(), "sixgate: no rule is active: cluster.families of the policy is %v, not IPv6 only\n", policy.Cluster.Families)
	}
	return writeError(r.WriteText(w, o.colored(w)))
}

// writeReadings says what was read as a listener, so that a person sees what a clean answer is worth.
func writeReadings(w io.Writer, doc *manifest.Document) {
	for _, r := range rules.Readings(doc.Object) {
		line, column := doc.Position(r.Path)
		if r.Text.Line > 0 {
			line, column = doc.TextPosition(r.Path, r.Text)
		}
		who := r.Program
		if who == "" {
			who = "not judged"
		}
		fmt.Fprintf(w, "%s:%d:%d: %s: %s\n", report.Printable(doc.File), line, column, who, report.Printable(r.Says))
	}
}

func writeError(err error) error {
	if err == nil || errors.Is(err, syscall.EPIPE) { // the reader has seen enough; the exit code still counts
		return nil
	}
	return fmt.Errorf("write report: %w", err)
}

// colored follows no-color.org.
func (o *auditOptions) colored(w io.Writer) bool {
	if o.color.value != "auto" {
		return o.color.value == "always"
	}
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// audit judges all objects of an input. The report is not finished yet. What was read as a listener goes to readings.
func audit(ctx context.Context, r *report.Report, in *input, set *rules.Set, namespace string, readings io.Writer) error {
	index := rules.NewIndex(nil, namespace)
	if err := in.each(ctx, func(doc *manifest.Document) { index.Add(doc.Object) }); err != nil {
		return err
	}
	err := in.each(ctx, func(doc *manifest.Document) {
		auditObject(r, set, doc, namespace, index)
		if readings != io.Discard {
			writeReadings(readings, doc)
		}
	})
	r.Errors = append(r.Errors, in.errs...)
	r.Summary.Files, r.Summary.Objects, r.Summary.NotObjects = in.files, in.objects, in.notObjects
	return err
}

// auditObject adds to the report what the webhook would do with one object, which has no index, and the findings, which do.
func auditObject(r *report.Report, set *rules.Set, doc *manifest.Document, namespace string, index *rules.Index) {
	o := doc.Object
	if !set.Knows(o.Group(), o.Kind(), "") {
		return
	}
	shown := o.Namespace()
	if shown == "" {
		shown = namespace
	}
	req := rules.Request{Operation: rules.Create, Namespace: shown, Object: o}
	if o.Group() == "" && o.Kind() == "Namespace" {
		// The API server puts the name of a Namespace into the request (apiserver, endpoints/handlers/create.go).
		shown, req.Namespace = "", o.Name()
	}
	active, skipped := set.Rules(&req)
	if len(active)+len(skipped) == 0 {
		r.Summary.Excluded++
		return
	}
	at := report.Where(doc, shown)
	for _, s := range skipped {
		r.Skipped = append(r.Skipped, report.Skipped{At: at, Rule: s.Rule, Reason: s.Reason})
	}

	admission := req
	admission.Object = o.Copy()
	mutated := mutate.Apply(set, &admission)
	verdict := validate.Judge(set, &admission)
	outcome := report.Clean
	switch {
	case len(verdict.Denied) > 0:
		outcome = report.Denied
	case len(mutated.Patch) > 0:
		outcome = report.Changed
	case len(mutated.Refused)+len(verdict.Warned) > 0:
		outcome = report.Warned
	}
	r.AddObject(at, doc, outcome, mutated.Changed, mutated.Patch)

	req.Index = index
	for _, rule := range active {
		for _, f := range rule.Findings(&req) {
			if f.Level < rules.Warn {
				continue
			}
			by := report.Nobody
			switch {
			case f.Fix == nil || !rule.Mutate:
			case rule.Repairs():
				by = report.RepairsObject
			default:
				by = report.RepairsPods
			}
			r.AddFinding(at, doc, f, by)
		}
	}
}
