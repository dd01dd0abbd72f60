package listen

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// erlang is what addresses mean to RabbitMQ and EMQX; RabbitMQ's listeners take both families without one.
var erlang = stack{IPv4, Dual, Dual, Unknown}

// rabbitListener are the keys of rabbitmq.conf whose value is a port, or address:port with IPv6 addresses bare.
var (
	rabbitListener = regexp.MustCompile(`^((mqtt|stomp|stream)\.)?listeners\.(tcp|ssl)\.\w+$`)
	rabbitIP       = regexp.MustCompile(`^((management|prometheus|web_mqtt|web_stomp)\.(tcp|ssl)|management\.listener)\.ip$`)
)

// rabbitFile reads rabbitmq.conf.
//
// Source: rabbitmq.com/docs/networking; RabbitMQ 3.10.8 was run.
func rabbitFile(f File) []Listener {
	if ext := path.Ext(strings.ToLower(f.Name)); ext != ".conf" && !isAside(f.Name) {
		return nil
	}
	all := settings(f.Text, "#", false)
	var out []Listener
	for _, s := range all {
		var l Listener
		switch {
		case rabbitListener.MatchString(s.key.text):
			host, port, bare := "", s.value.text, true
			if i := strings.LastIndexByte(port, ':'); i >= 0 {
				host, port, bare = port[:i], port[i+1:], false
			}
			if bare && (port == "" || strings.Trim(port, "0123456789") != "") {
				continue // none
			}
			l = at(f, s.key.start, Listener{Text: s.source(f), Address: host, Port: port, Family: erlang.family(host)})
			if l.Family == IPv4 {
				l = together{IPv4, host, !isConcrete(host)}.in(l, `use "`+s.key.text+" = :::"+port+`"`, []Edit{{f.Name, s.value.start, s.value.end, ":::" + port}})
			}
		case rabbitIP.MatchString(s.key.text):
			port := ""
			for _, other := range all {
				if other.key.text == strings.TrimSuffix(s.key.text, "ip")+"port" {
					port = other.value.text
				}
			}
			l = at(f, s.key.start, Listener{Text: s.source(f), Port: port})
			l = stack{IPv4, Dual, Unknown, Unknown}.together([]string{s.value.text}).in(l, `use "`+s.key.text+` = ::"`, []Edit{{f.Name, s.value.start, s.value.end, "::"}})
		default:
			continue
		}
		out = append(out, aside(f, "RabbitMQ", l)...)
		if len(out) > maxAddresses {
			return nil
		}
	}
	return serveBoth(out)
}

func rabbitRun(c *Command) []Listener {
	const name = "RABBITMQ_NODE_IP_ADDRESS"
	w, _ := c.Var(name)
	if w == nil || w.Text == "" {
		return nil
	}
	port := options{portVar: "RABBITMQ_NODE_PORT", local: "5672"}.portOf(c)
	l := w.Listener(name+"="+w.Text, "", port, Unknown)
	return []Listener{stack{IPv4, Dual, Unknown, Unknown}.together([]string{w.Text}).in(l, `use "`+name+`=::"`, w.Replace(0, len(w.Text), "::"))}
}

func rabbitCases() []Case {
	return []Case{
		{File: "rabbitmq.conf", Config: "# listeners.tcp.1 = :::5672\nlisteners.tcp.1 = 0.0.0.0:5672\n", Port: "5672", Binds: IPv4},
		{File: "rabbitmq.conf", Config: "listeners.tcp.default = 5672\n", Port: "5672", Binds: Dual},
		{File: "rabbitmq.conf", Config: "management.tcp.ip = 0.0.0.0\nmanagement.tcp.port = 15672\n", Port: "15672", Binds: IPv4},
		{File: "rabbitmq.conf", Config: "listeners.tcp.local = 127.0.0.1:5672\n", Port: "5672", Binds: Loopback, NotRun: "one of few that are slow"},
		{File: "rabbitmq.conf", Config: "listeners.tcp = none\nlisteners.ssl.1 = 0.0.0.0:5671\n", Port: "5671", Binds: IPv4, NotRun: "needs certificates"},
		{File: "rabbitmq.conf", Config: "listeners.tcp.1 = 10.1.2.3:5672\n", Port: "5672", Binds: IPv4, NoFix: true, NotRun: noAddress},
		{Config: "RABBITMQ_MNESIA_BASE=$DIR/mnesia RABBITMQ_LOG_BASE=$DIR/log RABBITMQ_NODE_IP_ADDRESS=0.0.0.0 env rabbitmq-server", Port: "5672", Binds: IPv4},
	}
}

// Mosquitto takes both families for a listener without address or with *, by two sockets; :: has IPV6_V6ONLY. Without any
// listener it is on the loopback addresses.
//
// Source: mosquitto.org/man/mosquitto-conf-5.html; Mosquitto 2.0.11 was run with each form.
var mosquitto = stack{IPv4, IPv6, Dual, Dual}

func mosquittoFile(f File) []Listener {
	name := strings.ToLower(f.Name)
	if ext := path.Ext(name); ext != ".conf" && ext != "" && !isAside(f.Name) {
		return nil
	}
	known := strings.Contains(name, "mosquitto")
	var bind *lineDirective // with port, the listener of old
	port := ""
	var out []Listener
	websockets := map[int]bool{}
	for _, d := range lineDirectives(f.Text, '#', false) {
		last := len(out) - 1
		switch word := d.name.text; {
		case slices.Contains([]string{"allow_anonymous", "password_file", "acl_file", "persistence_location", "per_listener_settings", "max_inflight_messages"}, word):
			known = true
		case word == "listener" && len(d.args) > 0 && len(d.args) < 3:
			l := at(f, d.name.start, Listener{Text: d.source(f), Port: d.args[0].text, Family: Dual})
			if len(d.args) == 2 {
				if strings.HasPrefix(d.args[1].text, "/") {
					l.Port, l.Family = "", Unix
				} else {
					l = mosquitto.together([]string{d.args[1].text}).in(l, `use "listener `+l.Port+`"`, []Edit{{f.Name, d.args[0].end, d.args[1].end, ""}})
				}
			}
			out = append(out, l)
		case word == "listener":
			return nil
		case word == "port" && len(d.args) == 1:
			port = d.args[0].text
		case word == "bind_address" && len(d.args) == 1:
			bind = &d
		case word == "socket_domain" && len(d.args) == 1 && last >= 0 && d.args[0].text == "ipv4" && out[last].Family == Dual:
			at := at(f, d.name.start, Listener{Text: d.source(f), Port: out[last].Port})
			out[last] = together{IPv4, "", true}.in(at, `remove "socket_domain ipv4"`, []Edit{{f.Name, d.name.start, d.end, "# " + d.source(f)}})
			out[last].Reason = "binds IPv4 only"
		case word == "socket_domain" && len(d.args) == 1 && last >= 0 && out[last].Fault != None:
			out[last].Edits = nil
		case word == "protocol" && len(d.args) == 1 && d.args[0].text == "websockets" && last >= 0:
			websockets[last] = true
		}
		if len(out) > maxAddresses {
			return nil
		}
	}
	for i := range websockets {
		if out[i].Fault != None {
			out[i].Doubt = "libwebsockets does otherwise"
		}
	}
	if !known {
		return nil
	}
	if bind != nil {
		// Without either, Mosquitto listens on the loopback addresses.
		advice, instead := `remove "`+bind.source(f)+`"`, "# "+bind.source(f)
		if port == "" {
			port, advice, instead = "1883", `use "port 1883"`, "port 1883"
		}
		l := at(f, bind.name.start, Listener{Text: bind.source(f), Port: port})
		out = append(out, mosquitto.together([]string{bind.args[0].text}).in(l, advice, []Edit{{f.Name, bind.name.start, bind.end, instead}}))
	}
	if isAside(f.Name) {
		out = doubted(out, "Mosquitto does not load this file")
	}
	return serveBoth(out)
}

func mosquittoCases() []Case {
	file := func(text, port string, binds Family) Case {
		return Case{File: "mosquitto.conf", Config: "allow_anonymous true\n" + text + "\n", Port: port, Binds: binds}
	}
	web := file("listener 9001 0.0.0.0\nprotocol websockets", "9001", IPv4)
	web.Doubt, web.NotRun = true, "websockets of Debian's build do not start here"
	absent := file("listener 1883 10.1.2.3", "1883", IPv4)
	absent.NoFix, absent.NotRun = true, noAddress
	return []Case{
		file("listener 1883 0.0.0.0", "1883", IPv4),
		file("listener 1884  0.0.0.0 # all\n\nlistener 8883 ::", "1884", IPv4),
		file("port 1884\nbind_address 0.0.0.0", "1884", IPv4),
		file("bind_address 0.0.0.0", "1883", IPv4),
		file("listener 1883\nsocket_domain ipv4", "1883", IPv4),
		file("listener 1883", "1883", Dual),
		file("listener 1883 *", "1883", Dual),
		file("listener 1883 0.0.0.0\nlistener 1883 ::", "1883", Dual),
		file("listener 1883 ::", "1883", IPv6),
		file("listener 1883 localhost", "1883", Loopback),
		file("# listener 1883 0.0.0.0", "1883", Loopback),
		web, absent,
		{File: "other.conf", Config: "listener 1883 0.0.0.0\n", Port: "1883", NotRun: "not of Mosquitto"},
	}
}

// EMQX binds what each bind says; an address of IPv6 needs brackets.
//
// Source: docs.emqx.com, configuration/listener; Erlang was run, in RabbitMQ.

var emqxVariable = regexp.MustCompile(`^EMQX_(LISTENERS__(TCP|SSL|WS|WSS)__\w+?|DASHBOARD__LISTENERS__HTTPS?)__BIND$`)

func emqxBind(text string) (t together, port string) {
	host, port, ok := splitHostPort(text)
	if !ok || host == "" || !isPort(port) {
		return together{first: text}, ""
	}
	return stack{IPv4, Dual, Unknown, Unknown}.together([]string{host}), port
}

func emqxRun(c *Command) []Listener {
	var out []Listener
	for i, e := range c.Env {
		if i > maxAddresses || e.Word == nil || !emqxVariable.MatchString(e.Name) {
			continue
		}
		t, port := emqxBind(e.Text)
		l := t.in(e.Listener(e.Name+"="+e.Text, "", port, Unknown), `use "[::]:`+port+`"`, e.Replace(0, len(e.Text), "[::]:"+port))
		out = append(out, emqxDashboard(l, strings.HasPrefix(e.Name, "EMQX_DASHBOARD")))
	}
	return out
}

// emqxDashboard: the dashboard takes IPv6 only if its inet6 is true as well.
func emqxDashboard(l Listener, dashboard bool) Listener {
	if l.Fault != None && dashboard {
		l.Advice, l.Edits = l.Advice+", and inet6 = true", nil
	}
	return l
}

func emqxFile(f File) []Listener {
	name := strings.ToLower(f.Name)
	if !strings.Contains(name, "emqx") || path.Ext(name) != ".conf" && path.Ext(name) != ".hocon" {
		return nil
	}
	var out []Listener
	dashboard := false
	for _, s := range settings(f.Text, "#", false) {
		key := s.key.text
		if strings.HasPrefix(key, "//") {
			continue // a comment of HOCON
		}
		if s.key.start == 0 || f.Text[s.key.start-1] == '\n' { // no key of a block
			dashboard = strings.HasPrefix(key, "dashboard") || dashboard && strings.HasPrefix(key, "}")
		}
		if s.key.text != "bind" && !strings.HasSuffix(s.key.text, ".bind") && !strings.HasSuffix(s.key.text, " bind") {
			continue
		}
		t, port := emqxBind(s.value.text)
		l := at(f, s.key.start, Listener{Text: s.source(f), Port: port})
		l = t.in(l, `use "[::]:`+port+`"`, []Edit{{f.Name, s.value.start, s.value.end, `"[::]:` + port + `"`}})
		if l.Fault != None && dashboard {
			l = emqxDashboard(l, true)
		}
		out = append(out, l)
		if len(out) > maxAddresses {
			return nil
		}
	}
	return out
}

func emqxCases() []Case {
	out := []Case{
		{Config: "EMQX_LISTENERS__TCP__DEFAULT__BIND=0.0.0.0:1883 emqx foreground", Port: "1883", Binds: IPv4},
		{Config: "EMQX_LISTENERS__TCP__DEFAULT__BIND=[::]:1883 emqx foreground", Port: "1883", Binds: Dual},
		{Config: "EMQX_LISTENERS__SSL__DEFAULT__BIND=127.0.0.1:8883 emqx foreground", Port: "8883", Binds: Loopback},
		{Config: "EMQX_DASHBOARD__LISTENERS__HTTP__BIND=0.0.0.0:18083 emqx foreground", Port: "18083", Binds: IPv4, NoFix: true},
		{File: "emqx.conf", Config: "listeners.tcp.default {\n  bind = \"0.0.0.0:1883\"\n}\n", Port: "1883", Binds: IPv4},
		{File: "emqx.conf", Config: "listeners.tcp.default.bind = \"[::]:1883\"\n# bind = \"0.0.0.0:1883\"\n", Port: "1883", Binds: Dual},
		{File: "emqx.conf", Config: "listeners.tcp.default {\n  // bind = \"0.0.0.0:1883\"\n  bind = \"[::]:1883\"\n}\n", Port: "1883", Binds: Dual},
		{File: "emqx.conf", Config: "dashboard {\n  listeners.http {\n    bind = \"0.0.0.0:18083\"\n  }\n}\n", Port: "18083", Binds: IPv4, NoFix: true},
		{File: "emqx.conf", Config: "listeners.tcp.default { bind = 0.0.0.0:1883 }\n", Port: "1883"},
		{File: "emqx.conf", Config: "listeners.tcp.default { bind = 1883 }\n", Port: "1883"},
	}
	for i := range out {
		out[i].NotRun = notDebian
	}
	return out
}
