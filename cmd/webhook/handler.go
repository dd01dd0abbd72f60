package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	apijson "k8s.io/apimachinery/pkg/util/json"
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
}

// ServeHTTP answers an AdmissionReview of admission.k8s.io/v1. Whatever is not one gets an HTTP error, which the API server
// treats by the webhook's failurePolicy; an AdmissionReview that says "not allowed" would refuse the request in any case.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		h.reject(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("AdmissionReview is larger than %d bytes", maxBody))
		return
	case err != nil:
		h.reject(w, http.StatusBadRequest, "read AdmissionReview: "+err.Error())
		return
	case len(body) == 0:
		h.reject(w, http.StatusBadRequest, "empty body: POST an AdmissionReview of admission.k8s.io/v1")
		return
	}
	var review admissionv1.AdmissionReview
	if err := apijson.Unmarshal(body, &review); err != nil {
		h.reject(w, http.StatusBadRequest, "decode AdmissionReview: "+err.Error())
		return
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" || review.Request == nil {
		h.reject(w, http.StatusBadRequest, fmt.Sprintf("%s %s is not a request of admission.k8s.io/v1 AdmissionReview", review.APIVersion, review.Kind))
		return
	}
	in := admission.Request{AdmissionRequest: *review.Request}
	resp := h.Handle(r.Context(), in)
	if err := resp.Complete(in); err != nil {
		h.reject(w, http.StatusInternalServerError, "encode patch: "+err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: &resp.AdmissionResponse}
	if err := json.NewEncoder(w).Encode(out); err != nil {
		h.log.Error(err, "write AdmissionReview")
	}
}

func (h *handler) reject(w http.ResponseWriter, code int, message string) {
	h.log.Info("not an AdmissionReview", "webhook", h.name, "code", code, "reason", message)
	requestsTotal.WithLabelValues(h.name, "", "", "error").Inc()
	http.Error(w, message, code)
}

// Handle answers one request. It recovers from panics itself: whatever goes wrong in here, the request goes through.
func (h *handler) Handle(ctx context.Context, in admission.Request) (resp admission.Response) {
	result := "allowed"
	defer func() {
		if p := recover(); p != nil {
			panicsTotal.Inc()
			h.log.Error(fmt.Errorf("panic: %v", p), "the request goes through", requestFields(&in, "webhook", h.name, "stack", string(debug.Stack()))...)
			result, resp = "panic", admission.Allowed("")
		}
		requestsTotal.WithLabelValues(h.name, in.Kind.Kind, string(in.Operation), result).Inc()
	}()
	set, resp := h.set.Load(), admission.Allowed("")
	if isCheck(&in.AdmissionRequest) {
		return resp.WithWarnings("sixgate " + h.name + answered)
	}
	op := rules.Operation(in.Operation)
	if op != rules.Create && op != rules.Update || !set.Knows(in.Kind.Group, in.Kind.Kind, in.SubResource) {
		return resp
	}
	req := rules.Request{Operation: op, Subresource: in.SubResource, Namespace: in.Namespace}
	var err error
	if req.Object, err = rules.ParseObject(in.Object.Raw); err == nil && op == rules.Update {
		req.Old, err = rules.ParseObject(in.OldObject.Raw)
	}
	if err != nil {
		result = "error"
		h.log.Error(err, "the request goes through", requestFields(&in, "webhook", h.name)...)
		return resp
	}
	resp = h.verb(ctx, set, &req, &in)
	switch {
	case !resp.Allowed:
		result = "denied"
	case len(resp.Patches) > 0:
		result = "changed"
	case len(resp.Warnings) > 0:
		result = "warned"
	}
	if result == "denied" || result == "changed" {
		h.log.Info(result, requestFields(&in, "findings", resp.AuditAnnotations[result])...)
	}
	return resp
}

// requestFields say which request a log line is about; the object itself is never logged.
func requestFields(in *admission.Request, more ...any) []any {
	name := in.Name
	if name == "" { // not known yet: the API server makes it from generateName
		var o struct{ Metadata struct{ GenerateName string } }
		if json.Unmarshal(in.Object.Raw, &o) == nil && o.Metadata.GenerateName != "" {
			name = o.Metadata.GenerateName + "*"
		}
	}
	return append([]any{
		"kind", in.Kind.Kind, "namespace", in.Namespace, "name", name, "operation", in.Operation,
		"user", in.UserInfo.Username, "uid", in.UID, "dryRun", in.DryRun != nil && *in.DryRun,
	}, more...)
}

// mutateRequest repairs the object.
func mutateRequest(_ context.Context, set *rules.Set, req *rules.Request, _ *admission.Request) admission.Response {
	result := mutate.Apply(set, req)
	resp := admission.Allowed("")
	resp.Patches = result.Patch
	resp.Warnings = rules.Fit(result.Warnings())
	var changed []string
	for _, f := range result.Changed {
		count(f.Rule.ID, "changed")
		line := f.String()
		if f.Changed != "" {
			line = f.ChangedString()
		}
		changed = append(changed, line)
	}
	countSkipped(result.Skipped)
	annotate(&resp, "changed", changed)
	return resp
}

// validateRequest reports what is left. recorder tells the owner of an object that a controller made what a person would have
// been refused.
func validateRequest(events eventFunc) verb {
	return func(_ context.Context, set *rules.Set, req *rules.Request, in *admission.Request) admission.Response {
		v := validate.Judge(set, req)
		countSkipped(v.Skipped)
		if len(v.Denied) > 0 {
			lines := lines(v.Denied, "denied")
			resp := admission.Denied(strings.Join(append(rules.Fit(lines), optOuts(v.Denied)), "\n"))
			annotate(&resp, "denied", lines)
			return resp
		}
		resp := admission.Allowed("")
		resp.Warnings = rules.Fit(lines(v.Warned, "warned"))
		if v.Owned && req.Operation == rules.Create && (in.DryRun == nil || !*in.DryRun) {
			for _, f := range v.Warned {
				if owner, ok := controllerOf(req.Object, in.Namespace); ok && f.Level == rules.Deny {
					events(owner, f.String())
				}
			}
		}
		return resp
	}
}

// An eventFunc records a warning Event on an object.
type eventFunc func(on *corev1.ObjectReference, note string)

func controllerOf(o *rules.Object, namespace string) (*corev1.ObjectReference, bool) {
	for i := range o.List("metadata", "ownerReferences") {
		at := rules.Path{"metadata", "ownerReferences", i}
		if o.Bool(at.With("controller")...) {
			return &corev1.ObjectReference{
				APIVersion: o.Str(at.With("apiVersion")...), Kind: o.Str(at.With("kind")...),
				Name: o.Str(at.With("name")...), UID: types.UID(o.Str(at.With("uid")...)), Namespace: namespace,
			}, true
		}
	}
	return nil, false
}

func lines(findings []rules.Finding, action string) []string {
	var out []string
	for _, f := range findings {
		count(f.Rule.ID, action)
		out = append(out, f.String())
	}
	return out
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

func count(rule, action string) { findingsTotal.WithLabelValues(rule, action).Inc() }

func countSkipped(skipped []rules.Skipped) {
	for _, s := range skipped {
		count(s.Rule, "skipped")
	}
}
