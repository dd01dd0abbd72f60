package report

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

// DiffKind heads every comparison, with Version.
const DiffKind = "AuditDiff"

// A Diff is what gets better or worse from one input to another. docs/diff.md documents its JSON.
type Diff struct {
	APIVersion string          `json:"apiVersion"`
	Kind       string          `json:"kind"`
	Worse      []Change        `json:"worse"`
	Better     []Change        `json:"better"`
	Hidden     []Hidden        `json:"hidden"`
	Outcomes   []OutcomeChange `json:"outcomes"`
	Errors     []Error         `json:"errors"`
	Summary    DiffSummary     `json:"summary"`
}

// A Change is a finding that is new, gone, or of another level.
type Change struct {
	Finding        // as it is in the new input; in the old one where it is gone
	Was     string `json:"was"` // its level in the old input; "": it was not there
	Now     string `json:"now"` // its level in the new one; "": it is gone
}

// A Hidden finding is still there, but an opt-out or an exception is new.
type Hidden struct {
	Finding
	Reason string `json:"reason"`
}

// An OutcomeChange is an object with which the webhook does something else than before.
type OutcomeChange struct {
	At
	Was     string `json:"was"`     // "": the object was not there
	Outcome string `json:"outcome"` // "": the object is gone
	Worse   bool   `json:"worse"`
}

// A DiffSummary counts.
type DiffSummary struct {
	Worse         int     `json:"worse"`
	Better        int     `json:"better"`
	Hidden        int     `json:"hidden"`
	WorseOutcomes int     `json:"worseOutcomes"`
	Outcomes      int     `json:"outcomes"`
	Old           Summary `json:"old"`
	New           Summary `json:"new"`
	Errors        int     `json:"errors"`
	ExitCode      int     `json:"exitCode"`
}

// A Side is one of two inputs that are compared.
type Side struct {
	Report *Report // finished
	Root   string  // the folder or file that was read: files below two roots are the same by their path from there
}

// relative is a file of this side, to be compared with the other.
func (s *Side) relative(file string) string {
	rel, err := filepath.Rel(s.Root, file)
	if err != nil {
		return file
	}
	return filepath.ToSlash(rel)
}

// outcomeRank puts outcomes in rising order of what they cost.
func outcomeRank(outcome string) int {
	return slices.Index([]string{"", Clean, Changed, Warned, Denied}, outcome)
}

// Compare matches two inputs by what their findings and objects are, never by line; where equal ones are in several files, by
// file first. Exit code 3: something could not be read; 1: a finding got worse at failOn or above, or, with changed, an outcome.
// An outcome alone fails no more than it does in an audit: findings know the other objects, the webhook does not.
func Compare(before, after Side, failOn rules.Level, changed bool) *Diff {
	d := &Diff{
		APIVersion: Version, Kind: DiffKind,
		Worse: []Change{}, Better: []Change{}, Hidden: []Hidden{}, Outcomes: []OutcomeChange{}, Errors: []Error{},
	}
	d.compareFindings(&before, &after)
	d.compareOutcomes(&before, &after)
	d.Errors = slices.Concat(d.Errors, before.Report.Errors, after.Report.Errors)
	s := &d.Summary
	s.Worse, s.Better, s.Hidden, s.Outcomes, s.Errors = len(d.Worse), len(d.Better), len(d.Hidden), len(d.Outcomes), len(d.Errors)
	s.Old, s.New = before.Report.Summary, after.Report.Summary

	for i := range d.Worse {
		if failOn != rules.None && level(d.Worse[i].Level) >= failOn {
			s.ExitCode = 1
		}
	}
	for i := range d.Outcomes {
		o := &d.Outcomes[i]
		if !o.Worse {
			continue
		}
		s.WorseOutcomes++
		if changed {
			s.ExitCode = 1
		}
	}
	if slices.ContainsFunc(d.Errors, func(e Error) bool { return !e.Audited }) {
		s.ExitCode = 3
	}
	return d
}

// match pairs equal elements of two lists: those with the same near key first, then those with the same far key. An index of b
// for each element of a, or -1; and which elements of b are left.
func match[T any](a, b []T, nearA, nearB, far func(*T) string) (pairs []int, left []int) {
	pairs = make([]int, len(a))
	used := make([]bool, len(b))
	for i := range pairs {
		pairs[i] = -1
	}
	for _, key := range []struct{ a, b func(*T) string }{{nearA, nearB}, {far, far}} {
		free := map[string][]int{}
		for j := range b {
			if !used[j] {
				free[key.b(&b[j])] = append(free[key.b(&b[j])], j)
			}
		}
		for i := range a {
			if pairs[i] >= 0 {
				continue
			}
			k := key.a(&a[i])
			if js := free[k]; len(js) > 0 {
				pairs[i], used[js[0]], free[k] = js[0], true, js[1:]
			}
		}
	}
	for j := range b {
		if !used[j] {
			left = append(left, j)
		}
	}
	return pairs, left
}

// identity of an object, whichever version of its API it is written in.
func (a At) identity() string {
	group, _, ok := strings.Cut(a.apiVersion, "/")
	if !ok {
		group = ""
	}
	return fmt.Sprintf("%q", []string{group, a.Kind, a.Namespace, a.Name})
}

func (d *Diff) compareFindings(before, after *Side) {
	hides := map[[2]string]*Skipped{} // by object and rule; the same rule found something in the old input
	for _, k := range after.Report.Skipped {
		if key := [2]string{k.identity(), k.Rule}; hides[key] == nil {
			hides[key] = &k
		} else {
			hides[key].Hides += k.Hides
		}
	}
	far := func(f *Finding) string {
		return fmt.Sprintf("%s %q", f.identity(), []string{f.Rule, listIndex.ReplaceAllString(f.Path, "[]"), f.fault[0], f.fault[1]})
	}
	near := func(s *Side) func(*Finding) string {
		return func(f *Finding) string { return fmt.Sprintf("%q %s", s.relative(f.File), far(f)) }
	}
	old, now := before.Report.Findings, after.Report.Findings
	pairs, left := match(now, old, near(after), near(before), far)
	for i, j := range pairs {
		f := now[i]
		if j < 0 {
			d.Worse = append(d.Worse, Change{Finding: f, Now: f.Level})
			continue
		}
		was := old[j].Level
		switch level(f.Level) - level(was) {
		case 0:
		case rules.Deny - rules.Warn:
			d.Worse = append(d.Worse, Change{f, was, f.Level})
		default:
			d.Better = append(d.Better, Change{f, was, f.Level})
		}
	}
	for _, j := range left {
		f := old[j]
		if by := hides[[2]string{f.identity(), f.Rule}]; by != nil && by.Hides > 0 {
			by.Hides--
			d.Hidden = append(d.Hidden, Hidden{f, by.Reason})
			continue
		}
		d.Better = append(d.Better, Change{Finding: f, Was: f.Level})
	}
}

func level(s string) rules.Level {
	l, _ := rules.ParseLevel(s) // of a finding, so it is one
	return l
}

func (d *Diff) compareOutcomes(before, after *Side) {
	far := func(o *Object) string { return o.identity() }
	near := func(s *Side) func(*Object) string {
		return func(o *Object) string { return fmt.Sprintf("%q %s", s.relative(o.File), o.identity()) }
	}
	old, now := before.Report.Objects, after.Report.Objects
	pairs, left := match(now, old, near(after), near(before), far)
	hidden := map[string]bool{} // no repair, whatever the webhook does now
	for i := range d.Hidden {
		hidden[d.Hidden[i].identity()] = true
	}
	add := func(at At, was, is string) {
		from, to := max(outcomeRank(was), outcomeRank(Clean)), max(outcomeRank(is), outcomeRank(Clean))
		if from < to || from > to && !hidden[at.identity()] {
			d.Outcomes = append(d.Outcomes, OutcomeChange{At: at, Was: was, Outcome: is, Worse: to > from})
		}
	}
	for i, j := range pairs {
		was := ""
		if j >= 0 {
			was = old[j].Outcome
		}
		add(now[i].At, was, now[i].Outcome)
	}
	for _, j := range left {
		add(old[j].At, old[j].Outcome, "")
	}
}

// DiffFormats are the names that Write knows.
func DiffFormats() []string { return []string{"text", "json", "markdown"} }

// Write writes the comparison in one of DiffFormats. The errors are in the JSON only: else they belong on standard error.
func (d *Diff) Write(w io.Writer, name string, o Options) error {
	switch name {
	case "text":
		return d.writeText(w, o)
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(d)
	case "markdown":
		return d.writeMarkdown(w, o)
	}
	return fmt.Errorf("unknown format %q", name)
}

func (d *Diff) writeText(w io.Writer, o Options) error {
	t := &text{Writer: bufio.NewWriter(w), color: o.Color}
	finding := func(f *Finding, code, label, more string) {
		message := f.object() + ": " + f.line + more
		t.label(f.At, code, label, message)
	}
	for i := range d.Worse {
		c := &d.Worse[i]
		finding(&c.Finding, colors["deny"], "worse", c.levels())
		t.excerpt(&c.Finding)
	}
	for i := range d.Outcomes {
		if o := &d.Outcomes[i]; o.Worse {
			t.label(o.At, colors["deny"], "worse", o.String())
		}
	}
	for i := range d.Hidden {
		h := &d.Hidden[i]
		finding(&h.Finding, colors["warn"], "hidden", fmt.Sprintf(" (%s; now skipped: %s)", h.Level, h.Reason))
	}
	for i := range d.Better {
		c := &d.Better[i]
		finding(&c.Finding, green, "better", c.levels())
	}
	for i := range d.Outcomes {
		if o := &d.Outcomes[i]; !o.Worse {
			t.label(o.At, green, "better", o.String())
		}
	}
	fmt.Fprintln(t, d.Summary.String())
	if ready := d.Summary.readiness(); ready != "" {
		fmt.Fprintln(t, t.paint(bold, ready))
	}
	return t.Flush()
}

// levels says what became of a finding: " (deny, new)".
func (c *Change) levels() string {
	switch {
	case c.Was == "":
		return fmt.Sprintf(" (%s, new)", c.Now)
	case c.Now == "":
		return fmt.Sprintf(" (%s, gone)", c.Was)
	}
	return fmt.Sprintf(" (%s, was %s)", c.Now, c.Was)
}

// String is the change of an outcome as one line: "Service shop/web: clean before, denied now".
func (o *OutcomeChange) String() string {
	was, now := cmp.Or(o.Was, "not there"), cmp.Or(o.Outcome, "gone")
	return fmt.Sprintf("%s: %s before, %s now", o.object(), was, now)
}

// String is the comparison in one line.
func (s *DiffSummary) String() string {
	var parts []string
	add := func(n int, one, many string) {
		if n == 1 {
			parts = append(parts, "1 "+one)
		} else if n > 1 {
			parts = append(parts, fmt.Sprintf("%d %s", n, many))
		}
	}
	add(s.Worse, "finding worse", "findings worse")
	add(s.Hidden, "finding hidden by an opt-out", "findings hidden by opt-outs")
	add(s.Better, "finding better", "findings better")
	add(s.WorseOutcomes, "outcome worse", "outcomes worse")
	add(s.Outcomes-s.WorseOutcomes, "outcome better", "outcomes better")
	if len(parts) == 0 {
		parts = append(parts, "nothing better or worse")
	}
	parts = append(parts, fmt.Sprintf("%s left", count(s.New.Findings, "finding")))
	add(s.Errors, "error", "errors")
	return strings.Join(parts, "; ")
}

// readiness says how many workloads are ready, and how many were.
func (s *DiffSummary) readiness() string {
	ready := s.New.Readiness.String()
	if ready == "" || s.New.Readiness == s.Old.Readiness {
		return ready
	}
	return fmt.Sprintf("%s (before: %d of %d ready)", ready, s.Old.Readiness.Ready, s.Old.Readiness.Workloads)
}

// writeMarkdown writes a comment for a pull request: what is worse first, as far as there is room.
func (d *Diff) writeMarkdown(w io.Writer, o Options) error {
	s, b := &d.Summary, &strings.Builder{}
	title := "nothing gets worse"
	switch {
	case s.Worse == 0 && s.WorseOutcomes == 1:
		title = "1 object gets worse"
	case s.Worse == 0 && s.WorseOutcomes > 1:
		title = fmt.Sprintf("%d objects get worse", s.WorseOutcomes)
	case s.Worse == 1:
		title = "1 finding gets worse"
	case s.Worse > 1:
		title = fmt.Sprintf("%d findings get worse", s.Worse)
	}
	fmt.Fprintf(b, "## Sixgate: %s\n\n", title)
	if ready := s.readiness(); ready != "" {
		fmt.Fprintf(b, "**%s**\n\n", ready)
	}
	b.WriteString(s.String() + "\n")
	var rows []string
	row := func(label string, at At, template, message, rule string) {
		where := markdownCode(Printable(fmt.Sprintf("%s:%d", o.relative(at.File), at.Line)))
		if link := o.linkTo(at, template); link != "" && label == "**worse**" { // the other lines are not in the new tree
			where = "[" + where + "](" + markdownTarget(link) + ")"
		}
		if rule != "" {
			rule = fmt.Sprintf(" [%s](%s)", rule, rulePage(rule))
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s%s |\n", label, where, markdownText(at.object()), markdownText(message), rule))
	}
	outcomes := func(label string, worse bool) {
		for i := range d.Outcomes {
			if o := &d.Outcomes[i]; o.Worse == worse {
				row(label, o.At, "", strings.TrimPrefix(o.String(), o.object()+": "), "")
			}
		}
	}
	for i := range d.Worse {
		c := &d.Worse[i]
		row("**worse**", c.At, c.Template, c.where+": "+c.Message+c.levels(), c.Rule)
	}
	outcomes("**worse**", true)
	for i := range d.Hidden {
		h := &d.Hidden[i]
		row("hidden", h.At, h.Template, h.where+": "+h.Message+fmt.Sprintf(" (%s; now skipped: %s)", h.Level, h.Reason), h.Rule)
	}
	for i := range d.Better {
		c := &d.Better[i]
		row("better", c.At, c.Template, c.where+": "+c.Message+c.levels(), c.Rule)
	}
	outcomes("better", false)
	written := 0
	for i := range d.Errors {
		if i == maxMarkdownErrors {
			fmt.Fprintf(b, "\n- %d more errors\n", len(d.Errors)-i)
			break
		}
		fmt.Fprintf(b, "\n- not read: %s\n", markdownText(shorten(d.Errors[i].String(), 400)))
	}
	for _, line := range rows {
		if written == 0 {
			line = "\n| | where | object | |\n| --- | --- | --- | --- |\n" + line
		}
		if b.Len()+len(line) > maxMarkdown-markdownTail {
			break
		}
		b.WriteString(line)
		written++
	}
	if left := len(rows) - written; left > 0 {
		fmt.Fprintf(b, "\n**%d of %s are left out here, what is worse comes first.** `sixgate diff` shows all of them.\n", left, count(len(rows), "change"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
