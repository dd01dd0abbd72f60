package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sixgate/sixgate/pkg/rules"
)

// TestReadme: each row of README's table of what breaks names rules and examples, an audit of the examples names those rules, and
// no example is without a row.
func TestReadme(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "| what breaks | rule | example |\n| --- | --- | --- |\n")
	if !ok {
		t.Fatal("no table")
	}
	var ids []string
	for _, r := range rules.All() {
		ids = append(ids, r.ID)
	}
	code := regexp.MustCompile("`([^`]+)`")
	shown := map[string]bool{"policy.yaml": true}
	rows := 0
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(row), " | ")
		if len(cells) != 3 {
			break
		}
		rows++
		var files []string
		for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
			for _, name := range strings.Split(m[1], ", ") {
				name = strings.TrimPrefix(name, "examples/")
				shown[name] = true
				if strings.HasSuffix(name, ".yaml") {
					files = append(files, filepath.Join(root, "examples", name))
				} else if found, _ := filepath.Glob(filepath.Join(root, "examples", name, "*.yaml")); len(found) == 0 {
					t.Errorf("%s: no examples/%s", cells[0], name)
				}
			}
		}
		if len(files) == 0 {
			t.Errorf("%s: no example", cells[0])
			continue
		}
		var said []string
		for _, f := range files { // each by itself: a NetworkPolicy of one guards the pods of another
			said = append(said, saidOf(t, filepath.Join(root, "examples", "policy.yaml"), f)...)
		}
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			pattern := m[1]
			match := func(id string) bool { ok, _ := path.Match(pattern, id); return ok }
			if !slices.ContainsFunc(ids, match) {
				t.Errorf("%s: no rule %s", cells[0], pattern)
			}
			if !slices.ContainsFunc(said, match) {
				t.Errorf("%s: %s says nothing of %v, only %v", cells[0], pattern, files, said)
			}
		}
	}
	if rows < 15 {
		t.Errorf("%d rows", rows)
	}
	files, err := filepath.Glob(filepath.Join(root, "examples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !shown[filepath.Base(f)] {
			t.Errorf("%s is in no row", f)
		}
	}
}

// saidOf returns the rules that find or change something in a file.
func saidOf(t *testing.T, policy, file string) []string {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := newRoot("sixgate", time.Now)
	cmd.SetArgs([]string{"audit", "--policy", policy, "-o", "json", file})
	cmd.SetOut(&out)
	cmd.SetErr(&stderr)
	_ = cmd.Execute() // findings are an error too
	var report struct {
		Findings []struct{ Rule string }
		Objects  []struct{ Changes []string }
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err, stderr.String())
	}
	var ids []string
	for _, f := range report.Findings {
		ids = append(ids, f.Rule)
	}
	for _, o := range report.Objects {
		for _, c := range o.Changes {
			ids = append(ids, strings.TrimSuffix(c[strings.LastIndex(c, "[")+1:], "]"))
		}
	}
	return ids
}
