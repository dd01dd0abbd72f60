package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// clientPoll is how long a file of client CAs is taken for unchanged.
const clientPoll = 10 * time.Second

// A clientCheck lets in only who shows a certificate of certain CAs: API servers that are told to show one.
type clientCheck struct {
	file  string
	names []string // common or DNS names; none: every certificate of the CAs
	log   logr.Logger

	mu     sync.Mutex
	looked time.Time
	seen   []byte
	base   *tls.Config
	config *tls.Config
}

// newClientCheck reads the CAs once: a bad file is an error at the start, later it is not.
func newClientCheck(file string, names []string, log logr.Logger) (*clientCheck, error) {
	c := &clientCheck{file: file, names: names, log: log}
	if _, _, err := c.read(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *clientCheck) read() (data []byte, pool *x509.CertPool, err error) {
	if data, err = os.ReadFile(c.file); err != nil {
		return nil, nil, fmt.Errorf("read client CAs: %w", err)
	}
	pool = x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, nil, fmt.Errorf("read client CAs %s: no certificate in PEM", c.file)
	}
	return data, pool, nil
}

// apply is for newServer. The CAs are those that the file holds when somebody connects.
func (c *clientCheck) apply(config *tls.Config) {
	c.base = config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current() }
}

func (c *clientCheck) current() (*tls.Config, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.config != nil && time.Since(c.looked) < clientPoll {
		return c.config, nil
	}
	c.looked = time.Now()
	data, pool, err := c.read()
	switch {
	case err != nil && c.config == nil:
		return nil, err
	case err != nil:
		c.log.Error(err, "the old client CAs stay in force")
		return c.config, nil
	case c.config != nil && bytes.Equal(data, c.seen):
		return c.config, nil
	}
	c.seen, c.config = data, c.base.Clone()
	c.config.ClientAuth, c.config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	c.config.SessionTicketsDisabled = true // each connection is checked by the CAs of its time
	c.config.VerifyConnection = c.verify
	return c.config, nil
}

func (c *clientCheck) verify(state tls.ConnectionState) error {
	if len(state.VerifiedChains) == 0 {
		return errors.New("no client certificate")
	}
	leaf := state.VerifiedChains[0][0]
	if len(c.names) == 0 || slices.Contains(c.names, leaf.Subject.CommonName) || slices.ContainsFunc(leaf.DNSNames, func(n string) bool { return slices.Contains(c.names, n) }) {
		return nil
	}
	return fmt.Errorf("client certificate of %.100q is not among --client-names", leaf.Subject.CommonName)
}
