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
	Policy   string   // policy file; default config/webhook/policy.yaml
	Replicas int      // servers; default 1
	Args     []string // more flags of the webhook
	Applied  bool     // the manifests are there, as a release of Helm; only the servers are started
}

// Sixgate is an installation: the manifests of config/webhook, and the server, which runs on this machine since there is no
// node for its pods. It has the rights of its ServiceAccount and nothing else.
type Sixgate struct {
	Replicas []*Replica
	c        *Cluster
	o        SixgateOptions
	binary   string
	config   string // kubeconfig of the ServiceAccount
}

// A Replica is one server of the webhook.
type Replica struct {
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
	if !o.Applied {
		if _, err := c.kubectl(ctx, "", "apply", "-k", filepath.Join(root, "config/webhook")); err != nil {
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

// kubectl is Kubectl for commands that must succeed.
func (c *Cluster) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	stdout, stderr, code, err := c.Kubectl(ctx, stdin, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("kubectl %s: %s", strings.Join(args, " "), lastLines(stderr))
	}
	return stdout, err
}

// WriteKubeconfig writes a kubeconfig with the token of a ServiceAccount of sixgate-system, as a pod would have it.
func (c *Cluster) WriteKubeconfig(ctx context.Context, path, account string) error {
	token, err := c.kubectl(ctx, "", "create", "token", account, "-n", "sixgate-system", "--duration=24h")
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
		if _, err := c.kubectl(ctx, "", append(args, "--kubeconfig="+path)...); err != nil {
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

func (s *Sixgate) add(ctx context.Context, i int) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	r := &Replica{
		Metrics: "http://" + net.JoinHostPort("::1", ports[1]) + "/metrics",
		Health:  "http://" + net.JoinHostPort("::1", ports[2]),
		Log:     s.c.path(fmt.Sprintf("webhook-%d.log", i)),
	}
	r.args = append([]string{
		"--kubeconfig=" + s.config, "--policy=" + s.o.Policy, "--port=" + ports[0], "--shutdown-delay=0s",
		"--metrics-bind-address=[::]:" + ports[1], "--health-probe-bind-address=[::]:" + ports[2],
	}, s.o.Args...)
	s.Replicas = append(s.Replicas, r)
	if err := s.Start(i); err != nil {
		return err
	}
	_, err = s.c.kubectl(ctx, fmt.Sprintf(endpointSlice, i, s.c.Address, ports[0]), "apply", "-f", "-")
	return err
}

// Start starts a replica that is stopped, on the same port.
func (s *Sixgate) Start(i int) error {
	r := s.Replicas[i]
	var err error
	if r.process, err = startProcess(strings.TrimSuffix(filepath.Base(r.Log), ".log"), s.binary, r.args, s.c.Dir, s.c.detach, 0); err != nil {
		return err
	}
	s.c.processes = append(s.c.processes, r.process)
	if s.c.detach {
		return writePIDs(s.c.Dir, s.c.processes)
	}
	return nil
}

// Stop ends a replica; its endpoint stays behind the Service, as when a node is lost.
func (s *Sixgate) Stop(i int) error {
	r := s.Replicas[i]
	for j, p := range s.c.processes {
		if p == r.process {
			s.c.processes = append(s.c.processes[:j], s.c.processes[j+1:]...)
			break
		}
	}
	return r.process.stop()
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
