package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

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
		{name: "validate", verb: validateRequest(func(*corev1.ObjectReference, string) {})},
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
			if err := json.Unmarshal(body, &asked); err != nil {
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
