package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A PolicyAPI is one of the two APIs for the reports of policy engines. They have the same fields, but for source, which the
// older one has in the results only. Those for cluster-wide objects have "Cluster" before the kind, "cluster" before the resource.
type PolicyAPI struct {
	Format         string // its name as a format of this package
	Group, Version string
	Kind, Resource string
	source         bool
}

var (
	openReports   = PolicyAPI{"openreports", "openreports.io", "v1alpha1", "Report", "reports", true}
	policyReports = PolicyAPI{"policyreport", "wgpolicyk8s.io", "v1alpha2", "PolicyReport", "policyreports", false}
)

// PolicyAPIs are both, the newer one first.
func PolicyAPIs() []PolicyAPI { return []PolicyAPI{openReports, policyReports} }

// maxReport bounds one report object in bytes: `kubectl apply` keeps a copy of the whole object in an annotation, and annotations
// have 256 KiB in all (k8s.io/apimachinery/pkg/api/validation, TotalAnnotationSizeLimitB).
const maxReport = 200 << 10

// writePolicyReports writes YAML documents for kubectl: a report for each namespace with an object that was audited, so that a
// repaired one loses its old findings, and one for cluster-wide objects; more than one where a report would be too large. A result
// has no time, so that the same findings are the same bytes.
func (r *Report) writePolicyReports(w io.Writer, o Options, api PolicyAPI) error {
	results, pass := map[string][]openreports.ReportResult{}, map[string]int{}
	for i := range r.Objects {
		o := &r.Objects[i]
		results[o.Namespace] = nil
		if o.Outcome == Clean {
			pass[o.Namespace]++
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		result := f.result()
		result.Subjects = []corev1.ObjectReference{f.reference()}
		result.Properties["file"], result.Properties["line"], result.Properties["column"] = o.relative(f.File), strconv.Itoa(f.Line), strconv.Itoa(f.Column)
		results[f.Namespace] = append(results[f.Namespace], result)
	}
	for i := range r.Skipped {
		s := &r.Skipped[i]
		result := s.result()
		result.Subjects = []corev1.ObjectReference{s.reference()}
		results[s.Namespace] = append(results[s.Namespace], result)
	}
	y := &yamlWriter{w: bufio.NewWriter(w)}
	first := true // a document
	for _, namespace := range slices.Sorted(maps.Keys(results)) {
		all := results[namespace]
		for part := 1; part == 1 || len(all) > 0; part++ {
			n, err := fits(all)
			if err != nil {
				return err
			}
			if !first {
				fmt.Fprintln(y.w, "---")
			}
			y.write(api.document(namespace, part, pass[namespace], all[:n]))
			first, all, pass[namespace] = false, all[n:], 0
		}
	}
	return errors.Join(y.err, y.w.Flush())
}

func newResult(rule string) openreports.ReportResult {
	return openreports.ReportResult{Source: "sixgate", Policy: "sixgate", Rule: rule, Category: "IPv6-only"}
}

// result is a finding without the object that has it.
func (f *Finding) result() openreports.ReportResult {
	result := newResult(f.Rule)
	result.Result, result.Severity, result.Scored = "warn", "medium", false
	if f.Level == rules.Deny.String() {
		result.Result, result.Severity, result.Scored = "fail", "high", true
	}
	result.Description = Printable(f.line)
	result.Properties = map[string]string{
		"path": f.Path, "fixable": strconv.FormatBool(f.Fixable), "repairedByWebhook": strconv.FormatBool(f.Repaired),
		"fingerprint": f.Fingerprint, "help": rulePage(f.Rule),
	}
	return result
}

func (s *Skipped) result() openreports.ReportResult {
	result := newResult(s.Rule)
	result.Result, result.Severity, result.Description = "skip", "info", Printable(s.Reason)
	return result
}

func (a *At) reference() corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: a.apiVersion, Kind: a.Kind, Namespace: a.Namespace, Name: a.Name}
}

// fits returns how many results one report takes, at least one.
func fits(results []openreports.ReportResult) (int, error) {
	size := 0
	for i := range results {
		data, err := json.Marshal(results[i])
		if err != nil {
			return 0, err
		}
		if size += len(data); size > maxReport && i > 0 {
			return i, nil
		}
	}
	return len(results), nil
}

func (api PolicyAPI) document(namespace string, part, pass int, results []openreports.ReportResult) any {
	report := api.report(namespace, results)
	report.Name, report.Summary.Pass = fmt.Sprintf("sixgate-%d", part), pass
	return api.object(report)
}

// report has the results and their summary; namespace is "" for what is cluster-wide.
func (api PolicyAPI) report(namespace string, results []openreports.ReportResult) openreports.Report {
	report := openreports.Report{
		TypeMeta:   metav1.TypeMeta{APIVersion: api.Group + "/" + api.Version, Kind: api.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": "sixgate"}},
		Source:     "sixgate", Results: results,
	}
	if namespace == "" {
		report.Kind = "Cluster" + api.Kind // of the same fields
	}
	for i := range results {
		switch results[i].Result {
		case "fail":
			report.Summary.Fail++
		case "warn":
			report.Summary.Warn++
		case "skip":
			report.Summary.Skip++
		}
	}
	return report
}

// object is a report as this API has it.
func (api PolicyAPI) object(report openreports.Report) any {
	if api.source {
		return report
	}
	return struct {
		openreports.Report
		NoSource string `json:"source,omitempty"` // the older API does not know it
	}{Report: report}
}
