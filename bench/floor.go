package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// The floor is the least that a webhook in Go can be: net/http reads the review, and the answer allows it. Objects that are
// marked for repair are answered with a patch that is always the same: that of Sixgate.

// repairMark stands in the objects that need a repair.
const repairMark = `"bench":"repair"`

const servicePatch = `[{"op":"replace","path":"/spec/ipFamilies/0","value":"IPv6"}]`

const podPatch = `[{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"KUBERNETES_SERVICE_HOST","value":"api.example.net"}},` +
	`{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"KUBERNETES_SERVICE_PORT","value":"6443"}},` +
	`{"op":"add","path":"/metadata/annotations/cni.projectcalico.org~1ipv6pools","value":"[\"2001:db8:42::/64\"]"}]`

func answerFloor(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review struct {
		Request struct {
			UID  string
			Kind struct{ Kind string }
		}
	}
	if err := json.Unmarshal(body, &review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	patch := ""
	if strings.HasPrefix(r.URL.Path, "/mutate") && bytes.Contains(body, []byte(repairMark)) {
		text := servicePatch
		if review.Request.Kind.Kind == "Pod" {
			text = podPatch
		}
		patch = fmt.Sprintf(`,"patchType":"JSONPatch","patch":%q`, base64.StdEncoding.EncodeToString([]byte(text)))
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":%q,"allowed":true%s}}`, review.Request.UID, patch)
}

// serveFloor is the command "bench floor".
func serveFloor(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	address := flags.String("address", "", "address to listen on")
	keys := flags.String("keys", "", "path of certificate and key, without .crt and .key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server := &http.Server{Addr: *address, Handler: http.HandlerFunc(answerFloor), ReadHeaderTimeout: 10 * time.Second}
	return server.ListenAndServeTLS(*keys+".crt", *keys+".key")
}

// writeKeys writes a certificate that vouches for itself and its key to path.crt and path.key, and returns the certificate.
func writeKeys(path string, name string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(path+".crt", certificate, 0o600); err != nil {
		return nil, err
	}
	return certificate, os.WriteFile(path+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
}

// freePort returns a port on which nothing listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
