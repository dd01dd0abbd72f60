//go:build e2e

package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

const day = 24 * time.Hour

func (in *installation) newClock() *cluster.Clock {
	in.Helper()
	c, err := cluster.NewClock(filepath.Join(in.TempDir(), "clock"))
	in.must(err)
	return c
}

// validAt returns nil if all replicas serve a certificate that is valid at a time.
func (in *installation) validAt(t func() time.Time) error {
	for i := range in.sixgate.Replicas {
		cert, err := in.served(i)
		if err != nil {
			return err
		}
		if now := t(); now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return fmt.Errorf("replica %d serves a certificate from %v to %v", i, cert.NotBefore, cert.NotAfter)
		}
	}
	return nil
}

// ready says whether a replica is as ready as it should be.
func (in *installation) ready(replica int, want bool) func() error {
	return func() error {
		body, code, err := cluster.Get(in.Context(), in.sixgate.Replicas[replica].Health+"/readyz?verbose")
		if err == nil && (code == http.StatusOK) != want {
			err = fmt.Errorf("ready: %d %s", code, body)
		}
		return err
	}
}

// TestClockSteps: the clock of the webhook's replicas steps and comes back, while writes go on. The API server's clock stays, as when the clock of
// the webhook's node is wrong. With a clock that is off by days its new certificates are not valid to the API server; as soon as it is right they are.
func TestClockSteps(t *testing.T) {
	in := newInstallation(t)
	in.release("install", "--create-namespace")
	clock := in.newClock()
	in.serve(cluster.SixgateOptions{Replicas: 2, Clock: clock, Args: []string{"--ca-poll-interval=500ms", "--ca-overlap=5s", "--ca-duration=1440h"}})
	signing := func() *x509.Certificate { return in.parse(in.secretData("sixgate-webhook-ca")["tls.crt"])[0] }
	// settled waits until the replicas serve what is valid by their clock, and holds them to it: nothing is renewed again and again.
	settled := func(ahead time.Duration) {
		t.Helper()
		in.eventually("certificates that are valid by the replicas' clock", func() error {
			return in.validAt(func() time.Time { return time.Now().Add(ahead) })
		})
		var before [][]byte
		in.eventually("they stay", func() error {
			var now [][]byte
			for i := range in.sixgate.Replicas {
				cert, err := in.served(i)
				in.must(err)
				now = append(now, cert.Raw)
			}
			now = append(now, in.secretData("sixgate-webhook-ca")["tls.crt"])
			now = append(now, in.bundles()...)
			same := before != nil && bytes.Equal(bytes.Join(now, nil), bytes.Join(before, nil))
			if before = now; !same {
				time.Sleep(3 * time.Second) // six rounds
				return errors.New("something was renewed")
			}
			return nil
		})
	}
	// there steps the clock, and waits until the replicas have got used to it.
	there := func(ahead time.Duration) {
		t.Helper()
		in.must(clock.Set(ahead))
		settled(ahead)
	}
	// back steps it to the API server's, and returns when writes succeed again.
	back := func() {
		t.Helper()
		begin := time.Now()
		in.must(clock.Set(0))
		in.eventually("writes after the clock is right", func() error { return in.write(t.Context()) })
		t.Logf("after the clock was right, a write succeeded within %v", time.Since(begin).Round(100*time.Millisecond))
		settled(0)
	}

	for _, ahead := range []time.Duration{14 * time.Hour, -14 * time.Hour} {
		in.lossless(fmt.Sprintf("clock off by %v, a time zone, and the CA replaced meanwhile", ahead), func() {
			in.must(clock.Set(ahead))
			old := signing()
			in.kubectl("", "patch", "secret", "sixgate-webhook-ca", "-n", namespace, "--type=merge", "-p", `{"data":null}`)
			in.eventually("another CA signs", func() error {
				if ca := in.secretData("sixgate-webhook-ca")["tls.crt"]; len(ca) == 0 || in.parse(ca)[0].Equal(old) {
					return errors.New("the old one does")
				}
				return nil
			})
			settled(ahead)
			in.more(&in.writes, 20)
			back()
			in.more(&in.writes, 20)
		})
	}
	in.lossless("clock 3 days back, before the certificate is valid", func() {
		there(-3 * day)
		in.more(&in.writes, 20)
		back()
	})
	for _, step := range []struct {
		ahead time.Duration
		what  string
		newCA bool
	}{
		{8 * day, "8 days ahead, after the certificate has expired", false},
		{70 * day, "70 days ahead, after the CA has expired", true},
		{-30 * day, "30 days back, before the CA is valid", true},
	} {
		old := signing()
		in.underLoad("clock "+step.what, func() {
			there(step.ahead)
			if got := !signing().Equal(old); got != step.newCA {
				t.Errorf("%s: another CA: %v", step.what, got)
			}
			back()
		})
		in.lossless("and after it", func() { in.more(&in.writes, 40) })
	}
	// The API server's own certificate is not valid to the replicas then: once they must connect anew, they can change nothing, and what they
	// serve is good. They are stopped meanwhile, as on a connection that they have kept they would make certificates for that time.
	const fault = `"manage certificates"`
	before := in.logged(0, fault)
	signal := func(s syscall.Signal) {
		for i := range in.sixgate.Replicas {
			in.must(syscall.Kill(in.PID(fmt.Sprintf("webhook-%d", i)), s))
		}
	}
	signal(syscall.SIGSTOP)
	in.must(clock.Set(400 * day))
	in.must(in.RestartAPIServer(t.Context()))
	signal(syscall.SIGCONT)
	in.lossless("clock 400 days ahead", func() {
		in.eventually("not ready", in.ready(0, false))
		in.eventually("the log says why", func() error {
			if in.logged(0, fault) == before {
				return errors.New("it does not")
			}
			return nil
		})
		in.more(&in.writes, 100)
		in.must(clock.Set(0))
		in.eventually("ready", in.ready(0, true))
		if n := in.logged(0, fault) - before; n > 2 {
			t.Errorf("one fault is %d times in the log", n)
		}
		settled(0)
	})
	in.must(in.sixgate.WaitReady(t.Context()))
	for i := range in.sixgate.Replicas {
		if got := in.metric(i, "sixgate_certificate_stale"); got != 0 {
			t.Errorf("replica %d is stale", i)
		}
	}
}

// TestClockStepsMounted: with mounted files the webhook changes nothing, so no write is lost; it says that it is not ready as long as its clock
// finds the certificate not valid.
func TestClockStepsMounted(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	in := newInstallation(t, "--set", "certificates.mode=mounted", "--set-file", "certificates.caBundle="+bundle)
	ca := in.newCA("first")
	in.kubectl("", "create", "namespace", namespace)
	in.setSecret(ca.issue(time.Now().Add(30 * day)))
	in.must(os.WriteFile(bundle, encode(ca.cert), 0o600))
	in.release("install")
	dir, clock := t.TempDir(), in.newClock()
	in.mountSecret(dir, func() bool { return true })
	in.serve(cluster.SixgateOptions{Clock: clock, Args: []string{"--cert-dir=" + dir}})
	for _, step := range []struct {
		ahead time.Duration
		line  string
	}{{31 * day, "it expired at "}, {-3 * day, "it is valid from "}} {
		in.lossless(fmt.Sprintf("mounted files, clock off by %v", step.ahead), func() {
			in.must(clock.Set(step.ahead))
			in.eventually("not ready", in.ready(0, false))
			in.eventually("the log says why", func() error {
				if n := in.logged(0, step.line); n < 1 {
					return errors.New("it does not")
				}
				return nil
			})
			in.more(&in.writes, 40)
			in.must(clock.Set(0))
			in.eventually("ready", in.ready(0, true))
			in.more(&in.writes, 40)
		})
		if n := in.logged(0, step.line); n > 2 { // of the certificate, and of readiness
			t.Errorf("%q is %d times in the log", step.line, n)
		}
	}
}
