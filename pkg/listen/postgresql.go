package listen

import (
	"net/netip"
	"path"
	"slices"
	"strings"
)

// database is what wildcards mean to PostgreSQL, PgBouncer and MariaDB: * is both families, by two sockets.
var database = stack{IPv4, IPv6, Unknown, Dual}

// databaseBind is what a list of addresses binds; they are not in brackets.
func databaseBind(value string) together {
	if strings.Contains(value, "[") {
		return together{first: value}
	}
	return database.together(list(value))
}

// PostgreSQL binds each address of the last listen_addresses, IPv6 ones with IPV6_V6ONLY, and goes on if one cannot be bound.
// Only a quoted list can have more than a name.
//
// Source: PostgreSQL 15.18 was run with each form.

func postgresqlFile(f File) []Listener {
	name := strings.ToLower(f.Name)
	if strings.Contains(name, "hba") {
		return hbaFile(f)
	}
	known := strings.Contains(name, "postgres")
	if ext := path.Ext(name); ext != ".conf" && (ext != "" || !known) && !isAside(f.Name) {
		return nil
	}
	var addresses *setting
	port, after := "5432", ""
	all := settings(f.Text, "#", false)
	for i, s := range all {
		switch key := s.key.text; {
		case key == "listen_addresses":
			addresses, after = &all[i], ""
		case key == "port":
			port = s.value.text
		case strings.HasPrefix(key, "pcp_"), strings.HasPrefix(key, "backend_hostname"):
			return nil // Pgpool-II
		case strings.HasPrefix(key, "include"):
			after = "an included file has other listen_addresses"
		case slices.Contains([]string{"max_connections", "shared_buffers", "wal_level", "max_wal_senders", "hot_standby", "hba_file",
			"unix_socket_directories", "log_destination", "password_encryption", "work_mem"}, key):
			known = true
		}
	}
	if addresses == nil || !known || f.Text[addresses.value.start:addresses.value.end] == addresses.value.text {
		return nil
	}
	l := at(f, addresses.key.start, Listener{Text: addresses.source(f), Port: port})
	l = databaseBind(addresses.value.text).in(l, `use "listen_addresses = '*'"`, []Edit{{f.Name, addresses.value.start, addresses.value.end, "'*'"}})
	return doubted(aside(f, "PostgreSQL", l), after)
}

// hbaFile reads pg_hba.conf: a range of IPv4 addresses admits no IPv6 client, whatever the server listens on.
//
// Source: postgresql.org/docs/current/auth-pg-hba-conf.html; PostgreSQL 15.18 was asked over both families.
func hbaFile(f File) []Listener {
	var records []hbaRecord
	doubt := ""
	for _, d := range lineDirectives(f.Text, '#', false) {
		if r, ok := readHBA(d); ok {
			records = append(records, r)
		}
		if strings.HasPrefix(d.name.text, "include") {
			doubt = "an included file admits IPv6 clients"
		}
		if len(records) > maxAddresses {
			return nil
		}
	}
	var out []Listener
	six := slices.ContainsFunc(records, func(r hbaRecord) bool { return r.six && r.method != "reject" })
	for _, r := range records {
		if !r.four || r.method == "reject" || slices.ContainsFunc(records, r.covered) {
			continue
		}
		l := at(f, r.name.start, Listener{Text: r.source(f), Address: r.args[2].text, Family: IPv4, Fault: IPv4Only, Reason: "admits IPv4 clients only"})
		switch {
		case r.all:
			added := f.Text[r.name.start:r.args[2].start] + "::/0" + f.Text[r.addressEnd:r.end]
			l.Advice, l.Edits, l.Doubt = `add "`+oneLine(added)+`"`, []Edit{addLine(f, r.end, added)}, doubt
			if six {
				l.Doubt = "the lines with IPv6 addresses are for all its clients"
			}
		case six:
			continue // somebody has thought of both
		default:
			l.Advice, l.Doubt = "admit the IPv6 range of its clients", "no other pod is its client"
			six = true // once is enough
		}
		out = append(out, aside(f, "PostgreSQL", l)...)
	}
	return out
}

// A hbaRecord is a line of pg_hba.conf that is about clients over TCP.
type hbaRecord struct {
	lineDirective
	four, six  bool // which clients its address is about, other than 127.0.0.1 and ::1
	all        bool // four: all of them
	method     string
	addressEnd int
}

// covered reports whether other says what becomes of the IPv6 clients that r would be about.
func (r hbaRecord) covered(other hbaRecord) bool {
	database := other.args[0].text == r.args[0].text || other.args[0].text == "all" && r.args[0].text != "replication"
	return other.six && database && slices.Contains([]string{"all", r.args[1].text}, other.args[1].text)
}

func readHBA(d lineDirective) (hbaRecord, bool) {
	r := hbaRecord{lineDirective: d}
	if !slices.Contains([]string{"host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc"}, d.name.text) || len(d.args) < 4 {
		return r, false
	}
	address, mask := d.args[2].text, ""
	r.method, r.addressEnd = d.args[3].text, d.args[2].end
	if _, err := netip.ParseAddr(address); err == nil && len(d.args) > 4 {
		mask, r.method, r.addressEnd = d.args[3].text, d.args[4].text, d.args[3].end
	}
	if mask == "0.0.0.0" {
		address += "/0"
	} else if mask != "" {
		address += "/32"
	}
	prefix, err := netip.ParsePrefix(address)
	switch {
	case err != nil:
		r.six = address != "samehost" // all, samenet, a name
	case prefix.Addr().IsLoopback():
	case prefix.Addr().Is4():
		r.four, r.all = true, prefix.Bits() == 0
	default:
		r.six = true
	}
	return r, true
}

func postgresqlRun(c *Command) []Listener {
	if c.otherProgram() || c.Has("-C", "--single", "--describe-config", "--version") {
		return nil
	}
	port := "5432"
	var found *Word
	from, text := 0, ""
	for _, f := range c.Flags("-c", "-h", "-p", "--listen_addresses", "--listen-addresses", "--port") {
		name, value, ok := strings.Cut(f.Text, "=")
		switch name = strings.ReplaceAll(strings.ToLower(name), "-", "_"); {
		case f.Name == "-p", f.Name == "--port":
			port = f.Text
		case f.Name == "-h", strings.HasPrefix(f.Name, "--listen"):
			found, from, text = f.Word, 0, f.Name+" "
		case f.Name == "-c" && ok && name == "port":
			port = value
		case f.Name == "-c" && ok && name == "listen_addresses":
			found, from, text = f.Word, len(name)+1, "-c listen_addresses="
		}
	}
	if found == nil {
		return nil
	}
	value := found.Text[from:]
	l := found.Listener(text+value, "", port, Unknown)
	return []Listener{databaseBind(value).in(l, `use "`+text+`*"`, found.Replace(from, len(found.Text), "*"))}
}

func postgresqlCases() []Case {
	var out []Case
	for _, f := range []struct {
		value string
		binds Family
	}{
		{"'*'", Dual}, {"'0.0.0.0'", IPv4}, {"'0.0.0.0, ::'", Dual}, {"'0.0.0.0, ::1' # all", IPv4}, {"'::'", IPv6}, {"'localhost'", Loopback}, {"localhost", Loopback},
		{"0.0.0.0", Unknown}, // "syntax error"
		{"'[::]'", Unknown},
		{"'10.1.2.3, ::'", Dual},
	} {
		c := Case{File: "postgresql.conf", Config: "listen_addresses = " + f.value + "\n", Port: "5432", Binds: f.binds}
		if f.value == "'10.1.2.3, ::'" {
			c.NotRun = noAddress
		}
		out = append(out, c)
	}
	const twice = "#listen_addresses = 'localhost'\nlisten_addresses = '*'\nPort=5433\nmax_connections = 10\nListen_Addresses='0.0.0.0'\n"
	const hba = "e2e/listen TestPgHba asks the server over both families instead"
	host := func(lines string, binds Family) Case {
		return Case{File: "pg_hba.conf", Config: lines, Binds: binds, NotRun: hba}
	}
	partly := host("host\tother\tall\t::/0\ttrust\nhost\tall\tall\t0.0.0.0/0\ttrust\n", IPv4)
	partly.Doubt = true
	replication := host("host all all ::/0 trust\nhost replication all 0.0.0.0/0 trust\n", IPv4)
	replication.File, replication.Doubt, replication.NotRun = "replication_hba.conf", true, "needs a standby"
	included := host("host all all 0.0.0.0/0 trust\ninclude_if_exists more_hba.conf\n", IPv4)
	included.File, included.Doubt, included.NotRun = "including_hba.conf", true, "PostgreSQL 16 has includes"
	concrete := host("host all all 10.0.0.0/8 scram-sha-256\n", IPv4)
	concrete.NoFix, concrete.Doubt = true, true
	return append(out,
		Case{File: "custom.conf", Config: twice, Port: "5433", Binds: IPv4},
		Case{File: "postgresql.conf", Config: "listen_addresses = '10.1.2.3'\n", Port: "5432", Binds: IPv4, NoFix: true, NotRun: noAddress},
		Case{File: "postgresql.conf", Config: "listen_addresses = '0.0.0.0'\ninclude_if_exists = 'more.conf'\n", Port: "5432", Binds: IPv4, Doubt: true},
		Case{File: "pgpool.conf", Config: "listen_addresses = '0.0.0.0'\nmax_connections = 1\npcp_port = 9898\n", Port: "9999", NotRun: "Pgpool-II"},
		Case{Config: "postgres -D $DIR/data -k $DIR -c listen_addresses=0.0.0.0", Port: "5432", Binds: IPv4},
		Case{Config: "postgres -D $DIR/data -k $DIR -c Listen-Addresses=0.0.0.0 -c port=5433", Port: "5433", Binds: IPv4},
		Case{Config: "postgres -D $DIR/data -k $DIR --listen_addresses=0.0.0.0", Port: "5432", Binds: IPv4},
		Case{Config: "postgres -D $DIR/data -k $DIR -h 0.0.0.0 -p 5433", Port: "5433", Binds: IPv4},
		Case{Config: "postgres -D $DIR/data -k $DIR -c listen_addresses=0.0.0.0 -c 'listen_addresses=*'", Port: "5432", Binds: Dual},
		host("local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 0.0.0.0/0 trust # pods\n", IPv4),
		host("hostnossl all all 0.0.0.0 0.0.0.0 trust\n", IPv4),
		partly, replication, included,
		host("host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n", Dual),
		host("host all all all trust\n", Dual),
		host("host all all samenet trust\n#host all all 0.0.0.0/0 trust\n", Dual),
		host("host all all 0.0.0.0/0 trust\nhost all all ::/0 reject\n", Unknown),
		host("host all all 0.0.0.0/0 reject\n", Unknown),
		concrete,
	)
}

// PgBouncer binds each address of listen_addr, IPv6 ones with IPV6_V6ONLY. It knows no quotes.
//
// Source: PgBouncer 1.18.0 was run with each form.
func pgbouncerFile(f File) []Listener {
	var address *setting
	port, after := "6432", ""
	all := settings(f.Text, "", false)
	for i, s := range all {
		if strings.HasPrefix(s.key.text, "%include") {
			after = "an included file has another listen_addr"
		}
		if s.section != "pgbouncer" || strings.HasPrefix(s.key.text, ";") || strings.HasPrefix(s.key.text, "#") {
			continue
		}
		switch s.key.text {
		case "listen_addr":
			address, after = &all[i], ""
		case "listen_port":
			port = s.value.text
		}
	}
	if address == nil || f.Text[address.value.start:address.value.end] != address.value.text {
		return nil
	}
	l := at(f, address.key.start, Listener{Text: address.source(f), Port: port})
	l = databaseBind(address.value.text).in(l, `use "listen_addr = *"`, []Edit{{f.Name, address.value.start, address.value.end, "*"}})
	return doubted(aside(f, "PgBouncer", l), after)
}

// pgbouncerRun reads the variable of Bitnami's image.
//
// Source: bitnami/containers, pgbouncer, README.
func pgbouncerRun(c *Command) []Listener {
	if c.Program == "" && c.Exec != nil && strings.Contains(c.Exec.Text, "edoburu/pgbouncer") {
		return edoburuRun(c)
	}
	const name = "PGBOUNCER_LISTEN_ADDRESS"
	w, _ := c.Var(name)
	if w == nil || c.Program != "" {
		return nil
	}
	port := "6432"
	if p, set := c.Var("PGBOUNCER_PORT"); set {
		port = ""
		if p != nil {
			port = p.Text
		}
	}
	l := w.Listener(name+"="+w.Text, "", port, Unknown)
	return []Listener{databaseBind(w.Text).in(l, `use "`+name+`=*"`, w.Replace(0, len(w.Text), "*"))}
}

// edoburuRun: the image writes LISTEN_ADDR into its pgbouncer.ini, else 0.0.0.0, unless a file is mounted there.
//
// Source: edoburu/docker-pgbouncer, entrypoint.sh.
func edoburuRun(c *Command) []Listener {
	o := options{stack: database, hostVar: "LISTEN_ADDR", portVar: "LISTEN_PORT", local: "5432", both: "*"}
	out := o.run(c)
	if !o.given(c) {
		out = c.byDefault(o.portOf(c), `set LISTEN_ADDR to "*"`, "")
	}
	return doubted(out, "a mounted pgbouncer.ini has another listen_addr")
}

func pgbouncerCases() []Case {
	var out []Case
	for _, f := range []struct {
		value string
		binds Family
	}{
		{"*", Dual}, {"0.0.0.0", IPv4}, {"0.0.0.0,::", Dual}, {"0.0.0.0, ::1", IPv4}, {"::", IPv6}, {"127.0.0.1", Loopback}, {"localhost", Loopback},
		{"'0.0.0.0'", Unknown}, {"0.0.0.0 ; all", Unknown}, {"[::]", Unknown}, {"", Unknown},
	} {
		out = append(out, Case{File: "pgbouncer.ini", Port: "6432", Binds: f.binds,
			Config: "[databases]\n[pgbouncer]\nlisten_addr = " + f.value + "\n;listen_addr = ::\nlisten_port = 6432\nauth_type = any\nunix_socket_dir =\n"})
	}
	return append(out,
		Case{Image: "edoburu/pgbouncer:v1.23.1-p2", Port: "5432", Binds: IPv4, NoFix: true, Doubt: true, NotRun: "an image"},
		Case{Image: "edoburu/pgbouncer:v1.23.1-p2", Config: "LISTEN_ADDR=0.0.0.0", Port: "5432", Binds: IPv4, Doubt: true, NotRun: "an image"},
		Case{Image: "edoburu/pgbouncer:v1.23.1-p2", Config: "LISTEN_ADDR=*", Port: "5432", Binds: Dual, NotRun: "an image"},
		Case{File: "pgbouncer.ini", Config: "[pgbouncer]\nlisten_addr = 10.1.2.3\n", Port: "6432", Binds: IPv4, NoFix: true, NotRun: noAddress})
}
