// Package report is what an audit found, and how it is written: for people, for programs and for the systems that people
// read findings in. docs/audit.md has the formats; the JSON is a contract: docs/audit-json.md.
package report

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
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

// A Report is the result of one audit. The jsonschema tags are the descriptions of docs/schema/report-v1.json.
type Report struct {
	APIVersion string      `json:"apiVersion" jsonschema:"version of this format"`
	Kind       string      `json:"kind" jsonschema:"AuditReport"`
	Findings   []Finding   `json:"findings" jsonschema:"faults of level warn or deny in the objects as they are written, sorted by file, line and column"`
	Known      []Finding   `json:"known" jsonschema:"what would be findings if the baseline did not have them"`
	Gone       []Gone      `json:"gone" jsonschema:"entries of the baseline that were not found"`
	Objects    []Object    `json:"objects" jsonschema:"what the webhook does with each object that a rule looks at, when it is created"`
	Skipped    []Skipped   `json:"skipped" jsonschema:"rules that did not look at an object, because somebody said so"`
	Exceptions []Exception `json:"exceptions" jsonschema:"exceptions of the policy, and what they were good for"`
	Errors     []Error     `json:"errors" jsonschema:"what could not be read"`
	Summary    Summary     `json:"summary" jsonschema:"counts"`

	// Brief: clean objects are counted and not listed, for forms that do not show them; an input may have millions.
	Brief bool `json:"-"`
	clean int  // that are not listed

	workloads []workload
	services  []service
	baseline  Baseline
	audited   map[subject]*bool // the objects of the baseline, and whether they were there
	isPart    bool
	seen      []*bool // of a part: objects of the baseline that are there
}

// At is a place in the input and the object there.
type At struct {
	File      string `json:"file" jsonschema:"as given on the command line, below a folder the path from there; <stdin> for -"`
	Document  int    `json:"document" jsonschema:"the document of the file, from 1; empty ones do not count"`
	Item      int    `json:"item" jsonschema:"the object's position in a List, from 1; 0 for an object of its own"`
	Line      int    `json:"line" jsonschema:"from 1"`
	Column    int    `json:"column" jsonschema:"from 1, in characters"`
	Kind      string `json:"kind" jsonschema:"of the object"`
	Namespace string `json:"namespace" jsonschema:"that of the object, else of --namespace; empty for a cluster-wide object"`
	Name      string `json:"name" jsonschema:"metadata.name, else metadata.generateName"`

	apiVersion, uid string // of the object; the UID where it is stored in a cluster
}

// A Finding is one fault of an object as it is written.
type Finding struct {
	At
	Rule     string `json:"rule" jsonschema:"the ID of the rule; an ID is never reused"`
	Level    string `json:"level" jsonschema:"warn or deny, as the policy sets it"`
	Path     string `json:"path" jsonschema:"the field, such as spec.ipFamilies[0]"`
	Message  string `json:"message" jsonschema:"the fact; the way out. One line"`
	Fixable  bool   `json:"fixable" jsonschema:"sixgate fix has a repair for it"`
	Repaired bool   `json:"repaired" jsonschema:"the webhook applies that repair, to this object or to the Pods that are made from it"`
	// Fingerprint is the same while file, object, rule and value are, whatever moves around them.
	Fingerprint string `json:"fingerprint" jsonschema:"tells a finding from every other one of the report; the same while file, object, rule and value are, whichever line they move to"`
	// Where people change it, who do not write the manifest: the chart and template that rendered it, and the chart values to set.
	Chart    string   `json:"chart" jsonschema:"the chart that rendered the object, with its version where the object has a label for them; empty where that is not known"`
	Template string   `json:"template" jsonschema:"the template, from the comment # Source: that Helm writes; else empty"`
	Values   []string `json:"values" jsonschema:"what to set in the values of the chart that was installed, where that is known"`

	origin string // the same three, for people

	fault                       [2]string // subject and value
	where                       string    // the field, and the line of a configuration text in it
	line, source, caret, repair string    // the text form
}

// An Object is what the webhook does with one object.
type Object struct {
	At
	Outcome string                `json:"outcome" jsonschema:"denied, changed, warned or clean: the first that fits"`
	Changes []string              `json:"changes" jsonschema:"what the webhook changes or adds, one line each"`
	Patch   []jsonpatch.Operation `json:"patch" jsonschema:"the same as operations of RFC 6902"`

	changes []At // where each change is
}

// A Skipped rule did not look at an object, because somebody said so.
type Skipped struct {
	At
	Rule   string `json:"rule" jsonschema:"the rule that did not look"`
	Reason string `json:"reason" jsonschema:"from the annotation of the object, or the policy's exception with its owner"`
	By     string `json:"by" jsonschema:"annotation or exception"`
	Hides  int    `json:"hides" jsonschema:"what the rule would have said: findings, and additions of the webhook; 0: nothing, so it is not needed"`
}

// Who says that a rule is skipped: the object, or the policy.
const (
	ByAnnotation = "annotation"
	ByException  = "exception"
)

// An Error is an input, or a part of one, that could not be audited.
type Error struct {
	File    string `json:"file" jsonschema:"as given on the command line"`
	Line    int    `json:"line" jsonschema:"from 1; 0 where it is not known"`
	Column  int    `json:"column" jsonschema:"from 1; 0 where it is not known"`
	Message string `json:"message" jsonschema:"what is wrong. One line"`
	Audited bool   `json:"audited" jsonschema:"the object was audited all the same, as the API server would take it; this does not count for the exit code"`
}

// A Summary counts.
type Summary struct {
	Files       int                         `json:"files" jsonschema:"files that were read"`
	Objects     int                         `json:"objects" jsonschema:"Kubernetes objects in them, of every kind"`
	Audited     int                         `json:"audited" jsonschema:"objects that rules looked at: the sum of the four outcomes"`
	Denied      int                         `json:"denied" jsonschema:"objects with this outcome"`
	Changed     int                         `json:"changed" jsonschema:"objects with this outcome"`
	Warned      int                         `json:"warned" jsonschema:"objects with this outcome"`
	Clean       int                         `json:"clean" jsonschema:"objects with this outcome"`
	Excluded    int                         `json:"excluded" jsonschema:"objects that the policy excludes"`
	NotObjects  int                         `json:"notObjects" jsonschema:"documents without apiVersion or kind, such as Helm values"`
	Findings    int                         `json:"findings" jsonschema:"elements of findings"`
	Repaired    int                         `json:"repaired" jsonschema:"of these, the ones that the webhook repairs"`
	ByLevel     map[string]int              `json:"byLevel" jsonschema:"findings by level; deny and warn are always there"`
	ByRule      map[string]int              `json:"byRule" jsonschema:"findings by rule; only rules that have some"`
	ByNamespace map[string]NamespaceSummary `json:"byNamespace" jsonschema:"by namespace, the empty one for cluster-wide objects; only those with workloads or findings"`
	Readiness   Readiness                   `json:"readiness" jsonschema:"how far the migration is"`
	Skipped     int                         `json:"skipped" jsonschema:"elements of skipped"`
	SkippedBy   map[string]int              `json:"skippedBy" jsonschema:"the same by annotation and exception, which are always there"`
	Known       int                         `json:"known" jsonschema:"elements of known"`
	Gone        int                         `json:"gone" jsonschema:"faults of the baseline that were not found"`
	GoneAudited int                         `json:"goneAudited" jsonschema:"of these, the ones in objects that were audited"`
	Exceptions  map[string]int              `json:"exceptions" jsonschema:"exceptions of the policy by state: used, unused, unmatched and expired are always there"`
	Errors      int                         `json:"errors" jsonschema:"elements of errors"`
	ExitCode    int                         `json:"exitCode" jsonschema:"the exit code of the program"`

	cluster bool // the objects are not of files
}

// A NamespaceSummary counts what is in one namespace.
type NamespaceSummary struct {
	Deny int `json:"deny" jsonschema:"findings of this level"`
	Warn int `json:"warn" jsonschema:"findings of this level"`
	Readiness
}

// New returns an empty report.
func New() *Report {
	return &Report{
		APIVersion: Version, Kind: Kind,
		Findings: []Finding{}, Objects: []Object{}, Skipped: []Skipped{}, Errors: []Error{},
		Known: []Finding{}, Gone: []Gone{}, Exceptions: []Exception{},
	}
}

// Part returns an empty report for a part of the input, so that several parts can be audited at the same time. Merge takes it back.
func (r *Report) Part() *Report {
	part := New()
	part.Brief, part.audited, part.isPart = r.Brief, r.audited, true
	for _, e := range r.Exceptions {
		if e.Hides = 0; e.State != ExceptionExpired {
			e.State = ExceptionUnmatched
		}
		part.Exceptions = append(part.Exceptions, e)
	}
	return part
}

// Merge adds what a part has.
func (r *Report) Merge(part *Report) {
	r.Findings = append(r.Findings, part.Findings...)
	r.Objects = append(r.Objects, part.Objects...)
	r.Skipped = append(r.Skipped, part.Skipped...)
	r.workloads = append(r.workloads, part.workloads...)
	r.services = append(r.services, part.services...)
	r.clean += part.clean
	r.Summary.Excluded += part.Summary.Excluded
	for _, seen := range part.seen {
		*seen = true
	}
	for i := range part.Exceptions {
		r.Exceptions[i].merge(&part.Exceptions[i])
	}
}

// Where is the place of an object; namespace is "" for a cluster-wide one.
func Where(doc *manifest.Document, namespace string) At {
	return At{
		File: doc.File, Document: doc.Number, Item: doc.Item,
		Line: doc.Line, Column: doc.Column,
		Kind: doc.Object.Kind(), Namespace: namespace, Name: doc.Object.Name(), apiVersion: doc.Object.APIVersion(),
		uid: doc.Object.Str("metadata", "uid"),
	}
}

// in is the place of a finding inside the object.
func (a At) in(doc *manifest.Document, f *rules.Finding) At {
	a.Line, a.Column = doc.TextPosition(f.Path, f.Text)
	return a
}

// AddFinding adds a fault of the object at a place.
func (r *Report) AddFinding(at At, doc *manifest.Document, f rules.Finding, by Repair) {
	at = at.in(doc, &f)
	where := f.Path.String()
	if f.Text.Line > 0 {
		where += fmt.Sprintf(":%d", f.Text.Line)
	}
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
		Fixable: f.Fix != nil, Repaired: by != Nobody, fault: [2]string{f.Subject, f.Value}, where: where,
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

// AddObject adds what the webhook does with an object: the outcome, the findings whose fix it applies, and the patch. The faults of
// the object have been added.
func (r *Report) AddObject(at At, doc *manifest.Document, outcome string, changed []rules.Finding, patch []jsonpatch.Operation) {
	o := Object{At: at, Outcome: outcome, Changes: []string{}, Patch: patch}
	if patch == nil {
		o.Patch = []jsonpatch.Operation{}
	}
	for _, f := range changed {
		o.Changes, o.changes = append(o.Changes, f.ChangedString()), append(o.changes, at.in(doc, &f))
	}
	if r.Brief && outcome == Clean {
		r.clean++
	} else {
		r.Objects = append(r.Objects, o)
	}
	r.see(at.subject())
	if w, ok := rules.WorkloadOf(doc.Object); ok {
		r.workloads = append(r.workloads, newWorkload(at, w))
	} else if n := len(r.Findings); n > 0 && r.Findings[n-1].document() == at.document() {
		if selector := rules.ServiceSelector(doc.Object); selector != nil {
			r.services = append(r.services, service{at, selector})
		}
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
	r.setFingerprints()
	r.applyBaseline()
	r.countReadiness()
	s := &r.Summary
	s.Clean = r.clean
	s.Known = len(r.Known)
	s.SkippedBy = map[string]int{ByAnnotation: 0, ByException: 0}
	for _, k := range r.Skipped {
		s.SkippedBy[k.By]++
	}
	s.Exceptions = map[string]int{ExceptionUsed: 0, ExceptionUnused: 0, ExceptionUnmatched: 0, ExceptionExpired: 0}
	for _, e := range r.Exceptions {
		s.Exceptions[e.State]++
	}
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
		if failOn != rules.None && level(f.Level) >= failOn {
			s.ExitCode = 1
		}
	}
	if slices.ContainsFunc(r.Errors, func(e Error) bool { return !e.Audited }) {
		s.ExitCode = 3
	}
}

// setFingerprints tells findings apart by what they are about, never by line or index; equal ones by their order.
func (r *Report) setFingerprints() {
	seen := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		file := filepath.ToSlash(filepath.Clean(f.File))
		key := fmt.Sprintf("%q", []string{file, f.Kind, f.Namespace, f.Name, f.Rule, f.fault[0], f.fault[1]})
		seen[key]++
		f.Fingerprint = hash(fmt.Sprintf("%s %d", key, seen[key]))
	}
}

// hash shortens a text to 32 hexadecimal digits.
func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

func (a At) compare(b At) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
		cmp.Compare(a.Document, b.Document), cmp.Compare(a.Item, b.Item)) // an alias is where its anchor is
}
