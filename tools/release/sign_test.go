package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func writePEM(t *testing.T, dir, name, kind string, der []byte, err error) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err == nil {
		err = os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestSign: the signature holds, by Go and by openssl, and is the same the second time.
func TestSign(t *testing.T) {
	dir := t.TempDir()
	r := release{out: dir}
	list := []byte("00  sixgate_linux_amd64.tar.gz\n")
	if err := r.write("checksums.txt", list); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	private := writePEM(t, dir, "key.pem", "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(key.Public())
	public := writePEM(t, dir, "key.pub", "PUBLIC KEY", der, err)
	var texts [][]byte
	for range 2 {
		if err := r.sign(private); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, "checksums.txt.sig"))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text)
	}
	if !bytes.Equal(texts[0], texts[1]) {
		t.Error("two signatures differ")
	}
	signature, err := base64.StdEncoding.DecodeString(string(texts[0]))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(list); !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
		t.Error("the signature does not hold")
	}
	if program, err := exec.LookPath("openssl"); err != nil {
		t.Log("openssl is not there: its verification is not tested")
	} else {
		raw := filepath.Join(dir, "raw")
		if err := os.WriteFile(raw, signature, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(program, "dgst", "-sha256", "-verify", public, "-signature", raw, filepath.Join(dir, "checksums.txt")).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}

	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err = x509.MarshalPKCS8PrivateKey(ed)
	for path, want := range map[string]string{
		writePEM(t, dir, "ed.pem", "PRIVATE KEY", der, err): "is no ECDSA key",
		filepath.Join(dir, "raw"):                           "not PEM",
		filepath.Join(dir, "missing"):                       "no such file",
	} {
		if err := r.sign(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
