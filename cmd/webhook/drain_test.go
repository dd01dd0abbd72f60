package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

// TestDrain: after SIGTERM requests are answered, their connections end, and the context of the server ends later.
func TestDrain(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		d := &drain{}
		s := httptest.NewUnstartedServer(d.handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("From", r.RemoteAddr)
		})))
		s.EnableHTTP2 = http2
		s.StartTLS()
		t.Cleanup(s.Close)
		get := func() string {
			resp, err := s.Client().Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil {
				t.Fatal(err)
			}
			if resp.ProtoMajor == 2 != http2 {
				t.Fatalf("the protocol is %s", resp.Proto)
			}
			return resp.Header.Get("From")
		}
		first := get()
		if again := get(); again != first || d.ready(nil) != nil {
			t.Errorf("before: connections from %s and %s", first, again)
		}
		ctx, stop := context.WithCancel(t.Context())
		later := d.after(ctx, 200*time.Millisecond, logr.Discard())
		stop()
		for d.ready(nil) == nil {
			time.Sleep(time.Millisecond)
		}
		get() // is told to close
		for deadline := time.Now().Add(time.Minute); get() == first; {
			if time.Now().After(deadline) {
				t.Fatalf("HTTP/2 %v: the connection from %s goes on", http2, first)
			}
		}
		select {
		case <-later.Done():
		case <-time.After(time.Minute):
			t.Error("the server's context does not end")
		}
	}
}

// TestOnceStarted: a handshake waits for certificate and families, and not longer than a replica may take to start.
func TestOnceStarted(t *testing.T) {
	s := httptest.NewTLSServer(nil)
	t.Cleanup(s.Close)
	var certified, known atomic.Bool
	get := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if !certified.Load() {
			return nil, errors.New("no certificate")
		}
		return &s.TLS.Certificates[0], nil
	}
	ready := func() error {
		if !known.Load() {
			return errors.New("unknown")
		}
		return nil
	}
	handshake := func(limit time.Time) error {
		near, far := net.Pipe()
		defer near.Close()
		go tls.Client(near, &tls.Config{InsecureSkipVerify: true}).Handshake() //nolint:errcheck // the server's says it
		return tls.Server(far, &tls.Config{GetCertificate: onceStarted(get, ready, limit)}).HandshakeContext(t.Context())
	}
	if err := handshake(time.Now()); err == nil || err.Error() != "no certificate" {
		t.Errorf("after the limit: %v", err)
	}
	done := make(chan error)
	go func() { done <- handshake(time.Now().Add(time.Hour)) }()
	for _, step := range []*atomic.Bool{&certified, &known} {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		step.Store(true)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}
