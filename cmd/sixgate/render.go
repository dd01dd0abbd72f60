package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	sigsyaml "sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/report"
)

// A tree is a folder whose files are not applied as they are.
type tree struct {
	dir      string
	chart    bool // else a kustomization
	file     string
	rendered bool // its files are not read
	parent   *tree
}

var kustomizationNames = []string{"kustomization.yaml", "kustomization.yml", "Kustomization"}

// treeOf returns the chart or kustomization that a folder is, else the one that it belongs to. What is below a chart belongs to it.
func treeOf(dir string, names map[string]bool, in *tree) *tree {
	if in != nil && in.chart {
		return in
	}
	if names["Chart.yaml"] {
		return &tree{dir: filepath.Clean(dir), chart: true, file: "Chart.yaml"}
	}
	for _, n := range kustomizationNames {
		if names[n] {
			return &tree{dir: filepath.Clean(dir), file: n, parent: in}
		}
	}
	return in
}

// chartAbove returns the chart that a template belongs to, or nil.
func chartAbove(name string) *tree {
	for dir := filepath.Dir(name); ; dir = filepath.Dir(dir) {
		if filepath.Base(dir) == "templates" {
			if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "Chart.yaml")); err == nil {
				return &tree{dir: filepath.Dir(dir), chart: true, file: "Chart.yaml"}
			}
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// maxTemplate is how much of a file is looked at.
const maxTemplate = 1 << 20

// isTemplate reports whether a file of a chart needs to be rendered.
func (t *tree) isTemplate(name string) bool {
	rel, err := filepath.Rel(t.dir, name)
	if !t.chart || err != nil || !slices.Contains(strings.Split(filepath.ToSlash(rel), "/"), "templates") {
		return false
	}
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTemplate))
	return err == nil && bytes.Contains(data, []byte("{{"))
}

// template says once for each chart what to do about its templates.
func (in *input) template(t *tree) {
	if in.notes[t.dir] {
		return
	}
	in.notes[t.dir] = true
	dir := filepath.ToSlash(t.dir)
	if in.options.repairs {
		in.fail(t.dir, fmt.Errorf("templates of a chart are not repaired; see what to change: sixgate audit %s", dir))
		return
	}
	in.fail(t.dir, fmt.Errorf("templates of a chart; audit the rendered chart: helm template %s | sixgate audit -", dir))
}

// render renders a chart, and notes a kustomization for later: which of them are applied is known when all are.
func (in *input) render(ctx context.Context, t *tree) bool {
	if in.options.noRender || in.seen[t.dir] {
		t.rendered = in.seen[t.dir] && !in.options.noRender
		return t.rendered
	}
	if !t.chart {
		if kustomizer() == nil {
			if !in.notes["kustomize"] {
				in.notes["kustomize"] = true
				in.errs = append(in.errs, report.Error{File: t.dir, Audited: true, Message: "a kustomization, whose files are read as they are: neither kustomize nor kubectl is on PATH; " +
					"else: kustomize build " + filepath.ToSlash(t.dir) + " | sixgate audit -"})
			}
			return false
		}
		in.seen[t.dir], t.rendered = true, true
		in.kustomizations = append(in.kustomizations, t)
		return true
	}
	helm, err := exec.LookPath("helm")
	if err != nil {
		return false // the templates say so
	}
	in.seen[t.dir] = true
	if t.isLibrary() {
		t.rendered = true
		return true
	}
	args := []string{"template"}
	if abs, err := filepath.Abs(t.dir); err == nil && releaseName.MatchString(filepath.Base(abs)) {
		args = append(args, filepath.Base(abs))
	}
	if err := in.run(ctx, t.dir, helm, append(args, argument(t.dir), "--include-crds", "--namespace", in.namespace)...); err != nil {
		in.notes[t.dir] = true // instead of the line about templates
		in.fail(t.dir, fmt.Errorf("helm template: %w; render it with your values: helm template %s -f values.yaml | sixgate audit -", err, filepath.ToSlash(t.dir)))
		return false
	}
	t.rendered = true
	return true
}

// releaseName is what Helm takes for a release (pkg/chart/common/util in Helm).
var releaseName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?$`)

// isLibrary: Helm refuses to render a chart that has only what others include.
func (t *tree) isLibrary() bool {
	var chart struct {
		Type string `json:"type"`
	}
	data, err := os.ReadFile(filepath.Join(t.dir, t.file))
	return err == nil && sigsyaml.Unmarshal(data, &chart) == nil && chart.Type == "library"
}

// argument keeps a folder from being taken for a flag or for the name of a repository.
func argument(dir string) string {
	if filepath.IsAbs(dir) || strings.HasPrefix(dir, "..") {
		return dir
	}
	return "." + string(filepath.Separator) + dir
}

// kustomizer is the command that renders kustomizations, nil if there is none.
func kustomizer() []string {
	if path, err := exec.LookPath("kustomize"); err == nil {
		return []string{path, "build"}
	}
	if path, err := exec.LookPath("kubectl"); err == nil {
		return []string{path, "kustomize"}
	}
	return nil
}

// kustomize renders the kustomizations that no other one uses. Where one cannot be rendered, its files are read as they are, and
// what it uses is rendered.
func (in *input) kustomize(ctx context.Context) {
	found, used := map[string]*tree{}, map[string]bool{}
	for _, t := range in.kustomizations {
		found[absolute(t.dir)] = t
	}
	uses, components := map[*tree][]string{}, map[*tree]bool{}
	for _, t := range in.kustomizations {
		kind, dirs := t.uses()
		if kind == "Component" { // which cannot be built alone
			used[absolute(t.dir)], components[t] = true, true
		}
		for _, d := range dirs {
			uses[t] = append(uses[t], d)
			used[d] = used[d] || d != absolute(t.dir)
		}
	}
	queue := slices.DeleteFunc(slices.Clone(in.kustomizations), func(t *tree) bool { return used[absolute(t.dir)] })
	done := map[*tree]bool{}
	for len(queue) > 0 && ctx.Err() == nil {
		t := queue[0]
		queue = queue[1:]
		if done[t] {
			continue
		}
		done[t] = true
		if components[t] {
			in.raw(t)
			continue
		}
		command := append(kustomizer(), argument(t.dir))
		if err := in.run(ctx, t.dir, command[0], command[1:]...); err != nil {
			in.fail(t.dir, fmt.Errorf("%s: %w; its files are read as they are", strings.TrimSuffix(filepath.Base(command[0]), ".exe")+" "+command[1], err))
			in.raw(t)
			for _, d := range uses[t] {
				if found[d] != nil {
					queue = append(queue, found[d])
				}
			}
		}
	}
}

// raw reads the manifests that lie in the folder of a kustomization.
func (in *input) raw(t *tree) {
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return // kustomize has said so
	}
	for _, e := range entries {
		name := filepath.Join(t.dir, e.Name())
		if info, err := os.Stat(name); err == nil && isManifest(name, e) && !in.excluded(name) {
			in.fileOf(name, info, t)
		}
	}
}

// uses returns the kind of a kustomization, and the folders that it names.
func (t *tree) uses() (kind string, dirs []string) {
	var k struct {
		Kind                         string   `json:"kind"`
		Resources, Bases, Components []string `json:",omitempty"`
	}
	data, err := os.ReadFile(filepath.Join(t.dir, t.file))
	if err != nil || sigsyaml.Unmarshal(data, &k) != nil {
		return "", nil
	}
	for _, r := range slices.Concat(k.Resources, k.Bases, k.Components) {
		if !filepath.IsAbs(r) {
			r = filepath.Join(t.dir, r)
		}
		if info, err := os.Stat(r); err == nil && info.IsDir() {
			dirs = append(dirs, absolute(r))
		}
	}
	return k.Kind, dirs
}

func absolute(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	return abs
}

// run adds what a command prints as a source.
func (in *input) run(ctx context.Context, name, program string, args ...string) error {
	s := &spool{read: true}
	var stderr tail
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s, &stderr, time.Second
	if err := cmd.Run(); err != nil {
		s.close()
		var exit *exec.ExitError
		if ctx.Err() != nil {
			err = errors.New("interrupted")
		} else if errors.As(err, &exit) && stderr.message() != "" {
			err = errors.New(stderr.message())
		}
		return err
	}
	in.spools = append(in.spools, s)
	in.sources = append(in.sources, source{name: name, size: s.size(), open: s.open})
	in.folders[name] = true
	return nil
}

// rendered tells whether a source is what was rendered of a folder, and what to open then: the template, where a file of the folder
// is it, else the folder.
func (in *input) rendered(folder, template string) (file string, ok bool) {
	if !in.folders[folder] {
		return "", false
	}
	// Helm writes the name of the chart in front, not that of its folder.
	if _, rel, ok := strings.Cut(template, "/"); ok && filepath.IsLocal(filepath.FromSlash(rel)) {
		name := filepath.Join(folder, filepath.FromSlash(rel))
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			return name, true
		}
	}
	return folder, true
}

// A tail keeps the last bytes that were written to it.
type tail struct{ data []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.data = append(t.data, p...)
	if over := len(t.data) - 1<<14; over > 0 {
		t.data = append([]byte(nil), t.data[over:]...)
	}
	return len(p), nil
}

// klogError is how kubectl writes what went wrong, and klogLines where that has several lines.
var (
	klogError = regexp.MustCompile(` err=("(?:[^"\\]|\\.)*")`)
	klogLines = regexp.MustCompile(`(?s) err=<\n(.*)\n >`)
)

// message is what a command gives as its reason, in one line: what kubectl has as err, what follows "Error:", else the last line.
func (t *tail) message() string {
	text := strings.TrimSpace(string(t.data))
	if m := klogLines.FindStringSubmatch(text); m != nil {
		text = m[1]
	} else if m := klogError.FindStringSubmatch(text); m != nil {
		if unquoted, err := strconv.Unquote(m[1]); err == nil {
			text = unquoted
		}
	} else if i := strings.LastIndex("\n"+text, "\nError: "); i >= 0 {
		text, _, _ = strings.Cut(text[i+len("Error: "):], "\n\n") // then Helm gives advice
	} else if i := strings.LastIndex(text, "\n"); i >= 0 {
		text = text[i:]
	}
	if text = strings.Join(strings.Fields(text), " "); len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

const maxReason = 500 // bytes
