package rules

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A CEL is a rule in the Common Expression Language, in which the API server judges and repairs objects itself. pkg/export makes
// manifests of it; e2e holds it to the Go rule on every test case of the rule.
//
// Source: k8s.io/apiserver v0.37, pkg/cel/environment/base.go; lists.flatten and slice are there from v1.34 on.
type CEL struct {
	// Never says why the rule cannot be expressed; "" if Write is set.
	Never string
	// Needs says what must be in the policy, where Write returns nil.
	Needs string
	// Differences are what the exported policy does otherwise than the webhook.
	Differences []string
	// Cases are test cases of which the outcome is another one, by the name of their file, with the reason.
	Cases map[string]string
	// Targets are those of the rule that are exported; none: all.
	Targets []Target
	// Write returns the rule as the policy sets it; nil: the policy gives it nothing to do.
	Write func(*Active, *Policy) *Expressions
}

// Expressions are one rule in CEL. In them $object and $old stand for the object and the stored one (null where there is none),
// and $name for a variable. Whatever is missing in an object must not be an error: it would switch the rule off for the request.
type Expressions struct {
	Variables []Variable // each may use those before it
	// Patch is a list of JSONPatch, for leaf objects; "": nothing is repaired.
	Patch string
	// Faults is a list of what celFault makes; "": nothing is judged.
	Faults string
}

// A Variable is a named expression.
type Variable struct{ Name, Expression string }

// noParser is the reason of the rules about configuration texts.
const noParser = "reads the configuration language of a program, for which CEL has no parser"

// auditAlone is the reason of the rules that look at files.
const auditAlone = "is for an audit of files: the webhook does not judge it either"

// celLevel is the level of a fault: "deny" where nothing else speaks for it and the policy's level is deny.
func celLevel(a *Active) string {
	if a.Level == Deny {
		return "deny"
	}
	return "warn"
}

// celFault makes one element of Faults. All are CEL expressions that give texts. Old and new faults are compared by subject and
// value, and string() is for the compiler, which wants one type in a map; level is "deny", or "warn" for what a webhook would not refuse either: a limited finding, or one that it repairs.
func celFault(id, level, path, subject, value, message string) string {
	return "{'level': " + level + ", 'key': string(" + subject + " + '\\n' + " + value + "), 'text': string(" + path + " + ': ' + " + message + " + ' [" + id + "]')}"
}

// celQuoted is quote in CEL.
func celQuoted(s string) string {
	return `'"' + (size(` + s + `) > 40 ? ` + s + `.substring(0, 39) + '…' : ` + s + `).replace('\n', ' ') + '"'`
}

// celIPv4 is ipFamily(s) == "IPv4" in CEL, whose own isIP takes neither leading zeros nor IPv4 in IPv6 form, and celAnyIPv4 is
// isUnspecified for these.
func celIPv4(s string) string    { return s + ".matches(r'" + celIPv4Text + "')" }
func celAnyIPv4(s string) string { return s + ".matches(r'" + celAnyIPv4Text + "')" }

const (
	ipv4Octet      = `0*(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])`
	ipv4Mapped     = `(?:0{0,4}:){2,5}ffff:`
	celIPv4Text    = `(?i)^(?:` + ipv4Mapped + `)?` + ipv4Octet + `(?:\.` + ipv4Octet + `){3}$|^` + ipv4Mapped + `[0-9a-f]{1,4}:[0-9a-f]{1,4}$`
	celAnyIPv4Text = `(?i)^(?:` + ipv4Mapped + `)?0+(?:\.0+){3}$|^` + ipv4Mapped + `0{1,4}:0{1,4}$`
)

// celString writes a text as a literal. The $ of our own placeholders is escaped.
func celString(s string) string {
	return strings.ReplaceAll(strconv.Quote(clean(s)), "$", `\x24`)
}

func celList(values []string) string {
	var out []string
	for _, v := range values {
		out = append(out, celString(v))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// celGlob is globAny in CEL: it returns "true" or "false" where that is known.
func celGlob(s string, patterns []string) string {
	var exact, tests []string
	for _, p := range patterns {
		switch {
		case p == "*":
			return "true"
		case !strings.Contains(p, "*"):
			exact = append(exact, p)
		default:
			var parts []string
			for part := range strings.SplitSeq(p, "*") {
				parts = append(parts, regexp.QuoteMeta(part))
			}
			tests = append(tests, s+".matches("+celString("^"+strings.Join(parts, ".*")+"$")+")")
		}
	}
	if len(exact) > 0 {
		tests = append(tests, s+" in "+celList(exact))
	}
	return celAny(tests...)
}

// celAny and celAll join tests, leaving out what is known.
func celAny(tests ...string) string { return celJoin(tests, " || ", "false", "true") }
func celAll(tests ...string) string { return celJoin(tests, " && ", "true", "false") }

func celJoin(tests []string, op, neutral, absorbing string) string {
	tests = slices.DeleteFunc(slices.Clone(tests), func(t string) bool { return t == neutral })
	switch {
	case slices.Contains(tests, absorbing):
		return absorbing
	case len(tests) == 0:
		return neutral
	case len(tests) == 1:
		return tests[0]
	}
	return "(" + strings.Join(tests, op) + ")"
}

func celNot(test string) string {
	switch test {
	case "true":
		return "false"
	case "false":
		return "true"
	}
	return "!(" + test + ")"
}

const (
	celNamespace = "request.?namespace.orValue('')" // of objects without one it is not even empty
	celName      = "($object.metadata.?name.orValue('') != '' ? $object.metadata.name : $object.metadata.?generateName.orValue(''))"
)

// celPod is podPath in CEL, for the kinds of these targets.
func celPod(targets []Target) string {
	kind := func(k string) bool { return slices.ContainsFunc(targets, func(t Target) bool { return t.Kind == k }) }
	out := "$object.?spec.?template.orValue({})"
	if kind("CronJob") {
		out = "request.kind.kind == 'CronJob' ? $object.?spec.?jobTemplate.?spec.?template.orValue({}) : " + out
	}
	if kind("PodTemplate") {
		out = "request.kind.kind == 'PodTemplate' ? $object.?template.orValue({}) : " + out
	}
	return "dyn(request.kind.kind == 'Pod' ? dyn($object) : " + out + ")"
}

// celPodPath is the path of the same as people write it.
const celPodPath = "(request.kind.kind == 'Pod' ? '' : request.kind.kind == 'PodTemplate' ? 'template.' : " +
	"request.kind.kind == 'CronJob' ? 'spec.jobTemplate.spec.template.' : 'spec.template.')"

// celMirror and celWindows are isMirror and isWindows of $object and $pod.
const (
	celMirror  = "'kubernetes.io/config.mirror' in $object.metadata.?annotations.orValue({})"
	celWindows = "($pod.?spec.?os.?name.orValue('') == 'windows' || " +
		"['kubernetes.io/os', 'beta.kubernetes.io/os'].exists(l, $pod.?spec.?nodeSelector[?l].orValue('') == 'windows'))"
	celHostNetwork = "$pod.?spec.?hostNetwork.orValue(false)"
)

// celLists are the lists of containers that a pod has; spec.containers is null in one that the API server has yet to refuse.
func celLists(pod string) string {
	return "['initContainers', 'containers', 'ephemeralContainers'].filter(l, type(" + pod + ".?spec[?l].orValue([])) == list)"
}

// Skips are the conditions, all of which must hold for a rule to look at an object: what the policy excludes, the exceptions that
// have not expired, and opt-outs. The first of each pair is its name.
func (s *Set) Skips(a *Active, targets []Target) [][2]string {
	p := s.policy
	objects := func(patterns []string) string {
		var tests []string
		for _, pattern := range patterns {
			parts := strings.Split(pattern, "/")
			if len(parts) != 3 {
				continue
			}
			var kinds []string
			for _, t := range targets {
				_, isPod := podPath(NewObject(map[string]any{"apiVersion": strings.TrimPrefix(t.Group+"/"+t.Version, "/"), "kind": t.Kind}))
				if (globMatch(parts[1], t.Kind) || isPod && globMatch(parts[1], "Pod")) && !slices.Contains(kinds, t.Kind) {
					kinds = append(kinds, t.Kind)
				}
			}
			kind := "false"
			switch {
			case len(kinds) > 0 && !slices.ContainsFunc(targets, func(t Target) bool { return !slices.Contains(kinds, t.Kind) }):
				kind = "true"
			case len(kinds) > 0:
				kind = "request.kind.kind in " + celList(kinds)
			}
			tests = append(tests, celAll(celGlob(celNamespace, parts[:1]), kind, celGlob(celName, parts[2:])))
		}
		return celAny(tests...)
	}
	var excepted []string
	for _, e := range p.Exceptions {
		if e.Rule == a.ID && !s.Expired(&e) {
			excepted = append(excepted, objects(e.Objects))
		}
	}
	var out [][2]string
	add := func(name, test string) {
		if test = celNot(test); test != "true" {
			out = append(out, [2]string{name, strings.ReplaceAll(test, "$object", "object")})
		}
	}
	add("not-an-excluded-namespace", celGlob(celNamespace, p.Exclude.Namespaces))
	if !a.System || !slices.Equal(p.Exclude.Objects, defaultExcludedObjects()) {
		add("not-an-excluded-object", objects(p.Exclude.Objects))
	}
	add("not-an-exception", celAny(excepted...))
	add("not-opted-out", p.celOptOut(a.ID, targets))
	return out
}

// Until returns the day on which an exception of the policy for a rule ends that has been exported as one without end; "" if
// there is none.
func (s *Set) Until(id string) string {
	first := ""
	for _, e := range s.policy.Exceptions {
		if _, err := time.Parse(time.DateOnly, e.Until); err == nil && e.Rule == id && !s.Expired(&e) && (first == "" || e.Until < first) {
			first = e.Until
		}
	}
	return first
}

// celOptOut is optOut for annotations: those of the object, else of its pod template.
func (p *Policy) celOptOut(id string, targets []Target) string {
	var forbidden []string
	for _, f := range p.ForbidOptOut {
		if len(f.Rules) > 0 && !slices.Contains(f.Rules, id) {
			continue
		}
		where := "true"
		if len(f.Namespaces) > 0 {
			where = celGlob(celNamespace, f.Namespaces)
		}
		forbidden = append(forbidden, where)
	}
	key := celString(OptOutPrefix + id)
	reason := func(o string) string { return o + ".?metadata.?annotations[?" + key + "]" }
	text := reason("object")
	if slices.ContainsFunc(targets, func(t Target) bool { return t.Kind != "Pod" && t.Kind != "Service" }) {
		text += ".or(" + reason(celPod(targets)) + ")"
	}
	return celAll(celNot(celAny(forbidden...)), text+".orValue('').trim() != ''")
}

// Active returns the active rules in the order of All, whatever they look at.
func (s *Set) Active() []*Active {
	var out []*Active
	for _, r := range All() {
		for _, t := range r.Targets {
			i := slices.IndexFunc(s.byKey[t.key()], func(a *Active) bool { return a.ID == r.ID })
			if i >= 0 {
				out = append(out, s.byKey[t.key()][i])
				break
			}
		}
	}
	return out
}
