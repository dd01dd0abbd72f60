package listen

import (
	"slices"
	"strings"
)

// slapd binds each URL of -h, IPv6 ones with IPV6_V6ONLY; no host and * are both families.

var ldap = stack{IPv4, IPv6, Dual, Dual}

func slapdRun(c *Command) []Listener {
	if slices.ContainsFunc(c.Args, func(w *Word) bool { return strings.HasPrefix(w.Text, "-T") }) {
		return nil // slaptest and the like
	}
	var out []Listener
	for _, f := range c.Flags("-h") {
		rest := f.Text
		for len(rest) > 0 && len(out) < maxServers {
			url, after, _ := strings.Cut(rest, " ")
			from := len(f.Text) - len(rest)
			rest = after
			scheme, host, ok := strings.Cut(url, "://")
			if !ok {
				continue
			}
			from += len(scheme) + 3
			host, _, _ = strings.Cut(host, "/")
			host, port, ok := splitHostPort(host)
			l := f.Listener(f.Name+" "+url, host, port, ldap.family(host))
			switch {
			case scheme == "ldapi":
				l.Family, l.Port = Unix, ""
			case !ok:
				l.Family = Unknown
			case port == "" && scheme == "ldaps":
				l.Port = "636"
			case port == "":
				l.Port = "389"
			}
			if l.Family != IPv4 {
				l.Fault, l.Reason = None, ""
			}
			out = append(out, l.orElse(`use "`+scheme+"://"+url[len(scheme)+3+len(host):]+`"`, f.Replace(from, from+len(host), "")...))
		}
	}
	out = siblings(out)
	for _, w := range c.Args {
		if w.Text == "-4" && !slices.ContainsFunc(out, func(l Listener) bool { return l.Family == Loopback }) {
			return []Listener{w.Listener("-4", "", "", IPv4).orElse(`remove "-4"`)}
		}
	}
	return out
}

func slapdCases() []Case {
	c := func(arguments string, binds Family) Case {
		return Case{Config: "slapd -d 0 -f $DIR/slapd.conf " + arguments, Port: "389", Binds: binds}
	}
	four := c("-4", IPv4)
	four.NoFix = true
	concrete := c("-h ldap://10.1.2.3:389", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{
		c("-h ldap://0.0.0.0:389", IPv4), c("-h 'ldap://0.0.0.0/ ldapi://%2Ftmp%2Fldapi'", IPv4), c("-h ldap:///", Dual), c("-h 'ldap://*:389'", Dual), c("-h ldap://:389", Dual),
		c("-h 'ldap://0.0.0.0:389/ ldap://[::]:389/'", Dual), c("-h 'ldap://[::]:389'", IPv6), c("-h ldap://127.0.0.1:389", Loopback), four, concrete,
	}
}

// sshd binds each ListenAddress, IPv6 ones with IPV6_V6ONLY, or all; of both families unless AddressFamily, whose first use
// counts, says otherwise. * is a name for loopback to it.

var ssh = stack{IPv4, IPv6, Unknown, Loopback}

func sshdFile(f File) []Listener {
	var ports []string
	var family *lineDirective
	var addresses []lineDirective
	directives := lineDirectives(strings.ReplaceAll(f.Text, "=", " "), '#', false)
	for i, d := range directives {
		if len(d.args) == 0 {
			continue
		}
		switch strings.ToLower(d.name.text) {
		case "port":
			ports = append(ports, d.args[0].text)
		case "addressfamily":
			if family == nil {
				family = &directives[i]
			}
		case "listenaddress":
			addresses = append(addresses, d)
		}
	}
	if len(addresses) > maxServers {
		return nil
	}
	port := "22"
	if len(ports) == 1 {
		port = ports[0]
	} else if len(ports) > 1 {
		port = ""
	}
	inet := family != nil && family.args[0].text == "inet"
	var out []Listener
	six := map[string]bool{}
	for _, d := range addresses {
		if host, _, _ := sshHost(d.args[0].text); split6(strings.Trim(host, "[]")) {
			six[d.args[0].text[len(host):]] = true
		}
	}
	for _, d := range addresses {
		host, p, ok := sshHost(d.args[0].text)
		if p == "" {
			p = port
		}
		l := at(f, d.name.start, Listener{Text: d.source(f), Address: host, Port: p, Family: ssh.family(host)})
		if !ok || inet && l.Family == IPv6 {
			continue
		}
		tail := d.args[0].text[len(host):]
		line := f.Text[d.name.start:d.name.end] + " ::"
		if tail != "" {
			line = f.Text[d.name.start:d.name.end] + " [::]" + tail
		}
		if inet && six[tail] {
			continue // AddressFamily is the fault
		}
		out = append(out, l.orElse(`add "`+line+`"`, addLine(f, d.end, line)))
	}
	out = siblings(out)
	if inet && !slices.ContainsFunc(out, func(l Listener) bool { return l.Family == Loopback }) {
		a := family.args[0]
		out = append(out, at(f, family.name.start, Listener{Text: family.source(f), Port: port, Family: IPv4}).
			orElse(`use "AddressFamily any"`, Edit{f.Name, a.start, a.end, "any"}))
	}
	return out
}

// sshHost splits an address of sshd_config; a bare IPv6 address has no port.
func sshHost(s string) (host, port string, ok bool) {
	if strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "[") {
		return s, "", true
	}
	return splitHostPort(s)
}

func sshdRun(c *Command) []Listener {
	if c.Has("-t", "-T", "-G") {
		return nil // it only tests or shows
	}
	var out []Listener
	for _, w := range c.Args {
		if w.Text == "-4" {
			out = append(out, w.Listener("-4", "", "", IPv4).orElse(`remove "-4"`))
		}
	}
	for _, f := range c.Flags("-o") {
		name, value, _ := strings.Cut(f.Text, "=")
		switch from := len(name) + 1; strings.ToLower(name) {
		case "addressfamily":
			if value == "inet" {
				out = append(out, f.Listener(f.String(), "", "", IPv4).orElse(`use "-o AddressFamily=any"`, f.Replace(from, len(f.Text), "any")...))
			}
		case "listenaddress":
			if host, port, ok := sshHost(value); ok {
				out = append(out, f.Listener(f.String(), host, port, ssh.family(host)).orElse(`add "-o ListenAddress=::"`))
			}
		}
	}
	return siblings(out)
}

func sshdCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "sshd_config", Config: "#ListenAddress ::\nUsePAM no\n" + text + "\n", Port: "22", Binds: binds}
	}
	run := func(arguments string, noFix bool) Case {
		return Case{Config: "/usr/sbin/sshd -D -e -f $DIR/sshd_config " + arguments, Port: "22", Binds: IPv4, NoFix: noFix}
	}
	concrete := c("ListenAddress 10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	port := c("ListenAddress 0.0.0.0:2222", IPv4)
	port.Port = "2222"
	return []Case{
		c("ListenAddress 0.0.0.0", IPv4), c("listenaddress \"0.0.0.0\"", IPv4), c("AddressFamily inet", IPv4), c("AddressFamily=inet\nListenAddress 0.0.0.0", IPv4), c("AddressFamily any\nListenAddress 0.0.0.0\nListenAddress ::", Dual),
		c("ListenAddress ::", IPv6), c("ListenAddress 127.0.0.1", Loopback), c("AddressFamily inet\nListenAddress 127.0.0.1", Loopback), c("ListenAddress *", Loopback), port, concrete,
		run("-4", true), run("-o AddressFamily=inet", false), run("-oListenAddress=0.0.0.0", true),
	}
}

// vsftpd with listen=YES binds IPv4, with listen_ipv6=YES one socket for both; with both it exits.

func vsftpdFile(f File) []Listener {
	var listen, listen6 *setting
	address, port := "", "21"
	list := settings(f.Text, "#", false)
	for i := range list {
		switch s := &list[i]; s.key.text {
		case "listen":
			listen = s
		case "listen_ipv6":
			listen6 = s
		case "listen_address":
			address = s.value.text
		case "listen_port":
			port = s.value.text
		}
	}
	six := listen6 != nil && isYes(listen6.value.text)
	switch {
	case listen != nil && isYes(listen.value.text) && !six:
		l := at(f, listen.key.start, Listener{Text: listen.source(f), Address: address, Port: port, Family: plain.family(address)})
		edits := []Edit{{f.Name, listen.value.start, listen.value.end, "NO"}}
		if listen6 != nil {
			edits = append(edits, Edit{f.Name, listen6.value.start, listen6.value.end, "YES"})
		} else {
			edits = append(edits, addLine(f, listen.end, "listen_ipv6=YES"))
		}
		return []Listener{l.orElse(`use "listen=NO" and "listen_ipv6=YES"`, edits...)}
	case six && (listen == nil || isNo(listen.value.text)):
		return []Listener{at(f, listen6.key.start, Listener{Text: listen6.source(f), Port: port, Family: Dual})}
	}
	return nil
}

func vsftpdCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "vsftpd.conf", Config: "#listen_ipv6=YES\nanonymous_enable=YES\n" + text + "\n", Port: "21", Binds: binds}
	}
	concrete := c("listen=YES\nlisten_address=10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{
		c("listen=YES", IPv4), c("listen=YES\nlisten_ipv6=NO", IPv4), c("listen=YES\nlisten_address=0.0.0.0", IPv4), c("listen=NO\nlisten_ipv6=YES", Dual), c("listen=YES\nlisten_ipv6=YES", Unknown),
		c("listen=YES\nlisten_address=127.0.0.1", Loopback), concrete,
	}
}

// coturn binds each listening-ip, :: as one socket for both; without any every address of the machine but loopback.

func coturnFile(f File) []Listener {
	port := "3478"
	var out []Listener
	list := settings(f.Text, "#", false)
	for _, s := range list {
		if s.key.text == "listening-port" {
			port = s.value.text
		}
	}
	for _, s := range list {
		if s.key.text == "listening-ip" && s.value.text != "" && len(out) < maxServers {
			l := at(f, s.key.start, Listener{Text: s.source(f), Address: s.value.text, Port: port, Family: plain.family(s.value.text)})
			out = append(out, l.orElse(`use "listening-ip=::"`, Edit{f.Name, s.value.start, s.value.end, "::"}))
		}
	}
	return siblings(out)
}

func coturnRun(c *Command) []Listener {
	port := options{port: []string{"--listening-port", "-p"}, local: "3478"}.portOf(c)
	var out []Listener
	for _, f := range c.Flags("--listening-ip", "-L") {
		l := f.Listener(f.String(), f.Text, port, plain.family(f.Text))
		if f.Text == "" {
			continue
		}
		out = append(out, l.orElse(`use "`+f.Name+` ::"`, f.Replace(0, len(f.Text), "::")...))
	}
	return siblings(out)
}

func coturnCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "turnserver.conf", Config: "# listening-ip=::\nno-auth\n" + text + "\n", Port: "3478", Binds: binds}
	}
	concrete := c("listening-ip=10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	run := "turnserver --no-tls --no-dtls --no-cli --log-file=stdout --pidfile=$DIR/pid --userdb=$DIR/db "
	return []Case{
		c("listening-ip=0.0.0.0", IPv4), c("listening-ip=::", Dual), c("listening-ip=0.0.0.0\nlistening-ip=::", Dual), c("listening-ip=127.0.0.1", Loopback), concrete,
		{Config: run + "--listening-ip=0.0.0.0", Port: "3478", Binds: IPv4}, {Config: run + "-L 0.0.0.0", Port: "3478", Binds: IPv4}, {Config: run + "-L ::", Port: "3478", Binds: Dual},
	}
}

// rsync as a daemon binds both families, or its one address, :: with IPV6_V6ONLY.

func rsyncFile(f File) []Listener {
	port := "873"
	var address *setting
	list := settings(f.Text, "#", false)
	for i := range list {
		switch s := &list[i]; {
		case s.section != "":
		case s.key.text == "port":
			port = s.value.text
		case s.key.text == "address":
			address = s
		}
	}
	if address == nil {
		return nil
	}
	l := at(f, address.key.start, Listener{Text: address.source(f), Address: address.value.text, Port: port, Family: split.family(address.value.text)})
	end := address.end + strings.IndexByte(f.Text[address.end:]+"\n", '\n') + 1
	return []Listener{l.orElse("remove it: rsync binds all addresses then", Edit{f.Name, address.key.start, min(end, len(f.Text)), ""})}
}

func rsyncRun(c *Command) []Listener {
	if !c.Has("--daemon") {
		return nil
	}
	port := options{port: []string{"--port"}, local: "873"}.portOf(c)
	var out []Listener
	for _, f := range c.Flags("--address") {
		if f.Text != "" {
			out = append(out, f.Listener(f.String(), f.Text, port, split.family(f.Text)).orElse("remove it: rsync binds all addresses then"))
		}
	}
	for _, w := range c.Args {
		if w.Text == "-4" || w.Text == "--ipv4" {
			out = append(out, w.Listener(w.Text, "", port, IPv4).orElse(`remove "`+w.Text+`"`))
		}
	}
	return out
}

func rsyncCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "rsyncd.conf", Config: "use chroot = no\n# address = ::\n" + text + "\n[data]\npath = /tmp\n", Port: "873", Binds: binds}
	}
	run := func(argument string, binds Family) Case {
		return Case{Config: "rsync --daemon --no-detach --config=$DIR/rsyncd.conf " + argument, Port: "873", Binds: binds, NoFix: binds == IPv4}
	}
	concrete := c("address = 10.1.2.3", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{
		c("address = 0.0.0.0", IPv4), c("address = ::", IPv6), c("address = 127.0.0.1", Loopback), concrete,
		run("--address=0.0.0.0", IPv4), run("-4", IPv4), run("--ipv4", IPv4), run("--address=::", IPv6),
	}
}

// glusterd binds IPv4 unless transport.address-family is inet6, which is one socket for both.

func glusterFile(f File) []Listener {
	port := "24007"
	var kind, family, address *lineDirective
	directives := lineDirectives(f.Text, '#', false)
	for i, d := range directives {
		switch {
		case d.name.text == "type" && len(d.args) == 1 && d.args[0].text == "mgmt/glusterd":
			kind = &directives[i]
		case d.name.text != "option" || len(d.args) != 2:
		case d.args[0].text == "transport.address-family":
			family = &directives[i]
		case d.args[0].text == "transport.socket.bind-address":
			address = &directives[i]
		case d.args[0].text == "transport.socket.listen-port":
			port = d.args[1].text
		}
	}
	if kind == nil {
		return nil
	}
	const line = "option transport.address-family inet6"
	l := at(f, kind.name.start, Listener{Text: kind.source(f), Port: port, Family: IPv4})
	edits := []Edit{addLine(f, kind.end, line)}
	advice := `add "` + line + `"`
	if family != nil {
		l = at(f, family.name.start, Listener{Text: family.source(f), Port: port, Family: IPv4})
		advice, edits = `use "`+line+`"`, []Edit{{f.Name, family.args[1].start, family.args[1].end, "inet6"}}
		switch family.args[1].text {
		case "inet":
		case "inet6":
			l.Family = Dual
		default:
			l.Family = Unknown
		}
	}
	if address != nil {
		host := address.args[1].text
		l = at(f, address.name.start, Listener{Text: address.source(f), Address: host, Port: port, Family: plain.family(host)})
		advice, edits = `remove it and add "`+line+`"`, nil
	}
	return []Listener{l.orElse(advice, edits...)}
}

func glusterCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "glusterd.vol", Config: "volume management\n    type mgmt/glusterd\n    option working-directory $DIR\n    option transport-type socket\n    option transport.socket.listen-port 24007\n#   option transport.address-family inet6\n" +
			text + "end-volume\n", Port: "24007", Binds: binds}
	}
	wildcard := c("    option transport.socket.bind-address 0.0.0.0\n", IPv4)
	wildcard.NoFix = true
	concrete := c("    option transport.socket.bind-address 10.1.2.3\n", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{c("", IPv4), c("    option transport.address-family inet\n", IPv4), c("    option transport.address-family inet6\n", Dual), wildcard, concrete}
}
