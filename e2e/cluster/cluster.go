// Package cluster starts a real IPv6-only Kubernetes control plane on this machine, for tests and for the demo:
// kube-apiserver, etcd and, where asked for, kube-controller-manager. There are no nodes: package node adds one. It needs Linux.
package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startLimit is for machines with one busy core; two idle ones need about ten seconds.
const startLimit = 2 * time.Minute

// Options of [Start]; the zero value is a cluster that lives as long as the program.
type Options struct {
	Dir                string    // state, logs and kubeconfig; created; default: a directory that Stop removes
	ServiceCIDR        string    // default fd00:10:96::/112; "fd00:10:96::/112,10.96.0.0/16" is dual-stack
	ExtraAPIServerArgs []string  // after our own, so that they win
	ControllerManager  bool      // without it there are no ServiceAccounts, and Pods need none
	Detach             bool      // the cluster outlives the program, until StopDetached; needs Dir
	Log                io.Writer // progress; default: none
}

// A Cluster is a running control plane.
type Cluster struct {
	Dir        string // state, logs (<component>.log) and keys
	Kubeconfig string // path; its user is in system:masters
	URL        string // of the API server
	EtcdURL    string
	Address    string // IPv6 address of the API server and of this machine, no loopback: for endpoints and webhook URLs
	CAPEM      []byte // the API server's CA
	Assets     Assets

	temporary bool
	detach    bool
	client    *http.Client
	processes []*process // in the order in which they were started
}

// Start starts a control plane and returns when it answers, has the namespace default and, with a controller manager,
// its ServiceAccount. It listens on an address of [Isolate]'s namespace or, outside of one, on the machine's own.
// ctx bounds the start alone. An error of a component that ended holds the last lines of its log.
func Start(ctx context.Context, o Options) (_ *Cluster, err error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if o.ServiceCIDR == "" {
		o.ServiceCIDR = "fd00:10:96::/112"
	}
	if o.Detach && o.Dir == "" {
		return nil, errors.New("start cluster: Detach needs Dir")
	}
	assets, err := FindAssets(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	if o.ControllerManager && assets.ControllerManager == "" {
		return nil, fmt.Errorf("start cluster: no kube-controller-manager beside %s; unset KUBEBUILDER_ASSETS to build it", assets.APIServer)
	}
	address, err := machineAddress()
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := &Cluster{Address: address.String(), Assets: assets, temporary: o.Dir == "", detach: o.Detach}
	if c.temporary {
		c.Dir, err = os.MkdirTemp("", "sixgate-cluster-")
	} else if c.Dir, err = filepath.Abs(o.Dir); err == nil {
		err = os.MkdirAll(c.Dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	// Keys are made afresh, so the objects of an earlier cluster would be of no use.
	if err := os.Mkdir(c.path("etcd"), 0o700); err != nil {
		return nil, fmt.Errorf("start cluster: %w; stop the earlier cluster and remove %s", err, c.Dir)
	}
	defer func() {
		if err != nil {
			_ = c.Stop() // says the same again
		}
	}()

	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := c.start(ctx, o, address); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, o Options, address netip.Addr) error {
	begin := time.Now()
	ready := func(name string) {
		fmt.Fprintf(o.Log, "%s is ready after %.1f s\n", name, time.Since(begin).Seconds())
	}
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	c.URL = "https://" + net.JoinHostPort(c.Address, ports[0])
	if err := c.writeKeys(o, address); err != nil {
		return err
	}

	c.EtcdURL = "http://[::1]:" + ports[1]
	if err := c.Run(0, c.Assets.Etcd, "--name=default", "--data-dir="+c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+c.EtcdURL, "--advertise-client-urls="+c.EtcdURL,
		"--listen-peer-urls=http://[::1]:"+ports[2], "--initial-advertise-peer-urls=http://[::1]:"+ports[2],
		"--initial-cluster=default=http://[::1]:"+ports[2]); err != nil {
		return err
	}
	if err := c.wait(ctx, c.EtcdURL+"/health"); err != nil {
		return err
	}
	ready("etcd")

	args := []string{"--etcd-servers=" + c.EtcdURL,
		"--bind-address=::", "--secure-port=" + ports[0], "--advertise-address=" + c.Address,
		"--service-cluster-ip-range=" + o.ServiceCIDR,
		"--tls-cert-file=" + c.path("apiserver.crt"), "--tls-private-key-file=" + c.path("apiserver.key"),
		"--client-ca-file=" + c.path("ca.crt"),
		"--kubelet-client-certificate=" + c.path("admin.crt"), "--kubelet-client-key=" + c.path("admin.key"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("sa.key"), "--service-account-signing-key-file=" + c.path("sa.key"),
		"--authorization-mode=RBAC", "--allow-privileged=true", "--enable-aggregator-routing=true"}
	if !o.ControllerManager {
		args = append(args, "--disable-admission-plugins=ServiceAccount")
	}
	if err := c.Run(0, c.Assets.APIServer, append(args, o.ExtraAPIServerArgs...)...); err != nil {
		return err
	}
	for _, path := range []string{"/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/default/services/kubernetes"} {
		if err := c.wait(ctx, c.URL+path); err != nil {
			return err
		}
	}
	ready("kube-apiserver")

	if o.ControllerManager {
		controllers := "*"
		if Oldest() {
			controllers += ",-endpoints-controller" // it would empty what InstallSixgate writes
		}
		if err := c.Run(0, c.Assets.ControllerManager, "--controllers="+controllers, "--kubeconfig="+c.Kubeconfig, "--bind-address=::1", "--secure-port="+ports[3],
			"--leader-elect=false", "--use-service-account-credentials=false",
			"--root-ca-file="+c.path("ca.crt"), "--service-account-private-key-file="+c.path("sa.key"),
			"--cluster-signing-cert-file="+c.path("ca.crt"), "--cluster-signing-key-file="+c.path("ca.key")); err != nil {
			return err
		}
		if err := c.wait(ctx, c.URL+"/api/v1/namespaces/default/serviceaccounts/default"); err != nil {
			return err
		}
		ready("kube-controller-manager")
	}
	if c.detach {
		return c.writeKubectlScript()
	}
	return nil
}

func (c *Cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// Run starts one more component in the state directory, in the new namespaces of cloneflags. Stop and StopDetached end it with the others.
func (c *Cluster) Run(cloneflags uintptr, path string, args ...string) error {
	p, err := startProcess(filepath.Base(path), path, nil, args, c.Dir, c.detach, cloneflags)
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	if c.detach {
		return writePIDs(c.Dir, c.processes)
	}
	return nil
}

// PID returns the process ID of a running component, by the name of its log: "kube-apiserver", "webhook-0"; 0: there is none.
func (c *Cluster) PID(name string) int {
	for _, p := range c.processes {
		if p.name == name && p.exited() == nil {
			return p.cmd.Process.Pid
		}
	}
	return 0
}

// RestartAPIServer ends the API server as its upgrade does, which lets it finish what it has begun, starts it with the same arguments and
// returns when it is ready.
func (c *Cluster) RestartAPIServer(ctx context.Context) error {
	i := slices.IndexFunc(c.processes, func(p *process) bool { return p.cmd.Path == c.Assets.APIServer })
	old := c.processes[i]
	c.processes = slices.Delete(c.processes, i, i+1)
	defer func() { // Stop ends it after those that are connected to it
		if last := len(c.processes) - 1; last > i && c.processes[last].cmd.Path == c.Assets.APIServer {
			c.processes = slices.Insert(c.processes[:last:last], i, c.processes[last])
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if err := old.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop kube-apiserver: %w", err)
	}
	select {
	case <-old.done:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop kube-apiserver: %w", ctx.Err()), old.cmd.Process.Kill())
	}
	if err := c.Run(0, old.cmd.Path, old.cmd.Args[1:]...); err != nil {
		return err
	}
	return c.wait(ctx, c.URL+"/readyz")
}

// Running returns nil as long as all components run, else which one ended and the last lines of its log.
func (c *Cluster) Running() error {
	for _, p := range c.processes {
		if err := p.exited(); err != nil {
			return err
		}
	}
	return nil
}

// wait polls until url answers 200, a component ends or ctx does.
func (c *Cluster) wait(ctx context.Context, url string) error {
	for {
		err := c.get(ctx, url)
		if err == nil {
			return nil
		}
		if err := c.Running(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w, last answer: %w", url, ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *Cluster) get(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, lastLines(string(body)))
	}
	return nil
}

// writeKeys writes the CA, the API server's and the administrator's certificates, the key of service account tokens
// and the kubeconfig.
func (c *Cluster) writeKeys(o Options, address netip.Addr) error {
	ca, err := newAuthority()
	if err != nil {
		return fmt.Errorf("make CA: %w", err)
	}
	c.CAPEM = ca.pem
	caKey, err := encodePrivate(ca.key)
	if err != nil {
		return fmt.Errorf("make CA: %w", err)
	}
	first, _, _ := strings.Cut(o.ServiceCIDR, ",")
	services, err := netip.ParsePrefix(first)
	if err != nil {
		return fmt.Errorf("read service CIDR: %w", err)
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	// The first address of the range is that of the Service default/kubernetes.
	cert, key, err := ca.server(names, []netip.Addr{address, netip.IPv6Loopback(), services.Masked().Addr().Next()})
	if err != nil {
		return fmt.Errorf("issue serving certificate: %w", err)
	}
	adminCert, adminKey, err := ca.client("sixgate-admin", "system:masters")
	if err != nil {
		return fmt.Errorf("issue client certificate: %w", err)
	}
	c.Kubeconfig = c.path("kubeconfig")
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: sixgate
clusters:
- name: sixgate
  cluster:
    server: %q
    certificate-authority-data: %s
users:
- name: admin
  user:
    client-certificate-data: %s
    client-key-data: %s
contexts:
- name: sixgate
  context:
    cluster: sixgate
    user: admin
`, c.URL, base64.StdEncoding.EncodeToString(ca.pem), base64.StdEncoding.EncodeToString(adminCert), base64.StdEncoding.EncodeToString(adminKey))
	for _, f := range []struct {
		name string
		text []byte
	}{
		{"ca.crt", ca.pem}, {"ca.key", caKey},
		{"apiserver.crt", cert}, {"apiserver.key", key},
		{"admin.crt", adminCert}, {"admin.key", adminKey},
		{"sa.key", caKey}, // one key will do: tokens are never taken for certificates
		{"kubeconfig", []byte(kubeconfig)},
	} {
		if err := os.WriteFile(c.path(f.name), f.text, 0o600); err != nil {
			return err
		}
	}

	pair, err := tls.X509KeyPair(adminCert, adminKey)
	if err != nil {
		return fmt.Errorf("read client certificate: %w", err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	c.client = &http.Client{Transport: &http.Transport{ // no proxy
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true, // an open connection would delay the API server's end
	}}
	return nil
}

// writeKubectlScript writes <dir>/kubectl, which reaches the cluster from outside its network namespace. Without root
// the way there leads through the user namespace that owns it, which must not be entered twice.
func (c *Cluster) writeKubectlScript() error {
	text := fmt.Sprintf(`#!/bin/sh
pid=%d
export KUBECONFIG=%s HOME=%s NO_PROXY='*'
set -- %s "$@"
[ /proc/$pid/ns/net -ef /proc/self/ns/net ] && exec "$@"
user='-U --preserve-credentials'
[ /proc/$pid/ns/user -ef /proc/self/ns/user ] && user=
exec nsenter -t $pid $user -n "$@"
`, c.processes[0].cmd.Process.Pid, quote(c.Kubeconfig), quote(c.Dir), quote(c.Assets.Kubectl))
	return os.WriteFile(kubectlScript(c.Dir), []byte(text), 0o700)
}

// quote quotes a word for sh.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Stop ends all components, SIGTERM first and SIGKILL after 10 s, and removes the state directory if Start chose it.
// The error names components that had ended before or had to be killed.
func (c *Cluster) Stop() error {
	var errs []error
	for _, p := range slices.Backward(c.processes) {
		if err := p.stop(); err != nil {
			errs = append(errs, err)
		}
	}
	c.processes = nil
	if c.detach {
		errs = append(errs, removeDetached(c.Dir))
	}
	if c.temporary {
		errs = append(errs, os.RemoveAll(c.Dir))
	}
	return errors.Join(errs...)
}

// StartBeside starts one more program, with env added to an environment that has PATH and HOME alone, and its output in <name>.log of the state
// directory. It ends by stop, or with the cluster.
func (c *Cluster) StartBeside(name, path string, env []string, args ...string) (stop func() error, err error) {
	p, err := startProcess(name, path, env, args, c.Dir, c.detach, 0)
	if err != nil {
		return nil, err
	}
	c.processes = append(c.processes, p)
	return func() error {
		c.processes = slices.DeleteFunc(c.processes, func(q *process) bool { return q == p })
		return p.stop()
	}, nil
}

// Kubectl runs the real kubectl as administrator, with the state directory as its home. err is set only where kubectl
// did not run to its end; a refused request is an exit code.
func (c *Cluster) Kubectl(ctx context.Context, stdin string, args ...string) (stdout, stderr string, exitCode int, err error) {
	cmd := exec.CommandContext(ctx, c.Assets.Kubectl, args...)
	// By environment, not by flag: kubectl takes no flags before the name of a plugin.
	cmd.Env = append(cleanEnv(c.Dir), "KUBECONFIG="+c.Kubeconfig)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = stopGrace // a plugin's child may keep the pipes open
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	err = cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); ok && cmd.ProcessState.Exited() {
		err = nil
	}
	if err != nil {
		return out.String(), errOut.String(), -1, fmt.Errorf("run kubectl %s: %w", strings.Join(args, " "), err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode(), nil
}

// machineAddress returns an IPv6 address that others could reach: kube-apiserver advertises no loopback address.
func machineAddress() (netip.Addr, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err == nil && prefix.Addr().Is6() && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("this machine has no IPv6 address but ::1; run the program in a network namespace of its own (cluster.Main)")
}

// freePorts returns n ports on which nothing listens. They lie below the range from which the kernel takes ports for
// outgoing connections, so that none of these gets there first.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range 1000 {
		port := strconv.Itoa(20000 + rand.IntN(12000))
		if slices.Contains(ports, port) {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("::", port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("find free port: none from 20000 to 31999; is IPv6 disabled?")
}
