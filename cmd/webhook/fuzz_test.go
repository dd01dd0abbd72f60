package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apijson "k8s.io/apimachinery/pkg/util/json"

	"github.com/sixgate/sixgate/pkg/rules"
)

// FuzzAnswer: every body gets an answer: an AdmissionReview with the same UID, whose patch applies to the object, or an HTTP error. No rule
// panics.
func FuzzAnswer(f *testing.F) {
	for _, c := range benchCases() {
		if len(c.body) < 1<<16 {
			f.Add(c.body)
		}
	}
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"","operation":"DELETE","object":null,"oldObject":{}}}`))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"\ud800","kind":{"kind":"Pod","version":"v1"},"operation":"UPDATE","object":{"metadata":[]},"oldObject":7}}`))
	set := &atomic.Pointer[rules.Set]{}
	set.Store(rules.NewSet(rules.DefaultPolicy("IPv6")))
	limit := newLoad(defaultMemory)
	handlers := []*handler{
		{name: "mutate", verb: mutateRequest, fights: newFightDetector()},
		{name: "validate", verb: validateRequest(nil)},
	}
	for _, h := range handlers {
		h.set, h.log, h.load = set, logr.Discard(), limit
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := counter(t, panicsTotal)
		for _, h := range handlers {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/"+h.name, bytes.NewReader(body)))
			if w.Code == http.StatusBadRequest || w.Code == http.StatusRequestEntityTooLarge {
				continue
			}
			var asked, answer admissionv1.AdmissionReview
			if err := apijson.Unmarshal(body, &asked); err != nil {
				return // case or duplicates: the decoder of the webhook is Kubernetes' own
			}
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || answer.Response == nil || answer.Response.UID != asked.Request.UID {
				t.Fatalf("%d %v: %s", w.Code, err, w.Body)
			}
			if answer.Response.Patch == nil {
				continue
			}
			patch, err := jsonpatch.DecodePatch(answer.Response.Patch)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := patch.Apply(asked.Request.Object.Raw); err != nil {
				t.Errorf("%v: %s", err, answer.Response.Patch)
			}
		}
		if counter(t, panicsTotal) != before {
			t.Error("a rule panics")
		}
	})
}

// FuzzCertificates: what the Secret or the mounted files hold ends in a CA that can sign or in a fault of one line without any of the key, and is
// always replaced by something that works.
func FuzzCertificates(f *testing.F) {
	now := day0.Add(time.Hour)
	a, b := newCA(f, day0), newCA(f, day0.Add(-400*day))
	leafPEM, leafKey := leafOf(f, a)
	bundle := append(bytes.Clone(a.certPEM), b.certPEM...)
	f.Add(a.certPEM, a.keyPEM, bundle, day0.Format(time.RFC3339Nano))
	f.Add(b.certPEM, b.keyPEM, a.certPEM, "yesterday")
	f.Add(a.certPEM, b.keyPEM, []byte("x\n"), "")
	f.Add(leafPEM, leafKey, a.keyPEM, "9999-12-31T23:59:59Z")
	f.Add(a.certPEM[:200], a.keyPEM[:90], bundle[:900], "0001-01-01T00:00:00Z")
	f.Add(a.keyPEM, a.certPEM, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "\x00")
	f.Add(append(bytes.Clone(leafPEM), bundle...), leafKey, leafPEM, "")
	o := testOptions()
	m := newMountedSecret("/certs", "localhost", logr.Discard())
	f.Fuzz(func(t *testing.T, certPEM, keyPEM, bundle []byte, since string) {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{signingSinceAnnotation: since, nextPublishedAnnotation: since}},
			Data:       map[string][]byte{"tls.crt": certPEM, "tls.key": keyPEM, "next.crt": keyPEM, "next.key": certPEM, "ca.crt": bundle},
		}
		state, faults := readState(secret)
		_, err := m.parse(pemPair{cert: certPEM, key: keyPEM})
		said := fmt.Sprint(strings.Join(faults, " "), " ", err)
		for line := range bytes.Lines(keyPEM) {
			if line = bytes.TrimSpace(line); len(line) >= 32 && strings.Contains(said, string(line)) && !bytes.Contains(line, []byte("-----")) {
				t.Errorf("a fault quotes the key: %q", said)
			}
		}
		if strings.Contains(said, "\n") {
			t.Errorf("%q", said)
		}
		next, _, err := o.advance(now, state, nil, func(*x509.Certificate) bool { return true })
		if err != nil || !next.signing.usable(now, o.backdate()) || len(next.bundle) == 0 {
			t.Fatalf("%+v: %v", next, err)
		}
		if _, err := (&authority{opts: certOptions{LeafDuration: time.Hour, Overlap: time.Hour, Now: func() time.Time { return now }}, signing: next.signing, synced: now}).Sign(
			&x509.Certificate{PublicKey: a.key.Public(), DNSNames: []string{"localhost"}}); err != nil {
			t.Errorf("the CA does not sign: %v", err)
		}
		var written corev1.Secret
		next.write(&written)
		again, faults := readState(&written)
		if faults != nil || !again.signing.cert.Equal(next.signing.cert) || len(again.bundle) != len(next.bundle) {
			t.Errorf("written and read: %+v, %q", again, faults)
		}
	})
}
