//go:build e2e

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// client returns an HTTP client of the administrator: faster than kubectl where there is much to send.
func (in *installation) client(t *testing.T) *http.Client {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", in.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	c, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// TestConditions: no selector and no condition of the registrations keeps an object away on which a rule fires.
//
// The dual-stack cluster is the one on which nobody else makes requests that would be counted too.
func TestConditions(t *testing.T) {
	in := get(t, dualStack)
	in.defineCustomResources(t)
	api := in.api(t)
	reached, refused := 0, 0
	for _, c := range ruleCases(t) {
		if c.text["findings"] == "" || c.text["subresource"] != "" { // TestPodDebug has the subresource
			continue
		}
		s := c.sample(t, "in.yaml")
		if s == nil && strings.Contains(c.name, "/custom-") { // not registered
			continue
		}
		if s == nil {
			t.Errorf("%s: no target of the rule", c.name)
			continue
		}
		if s.target.AuditOnly { // not registered
			continue
		}
		if s.target.Asked { // not registered unless somebody asks for it
			continue
		}
		api.makeNamespaces(t, []*sample{s})
		webhook := "validate"
		if c.rule.Mutate && s.target.Leaf {
			webhook = "mutate"
		}
		count := func() float64 {
			return in.metric(t, 0, "sixgate_requests_total", fmt.Sprintf("webhook=%q", webhook), fmt.Sprintf("kind=%q", s.target.Kind))
		}
		before := count()
		a := api.create(t, s, s.body, true)
		switch {
		case count() > before:
			reached++
		case a.code >= 400 && a.code < 500 && a.denied() == nil:
			refused++
			t.Logf("%s: the API server itself says %d: %s", s, a.code, a.status.Message)
		default:
			t.Errorf("%s: %s was not asked, the API server says %d: %s", s, webhook, a.code, a.status.Message)
		}
	}
	t.Logf("%d cases reached Sixgate, %d were refused before", reached, refused)
	if reached < 5*refused {
		t.Error("too few cases reach Sixgate")
	}
}
