package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/zapr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sixgate/sixgate/pkg/rules"
)

// debugHandlers are both webhooks, with a policy that looks at Secrets, the logger of the program at debug level, and what they log and make Events of.
func debugHandlers(t *testing.T) (handlers []*handler, said *bytes.Buffer, events *eventSender) {
	t.Helper()
	p, err := rules.ReadPolicy([]byte("apiVersion: sixgate.io/v1alpha1\nkind: Policy\nsecrets: true\ncluster: {families: [IPv6]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	said = &bytes.Buffer{}
	set := &atomic.Pointer[rules.Set]{}
	set.Store(rules.NewSet(p))
	c := zap.NewProductionEncoderConfig()
	log := zapr.NewLogger(zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(c), zapcore.AddSync(said), zapcore.DebugLevel)))
	events = newEventSender(nil)
	for _, h := range []*handler{{name: "mutate", verb: mutateRequest, fights: newFightDetector()}, {name: "validate", verb: validateRequest(events)}} {
		h.set, h.log, h.load = set, log, newLoad(defaultMemory)
		handlers = append(handlers, h)
	}
	return handlers, said, events
}

// TestSecretCanary: nothing of a Secret's values is in a log at debug level, an answer, an Event or a metric.
func TestSecretCanary(t *testing.T) {
	const canary = "CANARY-7f3a9c"
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	handlers, said, events := debugHandlers(t)
	secret := map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "web", "namespace": "shop", "ownerReferences": []any{
			map[string]any{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "x", "controller": true}}},
		"data": map[string]any{
			"default.conf": encode("server { listen 80; server_name " + canary + "; }"), "my.cnf": encode("[mysqld]\nbind-address=127.0.0.1\npassword=" + canary + "\n"),
			"redis.conf": encode("bind 127.0.0.1\nrequirepass " + canary + "\n"), "x.yaml": encode(canary + ": ["), "bad": canary + "%%%",
		},
	}
	judged := 0
	for _, h := range handlers {
		for _, operation := range []string{"CREATE", "UPDATE"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/"+h.name, bytes.NewReader(review("Secret", operation, secret, secret))))
			if strings.Contains(w.Body.String(), "listen-") {
				judged++
			}
			said.Write(w.Body.Bytes())
			w = httptest.NewRecorder() // cut in the middle: no AdmissionReview
			body := review("Secret", operation, secret, nil)
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/"+h.name, bytes.NewReader(body[:bytes.Index(body, []byte(canary))+len(canary)])))
			said.Write(w.Body.Bytes())
		}
	}
	if judged == 0 {
		t.Error("no rule looks at the Secret: this test tests nothing")
	}
	for len(events.queue) > 0 {
		r := <-events.queue
		fmt.Fprintln(said, "event", r.on, r.note)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(requestsTotal, findingsTotal, repeatedTotal)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		said.WriteString(f.String())
	}
	for _, bad := range []string{canary, encode(canary)[:8], encode("x" + canary)[4:12], encode("xx" + canary)[4:12]} {
		if i := strings.Index(said.String(), bad); i >= 0 {
			t.Errorf("%q: %s", bad, said.String()[max(i-200, 0):min(i+50, said.Len())])
		}
	}
}

// TestLogInjection: what an author of manifests writes makes no line of its own in the log, and nothing that a terminal obeys; a made-up
// kind or operation makes no metric.
func TestLogInjection(t *testing.T) {
	const evil = "x\n{\"level\":\"error\",\"msg\":\"forged\"}\r\x1b[31m\u202e\u009b31m"
	handlers, said, _ := debugHandlers(t)
	service := benchService()
	service["metadata"].(map[string]any)["generateName"] = evil
	service["spec"].(map[string]any)["ipFamilies"] = []any{"IPv4" + evil}
	body := string(review("Service", "CREATE", service, nil))
	body = strings.NewReplacer(`"name":"web"`, `"name":""`, `"username":"admin"`, `"username":"a\n\u001b[31m"`).Replace(body)
	lines := 0
	for _, h := range handlers {
		for _, b := range []string{body, "\x1b[31m\n" + body, strings.ReplaceAll(body, "CREATE", `\u001b[31m\n`), strings.ReplaceAll(body, `"kind":"Service"`, `"kind":"\u001b[31m\n"`)} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/"+h.name, strings.NewReader(b)))
		}
	}
	for line := range strings.Lines(said.String()) {
		lines++
		if !strings.HasPrefix(line, `{"level":"`) || strings.HasPrefix(line, `{"level":"error","msg":"forged"`) {
			t.Errorf("a forged line: %q", line)
		}
		if strings.ContainsAny(line, "\x1b\r") {
			t.Errorf("a terminal obeys %q", line)
		}
	}
	if lines == 0 {
		t.Error("nothing is logged: this test tests nothing")
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(requestsTotal)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), "[31m") {
			t.Errorf("a metric has it: %s", f)
		}
	}
}
