package listen

import (
	"net/netip"
	"strings"
)

// Ceph's daemons pick their addresses from public_network, or from all interfaces; IPv6 ones only with ms_bind_ipv6, which is
// false by default. What is not written may come from the command line or the monitors, so only what is written counts.

func cephFile(f File) []Listener {
	daemons := false
	values := map[string]setting{}
	for _, s := range settings(f.Text, "#;", false) {
		section, _, _ := strings.Cut(s.section, ".")
		switch section {
		case "mon", "osd", "mds", "mgr":
			daemons = true
		case "global", "client":
		default:
			return nil
		}
		values[strings.NewReplacer(" ", "_", "-", "_").Replace(s.key.text)] = s
	}
	doubt := ""
	if !daemons {
		doubt = "only clients read it, or the daemons get --ms-bind-ipv6=true"
	}
	six, has6 := values["ms_bind_ipv6"]
	four, has4 := values["ms_bind_ipv4"]
	network, hasNetwork := values["public_network"]
	listener := func(s setting, family Family) Listener {
		return at(f, s.key.start, Listener{Text: s.source(f), Family: family, Doubt: doubt})
	}
	var out []Listener
	switch {
	case has6 && isNo(six.value.text):
		out = append(out, listener(six, IPv4).orElse(cephAdvice))
	case has6 && isYes(six.value.text) && has4 && isNo(four.value.text):
		out = append(out, listener(six, IPv6))
	case has6 && isYes(six.value.text):
		out = append(out, listener(six, Dual))
	}
	if hasNetwork && ipv4Networks(network.value.text) {
		l := listener(network, IPv4).orElse("give an IPv6 network and set ms_bind_ipv6 = true")
		l.Reason = "binds addresses of an IPv4 network only"
		if l.Doubt == "" {
			l.Doubt = "the pods have the network of their nodes"
		}
		return append(out[:0], l)
	}
	for i := range out {
		if out[i].Fault == None {
			out[i].Doubt = ""
		}
	}
	return out
}

const cephAdvice = "set ms_bind_ipv6 = true and ms_bind_ipv4 = false"

// ipv4Networks reports whether a list has IPv4 networks and nothing else.
func ipv4Networks(s string) bool {
	list := strings.FieldsFunc(s, func(c rune) bool { return c == ',' || c == ' ' || c == '\t' })
	for _, n := range list {
		if p, err := netip.ParsePrefix(n); err != nil || !p.Addr().Is4() {
			return false
		}
	}
	return len(list) > 0
}

func cephRun(c *Command) []Listener {
	var out []Listener
	if c.Has("--mkfs") {
		return nil // it only makes the store
	}
	binds := c.Flags("--ms-bind-ipv6", "--ms_bind_ipv6")
	for _, f := range binds[max(len(binds)-1, 0):] { // the last counts
		if isNo(f.Text) {
			out = append(out, f.Listener(f.String(), "", "", IPv4).orElse("use --ms-bind-ipv6=true and --ms-bind-ipv4=false"))
		} else if isYes(f.Text) {
			out = append(out, f.Listener(f.String(), "", "", IPv6))
		}
	}
	for _, f := range c.Flags("--public-addr", "--public_addr") {
		host, port, ok := splitHostPort(f.Text)
		if ok && isConcrete(host) {
			out = append(out, f.Listener(f.String(), host, port, IPv4).orElse(giveIPv6))
		}
	}
	return out
}

func cephCases() []Case {
	c := func(file, text string, binds Family, doubt bool) Case {
		return Case{File: file, Config: "[global]\n# ms_bind_ipv6 = true\nfsid = 1\n" + text + "\n", Port: "6789", Binds: binds, Doubt: doubt, NoFix: true, NotRun: "needs a cluster"}
	}
	run := func(arguments string, binds Family) Case {
		return Case{Config: "ceph-osd --foreground --id 0 " + arguments, Port: "6800", Binds: binds, NoFix: true, NotRun: "needs a cluster"}
	}
	return []Case{
		c("ceph.conf", "ms_bind_ipv6 = false", IPv4, true), c("ceph.conf", "ms bind ipv6 = false\n[osd]\nosd_memory_target = 1", IPv4, false), c("config", "public_network = 10.1.0.0/16, 10.2.0.0/16", IPv4, true),
		c("ceph.conf", "ms_bind_ipv6 = true\npublic_network = 10.1.0.0/16\n[mon]\nx = 1", IPv4, true), c("ceph.conf", "ms_bind_ipv6 = true\nms_bind_ipv4 = false\npublic_network = fd00::/64", IPv6, false),
		c("ceph.conf", "ms_bind_ipv6 = true", Dual, false), c("ceph.conf", "ms_bind_ipv4 = true", Unknown, false), c("ceph.conf", "public_network = 10.1.0.0/16, fd00::/64", Unknown, false),
		c("ceph.conf", "mon_host = 10.1.2.3", Unknown, false), run("--ms-bind-ipv6=false", IPv4), run("--ms-bind-ipv4=false --ms-bind-ipv6=true", IPv6), run("--public-addr=10.1.2.3", IPv4),
		run("'--public-addr=$(ROOK_POD_IP)'", Unknown),
	}
}
