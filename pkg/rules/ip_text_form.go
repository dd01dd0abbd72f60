package rules

import (
	"fmt"
	"net/netip"
	"strings"

	netutils "k8s.io/utils/net"
)

// ipTextForm reports addresses in a text form that the API server refuses since v1.36, or warns about, and that programs which
// compare texts do not find.
//
// Source: k8s.io/apimachinery v0.37, pkg/util/validation/ip.go (IsValidIPForLegacyField, GetWarningsForIP, GetWarningsForCIDR);
// KEP-4858; RFC 5952.
func ipTextForm() *Rule {
	targets := append([]Target{targetService, targetEndpoints, targetEndpointSlice, targetPod}, workloads()...)
	return &Rule{
		ID: "ip-text-form", Since: "v0.1.0", Level: Warn,
		Title:   "Address is not written in its canonical form",
		Targets: append(targets, networkPolicies()...),
		Check:   checkIPTextForm,
		CEL:     celIPTextForm(),
	}
}

func checkIPTextForm(req *Request) []Finding {
	o := req.Object
	var out []Finding
	add := func(path Path, s string, fixed bool) {
		message, canonical := textForm(s)
		if message == "" {
			return
		}
		if canonical != "" && o.Kind() == "EndpointSlice" {
			message = fmt.Sprintf("%s is not canonical (RFC 5952), Kubernetes refuses that here; write %q", quote(s), canonical)
		}
		f := Finding{Path: path, Value: s, Message: message}
		if canonical != "" && !fixed {
			f.Fix = func(o *Object) { o.Set(path, canonical) }
		}
		out = append(out, f)
	}
	str := func(path Path, fixed bool) { add(path, o.Str(path...), fixed) }
	list := func(path Path, fixed bool) {
		for i, e := range o.List(path...) {
			if s, ok := e.(string); ok {
				add(path.With(i), s, fixed)
			}
		}
	}
	switch o.Group() + "/" + o.Kind() {
	case "/Service":
		// A cluster IP cannot change, not even its text.
		str(Path{"spec", "clusterIP"}, true)
		list(Path{"spec", "clusterIPs"}, true)
		list(Path{"spec", "externalIPs"}, false)
		str(Path{"spec", "loadBalancerIP"}, false)
		list(Path{"spec", "loadBalancerSourceRanges"}, false)
	case "/Endpoints":
		for i := range o.List("subsets") {
			for _, addresses := range []string{"addresses", "notReadyAddresses"} {
				for j := range o.List("subsets", i, addresses) {
					str(Path{"subsets", i, addresses, j, "ip"}, false)
				}
			}
		}
	case "discovery.k8s.io/EndpointSlice":
		for i := range o.List("endpoints") {
			list(Path{"endpoints", i, "addresses"}, false)
		}
	default:
		if pod, ok := podPath(o); ok {
			if isMirror(o) {
				return nil
			}
			stored := o.Kind() == "Pod" && req.Operation == Update
			for i := range o.List(pod.With("spec", "hostAliases")...) {
				str(pod.With("spec", "hostAliases", i, "ip"), stored)
			}
			list(pod.With("spec", "dnsConfig", "nameservers"), stored)
			return out
		}
		for _, r := range peerRules(o) {
			for _, b := range r.blocks {
				add(b.path(), b.cidr, false)
				if at := b.path(); at[len(at)-1] == "cidr" {
					list(at[:len(at)-1].With("except"), false)
				}
			}
		}
	}
	return out
}

// textForm says what is wrong with the form of an address or CIDR, and gives the canonical one where it means the same; both are
// "" where nothing is wrong or where it is none.
func textForm(s string) (message, canonical string) {
	const refused = ", which Kubernetes refuses since v1.36; "
	var addr netip.Addr
	var prefix netip.Prefix
	var err error
	is := strings.Contains(s, "/")
	if is {
		prefix, err = netip.ParsePrefix(s)
		addr = prefix.Addr()
	} else {
		addr, err = netip.ParseAddr(s)
	}
	switch {
	case err != nil:
		host, _, _ := strings.Cut(s, "/")
		if _, strict := netip.ParseAddr(host); strict != nil && netutils.ParseIPSloppy(host) != nil {
			return quote(s) + " has leading zeros" + refused + "give an IPv6 address", ""
		}
		return "", ""
	case addr.Is4In6():
		return quote(s) + " is IPv4 in IPv6 form" + refused + "give an IPv6 address", ""
	case !addr.Is6() || addr.Zone() != "":
		return "", ""
	case is && prefix != prefix.Masked():
		return fmt.Sprintf("%s has bits beyond its prefix%swrite %q, or /128 for the address alone", quote(s), refused, prefix.Masked()), ""
	}
	canonical = addr.String()
	if is {
		canonical = prefix.String()
	}
	if canonical == s {
		return "", ""
	}
	return fmt.Sprintf("%s is not canonical (RFC 5952), a comparison of texts misses it; write %q", quote(s), canonical), canonical
}

func celIPTextForm() *CEL {
	return &CEL{
		Targets:     append([]Target{targetService, targetNetworkPolicy}, podTargets()...),
		Differences: []string{"Network policies of Kubernetes are judged, those of Calico and Cilium are not."},
		Write: func(a *Active, _ *Policy) *Expressions {
			one := func(path, text string) string { return "[{'path': string(" + path + "), 'v': string(" + text + ")}]" }
			list := func(path, texts string) string {
				return texts + ".transformList(k, v, {'path': string(" + path + " + '[' + string(k) + ']'), 'v': string(v)})"
			}
			service := func(field string) string {
				return list("'spec."+field+"'", "dyn($object).?spec.?"+field+".orValue([])")
			}
			block := func(direction, peers string) string {
				at := "'spec." + direction + "[' + string(i) + ']." + peers + "[' + string(j) + '].ipBlock.'"
				return "dyn($object).?spec.?" + direction + ".orValue([]).transformList(i, r, r.?" + peers + ".orValue([]).transformList(j, b,\n      b.?ipBlock.?cidr.orValue('').matches('^[^/]+/[0-9]+$') && !b.ipBlock.cidr.startsWith('127.'),\n      " +
					one(at+" + 'cidr'", "b.ipBlock.cidr") + " + " + list(at+" + 'except'", "b.ipBlock.?except.orValue([])") + ")).flatten().flatten()"
			}
			const refused = ", which Kubernetes refuses since v1.36; "
			return &Expressions{
				Variables: append(celPodVariables(), []Variable{
					{"texts", "request.kind.kind == 'Service' ?\n  " + one("'spec.clusterIP'", "dyn($object).?spec.?clusterIP.orValue('')") + " + " + service("clusterIPs") + " + " + service("externalIPs") + " +\n  " +
						one("'spec.loadBalancerIP'", "dyn($object).?spec.?loadBalancerIP.orValue('')") + " + " + service("loadBalancerSourceRanges") +
						"\n  : request.kind.kind == 'NetworkPolicy' ? " + block("ingress", "from") + " +\n    " + block("egress", "to") +
						"\n  : $mirror ? []\n  : $pod.?spec.?hostAliases.orValue([]).map(e, string(e.?ip.orValue('')))" +
						".transformList(k, v, {'path': string(" + celPodPath + " + 'spec.hostAliases[' + string(k) + '].ip'), 'v': string(v)}) +\n    " +
						list(celPodPath+" + 'spec.dnsConfig.nameservers'", "$pod.?spec.?dnsConfig.?nameservers.orValue([])")},
					{"said", "$texts.filter(t, t.v != '').map(t, {'path': t.path, 'v': t.v, 'host': string(t.v.split('/')[0])}).map(t, {'path': t.path, 'v': t.v, 'text': string(\n    " +
						celIPv4("t.host") + " ? (t.host.contains(':') ? ' is IPv4 in IPv6 form" + refused + "give an IPv6 address'\n      : isIP(t.host) ? '' : ' has leading zeros" + refused + "give an IPv6 address')\n    : " +
						"isIP(t.v) ? (string(ip(t.v)) == t.v ? '' : ' is not canonical (RFC 5952), a comparison of texts misses it; write \"' + string(ip(t.v)) + '\"')\n    : " +
						"!isCIDR(t.v) ? '' : cidr(t.v) != cidr(t.v).masked() ? ' has bits beyond its prefix" + refused + "write \"' + string(cidr(t.v).masked()) + '\", or /128 for the address alone'\n    : " +
						"string(cidr(t.v)) == t.v ? '' : ' is not canonical (RFC 5952), a comparison of texts misses it; write \"' + string(cidr(t.v)) + '\"')}).filter(t, t.text != '')"},
				}...),
				Faults: "$said.map(t, " + celFault(a.ID, "'"+celLevel(a)+"'", "t.path", "''", "t.v", celQuoted("t.v")+" + t.text") + ")",
			}
		},
	}
}
