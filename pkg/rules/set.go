package rules

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// OptOutPrefix heads the annotation by which one object opts out of one rule; its value is the reason.
const OptOutPrefix = "sixgate.io/ignore."

// A Set is the rules as one policy sets them. It is safe for concurrent use.
type Set struct {
	policy *Policy
	byKey  map[targetKey][]*Active
	asked  map[targetKey][]*Active // without those that are AuditOnly
	pods   []*Active               // for pods that lie in custom resources
	now    func() time.Time
}

// An Active rule is a rule as the policy sets it.
type Active struct {
	*Rule
	Level  Level
	Mutate bool
	target Target // by which it was looked up
	// embedded: it judges the pods in an object, as if each were one.
	embedded bool
}

// AtMutate reports whether the rule has anything to do or to say before the API server validates objects of this kind.
func (a *Active) AtMutate() bool { return (a.Rule.Mutate || a.Mutate) && a.target.Leaf }

// Repairs reports whether the webhook applies the fixes of this rule to objects of the kind that was looked up.
func (a *Active) Repairs() bool { return a.Mutate && a.target.Leaf }

// A Skipped rule did not look at the object, because somebody said so.
type Skipped struct {
	Rule, Reason string
	Exception    *Exception // of the policy; nil: an annotation of the object
	Active       *Active    // the rule, for those who ask what it would have said
}

// NewSet returns the rules that a policy switches on. On a cluster that is not IPv6-only that is none: Sixgate must be
// harmless where it does not belong.
func NewSet(p *Policy) *Set { return NewSetAt(p, time.Now) }

// NewSetAt is NewSet with another clock, which says when exceptions end.
func NewSetAt(p *Policy, now func() time.Time) *Set {
	s := &Set{policy: p, byKey: map[targetKey][]*Active{}, asked: map[targetKey][]*Active{}, now: now}
	if !p.Cluster.IPv6Only() {
		return s
	}
	for _, r := range All() {
		a := Active{Rule: r, Level: r.Level, Mutate: r.Mutate}
		if set, ok := p.Rules[r.ID]; ok {
			if set.Level != None && (r.Level != None || set.Level == Off) {
				a.Level = set.Level
			}
			if set.Mutate != nil {
				a.Mutate = (r.Mutate || r.MayMutate) && *set.Mutate
			}
		}
		if a.Level == Off {
			continue
		}
		for _, t := range r.Targets {
			if t.Asked && !p.Secrets {
				continue
			}
			a := a
			a.target = t
			s.byKey[t.key()] = append(s.byKey[t.key()], &a)
			if !t.AuditOnly {
				s.asked[t.key()] = append(s.asked[t.key()], &a)
			}
		}
	}
	for _, a := range s.byKey[targetKey{"", "PodTemplate", ""}] {
		a := *a
		a.embedded = true
		s.pods = append(s.pods, &a)
	}
	return s
}

// Policy is the policy that the set was made from.
func (s *Set) Policy() *Policy { return s.policy }

// AuditOnly reports whether the webhook never asks this rule about objects of the kind that was looked up.
func (a *Active) AuditOnly() bool { return a.target.AuditOnly }

// Creation is the request by which the API server asks about a new object; namespace is for one that names none.
func (s *Set) Creation(o *Object, namespace string) Request {
	req := Request{Operation: Create, Namespace: cmp.Or(o.Namespace(), namespace), Object: o}
	switch {
	case o.Group() == "" && o.Kind() == "Namespace":
		req.Namespace = o.Name() // apiserver, endpoints/handlers/create.go
	case slices.ContainsFunc(s.byKey[targetKey{o.Group(), o.Kind(), ""}], func(a *Active) bool { return a.target.Cluster }):
		req.Namespace = ""
	}
	return req
}

// Unseen reports whether the webhook never sees objects of this kind, of which some rule knows something.
func (s *Set) Unseen(o *Object) bool {
	return s.Judges(o) && len(s.asked[targetKey{o.Group(), o.Kind(), ""}]) == 0
}

// Empty reports whether no rule is active, as on a cluster that is not IPv6-only.
func (s *Set) Empty() bool { return len(s.byKey) == 0 }

// Knows reports whether any active rule looks at this kind of object.
func (s *Set) Knows(group, kind, subresource string) bool {
	return len(s.byKey[targetKey{group, kind, subresource}]) > 0
}

// Judges reports whether any active rule looks at this object in an audit: by its kind, or at a pod in it.
func (s *Set) Judges(o *Object) bool {
	return s.Knows(o.Group(), o.Kind(), "") || len(s.pods) > 0 && len(embeddedPods(o)) > 0
}

// Rules returns the active rules for a request in the order of All, and what was skipped: by an exclusion or an exception
// of the policy, or by an opt-out annotation of the object.
func (s *Set) Rules(req *Request) (active []*Active, skipped []Skipped) {
	req.Policy = s.policy
	o := req.Object
	known := s.asked
	if req.Audit {
		known = s.byKey
	}
	candidates := known[targetKey{o.Group(), o.Kind(), req.Subresource}]
	if req.Audit && req.Subresource == "" && len(embeddedPods(o)) > 0 {
		candidates = slices.Concat(candidates, s.pods)
	}
	if len(candidates) == 0 || globAny(s.policy.Exclude.Namespaces, req.Namespace) {
		return nil, nil
	}
	excluded := matchesObject(s.policy.Exclude.Objects, req.Namespace, o)
	// By default kube-system's Pods and ConfigMaps are left alone, and that is where the configuration of a cluster lies.
	if excluded && !s.policy.excludeDefault {
		return nil, nil
	}
	may := s.mayOptOut(o)
	if !excluded && !may {
		return slices.Clip(candidates), nil
	}
	for _, a := range candidates {
		if excluded && !a.System && !a.AuditOnly() {
			continue
		}
		if may {
			if reason, e, ok := s.optOut(req, a.ID); ok {
				skipped = append(skipped, Skipped{a.ID, reason, e, a})
				continue
			}
		}
		active = append(active, a)
	}
	return active, skipped
}

// Findings runs one rule and fills in what the policy decides.
func (a *Active) Findings(req *Request) []Finding {
	if req.Known != nil {
		return req.Known[a]
	}
	check := a.Check
	if a.embedded {
		check = a.checkEmbedded
	}
	found := check(req)
	kept := found[:0]
	for _, f := range found {
		f.Rule, f.Level = a.Rule, a.Level
		if f.Own != None {
			f.Level = f.Own
			if set, ok := req.Policy.Rules[a.ID]; ok && set.Level != None {
				f.Level = min(f.Level, set.Level)
			}
		}
		if f.Limit != None {
			f.Level = min(f.Level, f.Limit)
		}
		if f.Level != Off {
			kept = append(kept, f)
		}
	}
	return kept
}

// matchesObject matches "namespace/Kind/name" patterns. Kind Pod covers the workloads that make Pods too.
func matchesObject(patterns []string, namespace string, o *Object) bool {
	if len(patterns) == 0 {
		return false
	}
	if objectMatch(patterns, namespace, o.Kind(), o.Name()) {
		return true
	}
	_, isWorkload := podPath(o)
	return (isWorkload || len(embeddedPods(o)) > 0) && objectMatch(patterns, namespace, "Pod", o.Name())
}

// mayOptOut reports whether there is anything by which an object could opt out of a rule.
func (s *Set) mayOptOut(o *Object) bool {
	if len(s.policy.Exceptions) > 0 || hasOptOut(o.Map("metadata", "annotations")) {
		return true
	}
	pod, ok := templatePath(o)
	return ok && len(pod) > 0 && hasOptOut(o.Map(pod.With("metadata", "annotations")...))
}

func hasOptOut(annotations map[string]any) bool {
	for key := range annotations {
		if strings.HasPrefix(key, OptOutPrefix) {
			return true
		}
	}
	return false
}

// optOut returns why a rule does not look at this object, and the exception if it is one.
func (s *Set) optOut(req *Request, id string) (reason string, by *Exception, ok bool) {
	o := req.Object
	for i := range s.policy.Exceptions {
		e := &s.policy.Exceptions[i]
		if e.Rule == id && e.Covers(req.Namespace, o) && !s.Expired(e) {
			return "exception of " + e.Owner + ": " + e.Reason, e, true
		}
	}
	reason, ok = annotation(o, OptOutPrefix+id)
	if !ok || strings.TrimSpace(reason) == "" || s.policy.optOutForbidden(id, req.Namespace) {
		return "", nil, false
	}
	return reason, nil, true
}

// Expired reports whether an exception has ended: it holds to the end of its last day, in UTC.
func (s *Set) Expired(e *Exception) bool {
	until, err := time.Parse(time.DateOnly, e.Until)
	return err == nil && !s.now().Before(until.AddDate(0, 0, 1))
}

func (p *Policy) optOutForbidden(id, namespace string) bool {
	return slices.ContainsFunc(p.ForbidOptOut, func(f ForbidOptOut) bool {
		return (len(f.Rules) == 0 || slices.Contains(f.Rules, id)) &&
			(len(f.Namespaces) == 0 || globAny(f.Namespaces, namespace))
	})
}

// annotation reads an annotation from the object, else from its pod template.
func annotation(o *Object, key string) (string, bool) {
	if v, ok := o.Get("metadata", "annotations", key); ok {
		s, isString := v.(string)
		return s, isString
	}
	if pod, ok := templatePath(o); ok && len(pod) > 0 {
		if v, ok := o.Get(pod.With("metadata", "annotations", key)...); ok {
			s, isString := v.(string)
			return s, isString
		}
	}
	return "", false
}
