package rules

// ServiceModeAnnotation chooses for one Service: headless, single-stack or unchanged.
const ServiceModeAnnotation = "sixgate.io/service-mode"

// The values of ServiceModeAnnotation.
const (
	modeHeadless    = "headless"
	modeSingleStack = "single-stack"
	modeUnchanged   = "unchanged"
)

// serviceMode is what shall become of a Service, and whether its own annotation says so.
func serviceMode(req *Request) (mode string, annotated bool) {
	switch m, _ := annotation(req.Object, ServiceModeAnnotation); m {
	case modeHeadless, modeSingleStack, modeUnchanged:
		return m, true
	}
	s := req.Policy.Services
	if s.Headless.All || objectMatch(s.Headless.Patterns, req.Namespace, req.Object.Name()) {
		return modeHeadless, false
	}
	switch s.Mode {
	case "Headless":
		return modeHeadless, false
	case "Unchanged":
		return modeUnchanged, false
	}
	return modeSingleStack, false
}

func serviceType(o *Object) string {
	if t := o.Str("spec", "type"); t != "" {
		return t
	}
	return "ClusterIP"
}

// isHeadless reports whether a Service asks for no cluster IP.
func isHeadless(o *Object) bool {
	if ip := o.Str("spec", "clusterIP"); ip != "" {
		return ip == "None"
	}
	ips := o.Strings("spec", "clusterIPs")
	return len(ips) > 0 && ips[0] == "None"
}

func hasSelector(o *Object) bool { return len(o.Map("spec", "selector")) > 0 }

// isAPIServerService: the Service that the API server keeps for itself.
func isAPIServerService(req *Request) bool {
	return req.Namespace == "default" && req.Object.Name() == "kubernetes"
}

func isClusterDNS(req *Request) bool {
	dns := req.Policy.Cluster.DNS
	return req.Namespace == dns.Namespace && req.Object.Name() == dns.Service
}

// storedService is the Service that an UPDATE changes, or nil if the request counts as a creation: on CREATE, and where an
// ExternalName, which has no families, becomes something else.
func storedService(req *Request) *Object {
	if req.Operation != Update || req.Old == nil || serviceType(req.Old) == "ExternalName" {
		return nil
	}
	return req.Old
}
