package listen

import (
	"maps"
	"slices"
	"strings"
)

// PHP-FPM binds the "listen" of each pool. A port alone takes both families. "listen.allowed_clients" resets whoever it does not
// name, so a list of IPv4 addresses admits nobody over IPv6. Of two files with the same pool, the one that is read later counts,
// and the official image's zz-docker.conf has "listen = 9000" for the pool www.
//
// Source: www.php.net/manual/en/install.fpm.configuration.php; PHP-FPM 8.2.35 was run with each form.

func phpFiles(files []File) []Listener {
	var out []Listener
	pools := map[string]int{} // place in out
	clients := map[string]Listener{}
	for _, f := range files {
		listens, allowed, ok := phpFile(f)
		if !ok {
			// A file that only sets listen again, for a pool that is known by now.
			for _, p := range listens {
				if i, seen := pools[p.pool]; seen && p.Family != IPv4 {
					out[i] = p.Listener
				}
			}
			continue
		}
		for pool, l := range allowed {
			clients[pool] = l
		}
		for _, p := range listens {
			if i, seen := pools[p.pool]; seen {
				out[i] = p.Listener
				continue
			}
			pools[p.pool] = len(out)
			out = append(out, p.Listener)
		}
	}
	for _, pool := range slices.Sorted(maps.Keys(clients)) {
		i, listens := pools[pool]
		if l := clients[pool]; listens && out[i].Family != Unix && out[i].Family != Loopback && out[i].Fault == None {
			l.Port = out[i].Port
			out[i] = l
		}
	}
	return out
}

// A phpPool is what one file says about a pool.
type phpPool struct {
	pool string
	Listener
}

func phpFile(f File) (listens []phpPool, clients map[string]Listener, ok bool) {
	clients = map[string]Listener{}
	own := strings.Contains(strings.ToLower(f.Name), "php") || f.Name == "www.conf" || f.Name == "zz-docker.conf"
	pools, places := map[string]int{}, 0
	for _, s := range settings(f.Text, ";", false) {
		key := s.key.text
		if strings.HasPrefix(key, "pm.") || strings.HasPrefix(key, "listen.") || key == "pm" || strings.HasPrefix(key, "php_admin_") {
			own = true
		}
		if s.section == "" || s.section == "global" {
			continue
		}
		if key == "listen" || key == "listen.allowed_clients" {
			if places++; places > maxBinds {
				return nil, nil, false
			}
		}
		switch {
		case key == "listen" && s.value.text != "":
			l := phpListen(f, s)
			if i, seen := pools[s.section]; seen {
				listens[i].Listener = l
				continue
			}
			pools[s.section] = len(listens)
			listens = append(listens, phpPool{s.section, l})
		case key == "listen.allowed_clients":
			l, restricted := phpClients(f, s)
			delete(clients, s.section)
			if restricted {
				clients[s.section] = l
			}
		}
	}
	return listens, clients, own
}

func phpListen(f File, s setting) Listener {
	value := s.value.text
	l := at(f, s.key.start, Listener{Text: s.source(f)})
	switch {
	case strings.Trim(value, "0123456789") == "":
		l.Port, l.Family = value, Dual
		return l
	case strings.HasPrefix(value, "/"):
		l.Family, l.Address = Unix, value
		return l
	}
	host, port, ok := splitHostPort(value)
	if !ok || host == "" || host == "*" || strings.ContainsAny(value, "${") {
		return l // "*:9000" is looked up as a host name, ":9000" ends PHP-FPM
	}
	l.Address, l.Port, l.Family = host, port, plain.family(host)
	if l.Family != IPv4 {
		return l
	}
	l.Fault, l.Reason, l.Advice = IPv4Only, binds0(host), "give an IPv6 address"
	if !isConcrete(host) {
		l.Advice = `use "listen = ` + cut(port, 20) + `", which binds both`
		l.Edits = []Edit{{f.Name, s.value.start, s.value.end, port}}
	}
	switch {
	case isAside(f.Name):
		l.Doubt = "PHP-FPM does not load this file"
	case s.section == "www" && f.Name < "zz-docker.conf":
		l.Doubt = "the image's zz-docker.conf sets listen again"
	}
	return l
}

// phpClients says whether listen.allowed_clients shuts out IPv6.
func phpClients(f File, s setting) (Listener, bool) {
	four := ""
	for _, c := range strings.Split(s.value.text, ",") {
		switch c = strings.TrimSpace(c); plain.family(c) {
		case Loopback:
		case IPv4:
			four = c
		default:
			return Listener{}, false
		}
	}
	// Loopback alone is a pool for a web server in the same pod.
	if four == "" || four == "0.0.0.0" {
		return Listener{}, false
	}
	l := at(f, s.key.start, Listener{Text: s.source(f), Address: four, Family: IPv4})
	l.Fault, l.Reason, l.Advice = IPv4Only, "resets clients over IPv6", "add the IPv6 addresses of the clients"
	return l, true
}

// phpRun reads php -S host:port and Laravel's "php artisan serve", which starts it.
func phpRun(c *Command) []Listener {
	var out []Listener
	flags := c.Flags("-S")
	if len(c.Args) > 0 && !strings.HasPrefix(c.Args[0].Text, "-") {
		flags = nil // they are the script's
	}
	for _, f := range flags {
		host, port, ok := splitHostPort(f.Text)
		if !ok || port == "" {
			continue
		}
		l := f.Listener(f.String(), host, port, plain.family(host))
		if host == "" || host == "*" {
			l = f.Listener(f.String(), host, port, Unknown)
		}
		if l.Family == IPv4 {
			l.Advice = "give an IPv6 address"
			if !isConcrete(host) {
				l.Advice = `use "-S [::]:` + cut(port, 20) + `"`
				l.Edits = f.Replace(0, len(host), "[::]")
			}
		}
		out = append(out, l)
	}
	if len(c.Args) > 1 && base(c.Args[0].Text) == "artisan" && c.Args[1].Text == "serve" {
		for _, f := range c.Flags("--host") {
			if l := f.Listener(f.String(), f.Text, "", plain.family(f.Text)); l.Family == IPv4 {
				l.Advice = `use "--host=[::]"`
				out = append(out, l)
			}
		}
	}
	return out
}

func phpFPMCases() []Case {
	conf := func(name, listen string, binds Family) Case {
		return Case{File: name, Config: "[global]\ndaemonize = no\nerror_log = /dev/stderr\n[app]\nlisten = " + listen + "\nuser = www-data\npm = static\npm.max_children = 1\n", Port: "9000", Binds: binds}
	}
	www := conf("www.conf", "0.0.0.0:9000", IPv4)
	www.Config, www.Doubt = strings.Replace(www.Config, "[app]", "[www]", 1), true
	concrete := conf("php-fpm.conf", "10.1.2.3:9000", IPv4)
	concrete.NoFix, concrete.NotRun = true, "PHP-FPM exits: the pod lacks the address"
	clients := conf("php-fpm.conf", "9000\nlisten.allowed_clients = 10.1.2.3,127.0.0.1", IPv4)
	clients.NoFix, clients.NotRun = true, "the connection is accepted, then reset: TestAllowedClients"
	sidecar := conf("php-fpm.conf", "9000\nlisten.allowed_clients = 127.0.0.1", Dual)
	sidecar.NotRun = "only loopback clients are meant"
	return []Case{
		conf("php-fpm.conf", "9000", Dual),
		conf("php-fpm.conf", "0.0.0.0:9000", IPv4),
		conf("app.conf", `"0.0.0.0:9000" ; all`, IPv4),
		conf("php-fpm.conf", "[::]:9000", Dual),
		conf("php-fpm.conf", "127.0.0.1:9000", Loopback),
		conf("php-fpm.conf", "9000\n;listen = 0.0.0.0:9000", Dual),
		conf("php-fpm.conf", "*:9000", Loopback),
		conf("php-fpm.conf", ":9000", Unknown),
		www, concrete, clients, sidecar,
	}
}

func phpCases() []Case {
	return []Case{
		{Config: "php -S 0.0.0.0:8000", Port: "8000", Binds: IPv4},
		{Config: "php -S [::]:8000 -t $DIR", Port: "8000", Binds: Dual},
		{Config: "php -S 127.0.0.1:8000", Port: "8000", Binds: Loopback},
		{Config: "php artisan serve --host=0.0.0.0", Port: "8000", Binds: IPv4, NoFix: true, NotRun: "Laravel is not in Debian"},
	}
}
