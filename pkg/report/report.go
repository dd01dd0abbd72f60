// Package report is what an audit found, and how it is written: as text for people and as JSON for programs. The JSON is a
// contract: docs/audit-json.md.
package report

import (
	"cmp"
	"slices"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/rules"
)

// Version and Kind head every report.
const (
	Version = "sixgate.io/v1alpha1"
	Kind    = "AuditReport"
)

// Outcomes: what the webhook does with an object that is created.
const (
	Denied  = "denied"
	Changed = "changed"
	Warned  = "warned"
	Clean   = "clean"
)

// A Report is the result of one audit.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Findings   []Finding `json:"findings"`
	Objects    []Object  `json:"objects"` // those that rules look at
	Skipped    []Skipped `json:"skipped"`
	Errors     []Error   `json:"errors"`
	Summary    Summary   `json:"summary"`

	// Brief: clean objects are counted and not listed, for forms that do not show them; an input may have millions.
	Brief bool `json:"-"`
	clean int  // that are not listed
}

// At is a place in the input and the object there.
type At struct {
	File      string `json:"file"`
	Document  int    `json:"document"` // 1-based
	Item      int    `json:"item"`     // 1-based position in a List, else 0
	Line      int    `json:"line"`
	Column    int    `json:"column"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"` // that of the request; "" for a cluster-wide object
	Name      string `json:"name"`
}

// A Finding is one fault of an object as it is written.
type Finding struct {
	At
	Rule     string `json:"rule"`
	Level    string `json:"level"` // warn or deny
	Path     string `json:"path"`
	Message  string `json:"message"`
	Fixable  bool   `json:"fixable"`
	Repaired bool   `json:"repaired"` // by the webhook: in this object, or in the Pods of a template
	// Where people change it, who do not write the manifest: the chart and template that rendered it, and the chart values to set.
	Chart    string   `json:"chart"`
	Template string   `json:"template"`
	Values   []string `json:"values"`

	origin string

	line, source, caret, repair string // the text form
}

// An Object is what the webhook does with one object.
type Object struct {
	At
	Outcome string                `json:"outcome"`
	Changes []string              `json:"changes"`
	Patch   []jsonpatch.Operation `json:"patch"` // RFC 6902

	changes []At // where each change is
}

// A Skipped rule did not look at an object, because somebody said so.
type Skipped struct {
	At
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// An Error is an input, or a part of one, that could not be audited.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`   // 0: unknown
	Column  int    `json:"column"` // 0: unknown
	Message string `json:"message"`
	// Audited: the object was audited all the same, as the API server would take it. Such an error does not count for the exit code.
	Audited bool `json:"audited"`
}

// A Summary counts.
type Summary struct {
	Files      int            `json:"files"`      // read
	Objects    int            `json:"objects"`    // in them, of every kind
	Audited    int            `json:"audited"`    // that rules looked at: the sum of the four outcomes
	Denied     int            `json:"denied"`     //
	Changed    int            `json:"changed"`    //
	Warned     int            `json:"warned"`     //
	Clean      int            `json:"clean"`      //
	Excluded   int            `json:"excluded"`   // by the policy
	NotObjects int            `json:"notObjects"` // documents without apiVersion or kind
	Findings   int            `json:"findings"`
	Repaired   int            `json:"repaired"` // of the findings
	ByLevel    map[string]int `json:"byLevel"`
	ByRule     map[string]int `json:"byRule"`
	Skipped    int            `json:"skipped"`
	Errors     int            `json:"errors"`
	ExitCode   int            `json:"exitCode"`
}

// New returns an empty report.
func New() *Report {
	return &Report{
		APIVersion: Version, Kind: Kind,
		Findings: []Finding{}, Objects: []Object{}, Skipped: []Skipped{}, Errors: []Error{},
	}
}

// Where is the place of an object; namespace is "" for a cluster-wide one.
func Where(doc *manifest.Document, namespace string) At {
	return At{
		File: doc.File, Document: doc.Number, Item: doc.Item,
		Line: doc.Line, Column: doc.Column,
		Kind: doc.Object.Kind(), Namespace: namespace, Name: doc.Object.Name(),
	}
}

// in is the place of a finding inside the object.
func (a At) in(doc *manifest.Document, f *rules.Finding) At {
	if f.Text.Line > 0 {
		a.Line, a.Column = doc.TextPosition(f.Path, f.Text)
	} else {
		a.Line, a.Column = doc.Position(f.Path)
	}
	return a
}

// AddFinding adds a fault of the object at a place.
func (r *Report) AddFinding(at At, doc *manifest.Document, f rules.Finding, by Repair) {
	at = at.in(doc, &f)
	var source, caret string
	if at.Kind != "Secret" { // whose text is nobody's business
		source, caret = excerpt(doc.SourceNear(at.Line, at.Column, maxSource+1))
	}
	from := rules.OriginOf(doc.Object, doc.Source, f.Rule.ID)
	if from.Values == nil {
		from.Values = []string{}
	}
	r.Findings = append(r.Findings, Finding{
		Chart: from.Chart, Template: from.Template, Values: from.Values, origin: from.String(),
		At: at, Rule: f.Rule.ID, Level: f.Level.String(), Path: f.Path.String(), Message: f.Message,
		Fixable: f.Fix != nil, Repaired: by != Nobody,
		line: f.String(), source: source, caret: caret, repair: string(by),
	})
}

// A Repair says what the webhook does about a finding.
type Repair string

// The webhook repairs the object itself, or the Pods that are made from it.
const (
	Nobody        Repair = ""
	RepairsObject Repair = "the webhook repairs this"
	RepairsPods   Repair = "the webhook repairs its Pods"
)

// AddObject adds what the webhook does with an object: the outcome, the findings whose fix it applies, and the patch.
func (r *Report) AddObject(at At, doc *manifest.Document, outcome string, changed []rules.Finding, patch []jsonpatch.Operation) {
	o := Object{At: at, Outcome: outcome, Changes: []string{}, Patch: patch}
	if patch == nil {
		o.Patch = []jsonpatch.Operation{}
	}
	for _, f := range changed {
		line := f.String()
		if f.Changed != "" {
			line = f.ChangedString()
		}
		o.Changes, o.changes = append(o.Changes, line), append(o.changes, at.in(doc, &f))
	}
	if r.Brief && outcome == Clean {
		r.clean++
	} else {
		r.Objects = append(r.Objects, o)
	}
}

// Finish sorts the report and counts. Exit code 3: something could not be audited; 1: a finding is at failOn or above, unless
// that is rules.None; 0: neither. Files, Objects, Excluded and NotObjects are counted by the caller.
func (r *Report) Finish(failOn rules.Level) {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return a.compare(b.At) })
	slices.SortStableFunc(r.Objects, func(a, b Object) int { return a.compare(b.At) })
	slices.SortStableFunc(r.Skipped, func(a, b Skipped) int { return a.compare(b.At) })
	slices.SortStableFunc(r.Errors, func(a, b Error) int {
		return At{File: a.File, Line: a.Line, Column: a.Column}.compare(At{File: b.File, Line: b.Line, Column: b.Column})
	})
	s := &r.Summary
	s.Clean = r.clean
	s.Audited, s.Findings, s.Skipped, s.Errors = len(r.Objects)+r.clean, len(r.Findings), len(r.Skipped), len(r.Errors)
	for _, o := range r.Objects {
		switch o.Outcome {
		case Denied:
			s.Denied++
		case Changed:
			s.Changed++
		case Warned:
			s.Warned++
		default:
			s.Clean++
		}
	}
	s.ByLevel, s.ByRule = map[string]int{rules.Deny.String(): 0, rules.Warn.String(): 0}, map[string]int{}
	for _, f := range r.Findings {
		s.ByLevel[f.Level]++
		s.ByRule[f.Rule]++
		if f.Repaired {
			s.Repaired++
		}
		if level, err := rules.ParseLevel(f.Level); err == nil && failOn != rules.None && level >= failOn {
			s.ExitCode = 1
		}
	}
	if slices.ContainsFunc(r.Errors, func(e Error) bool { return !e.Audited }) {
		s.ExitCode = 3
	}
}

func (a At) compare(b At) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}
