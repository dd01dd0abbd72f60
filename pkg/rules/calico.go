package rules

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// calicoIPPool judges the ranges from which Calico gives addresses to pods.
//
// Source: projectcalico/calico, libcalico-go/lib/clientv3/ippool.go (validateAndSetDefaults). calicoctl and Calico's API server refuse
// what is denied here; kubectl stores it as crd.projectcalico.org/v1 without a word.
func calicoIPPool() *Rule {
	return &Rule{
		ID: "calico-ippool", Since: "v0.1.0", Level: Deny,
		Title:   "Calico IPPool without IPv6 addresses, or that Calico refuses",
		CEL:     &CEL{Never: auditAlone},
		Targets: calicoTarget("ippools", "IPPool"),
		Check:   checkCalicoIPPool,
	}
}

func checkCalicoIPPool(req *Request) []Finding {
	var out []Finding
	d := own(req, &out)
	if d.Bool("spec", "disabled") {
		return nil
	}
	unchecked := None
	if d.Group() == "crd.projectcalico.org" {
		unchecked = Warn // kubectl stores it, and Calico can live with it
	}
	cidr := d.Str("spec", "cidr")
	d.calicoPool(Path{"spec"}, req.others().has6("IPPool"), cidr)
	if ip, err := netip.ParsePrefix(cidr); err == nil && cidrFamily(cidr) == "IPv6" && ip != ip.Masked() {
		d.report(Path{"spec", "cidr"}, unchecked, fmt.Sprintf("%s has bits behind its prefix length, Calico refuses it; write %s", quote(cidr), quote(ip.Masked().String())))
	}
	p := ipv6Prefix(cidr)
	if !p.IsValid() {
		return out
	}
	if other := req.others().overlaps(d.Name(), p); other != "" {
		d.report(Path{"spec", "cidr"}, Warn, fmt.Sprintf("%s overlaps IPPool %s, Calico gives no address from the second one; use a range of its own", quote(p.String()), quote(other)))
	}
	if mode := d.Str("spec", "ipipMode"); mode != "" && mode != "Never" {
		d.report(Path{"spec", "ipipMode"}, unchecked, quote(mode)+" is refused by Calico for an IPv6 pool, IPIP carries IPv4 only; use Never, and vxlanMode where routes need it")
	}
	if isUniqueLocal(p) && !d.Bool("spec", "natOutgoing") && usedByPods(d.Strings("spec", "allowedUses")) {
		d.report(Path{"spec"}, Warn, quote(p.String())+" is unique local and has no natOutgoing, its pods have no way back from outside; set natOutgoing: true")
	}
	return out
}

// usedByPods: none named means pods and tunnels.
func usedByPods(uses []string) bool {
	for _, u := range uses {
		if u == "Workload" {
			return true
		}
	}
	return len(uses) == 0
}

// calicoPool judges range and blocks of a pool, as IPPool and Installation have them. other: there is an IPv6 pool beside it.
func (d document) calicoPool(at Path, other bool, cidr string) {
	message, limit := rangesFault([]string{cidr}, examplePodRange)
	if cidrFamily(cidr) == "IPv4" && other {
		message, limit = quote(cidr)+" is an IPv4 pool beside an IPv6 one, pods get IPv4 addresses too; remove or disable it", Warn
	}
	d.report(at.With("cidr"), limit, message)
	p := ipv6Prefix(cidr)
	if !p.IsValid() {
		return
	}
	if linkLocal.Overlaps(p) {
		d.report(at.With("cidr"), None, quote(p.String())+" overlaps the link-local range fe80::/10, Calico refuses it; use another range")
	}
	block := int64(defaultCalicoBlock)
	if v, ok := d.Get(at.With("blockSize")...); ok {
		if block, ok = integer(v); !ok || block == 0 {
			block = defaultCalicoBlock
		}
	}
	switch {
	case block < minCalicoBlock || block > maxCalicoBlock:
		d.report(at.With("blockSize"), None, fmt.Sprintf("%d is refused by Calico for IPv6; use %d to %d, %d without the field", block, minCalicoBlock, maxCalicoBlock, defaultCalicoBlock))
	case p.Bits() > int(block):
		d.report(at.With("cidr"), None, fmt.Sprintf("%s is smaller than one block of /%d, Calico refuses it; use a /%d or shorter", quote(p.String()), block, block))
	}
}

// calicoBGP judges whom Calico peers with and what it advertises.
//
// Source: docs.tigera.io, reference/resources/bgppeer and bgpconfig.
func calicoBGP() *Rule {
	return &Rule{
		ID: "calico-bgp", Since: "v0.1.0", Level: Deny,
		Title:   "Calico peers with an IPv4 router, or advertises IPv4 ranges",
		CEL:     &CEL{Never: auditAlone},
		Targets: append(calicoTarget("bgppeers", "BGPPeer"), calicoTarget("bgpconfigurations", "BGPConfiguration")...),
		Check:   checkCalicoBGP,
	}
}

func checkCalicoBGP(req *Request) []Finding {
	var out []Finding
	d := own(req, &out)
	if d.Kind() == "BGPPeer" {
		d.peer(Path{"spec", "peerIP"}, req)
		return out
	}
	for _, list := range []string{"serviceClusterIPs", "serviceExternalIPs", "serviceLoadBalancerIPs"} {
		for i := range d.List("spec", list) {
			at := Path{"spec", list, i, "cidr"}
			if cidr := d.Str(at...); cidrFamily(cidr) == "IPv4" {
				d.report(at, Warn, quote(cidr)+" is IPv4, no Service of this cluster has such an address; give the IPv6 range")
			}
		}
	}
	return out
}

// peer judges the address of a BGP router. A dual-stack node has an IPv4 address to reach it from, and IPv6 routes can be sent over
// an IPv4 session.
func (d document) peer(path Path, req *Request) {
	value := d.Str(path...)
	host, _, found := strings.Cut(value, ":")
	if !found || strings.Contains(value, "[") || strings.Count(value, ":") > 1 {
		host = value
	}
	limit := None
	if req.Policy.Cluster.Nodes != "IPv6" {
		limit = Warn
	}
	switch family := ipFamily(host); {
	case family == "IPv4":
		d.report(path, limit, quote(value)+` is IPv4, an IPv6-only node cannot reach this router; give its IPv6 address, with a port as "[address]:179"`)
	case family == "" && looksIPv6(value):
		d.report(path, None, quote(value)+` is no IPv6 address; with a port write "[address]:179"`)
	}
}

// calicoFelix judges the agent on each node.
//
// Source: docs.tigera.io, reference/resources/felixconfig (ipv6Support, wireguardEnabled and wireguardEnabledV6, natOutgoingAddress).
func calicoFelix() *Rule {
	return &Rule{
		ID: "calico-felix", Since: "v0.1.0", Level: Deny,
		Title:   "Calico's Felix does not handle IPv6",
		CEL:     &CEL{Never: auditAlone},
		Targets: calicoTarget("felixconfigurations", "FelixConfiguration"),
		Check: func(req *Request) []Finding {
			var out []Finding
			d := own(req, &out)
			if v, ok := d.Get("spec", "ipv6Support"); ok && v == false {
				d.report(Path{"spec", "ipv6Support"}, None, "false: Calico has neither network nor policy for IPv6; remove it or set true")
			}
			if d.Bool("spec", "wireguardEnabled") && !d.Bool("spec", "wireguardEnabledV6") {
				d.report(Path{"spec", "wireguardEnabled"}, Warn, "true: encrypts IPv4 between nodes only, IPv6 goes in clear; set wireguardEnabledV6: true")
			}
			if v := d.Str("spec", "natOutgoingAddress"); ipFamily(v) == "IPv4" {
				d.report(Path{"spec", "natOutgoingAddress"}, Warn, quote(v)+" is IPv4, no IPv6 packet is translated to it; remove it")
			}
			return out
		},
	}
}

// calicoInstallation judges what the tigera-operator makes a cluster from.
//
// Source: docs.tigera.io, reference/installation/api and networking/ipam/ipv6; tigera/operator, pkg/controller/installation/validation.go.
func calicoInstallation() *Rule {
	return &Rule{
		ID: "calico-installation", Since: "v0.1.0", Level: Deny,
		Title:   "tigera-operator Installation without an IPv6 pool",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(Target{Group: "operator.tigera.io", Version: "v1", Resource: "installations", Kind: "Installation", Cluster: true, Operations: both}),
		Check:   checkCalicoInstallation,
	}
}

func checkCalicoInstallation(req *Request) []Finding {
	var out []Finding
	d := own(req, &out)
	pools := Path{"spec", "calicoNetwork", "ipPools"}
	any6 := false
	for i := range d.List(pools...) {
		any6 = any6 || ipv6Prefix(d.Str(pools.With(i, "cidr")...)).IsValid()
	}
	for i := range d.List(pools...) {
		at := pools.With(i)
		cidr := d.Str(at.With("cidr")...)
		d.calicoPool(at, any6, cidr)
		p := ipv6Prefix(cidr)
		if !p.IsValid() {
			continue
		}
		if e := d.Str(at.With("encapsulation")...); strings.HasPrefix(e, "IPIP") {
			d.report(at.With("encapsulation"), None, quote(e)+" is refused for an IPv6 pool, IPIP carries IPv4 only; use None, VXLAN or VXLANCrossSubnet")
		}
		if d.Str(at.With("natOutgoing")...) == "Disabled" && isUniqueLocal(p) {
			d.report(at.With("natOutgoing"), Warn, quote("Disabled")+" leaves pods on unique local addresses no way back from outside; use Enabled")
		}
	}
	network := Path{"spec", "calicoNetwork"}
	if v4 := d.Map(network.With("nodeAddressAutodetectionV4")...); len(v4) > 0 {
		d.report(network.With("nodeAddressAutodetectionV4"), Warn, "looks for an IPv4 address that the nodes do not have; remove it and set nodeAddressAutodetectionV6")
	}
	return out
}

// calicoNodeEnv judges the environment of calico-node and the CNI configuration of an installation by manifest.
//
// Source: docs.tigera.io, reference/configure-calico-node, networking/ipam/ipv6 and reference/configure-cni-plugins (assign_ipv4,
// assign_ipv6).
func calicoNodeEnv() *Rule {
	return &Rule{
		ID: "calico-node-env", Since: "v0.1.0", Level: Deny,
		Title:   "calico-node or its CNI configuration is set up for IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(append(workloads(), targetPod, targetConfigMap)...),
		Check:   checkCalicoNodeEnv,
	}
}

func checkCalicoNodeEnv(req *Request) []Finding {
	var out []Finding
	o := req.Object
	if isConfigMap(o) {
		checkCalicoCNI(dataText(o, "cni_network_config"), Path{"data", "cni_network_config"}, &out)
		return out
	}
	pod, ok := podPath(o)
	if !ok {
		return nil
	}
	for _, c := range containers(o, pod) {
		image, _ := c.obj["image"].(string)
		repository, _ := imageOf(image)
		env, _ := c.obj["env"].([]any)
		for i, e := range env {
			if envName(e) == "CNI_NETWORK_CONFIG" {
				at := c.path.With("env", i)
				checkCalicoCNI(o.Str(at.With("value")...), at.With("value"), &out)
			}
		}
		if c.list == "containers" && (repository == "calico/node" || strings.HasSuffix(repository, "/calico/node")) {
			own(req, &out).calicoNode(c, req)
		}
	}
	return out
}

// checkCalicoCNI judges a CNI configuration, alone or as a list of plugins.
func checkCalicoCNI(text string, at Path, out *[]Finding) {
	for _, d := range documents(text, at, out) {
		for i := range d.List("plugins") {
			d.calicoIPAM(Path{"plugins", i, "ipam"})
		}
		d.calicoIPAM(Path{"ipam"})
	}
}

// calicoIPAM judges the ipam part of Calico's CNI configuration. The values are JSON booleans or texts.
func (d document) calicoIPAM(at Path) {
	if d.Str(at.With("type")...) != "calico-ipam" {
		return
	}
	assign := func(key, otherwise string) string {
		v, ok := d.Get(at.With(key)...)
		if !ok {
			return otherwise
		}
		return strings.ToLower(fmt.Sprint(v))
	}
	if assign("assign_ipv6", "false") != "true" {
		d.report(at, None, `calico-ipam gives pods IPv4 addresses only; set "assign_ipv4": "false", "assign_ipv6": "true"`)
	} else if assign("assign_ipv4", "true") == "true" {
		d.report(at, Warn, `calico-ipam gives pods IPv4 addresses too; set "assign_ipv4": "false"`)
	}
	if len(d.List(at.With("ipv4_pools")...)) > 0 {
		d.report(at.With("ipv4_pools"), Warn, "names IPv4 pools; use ipv6_pools")
	}
}

// calicoNode judges the environment of one container.
func (d document) calicoNode(c container, req *Request) {
	type variable struct {
		path  Path
		value string
		known bool
	}
	env := map[string]variable{}
	for i := range d.List(c.path.With("env")...) {
		at := c.path.With("env", i)
		_, from := d.Get(at.With("valueFrom")...)
		env[d.Str(at.With("name")...)] = variable{at.With("value"), d.Str(at.With("value")...), !from}
	}
	report := func(name string, limit Level, message string) { d.report(env[name].path, limit, message) }
	is := func(name, value string) bool {
		v, ok := env[name]
		return ok && v.known && strings.EqualFold(v.value, value)
	}
	if is("FELIX_IPV6SUPPORT", "false") {
		report("FELIX_IPV6SUPPORT", None, `"false": Calico has neither network nor policy for IPv6; set "true"`)
	}
	ip6, set := env["IP6"]
	switch {
	case set && ip6.known && (ip6.value == "none" || ipFamily(ip6.value) == "IPv4"):
		report("IP6", None, quote(ip6.value)+" leaves the node without an IPv6 address in Calico; use autodetect")
	case !set && len(d.List(c.path.With("envFrom")...)) == 0 && len(env) > 0 && !is("CALICO_NETWORKING_BACKEND", "none"):
		d.report(c.path.With("env"), Warn, "has no IP6: calico-node does not look for the node's IPv6 address; set IP6=autodetect and IP=none")
	}
	if v, ok := env["IP"]; ok && v.known && (v.value == "autodetect" || ipFamily(v.value) == "IPv4") {
		report("IP", Warn, quote(v.value)+" asks for an IPv4 address, which the nodes do not have; use none")
	}
	if v := env["IP6_AUTODETECTION_METHOD"]; strings.HasPrefix(v.value, "can-reach=") && ipFamily(strings.TrimPrefix(v.value, "can-reach=")) == "IPv4" {
		report("IP6_AUTODETECTION_METHOD", None, quote(v.value)+" names an IPv4 address; give an IPv6 one")
	}
	if v := env["CALICO_IPV4POOL_CIDR"]; v.value != "" {
		report("CALICO_IPV4POOL_CIDR", Warn, quote(v.value)+" makes an IPv4 pool; remove it and set CALICO_IPV6POOL_CIDR")
	}
	pool := env["CALICO_IPV6POOL_CIDR"]
	if pool.value != "" {
		message, limit := rangesFault([]string{pool.value}, examplePodRange)
		report("CALICO_IPV6POOL_CIDR", limit, message)
	}
	if size := env["CALICO_IPV6POOL_BLOCK_SIZE"]; size.value != "" {
		if n, err := strconv.Atoi(size.value); err == nil && (n < minCalicoBlock || n > maxCalicoBlock) {
			report("CALICO_IPV6POOL_BLOCK_SIZE", None, fmt.Sprintf("%s is refused by Calico; use %d to %d", quote(size.value), minCalicoBlock, maxCalicoBlock))
		}
	}
	if nat, ok := env["CALICO_IPV6POOL_NAT_OUTGOING"]; isUniqueLocal(ipv6Prefix(pool.value)) && (!ok || nat.known && nat.value != "true") {
		report("CALICO_IPV6POOL_CIDR", Warn, quote(pool.value)+" is unique local, its pods have no way back from outside; set CALICO_IPV6POOL_NAT_OUTGOING=true")
	}
	backend, ok := env["CALICO_NETWORKING_BACKEND"]
	bird := !ok || backend.known && backend.value == "bird"
	if _, ok := env["CALICO_ROUTER_ID"]; !ok && bird && is("IP", "none") {
		report("IP", Warn, `"none" leaves BGP without a router ID, which has the form of an IPv4 address; set CALICO_ROUTER_ID=hash`)
	}
}
