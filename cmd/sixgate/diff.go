package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

type diffOptions struct {
	policy, namespace, sourceURL string
	output, failOn, color        choice
	levels                       ruleLevels
	input                        inputOptions
	now                          func() time.Time
}

// newDiff returns the command; program is the name that its examples use.
func newDiff(program string, now func() time.Time) *cobra.Command {
	o := diffOptions{
		output: choice{"text", report.DiffFormats()},
		failOn: newFailOn(),
		color:  choice{"auto", []string{"auto", "always", "never"}},
		now:    now,
	}
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say what gets better and what gets worse between two sets of manifests",
		Long: `Say what gets better and what gets worse between two sets of manifests: a file, a folder or "-" each, /dev/null for nothing.
Objects are matched by kind, namespace and name, and findings by rule, field and value: never by line, and by file only where
several are equal. Both are judged by the same policy.

Exit codes: 0 nothing got worse at or above --fail-on, 1 something did, 3 could not run or could not read all of both.`,
		Example: "  git worktree add --detach /tmp/base origin/main && " + program + " diff /tmp/base/deploy deploy\n" +
			"  helm template shop | " + program + " diff deployed.yaml -\n" +
			"  " + program + " diff -o markdown old/ new/ >> \"$GITHUB_STEP_SUMMARY\"",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("name two files or folders, the old and the new one; see %q", cmd.CommandPath()+" --help")
			}
			if args[0] == "-" && args[1] == "-" {
				return fmt.Errorf("standard input can be one of the two; see %q", cmd.CommandPath()+" --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.policy, "policy", "", "policy `FILE`; none: the default policy, for a cluster with IPv6 only")
	flags.StringVarP(&o.namespace, "namespace", "n", "default", "`NAMESPACE` of objects that name none")
	flags.VarP(&o.output, "output", "o", "format on standard output")
	flags.StringVar(&o.sourceURL, "source-url", "", "`URL` of a file for links, with {file} and {line} in it; in CI of GitHub and GitLab it is known")
	flags.Var(&o.failOn, "fail-on", failOnUsage)
	flags.Var(&o.levels, "level", levelUsage)
	o.input.flags(flags)
	o.input.renderFlags(flags)
	flags.Var(&o.color, "color", "colours; auto: on a terminal, unless NO_COLOR is set")
	return cmd
}

func (o *diffOptions) run(cmd *cobra.Command, args []string) error {
	if err := checkSourceURL(o.sourceURL); err != nil {
		return err
	}
	policy, err := policyOf(o.policy, o.levels)
	if err != nil {
		return err
	}
	set := rules.NewSetAt(policy, o.now)
	failOn, changed := failLevel(o.failOn.value)
	var sides [2]report.Side
	var inputs [2]*input
	for i, arg := range args {
		in, r, err := o.audit(cmd, arg, set)
		if err != nil {
			return err
		}
		inputs[i] = in
		r.Finish(failOn)
		root := arg
		if arg == "-" {
			root = stdinName
		}
		sides[i] = report.Side{Report: r, Root: root}
	}
	d := report.Compare(sides[0], sides[1], failOn, changed)
	if o.output.value != "json" { // which has the errors in it
		for _, e := range d.Errors {
			fmt.Fprintln(cmd.ErrOrStderr(), e.String())
		}
		warnInactive(cmd.ErrOrStderr(), policy)
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find working directory: %w", err)
	}
	options := report.Options{
		Color: colored(o.color, cmd.OutOrStdout()), Dir: dir, Root: repository(dir), SourceURL: o.sourceURL,
		Rendered: inputs[1].rendered, // links are to the new one
	}
	if options.SourceURL == "" {
		options.SourceURL = sourceURL()
	}
	if err := writeError(d.Write(cmd.OutOrStdout(), o.output.value, options)); err != nil {
		return err
	}
	if d.Summary.ExitCode != 0 {
		return exitCode(d.Summary.ExitCode)
	}
	return nil
}

// audit judges one of the two; its input is closed.
func (o *diffOptions) audit(cmd *cobra.Command, arg string, set *rules.Set) (*input, *report.Report, error) {
	in, err := o.input.list(cmd.Context(), []string{arg}, o.namespace, cmd.InOrStdin())
	if err != nil {
		return nil, nil, err
	}
	defer in.close()
	in.progress = in.progressOf(cmd.ErrOrStderr())
	r := report.New() // not Brief: the outcomes of clean objects are compared too
	err = audit(cmd.Context(), r, in, set, o.namespace, io.Discard)
	in.progress.finish()
	return in, r, err
}
