package main

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	apijson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// FuzzReview: an AdmissionReview that the API machinery decodes is read as the same.
func FuzzReview(f *testing.F) {
	wrap := func(request string) string {
		return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":` + request + `}`
	}
	for _, s := range []string{
		wrap(`{"uid":"u","kind":{"group":"apps","version":"v1","kind":"Deployment"},"resource":{"resource":"x"},"name":"n","namespace":"s","operation":"UPDATE","subResource":"scale",` +
			`"userInfo":{"username":"admin","groups":["a"],"extra":{"k":["v"]}},"object":{"kind":"Deployment"},"oldObject":{"a":9007199254740993},"dryRun":true,"options":{"kind":"UpdateOptions"}}`),
		wrap(`{"uid":"u","uid":null,"kind":{"group":"a"},"kind":{"kind":"b"},"kind":null,"dryRun":true,"dryRun":null,"object":{"a":1},"object":null,"userInfo":null}`),
		wrap(`{"uid":"u","object":{"a":1},"object":{"b":2},"UID":"other","Object":{"c":3}}`),
		wrap(`{"uid":"u","object":"x","oldObject":[1],"operation":"CREATE"}`), wrap(`{"object":null}`), wrap(`{"object":{"n":1e999},"oldObject":{}}`),
		wrap(`null`), wrap(`{}`), wrap(`{"uid":1}`), wrap(`{"dryRun":"x"}`), wrap(`{"kind":"x"}`), wrap(`{"object":{]}`), wrap(`{}`) + " x", wrap(`{"uid":"a"},"request":{"name":"b"}`), wrap(`{"uid":"a"},"request":null`),
		`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{}}`, `{}`, `null`, `[]`, ``, `x`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, gotErr := readReview(bytes.Clone(body))
		var want admissionv1.AdmissionReview
		err := apijson.Unmarshal(body, &want)
		if err != nil || want.APIVersion != "admission.k8s.io/v1" || want.Kind != "AdmissionReview" || want.Request == nil {
			// What is refused here, and there not, is a type of a field that is not read.
			if gotErr == nil && (err == nil || !strings.Contains(err.Error(), "cannot unmarshal")) {
				t.Fatalf("%q is read, but: %v", body, err)
			}
			return
		}
		if gotErr != nil {
			t.Fatalf("%q: %v", body, gotErr)
		}
		in := want.Request
		if got.UID != in.UID || got.Kind != in.Kind || got.Name != in.Name || got.Namespace != in.Namespace || got.Operation != in.Operation ||
			got.SubResource != in.SubResource || got.UserInfo.Username != in.UserInfo.Username || !reflect.DeepEqual(got.DryRun, in.DryRun) {
			t.Fatalf("%q: %+v, not %+v", body, got.AdmissionRequest, in)
		}
		for _, o := range []struct {
			raw []byte
			got *rules.Object
			err error
		}{{in.Object.Raw, got.object, got.objectErr}, {in.OldObject.Raw, got.old, got.oldErr}} {
			want, err := rules.ParseObject(o.raw)
			if (err == nil) != (o.err == nil) || (o.got == nil) != (o.err != nil) {
				t.Fatalf("%q: %v, not %v", body, o.err, err)
			}
			if err != nil {
				continue
			}
			delete(want.Root(), "status")
			delete(want.Map("metadata"), "managedFields")
			if !reflect.DeepEqual(o.got.Root(), want.Root()) {
				t.Fatalf("%q: %v, not %v", body, o.got.Root(), want.Root())
			}
		}
	})
}

// TestComplete: an answer is what controller-runtime makes of it.
func TestComplete(t *testing.T) {
	for _, patch := range [][]jsonpatch.Operation{
		nil,
		{jsonpatch.NewOperation("add", "/a~1b", nil), jsonpatch.NewOperation("replace", "/c", nil), jsonpatch.NewOperation("remove", "/d", nil)},
		{jsonpatch.NewOperation("add", "/a", map[string]any{"z": int64(9007199254740993), "b": []any{"<&>\u2028", true, 1.5}}), jsonpatch.NewOperation("replace", "/c", "")},
	} {
		q := newQuestion()
		q.UID = "the-uid"
		want, got := admission.Patched("", patch...), admission.Patched("", patch...)
		if err := errors.Join(want.Complete(q.Request), complete(&got, q)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got.AdmissionResponse, want.AdmissionResponse) {
			t.Errorf("%s, not %s", got.Patch, want.Patch)
		}
	}
}
