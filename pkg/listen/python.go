package listen

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Python's servers differ by how they make a socket. Those with one plain socket (gunicorn, hypercorn, Daphne, Flask, Django, uWSGI)
// serve both families on "::"; those on asyncio, asyncore or tornado make it IPv6 only, and open two sockets for no host.

// gunicorn takes host:port and nothing for "no host"; two binds of one port fail.
//
// Source: docs.gunicorn.org/en/20.1.0/settings.html, "bind"; the variable PORT: gunicorn/config.py.
var gunicorn = options{stack: plain, address: []string{"-b", "--bind"}, scheme: []string{"tcp://", "http://"}, local: "8000", both: "[::]"}

func gunicornRun(c *Command) []Listener {
	if c.Has("--check-config", "--print-config") {
		return nil
	}
	if gunicorn.given(c) {
		return gunicorn.run(c)
	}
	if w, set := c.Var("GUNICORN_CMD_ARGS"); set {
		if w == nil || strings.ContainsAny(w.Text, `'"\`) {
			return nil
		}
		env := &Command{Args: w.fields()}
		if gunicorn.given(env) {
			doubt := ""
			if c.Program == "" {
				doubt = "the image's command has --bind"
			}
			return doubted(gunicorn.run(env), doubt)
		}
	}
	if w, _ := c.Var("PORT"); w != nil && c.Program != "" && isPort(w.Text) {
		l := w.Listener("PORT="+w.Text, "", w.Text, IPv4)
		l.Advice, l.Doubt = `add "--bind [::]:`+w.Text+`"`, "gunicorn.conf.py has another bind"
		return []Listener{l}
	}
	return nil
}

// fields are the first words of w that white space separates.
func (w *Word) fields() []*Word {
	var out []*Word
	for i := 0; i < len(w.Text) && len(out) < maxAddresses; {
		if strings.IndexByte(" \t\n\r", w.Text[i]) >= 0 {
			i++
			continue
		}
		end := i
		for end < len(w.Text) && strings.IndexByte(" \t\n\r", w.Text[end]) < 0 {
			end++
		}
		out = append(out, w.slice(i, end))
		i = end
	}
	return out
}

var (
	gunicornBind   = regexp.MustCompile(`^bind[ \t]*=[ \t]*(.*)$`)
	gunicornValues = regexp.MustCompile(`^(?:\[[ \t]*)?(["'][^"'\\{}%]*["'](?:[ \t]*,[ \t]*["'][^"'\\{}%]*["'])*)[ \t]*,?[ \t]*\]?[ \t]*(?:#.*)?$`)
	// What sets any name: locals()[key] = value for each GUNICORN_ variable is widespread.
	gunicornDynamic = regexp.MustCompile(`(?m)^[^#\n]*\b(?:(?:locals|globals|vars|exec|setattr)[ \t]*\(|import[ \t(]+\*)`)
	pythonString    = regexp.MustCompile(`["']([^"']*)["']`)
)

// gunicornFile reads "bind" of gunicorn.conf.py where it is a string, or a list of strings in one line, and nothing may change it.
func gunicornFile(f File) []Listener {
	var last []*Word // the last assignment counts
	docstring, start := false, 0
	for _, line := range strings.SplitAfter(f.Text, "\n") {
		at0 := start
		start += len(line)
		line = strings.TrimRight(line, "\r\n")
		if quotes := strings.Count(line, `"""`) + strings.Count(line, "'''"); quotes > 0 {
			docstring = docstring != (quotes%2 == 1)
			continue
		}
		if len(line) > maxAddresses*64 {
			return nil
		}
		m := gunicornBind.FindStringSubmatchIndex(line)
		if m == nil {
			if !docstring && strings.HasPrefix(strings.TrimLeft(line, " \t"), "bind") && !strings.HasPrefix(line, "bind_") {
				return nil // set where an if may stand before it
			}
			continue
		}
		if docstring {
			continue
		}
		value := gunicornValues.FindStringSubmatchIndex(line[m[2]:])
		if value == nil {
			return nil
		}
		last = nil
		for _, s := range pythonString.FindAllStringSubmatchIndex(line[m[2]+value[2]:m[2]+value[3]], maxAddresses) {
			from := m[2] + value[2] + s[2]
			w := &Word{Text: line[from : m[2]+value[2]+s[3]], file: f.Name, base: f.Text}
			w.parts = []part{{0, at0 + from, len(w.Text), 0}}
			last = append(last, w)
		}
	}
	var out []Listener
	for _, w := range last {
		out = append(out, gunicorn.pair("", w)...)
	}
	if gunicornDynamic.MatchString(f.Text) {
		out = doubted(out, "other code of the file sets bind")
	}
	return beside(out)
}

// uvicorn hands the host to asyncio, which opens both families for an empty one and makes "::" IPv6 only. With workers or a reloader it makes
// one socket by itself, for which "" is IPv4 and "::" is both.
//
// Source: uvicorn/server.py, uvicorn/config.py (bind_socket); an empty variable counts as none for click.
func uvicornRun(c *Command) []Listener {
	o := options{stack: asyncio, host: []string{"--host"}, port: []string{"--port"}, hostVar: "UVICORN_HOST", portVar: "UVICORN_PORT", local: "8000",
		varAdvice: `use "--host ''" on the command line`}
	if len(c.Flags("--uds", "--fd")) > 0 {
		return nil
	}
	workers, _ := c.Var("WEB_CONCURRENCY")
	if f := values(c.Flags("--workers")); len(f) > 0 {
		workers = f[len(f)-1].Word
	}
	switch {
	case c.Has("--reload") || workers != nil && isPort(workers.Text) && workers.Text != "1":
		o.stack, o.both, o.varAdvice = plain, "::", ""
	case workers != nil && workers.Text != "1":
		o.advice = `use "--host ''" with one worker, "--host ::" with more`
		o.varAdvice = o.advice
	}
	out := o.run(c)
	if c.Program == "" {
		return doubted(out, "the image's command has --host")
	}
	return out
}

// fastapiRun: "fastapi run" hands 0.0.0.0 to uvicorn unless told otherwise, "fastapi dev" 127.0.0.1 and a reloader.
//
// Source: fastapi/fastapi-cli src/fastapi_cli/cli.py.
func fastapiRun(c *Command) []Listener {
	dev := c.Has("dev")
	if !dev && !c.Has("run") || c.Has("--help") {
		return nil
	}
	o := options{stack: asyncio, host: []string{"--host"}, port: []string{"--port"}, local: "8000"}
	if dev || c.Has("--reload") || len(c.Flags("--workers")) > 0 {
		o.stack, o.both = plain, "::"
	}
	if o.given(c) {
		return o.run(c)
	}
	if dev {
		return nil
	}
	advice := `add "--host ''"`
	if o.both != "" {
		advice = `add "--host ::"`
	}
	return c.byDefault(o.portOf(c), advice, "the FastAPI CLI has another default")
}

func fastapiCases() []Case {
	return append(optionCases("fastapi run app.py --host %s", notDebian, map[string]Family{"0.0.0.0": IPv4, "::": IPv6, "": Dual, "127.0.0.1": Loopback}),
		Case{Config: "fastapi run app.py --host 0.0.0.0 --workers 2", Port: "8000", Binds: IPv4, NotRun: notDebian},
		Case{Config: "fastapi run app.py --port 8080", Port: "8080", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
		Case{Config: "fastapi dev app.py", Port: "8000", Binds: Loopback, NotRun: notDebian})
}

// Django's development server takes [host:]port as a word.
//
// Source: docs.djangoproject.com/en/3.2/ref/django-admin/#runserver.
func djangoRun(c *Command) []Listener {
	i := slices.IndexFunc(c.Args, func(w *Word) bool { return w.Text == "runserver" || w.Text == "runserver_plus" })
	if i < 0 {
		return nil
	}
	for _, w := range c.Args[i+1:] {
		host, port, ok := splitHostPort(w.Text)
		if !ok || port == "" || strings.HasPrefix(w.Text, "-") {
			continue
		}
		o := options{stack: plain, both: "[::]"}
		if host == "0" {
			l := o.listener("runserver ", w, 0, host, port)
			l.Family, l.Fault, l.Reason = IPv4, IPv4Only, binds0(host)
			l.Advice, l.Edits = `use "runserver [::]:`+oneLine(port)+`"`, w.Replace(0, 1, "[::]")
			return []Listener{l}
		}
		if host == "" {
			return nil // Django refuses it
		}
		return []Listener{o.listener("runserver ", w, 0, host, port)}
	}
	return nil
}

func flaskRun(c *Command) []Listener {
	o := options{stack: plain, host: []string{"--host", "-h"}, port: []string{"--port", "-p"}, hostVar: "FLASK_RUN_HOST", portVar: "FLASK_RUN_PORT", local: "5000", both: "::"}
	if c.Program == "" {
		return doubted(o.run(c), "the image does not run flask, or with --host")
	}
	if !c.Has("run") {
		return nil
	}
	return o.run(c)
}

// waitress opens a socket for each address that getaddrinfo gives, IPv6 ones for IPv6 only; "*" gives both.
func waitressRun(c *Command) []Listener {
	o := options{stack: stack{IPv4, IPv6, Unknown, Dual}, address: []string{"--listen"}, host: []string{"--host"}, port: []string{"--port"}, local: "8080", both: "*"}
	if o.given(c) {
		return o.run(c)
	}
	if len(c.Flags("--unix-socket")) > 0 || c.Has("--help") {
		return nil
	}
	return c.byDefault(o.portOf(c), `add "--host=*"`, "") // "--listen" beside "--port" is an error
}

// python -m http.server binds the first address that the C library gives for no host.
func httpServerRun(c *Command) []Listener {
	o := options{stack: plain, host: []string{"--bind", "-b"}, both: "::", local: "8000"}
	for i, w := range c.Args {
		if isPort(w.Text) && (i == 0 || !strings.HasPrefix(c.Args[i-1].Text, "-")) || i > 0 && isPort(w.Text) && c.Args[i-1].Text == "--cgi" {
			o.local = w.Text
		}
	}
	if o.given(c) {
		return o.run(c)
	}
	return c.byDefault(o.local, `add "--bind ::"`, "the C library of the image prefers IPv6")
}

// uwsgiSockets are the options of uWSGI that take an address. Each is also a key of [uwsgi] and a variable: UWSGI_HTTP_SOCKET.
var uwsgiSockets = []string{"http", "https", "http-socket", "https-socket", "socket", "uwsgi-socket", "fastcgi-socket", "scgi-socket", "http11-socket", "stats"}

var uwsgi = options{stack: plain, both: "[::]"}

func uwsgiRun(c *Command) []Listener {
	var out []Listener
	for _, f := range values(c.Flags(uwsgiFlags...)) {
		out = append(out, uwsgiSocket(f.Name+" ", f.Word)...)
	}
	for _, name := range uwsgiVariables {
		if w, _ := c.Var(name); w != nil {
			found := uwsgiSocket(name+"=", w)
			if c.Program == "" {
				found = doubted(found, "the image does not run uWSGI")
			}
			out = append(out, found...)
		}
	}
	return beside(out)
}

// The options and variables of uwsgiSockets.
var uwsgiFlags, uwsgiVariables = func() (flags, variables []string) {
	for _, s := range uwsgiSockets {
		flags = append(flags, "--"+s)
		variables = append(variables, "UWSGI_"+strings.ToUpper(strings.ReplaceAll(s, "-", "_")))
	}
	return append(flags, "-s"), variables
}()

// uwsgiSocket reads an address; options of https and http-socket follow after a comma. A word without colon is a path.
func uwsgiSocket(prefix string, w *Word) []Listener {
	address, _, _ := strings.Cut(w.Text, ",")
	if !strings.Contains(address, ":") {
		return nil
	}
	out := uwsgi.pair(prefix, w.slice(0, len(address)))
	if strings.Contains(strings.ToLower(prefix), "stats") {
		return doubted(out, "only its own pod asks for statistics")
	}
	return out
}

func uwsgiFile(f File) []Listener {
	var out []Listener
	conditional := false
	for _, s := range settings(f.Text, "#;", false) {
		conditional = conditional || strings.HasPrefix(s.key.text, "if-")
		if s.section == "uwsgi" && slices.Contains(uwsgiSockets, s.key.text) && len(out) < maxAddresses {
			start := s.value.start
			if len(s.value.text) < s.value.end-start {
				start++ // the quote
			}
			w := &Word{Text: s.value.text, file: f.Name, base: f.Text, parts: []part{{0, start, len(s.value.text), 0}}}
			out = append(out, uwsgiSocket(s.key.text+" = ", w)...)
		}
	}
	if conditional {
		out = doubted(out, "the condition around it does not hold")
	}
	return beside(out)
}

// vLLM makes one plain socket.
//
// Source: vllm/entrypoints/openai/api_server.py (create_server_socket).
func vllmRun(c *Command) []Listener {
	if c.Program == "vllm" && !c.Has("serve") || len(c.Flags("--uds")) > 0 {
		return nil
	}
	o := options{stack: plain, host: []string{"--host"}, port: []string{"--port"}, local: "8000", both: "::"}
	if o.given(c) {
		return o.run(c)
	}
	return c.byDefault(o.portOf(c), `add "--host ::"`, "this vLLM is one that binds both")
}

// Jupyter's "*" is no host for tornado, so both families.
//
// Source: jupyter_server/serverapp.py, ServerApp.ip.
func jupyterRun(c *Command) []Listener {
	o := options{stack: stack{IPv4, IPv6, Unknown, Dual}, host: []string{"--ip", "--ServerApp.ip", "--NotebookApp.ip"}, port: []string{"--port", "--ServerApp.port", "--NotebookApp.port"}, portVar: "JUPYTER_PORT", local: "8888", both: "*"}
	return o.run(c)
}

// mlflowRun: MLflow 2 hands the host to gunicorn, MLflow 3 to uvicorn.
//
// Source: mlflow/server/__init__.py.
func mlflowRun(c *Command) []Listener {
	if !c.Has("server") && !c.Has("ui") {
		return nil
	}
	o := options{stack: plain, host: []string{"--host", "-h"}, port: []string{"--port", "-p"}, hostVar: "MLFLOW_HOST", portVar: "MLFLOW_PORT", local: "5000",
		advice: `use "--host [::]" (MLflow 2) or "--host ::" (MLflow 3)`}
	return o.run(c)
}

// streamlitRun: without an address tornado binds both.
//
// Source: docs.streamlit.io, configuration option server.address.
func streamlitRun(c *Command) []Listener {
	o := options{stack: asyncio, host: []string{"--server.address"}, port: []string{"--server.port"}, hostVar: "STREAMLIT_SERVER_ADDRESS", portVar: "STREAMLIT_SERVER_PORT", local: "8501",
		advice: "remove it: Streamlit binds both without", varAdvice: "remove it: Streamlit binds both without"}
	if c.Program == "" {
		return doubted(o.run(c), "the image's command has --server.address")
	}
	return o.run(c)
}

// gradioRun: Gradio tries the variable's value with an IPv4 socket first, so "::" is no way out.
//
// Source: gradio/http_server.py.
func gradioRun(c *Command) []Listener {
	o := options{stack: asyncio, hostVar: "GRADIO_SERVER_NAME", portVar: "GRADIO_SERVER_PORT", local: "7860", advice: `call launch(server_name="[::]") instead`}
	return doubted(o.run(c), "launch() in the code has a server_name")
}

// own makes Run of a program whose variables tell what is meant: where only the image knows the executable, they are what is read.
func own(names []string, run func(*Command) []Listener) func(*Command) []Listener {
	return func(c *Command) []Listener {
		switch {
		case slices.Contains(names, c.Program):
			return run(c)
		case c.Program != "":
			return nil
		}
		env := *c
		env.Args = nil // of another program
		return run(&env)
	}
}

func gunicornCases() []Case {
	out := optionCases("gunicorn app:app -b %s", "", map[string]Family{
		"0.0.0.0:8000": IPv4, ":8000": IPv4, "[::]:8000": Dual, "127.0.0.1:8000": Loopback, "10.1.2.3:8000": IPv4, "tcp://0.0.0.0:8000": IPv4})
	out = append(out, optionCases("GUNICORN_CMD_ARGS='--workers=1 --bind=%s' gunicorn app:app", "", map[string]Family{"0.0.0.0:8000": IPv4, "[::]:8000": Dual})...)
	return append(out,
		Case{Config: "gunicorn app:app", Port: "8000", Binds: Loopback},
		Case{Config: "PORT=8000 gunicorn app:app", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{Config: "PORT=8000 gunicorn app:app --bind=[::]:8000", Port: "8000", Binds: Dual},
		Case{Config: "GUNICORN_CMD_ARGS=--bind=0.0.0.0:8000 gunicorn app:app -b [::]:8000", Port: "8000", Binds: Dual},
		Case{Config: "gunicorn app:app --bind unix:/tmp/app.sock", Binds: Unix, NotRun: "no port"},
		Case{Config: "gunicorn app:app --bind '0.0.0.0:${PORT:-8000}'", Port: "${PORT:-8000}", Binds: IPv4, NotRun: "a variable of a shell"},
		Case{Config: "gunicorn app:app --bind '${HOST:-0.0.0.0}:8000'", Port: "8000", NotRun: "an address that the text does not tell"},
		Case{Config: "gunicorn app:app --check-config --bind 0.0.0.0:8000", Port: "8000", NotRun: "it serves nothing"},
		Case{File: "gunicorn.conf.py", Config: "import os\nbind = '0.0.0.0:8000'\nfor k, v in os.environ.items():\n    if k.startswith('NO_GUNICORN_'):\n        locals()[k] = v\n", Port: "8000", Binds: IPv4, Doubt: true},
		Case{Config: "gunicorn app:app --bind '${HOST}:8000'", Port: "8000", NotRun: "an address that the text does not tell"},
		Case{File: "gunicorn.conf.py", Config: "# bind = \"[::]:8000\"\nbind = \"0.0.0.0:8000\"  # all\nworkers = 1\n", Port: "8000", Binds: IPv4},
		Case{File: "gunicorn.conf.py", Config: "bind = ['0.0.0.0:8000', 'unix:/tmp/gunicorn.sock']\nworkers = 1\n", Port: "8000", Binds: IPv4},
		Case{File: "gunicorn.conf.py", Config: "\"\"\"\nbind = \"0.0.0.0:8000\"\n\"\"\"\nbind = \"[::]:8000\"\n", Port: "8000", Binds: Dual},
		Case{File: "gunicorn.conf.py", Config: "import os\nbind = \"[::]:\" + os.environ.get(\"NO_PORT\", \"8000\")\n", Port: "8000", Binds: Dual},
	)
}

// optionCases are command lines with one value at %s.
func optionCases(format, notRun string, values map[string]Family) []Case {
	var out []Case
	for value, binds := range values {
		word := value
		if value == "" || strings.ContainsAny(value, "*[") {
			word = "'" + value + "'"
		}
		if strings.Contains(format, "'") {
			word = value
		}
		c := Case{Config: strings.Replace(format, "%s", word, 1), Port: "8000", Binds: binds, NotRun: notRun}
		if strings.Contains(value, "10.1.2.3") {
			c.NoFix, c.NotRun = true, cmp.Or(notRun, "the pod lacks the address")
		}
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Case) int { return strings.Compare(a.Config, b.Config) })
	return out
}

func uvicornCases() []Case {
	out := optionCases("uvicorn app:asgi --host %s", "", map[string]Family{
		"0.0.0.0": IPv4, "::": IPv6, "": Dual, "127.0.0.1": Loopback, "localhost": Loopback, "10.1.2.3": IPv4})
	return append(out,
		Case{Config: "uvicorn app:asgi --host=0.0.0.0 --port=8001", Port: "8001", Binds: IPv4},
		Case{Config: "uvicorn app:asgi", Port: "8000", Binds: Loopback},
		Case{Config: "HOST=0.0.0.0 sh -c 'exec uvicorn app:asgi --host $HOST'", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{Config: "HOST=:: sh -c 'exec uvicorn app:asgi --host \"${HOST}\"'", Port: "8000", Binds: IPv6},
		Case{Config: "HOST=0.0.0.0 uvicorn app:asgi --host '$(HOST)'", Port: "8000", Binds: IPv4, NoFix: true, NotRun: "a variable of Kubernetes"},
		Case{Config: "HOST=0.0.0.0 sh -c \"exec uvicorn app:asgi --host '\\$HOST'\"", Port: "8000", NotRun: "the shell leaves it as it is"},
		Case{Config: "uvicorn app:asgi --host 0.0.0.0 --workers 2", Port: "8000", Binds: IPv4},
		Case{Config: "uvicorn app:asgi --host '' --workers 2", Port: "8000", Binds: IPv4},
		Case{Config: "uvicorn app:asgi --host :: --workers 2", Port: "8000", Binds: Dual},
		Case{Config: "UVICORN_HOST=0.0.0.0 uvicorn app:asgi", Port: "8000", Binds: IPv4, NoFix: true},
		Case{Config: "UVICORN_HOST= uvicorn app:asgi", Port: "8000", Binds: Loopback},
		Case{Config: "UVICORN_HOST=:: uvicorn app:asgi", Port: "8000", Binds: IPv6},
		Case{Config: "UVICORN_HOST=0.0.0.0 UVICORN_PORT=8002 uvicorn app:asgi --host ''", Port: "8002", Binds: Dual},
	)
}

func hypercornCases() []Case {
	return optionCases("hypercorn app:asgi -b %s", "", map[string]Family{"0.0.0.0:8000": IPv4, ":8000": IPv4, "[::]:8000": Dual, "127.0.0.1:8000": Loopback, "10.1.2.3:8000": IPv4})
}

func daphneCases() []Case {
	return optionCases("daphne -b %s -p 8000 app:asgi", "", map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4})
}

func djangoCases() []Case {
	out := optionCases("python3 manage.py runserver --noreload %s", "", map[string]Family{
		"0.0.0.0:8000": IPv4, "0:8000": IPv4, "[::]:8000": Dual, "127.0.0.1:8000": Loopback, "10.1.2.3:8000": IPv4})
	return append(out, Case{Config: "python3 manage.py runserver --noreload 8000", Port: "8000", Binds: Loopback})
}

func flaskCases() []Case {
	out := optionCases("flask run --port 8000 --host %s", "", map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4})
	return append(out,
		Case{Config: "FLASK_RUN_HOST=0.0.0.0 flask run -p 8000", Port: "8000", Binds: IPv4},
		Case{Config: "FLASK_RUN_HOST=0.0.0.0 flask run -p 8000 -h ::", Port: "8000", Binds: Dual},
		Case{Config: "flask run -p 8000", Port: "8000", Binds: Loopback})
}

func waitressCases() []Case {
	out := optionCases("waitress-serve --listen=%s app:app", "", map[string]Family{
		"0.0.0.0:8000": IPv4, "[::]:8000": IPv6, "*:8000": Dual, "127.0.0.1:8000": Loopback, "10.1.2.3:8000": IPv4})
	return append(out,
		Case{Config: "waitress-serve --listen=0.0.0.0:8000 '--listen=[::]:8000' app:app", Port: "8000", Binds: Dual},
		Case{Config: "waitress-serve --port=8000 app:app", Port: "8000", Binds: IPv4, NoFix: true},
		Case{Config: "waitress-serve --host 0.0.0.0 --port=8000 app:app", Port: "8000", Binds: IPv4})
}

func httpServerCases() []Case {
	out := optionCases("python3 -m http.server 8000 --bind %s", "", map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback, "10.1.2.3": IPv4})
	return append(out,
		Case{Config: "python3 -m http.server 8000", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true},
		Case{Config: "python3 -m http.server -b 0.0.0.0 8001", Port: "8001", Binds: IPv4})
}

func uwsgiCases() []Case {
	forms := map[string]Family{"0.0.0.0:8000": IPv4, ":8000": IPv4, "[::]:8000": Dual, "127.0.0.1:8000": Loopback, "10.1.2.3:8000": IPv4}
	out := optionCases("uwsgi --plugin python3,http --wsgi-file app.py --need-app --http %s", "", forms)
	out = append(out, optionCases("uwsgi --plugin python3 --wsgi-file app.py --http-socket %s", "", map[string]Family{":8000": IPv4, "[::]:8000": Dual})...)
	out = append(out, optionCases("uwsgi --plugin python3 --wsgi-file app.py --socket=%s", "", map[string]Family{":8000": IPv4, "[::]:8000": Dual})...)
	return append(out,
		Case{Config: "UWSGI_HTTP_SOCKET=0.0.0.0:8000 uwsgi --plugin python3 --wsgi-file app.py", Port: "8000", Binds: IPv4},
		Case{Config: "uwsgi --plugin python3 --wsgi-file app.py --socket /tmp/uwsgi.sock", NotRun: "no port"},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\n; socket = [::]:8000\nsocket = 0.0.0.0:8000\n", Port: "8000", Binds: IPv4},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\nif-not-env = NO_V4\nhttp-socket = 0.0.0.0:8000\nendif =\n", Port: "8000", Binds: IPv4, Doubt: true},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\nhttp-socket = [::]:8000\nstats = 0.0.0.0:9191\n", Port: "9191", Binds: IPv4, Doubt: true},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\nhttp-socket = :8000\n", Port: "8000", Binds: IPv4},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\nhttp-socket = [::]:8000\n", Port: "8000", Binds: Dual},
		Case{File: "uwsgi.ini", Config: "[uwsgi]\nplugin = python3\nwsgi-file = app.py\nhttp-socket = 127.0.0.1:8000\n", Port: "8000", Binds: Loopback},
		Case{File: "app.ini", Config: "[server:main]\nuse = egg:waitress\nhost = 0.0.0.0\nport = 8000\n", Port: "8000", NotRun: "not uWSGI's"},
	)
}

func vllmCases() []Case {
	return append(optionCases("vllm serve model --host %s", notDebian, map[string]Family{"0.0.0.0": IPv4, "::": Dual, "127.0.0.1": Loopback}),
		Case{Config: "python3 -m vllm.entrypoints.openai.api_server --host=0.0.0.0 --port=8000", Port: "8000", Binds: IPv4, NotRun: notDebian},
		Case{Config: "vllm serve model", Port: "8000", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian})
}

func jupyterCases() []Case {
	return optionCases("jupyter lab --port 8000 --ip=%s", notDebian, map[string]Family{"0.0.0.0": IPv4, "*": Dual, "localhost": Loopback, "10.1.2.3": IPv4})
}

func mlflowCases() []Case {
	out := optionCases("mlflow server --port 8000 --host %s", notDebian, map[string]Family{"0.0.0.0": IPv4, "127.0.0.1": Loopback})
	return noFix(out)
}

// noFix are cases for which there is no one right answer.
func noFix(cases []Case) []Case {
	for i := range cases {
		cases[i].NoFix = cases[i].Binds == IPv4
	}
	return cases
}

func streamlitCases() []Case {
	out := optionCases("streamlit run app.py --server.port 8000 --server.address %s", notDebian, map[string]Family{"0.0.0.0": IPv4, "::": IPv6, "localhost": Loopback})
	return noFix(append(out, Case{Config: "STREAMLIT_SERVER_ADDRESS=0.0.0.0 streamlit run app.py", Port: "8501", Binds: IPv4, NotRun: notDebian}))
}

func gradioCases() []Case {
	return []Case{
		{Config: "GRADIO_SERVER_NAME=0.0.0.0 python3 app.py", Port: "7860", Binds: IPv4, NoFix: true, Doubt: true, NotRun: notDebian},
		{Config: "GRADIO_SERVER_NAME=127.0.0.1 python3 app.py", Port: "7860", Binds: Loopback, NotRun: notDebian},
	}
}
