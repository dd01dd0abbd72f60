package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

const (
	failOnUsage = "lowest level that gives exit code 1: deny, warn, or changed for objects too that the webhook would only change"
	levelUsage  = "`RULE=deny|warn|off`, before the policy; * in RULE stands for any characters; may be given several times, the last one counts"
)

func newFailOn() choice { return choice{"deny", []string{"deny", "warn", "changed", "none"}} }

// failLevel reads --fail-on: the level of findings that fail, rules.None for none, and whether objects that would be changed do.
func failLevel(failOn string) (level rules.Level, changed bool) {
	if failOn == "changed" {
		return rules.Warn, true
	}
	level, _ = rules.ParseLevel(failOn) // none is rules.None
	return level, false
}

// ruleLevels is a flag that may be given several times: RULE=LEVEL.
type ruleLevels []ruleLevel

type ruleLevel struct {
	rule  string
	level rules.Level
}

func (l *ruleLevels) String() string { return "" }
func (l *ruleLevels) Type() string   { return "RULE=LEVEL" }

func (l *ruleLevels) words() []string {
	var out []string
	for _, rule := range rules.IDs() {
		out = append(out, rule+"=deny", rule+"=warn", rule+"=off")
	}
	return out
}

func (l *ruleLevels) Set(s string) error {
	rule, level, ok := strings.Cut(s, "=")
	known := []string{"deny", "warn", "off"}
	if !ok || rule == "" {
		return errors.New("must be RULE=deny, RULE=warn or RULE=off")
	}
	if !slices.Contains(known, level) {
		return fmt.Errorf("%q must be one of %s%s", level, strings.Join(known, ", "), rules.Suggest(level, known))
	}
	parsed, err := rules.ParseLevel(level)
	*l = append(*l, ruleLevel{rule, parsed})
	return errors.Join(err, rules.DefaultPolicy().SetLevel(rule, parsed)) // is there such a rule?
}

// apply sets the levels in a policy that was read.
func (l ruleLevels) apply(p *rules.Policy) error {
	for _, one := range l {
		if err := p.SetLevel(one.rule, one.level); err != nil {
			return err
		}
	}
	return nil
}

// A baseline is the file of known faults that an audit reads or writes.
type baseline struct {
	file, target string
	known        report.Baseline
}

func (b *baseline) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&b.file, "baseline", "", "`FILE` of known faults: only others are findings")
	flags.StringVar(&b.target, "write-baseline", "", "write all findings to `FILE` as known faults")
	cmd.MarkFlagsMutuallyExclusive("baseline", "write-baseline")
}

func (b *baseline) read(failOn string) error {
	if b.file+b.target != "" && failOn == "changed" {
		return errors.New("--fail-on changed is about objects, a baseline about findings; leave one of them out")
	}
	if b.file == "" {
		return nil
	}
	data, err := os.ReadFile(b.file)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read baseline %s: %w; make it with --write-baseline %s", b.file, cause(err), b.file)
	}
	if err != nil {
		return fmt.Errorf("read baseline %s: %w", b.file, cause(err))
	}
	if b.known, err = report.ReadBaseline(data); err != nil {
		return fmt.Errorf("read baseline %s: %w; correct it, or make it again with --write-baseline", b.file, err)
	}
	return nil
}

// use tells a report what is known, before the audit.
func (b *baseline) use(r *report.Report) {
	if b.known != nil {
		r.SetBaseline(b.known)
	}
}

// save writes down everything that was found, which is known then.
func (b *baseline) save(stderr io.Writer, r *report.Report) error {
	switch {
	case b.target == "":
	case slices.ContainsFunc(r.Errors, func(e report.Error) bool { return !e.Audited }):
		return fmt.Errorf("write baseline %s: not all of the input could be read, so faults would be missing; repair or leave out what is named, the file stays as it was", b.target)
	default:
		all := r.Baseline()
		if err := (output{file: b.target}).write(all.Write); err != nil {
			return fmt.Errorf("write baseline %s: %w", b.target, cause(err))
		}
		fmt.Fprintf(stderr, "sixgate: wrote %s to %s\n", plural(len(r.Findings), "known fault"), report.Printable(b.target))
		r.SetBaseline(all)
	}
	return nil
}
