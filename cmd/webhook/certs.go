package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	servertls "github.com/cert-manager/cert-manager/pkg/server/tls"
	certauthority "github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/go-logr/logr"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// The Secret of the self-managed certificates: tls.crt and tls.key are the CA
// that signs, next.crt and next.key the one that will sign next, ca.crt is
// every CA to trust.
const (
	bundleKey   = "ca.crt"
	nextCertKey = "next.crt"
	nextKeyKey  = "next.key"

	// signingSinceAnnotation is when tls.crt became the CA that signs.
	signingSinceAnnotation = "sixgate.io/ca-signing-since"
	// nextPublishedAnnotation is when both registrations were first seen with next.crt.
	nextPublishedAnnotation = "sixgate.io/next-ca-published"

	fieldManager = "sixgate-webhook"
	// roundTimeout bounds one round of requests, so that a dead connection does not stop the rounds.
	roundTimeout = 30 * time.Second
)

// A certSource serves the webhook's certificate and keeps it fresh.
// It is a controller-runtime Runnable that every replica runs.
type certSource interface {
	// Start runs until ctx ends. It returns an error only if it cannot run at all.
	Start(ctx context.Context) error
	NeedLeaderElection() bool
	// GetCertificate is for tls.Config. It returns an error until there is a certificate.
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Ready returns nil once API servers can trust the certificate that is
	// served, else what is missing, in one line.
	Ready() error
	// Certificates returns the certificate that is served and the CA that
	// signs, nil where there is none or it is not known.
	Certificates() (leaf, ca *x509.Certificate)
	// Stale says whether certificates cannot be renewed as things are: the
	// mounted files are bad, or the CA cannot be read or published.
	Stale() bool
}

var (
	_ certSource          = &selfManaged{}
	_ certSource          = &mountedSecret{}
	_ servertls.Authority = &authority{}
)

// certOptions configure self-managed certificates.
type certOptions struct {
	Namespace  string   // of the Secret
	Secret     string   // name of the Secret with the CAs
	Mutating   string   // name of the MutatingWebhookConfiguration
	Validating string   // name of the ValidatingWebhookConfiguration
	DNSNames   []string // of the served certificate

	LeafDuration time.Duration // life of a served certificate; default 7 days
	CADuration   time.Duration // life of a CA, which is replaced after two thirds of it; default 365 days
	Overlap      time.Duration // how long a CA is published before it signs; default 2 minutes
	PollInterval time.Duration // between looks at the Secret and the registrations; default 10 seconds

	Log logr.Logger
	Now func() time.Time // default time.Now
}

func (o certOptions) withDefaults() certOptions {
	setDefault := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	setDefault(&o.LeafDuration, 7*24*time.Hour)
	setDefault(&o.CADuration, 365*24*time.Hour)
	setDefault(&o.Overlap, 2*time.Minute)
	setDefault(&o.PollInterval, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// validate returns an error if a rotation with these options could not finish
// before the old CA expires, or if a name is missing.
func (o certOptions) validate() error {
	o = o.withDefaults()
	switch {
	case o.Namespace == "" || o.Secret == "":
		return errors.New("certificates: the namespace and name of the Secret are needed")
	case o.Mutating == "" || o.Validating == "":
		return errors.New("certificates: the names of both webhook registrations are needed")
	case len(o.DNSNames) == 0:
		return errors.New("certificates: a DNS name is needed")
	case o.LeafDuration < 0 || o.PollInterval < 0 || o.Overlap < 0:
		return errors.New("certificates: a duration is negative")
	case o.Overlap < 2*o.PollInterval:
		return fmt.Errorf("certificates: overlap %v is shorter than two poll intervals of %v", o.Overlap, o.PollInterval)
	case o.CADuration/3 < o.LeafDuration+o.Overlap:
		return fmt.Errorf("certificates: a third of the CA's life of %v is shorter than leaf life %v plus overlap %v", o.CADuration, o.LeafDuration, o.Overlap)
	}
	return nil
}

// backdate is how far certificates start in the past, for clocks that differ:
// a day is more than any time zone. It is small against the leaf's life because
// DynamicSource renews at two thirds of NotBefore to NotAfter, which must lie ahead.
func (o certOptions) backdate() time.Duration {
	return min(24*time.Hour, o.LeafDuration/7)
}

// A keyPair is a CA that can sign.
type keyPair struct {
	cert            *x509.Certificate
	key             crypto.Signer
	certPEM, keyPEM []byte
}

// usable says whether the CA may sign at the time. One that is not valid yet was
// made by a clock that was ahead: API servers refuse what it signs.
func (p *keyPair) usable(now time.Time, backdate time.Duration) bool {
	return p != nil && validity(p.cert, now) == nil && p.cert.NotAfter.Sub(now) > backdate
}

// due says whether two thirds of the CA's life are over.
func (p *keyPair) due(now time.Time) bool {
	return p.cert.NotAfter.Sub(now) < p.cert.NotAfter.Sub(p.cert.NotBefore)/3
}

// newKeyPair returns a new self-signed CA.
func (o certOptions) newKeyPair(now time.Time) (*keyPair, error) {
	key, err := pki.GenerateECPrivateKey(pki.ECCurve384)
	if err != nil {
		return nil, fmt.Errorf("generate CA key: %w", err)
	}
	template := &x509.Certificate{
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		PublicKeyAlgorithm:    x509.ECDSA,
		Subject:               pkix.Name{CommonName: "sixgate-webhook-ca"},
		NotBefore:             now.Add(-o.LeafDuration), // so that it need not be replaced as long as a certificate of the wrong clock may do
		NotAfter:              now.Add(o.CADuration),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	certPEM, cert, err := pki.SignCertificate(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign CA: %w", err)
	}
	keyPEM, err := pki.EncodePrivateKey(key, cmapi.PKCS8)
	if err != nil {
		return nil, fmt.Errorf("encode CA key: %w", err)
	}
	return &keyPair{cert, key, certPEM, keyPEM}, nil
}

// parseKeyPair reads a CA from PEM; its errors name no key material.
func parseKeyPair(certPEM, keyPEM []byte) (*keyPair, error) {
	cert, err := pki.DecodeX509CertificateBytes(certPEM)
	if err != nil {
		return nil, fmt.Errorf("decode certificate: %w", err)
	}
	key, err := pki.DecodePrivateKeyBytes(keyPEM)
	if err != nil {
		return nil, errors.New("decode private key: not a private key in PEM")
	}
	if ok, err := pki.PublicKeyMatchesCertificate(key.Public(), cert); err != nil || !ok {
		return nil, errors.New("private key belongs to another certificate")
	}
	if !cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("certificate is not a CA")
	}
	return &keyPair{cert, key, certPEM, keyPEM}, nil
}

// parseBundle returns the CA certificates of a bundle and passes over the rest.
func parseBundle(data []byte) []*x509.Certificate {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return certs
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.IsCA {
			certs = append(certs, cert)
		}
	}
}

func encodeBundle(certs []*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// A caState is the content of the Secret.
type caState struct {
	signing, next *keyPair
	signingSince  time.Time // zero: not known
	nextPublished time.Time // zero: not yet in both registrations
	bundle        []*x509.Certificate
}

// readState reads the Secret. What cannot be used is left out of the state and
// named in faults; an empty Secret has none.
func readState(s *corev1.Secret) (state caState, faults []string) {
	pair := func(certKey, keyKey string) *keyPair {
		if len(s.Data[certKey]) == 0 && len(s.Data[keyKey]) == 0 {
			return nil
		}
		p, err := parseKeyPair(s.Data[certKey], s.Data[keyKey])
		if err != nil {
			faults = append(faults, fmt.Sprintf("%s, %s: %v", certKey, keyKey, err))
		}
		return p
	}
	instant := func(annotation string) time.Time {
		v, ok := s.Annotations[annotation]
		t, err := time.Parse(time.RFC3339Nano, v)
		if ok && err != nil {
			faults = append(faults, annotation+": not a time")
		}
		return t
	}
	return caState{
		signing:       pair(corev1.TLSCertKey, corev1.TLSPrivateKeyKey),
		next:          pair(nextCertKey, nextKeyKey),
		signingSince:  instant(signingSinceAnnotation),
		nextPublished: instant(nextPublishedAnnotation),
		bundle:        parseBundle(s.Data[bundleKey]),
	}, faults
}

// write puts the state into the Secret and leaves keys and annotations of others alone.
func (c caState) write(s *corev1.Secret) {
	if s.Data == nil {
		s.Data = map[string][]byte{}
	}
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	pair := func(p *keyPair, certKey, keyKey string) {
		if p == nil {
			delete(s.Data, certKey)
			delete(s.Data, keyKey)
			return
		}
		s.Data[certKey], s.Data[keyKey] = p.certPEM, p.keyPEM
	}
	instant := func(t time.Time, annotation string) {
		if t.IsZero() {
			delete(s.Annotations, annotation)
			return
		}
		s.Annotations[annotation] = t.UTC().Format(time.RFC3339Nano)
	}
	pair(c.signing, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)
	pair(c.next, nextCertKey, nextKeyKey)
	instant(c.signingSince, signingSinceAnnotation)
	instant(c.nextPublished, nextPublishedAnnotation)
	s.Data[bundleKey] = encodeBundle(c.bundle)
}

// advance returns the state after one step, and what the step was ("" for none).
//
// memory is the CA that this replica signs with, nil at its start: it takes
// the place of a lost one, so that deleting the Secret rotates with an overlap
// too. published says whether both registrations carry a CA.
func (o certOptions) advance(now time.Time, c caState, memory *keyPair, published func(*x509.Certificate) bool) (caState, string, error) {
	var step string
	var err error
	back := o.backdate()
	if !c.next.usable(now, back) {
		c.next, c.nextPublished = nil, time.Time{}
	}
	promote := func() {
		c.signing, c.signingSince = c.next, now
		c.next, c.nextPublished = nil, time.Time{}
	}
	switch {
	case !c.signing.usable(now, back) && c.next != nil:
		step = "promoted the next CA early: the signing CA is missing, broken or expired"
		promote()
	case !c.signing.usable(now, back) && memory.usable(now, back):
		step = "restored the signing CA from memory and created the next"
		c.signing, c.signingSince, c.nextPublished = memory, now, time.Time{}
		c.next, err = o.newKeyPair(now)
	case !c.signing.usable(now, back):
		step = "created a CA that signs at once: none was usable"
		c.signingSince = now
		c.signing, err = o.newKeyPair(now)
	case c.next == nil && c.signing.due(now):
		step = "created the next CA: two thirds of the signing CA's life are over"
		c.next, err = o.newKeyPair(now)
	case c.next == nil:
	case !published(c.next.cert):
		if !c.nextPublished.IsZero() {
			step = "restarted the overlap: the next CA is not seen in both registrations"
			c.nextPublished = time.Time{}
		}
	case c.nextPublished.IsZero() || c.nextPublished.After(now):
		step = "started the overlap: both registrations carry the next CA"
		c.nextPublished = now
	case now.Sub(c.nextPublished) >= o.Overlap:
		step = "promoted the next CA"
		promote()
	}
	if err != nil {
		return c, "", err
	}
	if c.signingSince.IsZero() || c.signingSince.After(now) {
		c.signingSince = now
	}

	want := []*x509.Certificate{c.signing.cert}
	if c.next != nil {
		want = append(want, c.next.cert)
	}
	// Sign refuses a CA that is not known to be current for longer than the overlap,
	// so this is when the last leaf of an older CA has expired.
	keepOld := now.Sub(c.signingSince) < o.LeafDuration+o.Overlap
	// The order stays, so that promotion changes no registration.
	var bundle []*x509.Certificate
	for _, cert := range slices.Concat(c.bundle, want) {
		wanted := keepOld && cert.NotAfter.After(now) || slices.ContainsFunc(want, cert.Equal)
		if wanted && !slices.ContainsFunc(bundle, cert.Equal) {
			bundle = append(bundle, cert)
		}
	}
	if step == "" && len(bundle) < len(c.bundle) {
		step = "dropped CAs whose leaves have expired"
	}
	c.bundle = bundle
	return c, step, nil
}

// A registration is one of the two webhook configurations.
type registration struct {
	verb       string // what it registers
	kind, name string
	get        func(context.Context) (*registered, error)
	patch      func(context.Context, []byte) error
}

// registered is a registration as read; nil stands for one that does not exist.
type registered struct {
	version  string
	webhooks []caBundleOf
}

type caBundleOf struct {
	webhook string
	bundle  []byte
	ignores bool // what does not reach the webhook goes through
}

func (r *registered) carries(cert *x509.Certificate) bool {
	return r != nil && !slices.ContainsFunc(r.webhooks, func(w caBundleOf) bool {
		return !slices.ContainsFunc(parseBundle(w.bundle), cert.Equal)
	})
}

// publish returns the patch that makes the bundle the caBundle of every
// webhook, nil if it is. A registration that changed since it was read refuses it.
func (r *registered) publish(bundle []byte) ([]byte, error) {
	var webhooks []any
	for _, w := range r.webhooks {
		if !bytes.Equal(w.bundle, bundle) {
			webhooks = append(webhooks, map[string]any{"name": w.webhook, "clientConfig": map[string]any{"caBundle": bundle}})
		}
	}
	if webhooks == nil {
		return nil, nil
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": r.version}, "webhooks": webhooks})
}

// measure says in the metrics what a registration means while this webhook is not reached.
func (r registration) measure(read *registered, cas []*x509.Certificate) {
	value := 0.0
	if read == nil {
		failOpen.DeleteLabelValues(r.verb)
	} else {
		if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return !read.carries(ca) }) {
			value = 1
		}
		for _, w := range read.webhooks {
			if w.webhook != r.verb+".sixgate.io" { // that of the check
				continue
			}
			open := 0.0
			if w.ignores {
				open = 1
			}
			failOpen.WithLabelValues(r.verb).Set(open)
		}
	}
	trusted.WithLabelValues(r.verb).Set(value)
}

func registrations(client kubernetes.Interface, o certOptions) []registration {
	mutating := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	validating := client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	patchOptions := metav1.PatchOptions{FieldManager: fieldManager}
	return []registration{{
		verb: "mutate", kind: "MutatingWebhookConfiguration", name: o.Mutating,
		get: func(ctx context.Context) (*registered, error) {
			c, err := mutating.Get(ctx, o.Mutating, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			r := &registered{version: c.ResourceVersion}
			for _, w := range c.Webhooks {
				r.webhooks = append(r.webhooks, caBundleOf{w.Name, w.ClientConfig.CABundle, w.FailurePolicy != nil && *w.FailurePolicy == admissionregistrationv1.Ignore})
			}
			return r, nil
		},
		patch: func(ctx context.Context, data []byte) error {
			_, err := mutating.Patch(ctx, o.Mutating, types.StrategicMergePatchType, data, patchOptions)
			return err
		},
	}, {
		verb: "validate", kind: "ValidatingWebhookConfiguration", name: o.Validating,
		get: func(ctx context.Context) (*registered, error) {
			c, err := validating.Get(ctx, o.Validating, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			r := &registered{version: c.ResourceVersion}
			for _, w := range c.Webhooks {
				r.webhooks = append(r.webhooks, caBundleOf{w.Name, w.ClientConfig.CABundle, w.FailurePolicy != nil && *w.FailurePolicy == admissionregistrationv1.Ignore})
			}
			return r, nil
		},
		patch: func(ctx context.Context, data []byte) error {
			_, err := validating.Patch(ctx, o.Validating, types.StrategicMergePatchType, data, patchOptions)
			return err
		},
	}}
}

// An authority is the CA of the served certificates. It keeps the CA in a
// Secret that all replicas share and publishes it in the webhook registrations.
//
// cert-manager's DynamicAuthority replaces a CA at once, so that API servers
// distrust the new leaf until they have seen the new caBundle. Here both CAs
// are published for a while before the new one signs. Any replica may take any
// step; resource versions keep two from taking it at once.
type authority struct {
	opts          certOptions
	client        kubernetes.Interface
	registrations []registration

	mu        sync.Mutex
	signing   *keyPair
	leaf      *x509.Certificate // signed last
	synced    time.Time         // when signing was last known to be current
	published []*x509.Certificate
	problem   error // why the registrations do not carry the CA
	failing   bool  // the last round
	watches   []chan<- struct{}
}

// currentTime is what makes two errors of crypto/x509 differ that are one.
var currentTime = regexp.MustCompile(`current time \S+`)

// Run takes a round at once, one per poll interval, and another after each
// change, until ctx ends.
func (a *authority) Run(ctx context.Context) error {
	const maxInARow = 10 // so that two parties that undo each other do not spin
	var lastFault string
	for inARow := 0; ; {
		again, err := a.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		fault := ""
		if err != nil {
			fault = currentTime.ReplaceAllString(err.Error(), "")
		}
		a.mu.Lock()
		a.failing = err != nil
		a.mu.Unlock()
		if fault != lastFault && err != nil {
			a.opts.Log.Error(err, "manage certificates")
		} else if fault != lastFault {
			a.opts.Log.Info("managing certificates works again")
		}
		lastFault = fault

		pause := a.opts.PollInterval
		if inARow++; again && inARow < maxInARow {
			pause = min(pause, 50*time.Millisecond)
		} else {
			inARow = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// round takes one step: it looks at the registrations and the Secret, advances
// the Secret, and publishes its bundle. again asks for another round at once.
func (a *authority) round(ctx context.Context) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	defer func() {
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			again, err = true, nil // another replica was faster
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if err != nil && a.published == nil {
			a.problem = err // an API server that is away does not unmake what was published
		}
	}()

	// Registrations are read before the Secret: a patch that carries their
	// version is then refused if a replica with a newer bundle was faster.
	read := make([]*registered, len(a.registrations))
	var readErr error
	for i, r := range a.registrations {
		if read[i], err = r.get(ctx); err != nil && !apierrors.IsNotFound(err) {
			readErr = fmt.Errorf("get %s %s: %w", r.kind, r.name, err)
		}
	}
	// The Secret is read even if they cannot be: the CA must be current to sign.
	state, again, err := a.syncSecret(ctx, func(cert *x509.Certificate) bool {
		return !slices.ContainsFunc(read, func(r *registered) bool { return !r.carries(cert) })
	})
	if err != nil {
		return again, err
	}
	if readErr != nil {
		return again, readErr
	}

	bundle := encodeBundle(state.bundle)
	var missing []string
	patched := false
	for i, r := range a.registrations {
		r.measure(read[i], state.bundle)
		if read[i] == nil {
			missing = append(missing, r.kind+" "+r.name)
			continue
		}
		patch, err := read[i].publish(bundle)
		if err != nil {
			return again, fmt.Errorf("encode patch of %s %s: %w", r.kind, r.name, err)
		}
		if patch == nil {
			continue
		}
		if err := r.patch(ctx, patch); err != nil {
			return again, fmt.Errorf("publish CA in %s %s: %w", r.kind, r.name, err)
		}
		patched = true
		a.opts.Log.Info("published CA bundle", "kind", r.kind, "name", r.name, "certificates", len(state.bundle))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if missing != nil {
		a.published = nil
		return again || patched, fmt.Errorf("%s: not found; apply config/webhook", strings.Join(missing, ", "))
	}
	if !patched { // read back, not only written
		a.published, a.problem = state.bundle, nil
	}
	return again || patched, nil
}

// syncSecret advances the Secret, and takes over its signing CA.
func (a *authority) syncSecret(ctx context.Context, published func(*x509.Certificate) bool) (_ caState, changed bool, err error) {
	o, now := a.opts, a.opts.Now()
	secrets := a.client.CoreV1().Secrets(o.Namespace)
	stored, err := secrets.Get(ctx, o.Secret, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if missing {
		stored = &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Secret}, Type: corev1.SecretTypeOpaque}
	} else if err != nil {
		return caState{}, false, fmt.Errorf("get Secret %s/%s: %w", o.Namespace, o.Secret, err)
	}
	a.mu.Lock()
	memory := a.signing
	a.mu.Unlock()

	state, faults := readState(stored)
	state, step, err := o.advance(now, state, memory, published)
	if err != nil {
		return caState{}, false, err
	}
	updated := stored.DeepCopy()
	state.write(updated)
	if !equality.Semantic.DeepEqual(stored, updated) {
		if missing {
			_, err = secrets.Create(ctx, updated, metav1.CreateOptions{FieldManager: fieldManager})
		} else {
			_, err = secrets.Update(ctx, updated, metav1.UpdateOptions{FieldManager: fieldManager})
		}
		if err != nil {
			return caState{}, false, fmt.Errorf("write Secret %s/%s: %w", o.Namespace, o.Secret, err)
		}
		if step == "" {
			step = "repaired the Secret"
		}
		o.Log.Info(step, "secret", o.Namespace+"/"+o.Secret, "faults", faults, "bundle", len(state.bundle), "expires", state.signing.cert.NotAfter)
		changed = true
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	a.signing, a.synced = state.signing, now
	replaced := memory != nil && !memory.cert.Equal(state.signing.cert)
	// DynamicSource renews by age. A clock that steps makes certificates that are not valid yet, or expire at once.
	if stepped := a.leaf != nil && validity(a.leaf, now) != nil; replaced || stepped {
		for _, ch := range a.watches {
			select {
			case ch <- struct{}{}:
			default: // a full channel already says so
			}
		}
	}
	return state, changed, nil
}

// Sign sets the validity of the template and signs it with the current CA. It
// returns authority.ErrCertificateNotAvailable until there is one.
func (a *authority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	a.mu.Lock()
	ca, synced := a.signing, a.synced
	a.mu.Unlock()
	if ca == nil {
		return nil, certauthority.ErrCertificateNotAvailable
	}
	now, back := a.opts.Now(), a.opts.backdate()
	if !ca.usable(now, back) {
		return nil, fmt.Errorf("sign certificate: the CA expires at %s", ca.cert.NotAfter.Format(time.RFC3339))
	}
	// Another replica may have replaced the CA, and will drop it from the bundle in the end.
	if now.Sub(synced) >= a.opts.Overlap {
		return nil, fmt.Errorf("sign certificate: the CA was last read at %s, it may be replaced by now", synced.Format(time.RFC3339))
	}
	template.BasicConstraintsValid = true
	template.NotBefore = now.Add(-back)
	template.NotAfter = now.Add(a.opts.LeafDuration)
	if ca.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = ca.cert.NotAfter
	}
	_, cert, err := pki.SignCertificate(template, ca.cert, template.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leaf = cert
	return cert, nil
}

// WatchRotation makes the authority send to ch when the signing CA is replaced.
func (a *authority) WatchRotation(ch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches = append(a.watches, ch)
}

// StopWatchingRotation undoes WatchRotation.
func (a *authority) StopWatchingRotation(ch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches = slices.DeleteFunc(a.watches, func(c chan<- struct{}) bool { return c == ch })
}

// selfManaged is a certSource that needs nothing but the API server.
type selfManaged struct {
	*servertls.DynamicSource
	authority *authority
}

// newSelfManaged returns a source that keeps its CA in the Secret of the
// options and publishes it in the registrations of the options.
func newSelfManaged(client kubernetes.Interface, opts certOptions) *selfManaged {
	opts = opts.withDefaults()
	a := &authority{
		opts:          opts,
		client:        client,
		registrations: registrations(client, opts),
		problem:       errors.New("certificates: the registrations have not been read yet"),
	}
	return &selfManaged{&servertls.DynamicSource{DNSNames: opts.DNSNames, Authority: a}, a}
}

// Start runs until ctx ends. It returns an error for options that are not valid.
func (m *selfManaged) Start(ctx context.Context) error {
	if err := m.authority.opts.validate(); err != nil {
		return err
	}
	// DynamicSource takes its logger from the context.
	return m.DynamicSource.Start(logr.NewContext(ctx, m.authority.opts.Log))
}

// Ready returns nil once both registrations carry the CA that signed the
// certificate that is served.
func (m *selfManaged) Ready() error {
	a := m.authority
	a.mu.Lock()
	published, problem := a.published, a.problem
	a.mu.Unlock()
	if problem != nil {
		return problem
	}
	cert, err := m.GetCertificate(nil)
	if err != nil {
		return fmt.Errorf("get certificate: %w", err)
	}
	if !slices.ContainsFunc(published, func(ca *x509.Certificate) bool { return cert.Leaf.CheckSignatureFrom(ca) == nil }) {
		return errors.New("certificates: the registrations do not carry the CA of the served certificate yet")
	}
	if err := validity(cert.Leaf, a.opts.Now()); err != nil {
		return fmt.Errorf("certificates: the one that is served: %w", err)
	}
	return nil
}

// Certificates returns the certificate that is served and the CA that signs.
func (m *selfManaged) Certificates() (leaf, ca *x509.Certificate) {
	m.authority.mu.Lock()
	defer m.authority.mu.Unlock()
	if m.authority.signing != nil {
		ca = m.authority.signing.cert
	}
	if cert, err := m.GetCertificate(nil); err == nil {
		leaf = cert.Leaf
	}
	return leaf, ca
}

// Stale says whether the Secret or the registrations could not be read or
// written the last time.
func (m *selfManaged) Stale() bool {
	m.authority.mu.Lock()
	defer m.authority.mu.Unlock()
	return m.authority.failing
}

// validity returns why a certificate is not valid at a time.
func validity(cert *x509.Certificate, now time.Time) error {
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("it expired at %s", cert.NotAfter.Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("it is valid from %s", cert.NotBefore.Format(time.RFC3339))
	}
	return nil
}
