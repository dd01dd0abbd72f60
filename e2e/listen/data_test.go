//go:build e2e

package listen_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/pkg/listen"
)

const (
	postgresBin = "/usr/lib/postgresql/15/bin/"
	// mariaDB lets it start in an empty folder.
	mariaDB = "[mariadb]\nuser=root\ndatadir=$DIR/data\nsocket=$DIR/s\nskip-grant-tables\nskip-networking=0\nskip-innodb\ndefault-storage-engine=MyISAM\n"
)

func dataServers() []server {
	postgres := []string{"PATH=" + postgresBin + ":" + os.Getenv("PATH")}
	return []server{
		{program: "Redis", packages: []string{"redis-server"}, binary: "redis-server", command: func(_, file string) []string { return []string{"redis-server", file} }},
		{program: "PostgreSQL", packages: []string{"postgresql-15"}, binary: postgresBin + "postgres", user: "postgres", prepare: initdb, env: postgres,
			command: func(dir, file string) []string {
				return []string{postgresBin + "postgres", "-D", dir + "/data", "-k", dir, "-c", "config_file=" + file, "-c", "hba_file=" + dir + "/data/pg_hba.conf"}
			}},
		{program: "PgBouncer", packages: []string{"pgbouncer"}, binary: "pgbouncer", user: "postgres",
			command: func(_, file string) []string { return []string{"pgbouncer", file} }},
		{program: "MySQL", packages: []string{"mariadb-server"}, binary: "mariadbd", complete: also(mariaDB),
			prepare: func(t *testing.T, dir string) {
				mustWrite(t, dir, "defaults.cnf", mariaDB)
				mustRun(t, "mkdir", dir+"/data")
			},
			command: func(_, file string) []string { return []string{"mariadbd", "--defaults-file=" + file} }},
		{program: "memcached", packages: []string{"memcached"}, binary: "memcached"},
		{program: "RabbitMQ", packages: []string{"rabbitmq-server"}, binary: "/usr/lib/rabbitmq/bin/rabbitmq-server", version: []string{"dpkg-query", "-W", "rabbitmq-server"},
			prepare: func(t *testing.T, dir string) {
				mustWrite(t, dir, "plugins", "[rabbitmq_management].\n")
				t.Cleanup(func() { // epmd outlives the server, and does not end before it knows that the server has
					for exec.Command("epmd", "-names").Run() == nil {
						exec.Command("epmd", "-kill").Run()
						time.Sleep(20 * time.Millisecond)
					}
				})
			},
			env: []string{"PATH=/usr/lib/rabbitmq/bin:" + os.Getenv("PATH"), "RABBITMQ_NODENAME=sixgate@localhost", "RABBITMQ_LOGS=-"},
			command: func(dir, file string) []string {
				return []string{"env", "RABBITMQ_CONFIG_FILE=" + file, "RABBITMQ_MNESIA_BASE=" + dir + "/mnesia", "RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/plugins", "rabbitmq-server"}
			}},
		{program: "Mosquitto", packages: []string{"mosquitto"}, binary: "mosquitto", version: []string{"dpkg-query", "-W", "mosquitto"},
			command: func(_, file string) []string { return []string{"mosquitto", "-c", file} }},
	}
}

// initdb makes a database cluster, which its server refuses to run as root.
func initdb(t *testing.T, dir string) {
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustRun(t, "chown", "postgres", dir)
	mustRun(t, "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", postgresBin+"initdb", "-D", dir+"/data", "-A", "trust", "--no-sync", "--no-instructions")
}

// TestPgHba asks a server that listens on both families for a database: who is let in must be who pkg/listen says.
func TestPgHba(t *testing.T) {
	if _, err := os.Stat(postgresBin + "postgres"); err != nil {
		t.Skip("no PostgreSQL, and none could be installed: ", err)
	}
	for _, p := range listen.Programs() {
		if p.Name != "PostgreSQL" {
			continue
		}
		for _, c := range p.Cases() {
			if c.File != "pg_hba.conf" {
				continue
			}
			t.Run(strings.Join(strings.Fields(c.Config), " "), func(t *testing.T) {
				four, six := admits(t, c.Config)
				switch {
				case c.Binds == listen.Dual && !(four && six), c.Binds == listen.IPv4 && (six || !four && !c.NoFix):
					t.Errorf("admits IPv4: %t, IPv6: %t, want %s", four, six, c.Binds)
				}
				if c.Binds != listen.IPv4 || c.NoFix {
					return
				}
				if four, six := admits(t, c.Repaired().Config); !four || !six {
					t.Errorf("repaired, admits IPv4: %t, IPv6: %t", four, six)
				}
			})
		}
	}
}

// admits runs a server with a pg_hba.conf and asks it from an address of each family that is not loopback for PostgreSQL.
func admits(t *testing.T, hba string) (four, six bool) {
	t.Helper()
	dir := t.TempDir()
	initdb(t, dir)
	write(t, dir+"/hba", hba)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var log safeBuffer
	cmd := exec.CommandContext(ctx, "setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", postgresBin+"postgres", "-D", dir+"/data", "-k", dir, "-c", "hba_file="+dir+"/hba", "-c", "listen_addresses=*")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel()
		<-ended
		for reached("5432") != listen.Unknown {
			time.Sleep(20 * time.Millisecond)
		}
	}()
	ask := func(host string) bool {
		for {
			out, err := exec.CommandContext(ctx, postgresBin+"psql", "-X", "-U", "postgres", "-c", "select 1", fmt.Sprintf("host=%s sslmode=disable", host)).CombinedOutput()
			text := string(out)
			switch {
			case err == nil:
				return true
			case strings.Contains(text, "no pg_hba.conf entry"), strings.Contains(text, "pg_hba.conf rejects"):
				return false
			case ctx.Err() != nil:
				t.Fatalf("psql: %v: %s: %s", err, text, log.String())
			}
			time.Sleep(50 * time.Millisecond) // it is starting up
		}
	}
	return ask("127.0.0.1"), ask(podAddress)
}
