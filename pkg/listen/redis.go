package listen

import (
	"path"
	"slices"
	"strings"
)

// Redis, Valkey, KeyDB and their Sentinels bind each address of the last "bind", IPv6 ones with IPV6_V6ONLY, and exit if one of
// them is in use or, without "-" in front, is no address of the pod. Without any they bind "* -::*".
//
// Source: redis.conf of the programs, directive "bind"; Redis 7.0.15 was run.

func redisFile(f File) []Listener {
	name := strings.ToLower(f.Name)
	named := strings.Contains(name, "redis") || strings.Contains(name, "valkey") || strings.Contains(name, "keydb") || strings.Contains(name, "sentinel")
	if ext := path.Ext(name); ext != ".conf" && (ext != "" || !named) && !isAside(f.Name) {
		return nil
	}
	var bind *lineDirective
	port, tls := "6379", ""
	if strings.Contains(name, "sentinel") {
		port = "26379"
	}
	typical, after := 0, ""
	directives := lineDirectives(f.Text, 0, false) // a comment is a line of its own
	for i, d := range directives {
		switch name := strings.ToLower(d.name.text); {
		case len(d.args) == 0:
		case name == "bind":
			bind, after = &directives[i], ""
		case name == "port":
			port = d.args[0].text
		case name == "tls-port":
			tls = d.args[0].text
		case name == "include":
			after = "an included file has another bind"
		case slices.Contains([]string{"protected-mode", "appendonly", "appendfsync", "appendfilename", "dbfilename", "save", "maxmemory",
			"maxmemory-policy", "stop-writes-on-bgsave-error", "rdbcompression", "rdbchecksum", "aof-use-rdb-preamble", "sentinel"}, name):
			typical++ // a line of another format does not start with these words
		}
	}
	if bind == nil || typical < 2 && !named {
		return nil
	}
	if port = redisPort(port, tls); port == "0" {
		return nil
	}
	var hosts []string
	for _, a := range bind.args {
		hosts = append(hosts, a.text)
	}
	l := at(f, bind.name.start, Listener{Text: bind.source(f), Port: port})
	l = redisBind(hosts).in(l, `use "bind * -::*"`, []Edit{{f.Name, bind.args[0].start, bind.end, "* -::*"}})
	return doubted(aside(f, "Redis", l), after)
}

// redisPort is the port of two options; "" for both, "0" for none.
func redisPort(port, tls string) string {
	switch {
	case tls == "" || tls == "0":
		return port
	case port == "0":
		return tls
	}
	return ""
}

func redisBind(hosts []string) together {
	var plain []string
	for _, h := range hosts {
		h = strings.TrimPrefix(h, "-")
		if h == "::*" {
			h = "::"
		}
		plain = append(plain, h)
	}
	return split.together(plain)
}

func redisRun(c *Command) []Listener {
	if c.otherProgram() {
		return nil
	}
	port, tls := "6379", ""
	if c.Program == "redis-sentinel" || c.Program == "valkey-sentinel" || c.Has("--sentinel") {
		port = "26379"
	}
	// Redis takes every word up to the next option, --bind A B --port 1, and splits them as a line of redis.conf.
	var words []*Word
	for i, w := range c.Args {
		switch {
		case strings.HasPrefix(w.Text, "--bind "):
			words = []*Word{w.after(len("--bind "))}
		case w.Text == "--bind":
			words = nil
			for _, v := range c.Args[i+1:] {
				if strings.HasPrefix(v.Text, "--") {
					break
				}
				words = append(words, v)
			}
		case w.Text == "--port" && i+1 < len(c.Args):
			port = c.Args[i+1].Text
		case w.Text == "--tls-port" && i+1 < len(c.Args):
			tls = c.Args[i+1].Text
		}
	}
	if port = redisPort(port, tls); port == "0" {
		return nil // a Unix socket only
	}
	var hosts []string
	for _, w := range words {
		hosts = append(hosts, strings.Fields(w.Text)...)
	}
	if len(hosts) == 0 {
		return nil
	}
	var edits []Edit
	if len(words) == 1 {
		edits = words[0].Replace(0, len(words[0].Text), "* -::*")
	}
	return []Listener{redisBind(hosts).in(words[0].Listener("--bind "+strings.Join(hosts, " "), "", port, Unknown), `use "--bind * -::*"`, edits)}
}

func redisCases() []Case {
	const rest = "\nport 6379\nprotected-mode no\nsave \"\"\n"
	var out []Case
	for _, f := range []struct {
		bind  string
		binds Family
	}{
		{"*", IPv4}, {"0.0.0.0", IPv4}, {"-0.0.0.0", IPv4}, {"0.0.0.0 ::1", IPv4}, {"* -::*", Dual}, {"0.0.0.0 -::", Dual}, {":: 0.0.0.0", Dual}, {"-10.1.2.3 -:: 0.0.0.0", Dual},
		{"::", IPv6}, {"::*", IPv6}, {"127.0.0.1 -::1", Loopback}, {"localhost", Loopback},
		{"0.0.0.0 127.0.0.1", Unknown}, {"* -127.0.0.1", Unknown}, // "Address already in use"
		{"0.0.0.0 # all", Unknown}, // "Name or service not known"
	} {
		out = append(out, Case{File: "redis.conf", Config: "bind " + f.bind + rest, Port: "6379", Binds: f.binds})
	}
	return append(out,
		Case{File: "master.conf", Config: "# bind * -::*\nbind 127.0.0.1\n  BIND \"0.0.0.0\"\nport 6380\nprotected-mode no\nsave \"\"\nappendonly no\n", Port: "6380", Binds: IPv4},
		Case{File: "redis.conf", Config: "bind ${POD_IP} 127.0.0.1" + rest, Port: "6379", Binds: Unknown},
		Case{File: "redis.conf", Config: "bind 10.1.2.3" + rest, Port: "6379", Binds: IPv4, NoFix: true, NotRun: noAddress},
		Case{File: "redis.conf", Config: "bind 0.0.0.0\ninclude /etc/redis/local.conf\n", Port: "6379", Binds: IPv4, Doubt: true, NotRun: "the other file decides"},
		Case{File: "redis.conf.sample", Config: "bind 0.0.0.0" + rest, Port: "6379", Binds: IPv4, Doubt: true},
		Case{File: "redis-tls.conf", Config: "bind 0.0.0.0\nport 0\ntls-port 6380\n", Port: "6380", Binds: IPv4, NotRun: "needs certificates"},
		Case{File: "haproxy.conf", Config: "bind 0.0.0.0\nport 6379\n", Port: "6379", Binds: Unknown, NotRun: "not of Redis"},
		Case{Config: "redis-server --protected-mode no", Port: "6379", Binds: Dual},
		Case{Config: "redis-server --bind 0.0.0.0 --protected-mode no --save ''", Port: "6379", Binds: IPv4},
		Case{Config: "redis-server '--bind 0.0.0.0' --protected-mode no", Port: "6379", Binds: IPv4},
		Case{Config: "redis-server --bind '*' -::* --protected-mode no", Port: "6379", Binds: Dual},
		Case{Config: "redis-server --bind 127.0.0.1 --port 6380", Port: "6380", Binds: Loopback},
		Case{Config: "redis-server --bind 0.0.0.0 --port 0 --unixsocket $DIR/redis.sock", Port: "6379", NotRun: "no port"},
		Case{Config: "redis-server --bind 0.0.0.0 --port 6379 --tls-port 6380", Port: "6379", Binds: IPv4, NotRun: "needs certificates"},
		Case{Config: "redis-server --bind 0.0.0.0 --port 0 --tls-port 6380", Port: "6380", Binds: IPv4, NotRun: "needs certificates"},
		Case{Config: "redis-server --bind 0.0.0.0 127.0.0.1", Port: "6379", Binds: Unknown},
	)
}
