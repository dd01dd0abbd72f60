//go:build e2e

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
)

// TestClientCertificate: an API server that is told to show a certificate, as docs/security.md says, is answered by a webhook that asks for
// one; nobody else is.
func TestClientCertificate(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver-webhook-client"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert := write("client.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	keyFile := write("client.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})))
	config := write("webhook.kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
users:
- name: sixgate-webhook.sixgate-system.svc
  user: {client-certificate: %s, client-key: %s}
`, cert, keyFile))
	admission := "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n"
	for _, plugin := range []string{"MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"} {
		admission += fmt.Sprintf(`- name: %s
  configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: %s}
`, plugin, config)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := cluster.ForTest(t, cluster.Options{ExtraAPIServerArgs: []string{"--admission-control-config-file=" + write("admission.yaml", admission)}})
	in := &installation{Cluster: c, policy: filepath.Join(c.Dir, "policy.yaml")}
	if err := in.install(ctx, cluster.SixgateOptions{Args: []string{"--client-ca-file=" + cert, "--client-names=kube-apiserver-webhook-client"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		r := in.run(t, "", "-n", "sixgate-system", "create", "configmap", "sixgate-check", "--dry-run=server")
		for _, want := range []string{"sixgate mutate answered", "sixgate validate answered"} {
			if !strings.Contains(r.err, want) {
				return fmt.Errorf("%q is not in %s", want, r.err)
			}
		}
		return nil
	})

	stranger := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	port := in.field(t, ".ports[0].port", "endpointslice", "sixgate-webhook-replica-0", "-n", "sixgate-system")
	resp, err := stranger.Post("https://"+net.JoinHostPort(c.Address, port)+"/validate", "application/json", strings.NewReader("{}"))
	if err == nil {
		_ = resp.Body.Close()
		t.Errorf("a stranger gets the answer %s", resp.Status)
	}
	eventually(t, func() error {
		log, err := os.ReadFile(in.sixgate.Replicas[0].Log)
		if err == nil && !strings.Contains(string(log), "client didn't provide a certificate") {
			err = fmt.Errorf("log: %s", log)
		}
		return err
	})
}
