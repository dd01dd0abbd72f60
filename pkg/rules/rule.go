// Package rules knows how an object can fail on an IPv6-only Kubernetes cluster, and how it is repaired.
//
// One rule is one fault with its repair. pkg/mutate and pkg/validate are the two verbs over rules; the admission webhook
// and the command line are the two places where the verbs are used. Nothing here does I/O.
package rules

import (
	"cmp"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Level is the verdict on a fault that is left unrepaired.
type Level int

// Levels in rising order. None is the level of a rule that only adds something: there is nothing to judge.
const (
	None Level = iota
	Off
	Warn
	Deny
)

var levelNames = [...]string{None: "none", Off: "off", Warn: "warn", Deny: "deny"}

// String is the level as the policy and the reports write it.
func (l Level) String() string { return levelNames[l] }

// ParseLevel reads off, warn or deny.
func ParseLevel(s string) (Level, error) {
	for l := Off; l <= Deny; l++ {
		if levelNames[l] == s {
			return l, nil
		}
	}
	return None, fmt.Errorf("unknown level %q: must be off, warn or deny", s)
}

// An Operation is an admission operation.
type Operation string

// The operations that rules judge.
const (
	Create Operation = "CREATE"
	Update Operation = "UPDATE"
)

// A Target is one resource that a rule looks at. Targets drive dispatch and the generated webhook registrations.
type Target struct {
	Group, Version, Resource, Kind, Subresource string
	// Leaf objects are repaired at admission. Workloads are not: mutating a template makes GitOps tools and operators
	// fight, and its Pods are repaired anyway.
	Leaf bool
	// Cluster is true for a resource without namespace.
	Cluster bool
	// Asked targets are looked at only where the policy says so, and are not registered: Secrets.
	Asked bool
	// AuditOnly targets are looked at in an audit of files, never at admission, and are not registered: the configuration of a
	// cluster, which is written before any webhook runs.
	AuditOnly  bool
	Operations []Operation
}

// A Rule is one way an object can fail on an IPv6-only cluster, with its repair.
type Rule struct {
	ID     string // kebab-case, never reused: "service-ip-family"
	Title  string // one line
	Since  string // the first version that has it
	Level  Level  // verdict on what is left unrepaired, by default; None: a pure addition
	Mutate bool   // the webhook applies the fixes of leaf objects; otherwise only a person or `sixgate fix` does
	// MayMutate: the webhook applies them too where the policy says so.
	MayMutate bool
	// System: it also looks at what exclude.objects names by default, the objects of kube-system; not at what a policy excludes.
	System bool
	// Targets are what it looks at.
	Targets []Target
	// Check returns the faults. It is pure: no I/O, and it changes nothing.
	Check func(*Request) []Finding
	// CEL is the rule in the API server's own language, for those who run no webhook, or why it cannot be written.
	CEL *CEL
}

// A Request is what a rule may look at.
type Request struct {
	Object      *Object
	Old         *Object // the stored object on UPDATE, else nil
	Operation   Operation
	Subresource string // "ephemeralcontainers", else ""
	Namespace   string // the namespace of the request; "default" where a manifest names none
	Policy      *Policy
	Index       *Index // the other objects of the same input; nil at admission
	Audit       bool   // files are looked at, for a person: targets that are AuditOnly count too
	// Asked is set by a rule that asks the Index: another one could give another answer.
	Asked bool
	// Known, where not nil, is what each rule says of this request, for who has asked all of them.
	Known map[*Active][]Finding
}

// others is the Index, for every rule that asks it.
func (req *Request) others() *Index {
	req.Asked = true
	return req.Index
}

// A TextPos is a position inside a configuration text that is the value of a field: 1-based line and column.
type TextPos struct{ Line, Column int }

// A Finding is one fault, or one addition, at one field.
type Finding struct {
	Rule *Rule
	Path Path
	Text TextPos // zero unless the fault is inside a configuration text
	// Subject and Value tell whether an UPDATE made anything worse: faults are compared by them, never by index or line.
	Subject string // container, port or key
	Value   string
	// Message is "fact; imperative way out", without path and rule.
	Message string
	// Changed says what Fix did to a value that the user wrote; "" if Fix only adds.
	Changed string
	// Limit lowers the rule's level for this one finding; None does not.
	Limit Level
	// Own replaces the rule's level for this one finding, also where the rule has none.
	Own Level
	// Refused: the API server itself refuses the request for this, before validating webhooks see it.
	Refused bool
	// Fix repairs the object; nil where there is no one right answer or where it would not be legal.
	Fix func(*Object)

	// Level is the effective level; the Set fills it in.
	Level Level
}

// maxMessage is the hard limit of one admission warning, in runes (k8s.io/api/admission/v1, AdmissionResponse.Warnings).
const maxMessage = 256

// String is the finding as one line: `path: message [rule-id]`, cut at 256 runes, without control characters.
func (f Finding) String() string { return f.line(f.Message) }

// ChangedString is the line that tells the user what Fix changed, or why it added something.
func (f Finding) ChangedString() string { return f.line(cmp.Or(f.Changed, f.Message)) }

func (f Finding) line(message string) string {
	where := cut(f.Path.String(), 120) // a key may have 253 characters
	if f.Text.Line > 0 {
		where += fmt.Sprintf(":%d", f.Text.Line)
	}
	tail := " [" + f.Rule.ID + "]"
	return cut(clean(where+": "+message), maxMessage-utf8.RuneCountInString(tail)) + tail
}

// quote returns a value in quotes, cut at 40 characters.
func quote(s string) string { return `"` + cut(clean(s), 40) + `"` }

func cut(s string, runes int) string {
	if utf8.RuneCountInString(s) <= runes {
		return s
	}
	r := []rune(s)
	return string(r[:runes-1]) + "…"
}

// clean keeps a message on one line: the API server drops a warning that has a control character or bad UTF-8.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError || unicode.Is(unicode.Bidi_Control, r) { // the last ones reorder what is read
			return ' '
		}
		return r
	}, s)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// maxWarnings and maxWarningRunes keep one request's warnings within what the API server sends on: 4,096 runes in all, shared
// with every other webhook (k8s.io/apiserver, endpoints/filters/warning.go).
const (
	maxWarnings     = 12
	maxWarningRunes = 3072
)

// Lines are n warnings for Fit, which keeps a dozen at most: the others are counted, not written.
func Lines(n int, line func(i int) string) []string {
	out := make([]string, n)
	for i := range min(n, maxWarnings) {
		out[i] = line(i)
	}
	return out
}

// Fit cuts a list of warnings to what one request may carry, and says so.
func Fit(warnings []string) []string {
	runes := 0
	for i, w := range warnings {
		runes += utf8.RuneCountInString(w)
		if i == maxWarnings || runes > maxWarningRunes {
			return append(warnings[:i:i], fmt.Sprintf("%d more findings; run sixgate audit on the manifest to see all", len(warnings)-i))
		}
	}
	return warnings
}
