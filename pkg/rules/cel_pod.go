package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

func celHostPortIPv4() *CEL {
	return &CEL{
		Write: func(a *Active, _ *Policy) *Expressions {
			const id = "host-port-ipv4"
			// With hostNetwork the API server defaults each hostPort to its containerPort.
			ports := func(pod, hostNetwork string) string {
				return celLists(pod) + ".map(l, " + pod + ".?spec[?l].orValue([]).transformList(i, c, c.?ports.orValue([]).transformList(j, p,\n" +
					"    p.?hostPort.orValue(0) != 0 || " + hostNetwork + " && p.?containerPort.orValue(0) != 0, {\n" +
					"      'path': 'spec.' + l + '[' + string(i) + '].ports[' + string(j) + '].hostIP',\n" +
					"      'pointer': '/spec/' + l + '/' + string(i) + '/ports/' + string(j) + '/hostIP',\n" +
					"      'container': string(c.?name.orValue('')), 'ip': string(p.?hostIP.orValue('')),\n" +
					"      'family': " + celAnyIPv4("p.?hostIP.orValue('')") + " ? 'any' : " + celIPv4("p.?hostIP.orValue('')") + " ? 'IPv4' : '',\n" +
					"      'port': string(p.?hostPort.orValue(0) != 0 ? p.hostPort : p.containerPort),\n" +
					"      'protocol': string(p.?protocol.orValue('TCP'))}))).flatten().flatten()"
			}
			same := "q.port == p.port && q.protocol == p.protocol"
			level := "'" + celLevel(a) + "'"
			fixed := "false"
			if a.Mutate {
				fixed = "$clears.exists(q, q.pointer == p.pointer)"
			}
			e := &Expressions{Variables: []Variable{
				{"pod", celPod(append([]Target{targetPod}, workloads()...))},
				{"hostNetwork", celHostNetwork},
				{"ports", ports("$pod", "$hostNetwork")},
				{"storedPorts", "$old != null && request.kind.kind == 'Pod' ? " + ports("$old", "false") + " : []"},
				// Where another entry publishes the port on IPv6 or on any address, an IPv4 one is half of a pair; once a wildcard
				// is cleared, it publishes the port for every other entry.
				{"faulty", celMirror + " ? [] : $ports.filter(p, p.family != '' && !$ports.exists(q, " + same + " && q.family == '' && q.ip != '::1') &&\n" +
					"    ($ports.filter(q, " + same + " && q.family == 'any').map(q, q.pointer) + [p.pointer])[0] == p.pointer)"},
				// hostIP is immutable: what is stored without one was cleared at its creation.
				{"clears", "$faulty.filter(p, !$hostNetwork && p.family == 'any' && ($old == null || request.kind.kind != 'Pod' ||\n" +
					"    $storedPorts.exists(q, " + same + " && q.container == p.container && q.ip == '')))"},
			}}
			e.Faults = "$faulty.map(p, " + celFault(id, "($hostNetwork || "+fixed+" ? 'warn' : "+level+")",
				celPodPath+" + p.path", "p.port + '/' + p.protocol", "p.ip", celQuoted("p.ip")+" + ($hostNetwork ? "+
					"' is not used by a hostNetwork pod, its program chooses the address itself; remove hostIP' : ' publishes on IPv4 only, port ' + p.port + ' is unreachable; ' + (p.family == 'any' ? 'remove hostIP' : 'give an IPv6 address of the node, or remove hostIP to publish on all'))") + ")"
			if a.Mutate {
				e.Patch = "$clears.map(p, JSONPatch{op: 'remove', path: p.pointer})"
			}
			return e
		},
	}
}

func celAPIServerHost() *CEL {
	return &CEL{
		Needs: "apiServer.host",
		Differences: []string{
			"Containers that run already keep what was added while `apiServer.host` is in the policy; the webhook keeps it without, too.",
		},
		Write: func(a *Active, p *Policy) *Expressions {
			host := p.APIServer.Host
			if host == "" {
				return nil
			}
			var env []string
			for i, name := range apiServerVars {
				value := strconv.Itoa(p.APIServer.Port)
				if i == 0 {
					value = host
				}
				env = append(env, "{'name': '"+name+"', 'value': "+celString(value)+"}")
			}
			internal := "true"
			if internalName(host) {
				internal = "(!(" + celList(appLabels) + ".exists(l, $object.metadata.?labels[?l].orValue('') in " + celList(networkPods) + ")) &&\n    " +
					"!($object.?spec.?dnsPolicy.orValue('') in ['None', 'Default']) &&\n    " +
					"($object.?spec.?dnsPolicy.orValue('') == 'ClusterFirstWithHostNet' || !" + celHostNetwork + "))"
			}
			hidden := "[]"
			if p.APIServer.EnvFrom != "inject" {
				hidden = "c.?envFrom.orValue([]).transformList(k, f, $names.exists(n, n.startsWith(f.?prefix.orValue(''))), string(k))"
			}
			// Variables go before the user's own, so that $(KUBERNETES_SERVICE_HOST) in those expands to ours.
			prepend := func(now, head string) string {
				at := "'/spec/' + l + '/' + string(i) + '/env'"
				return "(size(" + now + ") == 0 ? [JSONPatch{op: 'add', path: " + at + ", value: " + head + "}] :\n      [0, 1, 2].map(v, JSONPatch{op: 'add', path: " + at + " + '/' + string(v), value: " + head + "[v]}))"
			}
			names := func(env string) string { return env + ".map(e, e.?name.orValue(''))" }
			now := "c.?env.orValue([])"
			stored := "$old.?spec[?l].orValue([])"
			e := &Expressions{Variables: []Variable{
				{"pod", "dyn($object)"},
				{"names", celList(apiServerVars)},
				{"env", "[" + strings.Join(env, ", ") + "]"},
				{"gets", "!(" + celMirror + ") && !" + celWindows + " && " + internal},
				// The containers that are new, that name none of the variables, and in which nothing unseen may set one.
				{"lacking", "!$gets || request.operation == 'UPDATE' && request.?subResource.orValue('') == '' ? [] : " + celLists("$object") + ".map(l, $object.?spec[?l].orValue([]).transformList(i, c,\n" +
					"    (request.operation == 'CREATE' || l == 'ephemeralContainers' && !" + stored + ".exists(o, o.name == c.name)) &&\n" +
					"    !" + now + ".exists(e, e.?name.orValue('') in $names),\n" +
					"    {'list': l, 'index': string(i), 'hidden': (" + hidden + " + [''])[0]})).flatten()"},
			}}
			e.Faults = "request.operation != 'CREATE' ? [] : $lacking.filter(c, c.hidden != '').map(c, " + celFault("api-server-host", "'warn'",
				"'spec.' + c.list + '[' + c.index + '].envFrom[' + c.hidden + ']'", "c.list + c.index", "''",
				"'may set KUBERNETES_SERVICE_HOST, which env would override; set it in env, or apiServer.envFrom: inject in the policy'") + ")"
			if levelOr(p, a.ID, Warn) < Warn || hidden == "[]" {
				e.Faults = ""
			}
			if !a.Repairs() {
				return e
			}
			// A client that sends the original manifest again, or the variables in another order, would be refused: the environment
			// of a Pod is immutable. Objects of the request cannot be values of a patch, so what is in another order is moved.
			head := "o.env.slice(0, 3)"
			move := "[c.?env.orValue([]).transformList(j, e, e.?name == s.?name, j)[0]].map(j, k + size(c.env.slice(0, j).filter(e, !o.env.slice(0, k).exists(x, x.?name == e.?name))))[0]"
			repeat := celLists("$object") + ".map(l, $object.?spec[?l].orValue([]).transformList(i, c,\n    " +
				stored + ".filter(o, o.?name.orValue('') == c.?name.orValue('') && size(o.?env.orValue([])) >= 3 && " + names(head) + " == $names &&\n" +
				"      " + names("o.env") + " != " + names(now) + " &&\n" +
				"      " + names(now) + ".filter(n, !(n in $names)) == " + names("o.env.slice(3, size(o.env))") + ")\n" +
				"    .map(o, !" + now + ".exists(e, e.?name.orValue('') in $names) ?\n      " + prepend(now, head+".map(e, {'name': string(e.name), 'value': string(e.?value.orValue(''))})") + "\n" +
				"    : size(" + now + ") == size(o.env) && o.env.all(s, size(o.env.filter(e, e.?name == s.?name)) == 1 &&\n" +
				"        c.env.exists(e, e.?name == s.?name && e.?value.orValue('') == s.?value.orValue(''))) ?\n" +
				"      o.env.transformList(k, s, JSONPatch{op: 'move', from: '/spec/' + l + '/' + string(i) + '/env/' + string(" + move + "), path: '/spec/' + l + '/' + string(i) + '/env/' + string(k)})\n" +
				"    : []).flatten())).flatten().flatten()"
			add := celLists("$object") + ".map(l, $object.?spec[?l].orValue([]).transformList(i, c,\n    " +
				"$lacking.exists(x, x.list == l && x.index == string(i) && x.hidden == ''),\n    " + prepend(now, "$env") + ")).flatten().flatten()"
			e.Patch = "(" + add + ") +\n  (" + celMirror + " || $old == null ? [] : " + repeat + ")"
			return e
		},
	}
}

func celPodIPPool() *CEL {
	return &CEL{
		Needs: "pools and cluster.cni",
		Cases: map[string]string{"namespace-going": "the API server takes no deletionTimestamp from a client; on UPDATE a Namespace that is being deleted is left alone"},
		Write: func(a *Active, p *Policy) *Expressions {
			c := cniNamed(p.Cluster.CNI)
			if c == nil || len(p.Pools) == 0 {
				return nil
			}
			const id = "pod-ip-pool"
			entries, defaults, adds, addresses := "", "", "", ""
			for i := range p.Pools {
				pool := &p.Pools[i]
				namespaces := pool.Namespaces
				if len(namespaces) == 0 {
					namespaces = []string{"*"}
				}
				entry, of := i, c.pod
				if pool.onNamespace() {
					entry, of = -1, c.namespace // its Namespace has it
					defaults += fmt.Sprintf("%s ? %d : ", celGlob(celName, namespaces), i)
				} else if len(pool.Pods) == 0 {
					defaults += celGlob(celName, namespaces) + " ? -1 : "
				}
				tests := []string{celGlob(celNamespace, namespaces)}
				for _, k := range slices.Sorted(maps.Keys(pool.Pods)) {
					tests = append(tests, "$pod.?metadata.?labels[?"+celString(k)+"].orValue('') == "+celString(pool.Pods[k]))
				}
				entries += fmt.Sprintf("%s ? %d : ", celAll(tests...), entry)
				var add []string
				for _, a := range of(pool) {
					if a.value != "" {
						add = append(add, "{'key': ["+celString(a.key)+"], 'value': ["+celString(a.value)+"], 'yields': "+celList(a.yields)+"}")
					}
				}
				adds += fmt.Sprintf("$entry == %d ? [%s] : ", i, strings.Join(add, ", "))
				if len(pool.Addresses) > 0 {
					addresses += fmt.Sprintf("$entry == %d ? %s : ", i, celString(pool.Addresses[0]))
				}
			}
			e := &Expressions{Variables: []Variable{
				{"pod", "request.kind.kind == 'Namespace' ? dyn({}) : " + celPod(append([]Target{targetPod}, workloads()...))},
				// The CNI plugin reads the annotations of a pod once, when the pod's network is made; one with hostNetwork has none. Those
				// of a Namespace it reads for every pod.
				{"entry", "request.kind.kind == 'Namespace' ? (has($object.metadata.deletionTimestamp) ? -1 : " + defaults + "-1)\n" +
					"  : " + celMirror + " || " + celWindows + " || " + celHostNetwork + " ? -1 : " + entries + "-1"},
				{"address", addresses + "''"},
				{"annotations", "$object.metadata.?annotations.orValue({})"},
				{"adds", "request.kind.kind != 'Namespace' && request.operation != 'CREATE' ? [] :\n  (" +
					adds + "[]).filter(a, !(a.key[0] in $annotations) && !a.yields.exists(k, $annotations[?k].orValue('') != ''))"},
			}}
			address := " + " + celQuoted("$address") + " + "
			replicas := func(field string) string {
				return "($object.?spec.?" + field + ".orValue(0) > 1 ? [" + celFault(id, "'warn'", "'spec."+field+"'", "'addresses'", "string($object.spec."+field+")",
					"string($object.spec."+field+") + ' pods share the one address '"+address+"' of the policy, only the first will start; use 1'") + "] : [])"
			}
			if addresses != "" && levelOr(p, id, Warn) >= Warn {
				e.Faults = "request.kind.kind in ['Pod', 'Namespace'] || $address == '' ? [] :\n  (request.kind.kind == 'DaemonSet' ? [" +
					celFault(id, "'warn'", celPodPath+".replace('spec.template.', 'spec.template')", "'addresses'", "''",
						"'the policy gives its pods the one address '"+address+"', only the first will start; use a pool'") + "] : [])\n  + " +
					replicas("replicas") + " + " + replicas("parallelism") + "\n  + " +
					"(request.kind.kind == 'Deployment' && $object.?spec.?replicas.orValue(0) <= 1 && $object.?spec.?strategy.?type.orValue('') != 'Recreate' ? [" +
					celFault(id, "'warn'", "'spec.strategy'", "'addresses'", "$object.?spec.?strategy.?type.orValue('')",
						"'a rolling update starts the new pod while the old one has the address '"+address+"', and waits for ever; use Recreate'") + "] : [])"
			}
			if a.Repairs() {
				e.Patch = "size($adds) == 0 ? [] :\n  !has(object.metadata.annotations) ? [JSONPatch{op: 'add', path: '/metadata/annotations', value: $adds.transformMapEntry(i, a, {a.key[0]: a.value[0]})}]\n" +
					"  : $adds.map(a, JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey(a.key[0]), value: a.value[0]})"
			}
			return e
		},
	}
}

func celSixgateAnnotation() *CEL {
	return &CEL{
		Differences: []string{"A misspelt rule or annotation is reported without the name that was meant."},
		Cases: map[string]string{
			"unknown-key":  "same verdict, without the name that was meant",
			"unknown-rule": "same verdict, without the name that was meant",
		},
		Write: func(a *Active, p *Policy) *Expressions {
			const id = "sixgate-annotation"
			var forbidden []string
			for _, f := range p.ForbidOptOut {
				rules, namespaces := "true", "true"
				if len(f.Rules) > 0 {
					rules = "x.id in " + celList(f.Rules)
				}
				if len(f.Namespaces) > 0 {
					namespaces = celGlob(celNamespace, f.Namespaces)
				}
				forbidden = append(forbidden, celAll(rules, namespaces))
			}
			keys := func(path, annotations string) string {
				return annotations + ".transformList(k, v, k.startsWith('sixgate.io/'), {'path': " + path + ", 'key': string(k), 'value': string(v),\n" +
					"    'id': k.startsWith('" + OptOutPrefix + "') ? k.substring(" + strconv.Itoa(len(OptOutPrefix)) + ") : ''})"
			}
			modes := celList([]string{modeHeadless, modeSingleStack, modeUnchanged})
			return &Expressions{
				Variables: []Variable{
					{"template", "request.kind.kind in ['Pod', 'Service', 'ConfigMap', 'Namespace'] ? dyn({}) : " + celPod(workloads())},
					{"ours", keys("'metadata.annotations'", "$object.metadata.?annotations.orValue({})") + " +\n  " +
						keys("string("+celPodPath+") + 'metadata.annotations'", "$template.?metadata.?annotations.orValue({})")},
					{"said", "$ours.map(x, {'path': x.path, 'key': x.key, 'value': x.value, 'text': string(\n" +
						"    x.id != '' && !(x.id in " + celList(IDs()) + ") ? 'unknown rule ' + " + celQuoted("x.id") + "\n" +
						"    : x.id != '' && x.value.trim() == '' ? 'has no reason, so the rule is still applied; say why in its value'\n" +
						"    : x.id != '' && " + celAny(forbidden...) + " ? 'has no effect, the policy forbids this opt-out; remove it'\n" +
						"    : x.key == '" + ServiceModeAnnotation + "' ? (request.kind.kind != 'Service' ? 'has no effect on a ' + request.kind.kind + '; annotate the Service'\n" +
						"      : x.value in " + modes + " ? '' : " + celQuoted("x.value") + " + ' is not a mode; use headless, single-stack or unchanged')\n" +
						"    : x.id == '' ? 'unknown annotation' : '')}).filter(x, x.text != '')"},
				},
				Faults: "$said.map(x, " + celFault(id, "'"+celLevel(a)+"'", `x.path + '["' + x.key + '"]'`, "x.key", "x.value", "x.text") + ")",
			}
		},
	}
}
