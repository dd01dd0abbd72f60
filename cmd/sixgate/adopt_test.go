package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/report"
)

// TestBaselineOfAll: with the baseline of everything that the rules are tested with, nothing is found, and the file is the same
// each time. Between the same two inputs nothing gets better or worse; from nothing to them, everything gets worse.
func TestBaselineOfAll(t *testing.T) {
	dir, _ := ruleCases(t)
	base := filepath.Join(t.TempDir(), "base.yaml")
	sixgate := func(want int, args ...string) []byte {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"sixgate"}, args...), nil, &out, &errs); code != want {
			t.Fatalf("%v: exit code %d: %s", args, code, errs.String())
		}
		return out.Bytes()
	}
	parse := func(data []byte, to any) {
		t.Helper()
		if err := json.Unmarshal(data, to); err != nil {
			t.Fatal(err)
		}
	}
	var first []byte
	for range 2 {
		sixgate(0, "audit", "--write-baseline", base, dir)
		data, err := os.ReadFile(base)
		if err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, data) {
			t.Fatal("two runs differ")
		}
		first = data
	}
	var all, known report.Report
	parse(sixgate(exitFindings, "audit", "-o", "json", "--fail-on", "warn", dir), &all)
	parse(sixgate(0, "audit", "-o", "json", "--fail-on", "warn", "--baseline", base, dir), &known)
	if len(known.Findings)+len(known.Gone) > 0 || len(known.Known) != len(all.Findings) || len(all.Findings) == 0 {
		t.Errorf("%d findings, %d known of %d, %d gone", len(known.Findings), len(known.Known), len(all.Findings), len(known.Gone))
	}
	if known.Summary.Readiness != all.Summary.Readiness {
		t.Errorf("what is known is a fault all the same: %+v, %+v", known.Summary.Readiness, all.Summary.Readiness)
	}

	var same, fresh report.Diff
	parse(sixgate(0, "diff", "-o", "json", "--fail-on", "changed", dir, dir), &same)
	if s := same.Summary; s.Worse+s.Better+s.Hidden+s.Outcomes > 0 {
		t.Errorf("%+v", s)
	}
	parse(sixgate(exitFindings, "diff", "-o", "json", os.DevNull, dir), &fresh)
	if s := fresh.Summary; s.Worse != len(all.Findings) || s.Better+s.Hidden > 0 || s.Outcomes != all.Summary.Audited-all.Summary.Clean {
		t.Errorf("%+v", s)
	}
}

// TestDocumentedDiff holds docs/diff.md to the fields of the JSON.
func TestDocumentedDiff(t *testing.T) {
	doc, err := os.ReadFile("../../docs/diff.md")
	if err != nil {
		t.Fatal(err)
	}
	of := reflect.TypeFor[report.Diff]()
	for f := range of.Fields() {
		visit := func(name string) {
			if !strings.Contains(string(doc), "`"+name+"`") {
				t.Errorf("field %q is not documented", name)
			}
		}
		visit(f.Tag.Get("json"))
		if elem := f.Type; elem.Kind() == reflect.Slice {
			for f := range elem.Elem().Fields() {
				if name := f.Tag.Get("json"); name != "" {
					visit(name)
				}
			}
		}
	}
	for f := range reflect.TypeFor[report.DiffSummary]().Fields() {
		if name := f.Tag.Get("json"); !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("field %q of the summary is not documented", name)
		}
	}
}
