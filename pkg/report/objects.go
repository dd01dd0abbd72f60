package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// What the reports on single objects carry, by which `sixgate audit --cluster --write-reports` knows its own.
const (
	ObjectReportLabel  = "sixgate.io/report" // with the value "object"
	ObjectReportDigest = "sixgate.io/digest" // annotation: hash of the rest
)

// An ObjectReport is the report on one object of a cluster. The object owns it, so that they are deleted together.
type ObjectReport struct {
	Namespace, Name string // of the report
	at              *At
	findings        []*Finding
	skipped         []*Skipped
}

// ObjectReports returns a report for each object of a cluster with a finding, or with an opt-out or exception that hides one, sorted.
// The report is finished.
func (r *Report) ObjectReports() []*ObjectReport {
	byUID := map[string]*ObjectReport{}
	of := func(at *At) *ObjectReport {
		o := byUID[at.uid]
		if o == nil {
			o = &ObjectReport{Namespace: at.Namespace, Name: "sixgate-" + at.uid, at: at}
			byUID[at.uid] = o
		}
		return o
	}
	for i := range r.Findings {
		if f := &r.Findings[i]; f.uid != "" {
			o := of(&f.At)
			o.findings = append(o.findings, f)
		}
	}
	for i := range r.Skipped {
		if s := &r.Skipped[i]; s.uid != "" && s.Hides > 0 {
			o := of(&s.At)
			o.skipped = append(o.skipped, s)
		}
	}
	out := make([]*ObjectReport, 0, len(byUID))
	for _, o := range byUID {
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b *ObjectReport) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// JSON is the report as an object of an API, and its digest. It has no time: the same findings are the same bytes. What is more than
// 200 KiB is counted and left out, what is denied last.
func (o *ObjectReport) JSON(api PolicyAPI) (data []byte, digest string, err error) {
	findings := slices.Clone(o.findings)
	slices.SortStableFunc(findings, func(a, b *Finding) int { return cmp.Compare(a.Level, b.Level) }) // deny before warn
	var results []openreports.ReportResult
	for _, f := range findings {
		results = append(results, f.result())
	}
	for _, s := range o.skipped {
		results = append(results, s.result())
	}
	report := api.report(o.Namespace, results)
	n, err := fits(results)
	if err != nil {
		return nil, "", err
	}
	if left := len(results) - n; left > 0 {
		more := newResult("")
		more.Result, more.Severity = "warn", "medium"
		more.Description = fmt.Sprintf("%d more are left out of this report: sixgate audit --cluster", left)
		report.Results = append(results[:n:n], more)
	}
	report.Name = o.Name
	report.Labels[ObjectReportLabel] = "object"
	report.OwnerReferences = []metav1.OwnerReference{{APIVersion: o.at.apiVersion, Kind: o.at.Kind, Name: o.at.Name, UID: types.UID(o.at.uid)}}
	scope := o.at.reference()
	scope.UID = types.UID(o.at.uid)
	report.Scope = &scope
	if data, err = json.Marshal(api.object(report)); err != nil {
		return nil, "", err
	}
	digest = hash(string(data))
	report.Annotations = map[string]string{ObjectReportDigest: digest}
	data, err = json.Marshal(api.object(report))
	return data, digest, err
}
