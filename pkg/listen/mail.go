package listen

import (
	"slices"
	"strings"
)

// Postfix binds each of inet_interfaces with the families of inet_protocols, IPv6 ones with IPV6_V6ONLY. It exits if an address
// of inet_interfaces is not one of the machine, so on 0.0.0.0 too. The ports are in master.cf.

func postfixFile(f File) []Listener {
	var protocols, interfaces *setting
	list := settings(f.Text, "#", false)
	for i := range list {
		s := &list[i]
		if strings.IndexByte(" \t", f.Text[strings.LastIndexByte(f.Text[:s.key.start], '\n')+1]) >= 0 {
			// White space at the start of a line continues the one before.
			if i > 0 && (protocols == &list[i-1] || interfaces == &list[i-1]) {
				return nil
			}
			continue
		}
		switch s.key.text {
		case "inet_protocols":
			protocols = s
		case "inet_interfaces":
			interfaces = s
		case "master_service_disable":
			if s.value.text != "" {
				return nil // perhaps all that listens
			}
		}
	}
	four, six := true, true
	if protocols != nil {
		words := postfixList(protocols.value.text)
		all := slices.Contains(words, "all")
		four, six = all || slices.Contains(words, "ipv4"), all || slices.Contains(words, "ipv6")
	}
	if !four && !six || protocols == nil && interfaces == nil {
		return nil
	}
	family := Dual
	if !six {
		family = IPv4
	} else if !four {
		family = IPv6
	}
	if interfaces == nil || interfaces.value.text == "all" {
		if protocols == nil {
			protocols = interfaces
		}
		return []Listener{postfixProtocols(f, protocols, family)}
	}
	bound := postfixInterfaces(postfixList(interfaces.value.text))
	if bound == Unknown && !six {
		l := postfixProtocols(f, protocols, IPv4)
		l.Doubt = "inet_interfaces has loopback addresses only"
		return []Listener{l}
	}
	l := at(f, interfaces.key.start, Listener{Text: interfaces.source(f), Address: interfaces.value.text, Family: bound})
	l = l.orElse(giveIPv6)
	if l.Fault != None {
		l.Reason = "binds IPv4 addresses only"
	}
	return []Listener{l}
}

func postfixProtocols(f File, s *setting, family Family) Listener {
	l := at(f, s.key.start, Listener{Text: s.source(f), Family: family})
	return l.orElse(`use "inet_protocols = all"`, Edit{f.Name, s.value.start, s.value.end, "all"})
}

func postfixList(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(", \t", c) })
}

func postfixInterfaces(hosts []string) Family {
	bound := Loopback
	for _, h := range hosts {
		switch f := split.family(h); {
		case h == "loopback-only", f == Loopback:
		case isConcrete(h) && bound != IPv6:
			bound = IPv4
		case f == IPv6 && strings.Trim(h, "[]") != "::":
			bound = IPv6
		default:
			return Unknown
		}
	}
	return bound
}

func postfixCases() []Case {
	c := func(text string, binds Family) Case {
		return Case{File: "main.cf", Config: "# inet_protocols = ipv4\n" + text + "\n", Port: "25", Binds: binds}
	}
	concrete := c("inet_interfaces = 10.1.2.3, 127.0.0.1", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	named := c("inet_interfaces = $myhostname, localhost\ninet_protocols = ipv4", IPv4)
	named.Doubt, named.NotRun = true, "needs a host name with addresses"
	return []Case{
		c("inet_protocols=ipv4\ninet_interfaces = all", IPv4), c("inet_protocols = ipv4, ipv6", Dual), c("inet_protocols = ipv6", IPv6), c("inet_protocols = ipv4\ninet_interfaces = loopback-only", Loopback),
		c("inet_interfaces = 127.0.0.1", Loopback), c("inet_interfaces = 0.0.0.0", Unknown), c("inet_protocols = ipv6\ninet_protocols = all", Dual), concrete, named,
	}
}

// Dovecot binds what "listen" says, or the "address" of an inet_listener, IPv6 with IPV6_V6ONLY; by default "*, ::".

func dovecotFile(f File) []Listener {
	if !strings.Contains(f.Name, "dovecot") && !strings.Contains(f.Text, "inet_listener") && !strings.Contains(f.Text, "passdb {") {
		return nil
	}
	var out []Listener
	var blocks []string
	port := "" // of the inet_listener
	var address *setting
	list := settings(f.Text, "#", false)
	for i := range list {
		if len(out) > maxServers {
			return nil
		}
		s := &list[i]
		key := s.key.text
		switch {
		case strings.HasSuffix(key, "{"):
			blocks = append(blocks, key)
			port, address = "", nil
		case key == "}":
			if len(blocks) == 0 {
				return nil
			}
			if address != nil && port != "0" {
				out = append(out, dovecotListen(f, address, port))
			}
			blocks, port, address = blocks[:len(blocks)-1], "", nil
		case strings.ContainsAny(key, "{}"):
			return nil
		case len(blocks) == 0 && key == "listen":
			out = append(out, dovecotListen(f, s, ""))
		case len(blocks) > 0 && strings.HasPrefix(blocks[len(blocks)-1], "inet_listener"):
			switch key {
			case "address", "listen":
				address = s
			case "port":
				port = s.value.text
			}
		}
	}
	// The last "listen" counts, and only for listeners without an address of their own.
	own := false
	for i := len(out) - 1; i >= 0; i-- {
		if strings.HasPrefix(out[i].Text, "listen") && out[i].Port == "" {
			if own {
				out = slices.Delete(out, i, i+1)
			}
			own = true
		}
	}
	return out
}

func dovecotListen(f File, s *setting, port string) Listener {
	// A quoted list and one without quotes are the same to it.
	hosts := postfixList(s.value.text)
	l := at(f, s.key.start, Listener{Text: s.source(f), Address: s.value.text, Port: port, Family: Loopback})
	if len(hosts) == 0 {
		l.Family = Dual
	}
	four, six := false, false
	for _, h := range hosts {
		switch split.family(h) {
		case IPv4:
			four = true
			l.Address = h
		case IPv6, Dual:
			six = true
		case Unknown:
			l.Family = Unknown
		}
	}
	switch {
	case l.Family == Unknown:
	case four && six:
		l.Family = Dual
	case four:
		l.Family = IPv4
	case six:
		l.Family = IPv6
	}
	name := s.key.text
	return l.orElse(`use "`+name+` = *, ::"`, Edit{f.Name, s.value.start, s.value.end, "*, ::"})
}

func dovecotCases() []Case {
	c := func(text, port string, binds Family) Case {
		return Case{File: "dovecot.conf", Config: "protocols = imap\n#listen = *\n" + text + "\n", Port: port, Binds: binds}
	}
	block := func(address string) string {
		return "service imap-login {\n  inet_listener imap {\n    port = 1143\n    address = " + address + "\n  }\n}"
	}
	concrete := c("listen = 10.1.2.3", "143", IPv4)
	concrete.NoFix, concrete.NotRun = true, "needs the address"
	return []Case{
		c("listen = *", "143", IPv4), c("listen = 0.0.0.0 # all", "143", IPv4), c("listen = *, ::", "143", Dual), c("listen = * ::", "143", Dual),
		c("listen = ::", "143", IPv6), c("listen = 127.0.0.1", "143", Loopback), c(block("*"), "1143", IPv4), c(block("*, ::"), "1143", Dual), concrete,
	}
}
