package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/order"
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
	defer runtime.KeepAlive(ballast(96 << 20)) // a cluster sends less in a second than files
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
		warnInactive(cmd.ErrOrStderr(), policy)
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
		line, column := doc.TextPosition(r.Path, r.Text)
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
	return os.Getenv("NO_COLOR") == "" && isTerminal(w)
}

// audit judges all objects of an input. The report is not finished yet. What was read as a listener goes to readings. Who asks about
// other objects is judged when all of them are known: few do, and only those are looked at again.
func audit(ctx context.Context, r *report.Report, in *input, set *rules.Set, namespace string, readings io.Writer) error {
	index := rules.NewIndex(nil, namespace)
	j := judging{report: r, input: in, set: set, namespace: namespace, readings: readings}
	err := in.each(ctx, func(s *source, doc *manifest.Document) {
		index.Add(doc.Object)
		j.add(s, doc)
	})
	j.finish()
	if err == nil {
		j.index, j.readings = index, io.Discard
		err = in.again(ctx, func(doc *manifest.Document) { j.add(nil, doc) })
		j.finish()
	}
	r.Errors = append(r.Errors, in.errs...)
	r.Summary.Files, r.Summary.Objects, r.Summary.NotObjects = in.files, in.objects, in.notObjects
	return err
}

// A judging judges objects on all cores.
type judging struct {
	report    *report.Report
	input     *input
	set       *rules.Set
	namespace string
	index     *rules.Index // nil: not known yet
	readings  io.Writer

	tasks   order.Queue[judged]
	batch   []batched
	size    int   // of the batch, in bytes of the input
	running []int // the size of each task
	inTasks int
}

type batched struct {
	source *source
	doc    *manifest.Document
}

// judged is what becomes of a batch.
type judged struct {
	part     *report.Report
	later    []batched
	readings bytes.Buffer
}

const (
	// judgeSize is how many bytes of the input are judged by one task; maxJudged: by all at the same time, unless it is one object.
	judgeSize = 1 << 16
	maxJudged = 4 << 20
)

func (j *judging) add(s *source, doc *manifest.Document) {
	j.batch = append(j.batch, batched{s, doc})
	if j.size += doc.Size(); j.size >= judgeSize {
		j.start()
	}
	for j.tasks.Full() || j.inTasks > maxJudged {
		j.next()
	}
}

func (j *judging) start() {
	if len(j.batch) == 0 {
		return
	}
	batch, index, out := j.batch, j.index, judged{part: j.report.Part()}
	verbose := j.readings != io.Discard
	j.tasks.Add(func() judged {
		for _, b := range batch {
			if !auditObject(out.part, j.set, b.doc, j.namespace, index) {
				out.later = append(out.later, b)
			}
			if verbose {
				writeReadings(&out.readings, b.doc)
			}
		}
		return out
	})
	j.running, j.inTasks = append(j.running, j.size), j.inTasks+j.size
	j.batch, j.size = nil, 0
}

func (j *judging) next() {
	out := j.tasks.Next()
	j.inTasks, j.running = j.inTasks-j.running[0], j.running[1:]
	j.report.Merge(out.part)
	for _, b := range out.later {
		j.input.putOff(b.source, b.doc)
	}
	_, _ = out.readings.WriteTo(j.readings) // for people, who see it where it fails
}

func (j *judging) finish() {
	j.start()
	for j.tasks.Len() > 0 {
		j.next()
	}
}

// auditObject adds to the report what the webhook would do with one object, which has no index, and the findings, which do. Without
// index it adds nothing and returns false where a rule asks for it.
func auditObject(r *report.Report, set *rules.Set, doc *manifest.Document, namespace string, index *rules.Index) bool {
	o := doc.Object
	if !set.Judges(o) {
		return true
	}
	req := set.Creation(o, namespace)
	req.Audit, req.Index = true, index
	active, skipped := set.Rules(&req)
	if len(active)+len(skipped) == 0 {
		r.Summary.Excluded++
		return true
	}
	found := map[*rules.Active][]rules.Finding{}
	repaired := false // by the webhook
	for _, rule := range active {
		if findings := rule.Findings(&req); len(findings) > 0 {
			found[rule] = findings
			repaired = repaired || rule.Repairs() && slices.ContainsFunc(findings, func(f rules.Finding) bool { return f.Fix != nil })
		}
		if req.Asked && index == nil {
			return false
		}
	}
	hides := make([]int, len(skipped))
	for i, s := range skipped {
		hides[i] = len(s.Active.Findings(&req))
	}
	if req.Asked && index == nil {
		return false
	}
	shown := req.Namespace
	if o.Group() == "" && o.Kind() == "Namespace" {
		shown = ""
	}
	at := report.Where(doc, shown)
	r.SeeException(req.Namespace, o)
	for i, s := range skipped {
		r.AddSkipped(at, s, hides[i])
	}

	var mutated mutate.Result
	outcome := report.Clean
	if req.Asked || len(found) > 0 { // the webhook has no index, and else the same rules
		admission := req
		admission.Audit, admission.Index = false, nil
		if req.Asked || repaired {
			admission.Object = o.Copy()
		} else {
			admission.Known = found
		}
		mutated = mutate.Apply(set, &admission)
		verdict := validate.Judge(set, &admission)
		switch {
		case len(verdict.Denied) > 0:
			outcome = report.Denied
		case len(mutated.Patch) > 0:
			outcome = report.Changed
		case len(mutated.Refused)+len(verdict.Warned) > 0:
			outcome = report.Warned
		}
	}
	unseen := set.Unseen(o) // then it has the outcome of its findings
	for _, rule := range active {
		for _, f := range found[rule] {
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
	return true
}
