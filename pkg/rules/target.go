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

	targetEndpoints        = Target{Version: "v1", Resource: "endpoints", Kind: "Endpoints", AuditOnly: true}
	targetEndpointSlice    = Target{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices", Kind: "EndpointSlice", AuditOnly: true}
	targetIngress          = Target{Group: "networking.k8s.io", Version: "v1", Resource: "ingresses", Kind: "Ingress", Operations: both}
	targetGateway          = Target{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "gateways", Kind: "Gateway", Operations: both}
	targetNginxPolicy      = Target{Group: "k8s.nginx.org", Version: "v1", Resource: "policies", Kind: "Policy", Operations: both}
	targetPersistentVolume = Target{Version: "v1", Resource: "persistentvolumes", Kind: "PersistentVolume", Cluster: true, Operations: both}
	targetStorageClass     = Target{Group: "storage.k8s.io", Version: "v1", Resource: "storageclasses", Kind: "StorageClass", Cluster: true, Operations: both}
	targetNetworkPolicy    = Target{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies", Kind: "NetworkPolicy", Operations: both}
	targetHelmChart        = Target{Group: "helm.cattle.io", Version: "v1", Resource: "helmcharts", Kind: "HelmChart", Operations: both}
	targetHelmChartConfig  = Target{Group: "helm.cattle.io", Version: "v1", Resource: "helmchartconfigs", Kind: "HelmChartConfig", Operations: both}
)

// traefikMiddlewares are the middlewares that hold allow-lists, of both API groups that Traefik has had.
func traefikMiddlewares() []Target {
	var out []Target
	for _, group := range []string{"traefik.io", "traefik.containo.us"} {
		out = append(out,
			Target{Group: group, Version: "v1alpha1", Resource: "middlewares", Kind: "Middleware", Operations: both},
			Target{Group: group, Version: "v1alpha1", Resource: "middlewaretcps", Kind: "MiddlewareTCP", Operations: both})
	}
	return out
}

// networkPolicies are the kinds that allow traffic by CIDR: those of Kubernetes, Calico and Cilium.
func networkPolicies() []Target {
	out := []Target{targetNetworkPolicy}
	for _, g := range []struct{ group, version string }{{"crd.projectcalico.org", "v1"}, {"projectcalico.org", "v3"}} {
		out = append(out,
			Target{Group: g.group, Version: g.version, Resource: "networkpolicies", Kind: "NetworkPolicy", Operations: both},
			Target{Group: g.group, Version: g.version, Resource: "globalnetworkpolicies", Kind: "GlobalNetworkPolicy", Cluster: true, Operations: both},
			Target{Group: g.group, Version: g.version, Resource: "networksets", Kind: "NetworkSet", Operations: both},
			Target{Group: g.group, Version: g.version, Resource: "globalnetworksets", Kind: "GlobalNetworkSet", Cluster: true, Operations: both})
	}
	return append(out,
		Target{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies", Kind: "CiliumNetworkPolicy", Operations: both},
		Target{Group: "cilium.io", Version: "v2", Resource: "ciliumclusterwidenetworkpolicies", Kind: "CiliumClusterwideNetworkPolicy", Cluster: true, Operations: both})
}

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

// auditOnly are targets that only an audit looks at.
func auditOnly(targets ...Target) []Target {
	for i := range targets {
		targets[i].AuditOnly = true
	}
	return targets
}

// configuration are the kinds of files that configure a component of a cluster; no API server stores them.
func configuration(group, version string, kinds ...string) []Target {
	var out []Target
	for _, kind := range kinds {
		out = append(out, Target{Group: group, Version: version, Kind: kind, Cluster: true, AuditOnly: true})
	}
	return out
}

// calicoTarget is a kind of Calico, which is stored as crd.projectcalico.org/v1, or is served as projectcalico.org/v3 by an API
// server of its own and read so by calicoctl.
func calicoTarget(resource, kind string) []Target {
	return auditOnly(
		Target{Group: "crd.projectcalico.org", Version: "v1", Resource: resource, Kind: kind, Cluster: true, Operations: both},
		Target{Group: "projectcalico.org", Version: "v3", Resource: resource, Kind: kind, Cluster: true, Operations: both})
}

// targetKey is what dispatch looks up.
type targetKey struct{ group, kind, subresource string }

func (t Target) key() targetKey { return targetKey{t.Group, t.Kind, t.Subresource} }
