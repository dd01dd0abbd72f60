package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/go-git/go-git/v5/plumbing/format/gitignore"
	"github.com/spf13/pflag"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/report"
)

// stdinName stands for standard input in reports.
const stdinName = "<stdin>"

// inputOptions say what of the input is read.
type inputOptions struct {
	exclude  []string
	noIgnore bool
	noRender bool // folders of charts and kustomizations are read as they are
	repairs  bool // the files are written too
}

func (o *inputOptions) flags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.exclude, "exclude", nil, "`GLOB` of files and folders that are left out, as \"charts\" or \"**/test/*.yaml\"; may be given several times")
	flags.BoolVar(&o.noIgnore, "no-ignore", false, "also read what .gitignore names")
}

// renderFlags are for who does not write files.
func (o *inputOptions) renderFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.noRender, "no-render", false, "read the files of charts and kustomizations as they are, and run neither helm nor kustomize")
}

// An input is everything that one audit reads.
type input struct {
	sources    []source
	docs       []*manifest.Document // of load
	errs       []report.Error
	files      int
	objects    int
	notObjects int // documents without apiVersion or kind, as Helm values are
	progress   *reading

	options   *inputOptions
	namespace string // of charts that are rendered
	seen      map[string]bool
	spools    []*spool
	folders   map[string]bool // that were rendered

	kustomizations []*tree
	notes          map[string]bool

	putBytes int // of objects that are judged at the end
}

// list finds what there is to read: files, folders with all that is below them, and standard input for "-"; each once. The caller
// closes the input.
func (o *inputOptions) list(ctx context.Context, args []string, namespace string, stdin io.Reader) (*input, error) {
	for _, g := range o.exclude {
		if !doublestar.ValidatePattern(filepath.ToSlash(g)) {
			return nil, fmt.Errorf("--exclude %q is no glob; close its brackets, or put \\ in front of them", g)
		}
	}
	in := &input{seen: map[string]bool{}, folders: map[string]bool{}, notes: map[string]bool{}, options: o, namespace: namespace}
	for i, arg := range args {
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		if arg != "-" {
			in.argument(ctx, arg)
		} else if !slices.Contains(args[:i], arg) {
			in.spool(stdinName, stdin)
		}
	}
	in.kustomize(ctx)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	return in, nil
}

func (in *input) close() {
	for _, s := range in.spools {
		s.close()
	}
}

func (in *input) spool(name string, r io.Reader) {
	s := &spool{in: r}
	in.spools = append(in.spools, s)
	in.sources = append(in.sources, source{name: name, open: s.open})
}

func (in *input) argument(ctx context.Context, arg string) {
	info, err := os.Stat(arg)
	switch {
	case errors.Is(err, fs.ErrNotExist) && strings.ContainsAny(arg, "*?[{"):
		in.glob(arg)
	case err != nil:
		in.fail(arg, err)
	case info.IsDir():
		in.folder(ctx, arg)
	default:
		in.file(arg, info)
	}
}

// glob is for shells that leave ** alone, and for patterns in quotes.
func (in *input) glob(pattern string) {
	matches, err := doublestar.FilepathGlob(pattern)
	if err != nil {
		in.fail(pattern, errors.New("no file has this name, and it is no glob"))
		return
	}
	slices.Sort(matches)
	found := 0
	for _, m := range matches {
		info, err := os.Stat(m)
		if err != nil || info.IsDir() || !isManifestName(m) || in.excluded(m) {
			continue
		}
		found++
		if in.options.noIgnore || !ignored(ignoreFor(m), m, false) {
			in.file(m, info)
		}
	}
	if found == 0 {
		in.fail(pattern, errors.New("no *.yaml, *.yml or *.json file matches"))
	}
}

func (in *input) folder(ctx context.Context, arg string) {
	root := arg
	if !strings.HasSuffix(root, string(filepath.Separator)) {
		root += string(filepath.Separator) // leads through a symbolic link
	}
	before := len(in.errs)
	w := &walker{input: in, arg: arg}
	var patterns []gitignore.Pattern
	if !in.options.noIgnore {
		if patterns = ignoreFor(arg); ignored(patterns, arg, true) {
			patterns = nil // it was asked for
		}
	}
	w.walk(ctx, root, patterns, nil)
	switch {
	case w.found || len(in.errs) > before:
	case w.left:
		in.fail(arg, errors.New("every *.yaml, *.yml and *.json file in this folder is left out by .gitignore or --exclude; --no-ignore reads those of .gitignore"))
	default:
		in.fail(arg, errors.New("no *.yaml, *.yml or *.json file in this folder"))
	}
}

// A walker reads one folder.
type walker struct {
	*input
	arg   string
	found bool // a file, which another argument may have named already
	left  bool // a file or folder was left out
}

// walk reads a folder with all that is below it. dir is as reports name it; in: the chart or kustomization that it belongs to.
func (w *walker) walk(ctx context.Context, dir string, patterns []gitignore.Pattern, in *tree) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		w.fail(strings.TrimSuffix(dir, string(filepath.Separator)), err)
		return
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	if names[".gitignore"] && !w.options.noIgnore {
		patterns = append(slices.Clip(patterns), readIgnore(dir)...)
	}
	if t := treeOf(dir, names, in); t != in {
		if in = t; w.render(ctx, t) {
			w.found = true
		}
	}
	if in != nil && in.rendered && in.chart {
		return
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		name := filepath.Join(dir, e.Name())
		isDir := e.IsDir()
		if !isDir && !isManifest(name, e) || isDir && strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if w.excluded(name) || !w.options.noIgnore && ignored(patterns, name, isDir) {
			w.left = true
			continue
		}
		if isDir {
			w.walk(ctx, name, patterns, in)
			continue
		}
		w.found = true
		if in != nil && in.rendered {
			continue
		}
		info, err := os.Stat(name)
		if err == nil && w.options.repairs && leadsOut(w.arg, name, e) {
			err = errors.New("is a symbolic link that leads out of the folder; name the file itself to repair it")
		}
		if err != nil {
			w.fail(name, err)
		} else {
			w.fileOf(name, info, in)
		}
	}
}

// excluded reports whether a glob of --exclude names a file or folder, by its whole path or by the end of it.
func (in *input) excluded(name string) bool {
	slash := filepath.ToSlash(filepath.Clean(name))
	for _, g := range in.options.exclude {
		g = strings.TrimSuffix(path.Clean(filepath.ToSlash(g)), "/")
		for _, pattern := range []string{g, "**/" + g, g + "/**", "**/" + g + "/**"} {
			if ok, _ := doublestar.Match(pattern, slash); ok { // the pattern is valid
				return true
			}
		}
	}
	return false
}

// isManifest looks through symbolic links, which a mounted ConfigMap consists of, and leaves out what is no file.
func isManifest(path string, d fs.DirEntry) bool {
	if !isManifestName(path) {
		return false
	}
	if d.Type()&fs.ModeSymlink != 0 {
		info, err := os.Stat(path)
		return err != nil || info.Mode().IsRegular() // a dangling link is reported by who opens it
	}
	return d.Type().IsRegular()
}

// leadsOut reports whether an entry of a folder is a symbolic link to what is not below that folder: who may add files to it should
// not have others repaired.
func leadsOut(folder, name string, d fs.DirEntry) bool {
	if d.Type()&fs.ModeSymlink == 0 {
		return false
	}
	root, err := filepath.EvalSymlinks(folder)
	if err == nil {
		root, err = filepath.Abs(root)
	}
	target, err2 := filepath.EvalSymlinks(name)
	if err2 == nil {
		target, err2 = filepath.Abs(target)
	}
	rel, err3 := filepath.Rel(root, target)
	return err != nil || err2 != nil || err3 != nil || !filepath.IsLocal(rel)
}

func isManifestName(path string) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (in *input) file(name string, info fs.FileInfo) {
	if in.excluded(name) {
		return
	}
	in.fileOf(name, info, chartAbove(name))
}

// fileOf adds a file, which may belong to a chart or a kustomization.
func (in *input) fileOf(name string, info fs.FileInfo, t *tree) {
	clean := filepath.Clean(name)
	if in.seen[clean] {
		return
	}
	in.seen[clean] = true
	if t != nil && t.isTemplate(name) {
		in.template(t)
		return
	}
	if !info.Mode().IsRegular() { // a pipe, as <(helm template shop) is one
		in.spool(name, &pipe{name: name})
		return
	}
	in.sources = append(in.sources, source{name: name, size: info.Size(), open: func() (io.ReadCloser, error) { return os.Open(name) }})
}

func (in *input) fail(file string, err error) {
	if errors.Is(err, manifest.ErrNotObject) {
		in.notObjects++
		return
	}
	e := report.Error{File: file, Audited: errors.Is(err, manifest.ErrDuplicateKey)}
	var at *manifest.Error
	if errors.As(err, &at) {
		e.Line, e.Column, err = at.Line, at.Column, at.Err
	}
	e.Message = strings.TrimPrefix(cause(err).Error(), "read: ")
	in.errs = append(in.errs, e)
}

// ignoreFor returns what the .gitignore files of a folder's repository say about it; those of the folder itself are not among them.
func ignoreFor(dir string) []gitignore.Pattern {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	var above []string
	for at := filepath.Dir(abs); ; at = filepath.Dir(at) {
		above = append(above, at)
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			break
		}
		if at == filepath.Dir(at) { // no repository
			return nil
		}
	}
	if _, err := os.Lstat(filepath.Join(abs, ".git")); err == nil {
		return nil
	}
	var patterns []gitignore.Pattern
	for _, at := range slices.Backward(above) {
		patterns = append(patterns, readIgnore(at)...)
	}
	return patterns
}

// readIgnore reads the .gitignore of a folder; one that cannot be read says nothing.
func readIgnore(dir string) []gitignore.Pattern {
	data, err := os.ReadFile(filepath.Join(dir, ".gitignore"))
	if err != nil {
		return nil
	}
	domain := elements(dir)
	var patterns []gitignore.Pattern
	for line := range strings.Lines(strings.TrimPrefix(string(data), "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			patterns = append(patterns, gitignore.ParsePattern(line, domain))
		}
	}
	return patterns
}

func ignored(patterns []gitignore.Pattern, name string, isDir bool) bool {
	return len(patterns) > 0 && gitignore.NewMatcher(patterns).Match(elements(name), isDir)
}

func elements(name string) []string {
	abs, err := filepath.Abs(name)
	if err != nil {
		abs = name
	}
	return strings.FieldsFunc(filepath.ToSlash(abs), func(r rune) bool { return r == '/' })
}
