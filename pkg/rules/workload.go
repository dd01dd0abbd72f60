package rules

import "slices"

// A Workload is what a readiness figure counts: an object that people write and that runs Pods.
type Workload struct {
	Labels map[string]any // of its Pods
	// Uses are the ConfigMaps and Secrets of its Pods as "Kind/name", sorted: volumes, and environments taken as a whole.
	Uses []string
}

// WorkloadOf returns the workload that an object is. It is none if a controller made it, such as the Pods of a Deployment: what
// is counted is what a person would repair.
func WorkloadOf(o *Object) (Workload, bool) {
	pod, ok := templatePath(o)
	if !ok || o.Kind() == "PodTemplate" || HasController(o) {
		return Workload{}, false
	}
	w := Workload{Labels: o.Map(pod.With("metadata", "labels")...)}
	eachUse(o, pod, func(kind, name string) { w.Uses = append(w.Uses, kind+"/"+name) })
	slices.Sort(w.Uses)
	w.Uses = slices.Compact(w.Uses)
	return w, true
}

// eachUse visits the ConfigMaps and Secrets that a pod mounts, or takes all its variables from.
func eachUse(o *Object, pod Path, visit func(kind, name string)) {
	use := func(kind string, in any, path ...any) {
		v, _ := lookup(in, path)
		if name, _ := v.(string); name != "" {
			visit(kind, name)
		}
	}
	for _, volume := range o.List(pod.With("spec", "volumes")...) {
		use("ConfigMap", volume, "configMap", "name")
		use("Secret", volume, "secret", "secretName")
		projected, _ := lookup(volume, []any{"projected", "sources"})
		sources, _ := projected.([]any)
		for _, source := range sources {
			use("ConfigMap", source, "configMap", "name")
			use("Secret", source, "secret", "name")
		}
	}
	for _, c := range containers(o, pod) {
		from, _ := c.obj["envFrom"].([]any)
		for _, source := range from {
			use("ConfigMap", source, "configMapRef", "name")
			use("Secret", source, "secretRef", "name")
		}
	}
}

// ServiceSelector is what a Service selects Pods by; nil for any other object, and for a Service without selector.
func ServiceSelector(o *Object) map[string]any {
	if o.Group() != "" || o.Kind() != "Service" {
		return nil
	}
	return o.Map("spec", "selector")
}

// Selects reports whether labels have everything that a selector asks for. An empty selector selects nothing.
func Selects(selector, labels map[string]any) bool {
	return len(selector) > 0 && selects(selector, labels)
}
