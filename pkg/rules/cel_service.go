package rules

import "strings"

// celService are the variables of the rules about Services.
func celService(p *Policy) []Variable {
	return []Variable{
		{"type", "$object.?spec.?type.orValue('') == '' ? 'ClusterIP' : $object.spec.type"},
		{"ip", "$object.?spec.?clusterIP.orValue('')"},
		{"ips", "$object.?spec.?clusterIPs.orValue([])"},
		{"headless", celHeadless("$object")},
		{"selects", "size($object.?spec.?selector.orValue({})) > 0"},
		{"untouched", "$type == 'ExternalName' || " + celNamespace + " == 'default' && " + celName + " == 'kubernetes'"},
		{"annotated", "$object.metadata.?annotations[?" + celString(ServiceModeAnnotation) + "].orValue('')"},
		{"mode", "$annotated in " + celList([]string{modeHeadless, modeSingleStack, modeUnchanged}) + " ? $annotated : " + p.celServiceMode()},
	}
}

// celServiceMode is what serviceMode says of a Service without annotation.
func (p *Policy) celServiceMode() string {
	mode := map[string]string{"Headless": modeHeadless, "Unchanged": modeUnchanged, "SingleStack": modeSingleStack}[p.Services.Mode]
	named := "false"
	if p.Services.Headless.All {
		named = "true"
	} else {
		var tests []string
		for _, pattern := range p.Services.Headless.Patterns {
			namespace, name, _ := strings.Cut(pattern, "/")
			tests = append(tests, celAll(celGlob(celNamespace, []string{namespace}), celGlob(celName, []string{name})))
		}
		named = celAny(tests...)
	}
	switch named {
	case "true":
		return celString(modeHeadless)
	case "false":
		return celString(mode)
	}
	return named + " ? " + celString(modeHeadless) + " : " + celString(mode)
}

func celHeadless(o string) string {
	return "(" + o + ".?spec.?clusterIP.orValue('') != '' ? " + o + ".spec.clusterIP == 'None' : " + o + ".?spec.?clusterIPs[?0].orValue('') == 'None')"
}

func (p *Policy) celClusterDNS() string {
	return celAll(celNamespace+" == "+celString(p.Cluster.DNS.Namespace), celName+" == "+celString(p.Cluster.DNS.Service))
}

// celSetClusterIPs is setClusterIPs: patches that write these addresses, or remove both fields if there are none.
func celSetClusterIPs(ips string) string {
	return "(size(" + ips + ") == 0 ?\n" +
		"    (has(object.spec.clusterIP) ? [JSONPatch{op: 'remove', path: '/spec/clusterIP'}] : []) +\n" +
		"    (has(object.spec.clusterIPs) ? [JSONPatch{op: 'remove', path: '/spec/clusterIPs'}] : [])\n" +
		"  : [JSONPatch{op: 'add', path: '/spec/clusterIP', value: " + ips + "[0]}] +\n" +
		"    (has(object.spec.clusterIPs) ? [JSONPatch{op: 'add', path: '/spec/clusterIPs', value: " + ips + "}] : []))"
}

func celServiceIPFamily() *CEL {
	return &CEL{
		Differences: []string{
			"The API server's own refusal of a family (mode `unchanged`, a cluster DNS Service whose address the policy does not name, a Service older than the families) comes without our advice: a mutating policy cannot warn.",
		},
		Cases: map[string]string{"knative": "the API server of the test has no such kind; the exported policies match Services of the core group only"},
		Write: func(a *Active, p *Policy) *Expressions {
			const id = "service-ip-family"
			dns := p.Cluster.DNS.Address
			fixed := "!$predates && $mode != 'unchanged'"
			if !a.Mutate {
				fixed = "false"
			}
			level := "(" + fixed + " ? 'warn' : '" + celLevel(a) + "')"
			text := func(s string) string {
				return "($predates ? ' is older than this cluster\\'s families' + $wayOut : " + s + ")"
			}
			addressLevel, address := level, text("' is not an address of this cluster, the API server refuses it; leave it out'")
			if dns == "" {
				unknown := "(!$stored && " + p.celClusterDNS() + ")"
				addressLevel = "(" + unknown + " ? '" + celLevel(a) + "' : " + level + ")"
				address = text("(" + unknown + " ? ' cannot be used, and every kubelet has the address of the cluster DNS; set cluster.dns.address in the policy' : " +
					"' is not an address of this cluster, the API server refuses it; leave it out')")
			}
			e := &Expressions{Variables: append(celService(p), []Variable{
				{"skip", "$untouched || $headless && !$selects"},
				{"families", "$object.?spec.?ipFamilies.orValue([])"},
				{"policy", "$object.?spec.?ipFamilyPolicy.orValue('')"},
				// What was accepted with any families may change them.
				{"stored", "$old != null && $old.?spec.?type.orValue('') != 'ExternalName' && !(" + celHeadless("$old") +
					" && size($old.?spec.?selector.orValue({})) == 0)"},
				{"storedFamilies", "$stored ? $old.?spec.?ipFamilies.orValue([]).map(f, string(f)) : []"},
				{"predates", "'IPv4' in $storedFamilies"},
				{"wayOut", "!$predates ? '' : " + celHeadless("$old") + " ? '; set ipFamilies: [IPv6] and ipFamilyPolicy: SingleStack' : " +
					"$storedFamilies[0] == 'IPv6' ? '; release it: ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]' : ' and cannot change; delete and recreate the Service'"},
				{"ipv4", "$families.transformList(i, f, f == 'IPv4', i)"},
				{"keep", "$families.filter(f, f != 'IPv4').map(f, string(f))"},
				{"want", "$stored && $old.?spec.?ipFamilyPolicy.orValue('') != '' ? string($old.spec.ipFamilyPolicy) : 'SingleStack'"},
				{"two", "$want != $policy && ($policy == 'RequireDualStack' || $policy == 'PreferDualStack' && size($ipv4) > 0 && size($families) > 1)"},
				{"literals", "$headless ? [] : (" + celIPv4("$ip") + " ? [{'path': 'spec.clusterIP', 'subject': 'clusterIP', 'value': string($ip)}] : []) +\n" +
					"  $ips.transformList(i, x, " + celIPv4("x") + ", {'path': 'spec.clusterIPs[' + string(i) + ']', 'subject': 'clusterIPs', 'value': string(x)})"},
			}...)}
			e.Faults = "$skip ? [] :\n" +
				"  (size($ipv4) > 0 ? [" + celFault(id, level, "'spec.ipFamilies[' + string($ipv4[0]) + ']'", "'ipFamilies'", "'IPv4'",
				`'"IPv4"' + `+text(`' is not a family of this cluster, the API server refuses it; use "IPv6"'`)) + "] : []) +\n" +
				"  ($two ? [" + celFault(id, level, "'spec.ipFamilyPolicy'", "'ipFamilyPolicy'", "$policy",
				`'"' + $policy + '"' + `+text(`' asks for two families, this cluster has one; use "SingleStack"'`)) + "] : []) +\n" +
				"  (size($literals) > 0 ? [" + celFault(id, addressLevel, "$literals[0].path", "$literals[0].subject", "$literals[0].value",
				celQuoted("$literals[0].value")+" + "+address) + "] : [])"
			if !a.Repairs() {
				return e
			}
			assigned := "$ips.filter(x, !" + celIPv4("x") + ").map(x, string(x))"
			create := celSetClusterIPs(assigned)
			if dns == "" {
				create = p.celClusterDNS() + " ? [] : " + create
			} else {
				create = p.celClusterDNS() + " ? " + celSetClusterIPs(celList([]string{dns})) + " : " + create
			}
			e.Patch = "$skip || $predates || $mode == 'unchanged' ? [] :\n" +
				"  (size($ipv4) > 0 ? [JSONPatch{op: 'add', path: '/spec/ipFamilies', value:\n" +
				"    $stored && size($families) != 1 && size($storedFamilies) > 0 ? $storedFamilies : size($keep) > 0 ? $keep : ['IPv6']}] : []) +\n" +
				"  ($two ? [JSONPatch{op: 'add', path: '/spec/ipFamilyPolicy', value: $want}] : []) +\n" +
				"  (size($literals) == 0 ? [] : $stored ?\n" +
				"    [JSONPatch{op: 'add', path: '/spec/clusterIP', value: $old.?spec.?clusterIP.orValue('')}] +\n" +
				"    (has(object.spec.clusterIPs) ? [JSONPatch{op: 'add', path: '/spec/clusterIPs', value: $old.?spec.?clusterIPs.orValue([]).map(x, string(x))}] : [])\n" +
				"  : " + create + ")"
			return e
		},
	}
}

func celServiceHeadless() *CEL {
	return &CEL{
		Differences: []string{
			"A Service stored headless that shall get another type is refused by the API server in its own words.",
		},
		Write: func(a *Active, p *Policy) *Expressions {
			const id = "service-headless"
			all, dialled := "false", dialledByAPIServer.String()
			if p.Services.Headless.All {
				all = "true"
			}
			asked := "$annotated == " + celString(modeHeadless) // overrides guesses, not facts
			stays := " + '; annotate " + ServiceModeAnnotation + ": single-stack to keep its cluster IP'"
			unsafe := func(when, path, value, text string) string {
				return "(" + when + " ? [{'path': " + path + ", 'value': string(" + value + "), 'text': string(" + text + ")}] : [])"
			}
			port := "'spec.ports[' + string(i) + ']'"
			dial := func(s string) string { return s + ".matches(r'" + dialled + "')" }
			e := &Expressions{Variables: append(celService(p), []Variable{
				{"wanted", "$mode == 'headless' && !$untouched"},
				{"stored", "$old != null && $old.?spec.?type.orValue('') != 'ExternalName'"},
				{"ports", "$object.?spec.?ports.orValue([])"},
				{"unsafe", strings.Join([]string{
					unsafe(celAll("$type != 'ClusterIP'", celNot(all)), "'spec.type'", "$type", "'a ' + $type + ' Service cannot be headless'"+stays),
					unsafe(p.celClusterDNS(), "'spec.clusterIP'", "''", "'every kubelet has the address of the cluster DNS'"+stays),
					unsafe("!$selects", "'spec.selector'", "''", "'without selector nothing says which pods a headless name would resolve to'"+stays),
					unsafe("!($object.?spec.?sessionAffinity.orValue('') in ['', 'None'])", "'spec.sessionAffinity'", "$object.spec.sessionAffinity",
						`'session affinity "' + $object.spec.sessionAffinity + '" needs a cluster IP'`+stays),
					unsafe("size($object.?spec.?externalIPs.orValue([])) > 0", "'spec.externalIPs'", "''", "'externalIPs lead to a cluster IP'"+stays),
					unsafe("!("+asked+") && "+dial(celName), "'metadata.name'", celName,
						"'its name is that of a webhook or API, which the API server dials by cluster IP'"+stays),
					"$ports.transformList(i, p,\n    type(p.?targetPort.orValue(0)) == string && p.?targetPort.orValue('') != '' && !(" + asked + ") ? " +
						"[{'path': " + port + " + '.targetPort', 'value': string(p.targetPort), 'text': 'target port ' + " + celQuoted("string(p.targetPort)") +
						" + ' is not known at admission; if it is the same number, annotate " + ServiceModeAnnotation + ": headless'}]\n    : " +
						"type(p.?targetPort.orValue('')) == int && p.?targetPort.orValue(0) != 0 && p.targetPort != p.port ? " +
						"[{'path': " + port + " + '.targetPort', 'value': string(p.targetPort), 'text': 'port ' + string(p.port) + ' leads to ' + string(p.targetPort) + ', which a headless name cannot do'" + stays + "}]\n    : " +
						"!(" + asked + ") && (p.?port.orValue(0) == 443 || " + dial("p.?name.orValue('')") + ") ? " +
						"[{'path': " + port + ", 'value': string(p.port), 'text': 'port ' + string(p.port) + ' may be a webhook or API, which the API server dials by cluster IP'" + stays + "}]\n    : []).flatten()",
				}, " +\n  ")},
			}...)}
			if level := min(parsedLevel(p.Services.WhenHeadlessUnsafe), levelOr(p, id, Deny)); level > Off {
				e.Faults = "$wanted && !$stored && !$headless && size($unsafe) > 0 ?\n  [" +
					celFault(id, "'"+level.String()+"'", "$unsafe[0].path", "'headless'", "$unsafe[0].value", "$unsafe[0].text") + "] : []"
			}
			if !a.Repairs() {
				return e
			}
			var removals []string
			for _, field := range loadBalancerFields {
				removals = append(removals, "(has(object.spec."+field+") ? [JSONPatch{op: 'remove', path: '/spec/"+field+"'}] : [])")
			}
			removals = append(removals, "('"+sourceRangesAnnotation+"' in object.metadata.?annotations.orValue({}) ? "+
				"[JSONPatch{op: 'remove', path: '/metadata/annotations/' + jsonpatch.escapeKey('"+sourceRangesAnnotation+"')}] : [])")
			// Stored headless: the original manifest is sent again.
			again := celAll("$stored", celHeadless("$old"), "("+celAny(celAll("$type != 'ClusterIP'", all), "$type == 'ClusterIP' && $ip != '' && $ip != 'None'")+")")
			e.Patch = "!$wanted || !(" + again + " || !$stored && !$headless && size($unsafe) == 0) ? [] :\n" +
				"  ($type == 'ClusterIP' ? [] : [JSONPatch{op: 'add', path: '/spec/type', value: 'ClusterIP'}] +\n" +
				"    $ports.transformList(i, p, has(p.nodePort), JSONPatch{op: 'remove', path: '/spec/ports/' + string(i) + '/nodePort'}) +\n    " +
				strings.Join(removals, " +\n    ") + ") +\n" +
				"  ($ip == 'None' ? [] : [JSONPatch{op: 'add', path: '/spec/clusterIP', value: 'None'}]) +\n" +
				"  (size($ips) > 0 && $ips[0] != 'None' ? [JSONPatch{op: 'add', path: '/spec/clusterIPs', value: ['None']}] : [])"
			return e
		},
	}
}

func parsedLevel(s string) Level {
	l, _ := ParseLevel(s) // the policy has been checked
	return l
}

// levelOr is the level that a policy sets for a rule, or another.
func levelOr(p *Policy, id string, or Level) Level {
	if set, ok := p.Rules[id]; ok && set.Level != None {
		return set.Level
	}
	return or
}
