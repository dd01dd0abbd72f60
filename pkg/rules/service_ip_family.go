package rules

import (
	"slices"
)

// serviceIPFamily repairs Services that ask for IPv4 or for dual-stack.
//
// Source: kube-apiserver v1.37, pkg/registry/core/service/storage/alloc.go (families, policy and addresses are refused while
// they are allocated, after mutating and before validating admission) and pkg/apis/core/validation (what an UPDATE may change).
func serviceIPFamily() *Rule {
	return &Rule{
		ID: "service-ip-family", Since: "v0.1.0", Level: Deny, Mutate: true,
		Title:   "Service asks for IPv4 or dual-stack",
		Targets: []Target{targetService},
		Check:   checkServiceIPFamily,
		CEL:     celServiceIPFamily(),
	}
}

func checkServiceIPFamily(req *Request) []Finding {
	o := req.Object
	if serviceType(o) == "ExternalName" || isAPIServerService(req) {
		return nil
	}
	if isHeadless(o) && !hasSelector(o) {
		return nil // accepted with any families: its endpoints are judged, not the Service
	}
	stored := storedService(req)
	if stored != nil && isHeadless(stored) && !hasSelector(stored) {
		stored = nil // it was accepted with any families, and a headless Service may change them
	}
	predates := stored != nil && slices.Contains(stored.Strings("spec", "ipFamilies"), "IPv4")
	mode, _ := serviceMode(req)

	var out []Finding
	report := func(path Path, value, message, changed string, fix func(*Object)) {
		f := Finding{Path: path, Value: value, Subject: path[1].(string), Message: message, Changed: changed, Fix: fix, Refused: true}
		switch {
		case predates:
			first := stored.Strings("spec", "ipFamilies")[0]
			f.Message = quote(value) + " is older than this cluster's families"
			switch {
			case isHeadless(stored):
				f.Message += "; set ipFamilies: [IPv6] and ipFamilyPolicy: SingleStack"
			case first == "IPv6":
				f.Message += "; release it: ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]"
			default:
				f.Message += " and cannot change; delete and recreate the Service"
			}
			f.Changed, f.Fix = "", nil
			f.Refused = first == "IPv4" || stored.Str("spec", "ipFamilyPolicy") == "RequireDualStack"
		case mode == modeUnchanged:
			f.Changed, f.Fix = "", nil
		}
		out = append(out, f)
	}

	families := o.Strings("spec", "ipFamilies")
	ipv4 := slices.Index(families, "IPv4")
	if ipv4 >= 0 {
		changed := `changed "IPv4" to "IPv6", the only family of this cluster`
		if slices.Contains(families, "IPv6") {
			changed = `dropped "IPv4", this cluster has only IPv6`
		}
		report(Path{"spec", "ipFamilies", ipv4}, "IPv4",
			`"IPv4" is not a family of this cluster, the API server refuses it; use "IPv6"`, changed,
			func(o *Object) { setFamilies(o, stored) })
	}
	policy := o.Str("spec", "ipFamilyPolicy")
	if policy == "RequireDualStack" || policy == "PreferDualStack" && ipv4 >= 0 && len(families) > 1 {
		want := "SingleStack"
		if stored != nil && stored.Str("spec", "ipFamilyPolicy") != "" {
			want = stored.Str("spec", "ipFamilyPolicy")
		}
		if want != policy {
			report(Path{"spec", "ipFamilyPolicy"}, policy,
				quote(policy)+` asks for two families, this cluster has one; use "SingleStack"`,
				"changed "+quote(policy)+" to "+quote(want)+", this cluster has one family",
				func(o *Object) { o.Set(Path{"spec", "ipFamilyPolicy"}, want) })
		}
	}
	checkClusterIPs(req, stored, report)
	return out
}

// setFamilies makes spec.ipFamilies what is stored, else IPv6 by the smallest change.
func setFamilies(o, stored *Object) {
	path := Path{"spec", "ipFamilies"}
	families := o.List(path...)
	if stored != nil && len(families) != 1 {
		if want := stored.List("spec", "ipFamilies"); len(want) > 0 {
			o.Set(path, want)
			return
		}
	}
	if !slices.ContainsFunc(families, func(f any) bool { return f != "IPv4" }) {
		if len(families) == 1 {
			o.Set(path.With(0), "IPv6")
		} else {
			o.Set(path, []any{"IPv6"})
		}
		return
	}
	if i := slices.Index(families, any("IPv4")); len(families) == 2 {
		o.Remove(path.With(i))
		return
	}
	o.Set(path, slices.DeleteFunc(slices.Clone(families), func(f any) bool { return f == "IPv4" }))
}

// checkClusterIPs reports IPv4 literals among the cluster IPs.
func checkClusterIPs(req *Request, stored *Object, report func(path Path, value, message, changed string, fix func(*Object))) {
	o := req.Object
	if isHeadless(o) {
		return
	}
	path, value := Path{"spec", "clusterIP"}, o.Str("spec", "clusterIP")
	if ipFamily(value) != "IPv4" {
		ips := o.Strings("spec", "clusterIPs")
		i := slices.IndexFunc(ips, func(ip string) bool { return ipFamily(ip) == "IPv4" })
		if i < 0 {
			return
		}
		path, value = Path{"spec", "clusterIPs", i}, ips[i]
	}
	message := quote(value) + " is not an address of this cluster, the API server refuses it; leave it out"
	switch {
	case stored != nil:
		keep := stored.Str("spec", "clusterIP")
		report(path, value, message, "changed "+quote(value)+" to "+quote(keep)+", as it is stored", func(o *Object) {
			o.Set(Path{"spec", "clusterIP"}, keep)
			many := Path{"spec", "clusterIPs"}
			if ips := stored.List(many...); ips == nil {
				o.Remove(many)
			} else if _, ok := o.Get(many...); ok {
				o.Set(many, ips)
			}
		})
	case isClusterDNS(req) && req.Policy.Cluster.DNS.Address == "":
		report(path, value, quote(value)+" cannot be used, and every kubelet has the address of the cluster DNS; set cluster.dns.address in the policy", "", nil)
	case isClusterDNS(req):
		address := req.Policy.Cluster.DNS.Address
		report(path, value, message, "changed "+quote(value)+" to "+quote(address)+", the cluster DNS address of the policy", func(o *Object) {
			setClusterIPs(o, []any{address})
		})
	default:
		var keep []any
		for _, ip := range o.Strings("spec", "clusterIPs") {
			if ipFamily(ip) != "IPv4" {
				keep = append(keep, ip)
			}
		}
		changed := "dropped " + quote(value) + ", the cluster assigns an IPv6 address"
		if len(keep) > 0 {
			changed = "dropped " + quote(value) + ", the IPv6 address stays"
		}
		report(path, value, message, changed, func(o *Object) { setClusterIPs(o, keep) })
	}
}

// setClusterIPs writes clusterIP, and clusterIPs where it is given; no addresses removes both.
func setClusterIPs(o *Object, ips []any) {
	one, many := Path{"spec", "clusterIP"}, Path{"spec", "clusterIPs"}
	if len(ips) == 0 {
		o.Remove(one)
		o.Remove(many)
		return
	}
	if o.Str(one...) != ips[0] {
		o.Set(one, ips[0])
	}
	if _, ok := o.Get(many...); ok {
		o.Set(many, ips)
	}
}
