package rules

import (
	"fmt"
	"regexp"
	"strings"
)

// serviceHeadless makes Services headless where the policy or the Service's annotation asks for it, for clusters without
// kube-proxy. It does so only where no client can notice: a headless name resolves to pod addresses, so the mapping from port
// to targetPort, the session affinity and the cluster IP are gone.
//
// Source: kube-apiserver v1.37, pkg/apis/core/validation/validation.go (None is refused for NodePort and LoadBalancer; which
// fields only those types may have) and pkg/registry/core/service/storage.go (an UPDATE without clusterIP keeps None).
func serviceHeadless() *Rule {
	return &Rule{
		ID: "service-headless", Since: "v0.1.0", Level: None, Mutate: true,
		Title:   "Service becomes headless where the policy asks for it",
		Targets: []Target{targetService},
		Check:   checkServiceHeadless,
		CEL:     celServiceHeadless(),
	}
}

func checkServiceHeadless(req *Request) []Finding {
	o := req.Object
	mode, annotated := serviceMode(req)
	if mode != modeHeadless || serviceType(o) == "ExternalName" || isAPIServerService(req) {
		return nil
	}
	clusterIP := Path{"spec", "clusterIP"}
	if stored := storedService(req); stored != nil {
		if !isHeadless(stored) {
			return nil // clusterIP is immutable: what is older than the policy stays as it is
		}
		return repeatHeadless(req)
	}
	if isHeadless(o) {
		return nil
	}
	if f, unsafe := headlessUnsafe(req, annotated); unsafe {
		f.Own, _ = ParseLevel(req.Policy.Services.WhenHeadlessUnsafe)
		return []Finding{f}
	}
	f := Finding{
		Path: clusterIP, Subject: "clusterIP",
		Message: `becomes headless (clusterIP "None")`,
		Fix:     makeHeadless,
	}
	if was := o.Str(clusterIP...); was != "" {
		f.Value, f.Changed = was, "changed "+quote(was)+` to "None": the policy makes this Service headless`
	}
	if t := serviceType(o); t != "ClusterIP" {
		f.Path, f.Value = Path{"spec", "type"}, t
		f.Changed = "changed " + quote(t) + ` to a headless "ClusterIP": the policy makes every Service headless, it has no external address`
	}
	out := []Finding{f}
	if who, ok := req.others().dials(req.Namespace, o.Name()); ok {
		out = append(out, Finding{
			Path: clusterIP, Subject: "dialled", Value: who, Own: Warn,
			Message: "the API server dials this Service for " + who + ", which needs a cluster IP; annotate " + ServiceModeAnnotation + ": single-stack",
		})
	}
	return out
}

// repeatHeadless handles a Service that is stored headless: a request that still has the original spec gets the same change again.
func repeatHeadless(req *Request) []Finding {
	o := req.Object
	f := Finding{Path: Path{"spec", "clusterIP"}, Subject: "clusterIP", Message: "stays headless", Fix: makeHeadless}
	if t := serviceType(o); t != "ClusterIP" {
		f.Path, f.Value = Path{"spec", "type"}, t
		f.Changed = "changed " + quote(t) + ` to a headless "ClusterIP", as it is stored`
		if !req.Policy.Services.Headless.All {
			return []Finding{{
				Path: f.Path, Value: t, Subject: "type", Own: Warn, Refused: true,
				Message: quote(t) + " is refused for a Service that is stored headless; delete and recreate it",
			}}
		}
		return []Finding{f}
	}
	if was := o.Str("spec", "clusterIP"); was != "" && was != "None" {
		f.Value, f.Changed = was, "changed "+quote(was)+` to "None", as it is stored`
		return []Finding{f}
	}
	return nil
}

// dialledByAPIServer matches names of ports and Services behind webhooks and APIServices, which the API server dials by
// cluster IP ("cannot route to service with ClusterIP "None"").
var dialledByAPIServer = regexp.MustCompile(`webhook|admission|conversion|apiserver|api-server|apiservice|metrics-api|custom-metrics|external-metrics|^metrics-server$`)

// headlessUnsafe returns why a Service must keep its cluster IP. What the Service's own annotation asks for overrides guesses,
// not facts.
func headlessUnsafe(req *Request, annotated bool) (Finding, bool) {
	o := req.Object
	stays := func(path Path, value, why string) (Finding, bool) {
		if !strings.Contains(why, ";") {
			why += "; annotate " + ServiceModeAnnotation + ": single-stack to keep its cluster IP"
		}
		return Finding{Path: path, Subject: "headless", Value: value, Message: why}, true
	}
	if t := serviceType(o); t != "ClusterIP" && !req.Policy.Services.Headless.All {
		return stays(Path{"spec", "type"}, t, "a "+t+" Service cannot be headless")
	}
	if isClusterDNS(req) {
		return stays(Path{"spec", "clusterIP"}, "", "every kubelet has the address of the cluster DNS")
	}
	if !hasSelector(o) {
		return stays(Path{"spec", "selector"}, "", "without selector nothing says which pods a headless name would resolve to")
	}
	if a := o.Str("spec", "sessionAffinity"); a != "" && a != "None" {
		return stays(Path{"spec", "sessionAffinity"}, a, "session affinity "+quote(a)+" needs a cluster IP")
	}
	if len(o.List("spec", "externalIPs")) > 0 {
		return stays(Path{"spec", "externalIPs"}, "", "externalIPs lead to a cluster IP")
	}
	if !annotated && dialledByAPIServer.MatchString(o.Name()) {
		return stays(Path{"metadata", "name"}, o.Name(), "its name is that of a webhook or API, which the API server dials by cluster IP")
	}
	for i := range o.List("spec", "ports") {
		path := Path{"spec", "ports", i}
		port, _ := o.Get(path.With("port")...)
		number, _ := integer(port)
		if target, ok := o.Get(path.With("targetPort")...); ok {
			if name, named := target.(string); named && name != "" { // "" is defaulted to the port
				switch known := req.others().targetPort(req.Namespace, o.Map("spec", "selector"), name); {
				case known != 0 && known != number:
					return stays(path.With("targetPort"), name, fmt.Sprintf("port %d leads to %d, which a headless name cannot do", number, known))
				case !annotated:
					return stays(path.With("targetPort"), name, "target port "+quote(name)+" is not known at admission; if it is the same number, annotate "+ServiceModeAnnotation+": headless")
				}
			} else if t, ok := integer(target); ok && t != number && t != 0 {
				return stays(path.With("targetPort"), fmt.Sprint(t), fmt.Sprintf("port %d leads to %d, which a headless name cannot do", number, t))
			}
		}
		if name := o.Str(path.With("name")...); !annotated && (number == 443 || dialledByAPIServer.MatchString(name)) {
			return stays(path, fmt.Sprint(number), fmt.Sprintf("port %d may be a webhook or API, which the API server dials by cluster IP", number))
		}
	}
	return Finding{}, false
}

// loadBalancerFields are the fields that only NodePort and LoadBalancer Services may have, those of API defaulting too.
var loadBalancerFields = []string{
	"externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts", "loadBalancerClass", "loadBalancerIP", "loadBalancerSourceRanges",
}

// makeHeadless gives a Service no cluster IP, and takes away what a Service without one may not have.
func makeHeadless(o *Object) {
	if serviceType(o) != "ClusterIP" {
		o.Set(Path{"spec", "type"}, "ClusterIP")
		for i := range o.List("spec", "ports") {
			o.Remove(Path{"spec", "ports", i, "nodePort"})
		}
		for _, field := range loadBalancerFields {
			o.Remove(Path{"spec", field})
		}
		o.Remove(Path{"metadata", "annotations", sourceRangesAnnotation})
	}
	if o.Str("spec", "clusterIP") != "None" {
		o.Set(Path{"spec", "clusterIP"}, "None")
	}
	if ips := o.Strings("spec", "clusterIPs"); len(ips) > 0 && ips[0] != "None" {
		o.Set(Path{"spec", "clusterIPs"}, []any{"None"})
	}
}
