package listen

import (
	"slices"
	"strings"
)

// Kestrel binds a URL's host if it is an address or localhost, and both families for anything else, such as "*", "+" or a name.
//
// Source: learn.microsoft.com/aspnet/core/fundamentals/servers/kestrel/endpoints; aspnetcore, AddressBinder.ParseAddress.

// kestrelURL reads one URL at offset from of a word.
func kestrelURL(prefix string, w *Word, from, to int) []Listener {
	w = w.slice(from, to)
	url := w.Text
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") || strings.HasPrefix(rest, "unix:") {
		return nil
	}
	authority, _, _ := strings.Cut(rest, "/")
	host, port, ok := splitHostPort(authority)
	if !ok {
		return nil
	}
	if port == "" {
		port = "5000"
	}
	o := options{stack: plain, both: "+"}
	l := o.listener(prefix, w, len(scheme)+len("://"), host, port)
	switch {
	case l.Family == Unknown && strings.ContainsAny(host, "${}()%"):
	case l.Family == Unknown, host == "*":
		l.Family, l.Fault, l.Reason, l.Advice, l.Edits = Dual, None, "", "", nil
	case l.Fault != None && l.Edits != nil:
		l.Advice = `use "` + oneLine(scheme+"://+"+rest[len(host):]) + `"`
	}
	return []Listener{l}
}

// kestrelURLs reads a list with ";".
func kestrelURLs(prefix string, w *Word) []Listener {
	var out []Listener
	from := 0
	for from <= len(w.Text) && len(out) < maxAddresses {
		to := len(w.Text)
		if i := strings.IndexByte(w.Text[from:], ';'); i >= 0 {
			to = from + i
		}
		out = append(out, kestrelURL(prefix, w, from, to)...)
		from = to + 1
	}
	return beside(out)
}

func kestrelRun(c *Command) []Listener {
	if c.Program == "dotnet" && len(c.Args) > 0 && slices.Contains([]string{"build", "clean", "ef", "format", "nuget", "pack", "publish", "restore", "test", "tool"}, c.Args[0].Text) {
		return nil
	}
	var out []Listener
	endpoints := false
	for _, e := range c.Env {
		if !strings.HasSuffix(e.Name, "rl") && !strings.HasSuffix(e.Name, "RL") {
			continue
		}
		name := strings.ReplaceAll(strings.ToLower(e.Name), "__", ":")
		if strings.Contains(name, "kestrel:endpoints:") && strings.HasSuffix(name, ":url") && len(out) < maxAddresses {
			endpoints = true
			if e.Word != nil {
				out = append(out, kestrelURL("Url ", e.Word, 0, len(e.Text))...)
			}
		}
	}
	if endpoints {
		return out // they override URLs
	}
	if f := values(c.Flags("--urls")); len(f) > 0 {
		if c.Program != "dotnet" {
			return nil // it may be .NET, and then overrides the variables
		}
		return kestrelURLs("--urls ", f[len(f)-1].Word)
	}
	for _, name := range []string{"ASPNETCORE_URLS", "DOTNET_URLS", "URLS"} { // the first that is set counts
		w, set := c.Var(name)
		if !set {
			continue
		}
		if w == nil {
			return nil
		}
		urls := kestrelURLs(name+"=", w)
		if name == "URLS" && c.Program != "dotnet" {
			urls = doubted(wildcardsOf(urls), "the program is not .NET")
		} else if _, both := c.Var("URLS"); both && name != "URLS" {
			urls = doubted(urls, "URLS counts more")
		}
		return urls
	}
	return nil
}

// kestrelFile reads appsettings.json: "Urls", and the endpoints of "Kestrel".
func kestrelFile(f File) []Listener {
	docs := readYAML(f)
	if len(docs) != 1 {
		return nil
	}
	var out []Listener
	read := func(prefix string, n yamlNode) {
		start := n.offset() + 1
		if n.str() == "" || start+len(n.str()) > len(f.Text) || f.Text[start:start+len(n.str())] != n.str() {
			return // escapes
		}
		w := &Word{Text: n.str(), file: f.Name, base: f.Text, parts: []part{{0, start, len(n.str()), 0}}}
		out = append(out, kestrelURLs(prefix, w)...)
	}
	endpoints := append(docs[0].get("Kestrel", "Endpoints").keys(), docs[0].get("Kestrel", "EndPoints").keys()...)
	for _, e := range endpoints[:min(len(endpoints), maxAddresses)] {
		read("Url: ", e.value.get("Url"))
	}
	if len(out) == 0 {
		read("Urls: ", docs[0].get("Urls"))
	}
	if strings.EqualFold(f.Name, "appsettings.Development.json") {
		out = doubted(out, "the environment is not Development")
	}
	return out
}

func kestrelCases() []Case {
	out := []Case{
		{Config: "ASPNETCORE_URLS=http://0.0.0.0:8000 dotnet app.dll", Port: "8000", Binds: IPv4},
		{Config: "ASPNETCORE_URLS=http://+:8000 ./app", Port: "8000", Binds: Dual},
		{Config: "ASPNETCORE_URLS='http://*:8000' ./app", Port: "8000", Binds: Dual},
		{Config: "ASPNETCORE_URLS='http://[::]:8000' ./app", Port: "8000", Binds: Dual},
		{Config: "ASPNETCORE_URLS=http://web.example.net:8000 ./app", Port: "8000", Binds: Dual},
		{Config: "ASPNETCORE_URLS=http://localhost:8000 ./app", Port: "8000", Binds: Loopback},
		{Config: "ASPNETCORE_URLS='http://*:$(PORT)' ./app", Port: "$(PORT)", Binds: Dual},
		{Config: "ASPNETCORE_URLS='https://+:8443;http://0.0.0.0:8000' ./app", Port: "8000", Binds: IPv4},
		{Config: "ASPNETCORE_URLS=http://10.1.2.3:8000 ./app", Port: "8000", Binds: IPv4, NoFix: true},
		{Config: "URLS=http://0.0.0.0:8000 ./app", Port: "8000", Binds: IPv4, Doubt: true},
		{Config: "URLS=http://10.1.2.3:9200 ./app", Port: "9200"},
		{Config: "./app --urls http://0.0.0.0:8000", Port: "8000"},
		{Config: "dotnet app.dll --urls http://0.0.0.0:8000", Port: "8000", Binds: IPv4},
		{Config: "ASPNETCORE_URLS=http://0.0.0.0:8000 dotnet app.dll --urls=http://+:8000", Port: "8000", Binds: Dual},
		{Config: "Kestrel__Endpoints__Http__Url=http://0.0.0.0:8000 dotnet app.dll", Port: "8000"},
		{File: "appsettings.json", Config: "{\n  \"Kestrel\": {\n    \"Endpoints\": {\"Http\": {\"Url\": \"http://0.0.0.0:8000\"}}\n  }\n}\n", Port: "8000", Binds: IPv4},
		{File: "appsettings.Production.json", Config: "{\"Urls\": \"http://0.0.0.0:8000;https://+:8443\", \"AllowedHosts\": \"*\"}\n", Port: "8000", Binds: IPv4},
		{Config: "Kestrel__Endpoints__Http__Url=http://+:8000 dotnet app.dll --urls http://0.0.0.0:8001", Port: "8001"},
		{Config: "ASPNETCORE_URLS=http://+:8000 DOTNET_URLS=http://0.0.0.0:8000 dotnet app.dll", Port: "8000", Binds: Dual},
		{Config: "ASPNETCORE_URLS=http://0.0.0.0:8000 ./app --urls http://+:8000", Port: "8000"},
		{Config: "ASPNETCORE_URLS=http://0.0.0.0:8000 dotnet ef database update", Port: "8000"},
		{Config: "ASPNETCORE_URLS='http://0.0.0.0:8000;http://[::]:8000' dotnet app.dll", Port: "8000", Binds: Dual},
		{File: "appsettings.json", Config: "{\"Kestrel\": {\"EndPoints\": {\"Http\": {\"Url\": \"http://0.0.0.0:8000\"}}}}\n", Port: "8000", Binds: IPv4},
		{File: "appsettings.Development.json", Config: "{\"Urls\": \"http://0.0.0.0:8000\"}\n", Port: "8000", Binds: IPv4, Doubt: true},
		{File: "appsettings.json", Config: "{\"Urls\": \"http://+:8000\", \"Backend\": \"http://0.0.0.0:9000\"}\n", Port: "8000", Binds: Dual},
	}
	for i := range out {
		out[i].NotRun = notDebian
	}
	return slices.Clip(out)
}
