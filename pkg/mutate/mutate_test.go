package mutate

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/rules"
)

func apply(t *testing.T, families []string, text string) Result {
	t.Helper()
	o, err := rules.ParseObject([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Apply(rules.NewSet(rules.DefaultPolicy(families...)), &rules.Request{Object: o, Operation: rules.Create, Namespace: "shop"})
}

const (
	service    = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"%s},"spec":{"ipFamilies":["IPv4"],"selector":{"a":"b"}}}`
	deployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"spec":{"containers":[{"name":"c","ports":[{"containerPort":80,"hostPort":80,"hostIP":"0.0.0.0"}]}]}}}}`
)

func TestApply(t *testing.T) {
	r := apply(t, []string{"IPv6"}, strings.ReplaceAll(service, "%s", ""))
	if patch, _ := json.Marshal(r.Patch); string(patch) != `[{"op":"replace","path":"/spec/ipFamilies/0","value":"IPv6"}]` {
		t.Errorf("patch %s", patch)
	}
	if w := r.Warnings(); len(w) != 1 || w[0] != `spec.ipFamilies[0]: changed "IPv4" to "IPv6", the only family of this cluster [service-ip-family]` {
		t.Errorf("warnings %q", w)
	}
}

// TestApplyLeavesAlone: other clusters, templates, and what somebody has said no to.
func TestApplyLeavesAlone(t *testing.T) {
	if r := apply(t, []string{"IPv6", "IPv4"}, strings.ReplaceAll(service, "%s", "")); r.Patch != nil || r.Warnings() != nil {
		t.Errorf("dual-stack cluster: %v %q", r.Patch, r.Warnings())
	}
	if r := apply(t, []string{"IPv6"}, deployment); r.Patch != nil || r.Warnings() != nil {
		t.Errorf("template: %v %q", r.Patch, r.Warnings())
	}
	if r := apply(t, []string{"IPv6"}, strings.ReplaceAll(service, "%s", `,"annotations":{"sixgate.io/ignore.service-ip-family":"why not"}`)); r.Patch != nil || len(r.Skipped) != 1 {
		t.Errorf("opt-out: %v %v", r.Patch, r.Skipped)
	}
}

// TestApplyExplains: a Service that stays as it is gets its explanation here, since no validating webhook will see it.
func TestApplyExplains(t *testing.T) {
	r := apply(t, []string{"IPv6"}, strings.ReplaceAll(service, "%s", `,"annotations":{"sixgate.io/service-mode":"unchanged"}`))
	if w := r.Warnings(); r.Patch != nil || len(w) != 1 || !strings.Contains(w[0], "the API server refuses it") {
		t.Errorf("%v %q", r.Patch, w)
	}
}
