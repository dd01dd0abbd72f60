//go:build e2e

// Package certs renews certificates and their CAs in the three ways that the chart offers, on a real API server with IPv6 only, while
// writes go on under failurePolicy Fail. Each write makes the API server open new connections to the webhook, so that each verifies
// the certificate of now by the caBundle of now.
package certs

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/e2e/cluster/mount"
)

func TestMain(m *testing.M) {
	os.Exit(cluster.TestMain(m.Run, cluster.Need(cluster.FindTools), cluster.Need(cluster.FindCertManager), cluster.Need(cluster.BuildStepping)))
}

const (
	namespace = "sixgate-system"
	secret    = "sixgate-webhook-tls" // of the chart
)

// An installation is a release of the chart, and the servers that its pods would run.
type installation struct {
	*testing.T
	*cluster.Cluster
	client  kubernetes.Interface
	sixgate *cluster.Sixgate
	gates   []*gate
	helm    string
	chart   string
	values  []string // flags of helm

	writes, lost atomic.Int64 // under load, since the start
}

// newInstallation starts a cluster without controllers, so that nothing but the test writes what the webhook is asked about.
func newInstallation(t *testing.T, values ...string) *installation {
	t.Helper()
	in := &installation{T: t, values: append(values, "--set", "check.enabled=false")}
	tools, err := cluster.FindTools(t.Context(), t.Output())
	in.must(err)
	root, err := cluster.Root()
	in.must(err)
	in.helm, in.chart = tools.Helm4, filepath.Join(root, "charts/sixgate")
	in.Cluster = cluster.ForTest(t, cluster.Options{})
	config, err := clientcmd.BuildConfigFromFlags("", in.Kubeconfig)
	in.must(err)
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{} // one for each write
	in.client, err = kubernetes.NewForConfig(config)
	in.must(err)
	return in
}

func (in *installation) must(err error) {
	in.Helper()
	if err != nil {
		in.Fatal(err)
	}
}

// release runs helm install or upgrade.
func (in *installation) release(verb string, more ...string) {
	in.Helper()
	args := slices.Concat([]string{verb, "sixgate", in.chart, "-n", namespace}, in.values, more)
	cmd := exec.CommandContext(in.Context(), in.helm, args...)
	cmd.Env = append(os.Environ(), "HOME="+in.Dir, "KUBECONFIG="+in.Kubeconfig)
	if out, err := cmd.CombinedOutput(); err != nil {
		in.Fatalf("helm %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

func (in *installation) kubectl(stdin string, args ...string) string {
	in.Helper()
	out, stderr, code, err := in.Kubectl(in.Context(), stdin, args...)
	if err != nil || code != 0 {
		in.Fatalf("kubectl %s: %v %s", strings.Join(args, " "), err, stderr)
	}
	return out
}

// serve starts the servers, puts a gate before each, and sets failurePolicy Fail once they are ready.
func (in *installation) serve(o cluster.SixgateOptions) {
	in.Helper()
	o.Applied = true
	var err error
	in.sixgate, err = in.InstallSixgate(in.Context(), o)
	in.must(err)
	for i, r := range in.sixgate.Replicas {
		g, err := newGate(net.JoinHostPort(in.Address, "0"), r.Address)
		in.must(err)
		in.Cleanup(g.close)
		in.gates = append(in.gates, g)
		_, port, err := net.SplitHostPort(g.listener.Addr().String())
		in.must(err)
		in.patchEndpoint(i, "/ports/0/port", port)
	}
	in.values = append(in.values, "--set", "webhooks.mutate.failurePolicy=Fail,webhooks.validate.failurePolicy=Fail")
	in.release("upgrade")
	in.eventually("a write goes through both webhooks", func() error {
		err := in.write(in.Context())
		if err == nil && !slices.ContainsFunc(in.gates, func(g *gate) bool { return g.accepted.Load() > 0 }) {
			err = errors.New("no replica was asked")
		}
		return err
	})
}

// patchEndpoint changes a replica's endpoint behind the Service.
func (in *installation) patchEndpoint(replica int, path, value string) {
	in.Helper()
	in.kubectl("", "patch", "endpointslice", fmt.Sprintf("sixgate-webhook-replica-%d", replica), "-n", namespace, "--type=json",
		"-p", fmt.Sprintf(`[{"op":"replace","path":%q,"value":%s}]`, path, value))
}

// write asks for an IPv4 Service, by a dry run: both webhooks are called, and the API server refuses what was not changed.
func (in *installation) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, err := in.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "write-"},
		Spec:       corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// writers is how many writes are under way at a time.
const writers = 4

// A load is what happened to the writes of a writer.
type load struct {
	writes, lost int
	first, last  time.Time      // lost ones
	reasons      map[string]int // why
}

// underLoad does something while writes go on, one round of connections after the other, and returns what became of them.
func (in *installation) underLoad(what string, do func()) *load {
	in.Helper()
	l := &load{reasons: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	rounds := 0
	var accepted []int64
	for _, g := range in.gates {
		accepted = append(accepted, g.accepted.Load())
	}
	var group sync.WaitGroup
	group.Go(func() {
		for ctx.Err() == nil {
			errs := make([]error, writers)
			var round sync.WaitGroup
			for i := range writers {
				round.Go(func() { errs[i] = in.write(context.Background()) })
			}
			round.Wait()
			rounds++
			for _, err := range errs {
				in.writes.Add(1)
				if l.writes++; err == nil {
					continue
				}
				in.lost.Add(1)
				if l.lost++; l.first.IsZero() {
					l.first = time.Now()
				}
				l.last = time.Now()
				l.reasons[reason(err)]++
			}
			for _, g := range in.gates {
				if err := g.cut(); err != nil {
					in.Error(err)
					return
				}
			}
		}
	})
	defer func() { // a failed step does not leave the load running
		stop()
		group.Wait()
	}()
	start := time.Now()
	do()
	stop()
	group.Wait()
	var handshakes []int64
	total := int64(0)
	for i, g := range in.gates {
		handshakes = append(handshakes, g.accepted.Load()-accepted[i])
		total += handshakes[i]
	}
	in.Logf("%s: %d writes in %.0f s, %d lost; connections to the replicas %v", what, l.writes, time.Since(start).Seconds(), l.lost, handshakes)
	if l.lost > 0 {
		in.Logf("lost for %.1f s: %v", l.last.Sub(l.first).Seconds(), l.reasons)
	}
	if l.writes == 0 || total < 2*int64(rounds) {
		in.Errorf("%s: %d connections in %d rounds of writes: connections were kept", what, total, rounds)
	}
	return l
}

// lossless is underLoad where no write may be lost.
func (in *installation) lossless(what string, do func()) {
	in.Helper()
	if l := in.underLoad(what, do); l.lost > 0 {
		in.Errorf("%s: %d of %d writes were lost: %v", what, l.lost, l.writes, l.reasons)
	}
}

// more returns once a count under load has grown.
func (in *installation) more(count *atomic.Int64, by int64) {
	in.Helper()
	before := count.Load()
	in.eventually("writes", func() error {
		if now := count.Load(); now < before+by {
			return fmt.Errorf("%d, no more than before", now)
		}
		return nil
	})
}

var addresses = regexp.MustCompile(`\[[0-9a-f:]+\]:\d+`)

// reason is an error without what differs between two of a kind.
func reason(err error) string {
	text := err.Error()
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		text = status.Status().Message
	}
	if _, after, ok := strings.Cut(text, "?timeout=5s\": "); ok {
		text = after
	}
	return addresses.ReplaceAllString(text, "ADDRESS")
}

func (in *installation) eventually(what string, check func() error) {
	in.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			in.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// secretData returns a Secret of the installation; nil where it is not there.
func (in *installation) secretData(name string) map[string][]byte {
	s, err := in.client.CoreV1().Secrets(namespace).Get(in.Context(), name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		in.Error(err)
	}
	return s.Data
}

// mountSecret does the kubelet's part for one replica: the directory gets what the Secret holds, whenever go allows it.
func (in *installation) mountSecret(dir string, allowed func() bool) {
	var last map[string][]byte
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	in.Cleanup(func() { stop(); <-done })
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			s, err := in.client.CoreV1().Secrets(namespace).Get(ctx, secret, metav1.GetOptions{})
			if err == nil && allowed() && len(s.Data) > 0 && !maps.EqualFunc(s.Data, last, bytes.Equal) {
				if err := mount.Swap(dir, s.Data); err != nil {
					in.Error(err)
					return
				}
				last = s.Data
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
}

// served returns the certificate that a replica shows.
func (in *installation) served(replica int) (*x509.Certificate, error) {
	conn, err := tls.Dial("tcp", in.sixgate.Replicas[replica].Address, &tls.Config{InsecureSkipVerify: true}) // to look at it
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0], nil
}

// serves returns nil once all replicas show the certificate of the Secret.
func (in *installation) serves() error {
	want := in.parse(in.secretData(secret)["tls.crt"])
	for i := range in.sixgate.Replicas {
		cert, err := in.served(i)
		if err != nil {
			return err
		}
		if len(want) == 0 || !cert.Equal(want[0]) {
			return fmt.Errorf("replica %d shows certificate %x", i, cert.SerialNumber)
		}
	}
	return nil
}

func (in *installation) parse(data []byte) (certs []*x509.Certificate) {
	in.Helper()
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		in.must(err)
		certs = append(certs, cert)
	}
	return certs
}

// bundles returns the caBundle of all webhooks of both registrations.
func (in *installation) bundles() (bundles [][]byte) {
	in.Helper()
	r := in.client.AdmissionregistrationV1()
	m, err := r.MutatingWebhookConfigurations().Get(in.Context(), "sixgate", metav1.GetOptions{})
	in.must(err)
	for _, w := range m.Webhooks {
		bundles = append(bundles, w.ClientConfig.CABundle)
	}
	v, err := r.ValidatingWebhookConfigurations().Get(in.Context(), "sixgate", metav1.GetOptions{})
	in.must(err)
	for _, w := range v.Webhooks {
		bundles = append(bundles, w.ClientConfig.CABundle)
	}
	return bundles
}

// trusted returns nil once every webhook carries a CA.
func (in *installation) trusted(ca *x509.Certificate) error {
	for i, b := range in.bundles() {
		if !slices.ContainsFunc(in.parse(b), ca.Equal) {
			return fmt.Errorf("webhook %d does not carry the CA", i)
		}
	}
	return nil
}

// setBundles writes a caBundle into all webhooks of both registrations, as a person does.
func (in *installation) setBundles(bundle []byte) {
	in.Helper()
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		var patch []string
		for i := range strings.Fields(in.kubectl("", "get", kind, "sixgate", "-o", "jsonpath={.webhooks[*].name}")) {
			patch = append(patch, fmt.Sprintf(`{"op":"replace","path":"/webhooks/%d/clientConfig/caBundle","value":%q}`, i, base64.StdEncoding.EncodeToString(bundle)))
		}
		in.kubectl("", "patch", kind, "sixgate", "--type=json", "-p", "["+strings.Join(patch, ",")+"]")
	}
}

// metric returns a metric of a replica.
func (in *installation) metric(replica int, series string) float64 {
	in.Helper()
	body, _, err := cluster.Get(in.Context(), in.sixgate.Replicas[replica].Metrics)
	in.must(err)
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			in.must(err)
			return v
		}
	}
	in.Fatalf("no metric %s", series)
	return 0
}

// expiry returns nil if all replicas report when these certificates expire.
func (in *installation) expiry(leaf, ca *x509.Certificate) error {
	for i := range in.sixgate.Replicas {
		for label, cert := range map[string]*x509.Certificate{"serving": leaf, "ca": ca} {
			series := fmt.Sprintf("sixgate_certificate_expiry_timestamp_seconds{certificate=%q}", label)
			if got := in.metric(i, series); got != float64(cert.NotAfter.Unix()) {
				return fmt.Errorf("replica %d: %s is %.0f, not %d", i, series, got, cert.NotAfter.Unix())
			}
		}
	}
	return nil
}

// logged counts the lines of a replica's log with a text.
func (in *installation) logged(replica int, text string) int {
	in.Helper()
	log, err := os.ReadFile(in.sixgate.Replicas[replica].Log)
	in.must(err)
	n := 0
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}
