package report

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A ruleCount is what one rule found.
type ruleCount struct {
	rule                string
	deny, warn, fixable int
}

// byRule counts the findings of each rule, the most frequent first.
func (r *Report) byRule() []ruleCount {
	index := map[string]int{}
	var out []ruleCount
	for i := range r.Findings {
		f := &r.Findings[i]
		at, ok := index[f.Rule]
		if !ok {
			at = len(out)
			index[f.Rule], out = at, append(out, ruleCount{rule: f.Rule})
		}
		c := &out[at]
		if f.Level == rules.Deny.String() {
			c.deny++
		} else {
			c.warn++
		}
		if f.Fixable {
			c.fixable++
		}
	}
	slices.SortFunc(out, func(a, b ruleCount) int {
		return cmp.Or(cmp.Compare(b.deny+b.warn, a.deny+a.warn), cmp.Compare(a.rule, b.rule))
	})
	return out
}

// namespaceName names the namespace of cluster-wide objects too.
func namespaceName(s string) string {
	if s == "" {
		return clusterWide
	}
	return s
}

// A namespaceRow is one line of a table for people.
type namespaceRow struct {
	name string
	NamespaceSummary
}

// namespaceRows are the namespaces with findings or with workloads that are not ready, sorted, and one row for all others.
func (r *Report) namespaceRows() []namespaceRow {
	var out []namespaceRow
	var others namespaceRow
	for _, name := range slices.Sorted(maps.Keys(r.Summary.ByNamespace)) {
		n := r.Summary.ByNamespace[name]
		if n.Deny+n.Warn > 0 || n.Ready < n.Workloads {
			out = append(out, namespaceRow{namespaceName(name), n})
			continue
		}
		others.Workloads += n.Workloads
		others.Ready += n.Ready
	}
	if n := len(r.Summary.ByNamespace) - len(out); n > 0 {
		others.name = "(" + count(n, "namespace") + " without findings)"
		out = append(out, others)
	}
	return out
}
