package report

import (
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
	if s.Ready == 1 {
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

// A subject is an object that a workload's readiness may hang on.
type subject struct{ namespace, kind, name string }

func (a At) subject() subject { return subject{a.Namespace, a.Kind, a.Name} }

type workload struct {
	at subject
	rules.Workload
}

type service struct {
	at       subject
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
	states := map[subject]state{}
	byNamespace := map[string]*NamespaceSummary{}
	of := func(namespace string) *NamespaceSummary {
		if byNamespace[namespace] == nil {
			byNamespace[namespace] = &NamespaceSummary{}
		}
		return byNamespace[namespace]
	}
	for i := range r.Known { // a fault, known or not
		f := &r.Known[i]
		states[f.subject()] = max(states[f.subject()], f.state())
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		states[f.subject()] = max(states[f.subject()], f.state())
		if f.Level == rules.Deny.String() {
			of(f.Namespace).Deny++
		} else {
			of(f.Namespace).Warn++
		}
	}
	// Only Services with findings matter. Equal selectors are one, so that many Services and many workloads do not multiply.
	type faulty struct {
		selector map[string]any
		state    state
	}
	services := map[string]map[string]*faulty{} // by namespace and selector
	for _, s := range r.services {
		st := states[s.at]
		if st == ready {
			continue
		}
		if services[s.at.namespace] == nil {
			services[s.at.namespace] = map[string]*faulty{}
		}
		key := fmt.Sprintf("%q", s.selector) // maps are printed sorted by key
		if services[s.at.namespace][key] == nil {
			services[s.at.namespace][key] = &faulty{selector: s.selector}
		}
		f := services[s.at.namespace][key]
		f.state = max(f.state, st)
	}
	for _, w := range r.workloads {
		st := states[w.at]
		for _, use := range w.Uses {
			kind, name, _ := strings.Cut(use, "/")
			st = max(st, states[subject{w.at.namespace, kind, name}])
		}
		for _, f := range services[w.at.namespace] {
			if f.state > st && rules.Selects(f.selector, w.Labels) {
				st = f.state
			}
		}
		r.Summary.Readiness.count(st)
		of(w.at.namespace).Readiness.count(st)
	}
	r.Summary.ByNamespace = map[string]NamespaceSummary{}
	for _, name := range slices.Sorted(maps.Keys(byNamespace)) {
		r.Summary.ByNamespace[name] = *byNamespace[name]
	}
}
