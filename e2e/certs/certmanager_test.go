//go:build e2e

package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// The objects of the chart.
const (
	leafCertificate = "sixgate-webhook"
	caCertificate   = "sixgate-webhook-ca"
	caSecret        = "sixgate-webhook-issuer"
)

// TestCertManager renews by cert-manager's own controllers and CA injector: the certificate, the CA, and the key of the CA.
func TestCertManager(t *testing.T) {
	cm, err := cluster.FindCertManager(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	in := newInstallation(t, "--set", "certificates.mode=cert-manager")
	in.kubectl("", "apply", "--server-side", "-f", cm.CRDs)
	in.kubectl("", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	inject := func(gates string) (stop func()) {
		t.Helper()
		end, err := in.StartBeside("cainjector", cm.Program, nil, "-kubeconfig="+in.Kubeconfig, "-feature-gates="+gates, "cainjector")
		in.must(err)
		return func() { t.Helper(); in.must(end()) }
	}
	_, err = in.StartBeside("cert-manager", cm.Program, nil, "-kubeconfig="+in.Kubeconfig, "controller")
	in.must(err)
	stopInjector := inject("")

	// The chart's objects are enough for a certificate, and for its CA in both registrations.
	in.release("install", "--create-namespace")
	in.eventually("the certificate is issued and its CA injected", func() error {
		ca := in.parse(in.secretData(secret)["ca.crt"])
		if len(ca) != 1 {
			return fmt.Errorf("%d CAs in the Secret", len(ca))
		}
		return in.trusted(ca[0])
	})
	// The second replica's kubelet is late, and can be stopped.
	dirs := []string{t.TempDir(), t.TempDir()}
	var late atomic.Bool
	in.mountSecret(dirs[0], func() bool { return true })
	in.mountSecret(dirs[1], func() bool { return !late.Load() })
	in.serve(cluster.SixgateOptions{Replicas: 2, Own: func(i int) []string { return []string{"--cert-dir=" + dirs[i]} }})
	in.must(in.serves())

	// renew does what `cmctl renew` does, and returns when the Secret has another certificate.
	renew := func(certificate, secret string) *x509.Certificate {
		t.Helper()
		before := in.secretData(secret)["tls.crt"]
		in.kubectl("", "patch", "certificate", certificate, "-n", namespace, "--subresource=status", "--type=json", "-p",
			`[{"op":"add","path":"/status/conditions/-","value":{"type":"Issuing","status":"True","reason":"ManuallyTriggered","message":"by a person","lastTransitionTime":"2026-01-01T00:00:00Z"}}]`)
		var now []byte
		in.eventually(certificate+" is renewed", func() error {
			if now = in.secretData(secret)["tls.crt"]; len(now) == 0 || bytes.Equal(now, before) {
				return errors.New("the Secret is as before")
			}
			return nil
		})
		return in.parse(now)[0]
	}
	rotateKey := func() *x509.Certificate { // what the documentation says for a key that has leaked
		t.Helper()
		before := in.parse(in.secretData(caSecret)["tls.crt"])[0]
		in.kubectl("", "delete", "secret", caSecret, "-n", namespace)
		var ca *x509.Certificate
		in.eventually("a CA with another key", func() error {
			certs := in.parse(in.secretData(caSecret)["tls.crt"])
			if len(certs) == 0 {
				return errors.New("no CA")
			}
			ca = certs[0]
			return nil
		})
		if bytes.Equal(ca.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
			t.Error("the CA keeps its key")
		}
		return ca
	}
	// renewLeaf renews the certificate until it is signed by a CA: the issuer may not have seen a new one yet.
	renewLeaf := func(ca *x509.Certificate) (leaf *x509.Certificate) {
		t.Helper()
		in.eventually("a certificate of the new CA", func() error {
			leaf = renew(leafCertificate, secret)
			return leaf.CheckSignatureFrom(ca)
		})
		return leaf
	}

	in.lossless("certificate renewed", func() {
		late.Store(true)
		leaf := renew(leafCertificate, secret)
		in.eventually("the first replica serves it", func() error {
			if cert, err := in.served(0); err != nil || !cert.Equal(leaf) {
				return fmt.Errorf("another one: %v", err)
			}
			return nil
		})
		late.Store(false)
		in.eventually("both serve it", in.serves)
	})

	in.lossless("CA renewed, with its key", func() {
		before := in.parse(in.secretData(caSecret)["tls.crt"])[0]
		ca := renew(caCertificate, caSecret)
		if !bytes.Equal(ca.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
			t.Error("the chart's CA has another key after its renewal")
		}
		renewLeaf(ca)
		in.eventually("the CA is injected", func() error {
			if now := in.parse(in.secretData(secret)["ca.crt"]); !now[0].Equal(ca) {
				in.Logf("the Secret's CA is not the new one yet")
				renewLeaf(ca)
			}
			return in.trusted(ca)
		})
		in.eventually("both serve it", in.serves)
		in.must(in.expiry(in.parse(in.secretData(secret)["tls.crt"])[0], in.parse(in.secretData(secret)["ca.crt"])[0]))
	})

	in.lossless("key of the CA rotated, with an injector that merges", func() {
		ca := rotateKey()
		renewLeaf(ca)
		in.eventually("both serve it", in.serves)
		in.must(in.trusted(ca))

		// The injector goes on to trust the old CA until that has expired; if its key has leaked, somebody has to end that. More
		// than once where the injector is at work on what it has read before.
		in.eventually("only the new CA is trusted", func() error {
			for i, b := range in.bundles() {
				if got := in.parse(b); len(got) != 1 || !got[0].Equal(ca) {
					in.setBundles(encode(ca))
					return fmt.Errorf("webhook %d trusts %d CAs", i, len(got))
				}
			}
			return nil
		})
	})

	// What somebody edits is put back.
	l := in.underLoad("caBundle overwritten by hand", func() {
		in.setBundles(encode(in.newCA("of somebody else").cert))
		ca := in.parse(in.secretData(secret)["ca.crt"])[0]
		in.eventually("the injector repairs it", func() error { return in.trusted(ca) })
	})
	t.Logf("lost for %v", l.last.Sub(l.first))

	// The same rotation before cert-manager 1.19: this is what the merging, and a CA that keeps its key, are for; and it shows
	// that a lost write is counted.
	stopInjector()
	inject("CAInjectorMerging=false")
	l = in.underLoad("key of the CA rotated, with an injector that replaces", func() {
		late.Store(true)
		ca := rotateKey()
		leaf := renewLeaf(ca)
		in.eventually("the first replica serves it", func() error {
			if cert, err := in.served(0); err != nil || !cert.Equal(leaf) {
				return fmt.Errorf("another one: %v", err)
			}
			return nil
		})
		late.Store(false)
		in.eventually("both serve it", in.serves)
	})
	if l.lost == 0 {
		t.Error("no write was lost: nothing would be seen by this test")
	}

	in.lossless("CA renewed, with its key, with an injector that replaces", func() {
		ca := renew(caCertificate, caSecret)
		late.Store(true)
		renewLeaf(ca)
		in.eventually("the CA is injected", func() error { return in.trusted(ca) })
		late.Store(false)
		in.eventually("both serve it", in.serves)
	})

	for i := range in.sixgate.Replicas {
		if n := in.logged(i, `"manage certificates"`); n > 0 {
			t.Errorf("replica %d logged %d faults", i, n)
		}
	}
}
