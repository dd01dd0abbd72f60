package listen

import (
	"encoding/xml"
	"io"
	"strings"
)

// Servers on the JVM bind 0.0.0.0 on IPv6 too, so only an address of IPv4 is a fault, and what is named IPv4.
//
// Source: Tomcat 10.1.60 and ZooKeeper 3.8.0 were run; the others' documentation.

const orAll = "give an IPv6 address, or 0.0.0.0, which the JVM binds on IPv6 too"

// jvmListener completes the listener of an address.
func jvmListener(l Listener) Listener {
	l.Text = oneLine(l.Text)
	l.Family = jvm.family(l.Address)
	if l.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(l.Address), orAll
	}
	return l
}

// tomcatFiles reads the Connectors of a server.xml.
func tomcatFiles(f File) []Listener {
	if len(f.Text) > maxYAML {
		return nil
	}
	decoder := xml.NewDecoder(strings.NewReader(f.Text))
	var out []Listener
	root := ""
	for len(out) < maxAddresses {
		start := int(decoder.InputOffset())
		token, err := decoder.Token()
		if err != nil {
			if root == "Server" && err == io.EOF {
				return out
			}
			return nil
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		if root == "" {
			root = e.Name.Local
		}
		if root != "Server" || e.Name.Local != "Connector" {
			continue
		}
		l := Listener{Port: "8080"}
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "address":
				l.Address = a.Value
			case "port":
				l.Port = a.Value
			}
		}
		l.Text = `<Connector port="` + l.Port + `" address="` + l.Address + `"`
		out = append(out, jvmListener(at(f, start, l)))
	}
	return nil
}

func tomcatCases() []Case {
	server := func(attributes string) string {
		return "<Server port=\"-1\">\n  <Service name=\"Catalina\">\n    <!-- <Connector port=\"8080\" address=\"10.1.2.3\"/> -->\n    <Connector port=\"8080\"" + attributes +
			"/>\n    <Engine name=\"Catalina\" defaultHost=\"localhost\"><Host name=\"localhost\"/></Engine>\n  </Service>\n</Server>\n"
	}
	return []Case{
		{File: "server.xml", Config: server(""), Port: "8080", Binds: Dual},
		{File: "server.xml", Config: server(` address="0.0.0.0"`), Port: "8080", Binds: Dual},
		{File: "server.xml", Config: server(` address="127.0.0.1"`), Port: "8080", Binds: Loopback},
		{File: "server.xml", Config: server(` address="10.1.2.3"`), Port: "8080", Binds: IPv4, NoFix: true, NotRun: noAddress},
	}
}

// zooKeeperFiles reads zoo.cfg.
func zooKeeperFiles(f File) []Listener {
	known := map[string]span{}
	for _, s := range settings(f.Text, "#!", false) {
		known[s.key.text] = s.value
	}
	if known["datadir"].text == "" || known["clientport"].text == "" && known["secureclientport"].text == "" {
		return nil
	}
	var out []Listener
	for _, kind := range []struct{ key, port string }{{"clientPort", "clientPortAddress"}, {"secureClientPort", "secureClientPortAddress"}, {"admin.serverPort", "admin.serverAddress"}} {
		port, address := known[strings.ToLower(kind.key)], known[strings.ToLower(kind.port)]
		place := address
		if address.text == "" {
			place = port
		}
		if place.text != "" {
			out = append(out, jvmListener(at(f, place.start, Listener{Text: kind.port + "=" + address.text, Address: address.text, Port: port.text})))
		}
	}
	return out
}

func zooKeeperCases() []Case {
	text := func(more string) string {
		return "dataDir=$DIR/data\nclientPort=2182\nadmin.enableServer=false\n" + more
	}
	return []Case{
		{File: "zoo.cfg", Config: text(""), Port: "2182", Binds: Dual},
		{File: "zoo.cfg", Config: text("clientPortAddress=0.0.0.0\n"), Port: "2182", Binds: Dual},
		{File: "zoo.cfg", Config: text("clientPortAddress=127.0.0.1\n"), Port: "2182", Binds: Loopback},
		{File: "zoo.cfg", Config: text("clientPortAddress=10.1.2.3\n"), Port: "2182", Binds: IPv4, NoFix: true, NotRun: noAddress},
	}
}

// kafkaFiles reads the listeners of server.properties.
func kafkaFiles(f File) []Listener {
	var listeners setting
	kafka := false
	for _, s := range settings(f.Text, "#!", false) {
		switch s.key.text {
		case "listeners":
			listeners = s
		case "log.dirs", "log.dir", "broker.id", "node.id", "process.roles", "zookeeper.connect", "advertised.listeners", "inter.broker.listener.name", "controller.quorum.voters":
			kafka = true
		}
	}
	if !kafka {
		return nil
	}
	var out []Listener
	for i, item := range strings.Split(listeners.value.text, ",") {
		if host, port, family := jvm.address(item); family != Unknown && i < maxAddresses {
			out = append(out, jvmListener(at(f, listeners.key.start, Listener{Text: "listeners=" + strings.TrimSpace(item), Address: host, Port: port})))
		}
	}
	return out
}

func kafkaCases() []Case {
	text := func(listeners string) string {
		return "broker.id=1\n#listeners=PLAINTEXT://10.1.2.3:9092\nlisteners=" + listeners + "\nadvertised.listeners=PLAINTEXT://10.1.2.3:9092\nlog.dirs=/data\n"
	}
	const why = "not in Debian"
	return []Case{
		{File: "server.properties", Config: text("PLAINTEXT://:9092"), Port: "9092", Binds: Dual, NotRun: why},
		{File: "server.properties", Config: text("PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093"), Port: "9092", Binds: Dual, NotRun: why},
		{File: "server.properties", Config: text("PLAINTEXT://:9092,SSL://10.1.2.3:9093"), Port: "9093", Binds: IPv4, NoFix: true, NotRun: why},
	}
}

// springFiles reads server.address and its kin of application.properties and application.yaml.
func springFiles(f File) []Listener {
	pairs := [...]struct{ address, port string }{
		{"server.address", "server.port"}, {"management.server.address", "management.server.port"}, {"quarkus.http.host", "quarkus.http.port"}}
	var out []Listener
	if strings.HasSuffix(f.Name, ".properties") {
		known := map[string]setting{}
		spring := false
		for _, s := range settings(f.Text, "#!", true) {
			known[s.key.text] = s
			spring = spring || strings.HasPrefix(s.key.text, "spring.") || strings.HasPrefix(s.key.text, "quarkus.") || s.key.text == "server.port"
		}
		for _, p := range pairs {
			if s := known[p.address]; spring && s.value.text != "" {
				out = append(out, jvmListener(at(f, s.key.start, Listener{Text: p.address + "=" + s.value.text, Address: s.value.text, Port: known[p.port].value.text})))
			}
		}
		return out
	}
	for _, doc := range readYAML(f) {
		spring := doc.get("spring").exists() || doc.get("quarkus").exists()
		for _, p := range pairs {
			if a := doc.path(p.address); a.str() != "" && len(out) < maxAddresses && (spring || doc.path(p.port).exists()) {
				out = append(out, jvmListener(at(f, a.offset(), Listener{Text: p.address + ": " + a.str(), Address: a.str(), Port: doc.path(p.port).str()})))
			}
		}
	}
	return out
}

// path is the value at a.b.c, written so or as nested mappings.
func (n yamlNode) path(dotted string) yamlNode {
	if flat := n.get(dotted); flat.exists() {
		return flat
	}
	return n.get(strings.Split(dotted, ".")...)
}

func springCases() []Case {
	const why = "not in Debian"
	return []Case{
		{File: "application.properties", Config: "server.port=8080\nserver.address=10.1.2.3\n", Port: "8080", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "application.properties", Config: "server.port=8080\n#server.address=10.1.2.3\nserver.address=0.0.0.0\n", Port: "8080", Binds: Dual, NotRun: why},
		{File: "application.properties", Config: "server.port=8080\nserver.address=${HOST:0.0.0.0}\n", Port: "8080", Binds: Unknown, NotRun: why},
		{File: "application.yaml", Config: "spring:\n  application: {name: shop}\nserver:\n  port: 8080\n  address: 10.1.2.3\n", Port: "8080", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "application-prod.yml", Config: "server.port: 8080\nserver.address: 127.0.0.1\n", Port: "8080", Binds: Loopback, NotRun: why},
		{File: "application.yml", Config: "server:\n  address: 10.1.2.3\n  timeout: 3\n", Port: "8080", Binds: Unknown, NotRun: "no server's configuration"},
	}
}

// elasticsearchFiles reads network.host and its kin. _eth0:ipv4_ and _site:ipv4_ are the IPv4 addresses of an interface or of all.
//
// Source: Elasticsearch, server/src/main/java/org/elasticsearch/common/network/NetworkService.java.
func elasticsearchFiles(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		for _, key := range []string{"network.host", "network.bind_host", "http.host", "http.bind_host", "transport.host", "transport.bind_host"} {
			items := doc.path(key).items()
			if len(items) > maxAddresses || len(out) > maxAddresses {
				return nil
			}
			var all []Listener
			served := false
			for _, item := range items {
				if item.str() == "" {
					continue
				}
				l := elasticsearchAddress(at(f, item.offset(), Listener{Text: key + ": " + item.str()}), item.str())
				if l.Fault != None && strings.HasSuffix(item.str(), ":ipv4_") && l.Advice != orAll {
					l.Edits = item.replace(strings.TrimSuffix(item.str(), ":ipv4_") + "_")
				}
				served = served || l.Fault == None && l.Family != Loopback
				all = append(all, l)
			}
			if !served {
				out = append(out, all...)
			}
		}
	}
	return out
}

func elasticsearchAddress(l Listener, host string) Listener {
	l.Address = host
	name, four := strings.CutSuffix(host, ":ipv4_")
	switch {
	case host == "_local_" || host == "_local:ipv4_" || host == "_local:ipv6_":
		l.Family = Loopback
	case strings.HasSuffix(host, ":ipv6_"):
		l.Family = IPv6
	case four && strings.HasPrefix(name, "_"):
		l.Family, l.Fault, l.Reason, l.Advice = IPv4, IPv4Only, "binds IPv4 addresses only", `use "`+oneLine(name)+`_"`
		if name == "_site" || name == "_global" {
			l.Advice = orAll // _site_ knows no unique local address, so there may be none
		}
	case strings.HasPrefix(host, "_"):
		l.Family = Unknown
	default:
		return jvmListener(l)
	}
	l.Text = oneLine(l.Text)
	return l
}

func elasticsearchRun(c *Command) []Listener {
	var out []Listener
	for _, name := range []string{"network.host", "http.host", "transport.host", "ES_SETTING_NETWORK_HOST", "ELASTICSEARCH_BIND_ADDRESS", "OPENSEARCH_BIND_ADDRESS"} {
		if w, _ := c.Var(name); w != nil {
			out = append(out, elasticsearchAddress(w.Listener(name+"="+w.Text, "", "", Unknown), w.Text))
		}
		for _, f := range c.Flags("-E"+name, "-E") {
			text, ok := f.Text, f.Name != "-E"
			if !ok {
				text, ok = strings.CutPrefix(f.Text, name+"=")
			}
			if ok {
				out = append(out, elasticsearchAddress(f.Listener("-E"+name+"="+text, "", "", Unknown), text))
			}
		}
	}
	return out
}

func elasticsearchCases() []Case {
	const why = "not in Debian"
	config := func(host string) string {
		return "cluster.name: logs\n# network.host: 10.1.2.3\nnetwork.host: " + host + "\nhttp.port: 9200\n"
	}
	return []Case{
		{File: "elasticsearch.yml", Config: config("0.0.0.0"), Port: "9200", Binds: Dual, NotRun: why},
		{File: "elasticsearch.yml", Config: config("_eth0:ipv4_"), Port: "9200", Binds: IPv4, NotRun: why},
		{File: "opensearch.yml", Config: config(`["_local_", "_eth0:ipv4_"]`), Port: "9200", Binds: IPv4, NotRun: why},
		{File: "elasticsearch.yml", Config: config("_site:ipv4_"), Port: "9200", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "elasticsearch.yml", Config: config("10.1.2.3"), Port: "9200", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "elasticsearch.yml", Config: config("_site_"), Port: "9200", Binds: Unknown, NotRun: why},
		{File: "elasticsearch.yml", Config: config("_local_"), Port: "9200", Binds: Loopback, NotRun: why},
		{File: "elasticsearch.yml", Config: "cluster:\n  name: logs\nnetwork:\n  host: '_eth0:ipv4_'\n", Port: "9200", Binds: IPv4, NotRun: why},
		{Config: "elasticsearch -Enetwork.host=10.1.2.3", Port: "9200", Binds: IPv4, NoFix: true, NotRun: why},
		{Config: "elasticsearch -E network.host=0.0.0.0", Port: "9200", Binds: Dual, NotRun: why},
	}
}

// cassandraFiles reads cassandra.yaml. Its image starts the JVM with preferIPv4Stack=true.
//
// Source: Cassandra, conf/jvm-server.options and conf/cassandra-env.sh.
func cassandraFiles(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		for _, key := range []string{"listen_address", "rpc_address"} {
			if a := doc.get(key); a.str() != "" && doc.get("cluster_name").exists() && len(out) < maxAddresses {
				port := map[string]string{"listen_address": "7000", "rpc_address": "9042"}[key]
				out = append(out, jvmListener(at(f, a.offset(), Listener{Text: key + ": " + a.str(), Address: a.str(), Port: port})))
			}
		}
	}
	return out
}

func cassandraRun(c *Command) []Listener {
	out := addressed{rule: "listen-java", vars: []string{"CASSANDRA_LISTEN_ADDRESS", "CASSANDRA_RPC_ADDRESS"}}.run(c)
	if w, set := c.Var("JVM_EXTRA_OPTS"); set && (w == nil || strings.Contains(w.Text, preferIPv4)) || c.Exec == nil {
		return out
	}
	l := javaFault(c.Exec.Listener("cassandra", "", "", IPv4), "its JVM options are replaced")
	l.Advice = `set JVM_EXTRA_OPTS to "` + preferIPv4 + `=false"`
	return append(out, l)
}

func cassandraCases() []Case {
	const why = "not in Debian"
	return []Case{
		{File: "cassandra.yaml", Config: "cluster_name: shop\nlisten_address: 10.1.2.3\nrpc_address: 0.0.0.0\n", Port: "7000", Binds: IPv4, NoFix: true, NotRun: why},
		{File: "cassandra.yaml", Config: "cluster_name: shop\nlisten_address: 10.1.2.3\nrpc_address: 0.0.0.0\n", Port: "9042", Binds: Dual, NotRun: why},
		{Config: "cassandra -f", Port: "9042", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "JVM_EXTRA_OPTS=" + preferIPv4 + "=false cassandra -f", Port: "9042", Binds: Dual, NotRun: why},
	}
}
