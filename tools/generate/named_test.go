package main

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTests: the tests that docs/security.md and docs/robustness.md name are there, and each line of the threats names one or says why not.
func TestNamedTests(t *testing.T) {
	declared := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := fs.WalkDir(os.DirFS("../.."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := os.ReadFile("../../" + path)
		for _, m := range function.FindAllSubmatch(data, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"security", "robustness"} {
		data, err := os.ReadFile("../../docs/" + page + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(data), -1) {
			if !declared[name] {
				t.Errorf("docs/%s.md names %s, which does not exist", page, name)
			}
		}
		if page != "security" {
			continue
		}
		_, threats, _ := strings.Cut(string(data), "## Threats")
		threats, _, _ = strings.Cut(threats, "\n## ")
		rows := 0
		for line := range strings.Lines(threats) {
			cells := strings.Split(strings.Trim(line, "|\n "), " | ")
			if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| who") || strings.HasPrefix(line, "| ---") {
				continue
			}
			last := cells[len(cells)-1]
			if rows++; !regexp.MustCompile(`Test|Fuzz|^none: |\.txtar`).MatchString(last) {
				t.Errorf("no test: %s", line)
			}
		}
		if rows < 10 {
			t.Errorf("%d threats", rows)
		}
	}
}
