//go:build e2e

// Package listen_test runs real servers in a network namespace whose only IPv4 address is 127.0.0.1, as in a pod of an
// IPv6-only cluster, and compares what they bind with what pkg/listen says.
package listen_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/listen"
)

const (
	podAddress   = "fd00:6:6::1" // the one that cluster.Isolate gives
	streamModule = "/usr/lib/nginx/modules/ngx_stream_module.so"
)

func TestMain(m *testing.M) {
	// The namespace has no way to the mirror.
	if packages := missing(); !cluster.Isolated() && os.Geteuid() == 0 && len(packages) > 0 {
		if err := install(packages); err != nil {
			fmt.Fprintf(os.Stderr, "install %v: %v\n", packages, err)
		}
	}
	os.Exit(cluster.Isolate(m.Run))
}

// A row is nginx's servers, and what nginx does with them.
type row struct {
	name    string
	servers string
	stream  bool
	want    map[string]string // "tcp/80" -> who gets an answer: "IPv4", "IPv6" or "both"; nil if nginx exits
	dies    string            // what nginx says last
	faults  map[string]listen.Fault
	wanted  map[string]string // with the fixes applied; nil if there are none
}

func only(port, who string) map[string]string { return map[string]string{"tcp/" + port: who} }

func rows() []row {
	v4only := func(port string) map[string]listen.Fault { return map[string]listen.Fault{port: listen.IPv4Only} }
	conflict := map[string]listen.Fault{"80": listen.Conflict}
	var out []row
	for _, form := range []string{"80", "*:80", "0.0.0.0:80", "*", "0.0.0.0", `"80"`, "80 default_server", "80 reuseport",
		"80 backlog=511", "80 http2", "80 default_server reuseport backlog=511 so_keepalive=on", "80 bind", "80 deferred rcvbuf=64k"} {
		out = append(out, row{name: "IPv4 " + form, servers: "server { listen " + form + "; }",
			want: only("80", "IPv4"), faults: v4only("80"), wanted: only("80", "both")})
	}
	for _, form := range []string{"[::]:80", "[0:0:0:0:0:0:0:0]:80", "[::]", "[::]:80 ipv6only=on"} {
		out = append(out, row{name: "IPv6 " + form, servers: "server { listen " + form + "; }", want: only("80", "IPv6")})
	}
	return append(out, []row{
		{name: "no listen", servers: "server { root /; } server { server_name b; location / { return 200; } }",
			want: only("80", "IPv4"), faults: v4only("80"), wanted: only("80", "both")},
		{name: "range", servers: "server { listen 8080-8082; }", faults: v4only("8080-8082"),
			want:   map[string]string{"tcp/8080": "IPv4", "tcp/8081": "IPv4", "tcp/8082": "IPv4"},
			wanted: map[string]string{"tcp/8080": "both", "tcp/8081": "both", "tcp/8082": "both"}},
		{name: "part of a range", servers: "server { listen 8080-8082; listen [::]:8080; }", faults: v4only("8080-8082"),
			want: map[string]string{"tcp/8080": "both", "tcp/8081": "IPv4", "tcp/8082": "IPv4"}},
		{name: "pair", servers: "server { listen 80; listen [0::0]:80; }", want: only("80", "both")},
		{name: "dual", servers: "server { listen [::]:80 ipv6only=off; }", want: only("80", "both")},
		{name: "dual by another server", want: only("80", "both"),
			servers: "server { listen [::]:80; } server { listen [::]:80 ipv6only=off; server_name b; }"},
		{name: "conflict", servers: "server { listen 80; listen [::]:80 ipv6only=off; }",
			dies: "bind() to [::]:80 failed (98", faults: conflict},
		{name: "conflict in other order", servers: "server { listen [::]:80 ipv6only=off; } server { listen 80; server_name b; }",
			dies: "bind() to 0.0.0.0:80 failed (98", faults: conflict},
		{name: "conflict with loopback", servers: "server { listen [::]:80 ipv6only=off; listen 127.0.0.1:80; }",
			dies: "bind() to 127.0.0.1:80 failed (98", faults: conflict},
		{name: "conflict with no listen", servers: "server { listen [::]:80 ipv6only=off; } server { root /; }",
			dies: "bind() to 0.0.0.0:80 failed (98", faults: conflict},
		{name: "both with reuseport", servers: "server { listen [::]:80 ipv6only=off reuseport; listen 80 reuseport; }",
			want: only("80", "both")},
		{name: "reuseport by another server", want: only("80", "both"), faults: v4only("80"), wanted: only("80", "both"),
			servers: "server { listen [::]:80 ipv6only=off reuseport; listen 80 reuseport; } server { listen 80; server_name b; }"},
		{name: "reuseport and no listen", want: only("80", "both"), faults: v4only("80"), wanted: only("80", "both"),
			servers: "server { listen [::]:80 ipv6only=off reuseport; listen 80 reuseport; } server { root /; server_name b; }"},
		{name: "reuseport of one", servers: "server { listen [::]:80 ipv6only=off reuseport; listen 80; }",
			dies: "failed (98", faults: conflict},
		{name: "zero", servers: "server { listen 0:80; }", dies: `host not found in "0:80"`, faults: v4only("80")},
		{name: "zero beside IPv6", servers: "server { listen 0:80; listen [::]:80; }", dies: `host not found in "0:80"`},
		{name: "concrete", servers: "server { listen 10.1.2.3:80; }", dies: "bind() to 10.1.2.3:80 failed (99", faults: v4only("80")},
		{name: "concrete beside IPv6", servers: "server { listen 10.1.2.3:80; listen [::]:80; }",
			dies: "bind() to 10.1.2.3:80 failed (99", faults: v4only("80")},
		{name: "concrete beside wildcards", servers: "server { listen 80; listen [::]:80; listen 10.1.2.3:80; }", want: only("80", "both")},
		{name: "two servers", servers: "server { listen 80 default_server backlog=100; } server { listen 80; server_name b; }",
			want: only("80", "IPv4"), faults: v4only("80"), wanted: only("80", "both")},
		{name: "owned by another server", want: only("80", "both"), faults: v4only("80"), wanted: only("80", "both"),
			servers: "server { listen 80 default_server reuseport; } server { listen [::]:80 default_server backlog=9; server_name b; }"},
		{name: "ssl", servers: "server { listen 443 ssl http2 default_server; ssl_reject_handshake on; }",
			want: only("443", "IPv4"), faults: v4only("443"), wanted: only("443", "both")},
		{name: "proxy_protocol", servers: "server { listen 80 proxy_protocol; }",
			want: only("80", "IPv4"), faults: v4only("80"), wanted: only("80", "both")},
		{name: "comment", servers: "server {\n\tlisten 80; # listen [::]:80;\n\t# listen [::]:80;\n\tlisten\n81; }",
			want: map[string]string{"tcp/80": "IPv4", "tcp/81": "IPv4"}, wanted: map[string]string{"tcp/80": "both", "tcp/81": "both"},
			faults: map[string]listen.Fault{"80": listen.IPv4Only, "81": listen.IPv4Only}},
		{name: "one line", servers: "server { listen 80; listen 81; listen [::]:81; }",
			want:   map[string]string{"tcp/80": "IPv4", "tcp/81": "both"},
			wanted: map[string]string{"tcp/80": "both", "tcp/81": "both"}, faults: v4only("80")},
		{name: "stream", stream: true, servers: "server { listen 53 udp reuseport; listen [::]:53; return x; }",
			want:   map[string]string{"udp/53": "IPv4", "tcp/53": "IPv6"},
			wanted: map[string]string{"udp/53": "both", "tcp/53": "IPv6"}, faults: v4only("53")},
		{name: "stream without listen", stream: true, servers: "server { return x; }", dies: `no "listen" is defined for server`},
	}...)
}

func TestNginx(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("no nginx in PATH and none could be installed: ", err)
	}
	for _, r := range rows() {
		t.Run(r.name, func(t *testing.T) {
			file := listen.File{Name: "nginx.conf", Text: configuration(t, r)}
			listeners := listen.Nginx([]listen.File{file})
			for _, l := range listeners {
				if r.dies == "" && !l.Certain() {
					t.Errorf("%q is in doubt: %s", l.Text, l.Doubt)
				}
				if l.Fault != listen.None && r.faults[l.Port] != l.Fault {
					t.Errorf("%q on port %s: fault %v, want %v", l.Text, l.Port, l.Fault, r.faults[l.Port])
				}
			}
			for port, fault := range r.faults {
				if !slices.ContainsFunc(listeners, func(l listen.Listener) bool { return l.Port == port && l.Fault == fault }) {
					t.Errorf("port %s: no fault %v", port, fault)
				}
			}
			run(t, file.Text, r.want, r.dies)
			if r.dies == "" {
				if said := answers(t, listeners); !maps.Equal(said, r.want) {
					t.Errorf("pkg/listen says %v, nginx does %v", said, r.want)
				}
			}

			repaired := listen.File{Name: file.Name, Text: listen.Repair(file, listeners)}
			if (repaired.Text != file.Text) != (r.wanted != nil) {
				t.Fatalf("repaired:\n%s", repaired.Text)
			}
			if r.wanted == nil {
				return
			}
			run(t, repaired.Text, r.wanted, "")
			after := listen.Nginx([]listen.File{repaired})
			if said := answers(t, after); !maps.Equal(said, r.wanted) {
				t.Errorf("pkg/listen says %v after the repair, nginx does %v", said, r.wanted)
			}
			for _, l := range after {
				if l.Fault != listen.None {
					t.Errorf("after the repair %q: %s", l.Text, l.Reason)
				}
			}
		})
	}
}

// An included file is a part of the server, for nginx as for pkg/listen.
func TestNginxInclude(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("no nginx in PATH and none could be installed: ", err)
	}
	dir := t.TempDir()
	snippet := listen.File{Name: "listen.inc", Text: "listen 80;\nlisten 81;\nlisten [::]:81;\n"}
	if err := os.WriteFile(filepath.Join(dir, snippet.Name), []byte(snippet.Text), 0o600); err != nil {
		t.Fatal(err)
	}
	main := listen.File{Name: "nginx.conf", Text: configuration(t, row{servers: "server { include " + dir + "/*.inc; }"})}
	listeners := listen.Nginx([]listen.File{main, snippet})
	want := map[string]string{"tcp/80": "IPv4", "tcp/81": "both"}
	run(t, main.Text, want, "")
	if said := answers(t, listeners); !maps.Equal(said, want) {
		t.Errorf("pkg/listen says %v, nginx does %v", said, want)
	}
	run(t, listen.Repair(main, listeners), map[string]string{"tcp/80": "both", "tcp/81": "both"}, "")
}

// configuration completes the servers of a row to what nginx needs to run in a folder of the test.
func configuration(t *testing.T, r row) string {
	dir := t.TempDir()
	head := fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\n", dir)
	if r.stream {
		if _, err := os.Stat(streamModule); err != nil {
			t.Skip("no stream module; install libnginx-mod-stream: ", err)
		}
		return "load_module " + streamModule + ";\n" + head + "stream {\n" + r.servers + "\n}\n"
	}
	temp := ""
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("%s_temp_path %s/%s;\n", name, dir, name)
	}
	return head + "http {\naccess_log off;\n" + temp + r.servers + "\n}\n"
}

// nginxServer runs the forms of the table.
func nginxServer() server {
	return server{
		program: "nginx", packages: []string{"nginx-light", "libnginx-mod-stream"}, binary: "nginx", version: []string{"nginx", "-v"},
		command: func(_, file string) []string { return []string{"nginx", "-c", file} },
		complete: func(c listen.Case, dir string) string {
			return fmt.Sprintf("daemon off;\nmaster_process off;\npid %s/pid;\nerror_log stderr;\nevents {}\n", dir) +
				strings.Replace(c.Config, "http {", "http {\naccess_log off;\nclient_body_temp_path "+dir+"/b;\nproxy_temp_path "+dir+"/p;\n"+
					"fastcgi_temp_path "+dir+"/f;\nuwsgi_temp_path "+dir+"/u;\nscgi_temp_path "+dir+"/s;\n", 1)
		},
	}
}

// answers is what the listeners promise, in the form of row.want.
func answers(t *testing.T, listeners []listen.Listener) map[string]string {
	got := map[string]string{}
	for _, l := range listeners {
		network := "tcp/"
		if l.UDP {
			network = "udp/"
		}
		first, last, _ := strings.Cut(l.Port, "-")
		low, err := strconv.Atoi(first)
		if err != nil {
			t.Fatalf("%q: %v", l.Text, err)
		}
		high := low
		if last != "" {
			if high, err = strconv.Atoi(last); err != nil {
				t.Fatalf("%q: %v", l.Text, err)
			}
		}
		for port := low; port <= high; port++ {
			key := network + strconv.Itoa(port)
			switch {
			case l.Family == listen.Dual, l.Family == listen.IPv4 && got[key] == "IPv6", l.Family == listen.IPv6 && got[key] == "IPv4":
				got[key] = "both"
			case got[key] == "":
				got[key] = l.Family.String()
			}
		}
	}
	return got
}

// run starts nginx with a configuration and waits until it serves what is wanted, or ends as it should.
func run(t *testing.T, text string, want map[string]string, dies string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nginx.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "nginx", "-t", "-c", file).CombinedOutput(); err != nil {
		if dies == "" || !strings.Contains(string(out), dies) {
			t.Fatalf("nginx -t: %v: %s", err, out)
		}
		return
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, "nginx", "-c", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if dies != "" {
		if err := <-ended; err == nil || ctx.Err() != nil || !strings.Contains(log.String(), dies) {
			t.Errorf("nginx: %v: want %q in %s", err, dies, log.String())
		}
		return
	}
	defer func() {
		cancel()
		<-ended
	}()
	var got map[string]string
	for !maps.Equal(got, want) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx ended: %v: %s", err, log.String())
		case <-ctx.Done():
			t.Fatalf("nginx serves %v, want %v: %s", got, want, log.String())
		case <-time.After(20 * time.Millisecond):
			got = serves(t)
		}
	}
	// nginx tells what it did with a socket; a warning would mean that the fix is not the same.
	if strings.Contains(log.String(), "[warn]") {
		t.Errorf("nginx warns: %s", log.String())
	}
}

// serves is who gets an answer from which wildcard socket of this namespace, in the form of row.want.
func serves(t *testing.T) map[string]string {
	got := map[string]string{}
	for _, network := range []string{"tcp", "udp"} {
		v4, v6 := sockets(t, network), sockets(t, network+"6")
		for port := range v4 {
			got[network+"/"+port] = "IPv4"
		}
		for port := range v6 {
			key := network + "/" + port
			if got[key] == "IPv4" || network == "tcp" && dials("127.0.0.1", port) {
				got[key] = "both"
			} else {
				got[key] = "IPv6"
			}
		}
		// The sockets are what a client finds.
		for key, who := range got {
			port, ok := strings.CutPrefix(key, "tcp/")
			if ok && network == "tcp" && (dials("127.0.0.1", port) != (who != "IPv6") || dials(podAddress, port) != (who != "IPv4")) {
				delete(got, key)
			}
		}
	}
	return got
}

// sockets reads the ports of the wildcard sockets that listen, from /proc/net.
func sockets(t *testing.T, table string) map[string]bool {
	text, err := os.ReadFile("/proc/net/" + table)
	if err != nil {
		t.Fatal(err)
	}
	ports := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 4 || f[3] != "0A" && f[3] != "07" || strings.HasPrefix(table, "tcp") != (f[3] == "0A") {
			continue
		}
		address, port, _ := strings.Cut(f[1], ":")
		number, err := hex.DecodeString(port)
		if err != nil || len(number) != 2 {
			t.Fatalf("%s: %s", table, line)
		}
		if strings.Trim(address, "0") == "" {
			ports[strconv.Itoa(int(number[0])<<8|int(number[1]))] = true
		}
	}
	return ports
}
