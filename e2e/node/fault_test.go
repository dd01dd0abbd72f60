//go:build e2e

package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// A tally is what became of the writes of one fault.
type tally struct {
	writes     int            // that the API server decided
	unmutated  int            // stored without the repair, or refused by the API server because it was missing
	refused    int            // because the webhook did not answer
	unreached  int            // the API server itself did not answer; tried again
	why        map[string]int // errors, by their last words
	lastPolicy string         // KUBERNETES_SERVICE_HOST that the last Pod was given
}

func (t *tally) add(o tally) {
	t.writes += o.writes
	t.unmutated += o.unmutated
	t.refused += o.refused
	t.unreached += o.unreached
	for reason, n := range o.why {
		if t.why == nil {
			t.why = map[string]int{}
		}
		t.why[reason] += n
	}
	if o.lastPolicy != "" {
		t.lastPolicy = o.lastPolicy
	}
}

// A load writes Services that ask for IPv4, and Pods that are given variables, without a pause.
type load struct {
	mu    sync.Mutex
	tally tally
	fatal error
	stop  context.CancelFunc
	done  sync.WaitGroup
}

const (
	loadNamespace = "load"
	writers       = 4
)

func startLoad(ctx context.Context, client kubernetes.Interface) *load {
	l := &load{}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range writers {
		l.done.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				t, err := write(context.WithoutCancel(ctx), client, n%2 == 0)
				l.mu.Lock()
				l.tally.add(t)
				if err != nil && l.fatal == nil {
					l.fatal = err
				}
				l.mu.Unlock()
				if t.unreached > 0 {
					time.Sleep(50 * time.Millisecond)
				}
			}
		})
	}
	return l
}

// end stops the writers and returns what became of the writes.
func (l *load) end() (tally, error) {
	l.stop()
	l.done.Wait()
	return l.tally, l.fatal
}

func (l *load) now() tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// write writes one object and takes it away again. An error is one that nobody has foreseen.
func write(ctx context.Context, client kubernetes.Interface, service bool) (t tally, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	meta := metav1.ObjectMeta{GenerateName: "load-", Namespace: loadNamespace}
	now := int64(0)
	remove := metav1.DeleteOptions{GracePeriodSeconds: &now}
	if service {
		var s *corev1.Service
		s, err = client.CoreV1().Services(loadNamespace).Create(ctx, &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80}},
		}}, metav1.CreateOptions{})
		if err == nil {
			if !slices.Equal(s.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv6Protocol}) {
				t.unmutated++
			}
			_ = client.CoreV1().Services(loadNamespace).Delete(ctx, s.Name, remove) // the namespace goes at the end
		}
	} else {
		var p *corev1.Pod
		p, err = client.CoreV1().Pods(loadNamespace).Create(ctx, &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: "sixgate.test/never"}}, Containers: []corev1.Container{{Name: "a", Image: podImage}},
		}}, metav1.CreateOptions{})
		if err == nil {
			for _, v := range p.Spec.Containers[0].Env {
				if v.Name == "KUBERNETES_SERVICE_HOST" {
					t.lastPolicy = v.Value
				}
			}
			if t.lastPolicy == "" {
				t.unmutated++
			}
			_ = client.CoreV1().Pods(loadNamespace).Delete(ctx, p.Name, remove)
		}
	}
	t.writes = 1
	if err != nil {
		parts := strings.Split(err.Error(), ": ")
		t.why = map[string]int{parts[len(parts)-1]: 1}
	}
	switch {
	case err == nil:
	case strings.Contains(err.Error(), "failed calling webhook"):
		t.refused = 1
	case strings.Contains(err.Error(), "not configured on this cluster"):
		t.unmutated = 1
	case utilnet.IsConnectionRefused(err), utilnet.IsConnectionReset(err), utilnet.IsProbableEOF(err), utilnet.IsHTTP2ConnectionLost(err),
		strings.Contains(err.Error(), "client connection lost"), strings.Contains(err.Error(), "failed to allocate IP"), strings.Contains(err.Error(), "failed to allocate a serviceIP"), strings.Contains(err.Error(), "apiserver not ready"),
		strings.Contains(err.Error(), "apiserver is shutting down"), strings.Contains(err.Error(), "serviceaccount"), strings.Contains(err.Error(), "not yet ready to handle request"):
		return tally{unreached: 1, why: t.why}, nil
	default:
		return t, err
	}
	return t, nil
}

// A fault is what happens while the load runs.
type fault struct {
	name   string
	strict bool // nothing may be lost
	cause  func(context.Context, *faults) error
}

type faults struct {
	*Node
	client kubernetes.Interface
	load   *load
	values []string // of the release
}

// pods is a field of each pod of the webhook.
func (f *faults) pods(ctx context.Context, path string) ([]string, error) {
	out, err := f.Must(ctx, "", "get", "pods", "-n", "sixgate-system", "-l", "app=sixgate-webhook", "-o", "jsonpath={range .items[*]}{"+path+"} {end}")
	return strings.Fields(out), err
}

// rolled waits until two replicas are ready and the old ones are gone.
func (f *faults) rolled(ctx context.Context) error {
	if _, err := f.Must(ctx, "", "rollout", "status", "deployment/sixgate-webhook", "-n", "sixgate-system", "--timeout=4m"); err != nil {
		return err
	}
	return f.Eventually(ctx, func() error {
		names, err := f.pods(ctx, ".metadata.name")
		if err == nil && len(names) != 2 {
			err = fmt.Errorf("there are the pods %v", names)
		}
		return err
	})
}

var allFaults = []fault{
	{"none", true, func(context.Context, *faults) error { time.Sleep(5 * time.Second); return nil }},
	{"rolling update (`kubectl rollout restart`)", true, func(ctx context.Context, f *faults) error {
		_, err := f.Must(ctx, "", "rollout", "restart", "deployment/sixgate-webhook", "-n", "sixgate-system")
		return errors.Join(err, f.rolled(ctx))
	}},
	{"both pods deleted, one after the other (`kubectl delete pod`, as a drain does)", true, func(ctx context.Context, f *faults) error {
		names, err := f.pods(ctx, ".metadata.name")
		for _, name := range names {
			_, deleted := f.Must(ctx, "", "delete", "pod", name, "-n", "sixgate-system")
			err = errors.Join(err, deleted, f.rolled(ctx))
		}
		return err
	}},
	{"policy changed (`helm upgrade`)", true, func(ctx context.Context, f *faults) error {
		const host = "kubernetes.default.svc"
		text := "apiVersion: sixgate.io/v1alpha1\nkind: Policy\ncluster:\n  dns: {address: \"" + dnsAddress + "\"}\napiServer: {host: " + host + ", port: 443}\n"
		file := f.path("other-policy.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		if _, err := f.Helm(ctx, append(f.values, "--set-file", "policy="+file)...); err != nil {
			return err
		}
		return f.Eventually(ctx, func() error {
			if got := f.load.now().lastPolicy; got != host {
				return fmt.Errorf("Pods are given %s", got)
			}
			return nil
		})
	}},
	{"new CA and certificates (Secret emptied)", true, func(ctx context.Context, f *faults) error {
		text, err := f.Must(ctx, "", "get", "mutatingwebhookconfiguration", "sixgate", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}")
		if err != nil {
			return err
		}
		bundle, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		before := x509.NewCertPool()
		before.AppendCertsFromPEM(bundle)
		if _, err := f.Must(ctx, "", "patch", "secret", "sixgate-webhook-ca", "-n", "sixgate-system", "--type=merge", "-p", `{"data":null}`); err != nil {
			return err
		}
		addresses, err := f.pods(ctx, ".status.podIP")
		if err != nil {
			return err
		}
		return f.Eventually(ctx, func() error {
			for _, address := range addresses {
				conn, err := tls.Dial("tcp", net.JoinHostPort(address, "9443"), &tls.Config{RootCAs: before, ServerName: "sixgate-webhook.sixgate-system.svc"})
				if err == nil {
					conn.Close()
					return fmt.Errorf("%s serves a certificate of the old CA", address)
				}
				if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); !unknown {
					return err
				}
			}
			return nil
		})
	}},
	{"API server restarted", true, func(ctx context.Context, f *faults) error {
		if err := f.RestartAPIServer(ctx); err != nil {
			return err
		}
		return f.rolled(ctx)
	}},
	// Those that follow hit the pod that the API server is connected to.
	{"one container killed (SIGKILL)", false, func(ctx context.Context, f *faults) error {
		pods, err := f.targets(ctx)
		if err != nil {
			return err
		}
		before, err := f.pods(ctx, ".status.containerStatuses[0].restartCount")
		if err != nil {
			return err
		}
		if err := syscall.Kill(pods[0].pid, syscall.SIGKILL); err != nil {
			return err
		}
		if err := f.Eventually(ctx, func() error {
			now, err := f.pods(ctx, ".status.containerStatuses[0].restartCount")
			if err == nil && slices.Equal(now, before) {
				err = errors.New("no container was started again")
			}
			return err
		}); err != nil {
			return err
		}
		return f.rolled(ctx)
	}},
	{"one pod deleted by force (`--force --grace-period=0`)", false, func(ctx context.Context, f *faults) error {
		pods, err := f.targets(ctx)
		if err != nil {
			return err
		}
		_, err = f.Must(ctx, "", "delete", "pod", pods[0].name, "-n", "sixgate-system", "--force", "--grace-period=0")
		return errors.Join(err, f.rolled(ctx))
	}},
	{"network between API server and one pod cut for 20 s", false, func(ctx context.Context, f *faults) error { return f.cut(ctx, 1, 20*time.Second) }},
	{"network between API server and both pods cut for 10 s", false, func(ctx context.Context, f *faults) error { return f.cut(ctx, 2, 10*time.Second) }},
}

// process is the webhook of a pod.
func process(uid string) (int, error) {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0, err
	}
	for _, path := range commands {
		command, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(command, []byte("/webhook\x00")) {
			continue
		}
		dir := filepath.Dir(path)
		if groups, err := os.ReadFile(filepath.Join(dir, "cgroup")); err == nil && strings.Contains(string(groups), uid) {
			return strconv.Atoi(filepath.Base(dir))
		}
	}
	return 0, fmt.Errorf("pod %s has no process", uid)
}

// A target is a pod of the webhook.
type target struct {
	name, address string
	pid           int
	connections   int // to its port
}

// targets are both pods; first the one to which the API server has most connections.
func (f *faults) targets(ctx context.Context) ([]target, error) {
	fields, err := f.pods(ctx, `.metadata.name}{","}{.metadata.uid}{","}{.status.podIP`)
	if err != nil {
		return nil, err
	}
	var all []target
	for _, field := range fields {
		part := strings.Split(field, ",")
		pod := target{name: part[0], address: part[2]}
		if pod.pid, err = process(part[1]); err != nil {
			return nil, err
		}
		sockets, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/tcp6", pod.pid))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(sockets)) { // local and remote address, and state 01 is established: see proc_net_tcp
			if f := strings.Fields(line); len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", 9443)) && f[3] == "01" {
				pod.connections++
			}
		}
		all = append(all, pod)
	}
	slices.SortFunc(all, func(a, b target) int { return b.connections - a.connections })
	if len(all) != 2 || all[0].connections == 0 {
		return nil, fmt.Errorf("the API server is connected to no pod: %+v", all)
	}
	return all, nil
}

// cut drops what the API server sends to pods of the webhook.
func (f *faults) cut(ctx context.Context, pods int, during time.Duration) error {
	all, err := f.targets(ctx)
	if err != nil {
		return err
	}
	nft := func(args ...string) error {
		out, err := exec.CommandContext(ctx, "nft", args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if err := errors.Join(nft("add", "table", "ip6", "cut"), nft("add", "chain", "ip6", "cut", "out", "{ type filter hook output priority 10 ; }")); err != nil {
		return err
	}
	for _, pod := range all[:pods] {
		if err := nft("add", "rule", "ip6", "cut", "out", "ip6", "daddr", pod.address, "tcp", "dport", "9443", "drop"); err != nil {
			return err
		}
	}
	time.Sleep(during)
	return errors.Join(nft("delete", "table", "ip6", "cut"), f.rolled(ctx))
}

// TestFaults counts what becomes of writes while something fails, and prints the table of docs/operations.md.
func TestFaults(t *testing.T) {
	n := start(t)
	config, err := clientcmd.BuildConfigFromFlags("", n.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.WarningHandler = -1, rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Must(t.Context(), "", "create", "namespace", loadNamespace); err != nil {
		t.Fatal(err)
	}
	// Short lives, so that certificates are renewed in between and a new CA is in force soon.
	more := []string{"--set-string", "extraArgs={--certificate-duration=3m,--ca-duration=10m,--ca-overlap=10s,--ca-poll-interval=1s,--policy-poll-interval=1s}"}
	if out, err := n.InstallSixgate(t.Context(), more...); err != nil {
		t.Fatal(err, out)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| failurePolicy | fault | writes | not repaired | refused |\n| --- | --- | --- | --- | --- |\n")
	for _, policy := range []string{"Ignore", "Fail"} {
		f := &faults{Node: n, client: client}
		f.values = append([]string{"upgrade", "sixgate", filepath.Join(n.root, "charts/sixgate"), "--namespace", "sixgate-system", "--wait", "--timeout", "4m",
			"--set", "webhooks.mutate.failurePolicy=" + policy + ",webhooks.validate.failurePolicy=" + policy}, slices.Concat(n.Values(), more)...)
		if _, err := n.Helm(t.Context(), f.values...); err != nil {
			t.Fatal(err)
		}
		for _, fault := range allFaults {
			if only := os.Getenv("SIXGATE_FAULT"); !strings.Contains(fault.name, only) {
				continue
			}
			t.Run(policy+"/"+fault.name, func(t *testing.T) {
				if err := f.rolled(t.Context()); err != nil {
					t.Fatal(err)
				}
				f.load = startLoad(t.Context(), client)
				begin := time.Now()
				for f.load.now().writes < 50 && time.Since(begin) < limit {
					time.Sleep(100 * time.Millisecond)
				}
				caused := fault.cause(t.Context(), f)
				got := f.load.now().writes
				for begin := time.Now(); f.load.now().writes < got+50 && time.Since(begin) < limit; {
					time.Sleep(100 * time.Millisecond)
				}
				tally, err := f.load.end()
				if err := errors.Join(caused, err); err != nil {
					t.Fatalf("%v; %+v", err, tally)
				}
				t.Logf("%.0f s: %+v", time.Since(begin).Seconds(), tally)
				fmt.Fprintf(&table, "| %s | %s | %d | %d | %d |\n", policy, fault.name, tally.writes, tally.unmutated, tally.refused)
				if fault.strict && tally.unmutated+tally.refused > 0 {
					t.Errorf("%d writes are not repaired, %d are refused: %v", tally.unmutated, tally.refused, tally.why)
				}
				if policy == "Fail" && tally.unmutated > 0 || policy == "Ignore" && tally.refused > 0 {
					t.Errorf("under %s %d writes are not repaired and %d refused: %v", policy, tally.unmutated, tally.refused, tally.why)
				}
			})
		}
	}
	t.Logf("\n%s", table.String())
}
