package listen

import (
	"slices"
	"strings"
)

// wildcardFlags are what programs call the option for the address to bind. Those that Go's programs use are not here (-host,
// --bind-address, --listen-address, --metrics-bind-address, --web.listen-address, …): Go binds both families.
func wildcardFlags() []string {
	return []string{"--host", "--hostname", "--bind", "--bind-addr", "--bind-host", "--bind-ip", "--listen", "--listen-host", "--listen-ip", "--address", "--addr", "--ip", "--http-host", "--server-address", "--server-host"}
}

// isWildcardVar reports whether programs call the variable for the address to bind so.
func isWildcardVar(name string) bool {
	switch name {
	case "HOST", "BIND", "BIND_ADDR", "BIND_ADDRESS", "BIND_IP", "BIND_HOST", "BINDING", "LISTEN", "LISTEN_ADDR", "LISTEN_ADDRESS", "LISTEN_HOST", "LISTEN_IP",
		"SERVER_HOST", "SERVER_ADDRESS", "SERVER_BIND_ADDR", "HTTP_HOST", "HTTP_ADDR", "HTTP_LISTEN", "ENVOY_ADDR":
		return true
	}
	return slices.ContainsFunc([]string{"_BIND", "_BIND_ADDR", "_BIND_ADDRESS", "_BIND_HOST", "_LISTEN", "_LISTEN_ADDR", "_LISTEN_ADDRESS", "_LISTEN_HOST", "_LISTEN_IP"},
		func(s string) bool { return strings.HasSuffix(name, s) })
}

// isWildcard reports whether a value is 0.0.0.0, with or without a port.
func isWildcard(value string) bool {
	host, port, ok := splitHostPort(value)
	return ok && host == "0.0.0.0" && (port == "" || isPort(port))
}

const wildcardProgram = "a program that is not known"

// wildcardRow has no Run: only ReadProcess knows which commands no other row claims.
func wildcardRow() Program {
	return Program{Name: wildcardProgram, Rule: "listen-wildcard", Source: "what most programs do; Go and Java bind both families for 0.0.0.0", Cases: wildcardCases}
}

// wildcards are the options and variables with 0.0.0.0 of commands that no row of the table claimed. All are in doubt.
func wildcards(commands []*Command, claimed []bool) []Listener {
	var out []Listener
	known := false
	for i, c := range commands {
		if c.Program == "echo" || claimed[i] || strings.HasPrefix(c.Program, "kube-") {
			known = known || c.Program != "echo"
			continue
		}
		for _, f := range c.Flags(wildcardFlags()...) {
			if isWildcard(f.Text) {
				out = append(out, wildcard(f.String(), f.Word))
			}
		}
	}
	if known || len(commands) == 0 || len(table().images[commands[0].Image]) > 0 {
		return out // the environment is that program's
	}
	for _, e := range commands[0].Env {
		if e.Word != nil && isWildcardVar(e.Name) && isWildcard(e.Text) {
			out = append(out, wildcard(e.Name+"="+e.Text, e.Word))
		}
	}
	return out
}

func wildcard(text string, w *Word) Listener {
	host, port, _ := splitHostPort(w.Text)
	form := "::"
	if port != "" {
		form = "[::]:" + port
	}
	l := w.Listener(text, host, port, IPv4)
	l.Program, l.Advice, l.Doubt = wildcardProgram, `use "`+form+`"`, "it binds both families for 0.0.0.0, as Go and Java do"
	return l
}

func wildcardCases() []Case {
	const why = "no program"
	return []Case{
		{Config: "./server --host 0.0.0.0 --port 8000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "./server --listen=0.0.0.0:8000", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "BIND_ADDRESS=0.0.0.0 ./server", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "APP_LISTEN=0.0.0.0:8000 ./server", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Image: "example.net/server:1", Config: "HOST=0.0.0.0", Binds: IPv4, NoFix: true, Doubt: true, NotRun: why},
		{Config: "HOST=10.1.2.3 ./server", NotRun: "a client's target as likely"},
		{Config: "HOST=db.example.net ./server --host ::", NotRun: why},
		{Config: "./manager --metrics-bind-address=0.0.0.0:8443 --secure-listen-address=0.0.0.0:8443 --web.listen-address=0.0.0.0:9090", NotRun: "Go binds both"},
		{Config: "./server -host 0.0.0.0", NotRun: "Go binds both"},
		{Config: "kube-scheduler --bind-address=0.0.0.0 --address 0.0.0.0", NotRun: "Go binds both"},
		{Config: "./server --allow 0.0.0.0/0 --host 0.0.0.0/0", NotRun: "no address to bind"},
		{Config: "echo --host 0.0.0.0", NotRun: "no server"},
	}
}
