package main

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/sixgate/sixgate/cmd/internal/live"
)

// A connection is a way to an API server.
type connection struct {
	config *rest.Config
	client rest.Interface // of the core group
	codec  runtime.ParameterCodec
}

// connect reads the kubeconfig as kubectl does; empty arguments are its defaults. It also returns the namespace, that of the
// context where none is named. instead is what else can be done where there is no kubeconfig.
func connect(kubeconfig, context, namespace, instead string) (*connection, string, error) {
	config, namespace, err := live.LoadConfig(kubeconfig, context, namespace)
	if clientcmd.IsEmptyConfig(errors.Unwrap(err)) {
		return nil, "", errors.New("read kubeconfig: there is none; name one with --kubeconfig, " + instead)
	} else if err != nil {
		return nil, "", err
	}
	config.UserAgent = "sixgate"
	config.WarningHandler = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, "", err
	}
	config.APIPath = "/api"
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig: %w", err)
	}
	return &connection{config: config, client: client, codec: runtime.NewParameterCodec(scheme)}, namespace, nil
}

// refused adds the way out to an error of the API server.
func refused(did, verb, resource string, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w; it needs the verb %s on %s", did, err, verb, resource)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("%s: %w; check the user of the kubeconfig", did, err)
	case apierrors.ReasonForError(err) == metav1.StatusReasonUnknown && !apierrors.IsUnexpectedServerError(err):
		return fmt.Errorf("%s: %w; check --kubeconfig and --context", did, err)
	}
	return fmt.Errorf("%s: %w", did, err)
}
