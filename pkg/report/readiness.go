package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sixgate/sixgate/pkg/rules"
)

// Readiness says how far a migration is. A workload is an object that runs Pods and that no controller made; it is ready when
// nothing of level deny is found in it, in the ConfigMaps and Secrets that it uses, and in the Services that select its Pods.
type Readiness struct {
	Workloads     int `json:"workloads" jsonschema:"objects that run Pods and that no controller made"`
	Ready         int `json:"ready" jsonschema:"with nothing of level deny in them, in the ConfigMaps and Secrets they use and in the Services that select them"`
	Warned        int `json:"warned" jsonschema:"of the ready ones, those with a finding of level warn"`
	ReadyAfterFix int `json:"readyAfterFix" jsonschema:"not ready, but sixgate fix has a repair for every finding of level deny"`
	NeedPerson    int `json:"needPerson" jsonschema:"not ready, and a finding of level deny has no repair"`
}

// String is the readiness as one sentence for people, "" without workloads.
func (s Readiness) String() string {
	if s.Workloads == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s", s.Ready, count(s.Workloads, "workload"))
	if s.Ready == 1 || s.Workloads == 1 {
		b.WriteString(" is ready")
	} else {
		b.WriteString(" are ready")
	}
	if s.Warned > 0 {
		fmt.Fprintf(&b, " (%d with warnings)", s.Warned)
	}
	if s.ReadyAfterFix > 0 {
		fmt.Fprintf(&b, "; %d more after `sixgate fix`", s.ReadyAfterFix)
	}
	switch {
	case s.NeedPerson == 1:
		b.WriteString("; 1 needs a person")
	case s.NeedPerson > 1:
		fmt.Fprintf(&b, "; %d need a person", s.NeedPerson)
	}
	return b.String()
}

// A state is the worst that is found in an object.
type state int

const (
	ready state = iota
	warned
	fixable
	person
)

func (f *Finding) state() state {
	switch {
	case f.Level != rules.Deny.String():
		return warned
	case f.Fixable:
		return fixable
	}
	return person
}

// A subject is an object as others name it. One input may have several, in files for different clusters.
type subject struct{ namespace, kind, name string }

// A document is an object by its place in the input.
type document struct {
	file         string
	number, item int
}

func (a At) subject() subject   { return subject{a.Namespace, a.Kind, a.Name} }
func (a At) document() document { return document{a.File, a.Document, a.Item} }

// A workload is what must be known of an object until the end: the report of a large input has many.
type workload struct {
	namespace string
	document  document
	labels    []string // key, value, key, value
	uses      []string
}

func newWorkload(at At, w rules.Workload) workload {
	out := workload{namespace: at.Namespace, document: at.document(), uses: slices.Clip(w.Uses)}
	out.labels = make([]string, 0, 2*len(w.Labels))
	for _, key := range slices.Sorted(maps.Keys(w.Labels)) {
		if value, ok := w.Labels[key].(string); ok { // no selector asks for another one
			out.labels = append(out.labels, key, value)
		}
	}
	return out
}

// A service has findings: others make no workload unready.
type service struct {
	at       At
	selector map[string]any
}

func (s *Readiness) count(st state) {
	s.Workloads++
	switch st {
	case ready:
		s.Ready++
	case warned:
		s.Ready++
		s.Warned++
	case fixable:
		s.ReadyAfterFix++
	case person:
		s.NeedPerson++
	}
}

// countReadiness judges the workloads by what was found in all objects, and sums up by namespace.
func (r *Report) countReadiness() {
	own, states := map[document]state{}, map[subject]state{}
	byNamespace := map[string]*NamespaceSummary{}
	of := func(namespace string) *NamespaceSummary {
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = &NamespaceSummary{}
		}
		return byNamespace[namespace]
	}
	for i := range r.Known { // a fault, known or not
		f := &r.Known[i]
		own[f.document()] = max(own[f.document()], f.state())
		states[f.subject()] = max(states[f.subject()], f.state())
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		own[f.document()] = max(own[f.document()], f.state())
		states[f.subject()] = max(states[f.subject()], f.state())
		if f.Level == rules.Deny.String() {
			of(f.Namespace).Deny++
		} else {
			of(f.Namespace).Warn++
		}
	}
	// Equal selectors are one, and each is filed under its rarest label, so that many Services
	// and many workloads do not multiply.
	type faulty struct {
		namespace string
		selector  map[string]any
		state     state
	}
	type label struct{ namespace, key, value string }
	var faults []*faulty
	index, common, filed := map[string]*faulty{}, map[label]int{}, map[label][]*faulty{}
	labels := func(namespace string, m map[string]any) (out []label) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			value, _ := m[key].(string)
			out = append(out, label{namespace, key, value})
		}
		return out
	}
	for _, s := range r.services {
		st := own[s.at.document()]
		if st == ready || len(s.selector) == 0 {
			continue
		}
		key := fmt.Sprintf("%q %q", s.at.Namespace, s.selector) // maps are printed sorted by key
		f := index[key]
		if f == nil {
			f = &faulty{namespace: s.at.Namespace, selector: s.selector}
			index[key], faults = f, append(faults, f)
			for _, l := range labels(f.namespace, f.selector) {
				common[l]++
			}
		}
		f.state = max(f.state, st)
	}
	for _, f := range faults {
		l := slices.MinFunc(labels(f.namespace, f.selector), func(a, b label) int { return cmp.Compare(common[a], common[b]) })
		filed[l] = append(filed[l], f)
	}
	for _, w := range r.workloads {
		st := own[w.document]
		for _, use := range w.uses {
			kind, name, _ := strings.Cut(use, "/")
			st = max(st, states[subject{w.namespace, kind, name}])
		}
		has := map[string]any{}
		for pair := range slices.Chunk(w.labels, 2) {
			has[pair[0]] = pair[1]
		}
		for _, l := range labels(w.namespace, has) {
			for _, f := range filed[l] {
				if f.state > st && rules.Selects(f.selector, has) {
					st = f.state
				}
			}
		}
		r.Summary.Readiness.count(st)
		of(w.namespace).Readiness.count(st)
	}
	r.Summary.ByNamespace = map[string]NamespaceSummary{}
	for _, name := range slices.Sorted(maps.Keys(byNamespace)) {
		r.Summary.ByNamespace[name] = *byNamespace[name]
	}
}
