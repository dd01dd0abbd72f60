package rules

import (
	"slices"
	"strings"
)

// sixgateAnnotation reports annotations of ours that have no effect.
func sixgateAnnotation() *Rule {
	return &Rule{
		ID: "sixgate-annotation", Since: "v0.1.0", Level: Warn,
		Title:   "Annotation of Sixgate that has no effect",
		Targets: append([]Target{targetService, targetPod, targetConfigMap, targetNamespace}, workloads()...),
		Check:   checkSixgateAnnotation,
		CEL:     celSixgateAnnotation(),
	}
}

func checkSixgateAnnotation(req *Request) []Finding {
	o := req.Object
	paths := []Path{{"metadata", "annotations"}}
	if pod, ok := podPath(o); ok && len(pod) > 0 {
		paths = append(paths, pod.With("metadata", "annotations"))
	}
	var out []Finding
	for _, path := range paths {
		annotations := o.Map(path...)
		for _, key := range sortedKeys(annotations) {
			value, _ := annotations[key].(string)
			message := ""
			id, isOptOut := strings.CutPrefix(key, OptOutPrefix)
			switch {
			case isOptOut && !slices.Contains(IDs(), id):
				message = "unknown rule " + quote(id) + Suggest(id, IDs())
			case isOptOut && strings.TrimSpace(value) == "":
				message = "has no reason, so the rule is still applied; say why in its value"
			case isOptOut && req.Policy.optOutForbidden(id, req.Namespace):
				message = "has no effect, the policy forbids this opt-out; remove it"
			case key == ServiceModeAnnotation && o.Kind() != "Service":
				message = "has no effect on a " + o.Kind() + "; annotate the Service"
			case !isOptOut && key != ServiceModeAnnotation && strings.HasPrefix(key, "sixgate.io/"):
				message = "unknown annotation" + Suggest(key, []string{ServiceModeAnnotation, OptOutPrefix + "RULE"})
			case key == ServiceModeAnnotation && !slices.Contains([]string{modeHeadless, modeSingleStack, modeUnchanged}, value):
				message = quote(value) + " is not a mode; use headless, single-stack or unchanged"
			}
			if message != "" {
				out = append(out, Finding{Path: path.With(key), Subject: key, Value: value, Message: message})
			}
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
