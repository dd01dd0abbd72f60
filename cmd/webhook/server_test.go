package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/sixgate/sixgate/pkg/rules"
)

// selfSigned is a certificate for localhost and for clients, with its PEM.
func selfSigned(t testing.TB, name string) (cert tls.Certificate, certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv6loopback}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return cert, certPEM, keyPEM
}

// serveHandlers registers both webhooks, with the default policy, as run does.
func serveHandlers(s *server, log logr.Logger, limit *load) {
	set := &atomic.Pointer[rules.Set]{}
	set.Store(rules.NewSet(rules.DefaultPolicy("IPv6")))
	for _, h := range []*handler{
		{name: "mutate", verb: mutateRequest, fights: newFightDetector()},
		{name: "validate", verb: validateRequest(nil)},
	} {
		h.set, h.log, h.load, h.sheds, h.rejected = set, log, limit, &occasional{}, &occasional{}
		s.Register("/"+h.name, h)
	}
}

// A running server, on a port of [::1].
type running struct {
	addr   string
	caPEM  []byte
	client *tls.Config
	stop   func() // returns when the server has
	log    *lockedLog
	conns  *connections
}

type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) add(_, args string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.WriteString(args + "\n")
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func startServer(t testing.TB, options ...func(*tls.Config)) *running {
	t.Helper()
	cert, caPEM, _ := selfSigned(t, "server")
	logs := &lockedLog{}
	log := funcr.New(logs.add, funcr.Options{})
	s := newServer("::1", 0, log, append([]func(*tls.Config){func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} }}, options...)...)
	serveHandlers(s, log, newLoad(defaultMemory))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	r := &running{caPEM: caPEM, client: &tls.Config{RootCAs: pool, ServerName: "localhost"}, log: logs, conns: s.conns}
	select {
	case addr := <-s.bound:
		r.addr = addr.String()
	case err := <-done:
		t.Fatal(err)
	}
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// apiServer is a client as API servers have it: client-go's over HTTP/1.1, which asks again where Retry-After says so. dial may be nil.
func apiServer(t testing.TB, r *running, dial func(ctx context.Context, network, address string) (net.Conn, error), edit func(*rest.Config)) rest.Interface {
	t.Helper()
	c := &rest.Config{
		Host: "https://localhost", QPS: -1, Dial: dial,
		TLSClientConfig: rest.TLSClientConfig{CAData: r.caPEM, NextProtos: []string{"http/1.1"}},
		ContentConfig:   rest.ContentConfig{NegotiatedSerializer: scheme.Codecs.WithoutConversion(), ContentType: "application/json"},
	}
	if dial == nil {
		c.Host = "https://" + r.addr
		c.TLSClientConfig.ServerName = "localhost"
	}
	if edit != nil {
		edit(c)
	}
	client, err := rest.UnversionedRESTClientFor(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeIdle(client) })
	return client
}

// closeIdle ends the connections of a client, which the server would wait for.
func closeIdle(client rest.Interface) {
	utilnet.CloseIdleConnectionsFor(client.(*rest.RESTClient).Client.Transport)
}

// askReview sends an AdmissionReview as an API server does, with its timeout, and returns what is wrong with the answer.
func askReview(client rest.Interface, path string, body []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	data, err := client.Post().AbsPath(path).Param("timeout", "5s").Body(body).Do(ctx).Raw()
	if err != nil {
		return err
	}
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	if answer.Response == nil || !answer.Response.Allowed || path == "/mutate" && len(answer.Response.Patch) == 0 {
		return fmt.Errorf("answer: %s", data)
	}
	return nil
}

// A steady client asks one after the other until it is stopped.
type steady struct {
	sent, lost int
	worst      time.Duration
	first      error
	end        func() // once
}

func startSteady(client rest.Interface, body []byte) *steady {
	s := &steady{}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			begin := time.Now()
			err := askReview(client, "/mutate", body)
			s.sent++
			s.worst = max(s.worst, time.Since(begin))
			if err != nil {
				s.lost++
				if s.first == nil {
					s.first = err
				}
			}
		}
	}()
	s.end = sync.OnceFunc(func() { close(stop); <-done })
	return s
}

// report ends the client, prints the row of docs/robustness.md, and fails if a request was lost.
func (s *steady) report(t *testing.T, client rest.Interface, body []byte, what string) {
	t.Helper()
	s.end()
	begin := time.Now()
	if err := askReview(client, "/mutate", body); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	t.Logf("| %s | %d | %d | %v | %v |", what, s.sent, s.lost, s.worst.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	if s.lost > 0 {
		t.Errorf("%d of %d requests were lost: %v", s.lost, s.sent, s.first)
	}
	if s.sent == 0 {
		t.Error("nothing was asked")
	}
}

// many runs n functions at a time and waits for them.
func many(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// ended reads until the server has closed the connection.
func ended(conn net.Conn) error {
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	_, err := io.Copy(io.Discard, conn)
	if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // as it comes from the connection
		return fmt.Errorf("the server keeps the connection: %w", err)
	}
	return nil
}

// noLeak fails if there are more goroutines than before, also after a while.
func noLeak(t *testing.T, before int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		n := runtime.NumGoroutine()
		if n <= before {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", n, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestShed: no room means 429 with Retry-After and no AdmissionReview, one line in the log, and an API server's client gets its answer
// once there is room.
func TestShed(t *testing.T) {
	r, limit := startBusy(t)
	asked := make(chan error, 1)
	go func() {
		asked <- askReview(apiServer(t, r, nil, nil), "/mutate", review("Service", "CREATE", benchService(), nil))
	}()
	waitShed(t, r)
	limit.work.Release(limit.workBytes)
	if err := <-asked; err != nil {
		t.Errorf("the second time: %v", err)
	}
}

// startBusy starts a server that has no room, until workBytes are released.
func startBusy(t *testing.T) (*running, *load) {
	t.Helper()
	cert, caPEM, _ := selfSigned(t, "server")
	r, limit := &running{caPEM: caPEM, log: &lockedLog{}}, newLoad(defaultMemory)
	if !limit.work.TryAcquire(limit.workBytes) {
		t.Fatal("no room")
	}
	log := funcr.New(r.log.add, funcr.Options{})
	s := newServer("::1", 0, log, func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	serveHandlers(s, log, limit)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Start(ctx) }()
	r.addr = (<-s.bound).String()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, limit
}

// waitShed returns when a request has been turned away.
func waitShed(t *testing.T, r *running) {
	t.Helper()
	eventually(t, "one is turned away", func() error {
		if !strings.Contains(r.log.String(), "overloaded") {
			return fmt.Errorf("log: %s", r.log)
		}
		return nil
	})
}

// TestServerDrain: a server that is told to stop loses no request: what has begun is answered, what comes later goes to the other one.
func TestServerDrain(t *testing.T) {
	first, second := startServer(t), startServer(t)
	var away atomic.Bool
	// As behind a Service: new connections go where its endpoints are, those that exist stay. Both certificates are trusted.
	first.caPEM = append(first.caPEM, second.caPEM...)
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		if away.Load() {
			return (&net.Dialer{}).DialContext(ctx, network, second.addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, first.addr)
	}
	body := review("Pod", "CREATE", benchPod(10), nil)
	var clients []*steady
	for range 20 {
		clients = append(clients, startSteady(apiServer(t, first, dial, nil), body))
	}
	time.Sleep(500 * time.Millisecond)
	away.Store(true) // in a cluster, while preStop sleeps
	begin := time.Now()
	first.stop()
	stopped := time.Since(begin)
	time.Sleep(500 * time.Millisecond)
	sent, lost := 0, 0
	worst := time.Duration(0)
	for _, s := range clients {
		s.end()
		sent, lost, worst = sent+s.sent, lost+s.lost, max(worst, s.worst)
		if s.first != nil {
			t.Errorf("lost: %v", s.first)
		}
	}
	t.Logf("| told to stop (SIGTERM) with 20 clients at work | %d | %d | %v | %v |", sent, lost, worst.Round(time.Millisecond), stopped.Round(time.Millisecond))
	if sent == 0 {
		t.Error("nothing was asked")
	}
}

// TestConnections: the one that has done nothing for longest goes first.
func TestConnections(t *testing.T) {
	c := &connections{most: 2, since: map[net.Conn]connection{}}
	pipe := func(state http.ConnState) (ours, theirs net.Conn) {
		ours, theirs = net.Pipe()
		c.observe(ours, http.StateNew)
		if state != http.StateNew {
			c.observe(ours, state)
		}
		return ours, theirs
	}
	_, busy := pipe(http.StateActive)
	_, idle := pipe(http.StateIdle)
	_, silent := pipe(http.StateNew) // one too many: idle goes
	if err := ended(idle); err != nil {
		t.Error(err)
	}
	_, newest := pipe(http.StateNew) // the silent one goes before the busy one
	if err := ended(silent); err != nil {
		t.Error(err)
	}
	c.observe(c.oldest(nil), http.StateActive)
	_, refused := pipe(http.StateNew) // all others are at work
	if err := ended(refused); err != nil {
		t.Error(err)
	}
	_ = newest
	_ = busy.SetReadDeadline(time.Now())
	if _, err := busy.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("the busy one: %v", err)
	}
}
