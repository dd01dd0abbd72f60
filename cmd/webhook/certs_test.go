package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	certauthority "github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	corev1 "k8s.io/api/core/v1"
)

var day0 = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func testOptions() certOptions {
	return certOptions{Namespace: "sixgate", Secret: "ca", Mutating: "sixgate", Validating: "sixgate", DNSNames: []string{"localhost"}}.withDefaults()
}

func newCA(t testing.TB, now time.Time) *keyPair {
	t.Helper()
	ca, err := testOptions().newKeyPair(now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestValidateCertOptions(t *testing.T) {
	tests := []struct {
		name   string
		change func(*certOptions)
		want   string // "" for none
	}{
		{"defaults", func(*certOptions) {}, ""},
		{"no secret", func(o *certOptions) { o.Secret = "" }, "name of the Secret"},
		{"no registration", func(o *certOptions) { o.Validating = "" }, "both webhook registrations"},
		{"no DNS name", func(o *certOptions) { o.DNSNames = nil }, "DNS name"},
		{"negative", func(o *certOptions) { o.LeafDuration = -1 }, "negative"},
		{"overlap", func(o *certOptions) { o.Overlap = o.PollInterval }, "two poll intervals"},
		{"short CA", func(o *certOptions) { o.CADuration = 8 * day }, "a third of the CA's life"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions()
			tt.change(&o)
			err := o.validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestAdvance(t *testing.T) {
	o := testOptions()
	a, b, c := newCA(t, day0), newCA(t, day0.Add(300*day)), newCA(t, day0.Add(-100*day))
	late := day0.Add(300 * day) // two thirds of a's life are over
	never := func(*x509.Certificate) bool { return false }
	always := func(*x509.Certificate) bool { return true }

	tests := []struct {
		name      string
		now       time.Time
		in        caState
		memory    *keyPair
		published func(*x509.Certificate) bool
		step      string   // prefix
		signing   *keyPair // nil: a new one
		next      string   // none, new or b
		seen      time.Time
		old       []*keyPair // the bundle beside signing and next
	}{
		{name: "first", now: day0, published: never, step: "created a CA", next: "none"},
		{name: "at rest", now: day0.Add(day), in: caState{signing: a, signingSince: day0}, published: always, signing: a, next: "none"},
		{name: "missing registration at rest", now: day0.Add(day), in: caState{signing: a, signingSince: day0}, published: never, signing: a, next: "none"},
		{name: "due", now: late, in: caState{signing: a, signingSince: day0}, published: always, step: "created the next", signing: a, next: "new"},
		{name: "next not published", now: late, in: caState{signing: a, next: b, signingSince: day0}, published: never, signing: a, next: "b"},
		{name: "next published", now: late, in: caState{signing: a, next: b, signingSince: day0}, published: always,
			step: "started the overlap", signing: a, next: "b", seen: late},
		{name: "in the overlap", now: late.Add(o.Overlap - 1), in: caState{signing: a, next: b, signingSince: day0, nextPublished: late},
			published: always, signing: a, next: "b", seen: late},
		{name: "lost in the overlap", now: late.Add(o.Overlap), in: caState{signing: a, next: b, signingSince: day0, nextPublished: late},
			published: never, step: "restarted the overlap", signing: a, next: "b"},
		{name: "seen in the future", now: late, in: caState{signing: a, next: b, signingSince: day0, nextPublished: late.Add(9999 * day)},
			published: always, step: "started the overlap", signing: a, next: "b", seen: late},
		{name: "promote", now: late.Add(o.Overlap), in: caState{signing: a, next: b, signingSince: day0, nextPublished: late, bundle: []*x509.Certificate{a.cert, b.cert}},
			published: always, step: "promoted the next CA", signing: b, next: "none", old: []*keyPair{a}},
		{name: "old kept", now: late.Add(7 * day), in: caState{signing: b, signingSince: late, bundle: []*x509.Certificate{b.cert, a.cert}},
			published: always, signing: b, next: "none", old: []*keyPair{a}},
		{name: "old dropped", now: late.Add(7*day + o.Overlap), in: caState{signing: b, signingSince: late, bundle: []*x509.Certificate{b.cert, a.cert}},
			published: always, step: "dropped", signing: b, next: "none"},
		{name: "old expired", now: late, in: caState{signing: b, signingSince: late, bundle: []*x509.Certificate{b.cert, c.cert}},
			published: always, step: "dropped", signing: b, next: "none"},
		{name: "signing since the future", now: late, in: caState{signing: b, signingSince: late.Add(9999 * day), bundle: []*x509.Certificate{b.cert, a.cert}},
			published: always, signing: b, next: "none", old: []*keyPair{a}},
		{name: "signing lost, next there", now: late, in: caState{next: b, bundle: []*x509.Certificate{a.cert, b.cert}}, memory: a,
			published: never, step: "promoted the next CA early", signing: b, next: "none", old: []*keyPair{a}},
		{name: "signing expired, next there", now: day0.Add(365 * day), in: caState{signing: a, next: b}, published: never,
			step: "promoted the next CA early", signing: b, next: "none"},
		{name: "lost, in memory", now: day0.Add(day), memory: a, published: always, step: "restored", signing: a, next: "new"},
		{name: "lost, expired in memory", now: day0.Add(366 * day), memory: a, published: always, step: "created a CA", next: "none"},
		{name: "expired", now: day0.Add(366 * day), in: caState{signing: a, bundle: []*x509.Certificate{a.cert}}, published: always, step: "created a CA", next: "none"},
		{name: "lost, bundle there", now: late, in: caState{bundle: []*x509.Certificate{a.cert}}, published: always, step: "created a CA", next: "none", old: []*keyPair{a}},
		{name: "next expired", now: day0, in: caState{signing: a, next: newCA(t, day0.Add(-366*day)), nextPublished: day0.Add(-day)},
			published: always, signing: a, next: "none"},
		{name: "made by a clock that was ahead", now: day0.Add(-8 * day), in: caState{signing: a, signingSince: day0}, memory: a, published: always,
			step: "created a CA", next: "none"},
		{name: "next made by a clock that was ahead", now: late.Add(-8 * day), in: caState{signing: a, next: b, signingSince: day0}, published: always,
			step: "created the next", signing: a, next: "new"},
		{name: "replica whose clock lags", now: day0.Add(-time.Hour), in: caState{signing: a, signingSince: day0.Add(-2 * time.Hour)}, published: always, signing: a, next: "none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, step, err := o.advance(tt.now, tt.in, tt.memory, tt.published)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(step, tt.step) || (step == "") != (tt.step == "") {
				t.Errorf("step %q, want %q", step, tt.step)
			}
			if known := got.signing == a || got.signing == b; tt.signing != nil && got.signing != tt.signing || tt.signing == nil && known {
				t.Errorf("signing is %v", got.signing.cert.SerialNumber)
			}
			next := "new"
			switch got.next {
			case nil:
				next = "none"
			case b:
				next = "b"
			}
			if next != tt.next {
				t.Errorf("next %q, want %q", next, tt.next)
			}
			if !got.nextPublished.Equal(tt.seen) {
				t.Errorf("next published %v, want %v", got.nextPublished, tt.seen)
			}
			want := []*x509.Certificate{got.signing.cert}
			if got.next != nil {
				want = append(want, got.next.cert)
			}
			for _, old := range tt.old {
				want = append(want, old.cert)
			}
			missing := slices.ContainsFunc(want, func(c *x509.Certificate) bool { return !slices.ContainsFunc(got.bundle, c.Equal) })
			if missing || len(got.bundle) != len(want) {
				t.Errorf("bundle of %d certificates, want %d", len(got.bundle), len(want))
			}
			if tt.step == "promoted the next CA" && !slices.EqualFunc(got.bundle, tt.in.bundle, (*x509.Certificate).Equal) {
				t.Error("promotion changes the bundle")
			}
			if got.signingSince.IsZero() || got.signingSince.After(tt.now) {
				t.Errorf("signing since %v", got.signingSince)
			}
		})
	}
}

// TestRotationInvariant plays three lives of a CA, with registrations that
// follow late and are emptied at times: who signs has been in the bundle for
// the overlap, and stays there until the last leaf has expired.
func TestRotationInvariant(t *testing.T) {
	o := testOptions()
	o.LeafDuration, o.CADuration, o.Overlap, o.PollInterval = 2*time.Hour, 30*time.Hour, 10*time.Minute, time.Minute
	type sample struct {
		signer *x509.Certificate
		bundle []*x509.Certificate // in the registrations
	}
	var samples []sample
	var state caState
	var registered []*x509.Certificate
	rotations := 0
	for i := range 90 * 60 {
		now := day0.Add(time.Duration(i) * time.Minute)
		before := state.signing
		var err error
		state, _, err = o.advance(now, state, nil, func(c *x509.Certificate) bool { return slices.ContainsFunc(registered, c.Equal) })
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && before != state.signing {
			rotations++
		}
		samples = append(samples, sample{state.signing.cert, registered})
		switch {
		case i%97 == 96:
			registered = nil // somebody applied the manifests again
		case i%3 == 0 || registered == nil:
			registered = state.bundle
		}
	}
	if rotations < 3 {
		t.Fatalf("%d rotations", rotations)
	}
	for i, s := range samples[2:] {
		i += 2
		from, to := max(2, i-int(o.Overlap/time.Minute)), min(len(samples), i+int(o.LeafDuration/time.Minute))
		for j := from; j < to; j++ {
			if b := samples[j].bundle; b != nil && !slices.ContainsFunc(b, s.signer.Equal) {
				t.Fatalf("minute %d: the CA that signs is not in the bundle of minute %d", i, j)
			}
		}
	}
}

func TestReadState(t *testing.T) {
	a, b := newCA(t, day0), newCA(t, day0)
	good := &corev1.Secret{}
	caState{signing: a, next: b, signingSince: day0, nextPublished: day0.Add(time.Nanosecond), bundle: []*x509.Certificate{a.cert, b.cert}}.write(good)
	read := func(change func(*corev1.Secret)) (caState, []string) {
		s := good.DeepCopy()
		change(s)
		return readState(s)
	}

	state, faults := read(func(*corev1.Secret) {})
	if faults != nil || !state.signing.cert.Equal(a.cert) || !state.next.cert.Equal(b.cert) || len(state.bundle) != 2 ||
		!state.signingSince.Equal(day0) || !state.nextPublished.Equal(day0.Add(time.Nanosecond)) {
		t.Errorf("written and read: %+v, %q", state, faults)
	}
	again := &corev1.Secret{}
	state.write(again)
	if !maps.EqualFunc(good.Data, again.Data, bytes.Equal) || !maps.Equal(good.Annotations, again.Annotations) {
		t.Error("written, read and written: differs")
	}
	if state, faults := readState(&corev1.Secret{}); state.signing != nil || state.next != nil || state.bundle != nil || faults != nil {
		t.Errorf("empty Secret: %+v, %q", state, faults)
	}
	if state, faults := read(func(s *corev1.Secret) {
		s.Data[bundleKey] = slices.Concat([]byte("x\n"), a.certPEM, a.keyPEM, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), b.certPEM)
	}); len(state.bundle) != 2 || faults != nil {
		t.Errorf("bundle with garbage: %d certificates, %q", len(state.bundle), faults)
	}

	for name, change := range map[string]func(*corev1.Secret){
		"garbage":    func(s *corev1.Secret) { s.Data["tls.crt"] = []byte("garbage") },
		"cut":        func(s *corev1.Secret) { s.Data["tls.key"] = s.Data["tls.key"][:90] },
		"no key":     func(s *corev1.Secret) { delete(s.Data, "tls.key") },
		"mismatch":   func(s *corev1.Secret) { s.Data["tls.key"] = b.keyPEM },
		"swapped":    func(s *corev1.Secret) { s.Data["tls.crt"], s.Data["tls.key"] = s.Data["tls.key"], s.Data["tls.crt"] },
		"not a CA":   func(s *corev1.Secret) { s.Data["tls.crt"], s.Data["tls.key"] = leafOf(t, a) },
		"wrong time": func(s *corev1.Secret) { s.Annotations[signingSinceAnnotation] = "yesterday" },
	} {
		state, faults := read(change)
		if len(faults) != 1 {
			t.Errorf("%s: faults %q", name, faults)
		}
		if (state.signing == nil) == (name == "wrong time") {
			t.Errorf("%s: signing is %v", name, state.signing)
		}
		for _, secret := range [][]byte{a.keyPEM, b.keyPEM} {
			if strings.Contains(fmt.Sprint(faults), string(bytes.Split(secret, []byte("\n"))[1])) {
				t.Errorf("%s: a fault holds a key", name)
			}
		}
	}
}

// leafOf returns a serving certificate and its key in PEM.
func leafOf(t testing.TB, ca *keyPair) (certPEM, keyPEM []byte) {
	t.Helper()
	o := testOptions()
	o.Now = func() time.Time { return ca.cert.NotBefore.Add(o.LeafDuration + time.Hour) } // an hour after it was made
	key, err := o.newKeyPair(o.Now())                                                     // for its key
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{opts: o, signing: ca, synced: o.Now()}
	leaf, err := a.Sign(&x509.Certificate{PublicKey: key.key.Public(), DNSNames: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	return encodeBundle([]*x509.Certificate{leaf}), key.keyPEM
}

func TestPublish(t *testing.T) {
	a, b := newCA(t, day0), newCA(t, day0)
	bundle := encodeBundle([]*x509.Certificate{a.cert, b.cert})
	r := &registered{version: "7", webhooks: []caBundleOf{{webhook: "empty"}, {webhook: "right", bundle: bundle}, {webhook: "foreign", bundle: []byte("garbage")}}}
	if r.carries(a.cert) {
		t.Error("carries a CA that one webhook has")
	}
	data, err := r.publish(bundle)
	if err != nil {
		t.Fatal(err)
	}
	var patch struct {
		Metadata struct{ ResourceVersion string }
		Webhooks []struct {
			Name         string
			ClientConfig struct{ CABundle []byte }
		}
	}
	if err := json.Unmarshal(data, &patch); err != nil {
		t.Fatal(err)
	}
	if patch.Metadata.ResourceVersion != "7" || len(patch.Webhooks) != 2 || patch.Webhooks[0].Name != "empty" || patch.Webhooks[1].Name != "foreign" ||
		!bytes.Equal(patch.Webhooks[0].ClientConfig.CABundle, bundle) {
		t.Errorf("patch %s", data)
	}
	r.webhooks = []caBundleOf{{webhook: "right", bundle: bundle}}
	if data, err := r.publish(bundle); data != nil || err != nil {
		t.Errorf("nothing to do, but patch %s, %v", data, err)
	}
	if !r.carries(a.cert) || !r.carries(b.cert) || r.carries(newCA(t, day0).cert) {
		t.Error("carries is wrong")
	}
	if (*registered)(nil).carries(a.cert) {
		t.Error("a missing registration carries a CA")
	}
}

func TestSign(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := day0.Add(time.Hour)
	o := testOptions()
	o.Now = func() time.Time { return now }
	a := &authority{opts: o}
	sign := func() (*x509.Certificate, error) {
		return a.Sign(&x509.Certificate{PublicKey: key.Public(), DNSNames: []string{"localhost"}})
	}
	if _, err := sign(); !errors.Is(err, certauthority.ErrCertificateNotAvailable) {
		t.Errorf("without a CA: %v", err)
	}

	a.signing, a.synced = newCA(t, day0), now
	for at, want := range map[time.Duration]time.Duration{time.Hour: time.Hour + 7*day, 363 * day: 365 * day} {
		now = day0.Add(at)
		a.synced = now
		leaf, err := sign()
		if err != nil {
			t.Fatal(err)
		}
		if !leaf.NotBefore.Equal(now.Add(-day)) || !leaf.NotAfter.Equal(day0.Add(want)) {
			t.Errorf("signed at %v: valid from %v to %v", now, leaf.NotBefore, leaf.NotAfter)
		}
		roots := x509.NewCertPool()
		roots.AddCert(newCA(t, day0).cert) // of the same subject, as in a rotation
		roots.AddCert(a.signing.cert)
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "localhost", CurrentTime: now}); err != nil {
			t.Error(err)
		}
	}

	now = day0.Add(day)
	a.synced = now.Add(-o.Overlap)
	if _, err := sign(); err == nil {
		t.Error("signed with a CA that may be replaced")
	}
	for _, at := range []time.Duration{365*day - time.Minute, 366 * day} {
		now = day0.Add(at)
		a.synced = now
		if _, err := sign(); err == nil {
			t.Errorf("signed with a CA that ends at %v", a.signing.cert.NotAfter)
		}
	}
}

func TestReadyBeforeStart(t *testing.T) {
	m := &selfManaged{authority: &authority{problem: errors.New("not read")}}
	if err := m.Ready(); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("ready: %v", err)
	}
}
