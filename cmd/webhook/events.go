package main

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// Reasons of Events.
const (
	reasonRefused      = "Refused"
	reasonWouldRefuse  = "WouldBeRefused" // where the policy only audits
	reasonNeverRefused = "IPv4Only"       // made by a controller
)

const (
	// eventQueue is how many Events wait for their turn; more are dropped, since no answer waits for them.
	eventQueue = 1000
	// eventRate is per second, eventBurst at once. What happens again to the same object makes no request of its own: client-go counts it
	// in a series.
	eventRate, eventBurst = 5, 50
	// maxNote is the limit of the API in bytes (k8s.io/kubernetes/pkg/apis/core/validation, NoteLengthLimit).
	maxNote = 1024
)

// A refusal is what an Event is about.
type refusal struct {
	on           *corev1.ObjectReference
	reason, note string
}

// An eventSender writes Events as fast as it may, and drops what is too much. A nil one sends nothing.
type eventSender struct {
	queue  chan refusal
	limit  flowcontrol.RateLimiter
	record func(refusal)
}

func newEventSender(record func(refusal)) *eventSender {
	return &eventSender{make(chan refusal, eventQueue), flowcontrol.NewTokenBucketRateLimiter(eventRate, eventBurst), record}
}

// Start sends until ctx ends.
func (s *eventSender) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-s.queue:
			if s.limit.Wait(ctx) != nil { // ctx has ended
				return nil
			}
			s.record(r)
			eventsTotal.WithLabelValues("sent").Inc()
		}
	}
}

// NeedLeaderElection is false: every replica tells what it has refused.
func (s *eventSender) NeedLeaderElection() bool { return false }

// send never waits. Nothing is said of a dry run, which changes nothing.
func (s *eventSender) send(in *admission.Request, on *corev1.ObjectReference, reason string, lines []string) {
	if s == nil || len(lines) == 0 || isDryRun(in) {
		return
	}
	note := strings.Join(lines, "; ")
	switch reason {
	case reasonRefused:
		note = "refused: " + note
	case reasonWouldRefuse:
		note = "would be refused where the policy enforces: " + note
	}
	if len(note) > maxNote {
		const cut = "…"
		note = strings.ToValidUTF8(note[:maxNote-len(cut)], "") + cut
	}
	select {
	case s.queue <- refusal{on, reason, note}:
	default:
		eventsTotal.WithLabelValues("dropped").Inc()
	}
}

// about is the object of a request. One that is refused when it is created has no UID, so that attempts are one series.
func about(in *admission.Request, req *rules.Request, refused bool) *corev1.ObjectReference {
	o := req.Object
	ref := &corev1.ObjectReference{APIVersion: o.APIVersion(), Kind: o.Kind(), Namespace: o.Namespace(), Name: o.Name()}
	if req.Operation == rules.Update || !refused {
		ref.UID = types.UID(o.Str("metadata", "uid"))
	}
	if ref.Name == "" {
		ref.Name = in.Name
	}
	return ref
}
