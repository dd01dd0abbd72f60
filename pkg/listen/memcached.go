package listen

// memcached opens a socket for each address of -l, IPv6 ones with IPV6_V6ONLY, and exits if one cannot be bound. Without -l, or
// with *, it takes both families.
//
// Source: memcached 1.6.18 was run with each form.

var memcachedStack = stack{IPv4, IPv6, Unknown, Dual}

func memcachedRun(c *Command) []Listener {
	o := options{port: []string{"-p", "--port"}, local: "11211"}
	words := c.Flags("-l", "--listen")
	// The variable of Bitnami's image. Source: bitnami/containers, memcached, run.sh.
	const variable = "MEMCACHED_LISTEN_ADDRESS"
	if w, _ := c.Var(variable); w != nil && w.Text != "" && c.Program == "" {
		words = append(words, Flag{variable, w})
		o.portVar = "MEMCACHED_PORT_NUMBER"
	}
	port := o.portOf(c)
	byPort := map[string][]string{}
	var ports []string
	for _, w := range words {
		for _, item := range list(w.Text) {
			host, at, ok := splitHostPort(item)
			if !ok {
				host = item // an IPv6 address without brackets
			}
			if at == "" {
				at = port
			}
			if byPort[at] == nil {
				ports = append(ports, at)
			}
			byPort[at] = append(byPort[at], host)
		}
		if len(ports) > maxAddresses {
			return nil
		}
	}
	var out []Listener
	for _, p := range ports {
		w := words[0]
		text, sep := w.String(), " "
		if w.Name == variable {
			text, sep = variable+"="+w.Text, "="
		}
		advice, edits := "add [::] with the same port", []Edit(nil)
		if len(words) == 1 && w.Text == "0.0.0.0" {
			advice, edits = `use "`+w.Name+sep+`0.0.0.0,::"`, w.Replace(0, len(w.Text), "0.0.0.0,::")
		} else if len(words) == 1 && w.Text == "0.0.0.0:"+p {
			form := w.Text + ",[::]:" + p
			advice, edits = `use "`+w.Name+sep+form+`"`, w.Replace(0, len(w.Text), form)
		}
		out = append(out, memcachedStack.together(byPort[p]).in(w.Listener(text, "", p, Unknown), advice, edits))
	}
	return out
}

func memcachedCases() []Case {
	const run = "memcached -u nobody "
	return []Case{
		{Config: run + "-l 0.0.0.0", Port: "11211", Binds: IPv4},
		{Config: run + "--listen=0.0.0.0 -p 12000", Port: "12000", Binds: IPv4},
		{Config: run + "-l0.0.0.0:11212", Port: "11212", Binds: IPv4},
		{Config: run + "-l 0.0.0.0,::1", Port: "11211", Binds: IPv4, NoFix: true},
		{Config: run + "-l 10.1.2.3", Port: "11211", Binds: IPv4, NoFix: true, NotRun: noAddress},
		{Config: run + "-l 0.0.0.0,::", Port: "11211", Binds: Dual},
		{Config: run + "-l 0.0.0.0 -l [::]", Port: "11211", Binds: Dual},
		{Config: run, Port: "11211", Binds: Dual},
		{Config: run + "-l ::", Port: "11211", Binds: IPv6},
		{Config: run + "-l 127.0.0.1", Port: "11211", Binds: Loopback},
		{Config: run + "-l 0.0.0.0,127.0.0.1", Port: "11211", Binds: Unknown},
		{Config: run + "-l '*'", Port: "11211", Binds: Dual},
		{Config: run + "-l $(POD_IP)", Port: "11211", Binds: Unknown, NotRun: "a variable"},
	}
}
