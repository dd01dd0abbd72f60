//go:build e2e

package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// helperEnv makes this program one that is isolated by a test, instead of the tests.
const helperEnv = "SIXGATE_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(cluster.Main(m.Run))
	case "exit":
		os.Exit(cluster.Isolate(func() int { return 7 }))
	case "wait": // for a signal, told by the exit code
		os.Exit(cluster.Isolate(func() int {
			signals := make(chan os.Signal, 1)
			signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
			os.Stdout.WriteString(strconv.Itoa(os.Getpid()) + "\n")
			return 40 + int((<-signals).(syscall.Signal))
		}))
	}
}

func TestNamespace(t *testing.T) {
	if !cluster.Isolated() {
		t.Fatal("not isolated")
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLinkLocalUnicast() {
			got = append(got, ip.String())
		}
	}
	slices.Sort(got)
	if want := []string{"127.0.0.1", "::1", "fd00:6:6::1"}; !slices.Equal(got, want) {
		t.Errorf("addresses %q, want %q", got, want)
	}

	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().(*net.TCPAddr)
	if !addr.IP.Equal(net.IPv6unspecified) {
		t.Errorf("listens on %v, want [::]", addr)
	}
	for _, host := range got { // dual-stack: IPv4 loopback is served, too
		conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(addr.Port)))
		if err != nil {
			t.Error(err)
			continue
		}
		conn.Close()
	}
	if conn, err := net.Dial("udp", "[2001:db8::1]:53"); err != nil { // sends nothing
		t.Errorf("no IPv6 default route: %v", err)
	} else {
		conn.Close()
	}
}

func helper(t *testing.T, mode string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), helperEnv+"="+mode, "SIXGATE_NETNS=")
	cmd.Stderr = os.Stderr
	return cmd
}

func TestIsolateExitCode(t *testing.T) {
	cmd := helper(t, "exit")
	if err := cmd.Run(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("%v, want exit status 7", err)
	}
}

// startWaiting returns the isolated program's parent and its own PID.
func startWaiting(t *testing.T) (*exec.Cmd, int) {
	cmd := helper(t, "wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line := make([]byte, 16)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(line[:n])))
	if err != nil {
		t.Fatal(err)
	}
	isolated, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = isolated.Kill() }) // should it outlive its parent, it would hold go test's stderr open
	return cmd, pid
}

func TestIsolateSignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		cmd, _ := startWaiting(t)
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 40+int(s) {
			t.Errorf("%v: %v, want exit status %d", s, err, 40+int(s))
		}
	}
}

func TestIsolateParentKilled(t *testing.T) {
	cmd, pid := startWaiting(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "the isolated program to end", func() bool { return !alive(pid) })
}

func TestIsolateStaleMark(t *testing.T) {
	cmd := helper(t, "exit")
	cmd.Env = append(cmd.Env, "SIXGATE_NETNS=new") // as if exported by hand: lo is up here
	var stderr strings.Builder
	cmd.Stderr = &stderr
	_ = cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), "no fresh network namespace") {
		t.Errorf("%v: %s", cmd.ProcessState, stderr.String())
	}
}

func TestServices(t *testing.T) {
	begin := time.Now()
	c, err := cluster.Start(t.Context(), cluster.Options{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		begin := time.Now()
		if err := c.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		t.Logf("stopped after %v", time.Since(begin))
		noProcesses(t)
		if _, err := os.Stat(c.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("temporary directory %s: %v", c.Dir, err)
		}
	}()
	t.Logf("started %s after %v", c.URL, time.Since(begin))
	if want := "https://[fd00:6:6::1]:"; !strings.HasPrefix(c.URL, want) {
		t.Errorf("URL %s, want %s…", c.URL, want)
	}

	// What IPv6-only clusters say; "" is created.
	for _, test := range []struct{ name, spec, refusal, warning, families string }{
		{name: "none", families: `["IPv6"]`},
		{name: "ipv4", spec: `"ipFamilies": ["IPv4"]`,
			refusal: `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`},
		{name: "require-dual", spec: `"ipFamilyPolicy": "RequireDualStack"`, refusal: `this cluster is not configured for dual-stack services`},
		{name: "prefer-dual", spec: `"ipFamilyPolicy": "PreferDualStack"`, families: `["IPv6"]`},
		{name: "both", spec: `"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]`,
			refusal: `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`},
		{name: "cluster-ip", spec: `"clusterIP": "10.0.0.5"`, refusal: `IPv4 is not configured on this cluster`},
		{name: "external-ip", spec: `"externalIPs": ["192.168.0.15"]`, families: `["IPv6"]`, warning: `deprecated`},
		{name: "lb-ip", spec: `"type": "LoadBalancer", "loadBalancerIP": "192.0.2.3", "loadBalancerSourceRanges": ["10.0.0.0/8"]`, families: `["IPv6"]`},
		{name: "node-port", spec: `"type": "NodePort", "clusterIP": "None"`, refusal: "may not be set to 'None' for NodePort services"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := `"ports": [{"port": 80}]`
			if test.spec != "" {
				spec += ", " + test.spec
			}
			manifest := `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "` + test.name + `"}, "spec": {` + spec + `}}`
			stdout, stderr, code := kubectl(t, c, manifest, "create", "-f", "-", "-o", "jsonpath={.spec.ipFamilies}")
			if cluster.Oldest() {
				test.warning = "" // of a later version
			}
			if test.refusal != "" {
				if code == 0 || !strings.Contains(stderr, test.refusal) {
					t.Errorf("exit code %d, %s, want %q", code, stderr, test.refusal)
				}
				return
			}
			if code != 0 || stdout != test.families || !strings.Contains(stderr, test.warning) {
				t.Errorf("exit code %d, ipFamilies %s, %s, want %s, %q", code, stdout, stderr, test.families, test.warning)
			}
		})
	}

	t.Run("pod without controller manager", func(t *testing.T) {
		if _, stderr, code := kubectl(t, c, "", "run", "web", "--image=web"); code != 0 {
			t.Error(stderr)
		}
	})
	t.Run("versions", func(t *testing.T) { // kubectl cannot parse those of binaries built without a version
		if stdout, stderr, code := kubectl(t, c, "", "version"); code != 0 || stderr != "" || !strings.Contains(stdout, "Server Version: v1.") {
			t.Errorf("exit code %d: %s%s", code, stdout, stderr)
		}
	})
	t.Run("kubectl does not run to its end", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, code, err := c.Kubectl(ctx, "", "get", "services", "--watch"); err == nil || code != -1 {
			t.Errorf("exit code %d, error %v", code, err)
		}
	})
}

// TestDetached has the optional parts, too: a controller manager and two families.
func TestDetached(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's state")
	options := cluster.Options{Dir: dir, ServiceCIDR: "fd00:10:96::/112,10.96.0.0/16", ControllerManager: true, Detach: true, Log: t.Output()}
	assets, err := cluster.FindAssets(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if assets.ControllerManager == "" {
		t.Skip("KUBEBUILDER_ASSETS has no kube-controller-manager")
	}
	c, err := cluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cluster.StopDetached(dir) }() // where the test ends early

	if _, err := cluster.Start(t.Context(), options); err == nil || !strings.Contains(err.Error(), "stop the earlier cluster") {
		t.Errorf("second start in the same directory: %v", err)
	}
	service := `{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ipFamilyPolicy": "RequireDualStack", "ports": [{"port": 80}]}}`
	if stdout, stderr, _ := kubectl(t, c, service, "create", "-f", "-", "-o", "jsonpath={.spec.ipFamilies}"); stdout != `["IPv6","IPv4"]` {
		t.Errorf("dual-stack Service: %s%s", stdout, stderr)
	}
	if _, stderr, code := kubectl(t, c, "", "create", "deployment", "web", "--image=web"); code != 0 {
		t.Fatal(stderr)
	}
	eventually(t, "the Pod of a Deployment", func() bool {
		stdout, _, _ := kubectl(t, c, "", "get", "pods", "-l", "app=web", "-o", "name")
		return strings.HasPrefix(stdout, "pod/web-")
	})

	// From outside of the namespace there is the script.
	outside := exec.Command("unshare", "-n", filepath.Join(dir, "kubectl"), "get", "services", "web", "-o", "name")
	if out, err := outside.CombinedOutput(); err != nil || string(out) != "service/web\n" {
		t.Errorf("script: %v: %s", err, out)
	}

	// A process that got a recorded PID later is left alone.
	path := filepath.Join(dir, "pids.json")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var records []map[string]any
	if err := json.Unmarshal(text, &records); err != nil {
		t.Fatal(err)
	}
	foreign := exec.Command("sleep", "600")
	if err := foreign.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = foreign.Process.Kill(), foreign.Wait() }()
	records = append(records, map[string]any{"name": "etcd", "pid": foreign.Process.Pid, "started": records[0]["started"]})
	if text, err = json.Marshal(records); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}

	if err := cluster.StopDetached(dir); err != nil {
		t.Fatal(err)
	}
	noProcesses(t, foreign.Process.Pid)
	if !alive(foreign.Process.Pid) {
		t.Error("a foreign process was stopped")
	}
	if err := cluster.StopDetached(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("second stop: %v, want that there is nothing to stop", err)
	}
	if _, err := os.Stat(c.Kubeconfig); err != nil {
		t.Errorf("the state directory is to be kept: %v", err)
	}
}

func TestAssetsIncomplete(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("KUBEBUILDER_ASSETS", dir)
	_, err := cluster.Start(t.Context(), cluster.Options{})
	oneLine(t, err, "KUBEBUILDER_ASSETS", filepath.Join(dir, "kube-apiserver"), "unset it")
}

func TestAssetsNotBuilt(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	cache := t.TempDir()
	t.Setenv("SIXGATE_CACHE", cache)
	path := t.TempDir()
	t.Setenv("PATH", path)
	_, err := cluster.FindAssets(t.Context(), io.Discard)
	oneLine(t, err, "install Go", "KUBEBUILDER_ASSETS")

	if err := os.WriteFile(filepath.Join(path, "go"), []byte("#!/bin/sh\necho no route to proxy >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err = cluster.FindAssets(t.Context(), io.Discard)
	oneLine(t, err, "build etcd", "no route to proxy", "KUBEBUILDER_ASSETS")
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(left) != 1 || filepath.Ext(left[0]) != ".lock" {
		t.Errorf("left in the cache: %q, %v, want the lock alone", left, err)
	}
}

func TestEarlyExit(t *testing.T) {
	real, err := cluster.FindAssets(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("etcd", func(t *testing.T) {
		dir := t.TempDir()
		for name, script := range map[string]string{"etcd": "#!/bin/sh\necho first; echo no space left; exit 3\n", "kube-apiserver": "", "kubectl": ""} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("KUBEBUILDER_ASSETS", dir)
		_, err := cluster.Start(t.Context(), cluster.Options{})
		oneLine(t, err, "etcd exited (exit status 3)", "first | no space left")
		_, err = cluster.Start(t.Context(), cluster.Options{ControllerManager: true})
		oneLine(t, err, "no kube-controller-manager", "KUBEBUILDER_ASSETS")
	})
	t.Run("kube-apiserver", func(t *testing.T) {
		t.Setenv("KUBEBUILDER_ASSETS", filepath.Dir(real.APIServer))
		_, err := cluster.Start(t.Context(), cluster.Options{ExtraAPIServerArgs: []string{"--no-such-flag"}})
		oneLine(t, err, "kube-apiserver exited", "--no-such-flag")
		noProcesses(t)
	})
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := cluster.Start(ctx, cluster.Options{})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		noProcesses(t)
	})
}

func kubectl(t *testing.T, c *cluster.Cluster, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	stdout, stderr, code, err := c.Kubectl(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout, stderr, code
}

func oneLine(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	t.Log(err)
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want one line with %q", part)
		}
	}
}

// noProcesses checks that nothing else runs in this network namespace.
func noProcesses(t *testing.T, but ...int) {
	t.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err != nil || pid == os.Getpid() || slices.Contains(but, pid) {
			continue
		}
		if ns, err := os.Readlink(link); err == nil && ns == own {
			cmdline, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			t.Errorf("process %d still runs: %q", pid, cmdline)
		}
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited 2 minutes for %s", what)
		}
	}
}
