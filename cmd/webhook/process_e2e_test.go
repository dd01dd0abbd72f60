//go:build e2e

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// serveEnv is the file with certificate and key of a server process.
const serveEnv = "SIXGATE_TEST_SERVE"

// TestServeProcess is no test: it is the server that other tests start and kill.
func TestServeProcess(t *testing.T) {
	file := os.Getenv(serveEnv)
	if file == "" {
		t.Skip("started by other tests only")
	}
	cert, err := tls.LoadX509KeyPair(file, file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGTERM)
	defer stop()
	limit := limitMemory()
	s := newServer("::1", 0, logr.Discard(), func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	serveHandlers(s, logr.Discard(), newLoad(limit))
	go func() { fmt.Printf("serving on %s with %d bytes\n", <-s.bound, limit) }()
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
}

// A child is a server process.
type child struct {
	*running
	cmd    *exec.Cmd
	memory int64
	exited chan error
}

// startChild starts one; group is a control group that it joins first, or "".
func startChild(t *testing.T, group string) *child {
	t.Helper()
	_, certPEM, keyPEM := selfSigned(t, "server")
	file := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(file, append(bytes.Clone(certPEM), keyPEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `[ -z "$GROUP" ] || echo $$ > "$GROUP/cgroup.procs" && exec "$0" -test.run='^TestServeProcess$'`, os.Args[0])
	cmd.Env = append(os.Environ(), serveEnv+"="+file, "GROUP="+group)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	c := &child{cmd: cmd, exited: make(chan error, 1), running: &running{caPEM: certPEM, client: &tls.Config{RootCAs: pool, ServerName: "localhost"}}}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(line, "serving on %s with %d bytes", &c.addr, &c.memory); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		c.exited <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-c.exited
	})
	return c
}

// TestKilled: a replica that dies loses what it works on, and nothing else where there is another one.
func TestKilled(t *testing.T) {
	first, second := startChild(t, ""), startChild(t, "")
	r := &running{caPEM: append(first.caPEM, second.caPEM...)}
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, first.addr)
		if err != nil { // a port that refuses is out of the endpoints
			return (&net.Dialer{}).DialContext(ctx, network, second.addr)
		}
		return conn, nil
	}
	const clients = 20
	var all []*steady
	for range clients {
		all = append(all, startSteady(apiServer(t, r, dial, nil), review("Pod", "CREATE", benchPod(10), nil)))
	}
	time.Sleep(500 * time.Millisecond)
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	<-first.exited
	if err := askReview(apiServer(t, r, dial, nil), "/mutate", review("Service", "CREATE", benchService(), nil)); err != nil {
		t.Error(err)
	}
	recovered := time.Since(killed)
	time.Sleep(500 * time.Millisecond)
	sent, lost := 0, 0
	for _, s := range all {
		s.end()
		sent, lost = sent+s.sent, lost+s.lost
		if s.lost > 2 { // one at work, and one on a connection that nobody accepted any more
			t.Errorf("a client lost %d requests: %v", s.lost, s.first)
		}
	}
	t.Logf("| kill -9 with %d clients at work | %d | %d | | %v |", clients, sent, lost, recovered.Round(time.Millisecond))
	first.exited <- nil // for its cleanup
}

// memoryGroup makes a control group with a memory limit, or says why there is none.
func memoryGroup(t *testing.T, limit int64) string {
	t.Helper()
	root, file := "/sys/fs/cgroup", "memory.max"
	if _, err := os.Stat(root + "/memory"); err == nil {
		root, file = root+"/memory", "memory.limit_in_bytes"
	}
	group, err := os.MkdirTemp(root, "sixgate-test-")
	if err != nil {
		t.Skipf("no control group can be made: %v", err)
	}
	t.Cleanup(func() {
		for range 100 { // until the process has left it
			if err = os.Remove(group); err == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error(err)
	})
	if err := os.WriteFile(filepath.Join(group, file), []byte(strconv.FormatInt(limit, 10)), 0o600); err != nil {
		t.Skipf("no memory limit can be set: %v", err)
	}
	return group
}

// TestMemoryLimit: with the chart's memory limit, bursts of what takes most memory turn requests away, and do not end the process.
func TestMemoryLimit(t *testing.T) {
	group := memoryGroup(t, defaultMemory)
	c := startChild(t, group)
	if c.memory != defaultMemory {
		t.Fatalf("the server sees a limit of %d bytes", c.memory)
	}
	wrap := func(spec string) []byte {
		return []byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","kind":{"group":"","version":"v1","kind":"Pod"},"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{` + spec + `0]}}}}`)
	}
	bodies := [][]byte{
		wrap(`"x":[` + strings.Repeat(`{"":0},`, 200_000)),
		wrap(`"containers":[` + strings.Repeat(`{},`, 200_000)),
		wrap(`"x":[` + strings.Repeat(`0,`, 3<<20)),
		wrap(`"x":[` + strings.Repeat(`[],`, 2<<20)),
		review("Pod", "UPDATE", benchPod(420), benchPod(420)),
		review("ConfigMap", "CREATE", benchConfigMap(map[string]any{"default.conf": repeatTo("server { listen 80; }\n", 1<<20)}), nil),
	}
	transport := &http.Transport{TLSClientConfig: c.client}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var answered, shed, cut atomic.Int64
	many(100, func(i int) {
		for j := range 3 {
			resp, err := client.Post("https://"+c.addr+[]string{"/mutate", "/validate"}[j%2], "application/json", bytes.NewReader(bodies[(i+j)%len(bodies)]))
			if err != nil {
				cut.Add(1) // turned away while it was sending
				continue
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				answered.Add(1)
			} else {
				shed.Add(1)
			}
		}
	})
	begin := time.Now()
	if err := askReview(apiServer(t, c.running, nil, nil), "/mutate", review("Service", "CREATE", benchService(), nil)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	recovered := time.Since(begin)
	select {
	case err := <-c.exited:
		c.exited <- err
		t.Fatalf("the server has ended: %v", err)
	default:
	}
	peak := ""
	for _, file := range []string{"memory.max_usage_in_bytes", "memory.peak"} {
		if data, err := os.ReadFile(filepath.Join(group, file)); err == nil {
			n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
			peak = fmt.Sprintf(", %d MB at most", n>>20)
		}
	}
	t.Logf("| 100 clients with the bodies that take most memory, limit 256 MB%s | %d, %d of them turned away | 0 | | %v |",
		peak, answered.Load()+shed.Load()+cut.Load(), shed.Load()+cut.Load(), recovered.Round(time.Millisecond))
	if answered.Load() == 0 {
		t.Error("none was answered")
	}
}

// TestTerminated: SIGTERM to a process that is at work loses no request, and its exit code is 0.
func TestTerminated(t *testing.T) {
	first, second := startChild(t, ""), startChild(t, "")
	r := &running{caPEM: append(first.caPEM, second.caPEM...)}
	var away atomic.Bool
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if away.Load() {
			return (&net.Dialer{}).DialContext(ctx, network, second.addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, first.addr)
	}
	var all []*steady
	for range 20 {
		all = append(all, startSteady(apiServer(t, r, dial, nil), review("Pod", "CREATE", benchPod(10), nil)))
	}
	time.Sleep(500 * time.Millisecond)
	away.Store(true) // in a cluster, while preStop sleeps
	begin := time.Now()
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := <-first.exited
	stopped := time.Since(begin)
	first.exited <- err
	if err != nil {
		t.Errorf("exit: %v", err)
	}
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(s.end)
	}
	wg.Wait()
	sent, lost := 0, 0
	for _, s := range all {
		sent, lost = sent+s.sent, lost+s.lost
		if s.first != nil {
			t.Errorf("lost: %v", errors.Unwrap(s.first))
		}
	}
	t.Logf("| SIGTERM with 20 clients at work | %d | %d | | stopped after %v |", sent, lost, stopped.Round(time.Millisecond))
}
