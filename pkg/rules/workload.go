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
	use := func(kind, name string) {
		if name != "" {
			w.Uses = append(w.Uses, kind+"/"+name)
		}
	}
	for i := range o.List(pod.With("spec", "volumes")...) {
		at := pod.With("spec", "volumes", i)
		use("ConfigMap", o.Str(at.With("configMap", "name")...))
		use("Secret", o.Str(at.With("secret", "secretName")...))
		for j := range o.List(at.With("projected", "sources")...) {
			use("ConfigMap", o.Str(at.With("projected", "sources", j, "configMap", "name")...))
			use("Secret", o.Str(at.With("projected", "sources", j, "secret", "name")...))
		}
	}
	for _, c := range containers(o, pod) {
		for i := range o.List(c.path.With("envFrom")...) {
			use("ConfigMap", o.Str(c.path.With("envFrom", i, "configMapRef", "name")...))
			use("Secret", o.Str(c.path.With("envFrom", i, "secretRef", "name")...))
		}
	}
	slices.Sort(w.Uses)
	w.Uses = slices.Compact(w.Uses)
	return w, true
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
