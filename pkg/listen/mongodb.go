package listen

import (
	"path"
	"strings"
)

// MongoDB opens IPv6 sockets only with net.ipv6, and then those of net.bindIp, or all with net.bindIpAll.
//
// Source: src/mongo/db/server_options_server_helpers.cpp; mongodb.com/docs/manual/reference/configuration-options, net.ipv6.

// mongoBind is what bindIp says with and without ipv6.
func mongoBind(hosts []string, six bool) together {
	s := database
	if !six {
		s = stack{IPv4, Unknown, Unknown, IPv4}
	}
	var bound []string
	for _, h := range hosts {
		if six || !strings.Contains(h, ":") {
			bound = append(bound, h)
		}
	}
	return s.together(bound)
}

func mongodbFile(f File) []Listener {
	if ext := path.Ext(strings.ToLower(f.Name)); ext != ".conf" && ext != ".yaml" && ext != ".yml" && ext != ".cfg" && !isAside(f.Name) {
		return nil
	}
	documents := readYAML(f)
	if len(documents) != 1 {
		return nil
	}
	net := documents[0].get("net")
	all, bind, ipv6 := net.get("bindIpAll"), net.get("bindIp"), net.get("ipv6")
	six := ipv6.str() == "true"
	port := net.get("port").str()
	if port == "" {
		port = "27017"
		if documents[0].get("sharding", "clusterRole").exists() {
			port = "" // 27018 or 27019
		}
	}
	switch {
	case all.str() == "true":
		l := all.listener("bindIpAll: true", "*", port, Dual)
		if !six {
			l = all.listener("bindIpAll: true", "*", port, IPv4)
			l.Reason, l.Advice, l.Doubt = "binds IPv4 only without net.ipv6", `add "ipv6: true" to net`, "--ipv6 is an argument of mongod"
			l.Edits = mongoIPv6(f, net, ipv6, all, "true")
		}
		return aside(f, "MongoDB", l)
	case bind.str() != "":
		l := bind.listener("bindIp: "+bind.str(), "", port, Unknown)
		advice, value := `add "ipv6: true" to net, and use "bindIp: ::,0.0.0.0"`, "::,0.0.0.0"
		if six {
			advice = `use "bindIp: ::,0.0.0.0"`
		}
		l = mongoBind(list(bind.str()), six).in(l, advice, mongoIPv6(f, net, ipv6, bind, value))
		if l.Fault != None && !six && strings.ContainsAny(bind.str(), "*:") {
			l.Reason, l.Doubt = "binds IPv4 only without net.ipv6", "--ipv6 is an argument of mongod"
		}
		return aside(f, "MongoDB", l)
	}
	return nil
}

// mongoIPv6 are the edits that give a key of the block net a value and add or set ipv6: none where the block is not one key in a
// line.
func mongoIPv6(f File, net, ipv6, value yamlNode, text string) []Edit {
	edits := value.replace(text)
	if len(edits) != 1 || net.Style != 0 {
		return nil
	}
	if text == "true" {
		edits[0].New = text
	}
	switch {
	case ipv6.str() == "true":
	case ipv6.exists():
		six := ipv6.replace("true")
		if len(six) != 1 {
			return nil
		}
		six[0].New = "true"
		edits = append(edits, six[0])
	default:
		edits = append(edits, addLine(f, edits[0].End, "ipv6: true"))
	}
	return edits
}

func mongodbRun(c *Command) []Listener {
	if c.otherProgram() {
		return nil
	}
	o := options{port: []string{"--port"}, local: "27017"}
	if c.Has("--shardsvr", "--configsvr") {
		o.local = "" // 27018 or 27019
	}
	port := o.portOf(c)
	six := c.Has("--ipv6")
	doubt := ""
	if len(c.Flags("--config", "-f")) > 0 {
		doubt = "the configuration file has net.ipv6"
	}
	for _, w := range c.Args {
		if w.Text != "--bind_ip_all" {
			continue
		}
		if six {
			return []Listener{w.Listener(w.Text, "*", port, Dual)}
		}
		l := w.Listener(w.Text, "*", port, IPv4)
		l.Reason, l.Advice, l.Doubt = "binds IPv4 only without --ipv6", `add "--ipv6"`, doubt
		return []Listener{l}
	}
	flags := c.Flags("--bind_ip")
	if len(flags) == 0 {
		return nil
	}
	f := flags[len(flags)-1]
	l := f.Listener(f.String(), "", port, Unknown)
	advice, edits := `use "--bind_ip_all" and "--ipv6"`, []Edit(nil)
	if six {
		advice, edits = `use "--bind_ip ::,0.0.0.0"`, f.Replace(0, len(f.Text), "::,0.0.0.0")
	}
	l = mongoBind(list(f.Text), six).in(l, advice, edits)
	if l.Fault != None && strings.ContainsAny(f.Text, "*:") {
		l.Doubt = doubt
	}
	return []Listener{l}
}

// bitnamiMongodbRun reads the variable of Bitnami's image, whose chart sets it to "no".
//
// Source: bitnami/containers, mongodb, libmongodb.sh; bitnami/charts, mongodb, enableIPv6.
func bitnamiMongodbRun(c *Command) []Listener {
	const name = "MONGODB_ENABLE_IPV6"
	w, _ := c.Var(name)
	if w == nil {
		return nil
	}
	family := Unknown
	switch strings.ToLower(w.Text) {
	case "yes", "true", "1":
		family = Dual
	case "no", "false", "0":
		family = IPv4
	}
	port := "27017"
	if p, set := c.Var("MONGODB_PORT_NUMBER"); set {
		port = ""
		if p != nil {
			port = p.Text
		}
	}
	l := w.Listener(name+"="+w.Text, "*", port, family)
	if l.Fault != None {
		l.Advice, l.Edits = `use "`+name+`=yes"`, w.Replace(0, len(w.Text), "yes")
		l.Doubt = "a mounted mongodb.conf or MONGODB_EXTRA_FLAGS decides" // the image then leaves the file as it is
	}
	return []Listener{l}
}

func mongodbCases() []Case {
	out := []Case{
		{File: "mongod.conf", Config: "net:\n  port: 27017\n  bindIp: 0.0.0.0 # all\n", Port: "27017", Binds: IPv4},
		{File: "mongod.conf", Config: "net:\n  bindIp: \"0.0.0.0\"\n  ipv6: false\n", Port: "27017", Binds: IPv4},
		{File: "mongod.conf", Config: "net:\n  ipv6: true\n  bindIp: 0.0.0.0\n", Port: "27017", Binds: IPv4},
		{File: "mongod.conf", Config: "net:\n  port: 27018\n  bindIpAll: true\n", Port: "27018", Binds: IPv4, Doubt: true},
		{File: "mongod.conf", Config: "net:\n  bindIp: '*'\n", Port: "27017", Binds: IPv4, Doubt: true},
		{File: "mongod.conf", Config: "net:\n  bindIp: \"::,0.0.0.0\"\n", Port: "27017", Binds: IPv4, Doubt: true},
		{File: "mongod.conf", Config: "net: {bindIp: 0.0.0.0}\n", Port: "27017", Binds: IPv4, NoFix: true},
		{File: "mongod.conf", Config: "net:\n  bindIp: 127.0.0.1,10.1.2.3\n", Port: "27017", Binds: IPv4, NoFix: true},
		{File: "mongod.conf", Config: "net:\n  bindIpAll: true\n  ipv6: true\n", Port: "27017", Binds: Dual},
		{File: "mongod.conf", Config: "net:\n  bindIp: \"::,0.0.0.0\"\n  ipv6: true\n", Port: "27017", Binds: Dual},
		{File: "mongod.conf", Config: "net:\n  bindIp: localhost\n", Port: "27017", Binds: Loopback},
		{File: "mongod.conf", Config: "net:\n  port: 27017\n", Port: "27017"}, // the image's entrypoint decides
		{Config: "mongod --bind_ip_all", Port: "27017", Binds: IPv4, NoFix: true},
		{Config: "mongod --bind_ip 0.0.0.0 --port 27018", Port: "27018", Binds: IPv4, NoFix: true},
		{Config: "mongod --ipv6 --bind_ip 0.0.0.0", Port: "27017", Binds: IPv4},
		{Config: "mongod --bind_ip_all --config /etc/mongod.conf", Port: "27017", Binds: IPv4, NoFix: true, Doubt: true},
		{Config: "mongod --bind_ip_all --ipv6", Port: "27017", Binds: Dual},
		{Config: "mongod --bind_ip ::,0.0.0.0 --ipv6", Port: "27017", Binds: Dual},
		{Config: "mongod --bind_ip localhost", Port: "27017", Binds: Loopback},
	}
	for i := range out {
		out[i].NotRun = notDebian
	}
	return out
}

func bitnamiMongodbCases() []Case {
	return []Case{
		{Config: "MONGODB_ENABLE_IPV6=no /run.sh", Port: "27017", Binds: IPv4, Doubt: true, NotRun: notDebian},
		{Config: "MONGODB_ENABLE_IPV6=yes /run.sh", Port: "27017", Binds: Dual, NotRun: notDebian},
	}
}
