package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
)

// TestClientCheck: with --client-ca-file only a certificate of these CAs, and of one of the names, is answered; the file is read again.
func TestClientCheck(t *testing.T) {
	service := review("Service", "CREATE", benchService(), nil)
	_, caPEM, keyPEM := selfSigned(t, "kube-apiserver")
	_, otherPEM, otherKey := selfSigned(t, "kube-apiserver") // the same name, another CA
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(data []byte) {
		t.Helper()
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	show := func(cert, key []byte) func(*rest.Config) {
		return func(c *rest.Config) { c.CertData, c.KeyData = cert, key }
	}
	write(caPEM)
	for i, c := range []struct {
		names string
		show  func(*rest.Config)
		want  bool // an answer
	}{
		{"", show(caPEM, keyPEM), true},
		{"other,kube-apiserver", show(caPEM, keyPEM), true},
		{"localhost", show(caPEM, keyPEM), true}, // a DNS name
		{"kube-apiserver-2", show(caPEM, keyPEM), false},
		{"", nil, false},
		{"", show(otherPEM, otherKey), false},
		{"kube-apiserver", show(otherPEM, otherKey), false},
	} {
		t.Run(fmt.Sprint(i, c.names), func(t *testing.T) {
			check, err := newClientCheck(file, commas(c.names), logr.Discard())
			if err != nil {
				t.Fatal(err)
			}
			err = askReview(apiServer(t, startServer(t, check.apply), nil, c.show), "/mutate", service)
			if err == nil != c.want {
				t.Errorf("%v", err)
			}
		})
	}

	check, err := newClientCheck(file, nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	r := startServer(t, check.apply)
	again := func() {
		check.mu.Lock()
		check.looked = time.Time{}
		check.mu.Unlock()
	}
	write(otherPEM)
	again()
	if err := askReview(apiServer(t, r, nil, show(otherPEM, otherKey)), "/mutate", service); err != nil {
		t.Errorf("after the CA was replaced: %v", err)
	}
	if err := askReview(apiServer(t, r, nil, show(caPEM, keyPEM)), "/mutate", service); err == nil {
		t.Error("the old CA is still trusted")
	}
	for _, bad := range []string{"", "garbage", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		write([]byte(bad))
		again()
		if err := askReview(apiServer(t, r, nil, show(otherPEM, otherKey)), "/mutate", service); err != nil {
			t.Errorf("after the file has turned into %q: %v", bad, err)
		}
		if _, err := newClientCheck(file, nil, logr.Discard()); err == nil || !strings.Contains(err.Error(), "read client CAs") {
			t.Errorf("a start with %q: %v", bad, err)
		}
	}
}

// TestGarbageCertificates: what a client shows in place of a certificate ends its connection, and nothing else.
func TestGarbageCertificates(t *testing.T) {
	before := runtime.NumGoroutine()
	service := review("Service", "CREATE", benchService(), nil)
	_, caPEM, keyPEM := selfSigned(t, "kube-apiserver")
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, caPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	check, err := newClientCheck(file, nil, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	r := startServer(t, check.apply)
	client := apiServer(t, r, nil, func(c *rest.Config) { c.CertData, c.KeyData = caPEM, keyPEM })
	s := startSteady(client, service)
	for _, chain := range [][][]byte{{{}}, {{0x30, 0x80}}, {[]byte(strings.Repeat("x", 60_000))}, {nil, nil, nil}} {
		cert, _, _ := selfSigned(t, "kube-apiserver")
		cert.Certificate = append(chain, cert.Certificate...)
		many(20, func(int) {
			c := r.client.Clone()
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
			conn, err := tls.Dial("tcp", r.addr, c)
			if err != nil {
				return // refused within the handshake
			}
			defer conn.Close()
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("the server answers")
			}
		})
	}
	s.report(t, client, service, "80 garbage client certificates")
	closeIdle(client)
	r.stop()
	noLeak(t, before)
}

// TestOldTLS: nothing older than TLS 1.2 is spoken.
func TestOldTLS(t *testing.T) {
	r := startServer(t)
	for version, want := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := r.client.Clone()
		c.MinVersion, c.MaxVersion = version, version
		conn, err := tls.Dial("tcp", r.addr, c)
		if err == nil != want {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}
