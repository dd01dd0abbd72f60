package listen

import (
	"regexp"
	"strings"
)

// Puma makes one plain socket for each bind; for no host it takes 0.0.0.0, and since version 8 "::" where the pod has an IPv6 address.
//
// Source: puma/lib/puma/dsl.rb, binder.rb; docs/8.0-Upgrade.md.
var puma = options{stack: plain, address: []string{"-b", "--bind"}, scheme: []string{"tcp://", "ssl://"}, local: "9292", both: "[::]"}

const newPuma = "Puma is 8 or later"

func pumaRun(c *Command) []Listener {
	if puma.given(c) {
		return puma.run(c)
	}
	if f := values(c.Flags("-p", "--port")); len(f) > 0 {
		port := f[len(f)-1]
		l := port.Listener(port.String(), "", port.Text, IPv4)
		l.Advice, l.Doubt = `use "-b tcp://[::]:`+oneLine(port.Text)+`"`, newPuma
		l.Edits = nil
		return []Listener{l}
	}
	return nil // config/puma.rb may say
}

var (
	pumaBind  = regexp.MustCompile(`^([ \t]*)bind[ \t(]+["'](?:tcp|ssl)://([^:"'#\[\]]*|\[[^\]"'#]*\]):([^"'?]*)[^"']*["']`)
	pumaPort  = regexp.MustCompile(`^([ \t]*)port[ \t(]+([^#]*)`)
	pumaFetch = regexp.MustCompile(`(?:ENV\.fetch[ \t]*\([^()]*\)|ENV\[[^\]]*\])(?:[ \t]*\{[^{}]*\})?`)
	pumaHost  = regexp.MustCompile(`^,[ \t]*["']([^"'#]*)["']`)
	// A condition after the statement: bind "tcp://0.0.0.0:80" unless ENV["SOCKET"].
	pumaModifier = regexp.MustCompile(`^[^#]*["')\d][ \t]+(?:if|unless)[ \t(]`)
	pumaWord     = regexp.MustCompile(`(?m)^[ \t]*(?:bind|port|threads|workers|preload_app!|plugin|environment|pidfile|on_worker_boot|rackup|directory|stdout_redirect|worker_timeout|before_fork|activate_control_app|tag|state_path)\b`)
)

// pumaFile reads puma.rb: "bind" with an address that is no variable, and "port", which binds the default host.
func pumaFile(f File) []Listener {
	if len(pumaWord.FindAllStringIndex(f.Text, 2)) < 2 && f.Name != "puma.rb" {
		return nil
	}
	var out []Listener
	start := 0
	conditions := false // without the indentation that would show them
	for _, line := range strings.SplitAfter(f.Text, "\n") {
		offset := start
		start += len(line)
		if len(out) == maxAddresses {
			break
		}
		line = strings.TrimRight(line, "\r\n")
		switch word, _, _ := strings.Cut(line, " "); word {
		case "if", "unless", "case":
			conditions = true
		case "end":
			conditions = false
		}
		if strings.HasPrefix(line, "=begin") || strings.HasPrefix(line, "__END__") {
			return nil
		}
		var l Listener
		var indent string
		if m := pumaBind.FindStringSubmatchIndex(line); m != nil {
			w := &Word{Text: line[m[4]:m[5]], file: f.Name, base: f.Text, parts: []part{{0, offset + m[4], m[5] - m[4], 0}}}
			port := line[m[6]:m[7]]
			if !isPort(port) {
				port = ""
			}
			l = puma.listener("tcp://", w, 0, w.Text, port)
			indent = line[:m[3]]
		} else if m := pumaPort.FindStringSubmatch(line); m != nil && !strings.Contains(f.Text, "set_default_host") {
			rest := strings.TrimSpace(m[2])
			port := rest
			if i := strings.IndexByte(port, ','); i >= 0 {
				port = strings.TrimSpace(port[:i])
			}
			if at := pumaFetch.FindStringIndex(rest); at != nil && at[0] == 0 {
				port, rest = "", strings.TrimSpace(rest[at[1]:])
			} else {
				rest = strings.TrimLeft(rest, "0123456789")
			}
			if !isPort(port) {
				port = ""
			}
			if port == "" && at0(rest) && pumaFetch.FindString(m[2]) == "" {
				continue // a method of another object, or an expression
			}
			l = at(f, offset+len(m[1]), Listener{Text: oneLine(strings.TrimSpace(line)), Port: port, Family: IPv4})
			if host := pumaHost.FindStringSubmatch(strings.TrimSpace(rest)); host != nil {
				l.Address, l.Family = host[1], puma.family(host[1])
			} else if strings.HasPrefix(strings.TrimSpace(rest), ",") {
				l.Family = Unknown
			}
			if l.Family == IPv4 {
				l.Fault, l.Reason, l.Advice = IPv4Only, binds0(l.Address), `give the host: port …, "::"`
				if l.Address == "" {
					l.Reason, l.Doubt = "binds IPv4 only by default", newPuma
				}
			}
			indent = m[1]
		} else {
			continue
		}
		if l.Fault != None && (indent != "" || conditions || pumaModifier.MatchString(line)) && l.Doubt == "" {
			l.Doubt = "the condition around it does not hold"
		}
		out = append(out, l)
	}
	if strings.Contains(f.Text, "clear_binds!") {
		out = doubted(out, "clear_binds! drops it")
	}
	return beside(out)
}

// at0 reports whether nothing that can be read follows a port.
func at0(rest string) bool { return !strings.HasPrefix(strings.TrimSpace(rest), ",") }

// railsRun: Rails hands the host to Puma, which takes it with and without brackets.
//
// Source: railties/lib/rails/commands/server/server_command.rb; puma/lib/rack/handler/puma.rb.
func railsRun(c *Command) []Listener {
	if len(c.Args) == 0 || c.Args[0].Text != "server" && c.Args[0].Text != "s" {
		return nil
	}
	o := options{stack: plain, host: []string{"-b", "--binding"}, port: []string{"-p", "--port"}, hostVar: "BINDING", portVar: "PORT", local: "3000", both: "[::]"}
	if out := o.run(c); len(out) > 0 || o.given(c) || c.Image == "mastodon" {
		return out
	}
	if w, _ := c.Var("RAILS_ENV"); w != nil && w.Text == "production" {
		return c.byDefault(o.portOf(c), `add "-b [::]"`, "config/puma.rb binds another address")
	}
	return nil
}

// mastodonRun: both servers of Mastodon take their host from BIND, which the image sets to 0.0.0.0. The web server writes it into a URL, so
// it needs brackets; the streaming server hands it to Node.js, which refuses them.
//
// Source: mastodon/mastodon Dockerfile, config/puma.rb, streaming/index.js.
func mastodonRun(c *Command) []Listener {
	o := options{stack: plain, hostVar: "BIND", portVar: "PORT"}
	switch streaming := len(c.Args) > 0 && strings.Contains(c.Args[0].Text, "streaming"); {
	case c.Image == "mastodon" && (c.Program == "puma" && !puma.given(c) || c.Program == "rails" && len(c.Args) == 1 && (c.Args[0].Text == "s" || c.Args[0].Text == "server")):
		o.both, o.local = "[::]", "3000"
	case c.Image == "mastodon" && c.Program == "node" && streaming,
		c.Image == "mastodon-streaming" && (c.Program == "" || c.Program == "node" && streaming):
		o.both, o.local = "::", "4000"
	default:
		return nil
	}
	if _, socket := c.Var("SOCKET"); socket {
		return nil
	}
	w, set := c.Var("BIND")
	switch {
	case !set:
		return c.byDefault(o.portOf(c), `set BIND to "`+o.both+`"`, "BIND is set elsewhere, as by envFrom")
	case w != nil && strings.Contains(w.Text, ":") && strings.HasPrefix(w.Text, "[") != (o.both == "[::]"):
		return nil // the server refuses this form of an address
	}
	return o.run(c)
}

// redmineRun: the official image's command is rails server -b 0.0.0.0.
//
// Source: docker-library/redmine Dockerfile.
func redmineRun(c *Command) []Listener {
	if c.Program != "" {
		return nil
	}
	return c.byDefault("3000", `set args: ["rails", "server", "-b", "[::]"]`, "the image is not Docker's official one")
}

func pumaCases() []Case {
	out := optionCases("puma -b %s config.ru", "", map[string]Family{
		"tcp://0.0.0.0:8000": IPv4, "tcp://:8000": IPv4, "tcp://[::]:8000": Dual, "tcp://127.0.0.1:8000": Loopback, "tcp://10.1.2.3:8000": IPv4})
	return append(out,
		Case{Config: "puma -p 8000 config.ru", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{Config: "puma -b unix:///tmp/puma.sock config.ru", Binds: Unix, NotRun: "no port"},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind \"tcp://0.0.0.0:8000\"\n", Port: "8000", Binds: IPv4},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind 'tcp://[::]:8000' # bind 'tcp://0.0.0.0:8000'\n", Port: "8000", Binds: Dual},
		Case{File: "puma.rb", Config: "threads 1, 1\n# bind 'tcp://0.0.0.0:8000'\nport 8000, '::'\n", Port: "8000", Binds: Dual},
		Case{File: "puma.rb", Config: "threads 1, 1\nport 8000, '0.0.0.0'\n", Port: "8000", Binds: IPv4, NoFix: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nport 8000\n", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nport ENV.fetch(\"NO_PORT\") { 8000 }\n", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nport ENV.fetch(\"NO_PORT\", 8000), \"::\"\n", Port: "8000", Binds: Dual},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind \"tcp://0.0.0.0:#{ENV.fetch('NO_PORT', 8000)}\"\n", Port: "8000", Binds: IPv4},
		Case{File: "puma.rb", Config: "threads 1, 1\nif ENV['SOCKET']\n  bind \"unix://#{ENV['SOCKET']}\"\nelse\n  bind \"tcp://0.0.0.0:8000\"\nend\n", Port: "8000", Binds: IPv4, Doubt: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind 'tcp://0.0.0.0:8000' unless ENV['NO_PORT']\nbind 'tcp://[::]:8001' if ENV['NO_PORT']\n", Port: "8000", Binds: IPv4, Doubt: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nif ENV['NO_PORT']\nbind 'tcp://[::]:8001'\nelse\nbind 'tcp://0.0.0.0:8000'\nend\n", Port: "8000", Binds: IPv4, Doubt: true},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind \"tcp://#{ENV.fetch('BIND', '[::]')}:8000\"\n", Port: "8000", Binds: Dual},
		Case{File: "puma.rb", Config: "threads 1, 1\nbind 'tcp://127.0.0.1:8000'\n", Port: "8000", Binds: Loopback},
	)
}

func railsCases() []Case {
	const why = "needs an application of Rails; Puma, which binds, was run"
	return append(optionCases("rails server -p 8000 -b %s", why, map[string]Family{"0.0.0.0": IPv4, "[::]": Dual, "::": Dual, "127.0.0.1": Loopback}),
		Case{Config: "BINDING=0.0.0.0 bundle exec rails s", Port: "3000", Binds: IPv4, NotRun: why},
		Case{Config: "RAILS_ENV=production bin/rails server", Port: "3000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		Case{Config: "RAILS_ENV=production bin/rails db:migrate", Port: "3000", NotRun: why})
}

func mastodonCases() []Case {
	const image = "ghcr.io/mastodon/mastodon:v4.3.0"
	web, streaming := "bundle exec puma -C config/puma.rb", "node ./streaming"
	out := []Case{
		{Config: "BIND=0.0.0.0 " + web, Port: "3000", Binds: IPv4},
		{Config: "BIND='[::]' " + web, Port: "3000", Binds: Dual},
		{Config: "BIND=127.0.0.1 " + web, Port: "3000", Binds: Loopback},
		{Config: "BIND=:: " + web, Port: "3000"},
		{Config: web, Port: "3000", Binds: IPv4, NoFix: true, Doubt: true},
		{Config: "BIND=0.0.0.0 " + streaming, Port: "4000", Binds: IPv4},
		{Config: "BIND=:: " + streaming, Port: "4000", Binds: Dual},
		{Config: "BIND='[::]' " + streaming, Port: "4000"},
		{Config: "BIND=0.0.0.0 bundle exec sidekiq", Port: "3000"},
	}
	for i := range out {
		out[i].Image, out[i].NotRun = image, notDebian
	}
	return out
}

func redmineCases() []Case {
	return []Case{{Image: "redmine:5", Port: "3000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian}}
}
