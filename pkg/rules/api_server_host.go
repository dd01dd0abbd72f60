package rules

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// apiServerVars are the variables by which in-cluster clients find the API server. They belong together: a host of ours with
// a port of the kubelet's would lead nowhere.
var apiServerVars = []string{"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS"}

// apiServerHost gives pods the address of the API server that the policy names.
//
// Source: kubelet v1.37, pkg/kubelet/kubelet_pods.go (env wins over the kubelet's own variables and over envFrom; $(VAR)
// expands from what stands earlier in env); client-go v0.37, rest/config.go (the host goes through net.JoinHostPort, so a
// bracketed value breaks every client).
func apiServerHost() *Rule {
	return &Rule{
		ID: "api-server-host", Since: "v0.1.0", Level: None, Mutate: true,
		Title:   "Containers are given the API server's address of the policy",
		Targets: []Target{targetPod, targetEphemeral},
		Check:   checkAPIServerHost,
		CEL:     celAPIServerHost(),
	}
}

func checkAPIServerHost(req *Request) []Finding {
	o := req.Object
	if isMirror(o) {
		return nil
	}
	if req.Operation == Update && req.Subresource == "" {
		return repeatAPIServerHost(req)
	}
	if req.Policy.APIServer.Host == "" || isWindows(o, nil) || !resolves(o, req.Policy.APIServer.Host) {
		return nil
	}
	var out []Finding
	stored := map[containerKey]map[string]any{}
	if req.Subresource == "ephemeralcontainers" {
		out, stored = repeatAPIServerHost(req), byName(req.Old)
	}
	for _, c := range containers(o, nil) {
		if req.Subresource == "ephemeralcontainers" && (c.list != "ephemeralContainers" || stored[c.key()] != nil) {
			continue // only an ephemeral container that is new may still be changed
		}
		env, _ := c.obj["env"].([]any)
		if slices.ContainsFunc(env, func(e any) bool { return slices.Contains(apiServerVars, envName(e)) }) {
			continue // a user who sets one of them owns all
		}
		path := c.path.With("env")
		if from := hidesAPIServerVars(c.obj); from >= 0 && req.Policy.APIServer.EnvFrom != "inject" {
			out = append(out, Finding{
				Path: c.path.With("envFrom", from), Subject: c.name, Own: Warn,
				Message: "may set KUBERNETES_SERVICE_HOST, which env would override; set it in env, or apiServer.envFrom: inject in the policy",
			})
			continue
		}
		out = append(out, Finding{
			Path: path, Subject: c.name,
			Message: "adds KUBERNETES_SERVICE_HOST=" + req.Policy.APIServer.Host + " and its port",
			Fix:     func(o *Object) { prependEnv(o, path, apiServerEnv(req.Policy.APIServer)) },
		})
	}
	return out
}

func apiServerEnv(a APIServer) []any {
	port := strconv.Itoa(a.Port)
	var env []any
	for i, name := range apiServerVars {
		value := port
		if i == 0 {
			value = a.Host
		}
		env = append(env, map[string]any{"name": name, "value": value})
	}
	return env
}

// prependEnv puts variables before the user's own, so that $(KUBERNETES_SERVICE_HOST) in those expands to ours.
func prependEnv(o *Object, path Path, vars []any) {
	if len(o.List(path...)) == 0 {
		o.Set(path, vars)
		return
	}
	for i, v := range vars {
		o.Insert(path, i, v)
	}
}

// repeatAPIServerHost keeps what an earlier CREATE added: the environment of a Pod is immutable, so a client that sends the
// original manifest again (kubectl replace), or the same variables in another order (kubectl apply), would be refused.
func repeatAPIServerHost(req *Request) []Finding {
	o := req.Object
	var out []Finding
	before := byName(req.Old)
	for _, c := range containers(o, nil) {
		old := before[c.key()]
		if old == nil {
			continue
		}
		stored, _ := old["env"].([]any)
		now, _ := c.obj["env"].([]any)
		if len(stored) < len(apiServerVars) || !slices.Equal(envNames(old)[:len(apiServerVars)], apiServerVars) || slices.Equal(envNames(old), envNames(c.obj)) {
			continue
		}
		head, path := stored[:len(apiServerVars)], c.path.With("env")
		user := slices.DeleteFunc(envNames(c.obj), func(n string) bool { return slices.Contains(apiServerVars, n) })
		if !slices.Equal(user, envNames(old)[len(apiServerVars):]) {
			continue // something else changed too: the API server's answer is the right one
		}
		f := Finding{Path: path, Subject: c.name, Message: "keeps KUBERNETES_SERVICE_HOST and its port, as they are stored"}
		switch {
		case len(user) == len(now):
			f.Fix = func(o *Object) { prependEnv(o, path, head) }
		case len(now) == len(stored):
			if !sameEnv(stored, now) {
				continue // the user gives a value of his own
			}
			inOrder := slices.Clone(now)
			slices.SortStableFunc(inOrder, func(a, b any) int {
				return cmp.Compare(slices.Index(envNames(old), envName(a)), slices.Index(envNames(old), envName(b)))
			})
			f.Fix = func(o *Object) { o.Set(path, inOrder) }
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

// sameEnv reports whether two lists hold the same variables with the same values, in any order.
func sameEnv(a, b []any) bool {
	key := func(v any) string {
		m, _ := v.(map[string]any)
		value, _ := m["value"].(string)
		return envName(v) + "=" + value
	}
	keys := func(l []any) []string {
		var out []string
		for _, v := range l {
			out = append(out, key(v))
		}
		slices.Sort(out)
		return out
	}
	return slices.Equal(keys(a), keys(b))
}

func envNames(container map[string]any) []string {
	var out []string
	env, _ := container["env"].([]any)
	for _, e := range env {
		out = append(out, envName(e))
	}
	return out
}

func envName(v any) string {
	m, _ := v.(map[string]any)
	name, _ := m["name"].(string)
	return name
}

// A containerKey tells a container from the others of its Pod, in every version of it.
type containerKey struct{ list, name string }

func (c container) key() containerKey { return containerKey{c.list, c.name} }

// byName returns the containers of a Pod; o may be nil.
func byName(o *Object) map[containerKey]map[string]any {
	out := map[containerKey]map[string]any{}
	if o != nil {
		for _, c := range containers(o, nil) {
			out[c.key()] = c.obj
		}
	}
	return out
}

// hidesAPIServerVars returns the index of the first envFrom that may set one of the variables, or -1: an envFrom whose prefix
// cannot begin their names is harmless.
func hidesAPIServerVars(container map[string]any) int {
	from, _ := container["envFrom"].([]any)
	for i, f := range from {
		m, _ := f.(map[string]any)
		prefix, _ := m["prefix"].(string)
		if slices.ContainsFunc(apiServerVars, func(n string) bool { return strings.HasPrefix(n, prefix) }) {
			return i
		}
	}
	return -1
}

// networkPods are labels of pods that bring up the network or its names, so that they cannot wait for either.
var networkPods = []string{
	"kube-dns", "coredns", "node-local-dns", "nodelocaldns", "kube-proxy",
	"calico-node", "calico-typha", "calico-kube-controllers", "tigera-operator", "canal", "flannel", "kube-flannel-ds", "kube-flannel",
	"cilium", "cilium-agent", "cilium-operator", "antrea", "antrea-agent", "antrea-controller", "kube-router", "kube-ovn-cni", "kube-ovn-controller",
	"ovs", "ovn-central", "ovnkube-node", "multus", "kube-multus-ds", "whereabouts", "spiderpool-agent", "spiderpool-controller", "weave-net",
}

// resolves reports whether the pod can resolve the API server's name. A literal and a public name always work; a name of the
// cluster's own DNS needs that DNS.
func resolves(o *Object, host string) bool {
	if !internalName(host) {
		return true
	}
	for _, label := range appLabels {
		if slices.Contains(networkPods, o.Str("metadata", "labels", label)) {
			return false
		}
	}
	switch o.Str("spec", "dnsPolicy") {
	case "None", "Default":
		return false
	case "ClusterFirstWithHostNet":
		return true
	}
	return !o.Bool("spec", "hostNetwork")
}

// appLabels are the labels by which networkPods are known.
var appLabels = []string{"k8s-app", "app.kubernetes.io/name", "app", "component"}

// internalName reports whether only the cluster's own DNS knows a name.
func internalName(host string) bool {
	name := strings.TrimSuffix(host, ".")
	return ipFamily(name) == "" && (!strings.Contains(name, ".") || name == "kubernetes.default" ||
		strings.HasSuffix(name, ".svc") || strings.HasSuffix(name, ".local") || strings.Contains(name, ".svc."))
}
