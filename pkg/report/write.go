package report

import (
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

// Site is where Sixgate lives; the pages of the rules are below it.
const Site = "https://github.com/sixgate/sixgate"

// stdin is the name of standard input in a report.
const stdin = "<stdin>"

// Options say how a report is written.
type Options struct {
	Color   bool        // text: with the colours of a terminal
	Version string      // of this program
	FailOn  rules.Level // junit: findings at this level or above fail
	// Root is the folder that paths are relative to where a system matches them with the files of a repository; absolute.
	Root string
	// Dir is the working directory, that relative paths of the report start from; absolute.
	Dir string
	// SourceURL is where a file can be read, with {file} and {line} in it: "https://git.example/shop/blob/main/{file}#L{line}".
	SourceURL string
	// Rendered tells what to open where File is a folder that was rendered: the template, or the folder where that is no file; false
	// where File was read as it is. nil: every file was.
	Rendered func(folder, template string) (file string, ok bool)
}

// location is where people look for a place: in a file with its line and column, or in what was rendered, whose lines are not those
// of a file: 0.
func (o *Options) location(file, template string, line, column int) (string, int, int) {
	if o.Rendered != nil {
		if source, ok := o.Rendered(file, template); ok {
			return source, 0, 0
		}
	}
	return file, line, column
}

// linkTo is link for a place.
func (o *Options) linkTo(at At, template string) string {
	file, line, _ := o.location(at.File, template, at.Line, at.Column)
	return o.link(file, line)
}

// A format is one way to write a report.
type format struct {
	name  string
	write func(*Report, io.Writer, Options) error
}

// formats are in the order of the documentation.
func formats() []format {
	return []format{
		{"text", (*Report).writeText},
		{"json", (*Report).writeJSON},
		{"yaml", (*Report).writeYAML},
		{"sarif", (*Report).writeSARIF},
		{"junit", (*Report).writeJUnit},
		{"github", (*Report).writeGitHub},
		{"gitlab", (*Report).writeGitLab},
		{"markdown", (*Report).writeMarkdown},
		{"html", (*Report).writeHTML},
		{"openreports", func(r *Report, w io.Writer, o Options) error { return r.writePolicyReports(w, o, openReports) }},
		{"policyreport", func(r *Report, w io.Writer, o Options) error { return r.writePolicyReports(w, o, policyReports) }},
	}
}

// Formats are the names that Write knows.
func Formats() []string {
	var names []string
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// Write writes a finished report in one of Formats. The same report gives the same bytes.
func (r *Report) Write(w io.Writer, name string, o Options) error {
	for _, f := range formats() {
		if f.name == name {
			return f.write(r, w, o)
		}
	}
	return fmt.Errorf("unknown format %q", name)
}

// relative is a file as a slash-separated path from the root of the repository, where it is below it; "stdin" for standard input.
func (o *Options) relative(file string) string {
	if file == stdin {
		return "stdin"
	}
	abs := file
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(o.Dir, file)
	}
	if rel, err := filepath.Rel(o.Root, abs); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(filepath.Clean(file))
}

// uri is the same as a relative reference of RFC 3986.
func (o *Options) uri(file string) string {
	return (&url.URL{Path: o.relative(file)}).String()
}

// link is where a line can be read; "" if nobody said where, and for an object of a cluster.
func (o *Options) link(file string, line int) string {
	if o.SourceURL == "" || file == stdin || line == 0 {
		return ""
	}
	return strings.NewReplacer("{file}", strings.TrimPrefix(o.uri(file), "./"), "{line}", strconv.Itoa(max(line, 1))).Replace(o.SourceURL)
}

// rulePage is the documentation of a rule.
func rulePage(rule string) string { return Site + "/blob/main/docs/rules/" + rule + ".md" }

// object names an object for people: "Service shop/web".
func (a At) object() string {
	if a.Namespace == "" {
		return a.Kind + " " + a.Name
	}
	return a.Kind + " " + a.Namespace + "/" + a.Name
}

// place is where in the file: "shop.yaml:7:14"; of an object of a cluster its name.
func (a At) place() string {
	if a.Line == 0 {
		return a.File
	}
	return fmt.Sprintf("%s:%d:%d", a.File, a.Line, a.Column)
}
