package report

import (
	"fmt"

	"github.com/sixgate/sixgate/pkg/rules"
)

// States of an exception of the policy.
const (
	ExceptionUsed      = "used"
	ExceptionUnused    = "unused"
	ExceptionUnmatched = "unmatched"
	ExceptionExpired   = "expired"
)

// An Exception is one of the policy, and what it was good for.
type Exception struct {
	File    string   `json:"file" jsonschema:"the policy"`
	Line    int      `json:"line" jsonschema:"of the exception in it"`
	Rule    string   `json:"rule" jsonschema:"the rule that does not look at the objects"`
	Objects []string `json:"objects" jsonschema:"patterns: namespace/Kind/name"`
	Owner   string   `json:"owner" jsonschema:"who answers for it"`
	Reason  string   `json:"reason" jsonschema:"why"`
	Until   string   `json:"until" jsonschema:"its last day; empty: for ever"`
	State   string   `json:"state" jsonschema:"used; unused: it names objects of this input and hides nothing in them; unmatched: it names none of them; expired: it silences nothing any more"`
	Hides   int      `json:"hides" jsonschema:"what the rule would have said"`

	source *rules.Exception
}

// AddExceptions lists the exceptions of a policy that was read from a file, before the first object is audited.
func (r *Report) AddExceptions(file string, set *rules.Set) {
	for i := range set.Policy().Exceptions {
		e := &set.Policy().Exceptions[i]
		state := ExceptionUnmatched
		if set.Expired(e) {
			state = ExceptionExpired
		}
		r.Exceptions = append(r.Exceptions, Exception{
			File: file, Line: e.Line(), Rule: e.Rule, Objects: e.Objects, Owner: e.Owner, Reason: e.Reason, Until: e.Until,
			State: state, source: e,
		})
	}
}

// AddSkipped adds a rule that did not look at an object, and how much it would have said.
func (r *Report) AddSkipped(at At, s rules.Skipped, hides int) {
	by := ByAnnotation
	if s.Exception != nil {
		by = ByException
	}
	r.Skipped = append(r.Skipped, Skipped{At: at, Rule: s.Rule, Reason: s.Reason, By: by, Hides: hides})
	for i := range r.Exceptions {
		if e := &r.Exceptions[i]; e.source == s.Exception && hides > 0 {
			e.State = ExceptionUsed
			e.Hides += hides
		}
	}
}

// SeeException notes which exceptions name an object that was audited.
func (r *Report) SeeException(namespace string, o *rules.Object) {
	for i := range r.Exceptions {
		if e := &r.Exceptions[i]; e.State == ExceptionUnmatched && e.source.Covers(namespace, o) {
			e.State = ExceptionUnused
		}
	}
}

// merge adds what a part of the input says of the same exception.
func (e *Exception) merge(part *Exception) {
	e.Hides += part.Hides
	if part.State == ExceptionUsed || e.State == ExceptionUnmatched {
		e.State = part.State
	}
}

// String says what to do about an exception that is good for nothing; "" for one that is good for something, or that other
// inputs may need.
func (e *Exception) String() string {
	switch e.State {
	case ExceptionExpired:
		return expired(e.Rule, e.Owner, e.Until)
	case ExceptionUnused:
		return fmt.Sprintf("exception of %s: %s finds nothing in the objects that it names; remove it", e.Owner, e.Rule)
	}
	return ""
}

func expired(rule, owner, until string) string {
	return fmt.Sprintf("exception of %s: ended on %s, %s looks at its objects again; remove it, or agree on another date", owner, until, rule)
}
