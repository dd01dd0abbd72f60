package main

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestEventsDropped: who refuses never waits for an Event, and what has no place is counted.
func TestEventsDropped(t *testing.T) {
	_, validate, _ := serve(t, "")
	s := newEventSender(func(refusal) {})
	validate.verb = validateRequest(s) // nobody takes Events
	before := counter(t, eventsTotal)
	for i := range eventQueue + 10 {
		if resp := validate.Handle(t.Context(), request(admissionv1.Create, "Pod", fmt.Sprint("n", i), boundPod)); resp.Allowed {
			t.Fatal("the Pod was not refused")
		}
	}
	dry, yes := request(admissionv1.Create, "Pod", "shop", boundPod), true
	dry.DryRun = &yes
	validate.Handle(t.Context(), dry)
	if n := counter(t, eventsTotal) - before; n != 10 || len(s.queue) != eventQueue {
		t.Errorf("%v dropped, %d wait", n, len(s.queue))
	}
	r := <-s.queue
	if r.reason != reasonRefused || r.on.Kind != "Pod" || r.on.Namespace != "n0" || r.on.Name != "x" || r.on.UID != "" ||
		!strings.HasPrefix(r.note, `refused: spec.containers[0].ports[0].hostIP: "127.0.0.1" publishes on IPv4 only`) {
		t.Errorf("%+v %+v", r, r.on)
	}
}

// TestEventsRate: the first ones go at once, the rest one after the other.
func TestEventsRate(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	sent := make(chan refusal, eventQueue)
	s := newEventSender(func(r refusal) { sent <- r })
	in := request(admissionv1.Create, "Pod", "shop", boundPod)
	for range eventBurst + eventRate {
		s.send(&in.Request, &corev1.ObjectReference{}, reasonRefused, []string{strings.Repeat("é", maxNote)})
	}
	done := make(chan error)
	begin := time.Now()
	go func() { done <- s.Start(ctx) }()
	for range eventBurst + eventRate {
		if r := <-sent; len(r.note) > maxNote || !utf8.ValidString(r.note) {
			t.Fatalf("a note of %d bytes", len(r.note))
		}
	}
	if took := time.Since(begin); took < 900*time.Millisecond {
		t.Errorf("%d Events in %v", eventBurst+eventRate, took)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
