// Package mutate is the first verb over rules: it repairs an object. It never says no.
package mutate

import (
	"gomodules.xyz/jsonpatch/v2"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A Result is what was done to one object.
type Result struct {
	// Patch applies to the bytes that the object was parsed from; nil where nothing was changed.
	Patch []jsonpatch.Operation
	// Changed are the findings whose fix was applied.
	Changed []rules.Finding
	// Refused are findings without fix for which the API server itself will refuse the request, so that no validating
	// webhook gets to explain it.
	Refused []rules.Finding
	// Skipped are the rules that somebody switched off for this object.
	Skipped []rules.Skipped
}

// Warnings are the lines for the person at the keyboard: one for each value of theirs that was changed, and for each that
// the API server is about to refuse. What was only added needs no words.
func (r *Result) Warnings() []string {
	var out []string
	for _, f := range r.Changed {
		if f.Changed != "" {
			out = append(out, f.ChangedString())
		}
	}
	for _, f := range r.Refused {
		out = append(out, f.String())
	}
	return out
}

// Apply repairs req.Object in place, rule by rule, by what the set allows on this kind of object.
func Apply(set *rules.Set, req *rules.Request) Result {
	active, skipped := set.Rules(req)
	r := Result{Skipped: skipped}
	for _, rule := range active {
		if !rule.AtMutate() {
			continue
		}
		for _, f := range rule.Findings(req) {
			switch {
			case f.Fix != nil && rule.Repairs():
				f.Fix(req.Object)
				r.Changed = append(r.Changed, f)
			case f.Refused && f.Level >= rules.Warn:
				r.Refused = append(r.Refused, f)
			}
		}
	}
	r.Patch = req.Object.Patch()
	return r
}
