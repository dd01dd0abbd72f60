//go:build e2e

package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// A certificateAuthority is one that somebody else keeps.
type certificateAuthority struct {
	in   *installation
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (in *installation) newCA(name string) *certificateAuthority {
	in.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	in.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	in.must(err)
	cert, err := x509.ParseCertificate(der)
	in.must(err)
	return &certificateAuthority{in, cert, key}
}

func encode(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

// issue returns tls.crt, tls.key and ca.crt for the webhook, which are valid until a time.
func (ca *certificateAuthority) issue(until time.Time) map[string][]byte {
	ca.in.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca.in.must(err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{"sixgate-webhook." + namespace + ".svc"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca.cert, key.Public(), ca.key)
	ca.in.must(err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	ca.in.must(err)
	return map[string][]byte{
		"tls.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		"tls.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		"ca.crt":  encode(ca.cert),
	}
}

// setSecret writes the Secret that the chart's Deployment mounts.
func (in *installation) setSecret(data map[string][]byte) {
	in.Helper()
	secrets := in.client.CoreV1().Secrets(namespace)
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secret}, Data: data}
	_, err := secrets.Update(in.Context(), s, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(in.Context(), s, metav1.CreateOptions{})
	}
	in.must(err)
}

// TestMounted renews by hand, by way of the Secret and the chart's values: the certificate, badly too, and its CA.
func TestMounted(t *testing.T) {
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	in := newInstallation(t, "--set", "certificates.mode=mounted", "--set-file", "certificates.caBundle="+bundle)
	trust := func(verb string, cas ...*certificateAuthority) {
		t.Helper()
		var data []byte
		for _, ca := range cas {
			data = append(data, encode(ca.cert)...)
		}
		in.must(os.WriteFile(bundle, data, 0o600))
		in.release(verb)
	}
	year := time.Now().AddDate(1, 0, 0)
	first, second := in.newCA("first"), in.newCA("second")
	in.kubectl("", "create", "namespace", namespace)
	in.setSecret(first.issue(year))
	trust("install", first)
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		in.mountSecret(dir, func() bool { return true })
	}
	in.serve(cluster.SixgateOptions{Replicas: 2, Own: func(i int) []string { return []string{"--cert-dir=" + dirs[i]} }})

	in.lossless("certificate renewed", func() {
		in.setSecret(first.issue(year))
		in.eventually("both serve it", in.serves)
	})

	stale := func(want float64) func() error {
		return func() error {
			for i := range in.sixgate.Replicas {
				if got := in.metric(i, "sixgate_certificate_stale"); got != want {
					return fmt.Errorf("replica %d: stale is %v, not %v", i, got, want)
				}
			}
			return nil
		}
	}
	in.lossless("certificate renewed badly", func() {
		kept, err := in.served(0)
		in.must(err)
		half, other := first.issue(year), first.issue(year)
		half["tls.crt"] = half["tls.crt"][:len(half["tls.crt"])/2]
		other["tls.key"] = first.issue(year)["tls.key"]
		for i, bad := range []struct {
			data map[string][]byte
			line string
		}{
			{half, "failed to find any PEM data in certificate input"},
			{other, "tls: private key does not match public key"},
			{first.issue(time.Now().Add(-time.Hour)), "it expired at "},
		} {
			in.setSecret(bad.data)
			in.eventually("the replicas name the fault", func() error {
				for r := range in.sixgate.Replicas {
					if n := in.logged(r, bad.line); n != 1 {
						return fmt.Errorf("replica %d: %q %d times in the log", r, bad.line, n)
					}
				}
				return nil
			})
			in.must(stale(1)())
			for r := range in.sixgate.Replicas {
				if cert, err := in.served(r); err != nil || !cert.Equal(kept) {
					t.Errorf("fault %d: replica %d serves another certificate (%v)", i, r, err)
				}
			}
		}
		in.setSecret(first.issue(year))
		in.eventually("both serve it", in.serves)
		in.eventually("they are content", stale(0))
		for r := range in.sixgate.Replicas {
			if n := in.logged(r, `"manage certificates"`); n != 3 {
				t.Errorf("replica %d: %d lines for three faults", r, n)
			}
		}
	})

	in.lossless("CA replaced: trust both, then serve the new one, then trust it alone", func() {
		trust("upgrade", first, second)
		in.setSecret(second.issue(year))
		in.eventually("both serve it", in.serves)
		trust("upgrade", second)
		in.must(in.expiry(in.parse(in.secretData(secret)["tls.crt"])[0], second.cert))
	})

	// What somebody edits stays so, until the release is applied again.
	l := in.underLoad("caBundle overwritten by hand", func() {
		in.setBundles(encode(first.cert))
		in.more(&in.lost, 20)
		in.release("upgrade", "--force-conflicts") // without it Helm 4 leaves the field to whoever edited it
	})
	t.Logf("lost for %v", l.last.Sub(l.first))
	in.lossless("and after it", func() { in.more(&in.writes, 100) })
	if got := in.bundles(); slices.ContainsFunc(got, func(b []byte) bool { return string(b) != string(encode(second.cert)) }) {
		t.Errorf("the release has not put the CA back: %s", got)
	}
}
