// Package validate is the second verb over rules: it reports what is left. It changes nothing.
package validate

import (
	"reflect"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A Verdict is what is wrong with one object.
type Verdict struct {
	Denied []rules.Finding // reasons to refuse the request
	Warned []rules.Finding // everything else worth saying
	// Owned: a controller made the object, so nothing is denied: what would have been stands in Warned.
	Owned   bool
	Skipped []rules.Skipped
}

// Judge looks at the final state of an object. On UPDATE only what got worse is denied.
func Judge(set *rules.Set, req *rules.Request) Verdict {
	if !set.Knows(req.Object.Group(), req.Object.Kind(), req.Subresource) || untouched(req) {
		return Verdict{}
	}
	active, skipped := set.Rules(req)
	v := Verdict{Skipped: skipped, Owned: rules.HasController(req.Object)}
	for _, rule := range active {
		stored := storedFaults(rule, req)
		for _, f := range rule.Findings(req) {
			switch {
			case f.Level < rules.Warn:
			case f.Level < rules.Deny, v.Owned, rule.Mutate && f.Fix != nil:
				// What mutate repairs is not refused: it may have failed open, and Pods of a template are repaired.
				v.Warned = append(v.Warned, f)
			case stored[fault{f.Subject, f.Value}] > 0:
				stored[fault{f.Subject, f.Value}]--
				v.Warned = append(v.Warned, f)
			default:
				v.Denied = append(v.Denied, f)
			}
		}
	}
	return v
}

// A fault is what is compared between the stored and the new object: never an index or a line, which move.
type fault struct{ subject, value string }

func storedFaults(rule *rules.Active, req *rules.Request) map[fault]int {
	if req.Operation != rules.Update || req.Old == nil {
		return nil
	}
	old := *req
	old.Object, old.Old, old.Operation = req.Old, nil, rules.Create
	count := map[fault]int{}
	for _, f := range rule.Findings(&old) {
		count[fault{f.Subject, f.Value}]++
	}
	return count
}

// untouched: the object is being deleted, or nothing that rules look at has changed. Finalizers, status, owner references
// and garbage collection must never be blocked.
func untouched(req *rules.Request) bool {
	if req.Object.Str("metadata", "deletionTimestamp") != "" {
		return true
	}
	if req.Operation != rules.Update || req.Old == nil {
		return false
	}
	now, then := req.Object.Root(), req.Old.Root()
	for _, key := range []string{"spec", "data", "stringData", "template"} {
		if !reflect.DeepEqual(now[key], then[key]) {
			return false
		}
	}
	return reflect.DeepEqual(req.Object.Map("metadata", "annotations"), req.Old.Map("metadata", "annotations"))
}
