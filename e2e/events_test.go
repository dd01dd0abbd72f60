//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
)

// events are those of one reason in a namespace, as events.k8s.io has them.
func (in *installation) events(t *testing.T, namespace, reason string) []eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := json.Unmarshal([]byte(in.must(t, "", "get", "events.v1.events.k8s.io", "-n", namespace, "--field-selector=reason="+reason, "-o", "json").out), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// TestEvents: who looks at an object sees that it was refused, or would have been; the same again is the same Event, and a dry run makes none.
// TestDeploymentPredates has the Events on controllers.
func TestEvents(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "refusals")
	bound := func(n int) string {
		return fmt.Sprintf(", ports: [{containerPort: %d, hostPort: %[1]d, hostIP: 127.0.0.1}]", n)
	}

	in.run(t, pod(ns, "dry", bound(80)), "create", "--dry-run=server", "-f", "-")
	for range 2 {
		if r := in.run(t, pod(ns, "bare", bound(80)), "create", "-f", "-"); r.code == 0 {
			t.Fatal("the Pod was not refused")
		}
	}
	eventually(t, func() error {
		events := in.events(t, ns, "Refused")
		if len(events) != 1 || events[0].Series == nil || events[0].Series.Count < 2 {
			return fmt.Errorf("%+v", events)
		}
		return nil
	})
	e := in.events(t, ns, "Refused")[0]
	if e.Regarding.Kind != "Pod" || e.Regarding.Name != "bare" || e.Type != "Warning" || e.ReportingController != "sixgate-webhook" ||
		!strings.HasPrefix(e.Note, `refused: spec.containers[0].ports[0].hostIP: "127.0.0.1" publishes on IPv4 only, port 80 is unreachable`) {
		t.Errorf("%+v", e)
	}
	contains(t, in.must(t, "", "events", "-n", ns).out, "Pod/bare")

	describes := func(what, reason, want string) {
		t.Helper()
		eventually(t, func() error {
			text := in.must(t, "", "describe", what, "-n", ns).out
			if _, events, _ := strings.Cut(text, "\nEvents:"); !strings.Contains(events, reason) || !strings.Contains(events, want) {
				return fmt.Errorf("kubectl describe %s does not show %s %q:\n%s", what, reason, want, events)
			}
			return nil
		})
	}
	in.must(t, deployment(ns, "web", ""), "apply", "-f", "-")
	if r := in.run(t, deployment(ns, "web", bound(81)), "apply", "-f", "-"); r.code == 0 {
		t.Error("the change was not refused")
	}
	describes("deployment/web", "Refused", "port 81 is unreachable")

	in.withPolicy(t, policyText+"auditNamespaces: [refusals]\n")
	in.must(t, pod(ns, "audited", bound(82)), "create", "-f", "-")
	describes("pod/audited", "WouldBeRefused", "port 82 is unreachable")
	if n := in.metric(t, 0, "sixgate_events_total", `result="sent"`); n < 4 {
		t.Errorf("%v Events were sent", n)
	}
	if n := in.metric(t, 0, "sixgate_events_total", `result="dropped"`); n != 0 {
		t.Errorf("%v Events were dropped", n)
	}
}
