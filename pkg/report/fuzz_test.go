package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"gomodules.xyz/jsonpatch/v2"

	"github.com/sixgate/sixgate/pkg/rules"
)

// FuzzWrite: whatever the texts of an object and of its findings are, each format stays what it is, and nothing in it is obeyed by a
// terminal, a browser or a CI system.
func FuzzWrite(f *testing.F) {
	f.Add("shop.yaml", "web", "shop", `"IPv4" is not a family of this cluster`, "ipFamilies: [IPv4]")
	f.Add("../../etc/passwd%00#?//x:y", "</script><script>alert(1)</script>", "]]>&amp;<!--", "::error file=a::b\n##[command]", "\x1b[31m\x9b31m\u202e\u2028")
	f.Add("javascript:alert(1)", "a|b`c``d", "@everyone [x](javascript:y)", "---\n- !!binary x: &a *a", "\x00\xff\xfe\ufffe\uffff")
	f.Add("file:///c:\\x\\y.yaml", "{{.}}\t", "</textarea>", "%0A::set-output name=a::b", "\r\r\n")
	f.Fuzz(func(t *testing.T, file, name, namespace, message, source string) {
		r := New()
		at := At{File: file, Document: 1, Line: 3, Column: 2, Kind: name, Namespace: namespace, Name: name, apiVersion: "v1"}
		source, caret := excerpt(source, 0)
		f := rules.Finding{Rule: rules.All()[0], Path: rules.Path{"data", name}, Message: message, Level: rules.Deny}
		r.Findings = append(r.Findings, Finding{
			At: at, Rule: f.Rule.ID, Level: "deny", Path: f.Path.String(), Message: message, Chart: name, Template: file, Values: []string{message},
			where: f.Path.String(), line: f.String(), source: source, caret: caret, origin: name, fault: [2]string{name, message},
		})
		r.Objects = append(r.Objects, Object{At: at, Outcome: Denied, Changes: []string{message}, Patch: []jsonpatch.Operation{{Operation: "add", Path: "/" + name, Value: message}}})
		r.Skipped = append(r.Skipped, Skipped{At: at, Rule: f.Rule.ID, Reason: message, By: ByAnnotation})
		r.Errors = append(r.Errors, Error{File: file, Line: 1, Message: message})
		r.Finish(rules.Deny)
		for _, format := range Formats() {
			var b bytes.Buffer
			if err := r.Write(&b, format, Options{Root: "/repository", Dir: "/repository/dir", FailOn: rules.Deny, SourceURL: "https://git.example.net/blob/{file}#L{line}"}); err != nil {
				t.Errorf("%s: %v", format, err)
				continue
			}
			check(t, format, b.Bytes())
		}
	})
}

func check(t *testing.T, format string, data []byte) {
	t.Helper()
	bad := func(what any) { t.Errorf("%s: %v in\n%q", format, what, data) }
	if !utf8.Valid(data) {
		bad("invalid UTF-8")
	}
	if format == "text" || format == "github" || format == "markdown" { // programs read the others
		if i := bytes.IndexFunc(data, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }); i >= 0 {
			bad("a control character")
		}
	}
	if bytes.ContainsAny(data, "\x00\x07\x1b") {
		bad("a character that terminals obey")
	}
	switch format {
	case "text":
		if bytes.ContainsFunc(data, func(r rune) bool { return unicode.Is(unicode.Bidi_Control, r) }) {
			bad("text that runs backwards")
		}
	case "json", "sarif", "gitlab":
		if !json.Valid(data) {
			bad("no JSON")
		}
	case "yaml", "openreports", "policyreport":
		dec := yaml.NewDecoder(bytes.NewReader(data))
		for {
			var v any
			err := dec.Decode(&v)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				bad(err)
				break
			}
		}
	case "junit":
		dec := xml.NewDecoder(bytes.NewReader(data))
		for {
			_, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				bad(err)
				break
			}
		}
	case "github":
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "::error ") && !strings.HasPrefix(line, "::warning ") && !strings.HasPrefix(line, "::notice ") {
				bad("no command: " + line)
			}
		}
	case "html":
		if n := bytes.Count(bytes.ToLower(data), []byte("<script")); n != 2 {
			bad("scripts")
		}
		if bytes.Contains(bytes.ToLower(data), []byte(`href="javascript:`)) {
			bad("a link that is a program")
		}
	}
	if format == "sarif" {
		var log struct {
			Runs []struct {
				Results []struct {
					Locations []struct {
						PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
					}
				}
			}
		}
		if err := json.Unmarshal(data, &log); err != nil {
			bad(err)
		}
		for _, r := range log.Runs[0].Results {
			for _, l := range r.Locations {
				if scheme, _, ok := strings.Cut(l.PhysicalLocation.ArtifactLocation.URI, ":"); ok && !strings.Contains(scheme, "/") {
					bad("a URI with a scheme: " + l.PhysicalLocation.ArtifactLocation.URI)
				}
			}
		}
	}
}
