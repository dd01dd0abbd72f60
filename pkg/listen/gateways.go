package listen

import (
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Kong makes nginx listens of its lists, so 0.0.0.0:8000 is IPv4 and [::]:8000 IPv6 only.
//
// Source: kong.conf.default of Kong 3, proxy_listen; the listens are nginx's, which was run.

// kongListen reads one list, which stands at a place; replace makes an edit of text[from:to].
func kongListen(value string, place Listener, replace func(from, to int, s string) []Edit) []Listener {
	var out []Listener
	items := strings.Split(value, ",")
	if len(items) > maxBinds {
		return nil
	}
	start := 0
	for _, item := range items {
		words := strings.Fields(item)
		if len(words) == 0 || words[0] == "off" {
			start += len(item) + 1
			continue
		}
		host, port, ok := splitHostPort(words[0])
		family := split.family(host)
		if !ok || !isPort(port) || host == "" {
			family = Unknown
		}
		l := place
		l.Address, l.Port, l.Family, l.UDP = host, port, family, slices.Contains(words, "udp")
		if l.Family == IPv4 {
			l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
			if !isConcrete(host) {
				words[0] = "[::]:" + port
				form := strings.Join(words, " ")
				end := start + len(strings.TrimRight(item, " \t"))
				l.Advice = `add "` + cut(form, 60) + `"`
				l.Edits = replace(end, end, ", "+form)
			}
		}
		out = append(out, l)
		start += len(item) + 1
	}
	return serveBoth(out)
}

// isKongListen reports whether a name, in lower case, is one of Kong's lists of listens.
func isKongListen(name string) bool {
	switch name {
	case "proxy_listen", "admin_listen", "status_listen", "stream_listen", "cluster_listen", "cluster_telemetry_listen",
		"admin_gui_listen", "portal_gui_listen", "portal_api_listen", "debug_listen":
		return true
	}
	return false
}

func kongFile(f File) []Listener {
	all := settings(f.Text, "#", false)
	own := strings.Contains(strings.ToLower(f.Name), "kong")
	var out []Listener
	for _, s := range all {
		switch {
		case strings.HasPrefix(s.key.text, "nginx_") || s.key.text == "database" || s.key.text == "declarative_config" || s.key.text == "pg_host":
			own = true
		case isKongListen(s.key.text) && s.value.end-s.value.start == len(s.value.text):
			place := at(f, s.key.start, Listener{Text: s.source(f)})
			out = append(out, kongListen(s.value.text, place, func(from, to int, text string) []Edit {
				return []Edit{{f.Name, s.value.start + from, s.value.start + to, text}}
			})...)
		}
		if len(out) > maxBinds {
			return nil
		}
	}
	if !own {
		return nil
	}
	return out
}

func kongRun(c *Command) []Listener {
	doubt := "the program is not Kong"
	switch {
	case c.Program == "kong":
		// Migrations have the same variables, and listen to nobody.
		if len(c.Args) > 0 && !slices.Contains([]string{"start", "docker-start", "restart", "reload"}, c.Args[0].Text) {
			return nil
		}
		doubt = ""
	case c.Program == "" && strings.HasPrefix(c.Image, "kong") && (len(c.Args) == 0 || c.Args[0].Text == "docker-start"):
		doubt = ""
	case c.Program != "" && c.Program != "docker-entrypoint.sh":
		return nil
	}
	var out []Listener
	for i, v := range c.Env {
		name, ok := strings.CutPrefix(v.Name, "KONG_")
		if !ok || !v.Known || !isKongListen(strings.ToLower(name)) {
			continue
		}
		if last, _ := c.Var(v.Name); last != c.Env[i].Word {
			continue
		}
		place := v.Listener(v.Name+"="+v.Text, "", "", Unknown)
		for _, l := range kongListen(v.Text, place, v.Replace) {
			l.Doubt = doubt
			out = append(out, l)
		}
	}
	return out
}

func kongCases() []Case {
	const notRun = "Kong is not in Debian"
	return []Case{
		{Config: "KONG_PROXY_LISTEN='0.0.0.0:8000 reuseport backlog=16384, 0.0.0.0:8443 http2 ssl' kong docker-start", Port: "8000", Binds: IPv4, NotRun: notRun},
		{Config: "KONG_PROXY_LISTEN='0.0.0.0:8000, [::]:8000' kong docker-start", Port: "8000", Binds: Dual, NotRun: notRun},
		{Config: "KONG_ADMIN_LISTEN=127.0.0.1:8001 kong docker-start", Port: "8001", Binds: Loopback, NotRun: notRun},
		{Config: "KONG_ADMIN_LISTEN=off kong docker-start", Port: "8001", Binds: Unknown, NotRun: notRun},
		{Config: "KONG_PROXY_LISTEN=0.0.0.0:8000 kong migrations bootstrap", Port: "8000", Binds: Unknown, NotRun: notRun},
		{Config: "KONG_PROXY_LISTEN=10.1.2.3:8000 kong start", Port: "8000", Binds: IPv4, NoFix: true, NotRun: notRun},
		{File: "kong.conf", Config: "database = off\nproxy_listen = 0.0.0.0:8000 reuseport, 0.0.0.0:8443 ssl # all\n", Port: "8443", Binds: IPv4, NotRun: notRun},
		{File: "kong.conf", Config: "database = off\n#proxy_listen = 0.0.0.0:8000\nproxy_listen = [::]:8000\n", Port: "8000", Binds: IPv6, NotRun: notRun},
	}
}

// NGINX Unit binds each key of "listeners"; * is 0.0.0.0, and [::] has IPV6_V6ONLY.
//
// Source: unit.nginx.org/configuration/#listeners; nxt_sockaddr_inet_parse, nxt_main_listening_socket in the source.

func unitFile(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		keys := doc.get("listeners").keys()
		if len(keys) > maxBinds {
			return nil
		}
		six := map[string]bool{}
		for _, k := range keys {
			if host, port, ok := splitHostPort(k.key.str()); ok && split.family(host) == IPv6 {
				six[port] = true
			}
		}
		for _, k := range keys {
			host, port, ok := splitHostPort(k.key.str())
			if !ok || !isPort(port) || !k.value.get("pass").exists() {
				continue
			}
			l := k.key.listener(k.key.str(), host, port, split.family(host))
			if l.Family == IPv4 {
				switch {
				case six[port]:
					l.Fault, l.Reason = None, ""
				case isConcrete(host):
					l.Advice = "give an IPv6 address"
				default:
					l.Advice = `add a listener "[::]:` + port + `"`
					start, from := k.key.offset(), k.value.offset()
					if end := jsonEnd(f.Text, from); end > 0 && k.key.Style == yaml.DoubleQuotedStyle {
						l.Edits = []Edit{{f.Name, start, start, `"[::]:` + port + `": ` + f.Text[from:end] + ", "}}
					}
				}
			}
			out = append(out, l)
		}
	}
	return out
}

// maxJSON is the longest object that is copied into an edit.
const maxJSON = 4096

// jsonEnd is the offset after the JSON object at an offset; 0 if there is none.
func jsonEnd(text string, from int) int {
	depth, quoted := 0, false
	for i := from; i < len(text) && i < from+maxJSON; i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{':
			depth++
		case c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case depth == 0:
			return 0
		}
	}
	return 0
}

func unitCases() []Case {
	conf := func(listeners string, binds Family) Case {
		return Case{File: "config.json", Config: `{"listeners": {` + listeners + `}, "routes": [{"action": {"return": 200}}]}`, Port: "8080", Binds: binds, NotRun: "NGINX Unit is not in Debian"}
	}
	return []Case{
		conf(`"*:8080": {"pass": "routes"}`, IPv4),
		conf(`"0.0.0.0:8080": {"pass": "routes", "forwarded": {"source": ["10.0.0.0/8"]}}`, IPv4),
		conf(`"*:8080": {"pass": "routes"}, "[::]:8080": {"pass": "routes"}`, Dual),
		conf(`"[::]:8080": {"pass": "routes"}`, IPv6),
		conf(`"127.0.0.1:8080": {"pass": "routes"}`, Loopback),
	}
}

// APISIX makes nginx listens of its config.yaml: of a port both families, unless enable_ipv6 is false; of an ip only that.
//
// Source: apisix/cli/ops.lua and apisix/cli/ngx_tpl.lua of APISIX 3.

func apisixFile(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		apisix, admin := doc.get("apisix"), doc.get("deployment", "admin", "admin_listen")
		if !apisix.exists() || apisix.Kind != yaml.MappingNode {
			continue
		}
		if v6 := apisix.get("enable_ipv6"); v6.str() == "false" {
			l := v6.listener("enable_ipv6: false", "0.0.0.0", "", IPv4)
			l.Reason, l.Advice, l.Edits = "makes APISIX listen on IPv4 only", `use "enable_ipv6: true"`, []Edit{{f.Name, v6.offset(), v6.offset() + len("false"), "true"}}
			if v6.Style != 0 {
				l.Edits = nil
			}
			out = append(out, l)
		}
		nodes := append(apisix.get("node_listen").items(), apisix.get("ssl", "listen").items()...)
		if len(nodes) > maxBinds {
			return nil
		}
		for _, n := range append(nodes, admin, doc.get("plugin_attr", "prometheus", "export_addr")) {
			ip := n.get("ip")
			if !ip.exists() {
				continue
			}
			host := ip.str()
			l := ip.listener("ip: "+host, host, n.get("port").str(), split.family(host))
			if l.Family == IPv4 {
				l.Advice = `give an IPv6 address, such as "[::]"`
				if n.Node != admin.Node && slices.ContainsFunc(nodes, func(m yamlNode) bool { return m.Node == n.Node }) && !isConcrete(host) {
					l.Advice = `remove "ip: ` + host + `", the default has both`
				}
			}
			out = append(out, l)
		}
	}
	return serveBoth(out)
}

func apisixCases() []Case {
	conf := func(text string, port string, binds Family) Case {
		return Case{File: "config.yaml", Config: "apisix:\n" + text, Port: port, Binds: binds, NotRun: "APISIX is not in Debian"}
	}
	noFix := func(c Case) Case { c.NoFix = true; return c }
	return []Case{
		conf("  node_listen: 9080\n  enable_ipv6: false\n", "9080", IPv4),
		conf("  node_listen: 9080\n", "9080", Unknown),
		noFix(conf("  node_listen:\n  - ip: 0.0.0.0\n    port: 9080\n", "9080", IPv4)),
		conf("  node_listen:\n  - ip: \"[::]\"\n    port: 9080\n  - ip: 0.0.0.0\n    port: 9080\n", "9080", Dual),
		noFix(conf("  node_listen: 9080\ndeployment:\n  admin:\n    admin_listen:\n      ip: 0.0.0.0\n      port: 9180\n", "9180", IPv4)),
		conf("  node_listen: 9080\ndeployment:\n  admin:\n    admin_listen:\n      ip: 127.0.0.1\n      port: 9180\n", "9180", Loopback),
	}
}

// Caddy is a Go program: 0.0.0.0 and no host bind both families. Only "tcp4/" and an IPv4 address do not.
//
// Source: caddyserver.com/docs/caddyfile/directives/bind, conventions#network-addresses; Caddy 2.6.2 was run with each form.

func caddyFile(f File) []Listener {
	var out []Listener
	for _, d := range lineDirectives(f.Text, '#', false) {
		if d.name.text != "bind" && d.name.text != "default_bind" {
			continue
		}
		line := at(f, d.name.start, Listener{Text: d.source(f)})
		var some []Listener
		six := false
		for _, a := range d.args {
			if a.text == "{" || len(some) > maxBinds {
				break
			}
			l := caddyAddress(line, a.text)
			if l.Fixable() {
				l.Edits = []Edit{{f.Name, a.start, a.end, "0.0.0.0"}}
				l.Advice = `use "` + d.name.text + ` 0.0.0.0", which binds both`
			}
			six = six || l.Family == IPv6 || l.Family == Dual
			some = append(some, l)
		}
		for _, l := range some {
			if six {
				l.Fault, l.Reason, l.Advice, l.Edits = None, "", "", nil
			} else if l.Fault != None && isAside(f.Name) {
				l.Doubt = "Caddy does not load this file"
			}
			out = append(out, l)
		}
		if len(out) > maxBinds {
			return nil
		}
	}
	return out
}

// caddyAddress reads network/host:port. The edit is only a sign that there is a right answer.
func caddyAddress(l Listener, text string) Listener {
	network, address, ok := strings.Cut(text, "/")
	if !ok || strings.HasPrefix(text, "/") {
		network, address = "tcp", text
	}
	host, port, ok := splitHostPort(address)
	if strings.Count(address, ":") > 1 && address[0] != '[' {
		host, port, ok = address, "", true // a bare IPv6 address
	}
	l.Address, l.Port = host, port
	switch {
	case !ok:
	case strings.HasPrefix(network, "unix"):
		l.Family, l.Port = Unix, ""
	case network == "tcp", network == "tcp4", network == "tcp6":
		l.Family = golang.family(host)
		if network == "tcp4" && l.Family == Dual {
			l.Family = IPv4
		}
		if network == "tcp6" && l.Family == Dual {
			l.Family = IPv6
		}
	}
	if l.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
		if !isConcrete(host) {
			l.Edits = []Edit{{}}
		}
	}
	return l
}

func caddyJSON(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		for _, server := range doc.get("apps", "http", "servers").keys() {
			var some []Listener
			for _, a := range server.value.get("listen").items() {
				l := caddyAddress(a.listener(a.str(), "", "", Unknown), a.str())
				if l.Fixable() {
					l.Advice = `use ":` + cut(l.Port, 20) + `"`
					l.Edits = a.replace(":" + l.Port)
				}
				some = append(some, l)
			}
			out = append(out, serveBoth(some)...)
			if len(out) > maxBinds {
				return nil
			}
		}
	}
	return out
}

func caddyFiles(f File) []Listener {
	if strings.Contains(strings.ToLower(f.Name), "caddyfile") || strings.HasSuffix(f.Name, ".caddy") {
		return caddyFile(f)
	}
	if strings.HasSuffix(f.Name, ".json") {
		return caddyJSON(f)
	}
	return nil
}

func caddyCases() []Case {
	conf := func(text string, binds Family) Case {
		return Case{File: "Caddyfile", Config: "{\n  admin off\n  auto_https off\n}\nhttp://:8080 {\n  " + text + "\n  respond ok\n}\n", Port: "8080", Binds: binds}
	}
	concrete := conf("bind 10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "Caddy exits: the pod lacks the address"
	json := func(listen string, binds Family) Case {
		return Case{File: "caddy.json", Config: `{"admin": {"disabled": true}, "apps": {"http": {"servers": {"web": {"listen": ["` + listen + `"]}}}}}`, Port: "8080", Binds: binds}
	}
	return []Case{
		conf("bind tcp4/0.0.0.0", IPv4),
		conf("bind tcp4/0.0.0.0 tcp6/[::]", Dual),
		conf("bind 0.0.0.0", Dual),
		conf("bind [::]", Dual),
		conf("bind 127.0.0.1", Loopback),
		conf("# bind tcp4/0.0.0.0", Dual),
		concrete,
		json("tcp4/:8080", IPv4),
		json("0.0.0.0:8080", Dual),
	}
}

// Traefik is a Go program: only an entry point with an IPv4 address is IPv4 only.
//
// Source: pkg/server/server_entrypoint_tcp.go of Traefik, which calls net.Listen("tcp", address).

var traefikFlag = regexp.MustCompile(`(?i)^--?entrypoints\.[^.=]+\.address(=|$)`)

// traefikAddress sets what an entry point binds.
func traefikAddress(l Listener, address string) Listener {
	address, protocol, _ := strings.Cut(address, "/")
	host, port, ok := splitHostPort(address)
	l.Address, l.Port, l.UDP = host, port, protocol == "udp"
	if ok {
		l.Family = golang.family(host)
	}
	if l.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), `use ":`+cut(port, 20)+`", which binds both`
	}
	return l
}

func traefikFile(f File) []Listener {
	var out []Listener
	if strings.HasSuffix(f.Name, ".toml") {
		for _, s := range settings(f.Text, "#", false) {
			if strings.HasPrefix(s.section, "entrypoints.") && s.key.text == "address" {
				l := traefikAddress(at(f, s.key.start, Listener{Text: s.source(f)}), s.value.text)
				if l.Fault != None {
					l.Edits = []Edit{{f.Name, s.value.start, s.value.end, `":` + l.Port + `"`}}
				}
				if out = append(out, l); len(out) > maxBinds {
					return nil
				}
			}
		}
		return out
	}
	for _, doc := range readYAML(f) {
		for _, k := range doc.keys() {
			if !strings.EqualFold(k.key.str(), "entryPoints") {
				continue
			}
			for _, p := range k.value.keys() {
				address := p.value.get("address")
				if !address.exists() {
					continue
				}
				l := traefikAddress(address.listener("address: "+address.str(), "", "", Unknown), address.str())
				if l.Fault != None && !l.UDP {
					l.Edits = address.replace(":" + l.Port)
				}
				if out = append(out, l); len(out) > maxBinds {
					return nil
				}
			}
		}
	}
	return out
}

func traefikRun(c *Command) []Listener {
	var out []Listener
	add := func(name string, w *Word) {
		l := traefikAddress(w.Listener(name+"="+w.Text, "", "", Unknown), w.Text)
		if l.Fault != None {
			l.Edits = w.Replace(0, len(l.Address), "")
		}
		out = append(out, l)
	}
	for i, w := range c.Args {
		flag := traefikFlag.FindString(w.Text)
		switch {
		case flag == "":
		case strings.HasSuffix(flag, "="):
			add(strings.TrimSuffix(flag, "="), w.after(len(flag)))
		case i+1 < len(c.Args):
			add(flag, c.Args[i+1])
		}
	}
	for _, v := range c.Env {
		name := strings.ToUpper(v.Name)
		if v.Known && strings.HasPrefix(name, "TRAEFIK_ENTRYPOINTS_") && strings.HasSuffix(name, "_ADDRESS") {
			add(v.Name, v.Word)
		}
	}
	return out
}

func traefikCases() []Case {
	const notRun = "Traefik is not in Debian"
	return []Case{
		{Config: "traefik --entrypoints.web.address=10.1.2.3:80", Port: "80", Binds: IPv4, NotRun: notRun},
		{Config: "traefik --entryPoints.web.address=:80/tcp", Port: "80", Binds: Dual, NotRun: notRun},
		{Config: "traefik --entryPoints.web.address 0.0.0.0:80", Port: "80", Binds: Dual, NotRun: notRun},
		{Config: "TRAEFIK_ENTRYPOINTS_WEB_ADDRESS=10.1.2.3:80 traefik", Port: "80", Binds: IPv4, NotRun: notRun},
		{File: "traefik.yml", Config: "entryPoints:\n  web:\n    address: \"10.1.2.3:80\"\n", Port: "80", Binds: IPv4, NotRun: notRun},
		{File: "traefik.toml", Config: "[entryPoints.web]\naddress = \"10.1.2.3:80\"\n", Port: "80", Binds: IPv4, NotRun: notRun},
		{File: "traefik.toml", Config: "[entryPoints]\n[entryPoints.web]\naddress = \":80\"\n", Port: "80", Binds: Dual, NotRun: notRun},
	}
}

// ingress-nginx writes a listen for each family, unless its ConfigMap has disable-ipv6: "true". There each key is a setting.
//
// Source: docs/user-guide/nginx-configuration/configmap.md and internal/ingress/controller/nginx.go of kubernetes/ingress-nginx.

// ingressNginxKeys are other settings of that ConfigMap which no other program's has.
var ingressNginxKeys = []string{"allow-snippet-annotations", "annotations-risk-level", "annotation-value-word-blocklist", "disable-ipv6-dns", "use-forwarded-headers",
	"compute-full-forwarded-for", "enable-real-ip", "proxy-real-ip-cidr", "proxy-body-size", "ssl-protocols", "ssl-redirect", "force-ssl-redirect", "hsts", "server-tokens",
	"use-proxy-protocol", "enable-modsecurity", "worker-shutdown-timeout", "log-format-upstream", "hide-headers", "use-gzip", "enable-brotli", "http-snippet", "main-snippet",
	"server-snippet", "location-snippet", "custom-http-errors", "large-client-header-buffers", "upstream-keepalive-connections", "max-worker-connections", "bind-address"}

func ingressNginxFiles(files []File) []Listener {
	at := slices.IndexFunc(files, func(f File) bool { return f.Name == "disable-ipv6" })
	if at < 0 || strings.TrimSpace(files[at].Text) != "true" {
		return nil
	}
	f := files[at]
	start := strings.Index(f.Text, "true")
	line, column := position(f.Text, start)
	l := Listener{
		File: f.Name, Line: line, Column: column, Text: "disable-ipv6: true", Family: IPv4, Fault: IPv4Only,
		Reason: "makes nginx listen on IPv4 only", Advice: `use "false"`, Edits: []Edit{{f.Name, start, start + len("true"), "false"}},
	}
	if !slices.ContainsFunc(files, func(f File) bool { return slices.Contains(ingressNginxKeys, f.Name) }) {
		l.Doubt = "the ConfigMap is not ingress-nginx's"
	}
	return []Listener{l}
}

func ingressNginxCases() []Case {
	return []Case{
		{File: "disable-ipv6", Config: "true", Port: "80", Binds: IPv4, Doubt: true, NotRun: "a controller, which needs a cluster"},
		{File: "disable-ipv6", Config: "false", Port: "80", Binds: Unknown, NotRun: "a controller, which needs a cluster"},
	}
}

// f5NginxRun reads F5's NGINX Ingress Controller, which takes -disable-ipv6 as an argument.
//
// Source: docs.nginx.com/nginx-ingress-controller, command-line arguments; cmd/nginx-ingress/flags.go of nginx/kubernetes-ingress.
func f5NginxRun(c *Command) []Listener {
	for i := len(c.Args) - 1; i >= 0; i-- { // the last counts
		w := c.Args[i]
		flag := "-" + strings.TrimLeft(w.Text, "-")
		if flag == "-disable-ipv6=false" {
			return nil
		}
		if !strings.HasPrefix(w.Text, "-") || flag != "-disable-ipv6" && flag != "-disable-ipv6=true" {
			continue
		}
		l := w.Listener(w.Text, "", "", IPv4)
		l.Reason, l.Advice = "makes nginx listen on IPv4 only", `use "-disable-ipv6=false"`
		l.Edits = w.Replace(0, len(w.Text), "-disable-ipv6=false")
		return []Listener{l}
	}
	return nil
}

func f5NginxCases() []Case {
	const notRun = "a controller, which needs a cluster"
	return []Case{
		{Config: "nginx-ingress -disable-ipv6", Port: "80", Binds: IPv4, NotRun: notRun},
		{Config: "nginx-ingress --disable-ipv6=true", Port: "80", Binds: IPv4, NotRun: notRun},
		{Config: "nginx-ingress -disable-ipv6=false", Port: "80", Binds: Unknown, NotRun: notRun},
	}
}
