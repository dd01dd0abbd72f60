//go:build e2e

package e2e

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/rules"
)

// goldenFile has a line for the findings of a rule in a file of the corpus: file and lines, rule, level, the verdict of a person who read
// them (right, or wrong) and why, between tabs.
const goldenFile = "testdata/findings.txt"

// TestCorpusFindings holds every finding in real manifests to what a person has said of it: the files that are copied here, and all of
// the corpus where it is at hand.
func TestCorpusFindings(t *testing.T) {
	golden := map[string]string{}
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 5 || f[3] != "right" && f[3] != "wrong" {
			t.Fatalf("%s: %q: want place, rule, level, right or wrong, and why", goldenFile, line)
		}
		if f[3] == "wrong" && f[2] == "deny" {
			t.Errorf("a false denial: %s", line)
		}
		golden[strings.Join(f[:3], "\t")] = f[4]
	}
	for _, c := range []struct {
		dir   string
		whole bool
	}{{"testdata/corpus", false}, {os.Getenv("SIXGATE_CORPUS"), true}} {
		if c.dir == "" {
			t.Log("SIXGATE_CORPUS names no folder: only the copied selection was read")
			continue
		}
		got := corpusFindings(t, c.dir)
		for _, key := range slices.Sorted(maps.Keys(got)) {
			if _, ok := golden[key]; !ok {
				t.Errorf("nobody has read this yet:\n%s\tright\t%s", key, got[key])
			}
			if c.whole {
				delete(golden, key)
			}
		}
		if c.whole {
			for _, key := range slices.Sorted(maps.Keys(golden)) {
				t.Errorf("not found any more: %s", key)
			}
		}
		counts := map[string]int{}
		for key := range got {
			f := strings.Split(key, "\t")
			counts[f[1]+" "+f[2]]++
		}
		t.Logf("findings of rules in files of %s: %v", filepath.Base(c.dir), counts)
	}
}

// corpusFindings are the findings of all rules in a folder, read as one input, as "file:lines, rule, level" -> message of the first.
func corpusFindings(t *testing.T, dir string) map[string]string {
	policy := rules.DefaultPolicy("IPv6")
	policy.Exclude.Objects = []string{}
	set := rules.NewSet(policy)
	var docs []*manifest.Document
	var objects []*rules.Object
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("open: %w", err)
		}
		defer f.Close()
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return fmt.Errorf("name: %w", err)
		}
		found, errs := manifest.Read(name, bufio.NewReader(f))
		for _, err := range errs {
			if !errors.Is(err, manifest.ErrNotObject) {
				t.Logf("%v", err)
			}
		}
		for _, doc := range found {
			docs, objects = append(docs, doc), append(objects, doc.Object)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	index := rules.NewIndex(objects, "default")
	lines := map[[3]string][]int{} // by file, rule and level
	messages := map[[3]string]string{}
	for _, doc := range docs {
		req := &rules.Request{Object: doc.Object, Operation: rules.Create, Namespace: cmp.Or(doc.Object.Namespace(), "default"), Index: index, Audit: true}
		active, _ := set.Rules(req)
		for _, a := range active {
			for _, f := range a.Findings(req) {
				if f.Level < rules.Warn {
					continue
				}
				line, _ := doc.Position(f.Path)
				if f.Text.Line > 0 {
					line, _ = doc.TextPosition(f.Path, f.Text)
				}
				key := [3]string{doc.File, a.ID, f.Level.String()}
				lines[key] = append(lines[key], line)
				messages[key] = cmp.Or(messages[key], f.Message)
			}
		}
	}
	out := map[string]string{}
	for key, at := range lines {
		slices.Sort(at)
		out[fmt.Sprintf("%s:%s\t%s\t%s", key[0], strings.ReplaceAll(strings.Trim(fmt.Sprint(at), "[]"), " ", ","), key[1], key[2])] = messages[key]
	}
	return out
}
