package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/report"
)

// hostile is a manifest whose texts mean something in each format, were they not escaped.
const hostile = `apiVersion: v1
kind: Service
metadata: {name: "a|b]]> </script><script>alert(1)</script>\n::error::x", namespace: "n\u0007\u2028</style>&amp;%0A"}
spec:
  ipFamilies: ["IPv4 | ` + "``" + ` @everyone <img src=x> \u001b[31m"]
  clusterIP: "::set-output name=x::y #1 [a](javascript:b)"
---
apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  annotations: {sixgate.io/ignore.listen-nginx: "</textarea><!-- ]]> | \u0000 {{.}}"}
data: {default.conf: "server { listen 80; }"}
---
apiVersion: v1
 kind: "<broken>"
`

// auditAll audits the objects of all rules' cases and the hostile manifest, and returns the report in every format.
func auditAll(t *testing.T) map[string][]byte {
	t.Helper()
	cases, _ := ruleCases(t)
	dir := t.TempDir()
	if err := os.Rename(cases, filepath.Join(dir, "cases")); err != nil {
		t.Fatal(err)
	}
	name := "a&b <c> %41 é, d:e|f.yaml"
	if err := os.WriteFile(filepath.Join(dir, name), []byte(hostile), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, env := range []string{"GITHUB_WORKSPACE", "GITHUB_SERVER_URL", "CI_PROJECT_DIR", "CI_PROJECT_URL"} {
		t.Setenv(env, "")
	}
	args := []string{"sixgate", "audit"}
	for _, f := range report.Formats() {
		args = append(args, "-o", f+"=out."+f)
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), append(args, "cases", name), nil, &out, &errs); code != exitError || out.Len() > 0 { // one document is broken
		t.Fatalf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	all := map[string][]byte{}
	for _, f := range report.Formats() {
		data, err := os.ReadFile("out." + f)
		if err != nil {
			t.Fatal(err)
		}
		all[f] = data
	}
	return all
}

func schema(t *testing.T, file string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	data, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	doc, err := jsonschema.UnmarshalJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, data []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Error(err)
	}
}

// TestDocumentedFormats: docs/audit.md has them all.
func TestDocumentedFormats(t *testing.T) {
	doc, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Formats() {
		if !bytes.Contains(doc, []byte("`"+f+"`")) {
			t.Errorf("%s is not documented", f)
		}
	}
}

// TestFormats holds each format to its published schema, or to what its documentation says where it has none, with findings of
// every rule and with texts that would break out of it.
func TestFormats(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	sarif := schema(t, "testdata/schema/sarif-2.1.0.json")
	own := schema(t, filepath.Join(root, "docs/schema/report-v1.json"))
	xsd := filepath.Join(root, "cmd/sixgate/testdata/schema/jenkins-junit.xsd")
	all := auditAll(t)

	var r report.Report
	if err := json.Unmarshal(all["json"], &r); err != nil {
		t.Fatal(err)
	}
	if r.Summary.Findings < 100 || r.Summary.Errors == 0 || r.Summary.Skipped == 0 {
		t.Fatalf("not much to test with: %+v", r.Summary)
	}
	fingerprints := map[string]bool{}
	for _, f := range r.Findings {
		fingerprints[f.Fingerprint] = true
	}
	if len(fingerprints) != len(r.Findings) {
		t.Errorf("%d fingerprints of %d findings", len(fingerprints), len(r.Findings))
	}

	t.Run("json", func(t *testing.T) { valid(t, own, all["json"]) })
	t.Run("yaml", func(t *testing.T) {
		data, err := yaml.YAMLToJSONStrict(all["yaml"])
		if err != nil {
			t.Fatal(err)
		}
		valid(t, own, data)
		var same, want any
		if err := errors.Join(json.Unmarshal(data, &same), json.Unmarshal(all["json"], &want)); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(same) != fmt.Sprint(want) {
			t.Error("not what the JSON says")
		}
	})
	t.Run("sarif", func(t *testing.T) {
		valid(t, sarif, all["sarif"])
		var log struct {
			Runs []struct {
				Tool struct {
					Driver struct {
						Rules []struct {
							ID   string
							Help struct{ Text, Markdown string }
						}
					}
				}
				Results []struct {
					RuleID              string
					RuleIndex           int
					PartialFingerprints map[string]string
				}
			}
		}
		if err := json.Unmarshal(all["sarif"], &log); err != nil {
			t.Fatal(err)
		}
		run := log.Runs[0]
		if len(run.Results) != len(r.Findings) || len(run.Tool.Driver.Rules) != len(r.Summary.ByRule) {
			t.Errorf("%d results, %d rules", len(run.Results), len(run.Tool.Driver.Rules))
		}
		for _, result := range run.Results {
			rule := run.Tool.Driver.Rules[result.RuleIndex]
			if rule.ID != result.RuleID || rule.Help.Markdown == "" || !fingerprints[result.PartialFingerprints["primaryLocationLineHash"]] {
				t.Errorf("%+v of %s", result, rule.ID)
			}
		}
	})
	t.Run("gitlab", func(t *testing.T) {
		var issues []struct {
			Description string
			CheckName   string `json:"check_name"`
			Fingerprint string
			Severity    string
			Location    struct {
				Path  string
				Lines struct{ Begin int }
			}
		}
		d := json.NewDecoder(bytes.NewReader(all["gitlab"]))
		d.DisallowUnknownFields()
		if err := d.Decode(&issues); err != nil {
			t.Fatal(err)
		}
		if len(issues) != len(r.Findings)+len(r.Errors) {
			t.Errorf("%d issues", len(issues))
		}
		seen := map[string]bool{}
		for _, i := range issues {
			if i.Description == "" || i.CheckName == "" || seen[i.Fingerprint] || !filepath.IsLocal(i.Location.Path) || i.Location.Lines.Begin < 1 || i.Severity != "critical" && i.Severity != "minor" {
				t.Errorf("%+v", i)
			}
			seen[i.Fingerprint] = true
		}
	})
	t.Run("junit", func(t *testing.T) {
		var suites struct {
			Tests    int `xml:"tests,attr"`
			Failures int `xml:"failures,attr"`
			Errors   int `xml:"errors,attr"`
			Suites   []struct {
				Tests    int `xml:"tests,attr"`
				Failures int `xml:"failures,attr"`
				Cases    []struct {
					Failure *string `xml:"failure"`
				} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		if err := xml.Unmarshal(all["junit"], &suites); err != nil {
			t.Fatal(err)
		}
		tests, failures := 0, 0
		for _, s := range suites.Suites {
			tests += s.Tests
			failures += s.Failures
			failed := 0
			for _, c := range s.Cases {
				if c.Failure != nil {
					failed++
				}
			}
			if failed != s.Failures || len(s.Cases) != s.Tests {
				t.Errorf("%d failures of %d, the suite says %d of %d", failed, len(s.Cases), s.Failures, s.Tests)
			}
		}
		if tests != suites.Tests || failures != suites.Failures || failures != r.Summary.ByLevel["deny"] || suites.Errors != len(r.Errors) {
			t.Errorf("%d tests and %d failures: %d and %d in the suites", suites.Tests, suites.Failures, tests, failures)
		}
		if _, err := exec.LookPath("xmllint"); err != nil {
			t.Skip("xmllint is missing, JUnit is not validated: apt-get install libxml2-utils")
		}
		if out, err := exec.Command("xmllint", "--noout", "--nonet", "--schema", xsd, "out.junit").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	t.Run("github", func(t *testing.T) {
		lines := strings.Split(strings.TrimSuffix(string(all["github"]), "\n"), "\n")
		if want := len(r.Findings) + len(r.Errors) + 1; len(lines) != want {
			t.Errorf("%d commands, want %d", len(lines), want)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "::error ") && !strings.HasPrefix(line, "::warning ") && !strings.HasPrefix(line, "::notice ") {
				t.Errorf("not a command: %q", line)
			}
		}
	})
	t.Run("markdown", func(t *testing.T) {
		for line := range strings.Lines(string(all["markdown"])) {
			if cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); strings.HasPrefix(line, "| **deny**") && cells != 5 {
				t.Errorf("a row with %d bars: %s", cells, line)
			}
		}
		for _, bad := range []string{"@everyone <", "<img", "<script"} {
			if i := strings.Index(string(all["markdown"]), bad); i >= 0 && strings.Count(string(all["markdown"][:i]), "`")%2 == 0 {
				t.Errorf("%q means something: %s", bad, all["markdown"][max(i-80, 0):i+40])
			}
		}
	})
	t.Run("openreports", func(t *testing.T) {
		results := 0
		for i, doc := range strings.Split(string(all["openreports"]), "\n---\n") {
			var rep openreports.Report
			if err := yaml.UnmarshalStrict([]byte(doc), &rep); err != nil {
				t.Fatalf("document %d: %v", i, err)
			}
			results += rep.Summary.Fail + rep.Summary.Warn + rep.Summary.Skip
			if len(rep.Results) != rep.Summary.Fail+rep.Summary.Warn+rep.Summary.Skip {
				t.Errorf("%d results, %+v", len(rep.Results), rep.Summary)
			}
		}
		if results != len(r.Findings)+len(r.Skipped) {
			t.Errorf("%d results", results)
		}
	})
	t.Run("html", func(t *testing.T) {
		if n := strings.Count(strings.ToLower(string(all["html"])), "<script"); n != 2 {
			t.Errorf("%d scripts", n)
		}
		for _, outside := range []string{"src=\"", "url(", "@import", "<link rel=\"stylesheet"} {
			if strings.Contains(string(all["html"]), outside) {
				t.Errorf("%s: the page loads something", outside)
			}
		}
	})
	t.Run("no control characters", func(t *testing.T) {
		for name, data := range all {
			if i := bytes.IndexAny(data, "\x00\x07\x1b"); i >= 0 {
				t.Errorf("%s: %q", name, data[max(i-40, 0):min(i+10, len(data))])
			}
		}
	})
	t.Run("the same each time", func(t *testing.T) {
		for name, data := range all {
			var out bytes.Buffer
			run(t.Context(), []string{"sixgate", "audit", "-o", name, "cases", "a&b <c> %41 é, d:e|f.yaml"}, nil, &out, io.Discard)
			if !bytes.Equal(out.Bytes(), data) {
				t.Errorf("%s: two runs differ", name)
			}
		}
	})
}
