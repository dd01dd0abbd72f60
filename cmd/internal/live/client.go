package live

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	pageSize       = 500     // of lists, as kubectl's
	maxObjects     = 10_000  // of one list: more would only fill the memory
	maxVersionBody = 1 << 16 // bytes
	requestLimit   = 15 * time.Second
	readLimit      = time.Minute // for a whole cluster; what is not read by then is not known
)

// LoadConfig reads a kubeconfig as kubectl does, or what a pod is given; each argument may be "". The second result is the namespace of
// the context. [clientcmd.IsEmptyConfig] tells that there is none.
func LoadConfig(kubeconfig, context, namespace string) (*rest.Config, string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: context}
	overrides.Context.Namespace = namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig: %w", err)
	}
	namespace, _, err = loader.Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read kubeconfig: %w", err)
	}
	return config, namespace, nil
}

// newClient returns a client for all paths.
func newClient(config *rest.Config) (rest.Interface, error) {
	config = rest.CopyConfig(config)
	config.NegotiatedSerializer = serializer.NewCodecFactory(runtime.NewScheme()).WithoutConversion()
	config.GroupVersion = &schema.GroupVersion{}
	config.WarningHandler = rest.NoWarnings{}
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return client, nil
}

// get reads what is at a path of the API server.
func get(ctx context.Context, client rest.Interface, path string, into any) error {
	raw, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// list reads all pages of a list.
func list[T any](ctx context.Context, client rest.Interface, path, selector string) ([]T, error) {
	var items []T
	next := ""
	for {
		req := client.Get().AbsPath(path).SetHeader("Accept", "application/json").Param("limit", fmt.Sprint(pageSize))
		if selector != "" {
			req = req.Param("labelSelector", selector)
		}
		if next != "" {
			req = req.Param("continue", next)
		}
		raw, err := req.Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var page struct {
			Metadata metav1.ListMeta `json:"metadata"`
			Items    []T             `json:"items"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if next = page.Metadata.Continue; next == "" {
			return items, nil
		}
		if len(items) >= maxObjects {
			return nil, fmt.Errorf("more than %d objects", maxObjects)
		}
	}
}

// versionOf asks for the version, which everybody may see, and returns the certificate that is shown on the way: nil without TLS.
func versionOf(ctx context.Context, config *rest.Config) (string, *x509.Certificate, error) {
	answer, err := ask(ctx, config)
	if err != nil {
		text := err.Error()
		if e, ok := errors.AsType[*url.Error](err); ok {
			text = e.Err.Error()
		}
		return "", nil, fmt.Errorf("reach the cluster at %s: %s; check --kubeconfig and --context", config.Host, oneLine(text))
	}
	defer answer.Body.Close()
	var certificate *x509.Certificate
	if answer.TLS != nil && len(answer.TLS.PeerCertificates) > 0 {
		certificate = answer.TLS.PeerCertificates[0]
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxVersionBody))
	var v version.Info
	switch {
	case err != nil:
		return "", nil, fmt.Errorf("read version of %s: %w", config.Host, err)
	case answer.StatusCode == http.StatusUnauthorized:
		return "", nil, fmt.Errorf("read version of %s: %s; check the user of the kubeconfig", config.Host, answer.Status)
	case answer.StatusCode == http.StatusForbidden:
		return "of unknown version", certificate, nil // who may see nothing else still sees this
	case answer.StatusCode != http.StatusOK:
		return "", nil, fmt.Errorf("read version of %s: %s", config.Host, oneLine(answer.Status))
	case json.Unmarshal(body, &v) != nil || v.GitVersion == "":
		return "", nil, fmt.Errorf("read version of %s: the answer is not that of an API server; check --kubeconfig and --context", config.Host)
	}
	return v.GitVersion, certificate, nil
}

// certificateFor returns the certificate that is shown to who asks for a name, as an API server may have several
// (--tls-sni-cert-key). Nothing secret is sent and nothing trusted that comes back, so that it need not be verified.
func certificateFor(ctx context.Context, config *rest.Config, name string) (*x509.Certificate, error) {
	config = rest.AnonymousClientConfig(config)
	config.TLSClientConfig = rest.TLSClientConfig{Insecure: true, ServerName: name}
	answer, err := ask(ctx, config)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.TLS == nil || len(answer.TLS.PeerCertificates) == 0 {
		return nil, errors.New("no TLS")
	}
	return answer.TLS.PeerCertificates[0], nil
}

func ask(ctx context.Context, config *rest.Config) (*http.Response, error) {
	client, err := newClient(config)
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	transport.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse } // else tokens would go there
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, client.Get().AbsPath("/version").URL().String(), nil)
	if err != nil {
		return nil, err
	}
	return transport.Do(req)
}

// covers reports whether a certificate is good for a host, a DNS name or an address.
func covers(certificate *x509.Certificate, host string) bool {
	return certificate.VerifyHostname(host) == nil
}

// maxLine is how much of a text of others is shown, in bytes.
const maxLine = 300

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	return text
}
