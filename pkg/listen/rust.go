package listen

import "strings"

// Rust's standard library binds one plain socket: "::" and "[::]:80" are both.

// Source: rocket.rs/guide, Configuration.
var rocket = options{stack: plain, both: "::", hostVar: "ROCKET_ADDRESS", portVar: "ROCKET_PORT", local: "8000"}

func rocketFile(f File) []Listener {
	var out []Listener
	port := map[string]string{}
	list := settings(f.Text, "#", false)
	for _, s := range list {
		if s.key.text == "port" {
			port[s.section] = s.value.text
		}
	}
	for _, s := range list {
		if s.key.text != "address" || len(out) == maxAddresses {
			continue
		}
		start := s.value.start
		if len(s.value.text) < s.value.end-start {
			start++
		}
		w := &Word{Text: s.value.text, file: f.Name, base: f.Text, parts: []part{{0, start, len(s.value.text), 0}}}
		at := port[s.section]
		if at == "" && len(port) == 0 {
			at = "8000"
		}
		l := rocket.listener("", w, 0, w.Text, at)
		if s.section == "debug" && l.Fault != None {
			l.Doubt = "the program is a release build"
		}
		out = append(out, l)
	}
	return out
}

// vaultwardenRun: the image sets ROCKET_ADDRESS to 0.0.0.0 and ROCKET_PORT to 80.
//
// Source: dani-garcia/vaultwarden docker/Dockerfile.debian.
func vaultwardenRun(c *Command) []Listener {
	if c.Program != "" || c.Exec == nil || c.Image != "vaultwarden" && !strings.Contains(c.Exec.Text, "vaultwarden/server") || rocket.given(c) {
		return nil
	}
	o := rocket
	o.local = "80"
	return c.byDefault(o.portOf(c), `set ROCKET_ADDRESS to "::"`, "ROCKET_ADDRESS is set elsewhere, as by envFrom")
}

var qdrant = options{stack: plain, both: "::", hostVar: "QDRANT__SERVICE__HOST", portVar: "QDRANT__SERVICE__HTTP_PORT", local: "6333"}

// qdrantFile reads config.yaml of Qdrant.
//
// Source: qdrant/qdrant config/config.yaml; actix-web and tonic hand the host to the standard library.
func qdrantFile(f File) []Listener {
	docs := readYAML(f)
	if len(docs) != 1 {
		return nil
	}
	service := docs[0].get("service")
	if !service.get("http_port").exists() && !service.get("grpc_port").exists() && !docs[0].get("storage", "storage_path").exists() {
		return nil
	}
	return yamlHost(service.get("host"), "host", service.get("http_port").str(), "6333")
}

func qdrantRun(c *Command) []Listener {
	if c.Image == "qdrant" && c.Program == "" && !qdrant.given(c) {
		return c.byDefault(qdrant.portOf(c), `set QDRANT__SERVICE__HOST to "::"`, "a mounted configuration has another host")
	}
	return qdrant.run(c)
}

// Source: www.meilisearch.com/docs, configuration, http_addr.
var meilisearch = options{stack: plain, both: "[::]", address: []string{"--http-addr"}, addressVar: "MEILI_HTTP_ADDR", local: "7700"}

func meilisearchRun(c *Command) []Listener {
	if c.Image == "meilisearch" && c.Program == "" && !meilisearch.given(c) {
		return c.byDefault("7700", `set MEILI_HTTP_ADDR to "[::]:7700"`, "MEILI_HTTP_ADDR is set elsewhere, as by envFrom")
	}
	return meilisearch.run(c)
}

func rocketCases() []Case {
	return append(optionCases("ROCKET_ADDRESS=%s ./server", notDebian, map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4}),
		Case{File: "Rocket.toml", Config: "[default]\naddress = \"0.0.0.0\" # all\nport = 8000\n", Port: "8000", Binds: IPv4, NotRun: notDebian},
		Case{File: "Rocket.toml", Config: "[default]\naddress = \"::\"\nport = 8000\n", Port: "8000", Binds: Dual, NotRun: notDebian},
		Case{File: "Rocket.toml", Config: "[debug]\naddress = \"0.0.0.0\"\nport = 8000\n", Port: "8000", Binds: IPv4, Doubt: true, NotRun: notDebian})
}

func vaultwardenCases() []Case {
	return []Case{
		{Image: "vaultwarden/server:1.32.0", Port: "80", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
		{Image: "vaultwarden/server:1.32.0", Config: "ROCKET_ADDRESS=::", Port: "80", NotRun: notDebian},
	}
}

func qdrantCases() []Case {
	return []Case{
		{File: "production.yaml", Config: "storage:\n  storage_path: /qdrant/storage\nservice:\n  host: 0.0.0.0\n  http_port: 6333\n", Port: "6333", Binds: IPv4, NotRun: notDebian},
		{File: "config.yaml", Config: "service:\n  host: \"::\"\n  http_port: 6333\n", Port: "6333", Binds: Dual, NotRun: notDebian},
		{File: "config.yaml", Config: "service:\n  host: 0.0.0.0\n", Port: "6333", NotRun: "may be another program's"},
		{Config: "QDRANT__SERVICE__HOST=0.0.0.0 ./qdrant", Port: "6333", Binds: IPv4, NotRun: notDebian},
		{Config: "QDRANT__SERVICE__HOST=:: ./qdrant", Port: "6333", Binds: Dual, NotRun: notDebian},
		{Image: "qdrant/qdrant:v1.12.0", Port: "6333", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
	}
}

func meilisearchCases() []Case {
	return append(optionCases("meilisearch --http-addr %s", notDebian, map[string]Family{"0.0.0.0:8000": IPv4, "[::]:8000": Dual, "localhost:8000": Loopback}),
		Case{Config: "MEILI_HTTP_ADDR=0.0.0.0:8000 meilisearch", Port: "8000", Binds: IPv4, NotRun: notDebian},
		Case{Image: "getmeili/meilisearch:v1.11", Port: "7700", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian})
}
