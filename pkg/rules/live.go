package rules

import (
	"cmp"
	"slices"
)

// Listed returns what somebody lists who audits a cluster: the targets of the active rules, and what an Index reads besides. They
// come in an order in which one pass is enough: whatever the Index must know for an object comes before it, and so does its
// controller. That is so for the rules of All; a test holds it. Kinds that are ComparedWithin are listed twice. more are kinds that may
// have pods in them.
func (s *Set) Listed(more ...Target) []Target {
	seen := map[targetKey]bool{}
	var out []Target
	add := func(t Target) {
		if t.Resource != "" && t.Subresource == "" && !seen[t.key()] {
			seen[t.key()] = true
			out = append(out, t)
		}
	}
	for _, r := range All() {
		for _, t := range r.Targets {
			if s.Knows(t.Group, t.Kind, "") && (!t.Asked || s.policy.Secrets) {
				add(t)
			}
		}
	}
	if len(out) == 0 {
		return nil
	}
	for _, t := range append(indexed(), more...) {
		add(t)
	}
	slices.SortStableFunc(out, func(a, b Target) int { return cmp.Compare(turn(a.Group, a.Kind), turn(b.Group, b.Kind)) })
	return out
}

// ComparedWithin reports whether objects of a kind are compared with each other, so that an Index needs all before the first is
// judged: address pools, of which there are few.
func (t Target) ComparedWithin() bool { return t.Kind == "IPPool" || t.Kind == "IPAddressPool" }

// indexed are the kinds that an Index reads.
func indexed() []Target {
	const webhooks = "admissionregistration.k8s.io"
	out := []Target{
		{Group: webhooks, Version: "v1", Resource: "mutatingwebhookconfigurations", Kind: "MutatingWebhookConfiguration", Cluster: true},
		{Group: webhooks, Version: "v1", Resource: "validatingwebhookconfigurations", Kind: "ValidatingWebhookConfiguration", Cluster: true},
		{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices", Kind: "APIService", Cluster: true},
		{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions", Kind: "CustomResourceDefinition", Cluster: true},
		targetService, targetPod,
	}
	return append(append(out, workloads()...), networkPolicies()...)
}

// turn is when a kind is listed.
func turn(group, kind string) int {
	switch group + "/" + kind {
	case "apps/Deployment", "apps/StatefulSet", "apps/DaemonSet", "batch/CronJob", "/ReplicationController", "/PodTemplate":
		return 1
	case "apps/ReplicaSet", "batch/Job":
		return 2
	case "/Pod":
		return 3
	case "/Service":
		return 4
	case "/Endpoints":
		return 5
	case "discovery.k8s.io/EndpointSlice", "/ConfigMap", "/Secret":
		return 6
	}
	return 0
}
