package rules

import (
	"maps"
	"slices"
	"strings"
)

// ingressAllowLists are the annotations of an Ingress by which its controller lets in only the clients that are listed.
func ingressAllowLists() []string {
	return []string{
		"alb.ingress.kubernetes.io/inbound-cidrs",
		"haproxy-ingress.github.io/allowlist-source-range",
		"haproxy-ingress.github.io/whitelist-source-range",
		"haproxy.org/allow-list",
		"haproxy.org/whitelist",
		"haproxy.router.openshift.io/ip_allowlist",
		"haproxy.router.openshift.io/ip_whitelist",
		"ingress.kubernetes.io/allowlist-source-range",
		"ingress.kubernetes.io/whitelist-source-range",
		"k8s.apisix.apache.org/allowlist-source-range",
		"nginx.ingress.kubernetes.io/allowlist-source-range",
		"nginx.ingress.kubernetes.io/whitelist-source-range",
		"traefik.ingress.kubernetes.io/whitelist-source-range",
	}
}

// ingressIPv4 reports what keeps IPv6 clients out on the way from outside to a Service.
//
// Source: nginx run with such a list (docs/rules/ingress-ipv4.md); traefik/traefik, pkg/ip/checker.go; Gateway API v1,
// GatewaySpec.addresses; k3s, pkg/cloudprovider/servicelb.go (the DaemonSets of klipper-lb and their variables).
func ingressIPv4() *Rule {
	targets := append([]Target{targetIngress, targetGateway, targetConfigMap, targetNginxPolicy}, traefikMiddlewares()...)
	return &Rule{
		ID: "ingress-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Ingress, gateway or service load balancer serves IPv4 clients only",
		Targets: append(targets, Target{Group: "apps", Version: "v1", Resource: "daemonsets", Kind: "DaemonSet", Operations: both}),
		Check:   checkIngressIPv4,
		CEL:     celIngressIPv4(),
	}
}

func checkIngressIPv4(req *Request) []Finding {
	switch o := req.Object; o.Kind() {
	case "Ingress":
		return checkTextLists(o, Path{"metadata", "annotations"}, ingressAllowLists(), allowListFinding)
	case "ConfigMap":
		return append(checkTextLists(o, Path{"data"}, []string{"whitelist-source-range"}, allowListFinding),
			checkTextLists(o, Path{"data"}, []string{"proxy-real-ip-cidr", "set-real-ip-from"}, trustedProxyFinding)...)
	case "Gateway":
		return checkGatewayAddresses(o)
	case "Middleware", "MiddlewareTCP":
		return append(checkList(o, Path{"spec", "ipAllowList", "sourceRange"}), checkList(o, Path{"spec", "ipWhiteList", "sourceRange"})...)
	case "Policy":
		return checkList(o, Path{"spec", "accessControl", "allow"})
	case "DaemonSet":
		return checkServiceLB(o)
	}
	return nil
}

// checkTextLists judges lists that are one text each, by their keys in a map of texts.
func checkTextLists(o *Object, at Path, keys []string, finding func(Path, string, addressList) Finding) []Finding {
	texts := o.Map(at...)
	if len(texts) == 0 {
		return nil
	}
	var out []Finding
	for _, key := range keys {
		text, _ := texts[key].(string)
		l := readAddresses(splitList(text))
		if !l.onlyIPv4() {
			continue
		}
		path := at.With(key)
		f := finding(path, key, l)
		if l.anyIPv4 {
			separator := ","
			if strings.HasPrefix(key, "haproxy.router.openshift.io/") {
				separator = " "
			}
			f.Fix = func(o *Object) { o.Set(path, strings.TrimRight(text, ", \n")+separator+"::/0") }
		}
		out = append(out, f)
	}
	return out
}

func allowListFinding(path Path, subject string, l addressList) Finding {
	f := Finding{Path: path, Subject: subject, Value: l.first}
	f.Message = quote(l.first) + " lets in IPv4 clients only, every IPv6 client is refused; add the IPv6 ranges"
	if l.anyIPv4 {
		f.Message = quote(l.first) + " lets in every IPv4 client and no IPv6 client; add \"::/0\""
	}
	return f
}

func trustedProxyFinding(path Path, subject string, l addressList) Finding {
	f := Finding{Path: path, Subject: subject, Value: l.first}
	f.Message = quote(l.first) + " trusts IPv4 proxies only, behind an IPv6 one every client has the proxy's address; add "
	if l.anyIPv4 {
		f.Message += "\"::/0\""
	} else {
		f.Message += "the IPv6 ranges"
	}
	return f
}

func checkGatewayAddresses(o *Object) []Finding {
	var out []Finding
	for i := range o.List("spec", "addresses") {
		path := Path{"spec", "addresses", i, "value"}
		if t := o.Str("spec", "addresses", i, "type"); t != "" && t != "IPAddress" {
			continue
		}
		value := o.Str(path...)
		switch ipFamily(value) {
		case "IPv6":
			return nil // the IPv4 ones may be for clients of a dual-stack load balancer
		case "IPv4":
			out = append(out, Finding{
				Path: path, Subject: "addresses", Value: value,
				Message: quote(value) + " is an IPv4 address, which an IPv6-only cluster cannot give a gateway; give an IPv6 address, or leave addresses out",
			})
		}
	}
	return out
}

// checkList judges an allow-list that is a list.
func checkList(o *Object, path Path) []Finding {
	ranges := stringsAt(o, path)
	l := readAddresses(ranges)
	if !l.onlyIPv4() {
		return nil
	}
	f := allowListFinding(path.With(l.at), path[1].(string), l)
	if l.anyIPv4 {
		f.Fix = func(o *Object) { o.Insert(path, len(ranges), "::/0") }
	}
	return []Finding{f}
}

// checkServiceLB judges the DaemonSets that K3s makes for LoadBalancer Services, and copies of them.
func checkServiceLB(o *Object) []Finding {
	pod := Path{"spec", "template"}
	if !strings.HasPrefix(o.Name(), "svclb-") {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		values, paths := map[string]string{}, map[string]Path{}
		for i := range o.List(c.path.With("env")...) {
			name := o.Str(c.path.With("env", i, "name")...)
			paths[name] = c.path.With("env", i, "value")
			values[name] = o.Str(paths[name]...)
		}
		if ipFamily(values["DEST_IP6"]) == "IPv6" {
			continue // a fork that forwards each family on its own
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			l := readAddresses(splitList(values[name]))
			if !l.onlyIPv4() {
				continue
			}
			f := Finding{Path: paths[name], Subject: c.name + " " + name, Value: l.first}
			switch name {
			case "DEST_IP", "DEST_IPS":
				f.Message = quote(l.first) + " is an IPv4 cluster IP, klipper-lb forwards nothing to an IPv6 one; recreate the Service as IPv6, K3s makes this anew"
			case "SRC_RANGES":
				f.Message = quote(l.first) + " lets klipper-lb drop every IPv6 client; add the IPv6 ranges to the Service's loadBalancerSourceRanges"
			default:
				continue
			}
			out = append(out, f)
		}
	}
	seen := map[string]bool{}
	for _, p := range hostPorts(o, pod, false) {
		key := p.key() + p.hostIP
		if seen[key] {
			out = append(out, Finding{
				Path: p.at.With("ports", p.i).With("hostPort"), Subject: p.container, Value: p.key(), Refused: true,
				Message: quote(p.key()) + " is published twice, the API server refuses that; one hostPort serves both families",
			})
		}
		seen[key] = true
	}
	return out
}

func celIngressIPv4() *CEL {
	return &CEL{
		Targets:     []Target{targetIngress, targetConfigMap},
		Differences: []string{"Ingresses and ConfigMaps are judged; Gateways, what Traefik and NGINX store in kinds of their own, and the DaemonSets of K3s are not."},
		Write: func(a *Active, _ *Policy) *Expressions {
			proxies := []string{"proxy-real-ip-cidr", "set-real-ip-from"}
			list := "[string(v)].map(v, v.contains(',') ? v.split(',') : v.replace('\\n', ' ').replace('\\t', ' ').split(' ').filter(w, w != ''))[0]"
			first := celFirstIPv4("l.list") + ".v"
			return &Expressions{
				Variables: []Variable{
					{"ingress", "request.kind.kind == 'Ingress'"},
					{"texts", "$ingress ? dyn($object.metadata.?annotations.orValue({})) : dyn(dyn($object).?data.orValue({}))"},
					{"lists", "($ingress ? " + celList(ingressAllowLists()) + " : " + celList(append([]string{"whitelist-source-range"}, proxies...)) + ").filter(k, k in $texts)\n" +
						"  .map(k, {'key': dyn(k), 'list': dyn([$texts[k]].map(v, " + celAddressList(list) + ")[0])}).filter(l, " + celOnlyIPv4("l.list") + ")\n" +
						"  .map(l, {'key': string(l.key), 'first': string(" + first + "), 'any': string(l.list.exists(e, e.family == 'IPv4' && e.v.endsWith('/0')))})"},
				},
				Faults: "$lists.map(l, " + celFault(a.ID, "'"+celLevel(a)+"'", "($ingress ? 'metadata.annotations' : 'data') + '[\"' + l.key + '\"]'", "l.key", "l.first",
					celQuoted("l.first")+" + (l.key in "+celList(proxies)+" ?\n    ' trusts IPv4 proxies only, behind an IPv6 one every client has the proxy\\'s address; add ' + (l.any == 'true' ? '\"::/0\"' : 'the IPv6 ranges')\n    : "+
						"l.any == 'true' ? ' lets in every IPv4 client and no IPv6 client; add \"::/0\"' : ' lets in IPv4 clients only, every IPv6 client is refused; add the IPv6 ranges')") + ")",
			}
		},
	}
}
