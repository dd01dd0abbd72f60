package listen

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// Envoy binds the socket_address of its admin interface and of each listener; "::" takes IPv4 too only with ipv4_compat.
// Addresses of clusters and endpoints are what it dials.
//
// Source: envoy/config/core/v3/address.proto, SocketAddress; envoy/config/listener/v3/listener.proto, additional_addresses.

func envoyFile(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		if doc.Kind != yaml.MappingNode {
			continue
		}
		first := len(out)
		listeners := envoyGet(doc, "static_resources", "listeners")
		if r := doc.get("resources"); r.exists() { // a file that Envoy watches for listeners
			listeners = r
		}
		for _, l := range listeners.items() {
			if kind := l.get("@type").str(); kind != "" && !strings.HasSuffix(kind, ".Listener") || kind == "" && doc.get("resources").exists() || envoyGet(l, "bind_to_port").str() == "false" || envoyGet(l, "deprecated_v1", "bind_to_port").str() == "false" || envoyGet(l, "api_listener").exists() {
				continue
			}
			addresses := []yamlNode{envoyGet(l, "address", "socket_address")}
			for _, a := range envoyGet(l, "additional_addresses").items() {
				addresses = append(addresses, envoyGet(a, "address", "socket_address"))
			}
			if out = append(out, envoyAddresses(addresses)...); len(out) > maxBinds {
				return nil
			}
		}
		out = append(out, envoyAddresses([]yamlNode{envoyGet(doc, "admin", "address", "socket_address")})...)
		serveBoth(out[first:]) // one listener for each family
		if len(out) > maxBinds {
			return nil
		}
	}
	if isAside(strings.TrimSuffix(strings.TrimSuffix(f.Name, ".yaml"), ".yml")) {
		for i, l := range out {
			if l.Fault != None {
				out[i].Doubt = "Envoy does not load this file"
			}
		}
	}
	return out
}

// envoyGet is get; each key may be written in camel case, as protobuf has it in JSON.
func envoyGet(n yamlNode, keys ...string) yamlNode {
	for _, k := range keys {
		next := n.get(k)
		if !next.exists() {
			words := strings.Split(k, "_")
			for i, w := range words[1:] {
				words[i+1] = strings.ToUpper(w[:1]) + w[1:]
			}
			next = n.get(strings.Join(words, ""))
		}
		n = next
	}
	return n
}

// envoyAddresses are the addresses of one listener.
func envoyAddresses(sockets []yamlNode) []Listener {
	var out []Listener
	for _, s := range sockets {
		address := s.get("address")
		if !address.exists() {
			continue
		}
		host, port := address.str(), envoyGet(s, "port_value").str()
		family := split.family(host)
		compat := envoyGet(s, "ipv4_compat")
		if compat.str() == "true" && family == IPv6 {
			family = Dual
		}
		l := address.listener("address: "+host, host, port, family)
		l.UDP = s.get("protocol").str() == "UDP"
		if l.Family == IPv4 {
			l.Advice = "give an IPv6 address"
			if !isConcrete(host) {
				l.Advice = `use address "::" with "ipv4_compat: true"`
				if !compat.exists() {
					l.Edits = envoyEdits(s, address)
				}
			}
		}
		out = append(out, l)
	}
	return serveBoth(out)
}

// envoyEdits replaces the address and puts ipv4_compat before it.
func envoyEdits(socket, address yamlNode) []Edit {
	for _, k := range socket.keys() {
		if k.key.str() != "address" || k.value.Node != address.Node {
			continue
		}
		edits := address.replace("::")
		before := strings.TrimRight(socket.f.Text[:k.key.offset()], " ")
		if len(edits) == 0 || address.Anchor != "" || strings.HasSuffix(before, "?") {
			return nil
		}
		at := k.key.offset()
		lead := "ipv4_compat: true, "
		if socket.Style&yaml.FlowStyle == 0 {
			lead = "ipv4_compat: true\n" + strings.Repeat(" ", k.key.Column-1)
		} else if k.key.Style == yaml.DoubleQuotedStyle {
			lead = `"ipv4_compat": true, `
		}
		return append([]Edit{{socket.f.Name, at, at, lead}}, edits...)
	}
	return nil
}

// envoyRun reads --config-yaml.
func envoyRun(c *Command) []Listener {
	for _, f := range c.Flags("--mode") {
		if f.Text != "serve" {
			return nil
		}
	}
	var out []Listener
	for _, f := range c.Flags("--config-yaml") {
		if !f.shell && f.Text == f.base { // else the places of the text are not those of the word
			out = append(out, envoyFile(File{f.file, f.Text})...)
		}
	}
	return out
}

// contourRun reads contour serve, which sends these addresses to Envoy, "::" with ipv4_compat.
//
// Source: projectcontour.io/docs/main/configuration, flags; SocketAddress in internal/envoy of Contour.
func contourRun(c *Command) []Listener {
	if len(c.Args) == 0 || c.Args[0].Text != "serve" {
		return nil
	}
	var out []Listener
	for _, f := range c.Flags("--envoy-service-http-address", "--envoy-service-https-address") {
		l := f.Listener(f.String(), f.Text, "", stack{IPv4, Dual, Unknown, Unknown}.family(f.Text))
		if l.Family == IPv4 {
			l.Advice = `use "::"`
			l.Edits = f.Replace(0, len(f.Text), "::")
			if isConcrete(f.Text) {
				l.Advice, l.Edits = "give an IPv6 address", nil
			}
		}
		out = append(out, l)
	}
	return out
}

func envoyCases() []Case {
	const notRun = "Envoy is not in Debian"
	conf := func(name, socket string, binds Family) Case {
		return Case{File: name, Config: "static_resources:\n  listeners:\n  - name: http\n    address:\n      socket_address:" + socket +
			"\n  clusters:\n  - name: app\n    load_assignment:\n      endpoints:\n      - lb_endpoints:\n        - endpoint: {address: {socket_address: {address: 0.0.0.0, port_value: 8080}}}\n", Port: "80", Binds: binds, NotRun: notRun}
	}
	concrete := conf("envoy.yaml", " {address: 10.1.2.3, port_value: 80}", IPv4)
	concrete.NoFix = true
	return []Case{
		conf("envoy.yaml", "\n        address: 0.0.0.0\n        port_value: 80", IPv4),
		conf("envoy.yaml", "\n        protocol: TCP\n        address: '0.0.0.0' # all\n        port_value: 80", IPv4),
		conf("envoy.yaml", " {address: 0.0.0.0, port_value: 80}", IPv4),
		conf("bootstrap.yaml", "\n        port_value: 80\n        address: \"::\"", IPv6),
		conf("envoy.yaml", "\n        address: \"::\"\n        ipv4_compat: true\n        port_value: 80", Dual),
		conf("envoy.yaml", " {address: 127.0.0.1, port_value: 80}", Loopback),
		conf("envoy.yaml", " {address: 0.0.0.0, port_value: 80}\n    additional_addresses:\n    - address: {socket_address: {address: \"::\", port_value: 80}}", Dual),
		conf("envoy.yaml", " {address: 0.0.0.0, port_value: 80}\n    bind_to_port: false", Unknown),
		concrete,
		{File: "envoy.json", Config: `{"staticResources": {"listeners": [{"address": {"socketAddress": {"address": "0.0.0.0", "portValue": 80}}}]}}`, Port: "80", Binds: IPv4, NotRun: notRun},
		{File: "envoy.yaml", Config: "admin:\n  address:\n    socket_address:\n      address: 0.0.0.0\n      port_value: 9901\n", Port: "9901", Binds: IPv4, NotRun: notRun},
		{File: "lds.yaml", Config: "resources:\n- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  address:\n    socket_address: {address: 0.0.0.0, port_value: 80}\n", Port: "80", Binds: IPv4, NotRun: notRun},
		{Config: `envoy --config-yaml '{admin: {address: {socket_address: {address: 0.0.0.0, port_value: 9901}}}}'`, Port: "9901", Binds: IPv4, NotRun: notRun},
	}
}

func contourCases() []Case {
	return []Case{
		{Config: "contour serve --envoy-service-http-address=0.0.0.0 --envoy-service-http-port=8080", Port: "8080", Binds: IPv4, NotRun: "Contour is not in Debian"},
		{Config: "contour serve --envoy-service-https-address ::", Port: "8443", Binds: Dual, NotRun: "Contour is not in Debian"},
	}
}
