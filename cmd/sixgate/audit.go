package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
	"github.com/sixgate/sixgate/pkg/validate"
)

type auditOptions struct {
	policy, namespace, sourceURL string
	outputs                      outputs
	failOn, color                choice
	verbose                      bool
	levels                       ruleLevels
	baseline                     baseline
	input                        inputOptions
	now                          func() time.Time
	live                         liveAudit
}

// newAudit returns the command; program is the name that its examples use.
func newAudit(program string, now func() time.Time) *cobra.Command {
	o := auditOptions{
		now:    now,
		failOn: newFailOn(),
		color:  choice{"auto", []string{"auto", "always", "never"}},
	}
	cmd := &cobra.Command{
		Use:   "audit FILE|DIR|-...|--cluster",
		Short: "Report what fails on an IPv6-only cluster, and what the webhook would do",
		Long: `Report what fails on an IPv6-only cluster, and what the webhook would do with each object that is created: change, deny,
warn, or nothing. Folders are read with all *.yaml, *.yml and *.json below them that .gitignore does not name; charts and
kustomizations in them are rendered by helm and kustomize (or kubectl) where these are on PATH. "-" is standard input, --cluster is
what a cluster has stored.`,
		Example: "  " + program + " audit deploy/ service.yaml\n" +
			"  helm template shop | " + program + " audit -\n" +
			"  " + program + " audit -o text -o sarif=sixgate.sarif -o html=report.html --policy policy.yaml deploy/",
		Args:              func(cmd *cobra.Command, args []string) error { return o.live.check(cmd, args) },
		ValidArgsFunction: completeFiles("yaml", "yml", "json"),
		RunE:              func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	o.live.addFlags(flags)
	flags.StringVar(&o.policy, "policy", "", "policy `FILE`; none: the default policy, for a cluster with IPv6 only")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none; with --cluster, the only one that is read")
	flags.VarP(&o.outputs, "output", "o", "`FORMAT[=FILE]`, standard output without FILE; may be given several times (default text): "+strings.Join(report.Formats(), ", "))
	flags.StringVar(&o.sourceURL, "source-url", "", "`URL` of a file for links in reports, with {file} and {line} in it; in CI of GitHub and GitLab it is known")
	flags.Var(&o.failOn, "fail-on", failOnUsage)
	flags.Var(&o.levels, "level", levelUsage)
	o.baseline.addFlags(cmd)
	flags.BoolVarP(&o.verbose, "verbose", "v", false, "also what each listener that was found binds, and texts that were not understood, on standard error")
	o.input.flags(flags)
	o.input.renderFlags(flags)
	flags.Var(&o.color, "color", "colours; auto: on a terminal, unless NO_COLOR is set")
	return cmd
}

func (o *auditOptions) run(cmd *cobra.Command, args []string) error {
	if err := o.outputs.check(); err != nil {
		return err
	}
	if err := checkSourceURL(o.sourceURL); err != nil {
		return err
	}
	if err := o.baseline.read(o.failOn.value); err != nil {
		return err
	}
	policy, err := policyOf(o.policy, o.levels)
	if err != nil {
		return err
	}
	set := rules.NewSetAt(policy, o.now)
	r := report.New()
	if o.live.cluster {
		r = report.NewStored()
	}
	r.Brief = o.outputs.brief()
	r.AddExceptions(o.policy, set)
	o.baseline.use(r)
	in, err := o.read(cmd, r, args, set)
	if err != nil {
		return err
	}
	failOn, changedFails := failLevel(o.failOn.value)
	saveErr := o.baseline.save(cmd.ErrOrStderr(), r)
	r.Finish(failOn)
	if changedFails && r.Summary.Changed > 0 && r.Summary.ExitCode == 0 {
		r.Summary.ExitCode = exitFindings
	}
	if err := errors.Join(o.write(cmd, in, r, policy, failOn), saveErr, o.publish(cmd, r)); err != nil {
		return err
	}
	if r.Summary.ExitCode != 0 {
		return exitCode(r.Summary.ExitCode)
	}
	return nil
}

// read reads and judges the input: that of files is returned too, and closed.
func (o *auditOptions) read(cmd *cobra.Command, r *report.Report, args []string, set *rules.Set) (*input, error) {
	if o.live.cluster {
		namespace := ""
		if cmd.Flags().Changed("namespace") {
			namespace = o.namespace
		}
		return &input{}, o.live.audit(cmd.Context(), r, set, namespace, cmd.ErrOrStderr())
	}
	in, err := o.input.list(cmd.Context(), args, o.namespace, cmd.InOrStdin())
	if err != nil {
		return nil, err
	}
	defer in.close()
	in.progress = in.progressOf(cmd.ErrOrStderr())
	readings := io.Discard
	if o.verbose {
		readings = cmd.ErrOrStderr()
	}
	err = audit(cmd.Context(), r, in, set, o.namespace, readings)
	in.progress.finish()
	return in, err
}

// publish writes reports into the cluster, if that was asked for.
func (o *auditOptions) publish(cmd *cobra.Command, r *report.Report) error {
	p := o.live.publish
	if p == nil {
		return nil
	}
	err := p.write(cmd.Context(), r)
	fmt.Fprintln(cmd.ErrOrStderr(), "sixgate: "+p.String())
	return err
}

// write writes every report that was asked for, also where one of them cannot be written.
func (o *auditOptions) write(cmd *cobra.Command, in *input, r *report.Report, policy *rules.Policy, failOn rules.Level) error {
	if !o.outputs.tell("json") && !o.outputs.tell("yaml") { // which have the errors in them
		for _, e := range r.Errors {
			fmt.Fprintln(cmd.ErrOrStderr(), e.String())
		}
		if !policy.Cluster.IPv6Only() {
			fmt.Fprintf(cmd.ErrOrStderr(), "sixgate: no rule is active: cluster.families of the policy is %v, not IPv6 only\n", policy.Cluster.Families)
		}
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find working directory: %w", err)
	}
	options := report.Options{Version: version(), FailOn: failOn, Dir: dir, Root: repository(dir), SourceURL: o.sourceURL, Rendered: in.rendered}
	if options.SourceURL == "" {
		options.SourceURL = sourceURL()
	}
	if o.live.cluster {
		options.Root = dir // objects are named, and lie in no folder of the repository
	}
	if o.live.publish != nil && len(o.outputs) == 0 { // the findings are in the cluster, and would only fill the log
		_, err := fmt.Fprintln(cmd.OutOrStdout(), &r.Summary)
		return writeError(err)
	}
	var errs []error
	for _, out := range o.outputs.orText() {
		options := options
		if out.file == "" {
			w := cmd.OutOrStdout()
			options.Color = colored(o.color, w)
			errs = append(errs, writeError(r.Write(w, out.format, options)))
			continue
		}
		options.Color = o.color.value == "always"
		if err := out.write(func(w io.Writer) error { return r.Write(w, out.format, options) }); err != nil {
			errs = append(errs, fmt.Errorf("write report %s: %w", out.file, cause(err)))
		}
	}
	return errors.Join(errs...)
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
func colored(when choice, w io.Writer) bool {
	if when.value != "auto" {
		return when.value == "always"
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
	if !set.Judges(o) {
		return
	}
	shown := cmp.Or(o.Namespace(), namespace)
	req := rules.Request{Operation: rules.Create, Namespace: shown, Object: o, Audit: true}
	switch {
	case o.Group() == "" && o.Kind() == "Namespace":
		// The API server puts the name of a Namespace into the request (apiserver, endpoints/handlers/create.go).
		shown, req.Namespace = "", o.Name()
	case set.ClusterScoped(o.Group(), o.Kind()):
		shown, req.Namespace = "", ""
	}
	active, skipped := set.Rules(&req)
	if len(active)+len(skipped) == 0 {
		r.Summary.Excluded++
		return
	}
	at := report.Where(doc, shown)
	r.SeeException(req.Namespace, o)
	indexed := req
	indexed.Index = index
	for _, s := range skipped {
		r.AddSkipped(at, s, len(s.Active.Findings(&indexed)))
	}

	admission := req
	admission.Object, admission.Audit = o.Copy(), false
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
	unseen := set.Unseen(o) // then it has the outcome of its findings

	req.Index = index
	for _, rule := range active {
		for _, f := range rule.Findings(&req) {
			if f.Level < rules.Warn {
				continue
			}
			if unseen && f.Level == rules.Deny {
				outcome = report.Denied
			} else if unseen && outcome == report.Clean {
				outcome = report.Warned
			}
			by := report.Nobody
			switch {
			case f.Fix == nil || !rule.Mutate:
			case rule.Repairs():
				by = report.RepairsObject
			default:
				by = report.RepairsPods
			}
			if by == report.RepairsObject && doc.Stored() {
				by = report.RepairsAgain
			}
			r.AddFinding(at, doc, f, by)
		}
	}
	r.AddObject(at, doc, outcome, mutated.Changed, mutated.Patch)
}
