package listen

import (
	"regexp"
	"slices"
	"strings"
)

// Node.js takes a host without brackets: "::" is both, none is both, 0.0.0.0 is IPv4. What servers hand to it differs only in names.

// A nodeServer is a server on Node.js that takes its host from options or variables.
type nodeServer struct {
	name    string
	names   []string // executables
	images  []string
	verbs   []string // one of these words must be there
	options          // for stack, both and the like see run
	doubt   string   // about a variable where the executable is another
	only    bool     // a variable means nothing to other executables
	source  string
}

// nodeServers are documented, but for "a Node.js program", which is run as the little program of e2e/listen.
func nodeServers() []nodeServer {
	return []nodeServer{
		{name: "Next.js", names: []string{"next"}, verbs: []string{"start", "dev"}, options: options{host: []string{"-H", "--hostname"}, port: []string{"-p", "--port"}, portVar: "PORT", local: "3000"}, source: "nextjs.org/docs/app/api-reference/cli/next"},
		{name: "Vite", names: []string{"vite"}, options: options{host: []string{"--host"}, port: []string{"--port"}, local: "5173"}, source: "vite.dev/config/server-options"},
		{name: "Nuxt", names: []string{"nuxt", "nuxi"}, options: options{host: []string{"--host", "-H"}, port: []string{"--port", "-p"}, local: "3000"}, source: "nuxt.com/docs/api/commands/dev"},
		{name: "Nitro", options: options{hostVar: "NITRO_HOST", portVar: "NITRO_PORT", local: "3000"}, source: "nitro.build/deploy/runtimes/node"},
		{name: "Angular CLI", names: []string{"ng"}, verbs: []string{"serve"}, options: options{host: []string{"--host"}, port: []string{"--port"}, local: "4200"}, source: "angular.dev/cli/serve"},
		{name: "webpack-dev-server", names: []string{"webpack-dev-server"}, options: options{host: []string{"--host"}, port: []string{"--port"}, local: "8080"}, source: "webpack.js.org/configuration/dev-server"},
		{name: "webpack serve", names: []string{"webpack", "webpack-cli"}, verbs: []string{"serve", "server", "s"}, options: options{host: []string{"--host"}, port: []string{"--port"}, local: "8080"}, source: "webpack.js.org/configuration/dev-server"},
		{name: "http-server", names: []string{"http-server"}, options: options{host: []string{"-a"}, port: []string{"-p", "--port"}, local: "8080"}, source: "github.com/http-party/http-server, README"},
		{name: "n8n", options: options{hostVar: "N8N_LISTEN_ADDRESS", portVar: "N8N_PORT", local: "5678"}, source: "docs.n8n.io/hosting/configuration/environment-variables/deployment"},
		{name: "Strapi", names: []string{"strapi"}, images: []string{"strapi"}, only: true, doubt: "config/server.js has another host", options: options{hostVar: "HOST", portVar: "PORT", local: "1337"}, source: "docs.strapi.io/cms/configurations/server"},
	}
}

func (s nodeServer) row() Program {
	o := s.options
	o.stack, o.both = node, "::"
	return Program{Name: s.name, Rule: "listen-node", Source: s.source, Names: s.names, Images: s.images, Any: s.hostVar != "" && !s.only,
		Run: func(c *Command) []Listener {
			if c.Has("build", "generate") || len(s.verbs) > 0 && !slices.ContainsFunc(s.verbs, func(v string) bool { return c.Has(v) }) {
				return nil
			}
			return doubted(o.run(c), s.doubt)
		},
		Cases: func() []Case {
			line, port := strings.Join(append(slices.Clone(s.names), s.verbs...), " "), "8000"
			if len(s.names) > 0 {
				line = strings.Join(append([]string{s.names[0]}, s.verbs[:min(1, len(s.verbs))]...), " ")
			}
			if s.hostVar != "" {
				image := ""
				if line == "" {
					line = "node server.js"
				} else {
					image = s.images[0]
				}
				line, port = s.hostVar+"=%s "+line, s.local
				out := optionCases(line, notDebian, map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4})
				for i := range out {
					out[i].Port, out[i].Image, out[i].Doubt = port, image, s.doubt != "" && out[i].Binds == IPv4
				}
				return out
			}
			return optionCases(line+" "+s.port[len(s.port)-1]+" 8000 "+s.host[0]+" %s", notDebian, map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4})
		},
	}
}

// nextRun: the server.js of Next.js' "standalone" output takes HOSTNAME, which a pod sets to its name.
//
// Source: next.js packages/next/src/build/utils.ts (server.js).
func nextRun(c *Command) []Listener {
	script := len(c.Args) > 0 && base(c.Args[0].Text) == "server.js"
	if !(c.Program == "" || (c.Program == "node" || c.Program == "bun") && script) {
		return nil
	}
	o := options{stack: node, both: "::", hostVar: "HOSTNAME", portVar: "PORT", local: "3000"}
	return doubted(wildcardsOf(o.run(c)), "the program is not Next.js")
}

// nodeRun: what many programs on Node.js call the host.
func nodeRun(c *Command) []Listener {
	if strings.HasPrefix(c.Image, "mastodon") {
		return nil // a row of its own
	}
	o := options{stack: node, both: "::", host: []string{"--host", "--hostname"}, port: []string{"--port", "-p"}, portVar: "PORT"}
	doubt := "the program gives it another meaning"
	if !o.given(c) {
		for _, name := range []string{"HOST", "BIND_ADDRESS", "LISTEN_ADDRESS", "BIND", "SERVER_HOST"} {
			if w, _ := c.Var(name); w != nil && w.Text == "0.0.0.0" {
				o.hostVar = name
			}
		}
		doubt = "the program does not read " + o.hostVar
	}
	return doubted(wildcardsOf(o.run(c)), doubt)
}

func nodeCases() []Case {
	out := optionCases("node server.js --port 8000 --host %s", "", map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "localhost": Loopback})
	out = append(out,
		Case{Config: "node client.js --host 10.1.2.3", Port: "8000", NotRun: "a client's target as likely"},
		Case{Config: "HOST=0.0.0.0 PORT=8000 node server.js", Port: "8000", Binds: IPv4},
		Case{Config: "HOST=:: PORT=8000 node server.js", Port: "8000", Binds: Dual},
		Case{Config: "PORT=8000 node server.js", Port: "8000", Binds: Dual},
		Case{Config: "PORT=8000 HOST=web.example.net node other.js", Port: "8000", NotRun: "a name of a client's target"})
	for i := range out {
		out[i].Doubt = out[i].Binds == IPv4
	}
	return out
}

func nextCases() []Case {
	return []Case{
		{Config: "HOSTNAME=0.0.0.0 node server.js", Port: "3000", Binds: IPv4, Doubt: true, NotRun: notDebian},
		{Config: "HOSTNAME=:: node server.js", Port: "3000", Binds: Dual, NotRun: notDebian},
		{Config: "HOSTNAME=web-0 node server.js", Port: "3000", NotRun: notDebian},
	}
}

// kibanaFile reads kibana.yml and opensearch_dashboards.yml: server.host, flat or nested.
//
// Source: www.elastic.co/docs, Kibana settings, server.host; hapi hands it to Node.js.
func kibanaFile(f File) []Listener {
	docs := readYAML(f)
	if len(docs) != 1 {
		return nil
	}
	return yamlHost(docs[0].either("server", "host"), "server.host", docs[0].either("server", "port").str(), "5601")
}

// either is the value below two keys, or below both in one with a dot.
func (n yamlNode) either(a, b string) yamlNode {
	if v := n.get(a + "." + b); v.exists() {
		return v
	}
	return n.get(a, b)
}

// yamlHost is the listener of a host in YAML, for Node.js and others with plain sockets.
func yamlHost(host yamlNode, key, port, local string) []Listener {
	if host.str() == "" {
		return nil
	}
	if port == "" {
		port = local
	}
	l := host.listener(key+": "+host.str(), host.str(), port, node.family(host.str()))
	if l.Fault != None {
		l.Advice = "give an IPv6 address"
		if !isConcrete(host.str()) {
			l.Advice, l.Edits = `use '`+key+`: "::"'`, host.replace("::")
		}
	}
	return []Listener{l}
}

// kibanaRun: the image reads SERVER_HOST; its kibana.yml has 0.0.0.0.
func kibanaRun(c *Command) []Listener {
	o := options{stack: node, both: "::", host: []string{"--server.host", "--host", "-H"}, port: []string{"--server.port", "--port", "-p"}, portVar: "SERVER_PORT", local: "5601"}
	if slices.Contains([]string{"kibana", "opensearch-dashboards"}, c.Image) {
		o.hostVar = "SERVER_HOST"
		if !o.given(c) && c.Program == "" {
			return c.byDefault(o.portOf(c), `set SERVER_HOST to "::"`, "a mounted kibana.yml has another server.host")
		}
	}
	return o.run(c)
}

func kibanaCases() []Case {
	return []Case{
		{File: "kibana.yml", Config: "# server.host: \"::\"\nserver.host: \"0.0.0.0\"\nelasticsearch.hosts: [\"http://es:9200\"]\n", Port: "5601", Binds: IPv4, NotRun: notDebian},
		{File: "kibana.yml", Config: "server:\n  host: 0.0.0.0\n  port: 8000\nelasticsearch.hosts: [\"http://es:9200\"]\n", Port: "8000", Binds: IPv4, NotRun: notDebian},
		{File: "kibana.yml", Config: "server.host: \"::\"\n", Port: "5601", Binds: Dual, NotRun: notDebian},
		{File: "opensearch_dashboards.yml", Config: "server.host: '0.0.0.0'\nopensearch.hosts: [https://os:9200]\n", Port: "5601", Binds: IPv4, NotRun: notDebian},
		{File: "kibana.yml", Config: "server.host: ${HOST}\n", Port: "5601", NotRun: notDebian},
		{Image: "docker.elastic.co/kibana/kibana:8.15.0", Port: "5601", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
		{Image: "docker.elastic.co/kibana/kibana:8.15.0", Config: "SERVER_HOST=0.0.0.0", Port: "5601", Binds: IPv4, NotRun: notDebian},
		{Image: "docker.elastic.co/kibana/kibana:8.15.0", Config: "SERVER_HOST=::", Port: "5601", Binds: Dual, NotRun: notDebian},
	}
}

// wikiFile reads config.yml of Wiki.js.
//
// Source: requarks/wiki server/core/servers.js, config.sample.yml.
func wikiFile(f File) []Listener {
	docs := readYAML(f)
	if len(docs) != 1 || !docs[0].get("db").exists() {
		return nil
	}
	port := docs[0].get("port").str()
	if strings.ContainsAny(port, "$({") {
		port = ""
	}
	return yamlHost(docs[0].get("bindIP"), "bindIP", port, "3000")
}

func wikiRun(c *Command) []Listener {
	if c.Program != "" || c.Exec == nil || !strings.Contains(c.Exec.Text, "requarks/wiki") {
		return nil
	}
	return c.byDefault("3000", `mount a config.yml with bindIP: "::"`, "it has one")
}

func wikiCases() []Case {
	return []Case{
		{File: "config.yml", Config: "port: 3000\ndb:\n  type: postgres\nbindIP: 0.0.0.0 # all\n", Port: "3000", Binds: IPv4, NotRun: notDebian},
		{File: "config.yml", Config: "port: 3000\ndb:\n  type: postgres\nbindIP: \"::\"\n", Port: "3000", Binds: Dual, NotRun: notDebian},
		{File: "config.yml", Config: "bindIP: 0.0.0.0\n", Port: "3000", NotRun: "may be another program's"},
		{Image: "ghcr.io/requarks/wiki:2", Port: "3000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
	}
}

var nodeRedHost = regexp.MustCompile(`^[ \t]*uiHost[ \t]*:[ \t]*["']([^"'\\]*)["']`)

// nodeRedFile reads settings.js of Node-RED.
//
// Source: node-red packages/node_modules/node-red/settings.js, red.js.
func nodeRedFile(f File) []Listener {
	var last *Word // the last property counts
	start, comment := 0, false
	for _, line := range strings.SplitAfter(f.Text, "\n") {
		offset := start
		start += len(line)
		if i := strings.LastIndex(line, "/*"); i >= 0 && !strings.Contains(line[i:], "*/") {
			comment = true
		}
		if strings.Contains(line, "*/") {
			comment = strings.LastIndex(line, "/*") > strings.LastIndex(line, "*/")
			continue
		}
		if len(line) > maxAddresses*64 {
			return nil // minified
		}
		if m := nodeRedHost.FindStringSubmatchIndex(line); m != nil && !comment {
			last = &Word{Text: line[m[2]:m[3]], file: f.Name, base: f.Text, parts: []part{{0, offset + m[2], m[3] - m[2], 0}}}
		}
	}
	if last == nil || !strings.Contains(f.Text, "module.exports") {
		return nil
	}
	return []Listener{options{stack: node, both: "::"}.listener("", last, 0, last.Text, "")}
}

func nodeRedCases() []Case {
	file := func(line string) string {
		return "module.exports = {\n    uiPort: process.env.PORT || 1880,\n    /* uiHost: \"::\",\n    uiHost: \"::\", */\n    //uiHost: \"127.0.0.1\",\n    " + line + "\n}\n"
	}
	return []Case{
		{File: "settings.js", Config: file(`uiHost: "0.0.0.0", // all`), Port: "1880", Binds: IPv4, NotRun: notDebian},
		{File: "settings.js", Config: file(`uiHost: '::',`), Port: "1880", Binds: Dual, NotRun: notDebian},
		{File: "settings.js", Config: file(`uiHost: "127.0.0.1",`), Port: "1880", Binds: Loopback, NotRun: notDebian},
		{File: "config.js", Config: "window.config = {\n  uiHost: \"0.0.0.0\",\n}\n", Port: "1880", NotRun: "of a page in a browser"},
		{File: "settings.js", Config: file(`uiHost: process.env.HOST,`), Port: "1880", NotRun: notDebian},
	}
}
