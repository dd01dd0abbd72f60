package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// sign writes checksums.txt.sig, in the format of cosign sign-blob: an ECDSA signature of the SHA-256 as ASN.1, in base64. Nothing in
// it is random (RFC 6979), so a release that is built again has the same. keyFile holds an unencrypted private key, PEM, PKCS #8.
func (r release) sign(keyFile string) error {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return fmt.Errorf("read signing key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("read signing key %s: not PEM", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return fmt.Errorf("read signing key %s: %w", keyFile, err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("read signing key %s: %T is no ECDSA key", keyFile, parsed)
	}
	list, err := os.ReadFile(filepath.Join(r.out, "checksums.txt"))
	if err != nil {
		return fmt.Errorf("read checksums: %w", err)
	}
	sum := sha256.Sum256(list)
	signature, err := key.Sign(nil, sum[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("sign checksums: %w", err)
	}
	return r.write("checksums.txt.sig", []byte(base64.StdEncoding.EncodeToString(signature)))
}
