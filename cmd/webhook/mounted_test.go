package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sixgate/sixgate/e2e/cluster/mount"
)

func TestMountedSecret(t *testing.T) {
	dir := t.TempDir()
	var lines []string
	m := newMountedSecret(dir, "localhost", funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{}))
	// read reads n times; it returns what was logged, and whether another certificate is served now.
	read := func(n int) (logged []string, changed bool) {
		before := m.cert
		lines = nil
		for range n {
			m.read()
		}
		return lines, m.cert != before
	}
	pair := func(ca *keyPair) map[string][]byte {
		certPEM, keyPEM := leafOf(t, ca)
		return map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM, "ca.crt": ca.certPEM}
	}
	changed := func(files map[string][]byte, name string, data []byte) map[string][]byte {
		files[name] = data
		return files
	}
	swap := func(files map[string][]byte) {
		t.Helper()
		if err := mount.Swap(dir, files); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()

	if logged, _ := read(3); len(logged) != 1 || !strings.Contains(logged[0], filepath.Join(dir, "tls.crt")) || strings.Contains(logged[0], `\n`) {
		t.Errorf("without files, logged: %q", logged)
	}
	if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "no such file") || !m.Stale() {
		t.Errorf("without files: ready: %v, stale %v", err, m.Stale())
	}
	if leaf, ca := m.Certificates(); leaf != nil || ca != nil {
		t.Errorf("without files: %v, %v", leaf, ca)
	}

	// What nobody would accept is served and named where there is nothing better.
	swap(pair(newCA(t, now.Add(-400*day))))
	if logged, is := read(1); !is || len(logged) != 2 || !strings.Contains(logged[1], "it expired at ") {
		t.Errorf("expired at the start: changed %v, logged %q", is, logged)
	}
	if err := m.Ready(); err == nil || !strings.Contains(err.Error(), "it expired at ") || !m.Stale() {
		t.Errorf("expired at the start: ready: %v, stale %v", err, m.Stale())
	}

	// A good pair takes its place at once.
	first := newCA(t, now.Add(-day))
	swap(pair(first))
	if logged, is := read(1); !is || len(logged) != 2 || !strings.Contains(logged[1], "is good") {
		t.Errorf("first good pair: changed %v, logged %q", is, logged)
	}
	if err := m.Ready(); err != nil || m.Stale() {
		t.Errorf("first good pair: ready: %v, stale %v", err, m.Stale())
	}
	if _, ca := m.Certificates(); !ca.Equal(first.cert) {
		t.Errorf("CA is %v", ca)
	}

	otherHost := func() map[string][]byte {
		files := pair(first)
		leaf, err := tls.X509KeyPair(files["tls.crt"], files["tls.key"])
		if err != nil {
			t.Fatal(err)
		}
		o := testOptions()
		o.Now = func() time.Time { return now }
		cert, err := (&authority{opts: o, signing: first, synced: now}).Sign(&x509.Certificate{PublicKey: leaf.Leaf.PublicKey, DNSNames: []string{"example.net"}})
		if err != nil {
			t.Fatal(err)
		}
		return changed(files, "tls.crt", encodeBundle([]*x509.Certificate{cert}))
	}
	half := pair(first)
	for _, bad := range []struct {
		name, want string
		files      map[string][]byte
	}{
		{"garbage", "failed to find any PEM data", changed(pair(first), "tls.crt", []byte("garbage"))},
		{"empty key", "failed to find any PEM data", changed(pair(first), "tls.key", nil)},
		{"half-written", "failed to find any PEM data", changed(half, "tls.crt", half["tls.crt"][:len(half["tls.crt"])/2])},
		{"key of another", "private key does not match public key", changed(pair(first), "tls.key", pair(first)["tls.key"])},
		{"expired", "it expired at ", pair(newCA(t, now.Add(-400*day)))},
		{"of the future", "it is valid from ", pair(newCA(t, now.Add(400*day)))},
		{"other host", "certificate is valid for example.net, not localhost", otherHost()},
	} {
		swap(bad.files)
		if logged, is := read(1); is || logged != nil {
			t.Errorf("%s, read once: changed %v, logged %q", bad.name, is, logged)
		}
		logged, is := read(3)
		if is || len(logged) != 1 || !strings.Contains(logged[0], bad.want) || strings.Contains(logged[0], "PRIVATE") {
			t.Errorf("%s: changed %v, logged %q", bad.name, is, logged)
		}
		if err := m.Ready(); err != nil || !m.Stale() {
			t.Errorf("%s: ready: %v, stale %v", bad.name, err, m.Stale())
		}
	}
	if err := os.Remove(filepath.Join(dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	if logged, is := read(3); is || len(logged) != 1 || !strings.Contains(logged[0], "tls.key: no such file") {
		t.Errorf("key removed: changed %v, logged %q", is, logged)
	}

	// A second good pair counts when it is read again.
	second := newCA(t, now.Add(-day))
	swap(pair(second))
	if logged, is := read(1); is || logged != nil || !m.Stale() {
		t.Errorf("second good pair, read once: changed %v, logged %q", is, logged)
	}
	if logged, is := read(1); !is || len(logged) != 2 || m.Stale() {
		t.Errorf("second good pair: changed %v, logged %q", is, logged)
	}
	if logged, is := read(3); is || logged != nil {
		t.Errorf("at rest: changed %v, logged %q", is, logged)
	}

	// The metrics are those of the pair that is served.
	r := prometheus.NewRegistry()
	registerCertificateMetrics(r, m)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range families {
		for _, metric := range f.Metric {
			label := ""
			for _, l := range metric.Label {
				label = l.GetValue()
			}
			got += fmt.Sprintf("%s %s %.0f\n", f.GetName(), label, metric.Gauge.GetValue())
		}
	}
	leaf, _ := m.Certificates()
	want := fmt.Sprintf(`sixgate_certificate_expiry_timestamp_seconds ca %d
sixgate_certificate_expiry_timestamp_seconds serving %d
sixgate_certificate_stale  0
sixgate_certificate_start_timestamp_seconds ca %d
sixgate_certificate_start_timestamp_seconds serving %d
`, second.cert.NotAfter.Unix(), leaf.NotAfter.Unix(), second.cert.NotBefore.Unix(), leaf.NotBefore.Unix())
	if got != want {
		t.Errorf("metrics:\n%swant:\n%s", got, want)
	}

	// What is served can expire without any change of files.
	expired, err := tls.X509KeyPair(leafOf(t, newCA(t, now.Add(-400*day))))
	if err != nil {
		t.Fatal(err)
	}
	m.cert = &expired
	if logged, _ := read(2); len(logged) != 1 || !strings.Contains(logged[0], "it expired at ") || m.Ready() == nil || !m.Stale() {
		t.Errorf("expired while served: logged %q, ready: %v", logged, m.Ready())
	}
}
