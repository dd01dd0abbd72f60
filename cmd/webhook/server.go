package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

const (
	// headerTime bounds a TLS handshake, and the headers of a request.
	headerTime = 5 * time.Second
	// bodyTime bounds a request with its body: the default timeoutSeconds, and some more.
	bodyTime = 10 * time.Second
	// answerTime is the longest timeoutSeconds, and some more.
	answerTime = 35 * time.Second
	// idleTime is what API servers (http.DefaultTransport) keep connections for.
	idleTime = 90 * time.Second
	// leaveTime is how long a server that is told to stop goes on, and says with each answer that it was the last on its connection. Without
	// it, an API server may send a request on a connection that is just being closed.
	leaveTime = 3 * time.Second
	// drainTime is how long requests may take after that.
	drainTime = 20 * time.Second
	// mostConnections, each with one request, is what a burst of several API servers opens.
	mostConnections = 1000
	maxHeader       = 16 << 10
)

// A server is the HTTPS server of the webhook, in place of controller-runtime's, which bounds neither connections nor the time of a
// request. What it cannot serve it ends, so that strangers do not keep API servers from being served. HTTP/2 is not offered: API
// servers do not speak it to webhooks (https://issue.k8s.io/75791), and streams that are opened and reset cost others their turn.
type server struct {
	addr    string
	tls     *tls.Config
	log     logr.Logger
	mux     *http.ServeMux
	conns   *connections
	started atomic.Bool
	drain   drain
	bound   chan net.Addr // for tests
}

var _ webhook.Server = &server{}

// newServer makes a server for an address, [::] for all of IPv6. options change the TLS configuration.
func newServer(host string, port int, log logr.Logger, options ...func(*tls.Config)) *server {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	for _, o := range options {
		o(config)
	}
	return &server{
		addr: net.JoinHostPort(host, strconv.Itoa(port)), tls: config, log: log, mux: http.NewServeMux(),
		conns: &connections{most: mostConnections, since: map[net.Conn]connection{}}, bound: make(chan net.Addr, 1),
	}
}

// Register is of webhook.Server.
func (s *server) Register(path string, hook http.Handler) { s.mux.Handle(path, hook) }

// WebhookMux is of webhook.Server.
func (s *server) WebhookMux() *http.ServeMux { return s.mux }

// NeedLeaderElection is false: every replica serves.
func (s *server) NeedLeaderElection() bool { return false }

// StartedChecker returns a check that the port answers.
func (s *server) StartedChecker() healthz.Checker {
	return func(r *http.Request) error {
		if !s.started.Load() {
			return errors.New("not started yet")
		}
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- only whether it answers
		conn, err := d.DialContext(r.Context(), "tcp", s.addr)
		if err != nil {
			return fmt.Errorf("the port does not answer: %w", err)
		}
		return conn.Close()
	}
}

// Start serves until ctx ends, and then until the requests that have begun are answered, drainTime at most.
func (s *server) Start(ctx context.Context) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	errs := &occasional{}
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	srv := &http.Server{
		Handler: s.drain.handler(s.mux), Protocols: protocols,
		ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		ConnState: s.conns.observe,
		ErrorLog: log.New(writerFunc(func(line string) {
			if !strings.Contains(line, " from [::1]:") || s.tls.GetConfigForClient == nil { // StartedChecker shows no certificate
				errs.Info(s.log, "connection", "error", line)
			}
		}), "", 0),
	}
	s.bound <- listener.Addr()
	drained := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		s.drain.begun.Store(true)
		for end := time.Now().Add(leaveTime); s.conns.count() > 0 && time.Now().Before(end); time.Sleep(leaveTime / 100) {
		}
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		drained <- srv.Shutdown(limited)
	})
	s.started.Store(true)
	if err := srv.Serve(tls.NewListener(listener, s.tls)); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serve: %w", err)
	}
	if err := <-drained; err != nil {
		return errors.Join(fmt.Errorf("answer the last requests: %w", err), srv.Close())
	}
	return nil
}

// connections ends the one that has done nothing for longest where there are too many. Waiting for room instead would let who
// opens them all keep API servers out.
type connections struct {
	most int

	mu    sync.Mutex
	since map[net.Conn]connection
}

type connection struct {
	state http.ConnState
	at    time.Time
}

// observe is for http.Server.
func (c *connections) observe(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateClosed || state == http.StateHijacked {
		delete(c.since, conn)
		return
	}
	c.since[conn] = connection{state, time.Now()}
	if state != http.StateNew || len(c.since) <= c.most {
		return
	}
	oldest := c.oldest(conn)
	delete(c.since, oldest)
	go oldest.Close() // may wait for a write
}

// oldest is the first of those that have sent no request yet, else of those between two requests, else the newest: what is worked
// on is not given up.
func (c *connections) oldest(newest net.Conn) net.Conn {
	found := map[http.ConnState]net.Conn{}
	for conn, v := range c.since {
		if best := found[v.state]; conn != newest && (best == nil || v.at.Before(c.since[best].at)) {
			found[v.state] = conn
		}
	}
	return cmp.Or(found[http.StateNew], found[http.StateIdle], newest)
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.since)
}

// logGap is the time between two lines of an occasional log.
const logGap = 10 * time.Second

// An occasional log has one line in logGap however often it is written to, so that strangers do not fill disks.
type occasional struct {
	mu     sync.Mutex
	last   time.Time
	passed int // since the last line
}

// Info logs, or counts what it does not log. A nil log logs all.
func (o *occasional) Info(log logr.Logger, message string, fields ...any) {
	if o == nil {
		log.Info(message, fields...)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); o.last.IsZero() || now.Sub(o.last) >= logGap {
		log.Info(message, append(fields, "notLogged", o.passed)...)
		o.last, o.passed = now, 0
		return
	}
	o.passed++
}

type writerFunc func(line string)

func (f writerFunc) Write(p []byte) (int, error) {
	f(strings.TrimSpace(string(p)))
	return len(p), nil
}
