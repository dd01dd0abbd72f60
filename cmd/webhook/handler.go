package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/mutate"
	"github.com/sixgate/sixgate/pkg/rules"
	"github.com/sixgate/sixgate/pkg/validate"
)

// maxBody is the largest AdmissionReview that is read: two objects of 3 MB, the API server's own limit, and 1 MB for the rest.
const maxBody = 7 << 20

// A verb answers one admission request with a set of rules.
type verb func(ctx context.Context, set *rules.Set, req *rules.Request, in *admission.Request) admission.Response

// A handler serves one webhook path.
type handler struct {
	name string // mutate or validate: the metrics label
	verb verb
	set  *atomic.Pointer[rules.Set]
	log  logr.Logger
	// fights is nil where nothing is changed.
	fights *fightDetector
	// load is nil where nothing is bounded.
	load            *load
	sheds, rejected *occasional
}

// ServeHTTP answers an AdmissionReview of admission.k8s.io/v1. Whatever is not one gets an HTTP error, which the API server
// treats by the webhook's failurePolicy; an AdmissionReview that says "not allowed" would refuse the request in any case.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := time.Now()
	defer func() { requestDuration.WithLabelValues(h.name).Observe(time.Since(begin).Seconds()) }()
	buffer := bodies.Get().(*bytes.Buffer)
	defer func() {
		if buffer.Cap() <= maxPooled {
			bodies.Put(buffer)
		}
	}()
	buffer.Reset()
	in, release := h.load.body(w, r)
	defer release()
	_, err := buffer.ReadFrom(in)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.Is(err, errBusy), errors.Is(err, os.ErrDeadlineExceeded):
		h.shed(w, err)
		return
	case errors.As(err, &tooLarge):
		h.reject(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("AdmissionReview is larger than %d bytes", maxBody))
		return
	case err != nil:
		h.reject(w, http.StatusBadRequest, "read AdmissionReview: "+err.Error())
		return
	case buffer.Len() == 0:
		h.reject(w, http.StatusBadRequest, "empty body: POST an AdmissionReview of admission.k8s.io/v1")
		return
	}
	leave, err := h.load.enter(r.Context(), buffer.Bytes())
	if err != nil {
		h.shed(w, err)
		return
	}
	defer leave()
	q, err := readReview(buffer.Bytes())
	if err != nil {
		h.reject(w, http.StatusBadRequest, err.Error())
		return
	}
	resp := h.Handle(r.Context(), q)
	if err := complete(&resp, q); err != nil {
		h.reject(w, http.StatusInternalServerError, "encode patch: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := admissionv1.AdmissionReview{TypeMeta: reviewType, Response: &resp.AdmissionResponse}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.log.Error(err, "write AdmissionReview")
	}
}

var reviewType = metav1.TypeMeta{Kind: "AdmissionReview", APIVersion: admissionv1.SchemeGroupVersion.String()}

// maxPooled is the largest buffer that is kept, in bytes: a few huge requests shall not hold memory for ever.
const maxPooled = 1 << 20

// bodies are buffers that were used: nothing that is read from one keeps its bytes.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func (h *handler) reject(w http.ResponseWriter, code int, message string) {
	h.rejected.Info(h.log, "not an AdmissionReview", "webhook", h.name, "code", code, "reason", message)
	requestsTotal.WithLabelValues(h.name, "", "", "error").Inc()
	http.Error(w, message, code)
}

// Handle answers one request. It recovers from panics itself: whatever goes wrong in here, the request goes through.
func (h *handler) Handle(ctx context.Context, q *question) (resp admission.Response) {
	result := "allowed"
	defer func() {
		if p := recover(); p != nil {
			panicsTotal.Inc()
			h.log.Error(fmt.Errorf("panic: %v", p), "the request goes through", requestFields(q, "webhook", h.name, "stack", string(debug.Stack()))...)
			result, resp = "panic", admission.Allowed("")
		}
		requestsTotal.WithLabelValues(h.name, kindLabel(q.Kind.Kind), operationLabel(string(q.Operation)), result).Inc()
		lastRequest.WithLabelValues(h.name).SetToCurrentTime()
	}()
	set, resp := h.set.Load(), admission.Allowed("")
	if isCheck(&q.AdmissionRequest) {
		return resp.WithWarnings("sixgate " + h.name + answered)
	}
	op := rules.Operation(q.Operation)
	if op != rules.Create && op != rules.Update || !set.Knows(q.Kind.Group, q.Kind.Kind, q.SubResource) {
		return resp
	}
	req := rules.Request{Operation: op, Subresource: q.SubResource, Namespace: q.Namespace, Object: q.object}
	err := q.objectErr
	if err == nil && op == rules.Update {
		req.Old, err = q.old, q.oldErr
	}
	if err != nil {
		result = "error"
		h.log.Error(err, "the request goes through", requestFields(q, "webhook", h.name)...)
		return resp
	}
	resp = h.verb(ctx, set, &req, &q.Request)
	result = resultOf(&resp)
	if h.fights != nil && h.fights.goesOn(q, &resp, h.log) {
		resp.Warnings = nil
		return resp
	}
	if findings, ok := resp.AuditAnnotations[result]; ok {
		h.log.Info(result, requestFields(q, "findings", findings)...)
	}
	return resp
}

// resultOf is the metrics label of an answer, and the audit annotation of what was not merely warned about.
func resultOf(resp *admission.Response) string {
	for _, result := range []string{wouldBeDenied, wouldBeChanged} {
		if _, ok := resp.AuditAnnotations[result]; ok {
			return result
		}
	}
	switch {
	case !resp.Allowed:
		return "denied"
	case len(resp.Patches) > 0:
		return "changed"
	case len(resp.Warnings) > 0:
		return "warned"
	}
	return "allowed"
}

// What the webhook records in namespaces that it only audits.
const (
	wouldBeChanged = "would-be-changed"
	wouldBeDenied  = "would-be-denied"
)

// requestFields say which request a log line is about; the object itself is never logged.
func requestFields(q *question, more ...any) []any {
	in, name := &q.Request, q.Name
	if name == "" && q.object != nil { // not known yet: the API server makes it from generateName
		if generated := q.object.Str("metadata", "generateName"); generated != "" {
			name = generated + "*"
		}
	}
	return append([]any{
		"kind", in.Kind.Kind, "namespace", in.Namespace, "name", name, "operation", in.Operation,
		"user", in.UserInfo.Username, "uid", in.UID, "dryRun", isDryRun(in),
	}, more...)
}

// mutateRequest repairs the object; where the policy only audits it says what it would have repaired.
func mutateRequest(_ context.Context, set *rules.Set, req *rules.Request, in *admission.Request) admission.Response {
	result := mutate.Apply(set, req)
	resp := admission.Allowed("")
	countSkipped(in, result.Skipped)
	action := "changed"
	if set.Policy().OnlyAudits(in.Namespace) {
		action = wouldBeChanged
		resp.Warnings = rules.Fit(unchanged(&result))
	} else {
		resp.Patches = result.Patch
		resp.Warnings = rules.Fit(result.Warnings())
	}
	for i := range result.Changed {
		count(in, result.Changed[i].Rule.ID, action)
	}
	annotate(&resp, action, rules.Lines(len(result.Changed), func(i int) string {
		if action == "changed" {
			return result.Changed[i].ChangedString()
		}
		return result.Changed[i].String()
	}))
	return resp
}

// unchanged are the warnings in audit mode: in words of the fault, since nothing is done about it.
func unchanged(result *mutate.Result) []string {
	var out []string
	for _, f := range result.Changed {
		if f.Changed != "" {
			out = append(out, f.String())
		}
	}
	for _, f := range result.Refused {
		out = append(out, f.String())
	}
	return out
}

// validateRequest reports what is left; where the policy only audits, what would be refused is a warning. events tells the owner of an
// object that a controller made what a person would have been refused, and everybody else what they were.
func validateRequest(events *eventSender) verb {
	return func(_ context.Context, set *rules.Set, req *rules.Request, in *admission.Request) admission.Response {
		v := validate.Judge(set, req)
		countSkipped(in, v.Skipped)
		only := set.Policy().OnlyAudits(in.Namespace)
		if len(v.Denied) > 0 && !only {
			lines := lines(in, v.Denied, "denied")
			resp := admission.Denied(strings.Join(append(rules.Fit(lines), optOuts(v.Denied)), "\n"))
			annotate(&resp, "denied", lines)
			events.send(in, about(in, req, true), reasonRefused, lines)
			return resp
		}
		resp := admission.Allowed("")
		if denied := lines(in, v.Denied, wouldBeDenied); len(denied) > 0 {
			annotate(&resp, wouldBeDenied, denied)
			resp.Warnings = append(denied, "sixgate only audits here: where the policy enforces, this request is refused")
			events.send(in, about(in, req, false), reasonWouldRefuse, denied)
		}
		resp.Warnings = rules.Fit(append(resp.Warnings, lines(in, v.Warned, "warned")...))
		if owner, ok := controllerOf(req.Object, in.Namespace); ok && v.Owned && req.Operation == rules.Create {
			var denied []string
			for _, f := range v.Warned {
				if f.Level == rules.Deny {
					denied = append(denied, f.String())
				}
			}
			events.send(in, owner, reasonNeverRefused, denied)
		}
		return resp
	}
}

func isDryRun(in *admission.Request) bool { return in.DryRun != nil && *in.DryRun }

func controllerOf(o *rules.Object, namespace string) (*corev1.ObjectReference, bool) {
	at := rules.Controller(o)
	if at == nil {
		return nil, false
	}
	return &corev1.ObjectReference{
		APIVersion: o.Str(at.With("apiVersion")...), Kind: o.Str(at.With("kind")...),
		Name: o.Str(at.With("name")...), UID: types.UID(o.Str(at.With("uid")...)), Namespace: namespace,
	}, true
}

func lines(in *admission.Request, findings []rules.Finding, action string) []string {
	for i := range findings {
		count(in, findings[i].Rule.ID, action)
	}
	return rules.Lines(len(findings), func(i int) string { return findings[i].String() })
}

// optOuts says how a person who knows better keeps the object as it is.
func optOuts(denied []rules.Finding) string {
	var keys []string
	for _, f := range denied {
		if key := rules.OptOutPrefix + f.Rule.ID; !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return "to keep it as it is, annotate the object with a reason: " + strings.Join(keys, ", ")
}

// annotate records lines in the audit log; the API server puts the webhook's name before the key.
func annotate(resp *admission.Response, key string, lines []string) {
	if len(lines) > 0 {
		resp.AuditAnnotations = map[string]string{key: strings.Join(rules.Fit(lines), "; ")}
	}
}

func count(in *admission.Request, rule, action string) {
	findingsTotal.WithLabelValues(rule, action, countedFindings.label(in.Namespace, rule, action)).Inc()
}

func countSkipped(in *admission.Request, skipped []rules.Skipped) {
	for _, s := range skipped {
		count(in, s.Rule, "skipped")
	}
}
