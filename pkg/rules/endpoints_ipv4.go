package rules

import (
	"net/netip"
	"strings"
)

// endpointsIPv4 reports addresses behind Services that no pod of an IPv6-only cluster reaches.
//
// Source: kube-proxy v1.37, pkg/proxy/endpointslicecache.go and proxier (only slices of the proxier's family are used);
// kube-controller-manager, EndpointSliceMirroring (Endpoints become one slice for each family).
func endpointsIPv4() *Rule {
	return &Rule{
		ID: "endpoints-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Endpoints have IPv4 addresses",
		CEL:     &CEL{Never: auditAlone},
		Targets: []Target{targetEndpoints, targetEndpointSlice},
		Check:   checkEndpointsIPv4,
	}
}

func checkEndpointsIPv4(req *Request) []Finding {
	o := req.Object
	var found []endpoint
	if o.Kind() == "EndpointSlice" {
		if o.Str("addressType") != "IPv4" {
			return nil
		}
		for i := range o.List("endpoints") {
			path := Path{"endpoints", i, "addresses"}
			for j, ip := range stringsAt(o, path) {
				found = append(found, endpoint{path.With(j), ip})
			}
		}
	} else {
		if isAPIServerService(req) || glusterByNode(req) {
			return nil
		}
		for i := range o.List("subsets") {
			for _, list := range []string{"addresses", "notReadyAddresses"} {
				path := Path{"subsets", i, list}
				for j := range o.List(path...) {
					at := path.With(j, "ip")
					found = append(found, endpoint{at, o.Str(at...)})
				}
			}
		}
	}
	var out []Finding
	for _, e := range found {
		switch ipFamily(e.ip) {
		case "IPv6":
			return nil // the IPv4 ones are the other half of a dual-stack pair
		case "IPv4":
			if ip, err := netip.ParseAddr(e.ip); err == nil && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast()) {
				continue // the API server refuses it on any cluster (ValidateEndpointIP)
			}
			message := quote(e.ip) + " cannot be reached from an IPv6-only pod"
			switch to := translated(req.Policy, e.ip); {
			case to == "" && req.Policy.Cluster.NAT64.Prefix != "":
				message += ", nor through the well-known NAT64 prefix; give the IPv6 address of the server, or use a prefix of your own"
			case to == "":
				message += "; give the IPv6 address of the server, or put NAT64 between"
			case o.Kind() == "EndpointSlice":
				message += "; use " + quote(to) + " (NAT64) in a slice of addressType IPv6"
			default:
				message += "; use " + quote(to) + " (NAT64), or the server's own IPv6 address"
			}
			out = append(out, Finding{Path: e.path, Subject: "addresses", Value: e.ip, Message: message})
		}
	}
	return out
}

type endpoint struct {
	path Path
	ip   string
}

// glusterByNode: the volume plugin of the node reads such Endpoints and dials them, no pod does.
func glusterByNode(req *Request) bool {
	c := req.Policy.Cluster
	return strings.Contains(req.Object.Name(), "gluster") && (c.Nodes != "IPv6" || c.NAT64.CLAT)
}
