package report

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"html/template"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"golang.org/x/text/runes"
	"golang.org/x/text/transform"

	"github.com/sixgate/sixgate/pkg/rules"
)

var (
	//go:embed html/report.html
	htmlPage string
	//go:embed html/report.css
	htmlStyle string
	//go:embed html/report.js
	htmlScript string
)

const (
	shownNamespaces = 12  // before "Show more"
	maxHTMLList     = 500 // errors, and skipped rules
	// clusterWide is the value of a filter: no namespace can have this name.
	clusterWide = "(cluster-wide)"
)

// A htmlPart is a piece of a bar or ring, in percent of its length.
type htmlPart struct {
	Class, Label  string
	Count         int
	Start, Length float64
}

type htmlBar struct{ Parts []htmlPart }

type htmlRule struct {
	ID, Title           string
	Deny, Warn, Fixable int
	Bar                 htmlBar
}

type htmlNamespace struct {
	Name, Shown                  string
	Ready, Workloads, Deny, Warn int
	Bar                          htmlBar
	More                         bool
}

type htmlSkipped struct{ Object, Rule, Page, Reason, Place, Link string }

// A htmlFinding is what the script of the page gets.
type htmlFinding struct {
	Level     string `json:"level"`
	Rule      string `json:"rule"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Where     string `json:"where"`
	Message   string `json:"message"`
	File      string `json:"file"`
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	Fixable   bool   `json:"fixable,omitempty"`
	Repair    string `json:"repair,omitempty"`
	Source    string `json:"source,omitempty"`
	Caret     string `json:"caret,omitempty"`
	Link      string `json:"link,omitempty"`
}

// writeHTML writes one page for a browser that loads nothing else, also not by mistake: its policy (CSP) allows the two scripts and
// styles in it by their hashes. The list of findings is drawn page by page, so that 10,000 of them are no burden.
func (r *Report) writeHTML(w io.Writer, o Options) error {
	s := &r.Summary
	page, err := template.New("report").Funcs(template.FuncMap{"count": count, "number": number}).Parse(htmlPage)
	if err != nil {
		return err
	}
	byRule := r.byRule()
	fixable := 0
	for _, c := range byRule {
		fixable += c.fixable
	}
	percent := "–"
	if n := s.Readiness.Workloads; n > 0 {
		percent = strconv.Itoa(s.Readiness.Ready*100/n) + " %" // rounded down: 100 % is all of them
	}
	errs := make([]string, 0, min(len(r.Errors), maxHTMLList))
	for i := range r.Errors[:cap(errs)] {
		errs = append(errs, r.Errors[i].String())
	}
	skipped := make([]htmlSkipped, 0, min(len(r.Skipped), maxHTMLList))
	for i := range r.Skipped[:cap(skipped)] {
		k := &r.Skipped[i]
		skipped = append(skipped, htmlSkipped{k.object(), k.Rule, rulePage(k.Rule), k.Reason, k.place(), o.linkTo(k.At, "")})
	}
	namespaces := r.htmlNamespaces()
	type name struct{ Value, Shown string }
	var names []name
	for _, n := range namespaces {
		names = append(names, name{n.Name, n.Shown})
	}
	slices.SortFunc(names, func(a, b name) int { return cmp.Compare(a.Shown, b.Shown) })
	valid := transform.NewWriter(w, runes.Map(func(r rune) rune { // a name of a file may be any bytes
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}))
	b := bufio.NewWriter(valid)
	err = page.Execute(b, map[string]any{
		"Policy": "default-src 'none'; style-src " + cspHash(htmlStyle) + "; script-src " + cspHash(htmlScript) +
			"; img-src data:; base-uri 'none'; form-action 'none'",
		"Style":   template.HTML("<style>" + htmlStyle + "</style>"),    // #nosec G203 -- ours, a constant
		"Script":  template.HTML("<script>" + htmlScript + "</script>"), // #nosec G203 -- ours, a constant
		"Version": o.Version, "Site": Site, "Summary": s, "Verdict": r.verdict(), "Readiness": strings.ReplaceAll(s.Readiness.String(), "`", ""), "Percent": percent,
		"Donut": ring(s.Readiness.Workloads,
			htmlPart{Class: "ok", Label: "ready", Count: s.Readiness.Ready - s.Readiness.Warned},
			htmlPart{Class: "warn", Label: "ready, with warnings", Count: s.Readiness.Warned},
			htmlPart{Class: "fix", Label: "after sixgate fix", Count: s.Readiness.ReadyAfterFix},
			htmlPart{Class: "deny", Label: "for a person", Count: s.Readiness.NeedPerson}),
		"Outcome": htmlBar{ring(s.Audited,
			htmlPart{Class: "ok", Label: "accepted as they are", Count: s.Clean},
			htmlPart{Class: "fix", Label: "repaired and accepted", Count: s.Changed},
			htmlPart{Class: "warn", Label: "accepted with a warning", Count: s.Warned},
			htmlPart{Class: "deny", Label: "refused", Count: s.Denied})},
		"Fixable": fixable, "Rules": htmlRules(byRule), "Namespaces": namespaces, "NamespaceNames": names,
		"WebhookLeft":    len(byRule) <= min(len(namespaces), shownNamespaces), // below the shorter table
		"MoreNamespaces": max(len(namespaces)-shownNamespaces, 0),
		"Errors":         errs, "MoreErrors": len(r.Errors) - len(errs), "Skipped": skipped, "MoreSkipped": len(r.Skipped) - len(skipped),
		"Data": map[string]any{"pages": strings.TrimSuffix(rulePage(""), ".md"), "clusterWide": clusterWide, "findings": r.htmlFindings(&o)},
	})
	if err != nil {
		return err
	}
	return errors.Join(b.Flush(), valid.Close())
}

func cspHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// number groups digits, as the script does.
func number(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// verdict is the report in a few words.
func (r *Report) verdict() string {
	s := &r.Summary
	denied := s.ByLevel[rules.Deny.String()]
	switch {
	case denied == 1:
		return "1 fault on an IPv6-only cluster"
	case denied > 1:
		return number(denied) + " faults on an IPv6-only cluster"
	case s.ExitCode == 3:
		return "Not everything could be read"
	case s.ByLevel[rules.Warn.String()] > 0 && s.Known > 0:
		return "Only warnings beside what the baseline has"
	case s.Known > 0:
		return "Nothing but what the baseline has"
	case s.ByLevel[rules.Warn.String()] > 0:
		return "Only warnings for an IPv6-only cluster"
	}
	return "Nothing stands against an IPv6-only cluster"
}

// ring lays parts one after the other; total is the whole length. Parts without length are left out.
func ring(total int, parts ...htmlPart) []htmlPart {
	var out []htmlPart
	start := 0.0
	for _, p := range parts {
		if p.Count == 0 || total == 0 {
			continue
		}
		p.Start, p.Length = start, float64(p.Count)*100/float64(total)
		start += p.Length
		out = append(out, p)
	}
	return out
}

func htmlRules(counts []ruleCount) []htmlRule {
	titles := map[string]string{}
	for _, r := range rules.All() {
		titles[r.ID] = r.Title
	}
	var out []htmlRule
	for _, c := range counts {
		most := counts[0].deny + counts[0].warn
		out = append(out, htmlRule{c.rule, titles[c.rule], c.deny, c.warn, c.fixable,
			htmlBar{ring(most, htmlPart{Class: "deny", Count: c.deny}, htmlPart{Class: "warn", Count: c.warn})}})
	}
	return out
}

// htmlNamespaces are the namespaces, those with most findings first.
func (r *Report) htmlNamespaces() []htmlNamespace {
	names := slices.Sorted(maps.Keys(r.Summary.ByNamespace))
	slices.SortStableFunc(names, func(a, b string) int {
		x, y := r.Summary.ByNamespace[a], r.Summary.ByNamespace[b]
		return cmp.Compare(y.Deny+y.Warn, x.Deny+x.Warn)
	})
	var out []htmlNamespace
	for i, name := range names {
		n := r.Summary.ByNamespace[name]
		most := r.Summary.ByNamespace[names[0]].Deny + r.Summary.ByNamespace[names[0]].Warn
		value := name
		if name == "" {
			value = clusterWide
		}
		out = append(out, htmlNamespace{value, namespaceName(name), n.Ready, n.Workloads, n.Deny, n.Warn,
			htmlBar{ring(most, htmlPart{Class: "deny", Count: n.Deny}, htmlPart{Class: "warn", Count: n.Warn})}, i >= shownNamespaces})
	}
	return out
}

func (r *Report) htmlFindings(o *Options) []htmlFinding {
	out := make([]htmlFinding, 0, len(r.Findings))
	for _, f := range r.worst() {
		h := htmlFinding{
			Level: f.Level, Rule: f.Rule, Kind: f.Kind, Namespace: f.Namespace, Name: f.Name, Where: f.where, Message: f.Message,
			File: f.File, Line: f.Line, Column: f.Column, Fixable: f.Fixable, Link: o.linkTo(f.At, f.Template),
		}
		if f.Repaired {
			h.Repair = f.repair
		}
		if strings.TrimSpace(f.source) != "" {
			// The indentation says nothing here: the caret keeps its place relative to the text.
			indent := 0
			for indent < min(len(f.source), len(f.caret)) && f.source[indent] == f.caret[indent] {
				indent++
			}
			h.Source, h.Caret = f.source[indent:], f.caret[indent:]
		}
		out = append(out, h)
	}
	return out
}
