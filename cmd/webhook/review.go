package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// A question is an admission request. Of the request itself it has what we use: uid, kind, name, namespace, operation, subResource,
// dryRun and the name of the user. The objects are read in the same pass as the request, so there are no bytes of them.
type question struct {
	admission.Request
	object, old       *rules.Object
	objectErr, oldErr error // why there is none
}

// readReview reads an AdmissionReview of admission.k8s.io/v1 once.
func readReview(body []byte) (*question, error) {
	var apiVersion, kind string
	var q *question
	d := rules.NewDecoder(body)
	defer d.Free()
	err := d.Fields(func(name string) error {
		switch name {
		case "apiVersion":
			return rules.ReadString(d, &apiVersion)
		case "kind":
			return rules.ReadString(d, &kind)
		case "request":
			if d.Null() {
				q = nil
				return nil
			}
			if q == nil {
				q = newQuestion()
			}
			return q.read(d)
		}
		return d.Skip()
	})
	if err == nil {
		err = d.End()
	}
	if err != nil {
		return nil, fmt.Errorf("decode AdmissionReview: %w", err)
	}
	if apiVersion != admissionv1.SchemeGroupVersion.String() || kind != "AdmissionReview" || q == nil {
		return nil, fmt.Errorf("%s %s is not a request of admission.k8s.io/v1 AdmissionReview", apiVersion, kind)
	}
	return q, nil
}

func newQuestion() *question {
	absent := errors.New("decode object: empty")
	return &question{objectErr: absent, oldErr: absent}
}

// read reads the request of an AdmissionReview.
func (q *question) read(d *rules.Decoder) error {
	return d.Fields(func(name string) error {
		if d.Null() {
			if name == "dryRun" {
				q.DryRun = nil
			}
			return nil
		}
		switch name {
		case "uid":
			return rules.ReadString(d, &q.UID)
		case "kind":
			return readKind(d, &q.Kind)
		case "name":
			return rules.ReadString(d, &q.Name)
		case "namespace":
			return rules.ReadString(d, &q.Namespace)
		case "operation":
			return rules.ReadString(d, &q.Operation)
		case "subResource":
			return rules.ReadString(d, &q.SubResource)
		case "dryRun":
			v, err := d.Value()
			dryRun, ok := v.(bool)
			if err == nil && !ok {
				err = fmt.Errorf("dryRun: %T instead of a bool", v)
			}
			q.DryRun = &dryRun
			return err
		case "userInfo":
			return d.Fields(func(name string) error {
				if name == "username" {
					return rules.ReadString(d, &q.UserInfo.Username)
				}
				return d.Skip()
			})
		case "object":
			q.object, q.objectErr = d.Object()
			return syntactic(q.objectErr)
		case "oldObject":
			q.old, q.oldErr = d.Object()
			return syntactic(q.oldErr)
		}
		return d.Skip()
	})
}

func readKind(d *rules.Decoder, kind *metav1.GroupVersionKind) error {
	return d.Fields(func(name string) error {
		switch name {
		case "group":
			return rules.ReadString(d, &kind.Group)
		case "version":
			return rules.ReadString(d, &kind.Version)
		case "kind":
			return rules.ReadString(d, &kind.Kind)
		}
		return d.Skip()
	})
}

// syntactic returns err if the text is not JSON; an object of the wrong shape is answered like any that cannot be judged.
func syntactic(err error) error {
	if s := (*jsontext.SyntacticError)(nil); errors.As(err, &s) {
		return err
	}
	return nil
}

// complete fills in what every answer has. It is Complete of the response, which encodes each operation by itself and reads it again.
func complete(resp *admission.Response, q *question) error {
	patch := resp.Patches
	resp.Patches = nil
	if err := resp.Complete(q.Request); err != nil || len(patch) == 0 {
		return err
	}
	type operation struct {
		Operation string `json:"op"`
		Path      string `json:"path"`
		Value     any    `json:"value,omitempty"`
	}
	operations := make([]operation, len(patch))
	for i, o := range patch {
		operations[i] = operation{o.Operation, o.Path, o.Value}
		if o.Value == nil && (o.Operation == "add" || o.Operation == "replace") {
			operations[i].Value = json.RawMessage("null")
		}
	}
	jsonPatch := admissionv1.PatchTypeJSONPatch
	resp.PatchType = &jsonPatch
	var err error
	resp.Patch, err = json.Marshal(operations)
	return err
}
