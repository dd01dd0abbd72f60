package report

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// maxSource is how much of a source line is shown, in characters.
const maxSource = 120

// writeText writes the report for people: each finding with its source line and a caret, each change of an object that is
// created changed, what was skipped, tables by rule and namespace where there are several, one line that counts, and one that
// says how many workloads are ready. It leaves out the errors: they belong on standard error.
func (r *Report) writeText(w io.Writer, o Options) error {
	t := &text{Writer: bufio.NewWriter(w), color: o.Color}
	type entry struct {
		At
		write func()
	}
	var entries []entry
	for _, f := range r.Findings {
		entries = append(entries, entry{f.At, func() { t.finding(&f) }})
	}
	old := map[subject]bool{} // whose changes are known as the faults are
	for i := range r.Known {
		old[r.Known[i].subject()] = true
	}
	for i := range r.Findings {
		delete(old, r.Findings[i].subject())
	}
	for _, o := range r.Objects {
		if o.Outcome != Changed || old[o.subject()] {
			continue
		}
		for i, at := range o.changes {
			entries = append(entries, entry{at, func() { t.line(at, Changed, o.Changes[i]) }})
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int { return a.compare(b.At) })
	for _, e := range entries {
		e.write()
	}
	for _, s := range r.Skipped {
		needed := ""
		if s.Hides == 0 {
			needed = " (not needed: the rule finds nothing)"
		}
		t.line(s.At, "skipped", fmt.Sprintf("%s: %s [%s]%s", s.object(), s.Reason, s.Rule, needed))
	}
	for i := range r.Exceptions {
		e := &r.Exceptions[i]
		if message := e.String(); message != "" {
			fmt.Fprintf(t, "%s %s %s\n", t.paint(bold, fmt.Sprintf("%s:%d:", Printable(e.File), e.Line)), t.paint(colors["warn"], e.State+":"), Printable(message))
		}
	}
	t.tables(r)
	fmt.Fprintln(t, r.Summary.String())
	if ready := r.Summary.Readiness.String(); ready != "" {
		fmt.Fprintln(t, t.paint(bold, ready))
	}
	return t.Flush()
}

// tables sums up by rule and by namespace. A table of one row would say what the last line says.
func (t *text) tables(r *Report) {
	table := func(rows int, write func(tw *tabwriter.Writer)) {
		if rows > 1 {
			tw := tabwriter.NewWriter(t, 0, 0, 2, ' ', tabwriter.AlignRight)
			write(tw)
			tw.Flush() // the error stays in the buffer and comes with its Flush
			fmt.Fprintln(t)
		}
	}
	byRule := r.byRule()
	table(len(byRule), func(tw *tabwriter.Writer) {
		fmt.Fprintf(tw, "\ndeny\twarn\t`sixgate fix`\t  rule\n")
		for _, c := range byRule {
			fmt.Fprintf(tw, "%d\t%d\t%d\t  %s\n", c.deny, c.warn, c.fixable, c.rule)
		}
	})
	namespaces := r.namespaceRows()
	table(len(namespaces), func(tw *tabwriter.Writer) {
		fmt.Fprintf(tw, "deny\twarn\tready\tworkloads\t  namespace\n")
		for _, n := range namespaces {
			fmt.Fprintf(tw, "%d\t%d\t%d\t%d\t  %s\n", n.Deny, n.Warn, n.Ready, n.Workloads, Printable(n.name))
		}
	})
}

type text struct {
	*bufio.Writer
	color bool
}

func (t *text) finding(f *Finding) {
	message := f.line
	if f.Repaired {
		message += " (" + f.repair + ")"
	}
	t.line(f.At, f.Level, message)
	t.excerpt(f)
}

// excerpt writes the source line with a caret below it.
func (t *text) excerpt(f *Finding) {
	if strings.TrimSpace(f.source) != "" {
		fmt.Fprintf(t, "%s\n%s\n", Printable(f.source), t.paint(green, f.caret))
	}
	if f.origin != "" {
		fmt.Fprintf(t, "  in %s\n", Printable(f.origin))
	}
}

func (t *text) line(at At, label, message string) { t.label(at, colors[label], label, message) }

func (t *text) label(at At, color, label, message string) {
	where := at.stored() + ":"
	if at.Line > 0 {
		where = fmt.Sprintf("%s:%d:%d:", Printable(at.File), at.Line, at.Column)
	}
	fmt.Fprintf(t, "%s %s %s\n", t.paint(bold, where), t.paint(color, label+":"), Printable(message))
}

// The SGR parameters of ECMA-48.
const (
	bold  = "1"
	green = "1;32"
)

var colors = map[string]string{"deny": "1;31", "warn": "1;33", Changed: "1;36", "skipped": "2"}

func (t *text) paint(code, s string) string {
	if !t.color {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// excerpt cuts a source line to the part around a 1-based column, and returns the line with the caret that goes below it.
// Tabs stand before the caret too, so that it stays under its column whatever their width.
func excerpt(source string, column int) (line, caret string) {
	r := []rune(source)
	at := min(max(column-1, 0), len(r))
	head, tail := "", ""
	if len(r) > maxSource {
		from := max(min(at-maxSource/2, len(r)-maxSource), 0)
		to := from + maxSource
		if to < len(r) {
			tail = "…"
		}
		if from > 0 {
			head = "…"
		}
		r, at = r[from:to], at-from
	}
	line = head + string(r) + tail
	var b strings.Builder
	for _, c := range head + string(r[:at]) {
		if c != '\t' {
			c = ' '
		}
		b.WriteRune(c)
	}
	return line, b.String() + "^"
}

// Printable replaces what a terminal would obey: control characters other than tab, and what reorders text.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// String is the one line of counts at the end of a text report.
func (s *Summary) String() string {
	var b strings.Builder
	b.WriteString(count(s.Audited, "object"))
	if !s.cluster {
		b.WriteString(" in " + count(s.Files, "file"))
	}
	fmt.Fprintf(&b, " audited: %d denied, %d changed, %d warned, %d clean; %d deny and %d warn findings",
		s.Denied, s.Changed, s.Warned, s.Clean, s.ByLevel["deny"], s.ByLevel["warn"])
	also := func(n int, one, many string) {
		if n == 1 {
			b.WriteString("; 1 " + one)
		} else if n > 1 {
			b.WriteString("; " + strconv.Itoa(n) + " " + many)
		}
	}
	also(s.Skipped, "skipped rule", "skipped rules")
	switch annotation, exception := s.SkippedBy[ByAnnotation], s.SkippedBy[ByException]; {
	case annotation > 0 && exception > 0:
		fmt.Fprintf(&b, " (%d by annotation, %d by exception)", annotation, exception)
	case annotation > 0:
		b.WriteString(" (by annotation)")
	case exception > 0:
		b.WriteString(" (by exception)")
	}
	also(s.Exceptions[ExceptionExpired], "expired exception", "expired exceptions")
	also(s.Exceptions[ExceptionUnused], "unused exception", "unused exceptions")
	also(s.Exceptions[ExceptionUnmatched], "exception for objects that are not here", "exceptions for objects that are not here")
	also(s.Known, "known finding of the baseline", "known findings of the baseline")
	if s.ExitCode != 3 { // else they may be in what could not be read
		advice := ", write it again"
		switch {
		case s.Findings > 0: // which would be known then
			advice = ""
		case s.Gone > s.GoneAudited:
			advice += " from all manifests"
		}
		also(s.GoneAudited, "of the baseline is gone"+advice, "of the baseline are gone"+advice)
	}
	also(s.Gone-s.GoneAudited, "of the baseline is in an object that is not here", "of the baseline are in objects that are not here")
	also(s.Objects-s.Audited-s.Excluded, "object of another kind", "objects of other kinds")
	also(s.Excluded, "object excluded by the policy", "objects excluded by the policy")
	also(s.NotObjects, "document that is not a Kubernetes object", "documents that are not Kubernetes objects")
	also(s.Errors, "error", "errors")
	return b.String()
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// String is an error as one line: "file:line:column: message"; the message alone, with what was tried, where no line is known.
func (e *Error) String() string {
	switch {
	case e.Line == 0:
		return Printable(fmt.Sprintf("sixgate: read %s: %s", e.File, e.Message))
	case e.Column == 0:
		return Printable(fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message))
	}
	return Printable(fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message))
}
