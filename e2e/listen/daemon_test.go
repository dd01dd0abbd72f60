//go:build e2e

package listen_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/listen"
)

const (
	postfixMaster = "/usr/lib/postfix/sbin/master"
	dovecotBase   = "/run/sixgate-e2e-dovecot" // short: it holds Unix sockets
)

// mustRun runs a command of a prepare.
func mustRun(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func mustWrite(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "$DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// also completes a configuration with lines in front.
func also(lines string) func(listen.Case, string) string {
	return func(c listen.Case, _ string) string { return lines + c.Config }
}

// loopbackAlias is for programs that bind each address of the machine: it lets reached tell all of them from 127.0.0.1.
func loopbackAlias(t *testing.T, _ string) {
	mustRun(t, "ip", "addr", "replace", "127.1.2.3/8", "dev", "lo")
	t.Cleanup(func() { exec.Command("ip", "addr", "del", "127.1.2.3/8", "dev", "lo").Run() })
}

func daemonServers() []server {
	return []server{
		{program: "Postfix", packages: []string{"postfix"}, binary: postfixMaster, version: []string{"postconf", "mail_version"},
			command: func(dir, _ string) []string { return []string{postfixMaster, "-d", "-c", dir} },
			prepare: func(t *testing.T, dir string) {
				for _, d := range []string{"pid", "public", "private", "maildrop", "data"} {
					if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				mustRun(t, "chmod", "755", dir)
				mustRun(t, "chown", "postfix", filepath.Join(dir, "data"))
				mustWrite(t, dir, "master.cf", "smtp inet n - n - - smtpd\n")
			},
			complete: also("compatibility_level = 3.6\nmyhostname = a.example\nqueue_directory = $DIR\ndata_directory = $DIR/data\n")},
		{program: "Dovecot", packages: []string{"dovecot-imapd"}, binary: "dovecot",
			command: func(_, file string) []string { return []string{"dovecot", "-F", "-c", file} },
			prepare: func(t *testing.T, _ string) {
				if err := os.RemoveAll(dovecotBase); err != nil {
					t.Fatal(err)
				}
			},
			complete: also("base_dir = " + dovecotBase + "\nstate_dir = " + dovecotBase + "\nlog_path = /dev/stderr\nssl = no\npassdb {\n  driver = static\n  args = password=a\n}\nuserdb {\n  driver = static\n  args = uid=1000 gid=1000 home=/tmp\n}\n")},
		{program: "Unbound", packages: []string{"unbound"}, binary: "unbound", version: []string{"unbound", "-V"},
			command:  func(_, file string) []string { return []string{"unbound", "-d", "-c", file} },
			complete: also("remote-control:\n    control-enable: no\nserver:\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    directory: \"$DIR\"\n")},
		{program: "BIND", packages: []string{"bind9"}, binary: "named", version: []string{"named", "-v"},
			command: func(_, file string) []string { return []string{"named", "-g", "-c", file} },
			prepare: func(t *testing.T, dir string) {
				loopbackAlias(t, dir)
				mustWrite(t, dir, "named.conf", "options { directory \"$DIR\"; pid-file none; session-keyfile none; };\ncontrols {};\n")
			},
			complete: func(c listen.Case, _ string) string {
				return strings.Replace(c.Config, `directory "/var/cache/bind";`, `directory "$DIR"; pid-file none; session-keyfile none;`, 1) + "controls {};\n"
			}},
		{program: "dnsmasq", packages: []string{"dnsmasq-base"}, binary: "dnsmasq",
			command: func(_, file string) []string {
				return []string{"dnsmasq", "--keep-in-foreground", "--conf-file=" + file, "--pid-file=", "--user=root"}
			}},
		{program: "OpenLDAP", packages: []string{"slapd"}, binary: "slapd", version: []string{"slapd", "-VV"},
			prepare: func(t *testing.T, dir string) {
				mustWrite(t, dir, "slapd.conf", "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile $DIR/pid\ndatabase mdb\nsuffix dc=a\ndirectory $DIR\n")
			}},
		{program: "OpenSSH", packages: []string{"openssh-server"}, binary: "/usr/sbin/sshd", version: []string{"ssh", "-V"},
			command: func(_, file string) []string { return []string{"/usr/sbin/sshd", "-D", "-e", "-f", file} },
			prepare: func(t *testing.T, dir string) {
				if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
					t.Fatal(err)
				}
				mustRun(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, "key"))
				mustWrite(t, dir, "sshd_config", "HostKey $DIR/key\nPidFile none\nUsePAM no\n")
			},
			complete: also("HostKey $DIR/key\nPidFile none\n")},
		{program: "vsftpd", packages: []string{"vsftpd"}, binary: "vsftpd", version: []string{"dpkg-query", "-W", "vsftpd"},
			command:  func(_, file string) []string { return []string{"vsftpd", file} },
			complete: also("background=NO\nsecure_chroot_dir=$DIR\n")},
		{program: "coturn", packages: []string{"coturn"}, binary: "turnserver",
			command:  func(_, file string) []string { return []string{"turnserver", "-c", file} },
			complete: also("no-tls\nno-dtls\nno-cli\nuserdb=$DIR/db\nlog-file=stdout\npidfile=$DIR/pid\n")},
		{program: "rsync", packages: []string{"rsync"}, binary: "rsync",
			command: func(_, file string) []string { return []string{"rsync", "--daemon", "--no-detach", "--config=" + file} },
			prepare: func(t *testing.T, dir string) { mustWrite(t, dir, "rsyncd.conf", "use chroot = no\n") }},
		{program: "GlusterFS", packages: []string{"glusterfs-server"}, binary: "glusterd",
			command: func(dir, file string) []string {
				return []string{"glusterd", "-N", "-f", file, "--log-file=-", "-p", filepath.Join(dir, "pid")}
			}},
	}
}
