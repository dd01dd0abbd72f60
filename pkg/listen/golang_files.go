package listen

import (
	"slices"
	"strings"
)

// Configuration files of servers in Go: a wildcard is both families, an address of IPv4 is a fault.

// goListener completes the listener of an address.
func goListener(l Listener, address string) Listener {
	l.Text = oneLine(l.Text)
	host, port, family := golang.address(address)
	l.Address, l.Family = host, family
	if port != "" {
		l.Port = port
	}
	if l.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address, or none to listen on all"
	}
	return l
}

// yamlAddresses reads the addresses at paths of a YAML or JSON file that has all the keys.
func yamlAddresses(keys []string, paths ...string) func([]File) []Listener {
	return each(func(f File) []Listener {
		var out []Listener
		for _, doc := range readYAML(f) {
			if slices.ContainsFunc(keys, func(k string) bool { return !doc.path(k).exists() }) {
				continue
			}
			for _, p := range paths {
				a := doc.path(p)
				for _, item := range strings.Split(a.str(), ",") {
					if item != "" && len(out) < maxAddresses {
						out = append(out, goListener(at(f, a.offset(), Listener{Text: p + ": " + strings.TrimSpace(item)}), item))
					}
				}
			}
		}
		return out
	})
}

// iniAddresses reads the addresses of keys, which are "section.key", of a file in the manner of INI that has the section.
func iniAddresses(defaultPort string, keys ...string) func([]File) []Listener {
	return each(func(f File) []Listener {
		var out []Listener
		for _, s := range settings(f.Text, "#;", false) {
			if slices.Contains(keys, s.section+"."+s.key.text) && s.value.text != "" && len(out) < maxAddresses {
				out = append(out, goListener(at(f, s.key.start, Listener{Text: s.source(f), Port: defaultPort}), s.value.text))
			}
		}
		return out
	})
}

// natsFiles reads host and listen of a nats.conf, whose keys may be followed by ":", "=" or a blank.
func natsFiles(f File) []Listener {
	var out []Listener
	for _, d := range lineDirectives(f.Text, '#', false) {
		key := strings.ToLower(strings.TrimRight(d.name.text, ":="))
		if key != "host" && key != "net" && key != "listen" && key != "http" || len(d.args) == 0 || len(out) == maxAddresses {
			continue
		}
		value := d.args[len(d.args)-1].text
		if l := goListener(at(f, d.name.start, Listener{Text: d.source(f)}), strings.Trim(value, `"',`)); l.Family != Unknown {
			out = append(out, l)
		}
	}
	return out
}

// otelReceives: the endpoint of such a receiver is an address to listen on; others' are servers to ask.
func otelReceives(name string) bool {
	kind, _, _ := strings.Cut(name, "/")
	return slices.Contains([]string{"otlp", "jaeger", "zipkin", "opencensus", "fluentforward", "skywalking", "influxdb", "carbon", "statsd", "signalfx", "sapm", "splunk_hec",
		"loki", "collectd", "wavefront", "webhookevent", "prometheusremotewrite", "awsxray", "awsfirehose", "datadog", "github", "faro"}, kind)
}

// otelFiles reads the configuration of an OpenTelemetry Collector.
func otelFiles(f File) []Listener {
	var out []Listener
	add := func(name string, n yamlNode) {
		if n.str() != "" && len(out) < maxAddresses {
			out = append(out, goListener(at(f, n.offset(), Listener{Text: name + " endpoint: " + n.str()}), n.str()))
		}
	}
	for _, doc := range readYAML(f) {
		if !doc.get("service", "pipelines").exists() {
			continue
		}
		for _, r := range doc.get("receivers").keys() {
			if !otelReceives(r.key.Value) {
				continue
			}
			add(r.key.Value, r.value.get("endpoint"))
			for _, p := range r.value.get("protocols").keys() {
				add(r.key.Value, p.value.get("endpoint"))
			}
		}
		for _, e := range doc.get("extensions").keys() {
			if kind, _, _ := strings.Cut(e.key.Value, "/"); slices.Contains([]string{"health_check", "zpages", "pprof", "jaegerremotesampling"}, kind) {
				add(e.key.Value, e.value.get("endpoint"))
			}
		}
	}
	return out
}

func otelCases() []Case {
	config := func(receiver string) string {
		return "receivers:\n  " + receiver + "\nexporters:\n  otlp:\n    endpoint: 10.9.9.9:4317\nservice:\n  pipelines:\n    traces: {receivers: [otlp], exporters: [otlp]}\n"
	}
	const why = "not in Debian"
	return []Case{
		{File: "relay", Config: config("otlp: {protocols: {grpc: {endpoint: 0.0.0.0:4317}}}"), Port: "4317", Binds: Dual, NotRun: why},
		{File: "relay.yaml", Config: config("otlp: {protocols: {grpc: {endpoint: '10.1.2.3:4317'}}}"), Port: "4317", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "config.yaml", Config: config("zipkin:\n    endpoint: \"[::]:9411\""), Port: "9411", Binds: Dual, NotRun: why},
		{File: "relay.yaml", Config: config("otlp: {protocols: {grpc: {endpoint: '${env:MY_POD_IP}:4317'}}}"), Port: "4317", Binds: Unknown, NotRun: why},
		{File: "relay.yaml", Config: config("redis:\n    endpoint: 10.1.2.3:6379"), Port: "6379", Binds: Unknown, NotRun: "a server that is asked"},
	}
}

// consulFiles reads bind_addr and client_addr of Consul and Nomad, in HCL or JSON.
func consulFiles(keys []string, paths ...string) func([]File) []Listener {
	return each(func(f File) []Listener {
		var out []Listener
		add := func(path, value string, offset int) {
			if value != "" && len(out) < maxAddresses {
				out = append(out, goListener(at(f, offset, Listener{Text: path + " = " + value}), value))
			}
		}
		if strings.HasPrefix(strings.TrimSpace(f.Text), "{") {
			for _, doc := range readYAML(f) {
				if !slices.ContainsFunc(keys, func(k string) bool { return doc.get(k).exists() }) {
					continue
				}
				for _, p := range paths {
					if a := doc.path(p); a.str() != "" {
						add(p, a.str(), a.offset())
					}
				}
			}
			return out
		}
		root := readHCL(f)
		if !slices.ContainsFunc(keys, func(k string) bool { return len(hclItems(root, k)) > 0 }) {
			return nil
		}
		for _, p := range paths {
			for _, item := range hclItems(root, strings.Split(p, ".")...) {
				if value, offset, ok := hclString(f, item); ok {
					add(p, value, offset)
				}
			}
		}
		return out
	})
}

// fileCases are a wildcard and an IPv4 address in one form of a file, in which $ADDRESS stands for the host.
func fileCases(name, form, port, wildcard, notRun string, more ...Case) []Case {
	return append(more,
		Case{File: name, Config: strings.ReplaceAll(form, "$ADDRESS", wildcard), Port: port, Binds: Dual, NotRun: notRun},
		Case{File: name, Config: strings.ReplaceAll(form, "$ADDRESS", "127.0.0.1"), Port: port, Binds: Loopback, NotRun: notRun},
		Case{File: name, Config: strings.ReplaceAll(form, "$ADDRESS", "10.1.2.3"), Port: port, Binds: IPv4, NoFix: true, NotRun: noAddress})
}
