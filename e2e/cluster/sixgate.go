package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// BuildSixgate builds the commands of this repository into its bin directory and returns that. It must run outside a network
// namespace, where missing modules can be fetched.
func BuildSixgate(ctx context.Context) (string, error) {
	root, err := findRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", bin+"/", "./cmd/...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sixgate: %w: %s", err, out)
	}
	return bin, nil
}

// Root is the directory of this repository.
func Root() (string, error) { return findRoot() }

// A SixgateOptions says how Sixgate is installed.
type SixgateOptions struct {
	Policy     string                     // policy file; default config/webhook/policy.yaml
	Replicas   int                        // servers; default 1
	Args       []string                   // more flags of the webhook
	Own        func(replica int) []string // and of one replica; may be nil
	Applied    bool                       // the manifests are there, as a release of Helm; only the servers are started
	Components []string                   // of config/webhook/components
	Clock      *Clock                     // of all replicas, which BuildStepping has built; default the machine's
}

// Sixgate is an installation: the manifests of config/webhook, and the server, which runs on this machine since there is no
// node for its pods. It has the rights of its ServiceAccount and nothing else.
type Sixgate struct {
	Replicas []*Replica
	c        *Cluster
	o        SixgateOptions
	binary   string
	config   string // kubeconfig of the ServiceAccount
	// endpoints is the manifest that older API servers need.
	endpoints string
}

// A Replica is one server of the webhook.
type Replica struct {
	Address              string // of the webhook, without the Service
	Metrics, Health, Log string // URLs, and the path of its log
	args                 []string
	process              *process
}

// InstallSixgate does what a user does (kubectl apply -k config/webhook), starts the servers, puts them behind the Service by
// hand-written EndpointSlices, and returns when they are ready.
func (c *Cluster) InstallSixgate(ctx context.Context, o SixgateOptions) (*Sixgate, error) {
	root, err := findRoot()
	if err != nil {
		return nil, err
	}
	if o.Policy == "" {
		o.Policy = filepath.Join(root, "config/webhook/policy.yaml")
	}
	s := &Sixgate{c: c, o: o, binary: filepath.Join(root, "bin/webhook"), config: c.path("sixgate.kubeconfig")}
	if o.Clock != nil {
		s.binary += "-stepping"
	}
	if !o.Applied {
		folder, err := c.kustomization(filepath.Join(root, "config/webhook"), o.Components)
		if err == nil {
			_, err = c.Must(ctx, "", "apply", "-k", folder)
		}
		if err != nil {
			return nil, fmt.Errorf("install sixgate: %w", err)
		}
	}
	if err := c.WriteKubeconfig(ctx, s.config, "sixgate-webhook"); err != nil {
		return nil, fmt.Errorf("install sixgate: %w", err)
	}
	for i := range max(o.Replicas, 1) {
		if err := s.add(ctx, i); err != nil {
			return nil, fmt.Errorf("install sixgate: %w", err)
		}
	}
	return s, s.WaitReady(ctx)
}

// kustomization is the base itself, or a folder that adds components to it.
func (c *Cluster) kustomization(base string, components []string) (string, error) {
	if len(components) == 0 {
		return base, nil
	}
	folder := c.path("install")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return "", err
	}
	up, err := filepath.Rel(folder, base)
	if err != nil {
		return "", err
	}
	text := "resources: [" + up + "]\ncomponents:\n"
	for _, name := range components {
		text += "- " + filepath.Join(up, "components", name) + "\n"
	}
	return folder, os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600)
}

// Must is Kubectl for commands that have to succeed.
func (c *Cluster) Must(ctx context.Context, stdin string, args ...string) (string, error) {
	stdout, stderr, code, err := c.Kubectl(ctx, stdin, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), lastLines(stderr))
	}
	return stdout, err
}

// WriteKubeconfig writes a kubeconfig with the token of a ServiceAccount of sixgate-system, as a pod would have it.
func (c *Cluster) WriteKubeconfig(ctx context.Context, path, account string) error {
	token, err := c.Must(ctx, "", "create", "token", account, "-n", "sixgate-system", "--duration=24h")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"config", "set-cluster", "c", "--server=" + c.URL, "--certificate-authority=" + c.path("ca.crt"), "--embed-certs"},
		{"config", "set-credentials", "u", "--token=" + strings.TrimSpace(token)},
		{"config", "set-context", "x", "--cluster=c", "--user=u"},
		{"config", "use-context", "x"},
	} {
		if _, err := c.Must(ctx, "", append(args, "--kubeconfig="+path)...); err != nil {
			return err
		}
	}
	return nil
}

const endpointSlice = `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: sixgate-webhook-replica-%d
  namespace: sixgate-system
  labels:
    kubernetes.io/service-name: sixgate-webhook
    endpointslice.kubernetes.io/managed-by: e2e
addressType: IPv6
endpoints:
- addresses: [%q]
  conditions: {ready: true}
ports:
- name: https
  port: %s
`

// endpoints are what the aggregator of an older API server routes by (measured: v1.33.13 asks for Endpoints, v1.37.0 for EndpointSlices).
const endpoints = `apiVersion: v1
kind: Endpoints
metadata: {name: sixgate-webhook, namespace: sixgate-system}
subsets:
`

func (s *Sixgate) add(ctx context.Context, i int) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	r := &Replica{
		Address: net.JoinHostPort(s.c.Address, ports[0]),
		Metrics: "http://" + net.JoinHostPort("::1", ports[1]) + "/metrics",
		Health:  "http://" + net.JoinHostPort("::1", ports[2]),
		Log:     s.c.path(fmt.Sprintf("webhook-%d.log", i)),
	}
	r.args = append([]string{
		"--kubeconfig=" + s.config, "--policy=" + s.o.Policy, "--port=" + ports[0], "--shutdown-delay=0s",
		"--metrics-bind-address=[::]:" + ports[1], "--health-probe-bind-address=[::]:" + ports[2],
	}, s.o.Args...)
	if s.o.Own != nil {
		r.args = append(r.args, s.o.Own(i)...)
	}
	s.Replicas = append(s.Replicas, r)
	if err := s.Start(i); err != nil {
		return err
	}
	if _, err = s.c.Must(ctx, fmt.Sprintf(endpointSlice, i, s.c.Address, ports[0]), "apply", "-f", "-"); err != nil || !Oldest() {
		return err
	}
	if s.endpoints == "" {
		s.endpoints = endpoints
	}
	s.endpoints += fmt.Sprintf("- {addresses: [{ip: %q}], ports: [{name: https, port: %s}]}\n", s.c.Address, ports[0])
	_, err = s.c.Must(ctx, s.endpoints, "apply", "-f", "-")
	return err
}

// Start starts a replica that is stopped, on the same port.
func (s *Sixgate) Start(i int) error {
	r := s.Replicas[i]
	var env []string
	if s.o.Clock != nil {
		env = s.o.Clock.env()
	}
	var err error
	if r.process, err = startProcess(strings.TrimSuffix(filepath.Base(r.Log), ".log"), s.binary, env, r.args, s.c.Dir, s.c.detach, 0); err != nil {
		return err
	}
	s.c.processes = append(s.c.processes, r.process)
	if s.c.detach {
		return writePIDs(s.c.Dir, s.c.processes)
	}
	return nil
}

// Stop ends a replica; its endpoint stays behind the Service, as when a node is lost.
func (s *Sixgate) Stop(i int) error { return s.forget(i).stop() }

// Kill is Stop by SIGKILL.
func (s *Sixgate) Kill(i int) error {
	p := s.forget(i)
	if err := p.cmd.Process.Kill(); err != nil {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}

// forget takes a replica out of what Stop of the cluster ends.
func (s *Sixgate) forget(i int) *process {
	r := s.Replicas[i]
	for j, p := range s.c.processes {
		if p == r.process {
			s.c.processes = append(s.c.processes[:j], s.c.processes[j+1:]...)
			break
		}
	}
	return r.process
}

// WaitReady returns when every replica that runs answers that it is ready.
func (s *Sixgate) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for _, r := range s.Replicas {
		for {
			err := r.ready(ctx)
			if err == nil {
				break
			}
			if ended := r.process.exited(); ended != nil {
				return ended
			}
			select {
			case <-ctx.Done():
				log, _ := os.ReadFile(r.Log)
				return fmt.Errorf("webhook is not ready: %w; its last lines: %s", err, lastLines(string(log)))
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
	return nil
}

func (r *Replica) ready(ctx context.Context) error {
	body, code, err := Get(ctx, r.Health+"/readyz?verbose")
	if err == nil && code != http.StatusOK {
		err = errors.New(strings.ReplaceAll(strings.TrimSpace(body), "\n", " "))
	}
	return err
}

// Get returns the body and the status of a URL.
func Get(ctx context.Context, url string) (string, int, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), resp.StatusCode, err
}
