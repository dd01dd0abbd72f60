package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/report"
)

// stdinName stands for standard input in reports.
const stdinName = "<stdin>"

// An input is everything that one audit reads.
type input struct {
	docs       []*manifest.Document
	errs       []report.Error
	files      int
	notObjects int // documents without apiVersion or kind, as Helm values are

	seen map[string]bool
}

// readInput reads files, folders with all that is below them, and standard input for "-"; each file once. It ends early only
// when ctx does.
func readInput(ctx context.Context, args []string, stdin io.Reader) (*input, error) {
	in := &input{seen: map[string]bool{}}
	for i, arg := range args {
		if arg == "-" && slices.Contains(args[:i], arg) {
			continue
		}
		if err := in.argument(ctx, arg, stdin); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *input) argument(ctx context.Context, arg string, stdin io.Reader) error {
	if arg == "-" {
		return in.read(ctx, stdinName, stdin)
	}
	info, err := os.Stat(arg)
	if err != nil {
		in.fail(arg, err)
		return nil
	}
	if !info.IsDir() {
		return in.file(ctx, arg)
	}
	manifests := 0
	root := arg + string(filepath.Separator) // leads through a symbolic link, which WalkDir does not follow
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && path == root:
			in.fail(arg, err)
		case err != nil:
			in.fail(path, err)
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case isManifest(path, d):
			manifests++
			return in.file(ctx, path)
		}
		return nil
	})
	if err == nil && manifests == 0 {
		in.fail(arg, errors.New("no *.yaml, *.yml or *.json file in this folder"))
	}
	return err
}

// isManifest looks through symbolic links, which a mounted ConfigMap consists of, and leaves out what is no file.
func isManifest(path string, d fs.DirEntry) bool {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".yaml", ".yml", ".json":
	default:
		return false
	}
	if d.Type()&fs.ModeSymlink != 0 {
		info, err := os.Stat(path)
		return err != nil || info.Mode().IsRegular() // a dangling link is reported by who opens it
	}
	return d.Type().IsRegular()
}

func (in *input) file(ctx context.Context, path string) error {
	if clean := filepath.Clean(path); in.seen[clean] {
		return nil
	} else {
		in.seen[clean] = true
	}
	f, err := os.Open(path)
	if err != nil {
		in.fail(path, err)
		return nil
	}
	defer f.Close()
	return in.read(ctx, path, f)
}

// read gives up when ctx ends: reading from a terminal or a pipe cannot be interrupted otherwise.
func (in *input) read(ctx context.Context, name string, r io.Reader) error {
	type result struct {
		docs []*manifest.Document
		errs []error
	}
	done := make(chan result, 1)
	go func() {
		docs, errs := manifest.Read(name, r)
		done <- result{docs, errs}
	}()
	select {
	case <-ctx.Done():
		return errors.New("interrupted")
	case got := <-done:
		in.files++
		in.docs = append(in.docs, got.docs...)
		for _, err := range got.errs {
			in.fail(name, err)
		}
		return nil
	}
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
