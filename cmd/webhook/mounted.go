package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
)

// mountedSecret is a certSource of the files tls.crt and tls.key, which
// somebody else keeps fresh, and whose CA somebody else publishes in the
// registrations (cert-manager's CA injector does both).
//
// A change counts once two readings in a row have found it: half-written
// files are not looked at, and the CA injector, which sees the Secret when the
// kubelet does, has the time between to publish a new CA.
type mountedSecret struct {
	dir      string
	host     string // the name that API servers verify
	interval time.Duration
	log      logr.Logger

	mu     sync.Mutex
	served pemPair // what cert was made of
	last   pemPair // as last read
	cert   *tls.Certificate
	ca     *x509.Certificate
	fault  error // of the files, or of the certificate that is served
}

// A pemPair is what two files held, or why they could not be read.
type pemPair struct {
	cert, key []byte
	err       error
}

func (p pemPair) equal(q pemPair) bool {
	return bytes.Equal(p.cert, q.cert) && bytes.Equal(p.key, q.key) && fmt.Sprint(p.err) == fmt.Sprint(q.err)
}

// newMountedSecret returns a source of the certificate for a host name in a
// directory, as kubelet mounts a Secret of type kubernetes.io/tls. The files
// may be missing at first; they are read every 10 seconds.
func newMountedSecret(dir, host string, log logr.Logger) *mountedSecret {
	return &mountedSecret{dir: dir, host: host, interval: 10 * time.Second, log: log, fault: errors.New("certificates: the files have not been read yet")}
}

// Start reads the files until ctx ends.
func (m *mountedSecret) Start(ctx context.Context) error {
	for {
		m.read()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.interval):
		}
	}
}

// NeedLeaderElection is false: every replica serves.
func (m *mountedSecret) NeedLeaderElection() bool { return false }

// read reads the files once. A pair that API servers would not accept does not
// take the place of one that they do.
func (m *mountedSecret) read() {
	files, ca := m.readFiles()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ca = ca
	settled := files.equal(m.last)
	m.last = files
	servedFault := m.usable(m.cert)
	if !settled && servedFault == nil {
		return
	}
	fault := servedFault
	if !files.equal(m.served) {
		cert, err := m.parse(files)
		if fault = err; fault == nil {
			fault = m.usable(cert)
		}
		if fault == nil || err == nil && servedFault != nil {
			m.served, m.cert = files, cert
			m.log.Info("serving another certificate", "serial", cert.Leaf.SerialNumber.Text(16), "expires", cert.Leaf.NotAfter)
		}
	}
	if fault != nil && (m.fault == nil || fault.Error() != m.fault.Error()) {
		m.log.Error(fault, "manage certificates", "kept", servedFault == nil)
	} else if fault == nil && m.fault != nil {
		m.log.Info("the mounted certificate is good")
	}
	m.fault = fault
}

func (m *mountedSecret) readFiles() (files pemPair, ca *x509.Certificate) {
	read := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join(m.dir, name))
		if err != nil && files.err == nil {
			files.err = err
		}
		return data
	}
	files.cert, files.key = read(corev1.TLSCertKey), read(corev1.TLSPrivateKeyKey)
	// cert-manager mounts it, others need not. Of several the last to expire counts.
	bundle, _ := os.ReadFile(filepath.Join(m.dir, bundleKey))
	for _, c := range parseBundle(bundle) {
		if ca == nil || c.NotAfter.After(ca.NotAfter) {
			ca = c
		}
	}
	return files, ca
}

func (m *mountedSecret) parse(files pemPair) (*tls.Certificate, error) {
	err := files.err
	if err == nil {
		var cert tls.Certificate
		if cert, err = tls.X509KeyPair(files.cert, files.key); err == nil {
			return &cert, nil
		}
	}
	return nil, fmt.Errorf("read certificate of %s: %w", m.dir, err)
}

// usable returns why API servers would not accept a certificate, whatever CA they trust.
func (m *mountedSecret) usable(cert *tls.Certificate) error {
	if cert == nil {
		return servertls.ErrNotAvailable
	}
	err := validity(cert.Leaf, time.Now())
	if err == nil {
		err = cert.Leaf.VerifyHostname(m.host)
	}
	if err != nil {
		return fmt.Errorf("use certificate of %s: %w", m.dir, err)
	}
	return nil
}

// GetCertificate returns the certificate that was last taken over.
func (m *mountedSecret) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert == nil {
		return nil, servertls.ErrNotAvailable
	}
	return m.cert, nil
}

// Ready returns nil once a certificate is served that API servers accept if
// they trust its CA.
func (m *mountedSecret) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert == nil {
		return m.fault
	}
	return m.usable(m.cert)
}

// Certificates returns the certificate that is served, and the CA beside it, if there is one.
func (m *mountedSecret) Certificates() (leaf, ca *x509.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert != nil {
		leaf = m.cert.Leaf
	}
	return leaf, m.ca
}

// Stale says whether the files are bad, or hold what is served and has expired.
func (m *mountedSecret) Stale() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault != nil
}
