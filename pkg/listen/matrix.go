package listen

import (
	"encoding/xml"
	"strings"
)

// Synapse binds each of a listener's bind_addresses with Twisted, :: as one socket for both; by default both wildcards.

var twisted = stack{IPv4, Dual, Unknown, Unknown}

func synapseFile(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		var all []yamlNode
		switch {
		case doc.get("server_name").exists():
			all = doc.get("listeners").items()
		case doc.get("worker_app").exists():
			all = doc.get("worker_listeners").items()
		}
		for _, l := range all[:min(len(all), maxServers)] {
			port := l.get("port")
			if !port.exists() {
				continue
			}
			addresses := l.get("bind_addresses").items()
			if one := l.get("bind_address"); one.str() != "" {
				addresses = append(addresses, one)
			}
			if len(addresses) == 0 {
				out = append(out, port.listener("port: "+port.str(), "", port.str(), Dual))
			}
			var some []Listener
			for _, a := range addresses[:min(len(addresses), 10)] {
				bound := a.listener("bind_addresses: "+a.str(), a.str(), port.str(), twisted.family(a.str()))
				var edits []Edit
				if len(addresses) == 1 {
					edits = a.replace("::") // beside :: no other address can be bound
				}
				some = append(some, bound.orElse(`use "::"`, edits...))
			}
			out = append(out, siblings(some)...)
		}
	}
	return out
}

func synapseCases() []Case {
	c := func(addresses string, binds Family) Case {
		return Case{File: "homeserver.yaml", Config: "server_name: example.org\nip_range_blacklist: ['10.0.0.0/8', '0.0.0.0']\nlisteners:\n  - port: 8008\n    type: http\n    # bind_addresses: ['::']\n" + addresses +
			"    resources:\n      - names: [client, federation]\n", Port: "8008", Binds: binds, NotRun: "not in Debian 12"}
	}
	many := c("    bind_addresses: ['0.0.0.0', '127.0.0.1']\n", IPv4)
	many.NoFix = true
	concrete := c("    bind_addresses: ['10.1.2.3']\n", IPv4)
	concrete.NoFix = true
	worker := Case{File: "worker.yaml", Config: "worker_app: synapse.app.generic_worker\nworker_listeners:\n  - type: http\n    port: 8083\n    bind_address: 0.0.0.0\n", Port: "8083", Binds: IPv4, NotRun: "not in Debian 12"}
	return []Case{
		c("    bind_addresses: ['0.0.0.0']\n", IPv4), c("    bind_addresses:\n      - \"0.0.0.0\" # all\n", IPv4), c("    bind_address: 0.0.0.0\n", IPv4), c("    bind_addresses: ['::']\n", Dual), c("", Dual),
		c("    bind_addresses: ['::', '0.0.0.0']\n", Dual), c("    bind_addresses: ['127.0.0.1', '::1']\n", Loopback), many, concrete, worker,
	}
}

// Collabora Online's net.proto is all, IPv4 or IPv6; net.listen any or loopback.

func collaboraFile(f File) []Listener {
	if len(f.Text) > maxYAML {
		return nil
	}
	d := xml.NewDecoder(strings.NewReader(f.Text))
	var path []string
	var proto *span
	loopback := false
	for {
		start := int(d.InputOffset())
		token, err := d.Token()
		if err != nil {
			break
		}
		switch t := token.(type) {
		case xml.StartElement:
			if path = append(path, t.Name.Local); len(path) > 100 {
				return nil
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		case xml.CharData:
			text := strings.TrimSpace(string(t))
			if text == "" || len(path) != 3 || path[1] != "net" {
				continue
			}
			switch path[2] {
			case "proto":
				start += strings.Index(f.Text[start:], text)
				proto = &span{text, start, start + len(text)}
			case "listen":
				loopback = text == "loopback"
			}
		}
	}
	if proto == nil {
		return nil
	}
	l := at(f, proto.start, Listener{Text: "<proto>" + oneLine(proto.text) + "</proto>", Family: collaboraProto(proto.text)})
	if loopback && l.Family != Unknown {
		l.Family = Loopback
	}
	return []Listener{l.orElse(`use "all"`, Edit{f.Name, proto.start, proto.end, "all"})}
}

func collaboraProto(s string) Family {
	switch strings.ToLower(s) {
	case "ipv4":
		return IPv4
	case "ipv6":
		return IPv6
	case "all":
		return Dual
	}
	return Unknown
}

func collaboraRun(c *Command) []Listener {
	const option = "--o:net.proto="
	words := c.Args
	if v, _ := c.Var("extra_params"); v != nil {
		words = append([]*Word{v}, words...)
	}
	var out []Listener
	for _, w := range words {
		i := strings.LastIndex(w.Text, option)
		if i < 0 {
			continue
		}
		value, _, _ := strings.Cut(w.Text[i+len(option):], " ")
		from := i + len(option)
		out = append(out, w.Listener(option+value, "", "", collaboraProto(value)).orElse(`use "`+option+`all"`, w.Replace(from, from+len(value), "all")...))
	}
	return out
}

func collaboraCases() []Case {
	c := func(net string, binds Family) Case {
		return Case{File: "coolwsd.xml", Config: "<config>\n  <!-- <net><proto>IPv4</proto></net> -->\n  <net desc=\"Network settings\">\n    " + net +
			"\n    <post_allow><host>192\\.168\\.[0-9]{1,3}\\.[0-9]{1,3}</host></post_allow>\n  </net>\n</config>\n", Port: "9980", Binds: binds, NotRun: "not in Debian"}
	}
	run := func(line string, binds Family) Case {
		return Case{Config: line, Port: "9980", Binds: binds, NotRun: "not in Debian"}
	}
	return []Case{
		c(`<proto type="string" default="all" desc="Protocol">IPv4</proto>`, IPv4), c("<proto>all</proto>", Dual), c("<proto>IPv6</proto>", IPv6), c("<listen>loopback</listen><proto>IPv4</proto>", Loopback),
		c(`<proto type="string" default="all"></proto>`, Unknown), run("coolwsd --o:net.proto=IPv4", IPv4), run("coolwsd --o:ssl.enable=false --o:net.proto=all", Dual),
		run("env extra_params='--o:ssl.enable=false --o:net.proto=IPv4' /start-collabora-online.sh", IPv4),
	}
}
