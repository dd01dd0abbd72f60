package rules

import (
	"slices"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
)

// A pod inside a custom resource is found by its shape, at any depth, and judged as a PodTemplate would be: no rule knows of custom
// resources. What an operator makes of it is its own affair, so that nothing found there is more than a warning.

// An embedded pod lies somewhere in a custom resource.
type embedded struct {
	spec     Path // of the fields of a pod's spec
	metadata Path // of the pod's metadata; nil where there is none
	// whole: nothing says that an operator adds containers.
	whole bool
	view  *Object // a PodTemplate whose spec and metadata are those of the custom resource, not copies
}

const (
	// maxEmbeddedDepth and maxEmbedded bound the search and what follows from it. CRDs with pods 12 levels down exist.
	maxEmbeddedDepth = 32
	maxEmbedded      = 100
)

// MayEmbed reports whether pods are looked for in the kinds of a group: in extensions. A CRD has schemas of pods, not pods, and the
// policies of Kyverno and Gatekeeper have patterns.
func MayEmbed(group string) bool {
	return strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") &&
		group != "kyverno.io" && !strings.HasSuffix(group, ".kyverno.io") && !strings.HasSuffix(group, ".gatekeeper.sh")
}

// embeddedPods returns the pods in a custom resource, in the order of their paths. They are searched once for each state of the object.
func embeddedPods(o *Object) []embedded {
	if !MayEmbed(o.Group()) {
		return nil
	}
	if o.embedding == nil || o.embedding.ops != len(o.ops) {
		o.embedding = &embedding{ops: len(o.ops), pods: searchPods(o)}
	}
	return o.embedding.pods
}

// embedding is what embeddedPods found when the object had so many edits.
type embedding struct {
	ops  int
	pods []embedded
}

func searchPods(o *Object) []embedded {
	var out []embedded
	var at Path // one for the whole walk: it is copied where a pod is found
	var walk func(v any)
	below := func(key, v any) {
		switch v.(type) {
		case map[string]any, []any:
			at = append(at, key)
			walk(v)
			at = at[:len(at)-1]
		}
	}
	walk = func(v any) {
		if len(at) > maxEmbeddedDepth || len(out) == maxEmbedded {
			return
		}
		switch v := v.(type) {
		case []any:
			for i, e := range v {
				below(i, e)
			}
		case map[string]any:
			isPod := len(at) > 0 && isPodSpec(v)
			if isPod {
				out = append(out, embeddedAt(o, at.With(), v))
			}
			for _, key := range sortedKeys(v) {
				switch {
				case len(at) == 0 && (key == "metadata" || key == "status"):
				case isPod && (slices.Contains(containerLists, key) || key == "volumes" || key == "metadata"): // no pods in a pod
				default:
					below(key, v[key])
				}
			}
		}
	}
	walk(o.Root())
	return out
}

// isPodSpec: a list of containers, or a field that nothing but a pod has in this form, as where an operator has the containers.
func isPodSpec(m map[string]any) bool {
	for _, list := range containerLists {
		items, _ := m[list].([]any)
		if slices.ContainsFunc(items, isContainer) {
			return true
		}
	}
	aliases, _ := m["hostAliases"].([]any)
	if slices.ContainsFunc(aliases, func(a any) bool {
		alias, _ := a.(map[string]any)
		_, ip := alias["ip"].(string)
		_, names := alias["hostnames"].([]any)
		return ip && names
	}) {
		return true
	}
	dns, _ := m["dnsConfig"].(map[string]any)
	_, servers := dns["nameservers"].([]any)
	return servers
}

// isContainer: a name, and what only a container has.
func isContainer(v any) bool {
	c, _ := v.(map[string]any)
	if name, _ := c["name"].(string); name == "" {
		return false
	}
	if image, ok := c["image"].(string); ok {
		return image != ""
	}
	for _, key := range []string{"command", "args", "ports", "env"} {
		if _, ok := c[key].([]any); ok {
			return true
		}
	}
	return false
}

// embeddedAt makes the view of a pod whose spec is m.
func embeddedAt(o *Object, at Path, m map[string]any) embedded {
	e := embedded{spec: at}
	template := map[string]any{"spec": m}
	above := at[:len(at)-1]
	switch {
	case hasMap(m, "metadata"): // Strimzi: template.pod has both
		e.metadata = at.With("metadata")
	case len(above) > 0 && at[len(at)-1] == "spec" && hasMap(o.Map(above...), "metadata"):
		e.metadata = above.With("metadata")
	}
	if e.metadata != nil {
		template["metadata"], _ = o.Get(e.metadata...)
	}
	list, _ := m["containers"].([]any)
	e.whole = len(above) > 0 && at[len(at)-1] == "spec" && len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool {
		c, _ := v.(map[string]any)
		image, _ := c["image"].(string)
		return image == ""
	})
	e.view = NewObject(map[string]any{"apiVersion": "v1", "kind": "PodTemplate", "template": template})
	if root := o.Map("metadata"); root != nil {
		e.view.root["metadata"] = root // its annotations opt out, its namespace is that of the pods
	}
	return e
}

func hasMap(m map[string]any, key string) bool {
	_, ok := m[key].(map[string]any)
	return ok
}

// templatePath is podPath, and that of a custom resource which runs a pod as it is written, where Deployments have theirs: Argo
// Rollouts, Knative, DeploymentConfigs of OpenShift.
func templatePath(o *Object) (Path, bool) {
	if pod, ok := podPath(o); ok {
		return pod, true
	}
	for _, e := range embeddedPods(o) {
		if e.whole && slices.Equal(e.spec, Path{"spec", "template", "spec"}) {
			return Path{"spec", "template"}, true
		}
	}
	return nil, false
}

// outer is a path of the view in the custom resource; false for one that is not of the pod.
func (e embedded) outer(p Path) (Path, bool) {
	switch {
	case len(p) < 2 || p[0] != "template":
		return p, false
	case p[1] == "metadata":
		return e.metadata.With(p[2:]...), true
	}
	return e.spec.With(p[2:]...), true
}

// checkEmbedded runs the rule on the pods of a custom resource.
func (a *Active) checkEmbedded(req *Request) []Finding {
	var out []Finding
	for i, e := range embeddedPods(req.Object) {
		inner := *req
		inner.Object, inner.Old = e.view, nil
		found := a.Check(&inner)
		req.Asked = req.Asked || inner.Asked
		for _, f := range found {
			path, ok := e.outer(f.Path)
			if !ok && i > 0 { // of the object itself, and said before
				continue
			}
			f.Path = path
			if f.Limit == None || f.Limit > Warn {
				f.Limit = Warn
			}
			if fix := f.Fix; fix != nil {
				f.Fix = func(o *Object) { fixEmbedded(o, e.spec, fix) }
			}
			out = append(out, f)
		}
	}
	return out
}

// fixEmbedded repairs the pod whose spec is at a path, through its view, and journals the edits where they are in the object.
func fixEmbedded(o *Object, spec Path, fix func(*Object)) {
	for _, e := range embeddedPods(o) {
		if !slices.Equal(e.spec, spec) {
			continue
		}
		before := len(e.view.ops)
		fix(e.view)
		for _, op := range e.view.ops[before:] {
			if pointer, ok := e.outerPointer(op.Path); ok {
				o.ops = append(o.ops, jsonpatch.NewOperation(op.Operation, pointer, op.Value))
			}
		}
		return
	}
}

func (e embedded) outerPointer(pointer string) (string, bool) {
	if rest, ok := strings.CutPrefix(pointer, "/template/spec/"); ok {
		return e.spec.Pointer() + "/" + rest, true
	}
	if rest, ok := strings.CutPrefix(pointer, "/template/metadata/"); ok && e.metadata != nil {
		return e.metadata.Pointer() + "/" + rest, true
	}
	return "", false
}
