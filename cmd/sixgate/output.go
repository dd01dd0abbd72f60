package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// An output is one report that was asked for.
type output struct{ format, file string }

// outputs is a flag that may be given several times: FORMAT[=FILE].
type outputs []output

func (o *outputs) String() string  { return "" }
func (o *outputs) Type() string    { return "FORMAT[=FILE]" }
func (o *outputs) words() []string { return report.Formats() }

func (o *outputs) Set(s string) error {
	format, file, named := strings.Cut(s, "=")
	if known := report.Formats(); !slices.Contains(known, format) {
		return fmt.Errorf("must be one of %s%s", strings.Join(known, ", "), rules.Suggest(format, known))
	}
	if file == "-" {
		file, named = "", false
	}
	if named && file == "" {
		return errors.New("no file after =")
	}
	*o = append(*o, output{format, file})
	return nil
}

// check refuses two reports in one place.
func (o outputs) check() error {
	seen := map[string]string{}
	for _, out := range o {
		place := out.file
		if place != "" {
			place = filepath.Clean(place)
		}
		first, ok := seen[place]
		switch {
		case ok && place == "":
			return fmt.Errorf("two reports on standard output, %s and %s; give one of them a file: -o %s=FILE", first, out.format, out.format)
		case ok:
			return fmt.Errorf("two reports in %s, %s and %s; give each its own file", out.file, first, out.format)
		}
		seen[place] = out.format
	}
	return nil
}

// orText is what to write: text if nobody said.
func (o outputs) orText() outputs {
	if len(o) == 0 {
		return outputs{{format: "text"}}
	}
	return o
}

// tell reports whether standard output gets this format.
func (o outputs) tell(format string) bool { return slices.Contains(o, output{format: format}) }

// brief reports whether no format lists clean objects.
func (o outputs) brief() bool {
	return !slices.ContainsFunc(o, func(out output) bool { return out.format != "text" })
}

// write replaces the file as a whole, or not at all; what is no regular file, such as a pipe, is written to as it is.
func (out output) write(write func(io.Writer) error) error {
	path, perm := out.file, os.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return errors.Join(write(f), f.Close())
		}
		perm = info.Mode().Perm()
	}
	return replaceWith(path, perm, write)
}

// repository is the folder that a CI system's paths start from: its checkout, if the working directory is in it.
func repository(dir string) string {
	for _, name := range []string{"GITHUB_WORKSPACE", "CI_PROJECT_DIR"} {
		root := os.Getenv(name)
		if rel, err := filepath.Rel(root, dir); root != "" && err == nil && filepath.IsLocal(rel) {
			return root
		}
	}
	return dir
}

func checkSourceURL(u string) error {
	if u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		return fmt.Errorf("--source-url %q: give an https URL with {file} and {line} in it", u)
	}
	return nil
}

// sourceURL is where the CI system that runs us shows a file; "" if none does. GitHub: docs.github.com, "Variables"; GitLab:
// docs.gitlab.com, "Predefined CI/CD variables".
func sourceURL() string {
	if server, repo, sha := os.Getenv("GITHUB_SERVER_URL"), os.Getenv("GITHUB_REPOSITORY"), os.Getenv("GITHUB_SHA"); server != "" && repo != "" && sha != "" {
		return server + "/" + repo + "/blob/" + sha + "/{file}#L{line}"
	}
	if project, sha := os.Getenv("CI_PROJECT_URL"), os.Getenv("CI_COMMIT_SHA"); project != "" && sha != "" {
		return project + "/-/blob/" + sha + "/{file}#L{line}"
	}
	return ""
}
