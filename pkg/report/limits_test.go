package report

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/rules"
)

// large is a report of n findings, every tenth of them of level deny, in 40 namespaces.
func large(n int) *Report {
	r := New()
	for i := range n {
		level := rules.Warn
		if i%10 == 9 {
			level = rules.Deny
		}
		at := At{
			File: fmt.Sprintf("deploy/team-%d/service-%d.yaml", i%40, i), Document: 1, Line: 7, Column: 16,
			Kind: "Service", Namespace: fmt.Sprintf("team-%d", i%40), Name: fmt.Sprintf("service-%d", i), apiVersion: "v1",
		}
		message := `"IPv4" is not a family of this cluster, the API server refuses it; use "IPv6"`
		r.Findings = append(r.Findings, Finding{
			At: at, Rule: "service-ip-family", Level: level.String(), Path: "spec.ipFamilies[0]", Message: message, Fixable: true,
			where: "spec.ipFamilies[0]", line: "spec.ipFamilies[0]: " + message + " [service-ip-family]",
			source: "  ipFamilies: [IPv4]", caret: "               ^",
		})
		r.Objects = append(r.Objects, Object{At: at, Outcome: Changed})
	}
	r.Finish(rules.Deny)
	return r
}

func written(t *testing.T, r *Report, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Write(&b, format, Options{Root: "/", Dir: "/", FailOn: rules.Deny}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestLimits holds the formats to what the systems that read them take.
func TestLimits(t *testing.T) {
	const n = 30000
	r := large(n)
	t.Run("sarif", func(t *testing.T) {
		data := written(t, r, "sarif")
		var log struct {
			Runs []struct{ Results []struct{ Level string } }
		}
		if err := json.Unmarshal(data, &log); err != nil {
			t.Fatal(err)
		}
		denied := 0
		for _, result := range log.Runs[0].Results {
			if result.Level == "error" {
				denied++
			}
		}
		if len(log.Runs[0].Results) != 25000 || denied != n/10 {
			t.Errorf("%d results, %d of them of level deny", len(log.Runs[0].Results), denied)
		}
		if !bytes.Contains(data, []byte("5000 findings are left out")) {
			t.Error("it does not say that some are left out")
		}
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write(data); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		if zipped.Len() > 10_000_000 {
			t.Errorf("%d bytes", zipped.Len())
		}
	})
	t.Run("markdown", func(t *testing.T) {
		data := string(written(t, r, "markdown"))
		if len(data) > 65536 {
			t.Errorf("%d bytes", len(data))
		}
		m := regexp.MustCompile(`\*\*(\d+) of 30000 findings are left out`).FindStringSubmatch(data)
		if m == nil {
			t.Fatal("it does not say how many are left out")
		}
		if left, err := strconv.Atoi(m[1]); err != nil || left != n-strings.Count(data, "| Service team") || left == n {
			t.Errorf("%d left out, %d shown", left, strings.Count(data, "| Service team"))
		}
	})
	t.Run("github", func(t *testing.T) {
		if want := fmt.Sprintf("%d more are in this log", n-20); !bytes.Contains(written(t, r, "github"), []byte(want)) {
			t.Errorf("not said: %s", want)
		}
	})
	t.Run("openreports", func(t *testing.T) {
		names, results := map[string]bool{}, 0
		for doc := range strings.SplitSeq(string(written(t, r, "openreports")), "\n---\n") {
			if len(doc) > 300<<10 { // as YAML; an annotation has it as JSON, which is smaller
				t.Errorf("a report of %d bytes", len(doc))
			}
			name := regexp.MustCompile(`(?m)^  name: .*\n  namespace: .*$`).FindString(doc)
			if name == "" || names[name] {
				t.Errorf("%q is there twice", name)
			}
			names[name] = true
			results += strings.Count(doc, "\n  rule: ")
		}
		if len(names) <= 40 || results != n {
			t.Errorf("%d reports, %d results", len(names), results)
		}
	})
}

// TestMarkdownErrors: errors do not take the room of a comment either.
func TestMarkdownErrors(t *testing.T) {
	r := New()
	for i := range 5000 {
		r.Errors = append(r.Errors, Error{File: strings.Repeat("|`@*", 1000), Line: i, Message: strings.Repeat("é", 1000)})
	}
	r.Finish(rules.Deny)
	if data := written(t, r, "markdown"); len(data) > maxMarkdown {
		t.Errorf("%d bytes", len(data))
	}
}

// TestReadinessText is the sentence in all its forms.
func TestReadinessText(t *testing.T) {
	for want, r := range map[string]Readiness{
		"":                         {},
		"1 of 1 workload is ready": {Workloads: 1, Ready: 1},
		"412 of 480 workloads are ready; 51 more after `sixgate fix`; 17 need a person": {Workloads: 480, Ready: 412, ReadyAfterFix: 51, NeedPerson: 17},
		"0 of 2 workloads are ready; 1 more after `sixgate fix`; 1 needs a person":      {Workloads: 2, ReadyAfterFix: 1, NeedPerson: 1},
		"3 of 3 workloads are ready (2 with warnings)":                                  {Workloads: 3, Ready: 3, Warned: 2},
	} {
		if got := r.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	r := large(10000)
	for _, format := range Formats() {
		b.Run(format, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Write(io.Discard, format, Options{Root: "/", Dir: "/", FailOn: rules.Deny}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
