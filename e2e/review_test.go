//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/sixgate/sixgate/e2e/cluster"
)

const webhookName = "sixgate-webhook.sixgate-system.svc"

// endpoints are the addresses of the replicas.
func (in *installation) endpoints(t *testing.T) []string {
	t.Helper()
	var out []string
	for i := range in.sixgate.Replicas {
		name := fmt.Sprintf("sixgate-webhook-replica-%d", i)
		port := in.field(t, ".ports[0].port", "endpointslice", name, "-n", "sixgate-system")
		out = append(out, net.JoinHostPort(in.Address, port))
	}
	return out
}

// bundle is the CA that one of the registrations has.
func (in *installation) bundle(t *testing.T, kind string) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(in.field(t, ".webhooks[0].clientConfig.caBundle", kind, "sixgate"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestReview sends the webhook what no API server would. Each answer is an AdmissionResponse that allows, or an HTTP error.
func TestReview(t *testing.T) {
	in := get(t, withSixgate)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(in.bundle(t, "mutatingwebhookconfiguration"))) {
		t.Fatal("no CA in the registration")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: webhookName, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport, Timeout: time.Minute}
	address := in.endpoints(t)[0]

	const service = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"x","namespace":"x"},"spec":{"ipFamilies":["IPv4"]}}`
	request := func(fields string) string {
		return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"the-uid","kind":{"group":"","version":"v1","kind":"Service"},` +
			`"resource":{"group":"","version":"v1","resource":"services"},"namespace":"x","name":"x","userInfo":{}` + fields + `}}`
	}
	create := func(object string) string { return request(`,"operation":"CREATE","object":` + object) }
	update := func(object, old string) string {
		return request(`,"operation":"UPDATE","object":` + object + `,"oldObject":` + old)
	}
	padded := func(size int) string {
		whole := create(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"data":"` + "PADDING" + `"}`)
		return strings.Replace(whole, "PADDING", strings.Repeat("x", size-len(whole)+len("PADDING")), 1)
	}
	nested := func(depth int) string { return strings.Repeat(`{"spec":`, depth) + "1" + strings.Repeat("}", depth) }
	const httpError, review = false, true
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"empty":                  {"", httpError},
		"truncated":              {create(service)[:200], httpError},
		"7 MB":                   {padded(7 << 20), review},
		"7 MB and 1":             {padded(7<<20 + 1), httpError},
		"not JSON":               {"<review/>", httpError},
		"a list":                 {"[]", httpError},
		"null":                   {"null", httpError},
		"two documents":          {create(service) + create(service), httpError},
		"v1beta1":                {strings.Replace(create(service), "k8s.io/v1", "k8s.io/v1beta1", 1), httpError},
		"unknown version":        {strings.Replace(create(service), "k8s.io/v1", "k8s.io/v99", 1), httpError},
		"another kind":           {strings.Replace(create(service), "AdmissionReview", "ConversionReview", 1), httpError},
		"no request":             {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, httpError},
		"null request":           {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":null}`, httpError},
		"response":               {`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"x","allowed":false}}`, httpError},
		"uid is a number":        {strings.Replace(create(service), `"the-uid"`, "7", 1), httpError},
		"unknown object kind":    {strings.ReplaceAll(create(service), "Service", "Foo"), review},
		"kinds differ":           {create(strings.Replace(service, "Service", "Pod", 1)), review},
		"DELETE":                 {request(`,"operation":"DELETE","oldObject":` + service), review},
		"CONNECT":                {request(`,"operation":"CONNECT","subResource":"exec","object":{"kind":"PodExecOptions"}`), review},
		"no operation":           {request(`,"object":` + service), review},
		"status":                 {request(`,"operation":"UPDATE","subResource":"status","object":` + service + `,"oldObject":` + service), review},
		"unknown subresource":    {request(`,"operation":"CREATE","subResource":"x","object":` + service), review},
		"no object":              {request(`,"operation":"CREATE"`), review},
		"object null":            {create("null"), review},
		"object list":            {create("[" + service + "]"), review},
		"object string":          {create(`"x"`), review},
		"object empty":           {create("{}"), review},
		"metadata is a list":     {create(`{"apiVersion":"v1","kind":"Service","metadata":[],"spec":"x"}`), review},
		"spec of other types":    {create(`{"apiVersion":"v1","kind":"Service","metadata":{},"spec":{"ipFamilies":"IPv4","clusterIP":4,"clusterIPs":{},"ports":[null,1],"selector":[]}}`), review},
		"numbers without end":    {create(strings.Replace(service, `"spec":{`, `"spec":{"n":1e999,"i":123456789012345678901234567890,`, 1)), review},
		"invalid UTF-8":          {create(strings.Replace(service, `"IPv4"`, "\"IPv4\xff\"", 1)), review},
		"deep":                   {create(nested(9000)), review},
		"too deep":               {create(nested(100_000)), httpError},
		"duplicate keys":         {create(strings.Replace(service, `"kind":"Service"`, `"kind":"Service","kind":"Service"`, 1)), review},
		"UPDATE without old":     {request(`,"operation":"UPDATE","object":` + service), review},
		"UPDATE, old null":       {update(service, "null"), review},
		"UPDATE, old string":     {update(service, `"x"`), review},
		"UPDATE, old empty":      {update(service, "{}"), review},
		"UPDATE of another kind": {update(service, strings.Replace(service, "Service", "Pod", 1)), review},
		"ephemeral, no old":      {request(`,"operation":"UPDATE","subResource":"ephemeralcontainers","object":{"kind":"Pod","apiVersion":"v1"}`), review},
	} {
		for _, path := range []string{"/mutate", "/validate"} {
			resp, err := c.Post("https://"+address+path, "application/json", strings.NewReader(tt.body))
			if err != nil {
				// A server that stops to read may close the connection before the whole body is sent.
				if name != "7 MB and 1" {
					t.Errorf("%s %s: %v", path, name, err)
				}
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil {
				t.Errorf("%s %s: %v", path, name, err)
			}
			if !tt.want {
				if resp.StatusCode < 400 {
					t.Errorf("%s %s: %s: %.300s", path, name, resp.Status, body)
				}
				continue
			}
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(body, &answer); err != nil || resp.StatusCode != http.StatusOK {
				t.Errorf("%s %s: %s: %.300s", path, name, resp.Status, body)
				continue
			}
			if answer.APIVersion != "admission.k8s.io/v1" || answer.Kind != "AdmissionReview" || answer.Request != nil ||
				answer.Response == nil || answer.Response.UID != "the-uid" || !answer.Response.Allowed {
				t.Errorf("%s %s: %.300s", path, name, body)
			}
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodPut} {
		req, err := http.NewRequestWithContext(t.Context(), method, "https://"+address+"/mutate", bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}

	if n := in.metric(t, 0, "sixgate_panics_total"); n != 0 {
		t.Errorf("%v panics", n)
	}
	if body, code, err := cluster.Get(t.Context(), in.sixgate.Replicas[0].Health+"/healthz"); err != nil || code != http.StatusOK {
		t.Errorf("the webhook is not alive: %d %s %v", code, body, err)
	}
	log, err := os.ReadFile(in.sixgate.Replicas[0].Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"panic", "goroutine "} {
		if bytes.Contains(log, []byte(bad)) {
			t.Errorf("%q in the log", bad)
		}
	}
}
