//go:build e2e

package probe_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// A kubelet is what the API server finds at a node's address: the streaming server that container runtimes serve exec with, behind
// the paths of the kubelet. Its containers are the network namespaces of processes.
type kubelet struct {
	*httptest.Server
	streaming streaming.Server

	mu   sync.Mutex
	pods map[string]int    // namespace/name -> a process in its network namespace
	logs map[string]string // namespace/name/container
}

// Containers with these names are not what the others are.
const (
	distroless = "distroless" // has no programs
	hanging    = "hanging"    // never answers
)

// newKubelet starts one that listens on a free port of the address.
func newKubelet(t *testing.T, address string) *kubelet {
	t.Helper()
	k := &kubelet{pods: map[string]int{}, logs: map[string]string{}}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Fatal(err)
	}
	config := streaming.DefaultConfig
	config.BaseURL = &url.URL{Scheme: "https", Host: listener.Addr().String(), Path: "/"}
	if k.streaming, err = streaming.NewServer(config, containers{k, t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", k.exec)
	mux.HandleFunc("/portForward/{namespace}/{pod}", k.portForward)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", k.log)
	k.Server = &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}}
	k.StartTLS()
	t.Cleanup(k.Close)
	return k
}

func (k *kubelet) port(t *testing.T) int {
	_, port, err := net.SplitHostPort(k.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// exec does what the kubelet does: it asks the runtime for a URL and leads the request there, here within one program.
func (k *kubelet) exec(w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := k.streaming.GetExec(&runtimeapi.ExecRequest{
		ContainerId: r.PathValue("namespace") + "/" + r.PathValue("pod") + "/" + r.PathValue("container"),
		Cmd:         r.URL.Query()["command"], Tty: options.TTY, Stdin: options.Stdin, Stdout: options.Stdout, Stderr: options.Stderr,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.lead(w, r, answer.Url)
}

// portForward does the same.
func (k *kubelet) portForward(w http.ResponseWriter, r *http.Request) {
	answer, err := k.streaming.GetPortForward(&runtimeapi.PortForwardRequest{PodSandboxId: r.PathValue("namespace") + "/" + r.PathValue("pod")})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	k.lead(w, r, answer.Url)
}

func (k *kubelet) lead(w http.ResponseWriter, r *http.Request, to string) {
	u, err := url.Parse(to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	r.URL.Path = u.Path
	k.streaming.ServeHTTP(w, r)
}

func (k *kubelet) log(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	text, ok := k.logs[r.PathValue("namespace")+"/"+r.PathValue("pod")+"/"+r.PathValue("container")]
	k.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = io.WriteString(w, text) // a client that is gone needs no text
}

// run runs a command in the network namespace of a pod.
func (k *kubelet) run(ctx context.Context, root, pod string, cmd []string, out, stderr io.Writer) error {
	k.mu.Lock()
	pid, ok := k.pods[pod]
	k.mu.Unlock()
	if !ok {
		return errors.New("no such pod: " + pod)
	}
	args := []string{"--target", strconv.Itoa(pid), "--net"}
	if root != "" {
		args = append(args, "--root="+root)
	}
	c := utilexec.New().CommandContext(ctx, "nsenter", append(append(args, "--"), cmd...)...)
	c.SetStdout(out)
	c.SetStderr(stderr)
	return c.Run()
}

// containers is the runtime behind the streaming server.
type containers struct {
	*kubelet
	empty string // a folder: the file system of containers without programs
}

func (c containers) Exec(ctx context.Context, id string, cmd []string, _ io.Reader, out, stderr io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize) error {
	i := strings.LastIndexByte(id, '/')
	root := ""
	switch id[i+1:] {
	case hanging:
		<-ctx.Done()
		return ctx.Err()
	case distroless:
		root = c.empty
	}
	return c.run(ctx, root, id[:i], cmd, out, stderr)
}

func (containers) Attach(context.Context, string, io.Reader, io.WriteCloser, io.WriteCloser, bool, <-chan remotecommand.TerminalSize) error {
	return errors.New("attach: not served")
}

// PortForward dials localhost, as runtimes do; these pods have the network of the test.
func (containers) PortForward(ctx context.Context, _ string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(int(port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, stream) // it ends with the connection
		conn.Close()
	}()
	_, err = io.Copy(stream, conn)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
