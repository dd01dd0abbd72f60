package listen

import (
	"slices"
	"strings"
)

// lighttpd binds "server.bind" and "server.port", by default 0.0.0.0:80, and each $SERVER["socket"]; all of IPv6 with
// IPV6_V6ONLY unless server.set-v6only is "disable".
//
// Source: redmine.lighttpd.net/projects/lighttpd/wiki/Docs_ConfigurationOptions; lighttpd 1.4.69 was run with each form.

func lighttpdFile(f File) []Listener {
	all := settings(f.Text, "#", false)
	own := strings.Contains(strings.ToLower(f.Name), "lighttpd")
	main, count := false, 0 // the file has the server's own settings
	var bind, port, first *setting
	use6, dual6, included := false, false, false
	six := map[string]bool{}
	var sockets []setting
	depth := 0 // in conditions
	for i, s := range all {
		key, value := s.key.text, s.value.text
		line := strings.TrimSpace(lineAt(f.Text, s.key.start))
		if strings.HasPrefix(line, "}") {
			depth--
		}
		inside := depth > 0
		if strings.HasSuffix(line, "{") {
			depth++
		}
		if inside {
			continue
		}
		switch {
		case strings.HasPrefix(key, "server."):
			count++
		case strings.HasPrefix(key, "include"):
			included = true
		}
		switch key {
		case "server.document-root", "server.modules", "server.port", "server.bind":
			main = true
			own = own || key == "server.document-root" || key == "server.modules" // Java's properties have the others
			if first == nil {
				first = &all[i]
			}
		}
		switch key {
		case "server.bind":
			bind = &all[i]
		case "server.port":
			port = &all[i]
		case "server.use-ipv6":
			use6 = value == "enable"
		case "server.set-v6only":
			dual6 = value == "disable"
		case `$server["socket"]`:
			sockets = append(sockets, s)
			if a, ok := lighttpdSocket(s); ok && strings.HasPrefix(a, "[") {
				if _, p, ok := splitHostPort(a); ok {
					six[p] = true
				}
			}
		}
	}
	if !main || !own || count < 2 && !strings.Contains(strings.ToLower(f.Name), "lighttpd") || len(sockets) > maxBinds {
		return nil
	}
	wild := stack{IPv4, IPv6, IPv4, Unknown}
	if dual6 {
		wild.colon = Dual
	}
	if use6 {
		wild.empty = wild.colon
	}
	var out []Listener
	add := func(s setting, host, number string) {
		l := at(f, s.key.start, Listener{Text: s.source(f), Address: host, Port: number, Family: wild.family(host)})
		switch {
		case strings.Contains(host, ":") && host[0] != '[':
			l.Family = Unknown // lighttpd exits
		case l.Family == IPv4 && six[number]:
			l.Family = Dual
		}
		if l.Family == IPv4 {
			l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
			if !isConcrete(host) {
				l.Advice = `add a $SERVER["socket"] for "[::]:` + cut(number, 20) + `"`
			}
			switch {
			case included:
				l.Doubt = "an include adds the IPv6 socket"
			case !isPort(number):
				l.Doubt = "the port is one that IPv6 has too"
			}
		}
		out = append(out, l)
	}
	host, number, mark := "", "80", first
	if port != nil {
		number, mark = port.value.text, port
	}
	if bind != nil {
		host, mark = bind.value.text, bind
	}
	if strings.HasPrefix(host, "/") {
		out = append(out, at(f, mark.key.start, Listener{Text: mark.source(f), Address: host, Family: Unix}))
	} else {
		add(*mark, host, number)
		if l := &out[0]; l.Fault != None && !isConcrete(host) && isPort(number) {
			block := `$SERVER["socket"] == "[::]:` + number + `" { }`
			l.Advice = "add " + block
			if i := strings.IndexByte(f.Text[mark.end:], '\n'); strings.Contains(lineAt(f.Text, mark.end), "(") || i < 0 {
				end := len(f.Text)
				l.Edits = []Edit{{f.Name, end, end, "\n" + block + "\n"}}
			} else {
				l.Edits = []Edit{addLine(f, mark.end+len(lineAt(f.Text, mark.end)), block)}
			}
			if mark == first && mark != port && mark != bind {
				end := len(f.Text) // the value of first may go on
				l.Edits = []Edit{{f.Name, end, end, "\n" + block + "\n"}}
			}
		}
	}
	for _, s := range sockets {
		if a, ok := lighttpdSocket(s); ok && !strings.HasPrefix(a, "/") {
			if h, p, ok := splitHostPort(a); ok && p != "" {
				add(s, h, p)
			}
		}
	}
	return out
}

// lighttpdSocket is the address of $SERVER["socket"] == "address" {.
func lighttpdSocket(s setting) (string, bool) {
	rest, ok := strings.CutPrefix(s.value.text, "=") // the second = of ==
	if !ok {
		return "", false
	}
	_, rest, ok = strings.Cut(rest, `"`)
	if !ok {
		return "", false
	}
	address, _, ok := strings.Cut(rest, `"`)
	return address, ok
}

func lighttpdCases() []Case {
	conf := func(text string, binds Family) Case {
		return Case{File: "lighttpd.conf", Config: "server.document-root = \"/tmp\"\n" + text + "\n", Port: "80", Binds: binds}
	}
	concrete := conf(`server.bind = "10.1.2.3"`, IPv4)
	concrete.NoFix, concrete.NotRun = true, "lighttpd exits: the pod lacks the address"
	socket := conf("server.port = 81\n$SERVER[\"socket\"] == \":80\" {\n}", IPv4)
	socket.NoFix = true
	included := conf("server.port = 80\ninclude_shell \"true\"", IPv4)
	included.Doubt = true
	return []Case{
		conf("# no port", IPv4),
		conf("server.port = 80 # all", IPv4),
		conf(`server.bind = "0.0.0.0"`, IPv4),
		conf(`server.bind = "[::]"`, IPv6),
		conf(`server.use-ipv6 = "enable"`, IPv6),
		conf("server.use-ipv6 = \"enable\"\nserver.set-v6only = \"disable\"", Dual),
		conf("server.port = 80\n$SERVER[\"socket\"] == \"[::]:80\" { }", Dual),
		conf(`server.bind = "127.0.0.1"`, Loopback),
		conf(`server.bind = "::"`, Unknown),
		conf("$SERVER[\"socket\"] == \"[::]:80\" { }\n#server.bind = \"0.0.0.0\"", Dual),
		socket, included, concrete,
	}
}

// Squid binds each http_port and https_port; a port alone takes both families.
//
// Source: www.squid-cache.org/Doc/config/http_port; Squid 5.7 was run with each form.

func squidFile(f File) []Listener {
	own := strings.Contains(strings.ToLower(f.Name), "squid")
	var out []Listener
	for _, d := range lineDirectives(f.Text, '#', true) {
		switch d.name.text {
		case "http_access", "acl", "cache_dir", "cache_peer", "cache_mem", "coredump_dir", "refresh_pattern", "visible_hostname", "cache_effective_user":
			own = true
		case "http_port", "https_port":
			if len(d.args) == 0 {
				continue
			}
			a := d.args[0]
			l := at(f, d.name.start, Listener{Text: d.source(f)})
			if isPort(a.text) {
				l.Port, l.Family = a.text, Dual
			} else if host, port, ok := splitHostPort(a.text); ok && isPort(port) && host != "" {
				l.Address, l.Port, l.Family = host, port, plain.family(host)
			}
			if l.Family == IPv4 {
				l.Fault, l.Reason, l.Advice = IPv4Only, binds0(l.Address), "give an IPv6 address"
				if !isConcrete(l.Address) {
					l.Advice = `use "` + d.name.text + " " + l.Port + `", which binds both`
					l.Edits = []Edit{{f.Name, a.start, a.end, l.Port}}
				}
				if isAside(f.Name) {
					l.Doubt = "Squid does not load this file"
				}
			}
			if out = append(out, l); len(out) > maxBinds {
				return nil
			}
		}
	}
	if !own {
		return nil
	}
	return serveBoth(out)
}

func squidCases() []Case {
	conf := func(text string, binds Family) Case {
		return Case{File: "squid.conf", Config: text + "\nacl all_of_them src all\nhttp_access allow all_of_them\n", Port: "3128", Binds: binds}
	}
	concrete := conf("http_port 10.1.2.3:3128", IPv4)
	concrete.NoFix, concrete.NotRun = true, "the pod lacks the address"
	return []Case{
		conf("http_port 3128", Dual),
		conf("http_port 0.0.0.0:3128", IPv4),
		conf("http_port 0.0.0.0:3128 name=all # all", IPv4),
		conf("http_port [::]:3128", Dual),
		conf("http_port 127.0.0.1:3128", Loopback),
		conf("# http_port 0.0.0.0:3128\nhttp_port 3128", Dual),
		concrete,
	}
}

// Varnish binds each -a, by default :80; without a host both families, each with a socket of its own.
//
// Source: varnish-cache.org/docs/trunk/reference/varnishd.html; Varnish 7.1.1 was run with each form.

func varnishRun(c *Command) []Listener {
	if c.Has("-C", "-V") {
		return nil // it only compiles
	}
	var out []Listener
	for _, f := range c.Flags("-a") {
		from := 0
		if i := strings.IndexAny(f.Text, "=:,/"); i > 0 && f.Text[i] == '=' {
			from = i + 1 // name=address
		}
		address, _, _ := strings.Cut(f.Text[from:], ",")
		if strings.HasPrefix(address, "/") {
			out = append(out, f.Listener(f.String(), address, "", Unix))
			continue
		}
		host, port, ok := splitHostPort(address)
		if !ok || host == "" && port == "" {
			continue
		}
		l := f.Listener(f.String(), host, port, stack{IPv4, IPv6, Dual, Unknown}.family(host))
		if l.Family == IPv4 {
			l.Advice = "give an IPv6 address"
			if !isConcrete(host) && port != "" {
				l.Advice = `use "-a :` + cut(port, 20) + `", which binds both`
				l.Edits = f.Replace(from, from+len(host), "")
			}
		}
		out = append(out, l)
	}
	return serveBoth(out)
}

func varnishCases() []Case {
	run := func(a string, binds Family) Case {
		return Case{Config: "varnishd -F -n $DIR -b 127.0.0.1:8080 " + a, Port: "6081", Binds: binds}
	}
	return []Case{
		run("-a 0.0.0.0:6081", IPv4),
		run("-a http=0.0.0.0:6081,HTTP", IPv4),
		run("-a :6081", Dual),
		run("-a :6081,PROXY", Dual),
		run("-a [::]:6081", IPv6),
		run("-a 127.0.0.1:6081", Loopback),
		run("-a 0.0.0.0:6081 -a [::]:6081", Dual),
	}
}

// stunnel binds the "accept" of each service; a port alone takes both families.
//
// Source: www.stunnel.org/static/stunnel.html; stunnel 5.68 was run with each form.

func stunnelFile(f File) []Listener {
	own := strings.Contains(strings.ToLower(f.Name), "stunnel")
	services := map[string]bool{} // with a connect, exec or protocol of stunnel
	var out []Listener
	var sections []string
	for _, s := range settings(f.Text, ";#", false) {
		if strings.HasPrefix(s.key.text, "<") {
			return nil // the manual
		}
		switch s.key.text {
		case "connect", "cert", "sslversion", "cafile", "execargs":
			services[s.section] = true
		case "accept":
			value := s.value.text
			host, port := "", value
			if i := strings.LastIndexByte(value, ':'); i >= 0 {
				host, port = value[:i], value[i+1:]
			}
			l := at(f, s.key.start, Listener{Text: s.source(f), Address: host, Port: port})
			switch {
			case strings.HasPrefix(value, "/"):
				l.Port, l.Family, l.Address = "", Unix, value
			case !isPort(port):
			default:
				l.Family = stack{IPv4, Dual, Dual, Unknown}.family(host)
			}
			if l.Family == IPv4 {
				l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
				if !isConcrete(host) {
					l.Advice = `use "accept = :::` + port + `"`
					l.Edits = []Edit{{f.Name, s.value.start, s.value.end, ":::" + port}}
				}
				if isAside(f.Name) {
					l.Doubt = "stunnel does not load this file"
				}
			}
			out, sections = append(out, l), append(sections, s.section)
			if len(out) > maxBinds {
				return nil
			}
		}
	}
	if !own && slices.ContainsFunc(sections, func(s string) bool { return s == "" || !services[s] }) {
		return nil
	}
	return serveBoth(out)
}

func stunnelCases() []Case {
	conf := func(accept string, binds Family) Case {
		return Case{File: "stunnel.conf", Config: "foreground = yes\npid =\n[app]\nclient = yes\naccept = " + accept + "\nconnect = 127.0.0.1:8080\n", Port: "8443", Binds: binds}
	}
	concrete := conf("10.1.2.3:8443", IPv4)
	concrete.NoFix, concrete.NotRun = true, "stunnel exits: the pod lacks the address"
	return []Case{
		conf("8443", Dual),
		conf("0.0.0.0:8443", IPv4),
		conf(":::8443", Dual),
		conf("127.0.0.1:8443", Loopback),
		conf("8443\n;accept = 0.0.0.0:8443", Dual),
		concrete,
	}
}
