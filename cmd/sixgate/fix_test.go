package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// fixCorpusEnv names a folder of more manifests than are copied.
const fixCorpusEnv = "SIXGATE_CORPUS"

// read returns all manifests below a folder by their path in it.
func read(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yaml", ".yml", ".json":
			name, _ := filepath.Rel(dir, path)
			out[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("no manifests in %s: %v", dir, err)
	}
	return out
}

// TestFixCorpus repairs copies of real manifests, with the line ends as they are and with those of Windows. What changed
// parses and has no finding left that can be repaired; a second run changes nothing; all else is byte-identical, and so are the
// permissions; every line that differs is needed, and no comment on a line of its own is lost.
func TestFixCorpus(t *testing.T) {
	sources := []string{"../../e2e/testdata/corpus", "../../examples"}
	if dir := os.Getenv(fixCorpusEnv); dir != "" {
		sources = append(sources, dir)
	}
	rulesDir, _ := ruleCases(t)
	sources = append(sources, rulesDir)
	for _, source := range sources {
		for _, windows := range []bool{false, true} {
			dir := t.TempDir()
			before := read(t, source)
			modes := []os.FileMode{0o644, 0o600, 0o755, 0o664}
			mode := func(name string) os.FileMode { return modes[len(name)%len(modes)] }
			for name, data := range before {
				if windows {
					data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
					before[name] = data
				}
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.WriteFile(path, data, mode(name)), os.Chmod(path, mode(name))); err != nil { // umask
					t.Fatal(err)
				}
			}
			said := audited(t, dir)
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"sixgate", "fix", dir}, nil, &out, &errs)
			if strings.Contains(errs.String(), "splice") || strings.Contains(errs.String(), "sixgate: write") {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
			after := read(t, dir)
			left := audited(t, dir)
			changed, removed, added := 0, 0, 0
			for name, data := range before {
				path := filepath.Join(dir, name)
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode(name) {
					t.Errorf("%s: permissions %v, want %v (%v)", name, info.Mode().Perm(), mode(name), err)
				}
				for _, f := range left[path] {
					if f.Fixable {
						t.Errorf("%s:%d: %s is left", name, f.Line, f.Rule)
					}
				}
				fixable, allowed := 0, 0
				for _, f := range said[path] {
					if f.Fixable {
						fixable++
						allowed += 2
						if f.Rule == "network-policy-ipv4" {
							allowed += 5 // a rule of Calico gets a neighbour
						}
					}
				}
				if bytes.Equal(data, after[name]) {
					if fixable > 0 {
						t.Errorf("%s: %d findings, and nothing has changed", name, fixable)
					}
					continue
				}
				changed++
				minus, plus := changedLines(data, after[name])
				removed, added = removed+minus, added+plus
				// A repair changes one line, adds one, or removes one with what belongs to it (a list of two families).
				if fixable == 0 || minus > 3*fixable || plus > allowed {
					t.Errorf("%s: %d findings, %d lines removed, %d added:\n%s", name, fixable, minus, plus, diff.Diff("a", data, "b", after[name]))
				}
				for line := range strings.Lines(string(data)) {
					if comment := strings.TrimSpace(line); strings.HasPrefix(comment, "#") && !strings.Contains(string(after[name]), comment) {
						t.Errorf("%s: %q is lost", name, comment)
					}
				}
				if windows && bytes.Count(after[name], []byte("\n")) != bytes.Count(after[name], []byte("\r\n")) {
					t.Errorf("%s: line ends are mixed", name)
				}
				was, wasErrs := manifest.Read(name, bytes.NewReader(data))
				now, nowErrs := manifest.Read(name, bytes.NewReader(after[name]))
				if len(was) != len(now) || len(wasErrs) != len(nowErrs) {
					t.Errorf("%s: %d objects became %d, errors: %v", name, len(was), len(now), nowErrs)
				}
			}
			if changed == 0 {
				t.Errorf("%s: nothing has changed", source)
			}
			if !windows {
				t.Logf("%s: %d changes, taken back one by one", source, needed(t, dir, before, after))
			}
			t.Logf("%s: %d files, %d changed, %d lines removed, %d added; %s", source, len(before), changed, removed, added, lastLine(out.String()))

			out.Reset()
			again := run(t.Context(), []string{"sixgate", "fix", dir}, nil, &out, &errs)
			if strings.Contains(out.String(), "repaired:") || again != code {
				t.Errorf("the second run, exit code %d after %d: %s", again, code, out.String())
			}
			for name, data := range read(t, dir) {
				if !bytes.Equal(data, after[name]) {
					t.Errorf("%s: the second run changes it", name)
				}
			}
		}
	}
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// audited returns the findings of the audit by file.
func audited(t *testing.T, dir string) map[string][]report.Finding {
	t.Helper()
	var out, errs bytes.Buffer
	run(t.Context(), []string{"sixgate", "audit", "-o", "json", dir}, nil, &out, &errs)
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	byFile := map[string][]report.Finding{}
	for _, f := range r.Findings {
		byFile[f.File] = append(byFile[f.File], f)
	}
	return byFile
}

// together are lines that one repair changes with another line: the policy with the families, and both settings of vsftpd.
var together = regexp.MustCompile(`^\s*(ipFamilyPolicy: SingleStack|listen=NO|listen_ipv6=YES)\s*$`)

// undone are copies of a repaired file, by line, each with one change of the diff taken back.
func undone(before, after []byte) map[int]string {
	was, now := strings.SplitAfter(string(before), "\n"), strings.SplitAfter(string(after), "\n")
	out := map[int]string{}
	i, j, minus, plus := 0, 0, 0, 0
	undo := func(fromWas, toWas, fromNow, toNow int) {
		out[fromNow+1] = strings.Join(slices.Concat(now[:fromNow], was[fromWas:toWas], now[toNow:]), "")
	}
	end := func() {
		for k := 0; minus == plus && k < minus; k++ { // line by line
			if was[i-minus+k] != now[j-plus+k] && !together.MatchString(now[j-plus+k]) { // the diff takes lines that occur twice for changed
				undo(i-minus+k, i-minus+k+1, j-plus+k, j-plus+k+1)
			}
		}
		if minus != plus {
			undo(i-minus, i, j-plus, j)
		}
		minus, plus = 0, 0
	}
	_, hunks, _ := strings.Cut(string(diff.Diff("a", before, "b", after)), "\n+++ b\n")
	for line := range strings.Lines(hunks) {
		switch line[0] {
		case '-':
			i, minus = i+1, minus+1
			continue
		case '+':
			j, plus = j+1, plus+1
			continue
		}
		end()
		if line[0] == ' ' {
			i, j = i+1, j+1
		} else if _, err := fmt.Sscanf(line, "@@ -%d,%d +%d,%d @@", &i, new(int), &j, new(int)); err == nil {
			i, j = i-1, j-1
		}
	}
	end()
	return out
}

// needed finds a fault that can be repaired, or no manifest any more, wherever one change is taken back, and counts the changes. The
// other files are as they are after the repair.
func needed(t *testing.T, dir string, before, after map[string][]byte) int {
	t.Helper()
	options := inputOptions{noRender: true, repairs: true}
	in, err := options.list(t.Context(), []string{dir}, "default", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	if err := in.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	var objects []*rules.Object
	for _, doc := range in.docs {
		objects = append(objects, doc.Object)
	}
	o := fixOptions{namespace: "default"}
	set, index, n := rules.NewSet(rules.DefaultPolicy("IPv6")), rules.NewIndex(objects, o.namespace), 0
	for name := range before {
		for line, text := range undone(before[name], after[name]) {
			n++
			docs, errs := manifest.Read(name, strings.NewReader(text))
			_, known := manifest.Read(name, bytes.NewReader(after[name]))
			faulty := len(errs) > len(known)
			for _, doc := range docs {
				faulty = faulty || slices.ContainsFunc(o.left(set, doc.Object, index), func(f rules.Finding) bool { return f.Fix != nil })
			}
			if !faulty {
				t.Errorf("%s:%d: the change is not needed", name, line)
			}
		}
	}
	return n
}

// changedLines counts the lines of a diff.
func changedLines(before, after []byte) (removed, added int) {
	for line := range strings.Lines(string(diff.Diff("a", before, "b", after))) {
		switch {
		case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"):
		case line[0] == '-':
			removed++
		case line[0] == '+':
			added++
		}
	}
	return removed, added
}
