//go:build e2e

package listen_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sixgate/sixgate/pkg/listen"
)

func webServers() []server {
	return []server{
		{program: "Apache httpd", packages: []string{"apache2"}, binary: "apache2", version: []string{"apache2", "-v"}, command: func(dir, file string) []string {
			return []string{"apache2", "-X", "-f", file, "-C", "LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so",
				"-C", "LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so", "-C", "ServerName localhost", "-C", "PidFile " + filepath.Join(dir, "pid"), "-C", "ErrorLog " + filepath.Join(dir, "log")}
		}, prepare: func(t *testing.T, dir string) {
			text := "LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so\nLoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n" +
				"ServerName localhost\nServerRoot /usr/lib/apache2\nPidFile " + filepath.Join(dir, "pid") + "\nErrorLog " + filepath.Join(dir, "log") + "\n"
			if err := os.WriteFile(filepath.Join(dir, "empty.conf"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{program: "HAProxy", packages: []string{"haproxy"}, binary: "haproxy", version: []string{"haproxy", "-v"},
			command: func(_, file string) []string { return []string{"haproxy", "-db", "-f", file} }},
		{program: "PHP-FPM", packages: []string{"php-fpm"}, binary: "php-fpm8.2", version: []string{"php-fpm8.2", "-v"},
			command: func(_, file string) []string { return []string{"php-fpm8.2", "-F", "-y", file} }},
		{program: "PHP", packages: []string{"php-cli"}, binary: "php", version: []string{"php", "-v"}},
		{program: "lighttpd", packages: []string{"lighttpd"}, binary: "lighttpd", version: []string{"lighttpd", "-v"},
			command: func(_, file string) []string { return []string{"lighttpd", "-D", "-f", file} }},
		{program: "Squid", packages: []string{"squid"}, binary: "squid", version: []string{"squid", "-v"},
			command: func(_, file string) []string { return []string{"squid", "-N", "-f", file} },
			complete: func(c listen.Case, _ string) string {
				return c.Config + "pid_filename none\naccess_log none\ncache_log $DIR/log\nnetdb_filename none\nvisible_hostname localhost\ndns_nameservers ::1\npinger_enable off\nshutdown_lifetime 1 second\n"
			}},
		{program: "Varnish", packages: []string{"varnish"}, binary: "varnishd", version: []string{"varnishd", "-V"}, user: "varnish"},
		{program: "Caddy", packages: []string{"caddy"}, binary: "caddy", version: []string{"caddy", "version"},
			command: func(_, file string) []string { return []string{"caddy", "run", "--config", file} }},
		{program: "stunnel", packages: []string{"stunnel4"}, binary: "stunnel", version: []string{"stunnel", "-version"},
			command: func(_, file string) []string { return []string{"stunnel", file} }},
	}
}

// TestAllowedClients: PHP-FPM accepts a connection and closes it at once if listen.allowed_clients has no such address, so
// that a list of IPv4 addresses shuts out IPv6. One that may stay is not answered: it has not asked.
func TestAllowedClients(t *testing.T) {
	if _, err := exec.LookPath("php-fpm8.2"); err != nil {
		t.Skipf("php-fpm8.2 is not in PATH: %v", err)
	}
	file := filepath.Join(t.TempDir(), "php-fpm.conf")
	text := "[global]\nerror_log = /dev/stderr\n[app]\nlisten = 9000\nlisten.allowed_clients = 127.0.0.1\nuser = www-data\npm = static\npm.max_children = 1\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "php-fpm8.2", "-F", "-y", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for deadline := time.Now().Add(time.Minute); reached("9000") != listen.Dual; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("port 9000 does not open")
		}
	}
	stays := func(host string) bool {
		conn, err := net.Dial("tcp", net.JoinHostPort(host, "9000"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, err = conn.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	if stays(podAddress) {
		t.Error("an IPv6 client stays connected")
	}
	if !stays("127.0.0.1") {
		t.Error("an allowed client is turned away")
	}
}
