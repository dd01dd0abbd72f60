package listen

import (
	"path"
	"regexp"
	"strings"
)

// MySQL and MariaDB bind each address of bind-address, both families without one. MariaDB binds :: with IPV6_V6ONLY, MySQL
// without, so * is the one way to both families.
//
// Source: dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_bind_address for MySQL; MariaDB 10.11.19 was run.

// mysqlGroup are the groups of an option file that the server reads.
var mysqlGroup = regexp.MustCompile(`^(mysqld|mariadbd?|server|galera)(-[0-9.]+)?$`)

func mysqlFile(f File) []Listener {
	if ext := path.Ext(strings.ToLower(f.Name)); ext != ".cnf" && ext != ".ini" && ext != ".conf" && !isAside(f.Name) {
		return nil
	}
	if !strings.Contains(f.Text, "[") {
		return nil
	}
	// [server] and [galera] are anybody's but in a file of MySQL's.
	own := strings.Contains(f.Name, ".cnf") || strings.Contains(f.Name, "my") || strings.Contains(f.Name, "maria")
	var address *setting
	port, after := "3306", ""
	all := settings(f.Text, "#;", false)
	for i, s := range all {
		if strings.HasPrefix(s.key.text, "!include") {
			after = "an included file has another bind-address"
		}
		if !mysqlGroup.MatchString(s.section) || !own && !strings.HasPrefix(s.section, "m") {
			continue
		}
		switch strings.TrimPrefix(strings.ReplaceAll(s.key.text, "_", "-"), "loose-") {
		case "bind-address":
			address, after = &all[i], ""
		case "port":
			port = s.value.text
		case "skip-networking":
			if s.value.text != "0" && !strings.EqualFold(s.value.text, "off") {
				return nil
			}
		}
	}
	if address == nil {
		return nil
	}
	l := at(f, address.key.start, Listener{Text: address.source(f), Port: port})
	l = databaseBind(address.value.text).in(l, `use "`+address.key.text+` = *"`, []Edit{{f.Name, address.value.start, address.value.end, "*"}})
	return doubted(aside(f, "MySQL", l), after)
}

func mysqlRun(c *Command) []Listener {
	if c.otherProgram() || c.Has("--help", "--version", "--initialize", "--initialize-insecure", "--bootstrap") {
		return nil
	}
	flags := c.Flags("--bind-address", "--bind_address")
	if len(flags) == 0 || c.Has("--skip-networking", "--skip_networking") {
		return nil
	}
	f := flags[len(flags)-1]
	l := f.Listener(f.Name+"="+f.Text, "", options{port: []string{"--port", "-P"}, local: "3306"}.portOf(c), Unknown)
	return []Listener{databaseBind(f.Text).in(l, `use "`+f.Name+`=*"`, f.Replace(0, len(f.Text), "*"))}
}

func mysqlCases() []Case {
	var out []Case
	for _, f := range []struct {
		line  string
		binds Family
	}{
		{"bind-address = 0.0.0.0", IPv4}, {"Bind_Address='0.0.0.0' # all", IPv4}, {"bind-address=*", Dual}, {`bind-address="0.0.0.0,::"`, Dual},
		{"bind-address=127.0.0.1", Loopback}, {"#bind-address=0.0.0.0", Dual}, {"bind-address=0.0.0.0,127.0.0.1", Unknown}, {"bind-address=", Unknown},
	} {
		out = append(out, Case{File: "my.cnf", Config: "[client]\nbind-address=0.0.0.0\n[mysqld]\nport = 3307\n" + f.line + "\n", Port: "3307", Binds: f.binds})
	}
	return append(out,
		Case{File: "my.cnf", Config: "[mysqld]\nbind-address=::\n", Port: "3306", Binds: IPv6},
		Case{File: "galera.cnf", Config: "[galera]\nwsrep_on=OFF\nbind-address=0.0.0.0\n", Port: "3306", Binds: IPv4},
		Case{File: "my.cnf", Config: "[mysqld]\nbind-address=10.1.2.3\n", Port: "3306", Binds: IPv4, NoFix: true, NotRun: "MariaDB binds an address that the pod has not; nobody reaches it"},
		Case{File: "my.cnf", Config: "[mysqld]\nbind-address=0.0.0.0\n!includedir $DIR/more\n", Port: "3306", Binds: IPv4, Doubt: true, NotRun: "the other files decide"},
		Case{File: "app.ini", Config: "[web]\nbind-address=0.0.0.0\n", Port: "3306", NotRun: "not of MySQL"},
		Case{Config: "mariadbd --defaults-file=$DIR/defaults.cnf --bind-address=0.0.0.0", Port: "3306", Binds: IPv4},
		Case{Config: "mariadbd --defaults-file=$DIR/defaults.cnf --bind_address 0.0.0.0 --port 3307", Port: "3307", Binds: IPv4},
		Case{Config: "docker-entrypoint.sh mysqld --bind-address=0.0.0.0", Port: "3306", Binds: IPv4, NotRun: "MySQL is not in Debian"},
	)
}
