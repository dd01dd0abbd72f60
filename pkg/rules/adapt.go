package rules

import (
	"net/netip"
	"slices"
	"strings"

	netutils "k8s.io/utils/net"
)

// podPath is where an object of this kind keeps its pod (metadata and spec); nil and false if it has none.
func podPath(o *Object) (Path, bool) {
	switch o.Group() + "/" + o.Kind() {
	case "/Pod":
		return Path{}, true
	case "/PodTemplate":
		return Path{"template"}, true
	case "batch/CronJob":
		return Path{"spec", "jobTemplate", "spec", "template"}, true
	case "apps/Deployment", "apps/DaemonSet", "apps/StatefulSet", "apps/ReplicaSet", "batch/Job", "/ReplicationController":
		return Path{"spec", "template"}, true
	}
	return nil, false
}

// A container is one container of a pod, of any of the three lists.
type container struct {
	path Path
	list string // containers, initContainers or ephemeralContainers
	name string
	obj  map[string]any
}

var containerLists = []string{"initContainers", "containers", "ephemeralContainers"}

// A podContainers is what containers found when the object had so many edits.
type podContainers struct {
	ops  int
	pod  Path
	list []container
}

// containers returns every container of the pod at path, in the order of the lists. Most rules ask, so the answer is kept.
func containers(o *Object, pod Path) []container {
	if o.containers == nil || o.containers.ops != len(o.ops) || !slices.Equal(o.containers.pod, pod) {
		o.containers = &podContainers{len(o.ops), slices.Clone(pod), slices.Clip(readContainers(o, pod))}
	}
	return o.containers.list
}

func readContainers(o *Object, pod Path) []container {
	var out []container
	for _, list := range containerLists {
		path := pod.With("spec", list)
		for i, c := range o.List(path...) {
			m, ok := c.(map[string]any)
			if !ok {
				continue
			}
			name, _ := m["name"].(string)
			out = append(out, container{path.With(i), list, name, m})
		}
	}
	return out
}

// isMirror: the kubelet made it from a file on the node; nothing of it may be changed.
func isMirror(o *Object) bool {
	_, ok := o.Get("metadata", "annotations", "kubernetes.io/config.mirror")
	return ok
}

// isWindows: the kubelet of v1.37 still sets the older label on its node too.
func isWindows(o *Object, pod Path) bool {
	at, _ := o.Get(pod...)
	template, _ := at.(map[string]any)
	spec, _ := template["spec"].(map[string]any)
	system, _ := spec["os"].(map[string]any)
	node, _ := spec["nodeSelector"].(map[string]any)
	return system["name"] == "windows" || node["kubernetes.io/os"] == "windows" || node["beta.kubernetes.io/os"] == "windows"
}

// HasController: a controller made the object, so nobody who could read a refusal is there.
func HasController(o *Object) bool { return Controller(o) != nil }

// Controller is where the object names the controller that made it, an owner reference; nil if none did.
func Controller(o *Object) Path {
	for i, r := range o.List("metadata", "ownerReferences") {
		if ref, ok := r.(map[string]any); ok && ref["controller"] == true {
			return Path{"metadata", "ownerReferences", i}
		}
	}
	return nil
}

// ipFamily is the family of an address literal: "IPv4", "IPv6", or "" if it is none. An IPv4-mapped IPv6 address is
// IPv4, and so is a literal with leading zeros, which the API server used to accept.
func ipFamily(s string) string {
	if !strings.ContainsAny(s, ".:") { // most texts, and to say why they are none costs more
		return ""
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if a.Zone() != "" {
			return "" // a zone has no meaning outside its node, the API server refuses it
		}
		if a.Unmap().Is4() {
			return "IPv4"
		}
		return "IPv6"
	}
	if ip := netutils.ParseIPSloppy(s); ip != nil && ip.To4() != nil {
		return "IPv4"
	}
	return ""
}

// isUnspecified: the literal means any address of its family.
func isUnspecified(s string) bool {
	ip := netutils.ParseIPSloppy(s)
	return ip != nil && ip.IsUnspecified()
}

// integer reads a JSON number that holds an integer, as int64 or float64.
func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, true
	case int:
		return int64(n), true
	case float64:
		return int64(n), n == float64(int64(n))
	}
	return 0, false
}

// globMatch reports whether a name matches a pattern in which * stands for any run of characters.
func globMatch(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	if !strings.HasPrefix(name, first) {
		return false
	}
	name = name[len(first):]
	for {
		part, more, star := strings.Cut(rest, "*")
		if !star {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], more
	}
}

// globAny reports whether any pattern matches.
func globAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if globMatch(p, name) {
			return true
		}
	}
	return false
}

// objectMatch matches "namespace/name" or "namespace/Kind/name" against patterns with the same number of parts.
func objectMatch(patterns []string, parts ...string) bool {
next:
	for _, p := range patterns {
		want := strings.Split(p, "/")
		if len(want) != len(parts) {
			continue
		}
		for i := range want {
			if !globMatch(want[i], parts[i]) {
				continue next
			}
		}
		return true
	}
	return false
}
