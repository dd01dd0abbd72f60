package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// TestPanic: a rule that panics lets the request through, is counted, and its stack is logged without the object.
func TestPanic(t *testing.T) {
	var log bytes.Buffer
	set := &atomic.Pointer[rules.Set]{}
	set.Store(rules.NewSet(rules.DefaultPolicy("IPv6")))
	h := &handler{
		name: "validate", set: set,
		log: funcr.New(func(_, args string) { log.WriteString(args) }, funcr.Options{}),
		verb: func(_ context.Context, _ *rules.Set, req *rules.Request, _ *admission.Request) admission.Response {
			_ = req.Object.List("spec", "ports")[7]
			return admission.Denied("never reached")
		},
	}
	const review = `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"the-uid","operation":"CREATE",` +
		`"kind":{"group":"","version":"v1","kind":"Service"},"object":{"apiVersion":"v1","kind":"Service","metadata":{"name":"MARKER"}}}}`
	before := counter(t, panicsTotal)
	for range 2 { // the second finds the handler as the first did
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/validate", strings.NewReader(review)))
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%d: %s", w.Code, w.Body)
		}
		if r := answer.Response; r == nil || !r.Allowed || r.UID != "the-uid" || r.Patch != nil {
			t.Errorf("answer: %s", w.Body)
		}
	}
	if n := counter(t, panicsTotal) - before; n != 2 {
		t.Errorf("sixgate_panics_total went up by %v, not by 2", n)
	}
	for _, want := range []string{"index out of range", "handler_test.go", "the-uid"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%q is not in the log: %s", want, &log)
		}
	}
	if strings.Contains(log.String(), "MARKER") {
		t.Errorf("the object is in the log: %s", &log)
	}
}

// counter reads one metric.
func counter(t *testing.T, c prometheus.Collector) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}
