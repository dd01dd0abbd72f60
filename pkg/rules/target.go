package rules

// The resources that rules look at.
var (
	both = []Operation{Create, Update}

	targetService   = Target{Version: "v1", Resource: "services", Kind: "Service", Leaf: true, Operations: both}
	targetPod       = Target{Version: "v1", Resource: "pods", Kind: "Pod", Leaf: true, Operations: both}
	targetEphemeral = Target{Version: "v1", Resource: "pods", Kind: "Pod", Subresource: "ephemeralcontainers", Leaf: true, Operations: []Operation{Update}}
	targetConfigMap = Target{Version: "v1", Resource: "configmaps", Kind: "ConfigMap", Leaf: true, Operations: both}
	targetSecret    = Target{Version: "v1", Resource: "secrets", Kind: "Secret", Leaf: true, Asked: true, Operations: both}
	targetNamespace = Target{Version: "v1", Resource: "namespaces", Kind: "Namespace", Leaf: true, Cluster: true, Operations: both}
)

// workloads are the kinds that carry a pod template.
func workloads() []Target {
	return []Target{
		{Group: "apps", Version: "v1", Resource: "deployments", Kind: "Deployment", Operations: both},
		{Group: "apps", Version: "v1", Resource: "daemonsets", Kind: "DaemonSet", Operations: both},
		{Group: "apps", Version: "v1", Resource: "statefulsets", Kind: "StatefulSet", Operations: both},
		{Group: "apps", Version: "v1", Resource: "replicasets", Kind: "ReplicaSet", Operations: both},
		{Group: "batch", Version: "v1", Resource: "jobs", Kind: "Job", Operations: both},
		{Group: "batch", Version: "v1", Resource: "cronjobs", Kind: "CronJob", Operations: both},
		{Version: "v1", Resource: "replicationcontrollers", Kind: "ReplicationController", Operations: both},
		{Version: "v1", Resource: "podtemplates", Kind: "PodTemplate", Operations: both},
	}
}

// targetKey is what dispatch looks up.
type targetKey struct{ group, kind, subresource string }

func (t Target) key() targetKey { return targetKey{t.Group, t.Kind, t.Subresource} }
