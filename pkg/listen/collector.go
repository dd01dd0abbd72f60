package listen

import "strings"

// Fluent Bit binds one address for each input and one for its HTTP server, 0.0.0.0 by default; :: is one socket for both. The
// HTTP server takes :: since 3.2 (pull request 9449).

// fluentBitInputs are the inputs that listen on TCP, with their ports.
var fluentBitInputs = map[string]string{
	"forward": "24224", "http": "9880", "tcp": "5170", "syslog": "5140", "opentelemetry": "4318", "elasticsearch": "9200", "splunk": "8088", "mqtt": "1883", "prometheus_remote_write": "8080",
}

// A fluentBitBlock is a [SERVICE] or [INPUT] section.
type fluentBitBlock map[string]fluentBitValue

type fluentBitValue struct {
	text    string
	source  string
	offset  int
	replace []Edit // by ::
}

func fluentBitFile(f File) []Listener {
	if strings.HasSuffix(f.Name, ".yaml") || strings.HasSuffix(f.Name, ".yml") {
		return fluentBitYAML(f)
	}
	var out []Listener
	section, known := "", strings.Contains(f.Name, "fluent")
	block := fluentBitBlock{}
	end := func() {
		out = append(out, fluentBitListener(f, false, section, block, func(name, line string) []Edit {
			v := block[name]
			return []Edit{addLine(f, v.offset+len(v.source), line)}
		})...)
		block = fluentBitBlock{}
	}
	for _, d := range lineDirectives(f.Text, '#', false) {
		if len(out) > maxServers {
			break
		}
		name := strings.ToLower(d.name.text)
		switch {
		case strings.HasPrefix(name, "["):
			end()
			section = name
			known = known || name == "[service]" || name == "[output]" || name == "[filter]"
		case len(d.args) == 1:
			a := d.args[0]
			source := f.Text[d.name.start:d.end]
			block[name] = fluentBitValue{a.text, source, d.name.start, []Edit{{f.Name, a.start, a.end, "::"}}}
		}
	}
	end()
	if !known {
		return nil
	}
	return out
}

func fluentBitYAML(f File) []Listener {
	var out []Listener
	for _, doc := range readYAML(f) {
		if !doc.get("pipeline").exists() {
			continue
		}
		read := func(section string, n yamlNode) {
			block := fluentBitBlock{}
			for _, k := range n.keys() {
				block[strings.ToLower(k.key.Value)] = fluentBitValue{k.value.str(), k.key.Value + ": " + k.value.str(), k.key.offset(), k.value.replace("::")}
			}
			out = append(out, fluentBitListener(f, true, section, block, func(string, string) []Edit { return nil })...)
		}
		read("[service]", doc.get("service"))
		inputs := doc.get("pipeline", "inputs").items()
		for _, input := range inputs[:min(len(inputs), maxServers)] {
			read("[input]", input)
		}
	}
	return out
}

// fluentBitListener is what a section binds, if anything; add makes the edits that put a line after a key of it.
func fluentBitListener(f File, yaml bool, section string, block fluentBitBlock, add func(key, line string) []Edit) []Listener {
	key, line, after, port := "listen", "Listen ::", "name", ""
	switch section {
	case "[service]":
		if !isYes(block["http_server"].text) {
			return nil
		}
		key, line, after, port = "http_listen", "HTTP_Listen ::", "http_server", "2020"
		if p := block["http_port"].text; p != "" {
			port = p
		}
	case "[input]":
		name := strings.ToLower(block["name"].text)
		port = fluentBitInputs[name]
		if p := block["port"].text; p != "" && port != "" {
			port = p
		}
		if block["unix_path"].text != "" {
			return nil
		}
		if port == "" || name == "syslog" && !strings.EqualFold(block["mode"].text, "tcp") {
			return nil
		}
	default:
		return nil
	}
	v, ok := block[key]
	if yaml {
		line = key + `: "::"`
	}
	if !ok {
		v = block[after]
		return []Listener{at(f, v.offset, Listener{Text: oneLine(v.source), Port: port, Family: IPv4}).orElse(`add "`+line+`"`, add(after, line)...)}
	}
	return []Listener{at(f, v.offset, Listener{Text: oneLine(v.source), Address: v.text, Port: port, Family: plain.family(v.text)}).orElse(`use "`+line+`"`, v.replace...)}
}

func fluentBitCases() []Case {
	service := func(text string, binds Family) Case {
		return Case{File: "fluent-bit.conf", Config: "[SERVICE]\n    Flush 1\n    # HTTP_Listen ::\n    HTTP_Server  On\n" + text + "\n[INPUT]\n    Name tail\n    Path /var/log/*.log\n[OUTPUT]\n    Name http\n    Host 10.1.2.3\n",
			Port: "2020", Binds: binds, NotRun: "not in Debian"}
	}
	input := func(text, port string, binds Family) Case {
		return Case{File: "inputs.conf", Config: "[INPUT]\n" + text + "\n[OUTPUT]\n    Name stdout\n", Port: port, Binds: binds, NotRun: "not in Debian"}
	}
	yaml := Case{File: "fluent-bit.yaml", Config: "service:\n  http_server: \"on\"\n  http_listen: 0.0.0.0\npipeline:\n  inputs:\n    - name: dummy\n", Port: "2020", Binds: IPv4, NotRun: "not in Debian"}
	concrete := input("    Name forward\n    Listen 10.1.2.3", "24224", IPv4)
	concrete.NoFix = true
	return []Case{
		service("    HTTP_Listen  0.0.0.0\n    HTTP_Port 2020", IPv4), service("    HTTP_Port 2020", IPv4), service("    http_listen  ::", Dual), service("    HTTP_Listen [::]", Dual), service("    HTTP_Listen 127.0.0.1", Loopback),
		service("    HTTP_Listen ${POD_IP}", Unknown), input("    Name forward\n    Listen 0.0.0.0", "24224", IPv4), input("    Name http\n    Port 8888", "8888", IPv4), input("    Name tcp\n    Listen ::", "5170", Dual),
		input("    Name syslog\n    Mode tcp", "5140", IPv4), input("    Name syslog", "5140", Unknown), yaml, concrete,
	}
}

// Fluentd binds one address for each <source>, 0.0.0.0 by default, IPv6 ones with IPV6_V6ONLY.

// fluentdInputs are the inputs that listen on TCP, with their ports.
var fluentdInputs = map[string]string{"forward": "24224", "http": "9880", "tcp": "5170", "monitor_agent": "24220", "prometheus": "24231"}

func fluentdFile(f File) []Listener {
	var out []Listener
	var kind, bind, port *lineDirective
	depth, source := 0, 0
	directives := lineDirectives(f.Text, '#', false)
	for i, d := range directives {
		switch name := d.name.text; {
		case name == "<source>":
			if depth++; depth > 1 || len(out) > maxServers {
				return nil
			}
			source = i
			kind, bind, port = nil, nil, nil
		case name == "</source>":
			if depth--; depth != 0 || kind == nil {
				return nil
			}
			out = append(out, fluentdSource(f, directives[source], kind, bind, port)...)
		case strings.HasPrefix(name, "</"):
			depth--
		case strings.HasPrefix(name, "<"):
			depth++
		case depth == 1 && name == "@include":
			return nil // it may have the bind
		case depth != 1 || len(d.args) != 1 && name != "bind":
		case name == "@type" || name == "type":
			kind = &directives[i]
		case name == "bind":
			bind = &directives[i]
		case name == "port":
			port = &directives[i]
		}
	}
	if depth != 0 {
		return nil
	}
	return siblings(out)
}

func fluentdSource(f File, source lineDirective, kind, bind, port *lineDirective) []Listener {
	number, ok := fluentdInputs[kind.args[0].text]
	if !ok {
		return nil
	}
	if port != nil {
		number = port.args[0].text
	}
	const advice = `add a <source> with "bind ::"`
	if bind == nil {
		return []Listener{at(f, kind.name.start, Listener{Text: kind.source(f), Port: number, Family: IPv4}).orElse(advice)}
	}
	host := bind.source(f) // Ruby, if it is more than one word
	if len(bind.args) == 1 {
		host = bind.args[0].text
	}
	return []Listener{at(f, bind.name.start, Listener{Text: bind.source(f), Address: host, Port: number, Family: split.family(host)}).orElse(advice)}
}

func fluentdCases() []Case {
	source := func(text string) string { return "<source>\n  " + text + "\n  # bind ::\n</source>\n" }
	c := func(text string, binds Family) Case {
		return Case{File: "fluent.conf", Config: text + "<match **>\n  @type forward\n  <server>\n    host 10.1.2.3\n    port 24224\n  </server>\n</match>\n", Port: "24224", Binds: binds, NoFix: true, NotRun: "not in Debian"}
	}
	return []Case{
		c(source("@type forward"), IPv4), c(source("@type forward\n  port 24224\n  bind 0.0.0.0"), IPv4), c(source("@type forward\n  bind ::"), IPv6), c(source("@type forward")+source("@type forward\n  bind ::"), Dual),
		c(source("@type forward\n  bind 127.0.0.1"), Loopback), c(source("@type forward\n  bind \"#{ENV['POD_IP']}\""), Unknown), c(source("@type tail\n  path /var/log/a"), Unknown), c(source("@type forward\n  bind 10.1.2.3"), IPv4),
	}
}
