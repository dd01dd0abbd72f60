package listen

import (
	"slices"
	"strings"
)

// HAProxy binds each address of a "bind", IPv6 ones with IPv4 unless "v6only" is there. ":80" and "*:80" are IPv4.
//
// Source: docs.haproxy.org/2.6/configuration.html, "bind", "v4v6", "v6only" and 11.1 "Address formats"; HAProxy 2.6.12 was run with each form.

// haproxySections are the words that open a section; every line belongs to one.
var haproxySections = []string{"global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist", "mailers", "program",
	"ring", "log-forward", "cache", "http-errors", "fcgi-app", "crt-store", "traces", "acme", "log-profile"}

func haproxyFile(f File) []Listener {
	first := firstDirectives(f.Text, '#', false, 1)
	if len(first) == 0 || !slices.Contains(haproxySections, first[0].name.text) && first[0].name.text[0] != '.' {
		return nil
	}
	directives := lineDirectives(f.Text, '#', false)
	var out []Listener
	section, conditions, proxies := -1, 0, 0
	disabled := map[int]bool{} // sections
	type place struct {
		section int
		port    string
	}
	six, sixAnywhere := map[place]bool{}, map[string]bool{} // what a section, or any, has over IPv6
	var sections []int
	for i, d := range directives {
		name := d.name.text
		udp := false
		var address int // of d.args
		switch {
		case name == ".if":
			conditions++
			continue
		case name == ".endif":
			conditions--
			continue
		case slices.Contains(haproxySections, name):
			section = i
			if (name == "frontend" || name == "listen" || name == "defaults" || name == "log-forward") && !strings.HasSuffix(d.source(f), "{") {
				proxies++
			}
			continue
		case name == "disabled":
			disabled[section] = true
			continue
		case name == "enabled":
			delete(disabled, section)
			continue
		case name == "bind":
		case name == "dgram-bind":
			udp = true
		case name == "stats" && len(d.args) > 1 && d.args[0].text == "socket":
			address = 1
		default:
			continue
		}
		if len(d.args) <= address {
			continue
		}
		for _, l := range haproxyBind(f, d, address) {
			l.UDP = l.UDP || udp
			if l.Fault != None && conditions > 0 {
				l.Doubt = "the .if around it does not hold"
			}
			if l.Family == IPv6 || l.Family == Dual {
				six[place{section, l.Port}], sixAnywhere[l.Port] = true, true
			}
			out, sections = append(out, l), append(sections, section)
		}
		if len(out) > maxBinds {
			return nil
		}
	}
	if proxies == 0 {
		return nil
	}
	for i, l := range out {
		switch {
		case l.Fault == None:
		case disabled[sections[i]]:
			out[i].Doubt, out[i].Edits = "the section stays disabled", nil
		case six[place{sections[i], l.Port}]:
			out[i].Fault, out[i].Reason, out[i].Advice, out[i].Doubt, out[i].Edits = None, "", "", "", nil
		case sixAnywhere[l.Port]:
			out[i].Doubt, out[i].Edits = "another section has the port over IPv6", nil
			out[i].Advice = "let one section bind both"
		case l.Doubt == "" && haproxyAside(f.Name):
			out[i].Doubt = "HAProxy does not load this file"
		}
	}
	return out
}

// haproxyAside is isAside, but .cfg is the usual name here.
func haproxyAside(name string) bool {
	return isAside(name) && !strings.HasSuffix(strings.ToLower(name), ".cfg")
}

// haproxyBind reads one bind line; the addresses are in argument i, with commas between them.
func haproxyBind(f File, d lineDirective, i int) []Listener {
	list, params := d.args[i], d.args[i+1:]
	has := func(name string) bool {
		return slices.ContainsFunc(params, func(p span) bool { return p.text == name })
	}
	quoted := list.end-list.start != len(list.text)
	start := list.start
	if quoted {
		start++
	}
	var out []Listener
	items := strings.Split(list.text, ",")
	if len(items) > maxBinds {
		return nil
	}
	line := at(f, d.name.start, Listener{Text: d.source(f)})
	for _, item := range items {
		l := line
		host := haproxyAddress(item, &l)
		if has("v6only") && l.Family == Dual {
			l.Family = IPv6
		}
		if l.Family == IPv4 {
			l.Fault, l.Reason, l.Advice = IPv4Only, binds0(l.Address), "give an IPv6 address"
			if !isConcrete(l.Address) {
				l.Advice = `use "bind ::` + cut(":"+l.Port, 20) + ` v4v6"`
				switch {
				case l.UDP:
					l.Advice = `add "bind quic6@:` + cut(l.Port, 20) + `"`
				case !has("v6only"):
					l.Edits = []Edit{{f.Name, start, start + host, "::"}}
					if !has("v4v6") {
						l.Edits = append(l.Edits, Edit{f.Name, list.end, list.end, " v4v6"})
					}
				}
			}
		}
		out = append(out, l)
		start += len(item) + 1
	}
	return out
}

// haproxyAddress sets Address, Port and Family of l, and returns the length of the address with its prefix.
func haproxyAddress(item string, l *Listener) int {
	rest, wild := item, stack{IPv4, Dual, IPv4, IPv4}
	if prefix, after, ok := strings.Cut(item, "@"); ok {
		rest = after
		switch prefix {
		case "ipv4", "udp4":
		case "quic4":
			l.UDP = true
		case "ipv6", "udp6", "quic6":
			wild.empty, wild.star = Dual, Dual
			l.UDP = prefix != "ipv6"
		default: // fd, unix, abns, sockpair, …
			l.Family, l.Address = Unix, item
			return 0
		}
	}
	if strings.HasPrefix(rest, "/") {
		l.Family, l.Address = Unix, item
		return 0
	}
	i := strings.LastIndexByte(rest, ':')
	if i < 0 {
		l.Address = item
		return 0
	}
	l.Address, l.Port = rest[:i], strings.Trim(rest[i+1:], `"`)
	l.Family = wild.family(l.Address)
	return len(item) - len(rest) + i
}

func haproxyCases() []Case {
	conf := func(bind string, binds Family) Case {
		return Case{File: "haproxy.cfg", Config: "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend web\n  " + bind + "\n", Port: "80", Binds: binds}
	}
	notRun := func(c Case, why string) Case { c.NotRun = why; return c }
	noFix := func(c Case) Case { c.NoFix = true; return c }
	return []Case{
		conf("bind :80", IPv4),
		conf("bind *:80", IPv4),
		conf("bind 0.0.0.0:80", IPv4),
		conf("bind ipv4@:80", IPv4),
		conf("bind ipv4@*:80 name http # all", IPv4),
		conf("bind :80 v4v6", IPv4),
		conf(`bind "*:80"`, IPv4),
		conf(`bind *:"80"`, IPv4),
		conf("bind *:80,*:81", IPv4),
		noFix(conf("bind :80 v6only", IPv4)),
		conf("bind :::80", Dual),
		conf("bind [::]:80", Dual),
		conf("bind :::80 v4v6", Dual),
		conf("bind ipv6@:80", Dual),
		conf("bind ipv6@*:80 v4v6", Dual),
		conf("bind *:80,:::80", Dual),
		conf("bind *:80\n  bind :::80 v4v6", Dual),
		conf("bind *:80\n  bind :::80", Dual),
		conf("bind *:80\n  bind :::80 v6only", Dual),
		conf("bind :::80 v6only", IPv6),
		conf("bind :::80 v6only v4v6", IPv6),
		conf("bind 127.0.0.1:80", Loopback),
		conf("#bind *:80\n  bind :::80 v4v6", Dual),
		conf("bind 80", Unknown),
		notRun(conf(`bind "${HOST}:80"`, Unknown), "the variable is unknown"),
		notRun(noFix(conf("bind 10.1.2.3:80", IPv4)), "HAProxy exits: the pod lacks the address"),
		{File: "haproxy.cfg", Config: "global\n  stats socket ipv4@0.0.0.0:9999 level admin\ndefaults\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nlisten a\n  bind :::80 v4v6\n", Port: "9999", Binds: IPv4},
		{File: "haproxy.cfg", Config: "defaults\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n.if feature(OPENSSL)\nlisten a\n  bind *:80\n.endif\n", Port: "80", Binds: IPv4, Doubt: true},
	}
}
