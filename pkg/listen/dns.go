package listen

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// Unbound binds each "interface", IPv6 ones with IPV6_V6ONLY and only while do-ip6 is yes; 127.0.0.1 and ::1 by default.

func unboundFile(f File) []Listener {
	if strings.Contains(f.Text, "{{") {
		return nil
	}
	var interfaces []setting
	var do6, automatic *setting
	port, clause, known := "53", "", strings.Contains(f.Name, "unbound")
	list := settings(f.Text, "#", true)
	for i := range list {
		s := &list[i]
		switch key := s.key.text; {
		case s.value.text == "":
			clause = key
			known = known || key == "forward-zone" || key == "stub-zone" || key == "auth-zone"
		case clause != "server":
		case key == "interface" || key == "ip-address":
			interfaces = append(interfaces, *s)
		case key == "do-ip6":
			do6 = s
		case key == "interface-automatic" && isYes(s.value.text):
			automatic = s
		case key == "port":
			port = s.value.text
		case key == "access-control" || key == "do-ip4" || key == "root-hints":
			known = true
		}
	}
	if !known || len(interfaces) > maxServers {
		return nil
	}
	no6 := do6 != nil && isNo(do6.value.text)
	var enable []Edit
	if no6 {
		enable = []Edit{{f.Name, do6.value.start, do6.value.end, "yes"}}
	}
	if automatic != nil {
		l := at(f, automatic.key.start, Listener{Text: automatic.source(f), Port: port, Family: Dual})
		if no6 {
			l.Text, l.Family = do6.source(f), IPv4
			l.Line, l.Column = position(f.Text, do6.key.start)
		}
		return []Listener{l.orElse(`use "do-ip6: yes"`, enable...)}
	}
	six := map[string]bool{} // ports with an IPv6 interface, bound or not
	hostPort := func(s setting) (host, p string) {
		host, p, ok := strings.Cut(s.value.text, "@")
		if !ok {
			p = port
		}
		return host, p
	}
	for _, s := range interfaces {
		if host, p := hostPort(s); split6(host) {
			six[p] = true
		}
	}
	var out []Listener
	for _, s := range interfaces {
		host, p := hostPort(s)
		l := at(f, s.key.start, Listener{Text: s.source(f), Address: host, Port: p, Family: split.family(host)})
		if no6 && split6(host) {
			continue
		}
		add := s.key.text + ": ::0" + s.value.text[len(host):]
		advice, edits := `add "`+add+`"`, enable
		switch {
		case !six[p]:
			edits = append(slices.Clip(enable), addLine(f, s.end, add))
		case no6:
			advice = `use "do-ip6: yes"`
		}
		out = append(out, l.orElse(advice, edits...))
	}
	return siblings(out)
}

func split6(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Is6() && !addr.IsLoopback()
}

func unboundCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "unbound.conf", Config: "server:\n    # interface: ::0\n    access-control: 0.0.0.0/0 allow\n" + text + "\n", Port: "53", Binds: binds}
	}
	port := c("    interface: 0.0.0.0@5353\n    interface: ::0", IPv4)
	port.Port = "5353"
	concrete := c("    interface: 10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{
		c("    interface: 0.0.0.0", IPv4), c("    interface: \"0.0.0.0\"  # all", IPv4), c("    ip-address: 0.0.0.0", IPv4), c("    interface: 0.0.0.0\n    interface: ::0", Dual),
		c("    interface: ::0", IPv6), c("    interface: 0.0.0.0\n    interface: ::0\n    do-ip6: no", IPv4), c("    do-ip6: no\n    interface: 0.0.0.0", IPv4),
		c("    interface-automatic: yes", Dual), c("    interface-automatic: yes\n    do-ip6: no", IPv4), c("    interface: 127.0.0.1", Loopback), port, concrete,
	}
}

// BIND binds listen-on to addresses of the machine for IPv4, listen-on-v6 for IPv6, each "any" by default.

// A bindList is one listen-on or listen-on-v6.
type bindList struct {
	start, end  int // the statement, without the semicolon
	open, close int // offsets inside the braces
	six         bool
	port        string
	family      Family // IPv4, IPv6, Loopback; Unknown: nothing, or who knows
	nothing     bool
	special     bool // for DNS over TLS or HTTPS
}

func bindFile(f File) []Listener {
	if strings.Contains(f.Text, "{{") {
		return nil
	}
	port := "53"
	var lists []bindList
	tokens := bindTokens(f.Text)
	depth, inOptions := 0, false
	for i := 0; i < len(tokens); i++ {
		t := tokens[i].text
		switch {
		case t == "{":
			depth++
		case t == "}":
			depth--
			inOptions = inOptions && depth > 0
		case depth == 0 && t == "options":
			inOptions = true
		case !inOptions || depth != 1 || i == 0 || tokens[i-1].text != ";" && tokens[i-1].text != "{":
		case t == "port" && i+1 < len(tokens):
			port = tokens[i+1].text
		case t == "listen-on" || t == "listen-on-v6":
			var l bindList
			if l, i = readBindList(tokens, i); i == len(tokens) {
				return nil
			}
			lists = append(lists, l)
		}
	}
	if depth != 0 || len(lists) > maxServers {
		return nil
	}
	return judgeBind(f, lists, port)
}

func readBindList(tokens []span, i int) (bindList, int) {
	l := bindList{start: tokens[i].start, six: tokens[i].text == "listen-on-v6", nothing: true}
	for i++; i < len(tokens) && tokens[i].text != "{"; i++ {
		switch {
		case tokens[i-1].text == "port":
			l.port = tokens[i].text
		case tokens[i].text == "tls" || tokens[i].text == "http" || tokens[i].text == "proxy":
			l.special = true
		}
	}
	if i == len(tokens) {
		return l, i
	}
	l.open = tokens[i].end
	for i++; i < len(tokens) && tokens[i].text != "}"; i++ {
		t := tokens[i].text
		if t == ";" || t == "none" {
			continue
		}
		family := split.family(t)
		switch {
		case t == "any" || t == "localhost" || t == "0.0.0.0/0" || t == "::/0":
			// "localhost" is every address of the machine.
			family = IPv4
			if l.six {
				family = IPv6
			}
		case t == "{" || strings.HasPrefix(t, "!"):
			return l, len(tokens)
		}
		if l.nothing || l.family == Loopback {
			l.family = family
		}
		l.nothing = false
	}
	if i == len(tokens) {
		return l, i
	}
	l.close, l.end = tokens[i].start, tokens[i].end
	return l, i
}

func judgeBind(f File, lists []bindList, port string) []Listener {
	four, six := map[string]Family{}, map[string]Family{}
	any4, any6 := true, true
	for i := range lists {
		l := &lists[i]
		if l.port == "" {
			l.port = port
		}
		if l.six {
			any6 = false
		} else {
			any4 = false
		}
		switch {
		case l.nothing:
		case l.six:
			six[l.port] = max(six[l.port], l.family)
		default:
			four[l.port] = max(four[l.port], l.family)
		}
	}
	if any4 {
		four[port] = IPv4
	}
	if any6 {
		six[port] = IPv6
	}
	var out []Listener
	for _, l := range lists {
		four, ok4 := four[l.port]
		six, ok6 := six[l.port]
		judged := at(f, l.start, Listener{Text: oneLine(f.Text[l.start:l.end]), Port: l.port})
		switch {
		case !ok4 && !ok6:
			continue
		case ok4 && four == Unknown || ok6 && six == Unknown:
		case four == IPv4 && six == IPv6:
			judged.Family = Dual
		case !ok4 || four == Loopback && six == IPv6:
			judged.Family = six
		default:
			judged.Family = four
		}
		// Where there is a list for IPv6 it is the one to change.
		has6 := slices.ContainsFunc(lists, func(o bindList) bool { return o.six && o.port == l.port })
		switch {
		case judged.Family != IPv4 || !l.six && has6:
			if judged.Family == IPv4 {
				continue
			}
		case l.six:
			judged = judged.orElse(`use "listen-on-v6 { any; };"`, Edit{f.Name, l.open, l.close, " any; "})
		default:
			line := "listen-on-v6 port " + l.port + " { any; };"
			at := min(l.end+strings.IndexByte(f.Text[l.end:]+";", ';')+1, len(f.Text))
			edits := []Edit{addLine(f, at, line)}
			if any6 && l.port != port {
				// The first listen-on-v6 ends the default one.
				first := min(lists[0].end+strings.IndexByte(f.Text[lists[0].end:]+";", ';')+1, len(f.Text))
				edits = append(edits, addLine(f, first, "listen-on-v6 port "+port+" { any; };"))
			}
			judged = judged.orElse(`add "`+line+`"`, edits...)
			if l.special {
				judged.Edits = nil
			}
		}
		out = append(out, judged)
	}
	return out
}

// bindTokens are the words, braces and semicolons of a named.conf, without comments.
func bindTokens(text string) []span {
	var out []span
	skip := func(i int, end string) int {
		if n := strings.Index(text[i:], end); n >= 0 {
			return i + n + len(end)
		}
		return len(text)
	}
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == '#' || strings.HasPrefix(text[i:], "//"):
			i = skip(i, "\n")
		case strings.HasPrefix(text[i:], "/*"):
			i = skip(i+2, "*/")
		case c == '"':
			end := skip(i+1, `"`)
			out = append(out, span{strings.Trim(text[i:end], `"`), i, end})
			i = end
		case c == '{' || c == '}' || c == ';':
			out = append(out, span{text[i : i+1], i, i + 1})
			i++
		default:
			start := i
			for i < len(text) && strings.IndexByte(" \t\r\n{};\"#", text[i]) < 0 && !strings.HasPrefix(text[i:], "//") {
				i++
			}
			if strings.HasPrefix(text[i:], "//") && strings.HasSuffix(text[start:i], ":") {
				i += 2 // a URL
			}
			out = append(out, span{text[start:i], start, i})
		}
	}
	return out
}

func bindRun(c *Command) []Listener {
	if c.Has("-V", "-v") {
		return nil
	}
	for _, w := range c.Args {
		if w.Text == "-4" {
			l := w.Listener("-4", "", "", IPv4)
			l.Advice = `remove "-4"`
			return []Listener{l}
		}
	}
	return nil
}

func bindCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "named.conf", Config: "// listen-on-v6 { any; };\noptions {\n\tdirectory \"/var/cache/bind\"; /* listen-on-v6 { any; }; */\n\t" + text + "\n};\n", Port: "53", Binds: binds}
	}
	port := c("listen-on port 5353 { any; };", IPv4)
	port.Port = "5353"
	acl := c("listen-on { inside; }; listen-on-v6 { none; };", Unknown)
	acl.NotRun = "needs the list"
	return []Case{
		c("listen-on-v6 { none; };", IPv4), c("listen-on-v6 {};", IPv4), c("listen-on { any; }; listen-on-v6 port 53 { none; };", IPv4), c("listen-on { localhost; }; listen-on-v6 { ::1; };", IPv4),
		c("listen-on { any; };", Dual), c("listen-on-v6 { any; };", Dual), c("listen-on { none; };\n\tlisten-on-v6 { any; };", IPv6), c("listen-on { 127.0.0.1; }; listen-on-v6 { none; };", Loopback), port, acl,
		{Config: "named -g -4 -c $DIR/named.conf", Port: "53", Binds: IPv4, NoFix: true},
	}
}

// dnsmasq with bind-interfaces binds each listen-address, without it both wildcards, but answers only on the addresses it was
// given. A listen-address of 0.0.0.0 is then no address at all: it answers nobody. On :: it answers TCP only.

func dnsmasqFile(f File) []Listener {
	bind, port, doubt := false, "53", ""
	var addresses []setting
	for _, s := range settings(f.Text, "#", false) {
		switch s.key.text {
		case "listen-address":
			addresses = append(addresses, s)
		case "bind-interfaces":
			bind = true
		case "interface":
			doubt = "an address of the interface is IPv6" // both are bound
		case "port":
			port = s.value.text
		}
	}
	var out []Listener
	for _, s := range addresses[:min(len(addresses), maxServers)] {
		for _, host := range strings.SplitN(s.value.text, ",", 10) {
			l := at(f, s.key.start, Listener{Text: s.source(f), Address: host, Port: port, Family: dnsmasqFamily(host, bind)})
			start, end := s.key.start, s.end
			end += strings.IndexByte(f.Text[end:]+"\n", '\n') + 1
			out = append(out, l.orElse("remove it: dnsmasq listens on all addresses then", Edit{f.Name, start, min(end, len(f.Text)), ""}))
		}
	}
	out = siblings(out)
	for i := range out {
		if len(addresses) > 1 {
			out[i].Edits = nil // dnsmasq would answer on the others only
		}
		if out[i].Fault != None && doubt != "" {
			out[i].Doubt, out[i].Edits = doubt, nil
		}
	}
	return out
}

func dnsmasqFamily(host string, bind bool) Family {
	family := split.family(strings.TrimSpace(host))
	if addr, err := netip.ParseAddr(host); err == nil && addr.IsUnspecified() && !bind {
		return Dual
	}
	return family
}

func dnsmasqRun(c *Command) []Listener {
	if c.Has("--test") {
		return nil
	}
	bind, port := c.Has("--bind-interfaces", "-z"), options{port: []string{"--port", "-p"}, local: "53"}.portOf(c)
	var out []Listener
	for _, a := range c.Flags("--listen-address", "-a") {
		for _, host := range strings.SplitN(a.Text, ",", 10) {
			l := a.Listener(a.String(), host, port, dnsmasqFamily(host, bind))
			l = l.orElse("remove it: dnsmasq listens on all addresses then")
			if l.Fault != None && len(c.Flags("--interface", "-i")) > 0 {
				l.Doubt = "an address of the interface is IPv6"
			}
			out = append(out, l)
		}
	}
	return siblings(out)
}

func dnsmasqCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "dnsmasq.conf", Config: "no-resolv\n#listen-address=::\n" + text + "\n", Port: "53", Binds: binds}
	}
	run := "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --pid-file= --user=root "
	concrete := c("listen-address=10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "opens both wildcards and answers on the address only"
	return []Case{
		c("listen-address=0.0.0.0\nbind-interfaces", IPv4), c("listen-address=0.0.0.0", Dual), c("listen-address=0.0.0.0,::\nbind-interfaces", Dual),
		c("listen-address=::\nbind-interfaces", IPv6), c("listen-address=127.0.0.1\nbind-interfaces", Loopback), concrete,
		{Config: run + "--listen-address=0.0.0.0 --bind-interfaces", Port: "53", Binds: IPv4, NoFix: true},
		{Config: run + "--listen-address=0.0.0.0", Port: "53", Binds: Dual},
		{Config: run + "-a 0.0.0.0 -a :: -z", Port: "53", Binds: Dual},
	}
}

// CoreDNS binds each address of "bind" as Go does: 0.0.0.0 and :: are both.

func corednsFile(f File) []Listener {
	if strings.Contains(f.Text, "{{") || len(f.Text) > maxYAML {
		return nil
	}
	// The tokens only: the parser would read what a Corefile imports.
	d := caddyfile.NewDispenser(f.Name, strings.NewReader(f.Text))
	type directive struct {
		line  int
		hosts []string
		port  string
	}
	var binds []directive
	depth, line, port, known := 0, 0, "53", strings.Contains(strings.ToLower(f.Name), "corefile")
	for more := d.Next(); more; {
		first := d.Line() != line
		line = d.Line()
		switch t := d.Val(); {
		case t == "{":
			depth++
		case t == "}":
			depth--
			port = "53"
		case depth == 0:
			if _, p, ok := strings.Cut(strings.TrimPrefix(t, "dns://"), ":"); ok && !strings.Contains(p, "/") {
				port = p
			}
		case depth == 1 && first && t == "bind":
			b := directive{line, nil, port}
			for more = d.Next(); more && d.Line() == line && d.Val() != "{" && d.Val() != "}"; more = d.Next() {
				if len(b.hosts) < 10 {
					b.hosts = append(b.hosts, d.Val())
				}
			}
			binds = append(binds, b)
			continue
		case depth == 1 && first && (t == "forward" || t == "kubernetes" || t == "cache" || t == "errors"):
			known = true
		}
		more = d.Next()
	}
	if !known || len(binds) > maxServers {
		return nil
	}
	starts := lineStarts(f.Text)
	var out []Listener
	for _, b := range binds {
		if b.line > len(starts) || len(b.hosts) == 0 {
			continue
		}
		offset := starts[b.line-1]
		offset += max(strings.Index(lineAt(f.Text, offset), "bind"), 0)
		text := oneLine("bind " + strings.Join(b.hosts, " "))
		var some []Listener
		local := false
		for _, host := range b.hosts {
			local = local || strings.HasPrefix(host, "169.254.")
			some = append(some, at(f, offset, Listener{Text: text, Address: host, Port: b.port, Family: golang.family(host)}.orElse(giveIPv6)))
		}
		said := false
		for _, l := range siblings(some) {
			if l.Fault != None && local {
				l.Doubt = nodeLocal
			}
			if l.Fault == None || !said {
				out = append(out, l) // one fault for a directive
			}
			said = said || l.Fault != None
		}
	}
	return out
}

const nodeLocal = "the node-local cache makes the address for IPv4 clients"

// lineStarts are the offsets of the lines of a text.
func lineStarts(text string) []int {
	starts := []int{0}
	for i := range len(text) {
		if text[i] == '\n' {
			starts = append(starts, i+1)
		}
	}
	return starts
}

func corednsRun(c *Command) []Listener {
	var out []Listener
	for _, a := range c.Flags("-localip", "--localip") {
		for _, host := range strings.SplitN(a.Text, ",", 10) {
			l := a.Listener(a.String(), host, "53", golang.family(host)).orElse(giveIPv6)
			if l.Fault != None {
				l.Doubt = nodeLocal
			}
			out = append(out, l)
		}
	}
	return siblings(out)
}

func corednsCases() []Case {
	c := func(bind string, binds Family) Case {
		return Case{File: "Corefile", Config: ".:53 {\n    errors\n    # bind 10.1.2.3\n    " + bind + "\n    forward . /etc/resolv.conf\n}\n", Port: "53", Binds: binds, NoFix: binds == IPv4,
			NotRun: "not in Debian"}
	}
	local := c("bind 169.254.20.10 10.96.0.10", IPv4)
	local.Doubt = true
	arg := local
	arg.File, arg.Config = "", "node-cache -localip 169.254.20.10,10.96.0.10 -conf /etc/Corefile"
	return []Case{
		c("bind 0.0.0.0", Dual), c("bind ::", Dual), c("bind 127.0.0.1 ::1", Loopback), c("bind 10.1.2.3", IPv4), c("bind 10.1.2.3 fd00::1", Dual), c("bind {$ADDRESS}", Unknown),
		c("bind __PILLAR__LOCAL__DNS__", Unknown), c("bind eth0", Unknown), local, arg,
	}
}
