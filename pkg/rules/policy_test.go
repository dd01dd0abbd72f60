package rules

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const policyHead = "apiVersion: sixgate.io/v1alpha1\nkind: Policy\n"

// TestMode: which namespaces are only audited.
func TestMode(t *testing.T) {
	for _, c := range []struct {
		policy          string
		audits, enforce []string
	}{
		{"", nil, []string{"", "shop"}},
		{"mode: enforce\nauditNamespaces: [\"legacy-*\"]\n", []string{"legacy-a"}, []string{"", "shop"}},
		{"mode: audit\n", []string{"", "shop"}, nil},
		{"mode: audit\nenforceNamespaces: [shop, \"team-*\"]\n", []string{"", "shop-2", "team"}, []string{"shop", "team-a"}},
		{"mode: audit\nenforceNamespaces: [\"*\"]\n", []string{""}, []string{"shop"}},
	} {
		p, err := ReadPolicy([]byte(policyHead + c.policy))
		if err != nil {
			t.Fatal(err)
		}
		for _, ns := range c.audits {
			if !p.OnlyAudits(ns) {
				t.Errorf("%q enforces in %q", c.policy, ns)
			}
		}
		for _, ns := range c.enforce {
			if p.OnlyAudits(ns) {
				t.Errorf("%q only audits in %q", c.policy, ns)
			}
		}
	}
}

// TestReadPolicyErrors: one line for each problem, in the order of the file, in words of the file.
func TestReadPolicyErrors(t *testing.T) {
	empty := "empty: write at least apiVersion: sixgate.io/v1alpha1 and kind: Policy"
	whole := map[string]string{
		"":               empty,
		"# only words\n": empty,
		"---\n":          empty,
		"null\n":         empty,
		"sixgate":        `line 1: "sixgate" must be a mapping of names to values`,
		"- a\n":          "line 1: must be a mapping of names to values",
		"{}":             "line 1: apiVersion: \"\" must be sixgate.io/v1alpha1\nline 1: kind: \"\" must be Policy",
		"apiVersion: sixgate.io/v1\nkind: Polcy\n": "line 1: apiVersion: \"sixgate.io/v1\" must be sixgate.io/v1alpha1\n" +
			"line 2: kind: \"Polcy\" must be Policy",
		policyHead + "---\n" + policyHead:        "more than one document: a policy file holds one",
		policyHead + "--- [\n":                   "line 3: did not find expected node content",
		policyHead + "rules: [\n":                "line 3: did not find expected node content",
		policyHead + "cluster:\n\tcni: calico\n": "line 4: found character that cannot start any token",
		"a: \x01\n":                              "control characters are not allowed",
		"a: \xff\xfe\n":                          "invalid leading UTF-8 octet",
	}
	// Below the head, so from line 3 on.
	for text, want := range map[string]string{
		// names
		"cluster:\n  nodez: IPv6\n":                            `line 4: cluster: unknown field "nodez"; did you mean "nodes"?`,
		"polls: []\n":                                          `line 3: unknown field "polls"; did you mean "pools"?`,
		"color: red\n":                                         `line 3: unknown field "color"`,
		"cluster: {mode: x}\n":                                 `line 3: cluster: unknown field "mode"; did you mean "nodes"?`,
		"pools: [{ipv6Pool: [a]}]\n":                           `line 3: pools[0]: unknown field "ipv6Pool"; did you mean "ipv6Pools"?` + "\nline 3: pools[0]: each CNI has annotations of its own; set cluster.cni\nline 3: pools[0]: gives nothing; set ipv6Pools, addresses or ipFamilies",
		"cluster: {cni: calico, cni: calico}\n":                `line 3: cluster: "cni" is there twice`,
		"rules:\n  listen-nginx: warn\n  listen-nginx: deny\n": `line 5: rules: "listen-nginx" is there twice`,
		"cluster: {[a]: b}\n":                                  "line 3: cluster: a name must be a text",
		"rules:\n  servce-ip-family: warn\n":                   `line 4: unknown rule "servce-ip-family"; did you mean "service-ip-family"?`,
		"rules: {x: off}\n":                                    `line 3: unknown rule "x"`,
		"forbidOptOut:\n- rules:\n  - lisen-nginx\n":           `line 5: unknown rule "lisen-nginx"; did you mean "listen-nginx"?`,
		"rules: {listen-nginx: {levle: warn}}\n":               `line 3: rules["listen-nginx"]: unknown field "levle"; did you mean "level"?`,
		"rules: {\"a\\nb\": warn}\n":                           `line 3: unknown rule "a\nb"`,
		"cluster: &c {cni: calico}\nservices: *c\n":            "line 4: services: aliases are not followed; write the value out",
		"cluster: {dns: {namespace: a, <<: {b: c}}}\n":         `line 3: cluster.dns: unknown field "<<"`,
		"a: &a [*a]\n":                                         `line 3: unknown field "a"`,
		"exclude: &e {objects: [\"a/b/c\", *e]}\n":             "line 3: exclude.objects[1]: aliases are not followed; write the value out",
		// types
		"cluster: [a]\n":                                 "line 3: cluster: must be a mapping of names to values",
		"cluster: {families: IPv6}\n":                    `line 3: cluster.families: "IPv6" must be a list`,
		"cluster: {families: [~]}\n":                     "line 3: cluster.families[0]: must be a text",
		"cluster: {dns: {address: {fd00:10:96: a}}}\n":   "line 3: cluster.dns.address: must be a text; quote what holds a colon",
		"cluster: {cni: [calico]}\n":                     "line 3: cluster.cni: must be a text",
		"apiServer: {host: a.example, port: \"6443\"}\n": `line 3: apiServer.port: "6443" must be a number without quotes`,
		"apiServer: {host: a.example, port: 6443.0}\n":   `line 3: apiServer.port: "6443.0" must be a number without quotes`,
		"apiServer: {host: a.example, port: [1]}\n":      "line 3: apiServer.port: must be a number without quotes",
		"apiServer: {port: 99999999999999999999}\n":      `line 3: apiServer.port: "99999999999999999999" must be a number without quotes`,
		"pools: {a: b}\n":                                "line 3: pools: must be a list",
		"pools: [a]\n":                                   `line 3: pools[0]: "a" must be a mapping of names to values`,
		"pools: [{pods: {app: ~}}]\n":                    "line 3: pools[0].pods.app: must be a text",
		"rules: [listen-nginx]\n":                        "line 3: rules: must be a mapping of names to values",
		"exceptions: nobody\n":                           `line 3: exceptions: "nobody" must be a list`,
		"services: {headless: some}\n":                   `line 3: services.headless: "some" must be a list of "namespace/name" patterns, or all`,
		"services: {headless: {a: b}}\n":                 `line 3: services.headless: must be a list of "namespace/name" patterns, or all`,
		"rules: {listen-nginx: }\n":                      `line 3: rules["listen-nginx"]: must be off, warn, deny, or {level: …, mutate: …}`,
		"rules: {listen-nginx: [off]}\n":                 `line 3: rules["listen-nginx"]: must be off, warn, deny, or {level: …, mutate: …}`,
		"rules: {listen-nginx: {level: [off]}}\n":        `line 3: rules["listen-nginx"].level: must be off, warn or deny`,
		"rules: {host-port-ipv4: {mutate: 1}}\n":         `line 3: rules["host-port-ipv4"].mutate: "1" must be true or false`,
		"rules: {host-port-ipv4: {mutate: \"true\"}}\n":  `line 3: rules["host-port-ipv4"].mutate: "true" must be true or false`,
		// mode
		"mode: Audit\n":                       `line 3: mode: "Audit" must be one of audit, enforce; did you mean "audit"?`,
		"mode: [audit]\n":                     "line 3: mode: must be a text",
		"enforceNamespaces: [shop]\n":         "line 3: enforceNamespaces: has no meaning without mode: audit",
		"mode: audit\nauditNamespaces: [a]\n": "line 4: auditNamespaces: has no meaning with mode: audit",
		// levels
		"rules: {listen-nginx: error}\n":                `line 3: rules["listen-nginx"]: "error" must be off, warn or deny`,
		"rules: {listen-nginx: {level: Deny}}\n":        `line 3: rules["listen-nginx"].level: "Deny" must be off, warn or deny`,
		"rules: {listen-nginx: none}\n":                 `line 3: rules["listen-nginx"]: "none" must be off, warn or deny`,
		"rules: {sixgate-annotation: {mutate: true}}\n": `line 3: rules["sixgate-annotation"].mutate: the webhook has no repair for this rule; leave it out`,
		// cluster
		"cluster: {families: [ipv6]}\n":                 `line 3: cluster.families[0]: "ipv6" must be one of IPv4, IPv6; did you mean "IPv6"?`,
		"cluster: {families: [IPv6, IPv6]}\n":           `line 3: cluster.families[1]: "IPv6" is there twice`,
		"cluster: {families: [\"\"]}\n":                 `line 3: cluster.families[0]: "" must be one of IPv4, IPv6`,
		"cluster: {families: []}\n":                     "line 3: cluster.families: is empty, so no rule would be active; leave it out to have it read from the cluster",
		"cluster: {nodes: Dualstack}\n":                 `line 3: cluster.nodes: "Dualstack" must be one of IPv6, DualStack; did you mean "DualStack"?`,
		"cluster: {cni: flannel}\n":                     `line 3: cluster.cni: "flannel" must be one of calico, cilium, antrea, kube-ovn, spiderpool, ovn-kubernetes; leave it out for another CNI`,
		"cluster: {cni: Cillium}\n":                     `line 3: cluster.cni: "Cillium" must be one of calico, cilium, antrea, kube-ovn, spiderpool, ovn-kubernetes; leave it out for another CNI; did you mean "cilium"?`,
		"cluster: {multus: \"yes\"}\n":                  `line 3: cluster.multus: "yes" must be true or false`,
		"cluster: {dns: {address: 10.96.0.10}}\n":       `line 3: cluster.dns.address: "10.96.0.10" is not an IPv6 address; give the clusterIP of the cluster DNS Service`,
		"cluster: {dns: {address: \"fe80::1%eth0\"}}\n": `line 3: cluster.dns.address: "fe80::1%eth0" is not an IPv6 address; give the clusterIP of the cluster DNS Service`,
		// services
		"services: {mode: SingelStack}\n":         `line 3: services.mode: "SingelStack" must be one of SingleStack, Headless, Unchanged; did you mean "SingleStack"?`,
		"services: {whenHeadlessUnsafe: never}\n": `line 3: services.whenHeadlessUnsafe: "never" must be one of off, warn, deny`,
		"services:\n  headless:\n  - shop\n":      `line 5: services.headless[0]: "shop" must be "namespace/name"; * stands for any characters`,
		// apiServer
		"apiServer: {port: 6443}\n":                                "line 3: apiServer: port without host; give host too",
		"apiServer: {host: api.example.net}\n":                     "line 3: apiServer.port: 0 must be a port from 1 to 65535",
		"apiServer: {host: api.example.net, port: 65536}\n":        "line 3: apiServer.port: 65536 must be a port from 1 to 65535",
		"apiServer: {host: \"[2001:db8::1]\", port: 1}\n":          `line 3: apiServer.host: "[2001:db8::1]": clients add the brackets themselves; give the address without them`,
		"apiServer: {host: 10.0.0.1, port: 1}\n":                   `line 3: apiServer.host: "10.0.0.1" is IPv4; give a DNS name of the API server's certificate or an IPv6 address`,
		"apiServer: {host: \"::ffff:10.0.0.1\", port: 1}\n":        `line 3: apiServer.host: "::ffff:10.0.0.1" is IPv4; give a DNS name of the API server's certificate or an IPv6 address`,
		"apiServer: {host: \"https://a.example:6443\", port: 1}\n": `line 3: apiServer.host: "https://a.example:6443" is neither a DNS name nor an IPv6 address; leave out scheme and port`,
		"apiServer: {host: \"fe80::1%eth0\", port: 1}\n":           `line 3: apiServer.host: "fe80::1%eth0" is neither a DNS name nor an IPv6 address; leave out scheme and port`,
		"cluster: {nat64: {prefix: \"64:ff9b::1/96\"}}\n":          `line 3: cluster.nat64.prefix: "64:ff9b::1/96" is not an IPv6 prefix of 96 bits, such as 64:ff9b::/96`,
		"cluster: {dns: {resolvers: [8.8.8.8]}}\n":                 `line 3: cluster.dns.resolvers[0]: "8.8.8.8" is not an IPv6 address`,
		"cluster: {registriesWithoutIPv6: [\"ghcr.io/a\"]}\n":      `line 3: cluster.registriesWithoutIPv6[0]: "ghcr.io/a" must be a host name`,
		"apiServer: {envFrom: merge}\n":                            `line 3: apiServer.envFrom: "merge" must be one of skip, inject`,
		// pools
		"pools: [{ipv6Pools: [a]}]\n":                                                                        "line 3: pools[0]: each CNI has annotations of its own; set cluster.cni",
		"cluster: {cni: calico}\npools:\n- namespaces: [a]\n":                                                "line 5: pools[0]: gives nothing; set ipv6Pools, addresses or ipFamilies",
		"cluster: {cni: calico}\npools:\n- ipv6Pools: [10.0.0.0/8]\n":                                        `line 5: pools[0].ipv6Pools[0]: "10.0.0.0/8" is not an IPv6 pool, Calico refuses the pod; give an IPv6 CIDR or the name of an IPPool`,
		"cluster: {cni: calico}\npools:\n- ipv6Pools: [\"2001:db8::1\"]\n":                                   `line 5: pools[0].ipv6Pools[0]: "2001:db8::1" is an address, the pool's whole CIDR is needed; add its prefix length`,
		"cluster: {cni: calico}\npools:\n- ipv6Pools: [My Pool]\n":                                           `line 5: pools[0].ipv6Pools[0]: "My Pool" is neither a CIDR nor the name of an IPPool`,
		"cluster: {cni: calico}\npools:\n- addresses: [\"2001:db8::1\", \"2001:db8::2\"]\n":                  "line 5: pools[0].addresses: 2 addresses: a pod takes one IPv6 address; write one entry for each",
		"cluster: {cni: calico}\npools:\n- addresses: [\"::\"]\n":                                            `line 5: pools[0].addresses[0]: "::" is not an IPv6 address`,
		"cluster: {cni: calico}\npools:\n- ipFamilies: [IPv4]\n":                                             `line 5: pools[0].ipFamilies[0]: "IPv4" must be IPv6`,
		"cluster: {cni: calico}\npools:\n- {annotate: Pods, ipv6Pools: [a]}\n":                               `line 5: pools[0].annotate: "Pods" must be one of Pod, Namespace; did you mean "Pod"?`,
		"cluster: {cni: calico}\npools:\n- {network: a/b, ipv6Pools: [a]}\n":                                 "line 5: pools[0].network: only ovn-kubernetes reads it; leave it out",
		"cluster: {cni: calico}\npools:\n- annotate: Namespace\n  pods: {a: b}\n  ipv6Pools: [a]\n":          "line 6: pools[0].pods: a Namespace gives the same to all its pods; leave out pods or annotate",
		"cluster: {cni: calico}\npools:\n- annotate: Namespace\n  addresses: [\"::1\"]\n":                    "line 6: pools[0].addresses: a Namespace gives the same to all its pods; leave out addresses or annotate",
		"cluster: {cni: cilium}\npools:\n- ipv6Pools: [\"2001:db8::/64\"]\n":                                 `line 5: pools[0].ipv6Pools[0]: "2001:db8::/64" is no name of a CiliumPodIPPool`,
		"cluster: {cni: cilium}\npools:\n- ipv6Pools: [a, b]\n":                                              "line 5: pools[0]: Cilium reads one pool; name one in ipv6Pools",
		"cluster: {cni: cilium}\npools:\n- addresses: [\"2001:db8::1\"]\n":                                   "line 5: pools[0].addresses: Cilium has no annotation for one address; make a CiliumPodIPPool of it and name that in ipv6Pools",
		"cluster: {cni: cilium}\npools:\n- ipFamilies: [IPv6]\n":                                             "line 5: pools[0].ipFamilies: Cilium has no annotation for families; leave it out",
		"cluster: {cni: antrea}\npools:\n- addresses: [\"2001:db8::1\"]\n":                                   "line 5: pools[0]: Antrea takes an address from one IPPool; name that one in ipv6Pools",
		"cluster: {cni: antrea}\npools:\n- ipv6Pools: [\" a\"]\n":                                            `line 5: pools[0].ipv6Pools[0]: " a" is no name of an IPPool`,
		"cluster: {cni: kube-ovn}\npools:\n- ipv6Pools: [a, b]\n":                                            "line 5: pools[0]: Kube-OVN reads one pool; name one in ipv6Pools",
		"cluster: {cni: kube-ovn}\npools:\n- {ipv6Pools: [a], addresses: [\"2001:db8::1\"]}\n":               "line 5: pools[0]: Kube-OVN reads no pool beside an address; give one of the two",
		"cluster: {cni: kube-ovn}\npools:\n- {annotate: Namespace, ipv6Pools: [a]}\n":                        "line 5: pools[0].annotate: Kube-OVN writes the annotations of Namespaces itself; list them in spec.namespaces of the IPPool or Subnet",
		"cluster: {cni: spiderpool}\npools:\n- ipv6Pools: [\"2001:db8::/64\"]\n":                             `line 5: pools[0].ipv6Pools[0]: "2001:db8::/64" is no name of a SpiderIPPool`,
		"cluster: {cni: spiderpool}\npools:\n- addresses: [\"2001:db8::1\"]\n":                               "line 5: pools[0].addresses: Spiderpool has no annotation for one address; make a SpiderIPPool of it and name that in ipv6Pools",
		"cluster: {cni: ovn-kubernetes}\npools:\n- ipv6Pools: [a]\n":                                         "line 5: pools[0].ipv6Pools: OVN-Kubernetes has no annotation for pools; make a UserDefinedNetwork, or give addresses",
		"cluster: {cni: ovn-kubernetes}\npools:\n- addresses: [\"2001:db8::1\"]\n":                           `line 5: pools[0].addresses[0]: "2001:db8::1" needs the prefix length of its subnet; add it, such as /64`,
		"cluster: {cni: ovn-kubernetes}\npools:\n- addresses: [\"10.0.0.1/24\"]\n":                           `line 5: pools[0].addresses[0]: "10.0.0.1/24" is not an IPv6 address with the prefix length of its subnet`,
		"cluster: {cni: ovn-kubernetes}\npools:\n- {network: a, addresses: [\"2001:db8::1/64\"]}\n":          `line 5: pools[0].network: "a" must be "namespace/name" of the default network`,
		"cluster: {cni: ovn-kubernetes}\npools:\n- {annotate: Namespace, addresses: [\"2001:db8::1/64\"]}\n": "line 5: pools[0].annotate: OVN-Kubernetes reads no annotation of a Namespace; make a UserDefinedNetwork there",
		// exclude and exceptions
		"exclude:\n  objects:\n  - kube-system/*\n": `line 5: exclude.objects[0]: "kube-system/*" must be "namespace/Kind/name"; * stands for any characters`,
		"exceptions: [{}]\n":                        "line 3: exceptions[0]: an exception needs rule, objects, owner and reason",
		"exceptions:\n- {rule: listen-nginx, objects: [a], owner: web, reason: old, until: next year}\n": `line 4: exceptions[0].objects[0]: "a" must be "namespace/Kind/name"; * stands for any characters` +
			"\nline 4: exceptions[0].until: \"next year\" must be a date like 2027-03-01",
		"exceptions:\n- {rule: lissten-nginx, objects: [a/b/c], owner: web, reason: old}\n": `line 4: unknown rule "lissten-nginx"; did you mean "listen-nginx"?`,
		// all of one file at once, by line, 10 after 9
		"color: red\nrules:\n  a: off\n  b: off\n  c: off\n  d: off\n  e: off\n  f: off\n": "line 3: unknown field \"color\"\nline 5: unknown rule \"a\"\nline 6: unknown rule \"b\"\n" +
			"line 7: unknown rule \"c\"\nline 8: unknown rule \"d\"\nline 9: unknown rule \"e\"\nline 10: unknown rule \"f\"",
		"apiServer: {host: a, port: x}\nrules: {listen-nginx: bad}\n": "line 3: apiServer.port: \"x\" must be a number without quotes\nline 4: rules[\"listen-nginx\"]: \"bad\" must be off, warn or deny",
	} {
		whole[policyHead+text] = want
	}
	for text, want := range whole {
		p, err := ReadPolicy([]byte(text))
		if err == nil {
			t.Errorf("%q: no error, want %s", text, want)
			continue
		}
		if p != nil || err.Error() != want {
			t.Errorf("%q:\n%s\nwant:\n%s", text, err, want)
		}
	}
}

func TestReadPolicy(t *testing.T) {
	yes, no := true, false
	p, err := ReadPolicy([]byte(policyHead + `
cluster: {families: [IPv6], nodes: DualStack, cni: calico, dns: {address: "fd00:10:96::a"}}
services: {mode: Headless, headless: all, whenHeadlessUnsafe: off}
apiServer: {host: "2001:db8::1", port: 6443, envFrom: inject}
pools: [{namespaces: [a*], pods: {app: 1}, ipv6Pools: [x, "2001:db8::/64"], ipFamilies: [IPv6]}]
rules:
  listen-nginx: off
  service-ip-family: {level: warn}
  host-port-ipv4: {mutate: false}
  service-headless: {level: deny, mutate: true}
exclude: {namespaces: [], objects: ["*/Pod/*"]}
exceptions: [{rule: listen-nginx, objects: ["a/ConfigMap/b"], owner: web, reason: old, until: 2027-03-01}]
forbidOptOut: [{rules: [listen-nginx], namespaces: ["prod-*"]}]
mode: audit
enforceNamespaces: [shop, "team-*"]
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{
		APIVersion: PolicyVersion, Kind: PolicyKind,
		Cluster: Cluster{
			Families: []string{"IPv6"}, Nodes: "DualStack", CNI: "calico",
			DNS: DNS{Namespace: "kube-system", Service: "kube-dns", Address: "fd00:10:96::a"},
		},
		Services:  Services{Mode: "Headless", Headless: HeadlessList{All: true}, WhenHeadlessUnsafe: "off"},
		APIServer: APIServer{Host: "2001:db8::1", Port: 6443, EnvFrom: "inject"},
		Pools: []Pool{{
			Namespaces: []string{"a*"}, Pods: map[string]string{"app": "1"}, IPv6Pools: []string{"x", "2001:db8::/64"}, IPFamilies: []string{"IPv6"},
		}},
		Rules: map[string]Setting{
			"listen-nginx": {Level: Off}, "service-ip-family": {Level: Warn},
			"host-port-ipv4": {Mutate: &no}, "service-headless": {Level: Deny, Mutate: &yes},
		},
		Exclude:      Exclude{Namespaces: []string{}, Objects: []string{"*/Pod/*"}},
		Exceptions:   []Exception{{Rule: "listen-nginx", Objects: []string{"a/ConfigMap/b"}, Owner: "web", Reason: "old", Until: "2027-03-01", line: 14}},
		ForbidOptOut: []ForbidOptOut{{Rules: []string{"listen-nginx"}, Namespaces: []string{"prod-*"}}},
		Mode:         ModeAudit, EnforceNamespaces: []string{"shop", "team-*"},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}

	// Nothing but the head, null values, and a byte order mark are the defaults.
	for _, text := range []string{policyHead, policyHead + "cluster:\nrules:\npools: ~\n", "\ufeff" + policyHead, strings.ReplaceAll(policyHead, "\n", "\r\n")} {
		p, err := ReadPolicy([]byte(text))
		if err != nil || !reflect.DeepEqual(p, DefaultPolicy()) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
	}
}

// TestPolicyPage: docs/policy.md names every field with its default, and its examples are policies.
func TestPolicyPage(t *testing.T) {
	data, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	blocks := regexp.MustCompile("(?ms)^```yaml\n(apiVersion:.*?)^```$").FindAllStringSubmatch(page, -1)
	if len(blocks) == 0 {
		t.Fatal("no example")
	}
	for _, b := range blocks {
		if _, err := ReadPolicy([]byte(b[1])); err != nil {
			t.Errorf("%v:\n%s", err, b[1])
		}
	}
	var fields []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		switch {
		case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
			walk(t.Elem(), prefix+"[]")
		case t == reflect.TypeFor[map[string]Setting]():
			fields = append(fields, prefix+".<rule>.level", prefix+".<rule>.mutate")
		case t.Kind() == reflect.Struct && t != reflect.TypeFor[HeadlessList]():
			for f := range t.Fields() {
				if f.IsExported() {
					walk(f.Type, strings.TrimPrefix(prefix+"."+f.Tag.Get("yaml"), "."))
				}
			}
		default:
			fields = append(fields, prefix)
		}
	}
	walk(reflect.TypeFor[Policy](), "")
	documented := regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9.<>\\[\\]]+)` \\|").FindAllStringSubmatch(page, -1)
	var names []string
	for _, d := range documented {
		names = append(names, d[1])
	}
	for _, f := range fields {
		if !slices.Contains(names, f) {
			t.Errorf("no row for %s", f)
		}
	}
	for _, n := range names {
		if !slices.Contains(fields, n) {
			t.Errorf("a row for %s, which is no field", n)
		}
	}
}

// FuzzReadPolicy: no input makes it panic, an error is clean lines, and what is read can be used.
func FuzzReadPolicy(f *testing.F) {
	f.Add(policyHead)
	f.Add(policyHead + "rules: {listen-nginx: {level: off, mutate: no}}\nservices: {headless: all}\n")
	f.Add(policyHead + "pools: [{pods: {a: b}, addresses: [\"::1\"]}]\ncluster: &c {families: [*c]}\n")
	f.Add("a: &a [*a, {<<: *a}]\n---\n? [b]\n: !!binary x\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ReadPolicy([]byte(text))
		if (p == nil) == (err == nil) {
			t.Fatalf("%v and %v", p, err)
		}
		if err == nil {
			NewSet(p)
			return
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			if line == "" || line != clean(line) || strings.Contains(line, "unmarshal") && !strings.Contains(text, "unmarshal") {
				t.Errorf("%q", line)
			}
		}
	})
}
