package report

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// BaselineKind heads every baseline file, with Version.
const BaselineKind = "Baseline"

// A Known fault is one entry of a baseline. It says what a finding is about, and neither in which file nor on which line.
type Known struct {
	Kind      string `json:"kind" yaml:"kind" jsonschema:"of the object"`
	Namespace string `json:"namespace" yaml:"namespace,omitempty" jsonschema:"empty for a cluster-wide object"`
	Name      string `json:"name" yaml:"name" jsonschema:"of the object"`
	Rule      string `json:"rule" yaml:"rule" jsonschema:"the ID of the rule"`
	Path      string `json:"path" yaml:"path" jsonschema:"the field, without positions in lists"`
	Value     string `json:"value" yaml:"value" jsonschema:"hash of what was found there"`
}

func (k Known) compare(other Known) int {
	return cmp.Or(cmp.Compare(k.Namespace, other.Namespace), cmp.Compare(k.Kind, other.Kind), cmp.Compare(k.Name, other.Name),
		cmp.Compare(k.Rule, other.Rule), cmp.Compare(k.Path, other.Path), cmp.Compare(k.Value, other.Value))
}

func (k Known) subject() subject { return subject{k.Namespace, k.Kind, k.Name} }

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

// known is the entry of a finding. The text of a Secret is not in it, not even as a hash, which could be guessed.
func (f *Finding) known() Known {
	fault := f.fault
	if f.Kind == "Secret" {
		fault[1] = ""
	}
	return Known{
		Kind: f.Kind, Namespace: f.Namespace, Name: f.Name, Rule: f.Rule,
		Path: listIndex.ReplaceAllString(f.Path, "[]"), Value: hash(fmt.Sprintf("%q", fault))[:16],
	}
}

// A baselineEntry is one line of a baseline file.
type baselineEntry struct {
	Known `yaml:",inline"`
	Count int `yaml:"count,omitempty"` // of equal faults; none: 1
}

type baselineFile struct {
	APIVersion string          `yaml:"apiVersion"`
	Kind       string          `yaml:"kind"`
	Findings   []baselineEntry `yaml:"findings"`
}

// A Baseline is the faults that are known and accepted for now, with how often each is there.
type Baseline map[Known]int

// Baseline is all findings of the report.
func (r *Report) Baseline() Baseline {
	b := Baseline{}
	for i := range r.Findings {
		b[r.Findings[i].known()]++
	}
	return b
}

const baselineHead = `# Faults that were there when Sixgate came: sixgate audit --baseline with this file fails only for new ones.
# Made by sixgate audit --write-baseline. One line for each; take lines out as faults are repaired, or write it again.
`

// Write writes the baseline as a file: sorted, one line for each fault, so that changes of it are easy to read and to merge.
func (b Baseline) Write(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%sapiVersion: %s\nkind: %s\n", baselineHead, Version, BaselineKind)
	if len(b) == 0 {
		fmt.Fprint(out, "findings: []\n")
		return out.Flush()
	}
	fmt.Fprint(out, "findings:\n")
	for _, k := range b.sorted() {
		e := baselineEntry{Known: k}
		if n := b[k]; n > 1 {
			e.Count = n
		}
		var node yaml.Node
		if err := node.Encode(e); err != nil {
			return fmt.Errorf("encode baseline: %w", err)
		}
		node.Style = yaml.FlowStyle
		line, err := yaml.Marshal([]*yaml.Node{&node})
		if err != nil {
			return fmt.Errorf("encode baseline: %w", err)
		}
		out.Write(line) // the error comes with Flush
	}
	return out.Flush()
}

func (b Baseline) sorted() []Known {
	keys := make([]Known, 0, len(b))
	for k := range b {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, Known.compare)
	return keys
}

var unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)

// ReadBaseline reads what Write wrote and people edited. An unknown field, a missing one and another head are errors that name
// their line where there is one.
func ReadBaseline(data []byte) (Baseline, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	var file baselineFile
	switch err := dec.Decode(&file); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("empty")
	case err != nil:
		text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "unmarshal errors:\n")
		text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
		text, _, _ = strings.Cut(text, " into ") // a Go type
		return nil, errors.New(unknownField.ReplaceAllString(text, `unknown field "$1"`))
	case file.APIVersion != Version || file.Kind != BaselineKind:
		return nil, fmt.Errorf("apiVersion %q and kind %q must be %s and %s", file.APIVersion, file.Kind, Version, BaselineKind)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: a baseline holds one")
	}
	b := Baseline{}
	for i, e := range file.Findings {
		// Configuration of a cluster, as kubeadm's, has no name.
		if e.Kind == "" || e.Rule == "" || e.Path == "" || e.Value == "" || e.Count < 0 {
			return nil, fmt.Errorf("findings[%d]: needs kind, rule, path and value", i)
		}
		b[e.Known] += max(e.Count, 1)
	}
	return b, nil
}

// Gone is an entry of the baseline that the audit did not find.
type Gone struct {
	Known
	Count   int  `json:"count" jsonschema:"how many of it are gone"`
	Audited bool `json:"audited" jsonschema:"the object was audited, so the fault is repaired or silenced; else the object is not in this input"`
}

// SetBaseline says which faults are known, before the first object is added: those are listed apart, and do not count as findings.
func (r *Report) SetBaseline(b Baseline) {
	r.baseline, r.audited = b, map[subject]*bool{}
	for k := range b {
		r.audited[k.subject()] = new(bool)
	}
}

// see notes that an object was audited, if the baseline has something of it.
func (r *Report) see(s subject) {
	seen := r.audited[s]
	switch {
	case seen == nil:
	case r.isPart:
		r.seen = append(r.seen, seen)
	default:
		*seen = true
	}
}

// applyBaseline takes the known faults out of the findings. Of equal ones the first are known.
func (r *Report) applyBaseline() {
	if r.baseline == nil {
		return
	}
	left := Baseline{}
	for k, n := range r.baseline {
		left[k] = n
	}
	findings := make([]Finding, 0, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		if k := f.known(); left[k] > 0 {
			left[k]--
			r.Known = append(r.Known, *f)
		} else {
			findings = append(findings, *f)
		}
	}
	r.Findings = findings
	for _, k := range left.sorted() {
		if n := left[k]; n > 0 {
			g := Gone{Known: k, Count: n, Audited: *r.audited[k.subject()]}
			r.Gone = append(r.Gone, g)
			r.Summary.Gone += n
			if g.Audited {
				r.Summary.GoneAudited += n
			}
		}
	}
}
