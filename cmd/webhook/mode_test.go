package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/sixgate/sixgate/pkg/rules"
)

// serve returns both handlers of a policy, and what they log.
func serve(t *testing.T, policy string) (mutate, validate *handler, log *strings.Builder) {
	t.Helper()
	p, err := rules.ReadPolicy([]byte("apiVersion: sixgate.io/v1alpha1\nkind: Policy\ncluster: {families: [IPv6]}\n" + policy))
	if err != nil {
		t.Fatal(err)
	}
	set, log := &atomic.Pointer[rules.Set]{}, &strings.Builder{}
	set.Store(rules.NewSet(p))
	logger := funcr.New(func(_, args string) { log.WriteString(args + "\n") }, funcr.Options{})
	mutate = &handler{name: "mutate", verb: mutateRequest, set: set, log: logger, fights: newFightDetector()}
	validate = &handler{name: "validate", verb: validateRequest(nil), set: set, log: logger}
	return mutate, validate, log
}

func request(op admissionv1.Operation, kind, namespace, spec string) *question {
	raw := fmt.Sprintf(`{"apiVersion":"v1","kind":%q,"metadata":{"name":"x","namespace":%q},"spec":%s}`, kind, namespace, spec)
	in := newQuestion()
	in.AdmissionRequest = admissionv1.AdmissionRequest{
		Operation: op, Kind: metav1.GroupVersionKind{Version: "v1", Kind: kind}, Namespace: namespace, Name: "x",
		UserInfo: authenticationv1.UserInfo{Username: "argocd"},
	}
	in.object, in.objectErr = rules.ParseObject([]byte(raw))
	if op == admissionv1.Update {
		old := fmt.Sprintf(`{"apiVersion":"v1","kind":%q,"metadata":{"name":"x","namespace":%q},"spec":{"ipFamilies":["IPv6"],"clusterIP":"fd00::1"}}`, kind, namespace)
		in.old, in.oldErr = rules.ParseObject([]byte(old))
	}
	return in
}

const (
	ipv4Service = `{"ipFamilies":["IPv4"],"ports":[{"port":80}]}`
	boundPod    = `{"containers":[{"name":"c","image":"x","ports":[{"containerPort":80,"hostPort":80,"hostIP":"127.0.0.1"}]}]}`
)

// TestAuditMode: nothing is changed or refused, and what would have been is warned about, annotated, logged and counted.
func TestAuditMode(t *testing.T) {
	mutate, validate, log := serve(t, "mode: audit\nenforceNamespaces: [enforced]\n")
	for _, c := range []struct {
		h                  *handler
		kind, spec, action string
		warnings           []string
	}{
		{mutate, "Service", ipv4Service, wouldBeChanged, []string{`spec.ipFamilies[0]: "IPv4" `}},
		{validate, "Pod", boundPod, wouldBeDenied, []string{`spec.containers[0].ports[0].hostIP: "127.0.0.1" `, "sixgate only audits here: "}},
	} {
		log.Reset()
		before := counter(t, findingsTotal.MustCurryWith(map[string]string{"namespace": "audited", "action": c.action}))
		in := request(admissionv1.Create, c.kind, "audited", c.spec)
		resp := c.h.Handle(t.Context(), in)
		if !resp.Allowed || len(resp.Patches) > 0 || resp.AuditAnnotations[c.action] == "" || len(resp.Warnings) != len(c.warnings) {
			t.Errorf("%s: %+v", c.kind, resp)
		}
		for i, want := range c.warnings {
			if i < len(resp.Warnings) && !strings.HasPrefix(resp.Warnings[i], want) {
				t.Errorf("%s: warning %q, not %q", c.kind, resp.Warnings[i], want)
			}
		}
		if !strings.Contains(log.String(), `"msg"="`+c.action+`"`) {
			t.Errorf("%s: log: %s", c.kind, log)
		}
		if counter(t, findingsTotal.MustCurryWith(map[string]string{"namespace": "audited", "action": c.action})) == before {
			t.Errorf("%s: %s is not counted", c.kind, c.action)
		}
		in = request(admissionv1.Create, c.kind, "enforced", c.spec)
		if resp := c.h.Handle(t.Context(), in); resp.Allowed && len(resp.Patches) == 0 || resp.AuditAnnotations[c.action] != "" {
			t.Errorf("%s where the policy enforces: %+v", c.kind, resp)
		}
	}
}

// TestFight: who writes back the same again and again is counted, logged once and no longer warned; others are, and so is the
// same user after a rest.
func TestFight(t *testing.T) {
	mutate, _, log := serve(t, "")
	now := time.Now()
	mutate.fights.now = func() time.Time { return now }
	send := func(edit func(*question)) admission.Response {
		t.Helper()
		in := request(admissionv1.Update, "Service", "shop", ipv4Service)
		if edit != nil {
			edit(in)
		}
		resp := mutate.Handle(t.Context(), in)
		if !resp.Allowed || len(resp.Patches) == 0 {
			t.Fatalf("not repaired: %+v", resp)
		}
		return resp
	}
	before := counter(t, repeatedTotal)
	dryRun := true
	for range 3 * fightRounds {
		if r := send(func(in *question) { in.DryRun = &dryRun }); len(r.Warnings) == 0 {
			t.Fatal("a dry run is no fight")
		}
	}
	for i := range 2 * fightRounds {
		now = now.Add(fightGap)
		if r := send(nil); len(r.Warnings) > 0 != (i < fightRounds-1) {
			t.Fatalf("round %d: warnings %q", i, r.Warnings)
		}
	}
	if n := counter(t, repeatedTotal) - before; n != fightRounds+1 {
		t.Errorf("sixgate_repeated_changes_total went up by %v", n)
	}
	if n := strings.Count(log.String(), "again and again"); n != 1 {
		t.Errorf("%d lines about the fight:\n%s", n, log)
	}
	lines := strings.Count(log.String(), "\n")
	send(nil)
	if n := strings.Count(log.String(), "\n"); n != lines {
		t.Error("it is not quiet")
	}
	if r := send(func(in *question) { in.UserInfo.Username = "somebody" }); len(r.Warnings) == 0 {
		t.Error("another user gets no warning")
	}
	now = now.Add(fightGap + time.Second)
	if r := send(nil); len(r.Warnings) == 0 {
		t.Error("no warning after a rest")
	}
}

// TestFightMemory: however many objects there are, a bounded number is remembered.
func TestFightMemory(t *testing.T) {
	d := newFightDetector()
	for i := range 3 * fightObjects {
		d.round([32]byte{byte(i), byte(i >> 8), byte(i >> 16)})
	}
	if n := d.seen.Len(); n != fightObjects {
		t.Errorf("%d are remembered", n)
	}
}
