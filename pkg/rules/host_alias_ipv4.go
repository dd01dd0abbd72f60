package rules

import "fmt"

// hostAliasIPv4 warns of names that a pod's /etc/hosts gives an IPv4 address.
//
// Source: kubelet v1.37, pkg/kubelet/kubelet_pods.go, hostsEntriesFromHostAliases; a name in /etc/hosts is not asked of DNS.
func hostAliasIPv4() *Rule {
	return &Rule{
		ID: "host-alias-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Host alias gives a name an IPv4 address",
		Targets: podTargets(),
		Check:   checkHostAliasIPv4,
		CEL:     celHostAliasIPv4(),
	}
}

func checkHostAliasIPv4(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok || dialsIPv4(req, pod) {
		return nil
	}
	aliases := pod.With("spec", "hostAliases")
	list := o.List(aliases...)
	// A name that has an IPv6 address too is reached by that.
	six := map[string]bool{}
	for i := range list {
		if ipFamily(o.Str(aliases.With(i, "ip")...)) == "IPv6" {
			for _, n := range o.Strings(aliases.With(i, "hostnames")...) {
				six[n] = true
			}
		}
	}
	var out []Finding
	for i := range list {
		path := aliases.With(i, "ip")
		ip := o.Str(path...)
		if ipFamily(ip) != "IPv4" || isLoopback(ip) || isUnspecified(ip) { // 0.0.0.0 blocks a name
			continue
		}
		name := ""
		for _, n := range o.Strings(aliases.With(i, "hostnames")...) {
			if !six[n] {
				name = n
				break
			}
		}
		if name == "" {
			continue
		}
		out = append(out, Finding{
			Path: path, Subject: name, Value: ip,
			Message: fmt.Sprintf("%s is IPv4, the pod cannot reach %s by it; %s", quote(ip), quote(name), insteadOf(req.Policy, ip, "give an IPv6 address, or leave the name to DNS")),
		})
	}
	return out
}

func celHostAliasIPv4() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		ip := "string(e.?ip.orValue(''))"
		return &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"aliases", celAny("!$judged", celDialsIPv4(p)) + " ? [] : $pod.?spec.?hostAliases.orValue([])"},
				{"six", "$aliases.filter(e, " + celIPv6(ip) + ").map(e, e.?hostnames.orValue([])).flatten()"},
				{"four", "$aliases.transformList(i, e, {'path': string(" + celPodPath + " + 'spec.hostAliases[' + string(i) + '].ip'), 'ip': " + ip + ",\n" +
					"    'name': " + celIPv4(ip) + " && !" + celLoopback(ip) + " && !" + celAnyIPv4(ip) + " ? string((e.?hostnames.orValue([]).filter(n, !(n in $six)) + [''])[0]) : ''}).filter(e, e.name != '')"},
			}...),
			Faults: "$four.map(e, " + celFault(a.ID, "'"+celLevel(a)+"'", "e.path", "e.name", "e.ip",
				celQuoted("e.ip")+" + ' is IPv4, the pod cannot reach ' + "+celQuoted("e.name")+" + ' by it; ' + "+
					celInsteadOf(p, "e.ip", "'give an IPv6 address, or leave the name to DNS'")) + ")",
		}
	}}
}
