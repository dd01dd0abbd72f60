package rules

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// maxNameservers of a pod: the API server refuses more (k8s.io/kubernetes v1.37, pkg/apis/core/validation, MaxDNSNameservers).
const maxNameservers = 3

// dnsConfigIPv4 replaces nameservers that no pod reaches by those of the policy.
//
// Source: kubelet v1.37, pkg/kubelet/network/dns/dns.go (dnsConfig is added after what dnsPolicy gives; with None it is all there is).
func dnsConfigIPv4() *Rule {
	return &Rule{
		ID: "dns-config-ipv4", Since: "v0.1.0", Level: Warn, Mutate: true,
		Title:   "Pod asks an IPv4 nameserver",
		Targets: podTargets(),
		Check:   checkDNSConfigIPv4,
		CEL:     celDNSConfigIPv4(),
	}
}

func checkDNSConfigIPv4(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok {
		return nil
	}
	path := pod.With("spec", "dnsConfig", "nameservers")
	list := o.List(path...)
	var kept []any
	first, count, value := -1, 0, ""
	for i, v := range list {
		if !isDeadResolver(v) {
			kept = append(kept, v)
			continue
		}
		if first < 0 {
			first, value = i, v.(string)
		}
		count++
	}
	if count == 0 || dialsIPv4(req, pod) {
		return nil
	}
	f := Finding{Path: path.With(first), Subject: "nameservers", Value: value}
	alone := count == len(list) && o.Str(pod.With("spec", "dnsPolicy")...) == "None"
	way := "give an IPv6 resolver, or remove it"
	if alone {
		way = "give an IPv6 resolver" // the API server wants one
	}
	way = insteadOf(req.Policy, value, way)
	resolvers := resolversFor(req, pod)
	if len(resolvers) > 0 {
		way = "use " + quote(resolvers[0])
	}
	if alone {
		f.Own = Deny
		f.Message = fmt.Sprintf("%s is IPv4, and with dnsPolicy None the pod resolves nothing; %s", quote(value), way)
	} else {
		f.Message = fmt.Sprintf("%s is IPv4, no pod gets an answer from there; %s", quote(value), way)
	}
	if after := nameserversAfter(req, kept, resolvers); after != nil {
		f.Fix = func(o *Object) { o.Set(path, after) }
		f.Changed = fmt.Sprintf("dropped %s, which no pod reaches", quote(value))
		if len(after) > len(kept) {
			f.Changed = fmt.Sprintf("replaced %s by %s, which the policy gives", quote(value), quote(fmt.Sprint(after[len(kept)])))
		}
	}
	return []Finding{f}
}

// resolversFor are the resolvers of the policy that know the names a pod asks for: with dnsPolicy None a search domain of the cluster
// shows that it wants Services, and those only the cluster DNS knows.
func resolversFor(req *Request, pod Path) []string {
	dns := req.Policy.Cluster.DNS
	inCluster := func(domain string) bool { return strings.Contains("."+domain+".", ".svc.") }
	if req.Object.Str(pod.With("spec", "dnsPolicy")...) != "None" ||
		!slices.ContainsFunc(req.Object.Strings(pod.With("spec", "dnsConfig", "searches")...), inCluster) {
		return dns.Resolvers
	}
	if dns.Address == "" {
		return nil
	}
	return []string{dns.Address}
}

// nameserversAfter is what the nameservers become, nil where they stay. On UPDATE of a Pod that is what it is stored with: the field
// is immutable, and the manifest must go through again.
func nameserversAfter(req *Request, kept []any, resolvers []string) []any {
	if !mayRepairPod(req) {
		if req.Old == nil {
			return nil
		}
		stored := req.Old.List("spec", "dnsConfig", "nameservers")
		if len(stored) < max(1, len(kept)) || len(kept) > 0 && !reflect.DeepEqual(stored[:len(kept)], kept) || slices.ContainsFunc(stored, isDeadResolver) {
			return nil
		}
		return stored
	}
	if len(resolvers) == 0 {
		return nil
	}
	after := slices.Clone(kept)
	for _, r := range resolvers {
		if len(after) < maxNameservers && !slices.Contains(after, any(r)) {
			after = append(after, r)
		}
	}
	return after
}

// isDeadResolver: no pod reaches it; 127.0.0.1 is a resolver in the pod.
func isDeadResolver(v any) bool {
	s, _ := v.(string)
	return ipFamily(s) == "IPv4" && !isLoopback(s)
}

func celDNSConfigIPv4() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		dead := celIPv4("string(v)") + " && !" + celLoopback("string(v)")
		resolvers := slices.Compact(slices.Clone(p.Cluster.DNS.Resolvers))
		var inside []string
		if p.Cluster.DNS.Address != "" {
			inside = []string{p.Cluster.DNS.Address}
		}
		fixed := "false"
		if a.Mutate {
			fixed = "size($after) > 0"
		}
		own := "'" + min(Deny, levelOr(p, a.ID, Deny)).String() + "'"
		const first = "string($dead[0])"
		e := &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"servers", "$pod.?spec.?dnsConfig.?nameservers.orValue([])"},
				{"dead", celAny("!$judged", celDialsIPv4(p)) + " ? [] : $servers.filter(v, " + dead + ")"},
				{"kept", "$servers.filter(v, !(v in $dead))"},
				{"alone", "size($kept) == 0 && $pod.?spec.?dnsPolicy.orValue('') == 'None'"},
				{"resolvers", "$pod.?spec.?dnsPolicy.orValue('') != 'None' ||\n  " +
					"!$pod.?spec.?dnsConfig.?searches.orValue([]).exists(d, ('.' + d + '.').contains('.svc.')) ? " + celList(resolvers) + " : " + celList(inside)},
				{"stored", "request.kind.kind == 'Pod' && $old != null ? $old.?spec.?dnsConfig.?nameservers.orValue([]) : []"},
				// The field of a stored Pod is immutable: it keeps what it has.
				{"after", "request.kind.kind == 'Pod' && $old != null ?\n  (size($stored) > 0 && size($stored) >= size($kept) && $stored.slice(0, size($kept)) == $kept && !$stored.exists(v, " + dead + ") ? $stored.map(v, string(v)) : [])\n" +
					"  : size($resolvers) == 0 ? [] : $kept.map(v, string(v)) + $resolvers.filter(r, !(r in $kept)).transformList(i, r, size($kept) + i < 3, string(r))"},
			}...),
			Faults: "size($dead) == 0 ? [] : [" + celFault(a.ID, "("+fixed+" ? 'warn' : $alone ? "+own+" : '"+celLevel(a)+"')",
				celPodPath+" + 'spec.dnsConfig.nameservers[' + string($servers.transformList(i, v, v in $dead, i)[0]) + ']'", "'nameservers'", first,
				celQuoted(first)+" + ($alone ? ' is IPv4, and with dnsPolicy None the pod resolves nothing; ' : ' is IPv4, no pod gets an answer from there; ') +\n  "+
					"(size($resolvers) > 0 ? 'use \"' + string($resolvers[0]) + '\"' : "+
					celInsteadOf(p, first, "$alone ? 'give an IPv6 resolver' : 'give an IPv6 resolver, or remove it'")+")") + "]",
		}
		if a.Mutate {
			e.Patch = "size($dead) == 0 || size($after) == 0 ? [] : [JSONPatch{op: 'replace', path: '/spec/dnsConfig/nameservers', value: $after}]"
		}
		return e
	}}
}
