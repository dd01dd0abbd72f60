package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// clientIPv4 reports settings that make a client, or the address that a server tells its clients, IPv4 only.
//
// Source: nginx.org, ngx_http_core_module, resolver; Envoy api/envoy/config/cluster/v3/cluster.proto, DnsLookupFamily; resolv.conf(5);
// grafana/dskit, netutil/netutil.go and ring/lifecycler.go; prometheus/blackbox_exporter, CONFIGURATION.md; Kong kong.conf.default;
// erlang.org, kernel, "Distributed applications", and RabbitMQ's networking guide; redis.conf of 7.0; etcd and Kafka documentation.
func clientIPv4() *Rule {
	return &Rule{
		ID: "client-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Client or announced address is set to IPv4",
		CEL:     &CEL{Never: noParser},
		Targets: append([]Target{targetConfigMap, targetPod}, workloads()...),
		Check:   checkClientIPv4,
	}
}

// A clientSetting is one way to say it in a configuration text.
type clientSetting struct {
	gist   string         // every text that says it has this; it begins with a rare letter, by which it is searched
	re     *regexp.Regexp // group 1 is the setting, the last group its value
	fixed  bool           // there is one right answer:
	repair string         // what the value becomes
	drop   string         // the value is words, and it is a fault if one of them is this; the repair removes it
	ipv4   bool           // the value is text that holds addresses, and it is a fault if one of them is IPv4
	fact   string         // after the quoted text
	advice string
}

const (
	announces  = "is announced to clients and peers, no pod reaches it"
	nameOrIPv6 = "announce a DNS name or an IPv6 address"
	noAAAA     = `"no-aaaa" asks for no AAAA records, no name has an address; remove it`
)

// clientSettings are read in ConfigMaps, one line or statement each: many of those texts are templates or fragments that no parser of
// their format takes.
var clientSettings = sync.OnceValue(func() []clientSetting {
	c := regexp.MustCompile
	const field = `(?m)(?:^|[{,])[ \t-]*"?` // a field of YAML or JSON begins
	return []clientSetting{
		{gist: "v6=off", re: c(`(?m)(?:^|[;{}])[ \t]*(resolver\s[^;{}#]*)`), drop: "ipv6=off", fact: "resolves IPv4 addresses only", advice: `remove "ipv6=off"`},
		{gist: "V4_ONLY", re: c(field + `((?:dns_lookup_family|dnsLookupFamily)"?\s*:\s*"?(V4_ONLY))\b`), fixed: true, repair: "AUTO", fact: "resolves IPv4 addresses only", advice: `use AUTO`},
		{gist: "-lookup-family", re: c(field + `(dns-lookup-family"?\s*:\s*"?(v4))\b`), fixed: true, repair: "auto", fact: "resolves IPv4 addresses only", advice: `use auto`},
		{gist: "-aaaa", re: c(`(?m)^[ \t]*(options[ \t][^#;\n]*)`), drop: "no-aaaa", fact: "asks for no AAAA records", advice: `remove "no-aaaa"`},
		{gist: "_enable_ipv6", re: c(field + `(instance_enable_ipv6"?\s*:\s*"?(false))\b`), fixed: true, repair: "true", fact: "registers IPv4 addresses only in the ring", advice: "use true"},
		{gist: "_inet6", re: c(field + `(enable_inet6"?\s*:\s*"?(false))\b`), fixed: true, repair: "true", fact: "registers IPv4 addresses only in the ring", advice: "use true"},
		{gist: "announce-ip", re: c(`(?m)^[ \t]*(?:replica-|slave-|cluster-|sentinel[ \t]+)announce-ip[ \t]+"?([0-9.]+)`), ipv4: true, fact: announces, advice: nameOrIPv6},
		{gist: "sentinel", re: c(`(?m)^[ \t]*sentinel[ \t]+monitor[ \t]+\S+[ \t]+"?([0-9.]+)`), ipv4: true, fact: "is the master that Sentinel dials, no pod reaches it", advice: "give a DNS name or an IPv6 address"},
		{gist: ".listeners", re: c(`(?m)^[ \t]*advertised\.listeners[ \t]*[=:][ \t]*([^\n]*)`), ipv4: true, fact: announces, advice: nameOrIPv6},
		{gist: "vertise_addr", re: c(`\badvertise_addr(?:_wan)?"?\s*[=:]\s*"([0-9.]+)"`), ipv4: true, fact: announces, advice: nameOrIPv6},
		{gist: "-client-urls", re: c(`(?m)^[ \t]*advertise-client-urls[ \t]*:[ \t]*([^\n#]*)`), ipv4: true, fact: announces, advice: nameOrIPv6},
		{gist: "-peer-urls", re: c(`(?m)^[ \t]*initial-advertise-peer-urls[ \t]*:[ \t]*([^\n#]*)`), ipv4: true, fact: announces, advice: nameOrIPv6},
	}
})

// announcingFlags are flags whose value others dial: Alertmanager, etcd, Consul, Redis and Valkey.
func announcingFlags() []string {
	return []string{"cluster.advertise-address", "advertise-client-urls", "initial-advertise-peer-urls", "initial-cluster", "advertise", "advertise-wan",
		"cluster-announce-ip", "replica-announce-ip", "slave-announce-ip"}
}

// announcingVariables are variables whose value others dial: Kafka (of Confluent, Bitnami and wurstmeister), etcd, Redis.
func announcingVariables() []string {
	return []string{"KAFKA_ADVERTISED_LISTENERS", "KAFKA_CFG_ADVERTISED_LISTENERS", "KAFKA_ADVERTISED_HOST_NAME", "ETCD_ADVERTISE_CLIENT_URLS",
		"ETCD_INITIAL_ADVERTISE_PEER_URLS", "ETCD_INITIAL_CLUSTER", "REDIS_CLUSTER_ANNOUNCE_IP", "REDIS_REPLICA_IP"}
}

// A clientFault is one of them in a text.
type clientFault struct {
	offset     int
	text       string
	message    string
	start, end int // what the repair replaces; nothing where end is 0
	repair     string
}

func checkClientIPv4(req *Request) []Finding {
	o := req.Object
	if o.Group() == "" && o.Kind() == "ConfigMap" {
		return clientTexts(o)
	}
	pod, ok := podPath(o)
	if !ok || isMirror(o) {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		out = append(out, clientArguments(c)...)
		out = append(out, clientVariables(c)...)
	}
	options := pod.With("spec", "dnsConfig", "options")
	for i := range o.List(options...) {
		if o.Str(options.With(i, "name")...) == "no-aaaa" {
			out = append(out, Finding{Path: options.With(i), Subject: "dnsConfig", Value: "no-aaaa", Message: noAAAA})
		}
	}
	out = append(out, erlangCluster(o, pod)...)
	if o.Kind() == "Pod" && req.Operation == Update {
		for i := range out {
			out[i].Fix = nil // a stored Pod does not change
		}
	}
	return out
}

func clientTexts(o *Object) []Finding {
	var out []Finding
	data := o.Map("data")
	for _, key := range sortedKeys(data) {
		text, _ := data[key].(string)
		faults := clientFaults(text)
		if len(faults) == 0 || prose(key) {
			continue
		}
		path := Path{"data", key}
		line, start, done := 1, 0, 0
		for _, fault := range faults {
			before := text[done:fault.offset]
			line += strings.Count(before, "\n")
			if i := strings.LastIndexByte(before, '\n'); i >= 0 {
				start = done + i + 1
			}
			done = fault.offset
			f := Finding{
				Path: path, Text: TextPos{line, fault.offset - start + 1},
				Subject: key, Value: fault.text, Message: fault.message,
			}
			if fault.end > 0 {
				f.Fix = func(o *Object) {
					if o.Str(path...) == text { // else the first of them has repaired all
						o.Set(path, repairClient(text))
					}
				}
			}
			out = append(out, f)
		}
	}
	return out
}

// prose: the text is read by people.
func prose(key string) bool {
	key = strings.ToLower(key)
	return strings.HasPrefix(key, "readme") || slices.ContainsFunc([]string{".md", ".txt", ".html"}, func(end string) bool { return strings.HasSuffix(key, end) })
}

// clientFaults returns the faults of one text in order.
func clientFaults(text string) []clientFault {
	var out []clientFault
	for _, s := range clientSettings() {
		if !strings.Contains(text, s.gist) {
			continue
		}
		done, comment := 0, false
		for _, m := range s.re.FindAllStringSubmatchIndex(text, -1) {
			before := text[done:m[0]]
			if i := strings.LastIndexByte(before, '\n'); i >= 0 {
				before, comment = before[i:], false
			}
			done, comment = m[0], comment || strings.Contains(before, "#")
			if comment {
				continue
			}
			whole, value := text[m[2]:m[3]], m[len(m)-2:]
			if s.drop != "" && !strings.Contains(whole, s.drop) {
				continue
			}
			words := strings.Fields(whole)
			if s.drop != "" && !slices.Contains(words, s.drop) {
				continue
			}
			said := strings.Join(words, " ")
			if s.ipv4 {
				if said = ipv4In(said); said == "" {
					continue
				}
			}
			f := clientFault{offset: m[2], text: said, message: fmt.Sprintf("%s %s; %s", quote(said), s.fact, s.advice)}
			if s.fixed {
				f.start, f.end, f.repair = value[0], value[1], s.repair
			}
			if s.drop != "" {
				f.start, f.end, f.repair = m[2], m[3], dropWord(whole, s.drop)
			}
			out = append(out, f)
		}
	}
	out = append(out, ringFaults(text)...)
	out = append(out, blackboxFaults(text)...)
	slices.SortStableFunc(out, func(a, b clientFault) int { return cmp.Compare(a.offset, b.offset) })
	return out
}

// dropWord removes a word and the white space before it, wherever it stands but at the beginning.
func dropWord(text, word string) string {
	var out strings.Builder
	for {
		i := strings.Index(text, word)
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		before, after := text[:i], text[i+len(word):]
		kept := strings.TrimRightFunc(before, unicode.IsSpace)
		r, _ := utf8.DecodeRuneInString(after)
		if len(kept) < len(before) && (after == "" || unicode.IsSpace(r)) {
			before = kept
		} else {
			before = text[:i+len(word)]
		}
		out.WriteString(before)
		text = after
	}
}

func repairClient(text string) string {
	faults := slices.DeleteFunc(clientFaults(text), func(f clientFault) bool { return f.end == 0 })
	slices.SortStableFunc(faults, func(a, b clientFault) int { return cmp.Compare(a.start, b.start) })
	var out strings.Builder
	done := 0
	for _, f := range faults {
		if f.start >= done {
			out.WriteString(text[done:f.start] + f.repair)
			done = f.end
		}
	}
	return out.String() + text[done:]
}

var (
	ipv4Literal = regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b`)
	memberlist  = regexp.MustCompile(`(?m)^memberlist:`)
	ringMember  = regexp.MustCompile(`(?m)^(?:ingester|distributor|common|compactor|schema_config|blocks_storage):`)
)

// ipv4In returns the first IPv4 address in a text that others could dial, or "".
func ipv4In(text string) string {
	for _, m := range ipv4Literal.FindAllStringIndex(text, -1) {
		before, after := text[:m[0]], text[m[1]:]
		if before != "" && strings.ContainsAny(before[len(before)-1:], ":-._") || after != "" && strings.ContainsAny(after[:1], "-._") {
			continue // a part of an IPv6 address, or of a name
		}
		if addr, err := netip.ParseAddr(text[m[0]:m[1]]); err == nil && !addr.IsLoopback() && !addr.IsUnspecified() {
			return text[m[0]:m[1]]
		}
	}
	return ""
}

// ringFaults: Loki, Mimir and Tempo with a ring over memberlist, without the setting that lets an instance register its IPv6
// address; false is the default.
func ringFaults(text string) []clientFault {
	if !strings.Contains(text, "_members:") || !strings.Contains(text, "join_members:") || strings.Contains(text, "{{") {
		return nil
	}
	for _, says := range []string{"instance_enable_ipv6", "enable_inet6", "instance_addr"} {
		if strings.Contains(text, says) {
			return nil
		}
	}
	at := memberlist.FindStringIndex(text)
	if at == nil || !ringMember.MatchString(text) {
		return nil
	}
	return []clientFault{{offset: at[0], text: "memberlist", message: `"memberlist:" without instance_enable_ipv6 registers IPv4 addresses only; set it to true in each ring (Loki: common.ring)`}}
}

// blackboxFaults: modules of the blackbox exporter that probe over IPv4 and nothing else.
func blackboxFaults(text string) []clientFault {
	if !strings.Contains(text, "_protocol_fallback") || len(text) > 1<<18 {
		return nil
	}
	var file struct {
		Modules map[string]map[string]yaml.Node `yaml:"modules"`
	}
	if yaml.Unmarshal([]byte(text), &file) != nil {
		return nil
	}
	starts := []int{0}
	for i := range len(text) {
		if text[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	var out []clientFault
	for _, name := range sortedKeys(file.Modules) {
		for _, prober := range []string{"http", "tcp", "dns", "icmp", "grpc"} {
			node := file.Modules[name][prober]
			var p struct {
				Preferred yaml.Node `yaml:"preferred_ip_protocol"`
				Fallback  *bool     `yaml:"ip_protocol_fallback"`
			}
			if node.Decode(&p) != nil || p.Preferred.Value != "ip4" || p.Fallback == nil || *p.Fallback || p.Preferred.Line > len(starts) {
				continue
			}
			out = append(out, clientFault{offset: starts[p.Preferred.Line-1], text: name, message: fmt.Sprintf("module %s probes over IPv4 only; use preferred_ip_protocol: ip6", quote(name))})
		}
	}
	return out
}

// clientArguments are flags that announce an IPv4 address.
func clientArguments(c container) []Finding {
	var out []Finding
	for _, list := range []string{"command", "args"} {
		words, _ := c.obj[list].([]any)
		for i, w := range words {
			word, _ := w.(string)
			if !slices.ContainsFunc(announcingFlags(), func(flag string) bool { return strings.Contains(word, flag) }) {
				continue
			}
			fields := strings.Fields(word) // a shell's script is one word
			for j, field := range fields {
				if !strings.HasPrefix(field, "-") {
					continue
				}
				name, value, ok := strings.Cut(strings.TrimLeft(field, "-"), "=")
				if !slices.Contains(announcingFlags(), name) {
					continue
				}
				at := i
				switch {
				case ok:
				case len(fields) > 1 && j+1 < len(fields):
					value = fields[j+1]
				case len(fields) == 1 && i+1 < len(words):
					value, _ = words[i+1].(string)
					at = i + 1
				}
				if address := ipv4In(value); address != "" {
					out = append(out, Finding{Path: c.path.With(list, at), Subject: c.name, Value: name + " " + address,
						Message: fmt.Sprintf("%s %s; %s", quote(address), announces, nameOrIPv6)})
				}
			}
		}
	}
	return out
}

func clientVariables(c container) []Finding {
	var out []Finding
	env, _ := c.obj["env"].([]any)
	for i, e := range env {
		variable, _ := e.(map[string]any)
		name, _ := variable["name"].(string)
		value, _ := variable["value"].(string)
		if value == "" || name != "RES_OPTIONS" && name != "KONG_DNS_ORDER" && !slices.Contains(announcingVariables(), name) {
			continue
		}
		path := c.path.With("env", i, "value")
		f := Finding{Path: path, Subject: c.name, Value: name + " " + value}
		switch {
		case name == "RES_OPTIONS":
			options := strings.Fields(value)
			if !slices.Contains(options, "no-aaaa") {
				continue
			}
			f.Message = noAAAA
			options = slices.DeleteFunc(options, func(s string) bool { return s == "no-aaaa" })
			f.Fix = func(o *Object) { o.Set(path, strings.Join(options, " ")) }
		case name == "KONG_DNS_ORDER":
			order := strings.Split(value, ",")
			a := slices.IndexFunc(order, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "A") })
			if a < 0 || slices.ContainsFunc(order, func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), "AAAA") }) {
				continue
			}
			fixed := strings.Join(slices.Insert(order, a, "AAAA"), ",")
			f.Message = fmt.Sprintf("%s asks for no AAAA records; use %q", quote(value), cut(clean(fixed), 60))
			f.Fix = func(o *Object) { o.Set(path, fixed) }
		default:
			address := ipv4In(value)
			if address == "" {
				continue
			}
			f.Message = fmt.Sprintf("%s %s; %s", quote(address), announces, nameOrIPv6)
		}
		out = append(out, f)
	}
	return out
}

// erlangCluster: the nodes of a RabbitMQ cluster talk over IPv4 unless Erlang is told otherwise.
func erlangCluster(o *Object, pod Path) []Finding {
	replicas, _ := o.Get("spec", "replicas")
	if n, _ := integer(replicas); n < 2 || o.Kind() != "StatefulSet" {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		if c.list != "containers" || imageName(c) != "rabbitmq" || c.obj["envFrom"] != nil || mentions(c.obj, "inet6_tcp") {
			continue
		}
		out = append(out, Finding{Path: c.path.With("image"), Subject: c.name, Value: "inet_tcp",
			Message: `RabbitMQ nodes reach each other over IPv4 only; set RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-proto_dist inet6_tcp", CTL too`})
	}
	return out
}

// mentions reports whether a value holds a text anywhere.
func mentions(v any, text string) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, text)
	case []any:
		return slices.ContainsFunc(v, func(e any) bool { return mentions(e, text) })
	case map[string]any:
		for _, e := range v {
			if mentions(e, text) {
				return true
			}
		}
	}
	return false
}
