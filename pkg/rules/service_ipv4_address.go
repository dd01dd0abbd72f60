package rules

import "strings"

// sourceRangesAnnotation is the older form of spec.loadBalancerSourceRanges, read where that is empty (k8s.io/cloud-provider,
// service/helpers/helper.go).
const sourceRangesAnnotation = "service.beta.kubernetes.io/load-balancer-source-ranges"

// serviceIPv4Address reports IPv4 addresses by which a Service shall be reached, and clients that are named by IPv4 ranges.
//
// Source: kube-proxy v1.37, pkg/proxy/serviceport.go (external IPs and source ranges of another family than the Service's are left
// out; no ranges left means no filter); k3s, pkg/cloudprovider/servicelb.go (only a bare 0.0.0.0/0 is completed by ::/0).
func serviceIPv4Address() *Rule {
	return &Rule{
		ID: "service-ipv4-address", Since: "v0.1.0", Level: Warn,
		Title:   "Service is given IPv4 addresses or source ranges",
		Targets: []Target{targetService},
		Check:   checkServiceIPv4Address,
		CEL:     celServiceIPv4Address(),
	}
}

func checkServiceIPv4Address(req *Request) []Finding {
	o := req.Object
	t := serviceType(o)
	if t == "ExternalName" || isAPIServerService(req) {
		return nil
	}
	var out []Finding
	external := Path{"spec", "externalIPs"}
	if l := readAddresses(stringsAt(o, external)); l.ipv4 > 0 {
		f := Finding{
			Path: external.With(l.at), Subject: "externalIPs", Value: l.first,
			Message: quote(l.first) + " is an IPv4 address, kube-proxy leaves it out of an IPv6 Service; give an IPv6 address that is routed to a node",
		}
		if l.ipv6 > 0 {
			f.Message = quote(l.first) + " is an IPv4 address, kube-proxy leaves it out of an IPv6 Service; remove it"
			f.Fix = func(o *Object) { dropIPv4(o, external) }
		}
		out = append(out, f)
	}
	if t != "LoadBalancer" {
		return out
	}
	if ip := o.Str("spec", "loadBalancerIP"); ipFamily(ip) == "IPv4" {
		out = append(out, Finding{
			Path: Path{"spec", "loadBalancerIP"}, Subject: "loadBalancerIP", Value: ip,
			Message: quote(ip) + " is not an address for an IPv6 Service, load balancers refuse it; give an IPv6 address, or leave it out",
		})
	}
	listed := Path{"spec", "loadBalancerSourceRanges"}
	ranges := stringsAt(o, listed)
	if l := readAddresses(ranges); l.onlyIPv4() {
		f := sourceRangesFinding(listed.With(l.at), l)
		if l.anyIPv4 {
			f.Fix = func(o *Object) { o.Insert(listed, len(ranges), "::/0") }
		}
		out = append(out, f)
	}
	annotated := Path{"metadata", "annotations", sourceRangesAnnotation}
	if text := o.Str(annotated...); len(ranges) == 0 && text != "" {
		if l := readAddresses(strings.Split(text, ",")); l.onlyIPv4() {
			f := sourceRangesFinding(annotated, l)
			if l.anyIPv4 {
				f.Fix = func(o *Object) { o.Set(annotated, strings.TrimRight(text, ", ")+",::/0") }
			}
			out = append(out, f)
		}
	}
	return out
}

func sourceRangesFinding(path Path, l addressList) Finding {
	f := Finding{Path: path, Subject: "loadBalancerSourceRanges", Value: l.first}
	if l.anyIPv4 {
		f.Message = quote(l.first) + " names IPv4 clients only, a load balancer may keep IPv6 clients out; add \"::/0\""
	} else {
		f.Message = quote(l.first) + " names IPv4 clients only: kube-proxy then filters no IPv6 client, a load balancer drops all; add the IPv6 ranges"
	}
	return f
}

func celServiceIPv4Address() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		fault := func(path, subject, value, message string) string {
			return celFault(a.ID, "'"+celLevel(a)+"'", path, "'"+subject+"'", value, message)
		}
		ranges := func(list, path string) string {
			first := celFirstIPv4(list) + ".v"
			return "(" + celOnlyIPv4(list) + " ? [" + fault(path, "loadBalancerSourceRanges", first, celQuoted(first)+
				" + ("+list+".exists(e, e.family == 'IPv4' && e.v.endsWith('/0')) ? ' names IPv4 clients only, a load balancer may keep IPv6 clients out; add \"::/0\"'\n    : "+
				"' names IPv4 clients only: kube-proxy then filters no IPv6 client, a load balancer drops all; add the IPv6 ranges')") + "] : [])"
		}
		first := celFirstIPv4("$external") + ".v"
		return &Expressions{
			Variables: append(celService(p), []Variable{
				{"balanced", "!$untouched && $type == 'LoadBalancer'"},
				{"external", "$untouched ? [] : " + celAddressList("$object.?spec.?externalIPs.orValue([])")},
				{"address", "$balanced ? string($object.?spec.?loadBalancerIP.orValue('')) : ''"},
				{"ranges", "!$balanced ? [] : " + celAddressList("$object.?spec.?loadBalancerSourceRanges.orValue([])")},
				{"annotated", "!$balanced || size($ranges) > 0 ? [] :\n  " + celAddressList("$object.metadata.?annotations[?'"+sourceRangesAnnotation+"'].orValue('').split(',')")},
			}...),
			Faults: "(" + celSomeIPv4("$external") + " ? [" + fault("'spec.externalIPs[' + "+celFirstIPv4("$external")+".at + ']'", "externalIPs", first,
				celQuoted(first)+" + ($external.exists(e, e.family == 'IPv6') ? ' is an IPv4 address, kube-proxy leaves it out of an IPv6 Service; remove it'\n    : "+
					"' is an IPv4 address, kube-proxy leaves it out of an IPv6 Service; give an IPv6 address that is routed to a node')") + "] : []) +\n  " +
				"(" + celIPv4("$address") + " ? [" + fault("'spec.loadBalancerIP'", "loadBalancerIP", "$address",
				celQuoted("$address")+" + ' is not an address for an IPv6 Service, load balancers refuse it; give an IPv6 address, or leave it out'") + "] : []) +\n  " +
				ranges("$ranges", "'spec.loadBalancerSourceRanges[' + "+celFirstIPv4("$ranges")+".at + ']'") + " +\n  " +
				ranges("$annotated", "'metadata.annotations[\""+sourceRangesAnnotation+"\"]'"),
		}
	}}
}
