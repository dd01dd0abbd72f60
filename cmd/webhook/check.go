package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const (
	// checkName is the ConfigMap that both registrations send here, and only a dry run of which is answered with a warning.
	checkName    = "sixgate-check"
	checkManager = "sixgate-check"
	answered     = " answered"
)

// isCheck says whether a request asks nothing but whether the webhook is there.
func isCheck(in *admissionv1.AdmissionRequest) bool {
	return in.Kind.Kind == "ConfigMap" && in.Name == checkName && in.DryRun != nil && *in.DryRun
}

// check returns once the API server has asked /mutate and /validate about one request and has got an answer: so it knows the
// registrations, reaches the Service and trusts the certificate. Then it sets failurePolicy to Fail in the registrations of
// o.enforce. It gives up after o.check and says what did not answer.
func check(ctx context.Context, config *rest.Config, o *options, log logr.Logger) error {
	said := &warnings{}
	config = rest.CopyConfig(config)
	config.WarningHandler = said
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make Kubernetes client: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, o.check)
	defer cancel()
	for last := ""; ; {
		err := ask(limited, client, o.namespace, said)
		if err == nil {
			break
		}
		if reason := err.Error(); reason != last && limited.Err() == nil {
			log.Info("the webhook does not answer yet", "reason", reason)
			last = reason
		}
		select {
		case <-limited.Done():
			return fmt.Errorf("check: after %v: %s; see the pods of namespace %s and the API server's log", o.check, last, o.namespace)
		case <-time.After(time.Second):
		}
	}
	log.Info("the API server has asked the webhook, and it answered")
	for _, verb := range o.enforced() {
		if err := enforce(ctx, client, o.name, verb); err != nil {
			return fmt.Errorf("set failurePolicy of %s.sixgate.io: %w", verb, err)
		}
		log.Info("failurePolicy is Fail", "webhook", verb+".sixgate.io")
	}
	return nil
}

// ask makes the API server ask both, in one request that stores nothing.
func ask(ctx context.Context, client kubernetes.Interface, namespace string, said *warnings) error {
	said.reset()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: checkName}}
	_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldManager: checkManager})
	if err != nil {
		return fmt.Errorf("dry run of ConfigMap %s: %w", checkName, err)
	}
	var missing []string
	for _, verb := range verbs() {
		if !said.has("sixgate " + verb + answered) {
			missing = append(missing, "/"+verb)
		}
	}
	if missing != nil {
		return errors.New(strings.Join(missing, " and ") + " did not answer")
	}
	return nil
}

// enforce sets failurePolicy to Fail, and then disowns the field: Helm and others that apply on the server's side would refuse
// to set it back.
func enforce(ctx context.Context, client kubernetes.Interface, name, verb string) error {
	patch := func(kind types.PatchType, data []byte) (metav1.Object, error) {
		o := metav1.PatchOptions{FieldManager: checkManager}
		if verb == "mutate" {
			return client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(ctx, name, kind, data, o)
		}
		return client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Patch(ctx, name, kind, data, o)
	}
	data, err := json.Marshal(map[string]any{"webhooks": []any{map[string]any{"name": verb + ".sixgate.io", "failurePolicy": "Fail"}}})
	if err != nil {
		return err
	}
	stored, err := patch(types.StrategicMergePatchType, data)
	if err != nil {
		return err
	}
	others := slices.DeleteFunc(slices.Clone(stored.GetManagedFields()), func(f metav1.ManagedFieldsEntry) bool { return f.Manager == checkManager })
	if len(others) == len(stored.GetManagedFields()) || len(others) == 0 {
		return nil // nothing was changed; an empty list would not disown anything
	}
	data, err = json.Marshal([]any{map[string]any{"op": "replace", "path": "/metadata/managedFields", "value": others}})
	if err != nil {
		return err
	}
	_, err = patch(types.JSONPatchType, data)
	return err
}

// verbs are the webhooks, as their paths and registrations name them.
func verbs() []string { return []string{"mutate", "validate"} }

// warnings are those of the last request.
type warnings struct {
	mu   sync.Mutex
	text []string
}

// HandleWarningHeader is of rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

func (w *warnings) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = nil
}

func (w *warnings) has(text string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.text, text)
}
