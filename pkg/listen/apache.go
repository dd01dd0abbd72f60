package listen

import (
	"slices"
	"strings"
)

// Apache httpd opens one socket for each "Listen". Without an address, or with *, it takes both families; a second Listen of the
// port, as [::], then finds it in use, and httpd exits. A <VirtualHost> opens none.
//
// Source: httpd.apache.org/docs/2.4/bind.html; httpd 2.4.71 was run with each form.

func apacheFiles(files []File) []Listener {
	var out []Listener
	for _, f := range files {
		out = append(out, apacheFile(f)...)
	}
	out = serveBoth(out)
	dual := map[string]int{}
	for _, l := range out {
		if l.Family == Dual {
			dual[l.Port]++
		}
	}
	for i, l := range out {
		if l.Family == Dual && dual[l.Port] > 1 {
			out[i].Family = Unknown // httpd exits, or the files are never loaded together
		}
	}
	return out
}

func apacheFile(f File) []Listener {
	directives := lineDirectives(f.Text, '#', true)
	known := apacheName(f.Name)
	var out []Listener
	conditions := 0
	for _, d := range directives {
		name := strings.ToLower(d.name.text)
		switch {
		case !apacheDirective(d), name == "systemgroup", name == "browsing", name == "webinterface", name == "<policy", strings.HasPrefix(f.Name, "cups"): // CUPS has the same syntax
			return nil
		case strings.HasPrefix(name, "</if"):
			conditions--
		case strings.HasPrefix(name, "<if"):
			conditions++
			known = true
		case slices.Contains(apacheOwn, strings.TrimRight(name, ">")):
			known = true
		case name == "listen" && len(d.args) > 0 && len(d.args) < 3 && strings.TrimSpace(lineAt(f.Text, d.end)) == "":
			a := d.args[0]
			l := apacheListen(a.text)
			l = at(f, d.name.start, l)
			l.Text = d.source(f)
			if l.Fixable() {
				l.Edits = []Edit{{f.Name, a.start, a.end, l.Port}}
			}
			switch {
			case l.Fault == None:
			case conditions > 0:
				l.Doubt = "the <If…> around it does not hold"
			case isAside(f.Name):
				l.Doubt = "Apache does not load this file"
			}
			out = append(out, l)
		}
		if len(out) > maxBinds {
			return nil
		}
	}
	if !known {
		return nil
	}
	return out
}

// apacheOwn are directives that no other program has.
var apacheOwn = []string{"loadmodule", "serverroot", "documentroot", "<virtualhost", "<directory", "<location", "<files", "<filesmatch", "<directorymatch", "<locationmatch",
	"servertokens", "serversignature", "errordocument", "customlog", "logformat", "allowoverride", "rewriteengine", "directoryindex", "startservers", "maxrequestworkers", "proxypass",
	"proxypassreverse", "sslengine", "keepalivetimeout", "includeoptional", "mpm_prefork_module", "addtype", "typesconfig", "setenvif", "requestheader"}

// apacheName reports whether a file has the name of one of Apache's.
func apacheName(name string) bool {
	name = strings.ToLower(name)
	return name == "ports.conf" || strings.Contains(name, "httpd") || strings.Contains(name, "apache")
}

// apacheDirective reports whether a line may be one of Apache's: a name, or a tag, and no end as in nginx or a shell.
func apacheDirective(d lineDirective) bool {
	if text := d.name.text; text[0] == '<' {
		return len(text) > 2 && (text[1] == '/' || isLetter(text[1]))
	}
	for _, c := range []byte(d.name.text) {
		if !isLetter(c) && (c < '0' || c > '9') {
			return false
		}
	}
	last := d.name
	if len(d.args) > 0 {
		last = d.args[len(d.args)-1]
		if strings.HasPrefix(d.args[0].text, "=") {
			return false
		}
	}
	return !strings.HasSuffix(last.text, ";") && last.text != "{"
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// apacheListen reads the value of a Listen. The edit is only a sign that there is a right answer: the port.
func apacheListen(value string) Listener {
	host, port := "", value
	if i := strings.LastIndexByte(value, ':'); i >= 0 {
		host, port = value[:i], value[i+1:]
	}
	l := Listener{Address: host, Port: port, Family: stack{IPv4, Dual, Dual, Dual}.family(host)}
	if port == "" || host == "" && value[0] == ':' || strings.ContainsAny(value, "$%{") {
		l.Family = Unknown
	}
	if l.Family == IPv4 {
		l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
		if !isConcrete(host) {
			l.Advice = `use "Listen ` + cut(port, 20) + `", which binds both`
			l.Edits = []Edit{{}}
		}
	}
	return l
}

// apacheRun reads httpd -c "Listen 80": directives that are read after, or with -C before, the files.
func apacheRun(c *Command) []Listener {
	if c.Has("-t", "-S", "-v", "-V", "-l", "-L", "-M", "configtest") {
		return nil // it only tests or shows
	}
	var out []Listener
	for _, f := range c.Flags("-c", "-C") {
		words := strings.Fields(f.Text)
		if len(words) < 2 || !strings.EqualFold(words[0], "Listen") {
			continue
		}
		judged := apacheListen(words[1])
		l := f.Listener(f.String(), judged.Address, judged.Port, judged.Family)
		l.Fault, l.Reason, l.Advice = judged.Fault, judged.Reason, judged.Advice
		if judged.Fixable() {
			from := strings.Index(f.Text, words[1])
			l.Edits = f.Replace(from, from+len(words[1]), judged.Port)
		}
		out = append(out, l)
	}
	return serveBoth(out)
}

func apacheCases() []Case {
	conf := func(listen string, binds Family) Case {
		return Case{File: "httpd.conf", Config: "ServerRoot /usr/lib/apache2\n" + listen + "\n<VirtualHost *:80>\n</VirtualHost>\n", Port: "80", Binds: binds}
	}
	concrete := conf("Listen 10.1.2.3:80", IPv4)
	concrete.NoFix, concrete.NotRun = true, "httpd exits: the pod lacks the address"
	conditional := conf("<IfModule !no_such_module>\nListen 0.0.0.0:80\n</IfModule>", IPv4)
	conditional.Doubt = true
	return []Case{
		conf("Listen 80", Dual),
		conf("Listen *:80", Dual),
		conf("Listen 80 http", Dual),
		conf("Listen [::]:80", Dual),
		conf("Listen 0.0.0.0:80", IPv4),
		conf("listen 0.0.0.0:80 http", IPv4),
		conf("Listen 0.0.0.0:80 # no comment here", Unknown),
		conf("Listen 0.0.0.0:80\nListen [::]:80", Dual),
		conf("Listen 80\nListen [::]:80", Unknown),
		conf("Listen 127.0.0.1:80", Loopback),
		conf("#Listen 0.0.0.0:80\nListen 80", Dual),
		conf("Listen \\\n 0.0.0.0:80", IPv4),
		conf("Listen :80", Unknown),
		conditional,
		concrete,
		{File: "ports.conf", Config: "Listen 0.0.0.0:80\n", Port: "80", Binds: IPv4},
		{Config: `apache2 -X -f $DIR/empty.conf -c "Listen 0.0.0.0:80"`, Port: "80", Binds: IPv4},
		{Config: `apache2 -X -f $DIR/empty.conf -C "Listen 80"`, Port: "80", Binds: Dual},
	}
}
