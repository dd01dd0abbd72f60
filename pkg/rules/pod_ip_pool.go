package rules

import (
	"fmt"
	"strconv"
)

// podIPPool gives pods the address pools, or the fixed address, that the policy has for them: by annotations of the Pod, or
// of its Namespace. What each CNI reads is in cni.go.
func podIPPool() *Rule {
	return &Rule{
		ID: "pod-ip-pool", Since: "v0.1.0", Level: None, Mutate: true,
		Title:   "Pods are given the address pools of the policy",
		Targets: append([]Target{targetPod, targetNamespace}, workloads()...),
		Check:   checkPodIPPool,
		CEL:     celPodIPPool(),
	}
}

func checkPodIPPool(req *Request) []Finding {
	o, c := req.Object, cniNamed(req.Policy.Cluster.CNI)
	if c == nil || len(req.Policy.Pools) == 0 {
		return nil
	}
	if o.Group() == "" && o.Kind() == "Namespace" {
		return checkNamespaceDefault(req, c)
	}
	pod, ok := podPath(o)
	// The CNI plugin reads the annotations once, when the pod's network is made; one with hostNetwork has none.
	if !ok || isMirror(o) || isWindows(o, pod) || o.Bool(pod.With("spec", "hostNetwork")...) {
		return nil
	}
	pool := req.Policy.pool(req.Namespace, o.Map(pod.With("metadata", "labels")...))
	if pool == nil || pool.onNamespace() {
		return nil // its Namespace has it
	}
	if len(pod) > 0 {
		return checkFixedAddress(o, pod, pool)
	}
	if req.Operation != Create {
		return nil
	}
	return addAnnotations(o, c.pod(pool))
}

// checkNamespaceDefault: the CNI reads the Namespace whenever it makes the network of a pod, so UPDATE counts too, and
// gives those their default that were there before.
func checkNamespaceDefault(req *Request, c *cni) []Finding {
	o := req.Object
	if _, going := o.Get("metadata", "deletionTimestamp"); going || o.Name() == "" {
		return nil
	}
	for i := range req.Policy.Pools {
		pool := &req.Policy.Pools[i]
		if !pool.matchesNamespace(o.Name()) {
			continue
		}
		if pool.onNamespace() {
			return addAnnotations(o, c.namespace(pool))
		}
		if len(pool.Pods) == 0 {
			return nil // every pod there has an entry before this
		}
	}
	return nil
}

// addAnnotations never overwrites a user's key, nor adds what would overrule one.
func addAnnotations(o *Object, add []addition) []Finding {
	at := Path{"metadata", "annotations"}
	var out []Finding
next:
	for _, a := range add {
		path := at.With(a.key)
		if a.value == "" || has(o.Map(at...), a.key) {
			continue
		}
		for _, key := range a.yields {
			if o.Str(at.With(key)...) != "" {
				continue next
			}
		}
		out = append(out, Finding{
			Path: path, Subject: a.key, Message: "adds " + a.value,
			Fix: func(o *Object) { o.Set(path, a.value) },
		})
	}
	return out
}

func has(m map[string]any, key string) bool {
	_, ok := m[key]
	return ok
}

// pool returns the first entry that selects a pod, or nil.
func (p *Policy) pool(namespace string, labels map[string]any) *Pool {
	for i := range p.Pools {
		pool := &p.Pools[i]
		matches := pool.matchesNamespace(namespace)
		for k, v := range pool.Pods {
			matches = matches && labels[k] == v
		}
		if matches {
			return pool
		}
	}
	return nil
}

func (p *Pool) matchesNamespace(name string) bool {
	return len(p.Namespaces) == 0 || globAny(p.Namespaces, name)
}

func (p *Pool) onNamespace() bool { return p.Annotate == "Namespace" }

// checkFixedAddress: one address serves one pod at a time.
func checkFixedAddress(o *Object, pod Path, pool *Pool) []Finding {
	if len(pool.Addresses) == 0 {
		return nil
	}
	finding := func(path Path, value, message string) []Finding {
		return []Finding{{Path: path, Subject: "addresses", Value: value, Own: Warn, Message: message}}
	}
	address := pool.Addresses[0]
	kind := o.Kind()
	if kind == "DaemonSet" {
		return finding(pod, address, fmt.Sprintf("the policy gives its pods the one address %s, only the first will start; use a pool", quote(address)))
	}
	for _, field := range []string{"replicas", "parallelism"} {
		if v, ok := o.Get("spec", field); ok {
			if n, ok := integer(v); ok && n > 1 {
				return finding(Path{"spec", field}, strconv.FormatInt(n, 10), fmt.Sprintf("%d pods share the one address %s of the policy, only the first will start; use 1", n, quote(address)))
			}
		}
	}
	if kind == "Deployment" && o.Str("spec", "strategy", "type") != "Recreate" {
		return finding(Path{"spec", "strategy"}, o.Str("spec", "strategy", "type"),
			fmt.Sprintf("a rolling update starts the new pod while the old one has the address %s, and waits for ever; use Recreate", quote(address)))
	}
	return nil
}

// podIPPoolValue judges the annotations that users wrote by the rules of the parser that reads them, which are in cni.go. A
// malformed value leaves the pod in ContainerCreating.
func podIPPoolValue() *Rule {
	return &Rule{
		ID: "pod-ip-pool-value", Since: "v0.1.0", Level: Deny,
		Title:   "Address annotation that the CNI plugin cannot use",
		Targets: append([]Target{targetPod, targetNamespace}, workloads()...),
		Check:   checkPodIPPoolValue,
		CEL:     &CEL{Never: "judges lists that are JSON inside a string, for which CEL has no parser"},
	}
}

func checkPodIPPoolValue(req *Request) []Finding {
	o := req.Object
	if isMirror(o) {
		return nil
	}
	path := Path{"metadata", "annotations"}
	if pod, ok := podPath(o); ok {
		if o.Bool(pod.With("spec", "hostNetwork")...) || isWindows(o, pod) {
			return nil // no CNI makes a network for the one, nor these for the other
		}
		path = pod.With("metadata", "annotations")
	}
	read := annotations{o.Map(path...), o.Kind() == "Namespace"}
	if len(read.values) == 0 {
		return nil
	}
	var out []Finding
	cluster := req.Policy.Cluster
	for i := range cnis {
		c := &cnis[i]
		certain := c.name == cluster.CNI || c.name == ovnKubernetes && cluster.Multus
		if !certain && cluster.CNI != "" {
			continue
		}
		c.judge(read, func(key string, limit Level, message string) {
			if !certain {
				limit = Warn // the cluster may have another CNI, which does not read this
			}
			value, _ := read.get(key)
			out = append(out, Finding{Path: path.With(key), Subject: key, Value: value, Limit: limit, Message: quote(value) + " " + message})
		})
	}
	return out
}
