package report

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

// GitHub shows 10 errors and 10 warnings of one step as annotations; the log has all (docs.github.com, "Workflow commands";
// actions/runner, limits of annotations).
const maxGitHubAnnotations = 10

// gitHubData and gitHubProperty escape as actions/toolkit does (packages/core/src/command.ts).
var (
	gitHubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	gitHubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// writeGitHub writes workflow commands: GitHub shows them beside the lines of a change.
func (r *Report) writeGitHub(w io.Writer, o Options) error {
	b := bufio.NewWriter(w)
	command := func(name, file, template string, line, column int, title, message string) {
		file, line, column = o.location(file, template, line, column)
		fmt.Fprintf(b, "::%s ", name)
		if file != stdin {
			fmt.Fprintf(b, "file=%s,", gitHubProperty.Replace(Printable(o.relative(file))))
			if line > 0 {
				fmt.Fprintf(b, "line=%d,", line)
			}
			if column > 0 {
				fmt.Fprintf(b, "col=%d,", column)
			}
		}
		fmt.Fprintf(b, "title=%s::%s\n", gitHubProperty.Replace(Printable(title)), gitHubData.Replace(Printable(message)))
	}
	errors, warnings := 0, 0
	for i := range r.Errors {
		e := &r.Errors[i]
		name := "error"
		if e.Audited {
			name = "warning"
			warnings++
		} else {
			errors++
		}
		command(name, e.File, "", e.Line, e.Column, "sixgate: not read", e.String())
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		name := "warning"
		if f.Level == rules.Deny.String() {
			name = "error"
			errors++
		} else {
			warnings++
		}
		command(name, f.File, f.Template, f.Line, f.Column, f.object(), f.line)
	}
	summary := r.Summary.String()
	if ready := r.Summary.Readiness.String(); ready != "" {
		summary += ". " + ready
	}
	if left := max(errors-maxGitHubAnnotations, 0) + max(warnings-maxGitHubAnnotations, 0); left > 0 {
		summary += fmt.Sprintf(". GitHub shows %d errors and %d warnings of a step beside the lines: %d more are in this log", maxGitHubAnnotations, maxGitHubAnnotations, left)
	}
	command("notice", stdin, "", 0, 0, "sixgate", summary)
	return b.Flush()
}

// A gitLabIssue is one element of GitLab's Code Quality report (docs.gitlab.com, "Code Quality", custom tools).
type gitLabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"` // info, minor, major, critical or blocker
	Location    gitLabLocation `json:"location"`
}

type gitLabLocation struct {
	Path  string `json:"path"`
	Lines struct {
		Begin int `json:"begin"`
	} `json:"lines"`
}

// writeGitLab writes GitLab's Code Quality report: one list, for artifacts:reports:codequality.
func (r *Report) writeGitLab(w io.Writer, o Options) error {
	s := &stream{w: w}
	s.text("[")
	n := 0
	issue := func(i gitLabIssue, file, template string, line int) {
		file, line, _ = o.location(file, template, line, 0)
		i.Location.Path, i.Location.Lines.Begin = o.relative(file), max(line, 1)
		s.separate(n)
		s.json(i)
		n++
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		severity := "critical"
		if e.Audited {
			severity = "minor"
		}
		issue(gitLabIssue{
			Description: Printable(e.Message), CheckName: "not-read", Severity: severity,
			Fingerprint: hash(fmt.Sprintf("%q", []string{o.relative(e.File), e.Message, fmt.Sprint(e.Line, e.Column, i)})),
		}, e.File, "", e.Line)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		severity := "minor"
		if f.Level == rules.Deny.String() {
			severity = "critical"
		}
		issue(gitLabIssue{Description: f.object() + ": " + Printable(f.line), CheckName: f.Rule, Fingerprint: f.Fingerprint, Severity: severity}, f.File, f.Template, f.Line)
	}
	s.text("\n]\n")
	return s.err
}

// The parts of JUnit's XML that all readers know (jenkins-junit.xsd in testdata).
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string      `xml:"name,attr"`
		ClassName string      `xml:"classname,attr"`
		Skipped   *string     `xml:"skipped"`
		Error     *junitFault `xml:"error"`
		Failure   *junitFault `xml:"failure"`
		Out       string      `xml:"system-out,omitempty"`
	}
	junitFault struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit writes one suite for each file, in it one failed case for each finding and one passed case for each object
// without. Findings below Options.FailOn pass, with the message as their output.
func (r *Report) writeJUnit(w io.Writer, o Options) error {
	failures, errors, tests := 0, 0, 0
	suites, order := map[string]*junitSuite{}, []string{}
	suite := func(file string) *junitSuite {
		if suites[file] == nil {
			suites[file] = &junitSuite{Name: o.relative(file)}
			order = append(order, file)
		}
		return suites[file]
	}
	found := map[string]bool{}
	for i := range r.Findings {
		f := &r.Findings[i]
		found[fmt.Sprint(f.File, f.Document, f.Item)] = true
	}
	for i := range r.Objects {
		obj := &r.Objects[i]
		s := suite(obj.File)
		if !found[fmt.Sprint(obj.File, obj.Document, obj.Item)] {
			s.Cases = append(s.Cases, junitCase{Name: obj.object(), ClassName: s.Name})
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		s := suite(f.File)
		c := junitCase{Name: f.object() + ": " + f.where + " [" + f.Rule + "]", ClassName: s.Name}
		text := fmt.Sprintf("%s: %s: %s\n%s\n%s", f.place(), f.Level, f.line, f.source, rulePage(f.Rule))
		if o.FailOn != rules.None && level(f.Level) >= o.FailOn {
			c.Failure = &junitFault{Type: f.Rule, Message: f.Message, Text: text}
			s.Failures++
			failures++
		} else {
			c.Out = text
		}
		s.Cases = append(s.Cases, c)
	}
	for i := range r.Skipped {
		k := &r.Skipped[i]
		s := suite(k.File)
		s.Skipped++
		s.Cases = append(s.Cases, junitCase{Name: k.object() + " [" + k.Rule + "]", ClassName: s.Name, Skipped: &k.Reason})
	}
	for i := range r.Errors {
		e := &r.Errors[i]
		s := suite(e.File)
		s.Errors++
		errors++
		s.Cases = append(s.Cases, junitCase{Name: fmt.Sprintf("line %d", e.Line), ClassName: s.Name, Error: &junitFault{Type: "not-read", Message: e.Message, Text: e.String()}})
	}
	for _, s := range suites {
		s.Tests = len(s.Cases)
		tests += s.Tests
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s<testsuites name=\"sixgate\" tests=\"%d\" failures=\"%d\" errors=\"%d\">\n", xml.Header, tests, failures, errors)
	enc := xml.NewEncoder(b)
	enc.Indent("  ", "  ")
	for _, file := range order {
		if err := enc.Encode(suites[file]); err != nil {
			return err
		}
	}
	b.WriteString("\n</testsuites>\n")
	return b.Flush()
}
