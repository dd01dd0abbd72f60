package rules

import (
	"strconv"
	"strings"
)

// ciliumConfig judges the ConfigMap of Cilium.
//
// Source: docs.cilium.io, network/concepts (masquerading, ipam/cluster-pool); cilium/cilium#17240 (the agent exits where it finds no
// IPv4 address of the node: "external IPv4 node address could not be derived").
func ciliumConfig() *Rule {
	return &Rule{
		ID: "cilium-config", Since: "v0.1.0", Level: Deny,
		Title:   "Cilium is configured for IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(targetConfigMap),
		Check:   checkCilium,
	}
}

func checkCilium(req *Request) []Finding {
	if !isConfigMap(req.Object) || req.Object.Name() != "cilium-config" {
		return nil
	}
	var out []Finding
	d := own(req, &out)
	get := func(key string) string { return dataText(d.Object, key) }
	report := func(key string, limit Level, message string) { d.report(Path{"data", key}, limit, message) }
	if get("enable-ipv6") == "false" {
		report("enable-ipv6", None, `"false": pods get no IPv6 address; set "true"`)
	}
	if get("enable-ipv4") == "true" {
		limit := None
		if req.Policy.Cluster.Nodes != "IPv6" {
			limit = Warn
		}
		report("enable-ipv4", limit, `"true": the agent exits on a node without IPv4 address; set "false"`)
	}
	const pool6, pool4 = "cluster-pool-ipv6-cidr", "cluster-pool-ipv4-cidr"
	pool := ipv6Prefix(strings.ReplaceAll(get(pool6), " ", ","))
	if ipam := get("ipam"); (ipam == "cluster-pool" || ipam == "") && get(pool4) != "" && get(pool6) == "" {
		report(pool4, None, quote(get(pool4))+" is the only pool; set cluster-pool-ipv6-cidr")
	} else if get(pool6) != "" {
		message, limit := rangesFault(strings.FieldsFunc(get(pool6), func(r rune) bool { return r == ' ' || r == ',' }), examplePodRange)
		report(pool6, limit, message)
	}
	if mask, err := strconv.Atoi(get("cluster-pool-ipv6-mask-size")); err == nil && pool.IsValid() {
		limit := Warn
		if mask-pool.Bits() > maxNodeBits { // pkg/ipam/cidrset: "the node CIDR size is too big"
			limit = None
		}
		report(pool6, limit, strings.Replace(nodeMaskFault(pool, mask), "node-cidr-mask-size-ipv6", "cluster-pool-ipv6-mask-size", 1))
	}
	if get("enable-ipv6-masquerade") == "false" && isUniqueLocal(pool) {
		report("enable-ipv6-masquerade", Warn, `"false" leaves pods on unique local addresses no way back from outside; set "true"`)
	}
	if get("routing-mode") == "tunnel" && get("enable-ipv4") == "false" {
		switch get("underlay-protocol") {
		case "ipv4":
			report("underlay-protocol", None, `"ipv4" needs enable-ipv4, the agent does not start; use "ipv6"`)
		case "":
			report("routing-mode", Warn, `"tunnel" runs over IPv4 before v1.20 unless underlay-protocol is "ipv6"; set it, or use "native"`)
		}
	}
	return out
}

// flannelConfig judges net-conf.json of flannel.
//
// Source: flannel-io/flannel, Documentation/configuration.md (EnableIPv4 is true and EnableIPv6 false by default; the udp backend is
// IPv4 only).
func flannelConfig() *Rule {
	return &Rule{
		ID: "flannel-config", Since: "v0.1.0", Level: Deny,
		Title:   "flannel is configured for IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(targetConfigMap),
		Check:   checkFlannel,
	}
}

func checkFlannel(req *Request) []Finding {
	var out []Finding
	if !isConfigMap(req.Object) {
		return nil
	}
	at := Path{"data", "net-conf.json"}
	for _, d := range documents(dataText(req.Object, "net-conf.json"), at, &out) {
		network := Path{"IPv6Network"}
		if !d.Bool("EnableIPv6") {
			d.report(Path{"EnableIPv6"}, None, `flannel gives pods no IPv6 address; set "EnableIPv6": true, "EnableIPv4": false and "IPv6Network"`)
		} else if d.Str(network...) == "" {
			d.report(network, None, `"EnableIPv6" has no "IPv6Network", flannel does not start; give the pod range`)
		}
		if v, ok := d.Get("EnableIPv4"); d.Bool("EnableIPv6") && (!ok || v == true) {
			limit := None
			if req.Policy.Cluster.Nodes != "IPv6" {
				limit = Warn
			}
			d.report(Path{"EnableIPv4"}, limit, `is on by default, flannel finds no IPv4 address of the node and exits; set "EnableIPv4": false`)
		}
		d.ranges(network, d.Str(network...), examplePodRange)
		if _, ok := d.Get("Backend"); !ok && d.Bool("EnableIPv6") {
			d.report(Path{"Backend"}, None, `is absent, which means udp, which carries IPv4 only; use vxlan, host-gw or wireguard`)
		} else if backend := d.Str("Backend", "Type"); strings.EqualFold(backend, "udp") {
			d.report(Path{"Backend", "Type"}, None, quote(backend)+" carries IPv4 only; use vxlan, host-gw or wireguard")
		}
	}
	return out
}
