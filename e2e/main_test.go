//go:build e2e

// Package e2e tests Sixgate through the real kubectl against real API servers, in a network namespace whose only IPv4 address
// is 127.0.0.1.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func TestMain(m *testing.M) {
	if cluster.Outermost() {
		if _, err := cluster.BuildSixgate(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(cluster.Main(func() int {
		code := m.Run()
		stopShared()
		return code
	}))
}

// shared are the clusters that several tests use, each in namespaces of its own.
var shared struct {
	sync.Mutex
	clusters []*cluster.Cluster
}

func stopShared() {
	for _, c := range shared.clusters {
		if err := c.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// policyText is the policy of the shared installation.
const policyText = `apiVersion: sixgate.io/v1alpha1
kind: Policy
cluster: {cni: calico, dns: {address: "fd00:10:96::a", resolvers: ["2001:4860:4860::6464"]}}
apiServer: {host: api.example.net, port: 6443}
services: {headless: ["headless/*"]}
pools:
- {namespaces: [dns], pods: {k8s-app: kube-dns-a}, addresses: ["2001:db8:53::1"]}
- {namespaces: [pools], ipv6Pools: ["2001:db8:42::1/64"]}
- {namespaces: [pools-default], annotate: Namespace, ipv6Pools: ["2001:db8:42::1/64"]}
`

// An installation is a cluster with Sixgate on it.
type installation struct {
	*cluster.Cluster
	sixgate     *cluster.Sixgate
	policy      string // path
	controllers bool   // a controller manager runs, so Pods need a ServiceAccount
}

var (
	withSixgate    = sync.OnceValues(func() (*installation, error) { return start(cluster.Options{ControllerManager: true}, true) })
	withoutSixgate = sync.OnceValues(func() (*installation, error) { return start(cluster.Options{}, false) })
	dualStack      = sync.OnceValues(func() (*installation, error) {
		return start(cluster.Options{ServiceCIDR: "fd00:10:96::/112,10.96.0.0/16"}, true)
	})
)

func start(o cluster.Options, install bool) (*installation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	shared.Lock()
	shared.clusters = append(shared.clusters, c)
	shared.Unlock()
	in := &installation{Cluster: c, policy: filepath.Join(c.Dir, "policy.yaml"), controllers: o.ControllerManager}
	if !install {
		return in, nil
	}
	return in, in.install(ctx, cluster.SixgateOptions{Args: []string{"--policy-poll-interval=500ms", "--events"}, Components: []string{"events"}})
}

// install installs Sixgate with the policy of the shared installation.
func (in *installation) install(ctx context.Context, o cluster.SixgateOptions) (err error) {
	if err := os.WriteFile(in.policy, []byte(policyText), 0o600); err != nil {
		return err
	}
	o.Policy = in.policy
	in.sixgate, err = in.InstallSixgate(ctx, o)
	return err
}

// setPolicy changes the policy and returns when every replica has read it: as a good one, or as a bad one.
func (in *installation) setPolicy(t *testing.T, text, result string) {
	t.Helper()
	if now, err := os.ReadFile(in.policy); err == nil && string(now) == text {
		return
	}
	label := fmt.Sprintf("result=%q", result)
	var before []float64
	for i := range in.sixgate.Replicas {
		before = append(before, in.metric(t, i, "sixgate_policy_reloads_total", label))
	}
	// A rename, as the kubelet does it: half a file is never seen.
	if err := os.WriteFile(in.policy+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(in.policy+".new", in.policy); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		for i := range in.sixgate.Replicas {
			if in.metric(t, i, "sixgate_policy_reloads_total", label) == before[i] {
				return fmt.Errorf("replica %d has not read the policy as %q", i, result)
			}
		}
		return nil
	})
}

// withPolicy changes the policy until the test ends.
func (in *installation) withPolicy(t *testing.T, text string) {
	t.Helper()
	in.setPolicy(t, text, "ok")
	t.Cleanup(func() { in.setPolicy(t, policyText, "ok") })
}

// metric adds up the samples of a metric of one replica that have all these labels, each as `name="value"`.
func (in *installation) metric(t *testing.T, replica int, name string, labels ...string) float64 {
	t.Helper()
	text, code, err := cluster.Get(context.Background(), in.sixgate.Replicas[replica].Metrics) // in cleanups too
	if err != nil || code != http.StatusOK {
		t.Fatalf("get metrics: %d %v", code, err)
	}
	sum := 0.0
next:
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
		if !ok || !strings.HasPrefix(rest, "{") && !strings.HasPrefix(rest, " ") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		sum += value
	}
	return sum
}

// get returns a shared installation, or ends the test.
func get(t *testing.T, from func() (*installation, error)) *installation {
	t.Helper()
	in, err := from()
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// A result is what kubectl said.
type result struct {
	out, err string
	code     int
}

// run runs kubectl, whatever it answers.
func (in *installation) run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, stderr, code, err := in.Kubectl(ctx, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return result{out, stderr, code}
}

// must runs kubectl and ends the test if it fails.
func (in *installation) must(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	r := in.run(t, stdin, args...)
	if r.code != 0 {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), r.err)
	}
	return r
}

// namespace makes a namespace for one test.
func (in *installation) namespace(t *testing.T, name string) string {
	t.Helper()
	if r := in.run(t, "", "create", "namespace", name); r.code != 0 && !strings.Contains(r.err, "already exists") {
		t.Fatal(r.err)
	}
	if in.controllers {
		in.must(t, "", "wait", "--for=create", "serviceaccount/default", "-n", name, "--timeout=60s")
	}
	return name
}

// object reads one object.
func (in *installation) object(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(in.must(t, "", append([]string{"get", "-o", "json"}, args...)...).out), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// field reads one field by jsonpath.
func (in *installation) field(t *testing.T, path string, args ...string) string {
	t.Helper()
	return in.must(t, "", append([]string{"get", "-o", "jsonpath={" + path + "}"}, args...)...).out
}

func contains(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is not in:\n%s", want, text)
	}
}

// eventually polls until check returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
