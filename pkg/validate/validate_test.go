package validate

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/pkg/rules"
)

func object(t *testing.T, text string) *rules.Object {
	t.Helper()
	if text == "" {
		return nil
	}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o, err := rules.ParseObject(raw)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// deployment has one container for each list of ports.
func deployment(meta, spec string, ports ...string) string {
	text := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop" + meta + "}\nspec:\n  " + spec + "\n  template:\n    spec:\n      containers:\n"
	for i, p := range ports {
		text += "      - {name: c" + string(rune('a'+i)) + ", ports: [" + p + "]}\n"
	}
	return text
}

func TestJudge(t *testing.T) {
	const bad, bad2, good = "{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}", "{containerPort: 81, hostPort: 81, hostIP: 10.0.0.1}", "{containerPort: 82, hostPort: 82}"
	const cleared = "{containerPort: 83, hostPort: 83, hostIP: 0.0.0.0}"
	owned := ", ownerReferences: [{apiVersion: v1, kind: X, name: x, uid: u, controller: true}]"
	for _, c := range []struct {
		name, now, old string
		denied, warned int
	}{
		{name: "create", now: deployment("", "replicas: 1", bad), denied: 1},
		{name: "create clean", now: deployment("", "replicas: 1", good)},
		{name: "repaired by mutate: a warning", now: deployment("", "replicas: 1", cleared), warned: 1},
		{name: "a denial beside a warning", now: deployment("", "replicas: 1", cleared, bad), denied: 1, warned: 1},
		{name: "what a controller makes is never denied", now: deployment(owned, "replicas: 1", bad), warned: 1},
		{name: "an owner that is no controller does not help", now: deployment(", ownerReferences: [{kind: X, name: x}]", "replicas: 1", bad), denied: 1},
		{name: "scaling is not worse", now: deployment("", "replicas: 2", bad), old: deployment("", "replicas: 1", bad), warned: 1},
		{name: "one more is worse", now: deployment("", "replicas: 1", bad+", "+bad2), old: deployment("", "replicas: 1", bad), denied: 1, warned: 1},
		{name: "another port is worse", now: deployment("", "replicas: 1", bad2), old: deployment("", "replicas: 1", bad), denied: 1},
		{name: "moved in the list is not worse", now: deployment("", "replicas: 1", good+", "+bad), old: deployment("", "replicas: 1", bad+", "+good), warned: 1},
		{name: "a renamed container is not worse", now: strings.ReplaceAll(deployment("", "replicas: 1", bad), "name: ca", "name: cz"), old: deployment("", "replicas: 1", bad), warned: 1},
		{name: "better is not worse", now: deployment("", "replicas: 1", good), old: deployment("", "replicas: 1", bad)},
		{name: "unchanged is not judged", now: deployment(", finalizers: [a.example/b]", "replicas: 1", bad), old: deployment("", "replicas: 1", bad)},
		{name: "being deleted is not judged", now: deployment(", deletionTimestamp: 2026-01-01T00:00:00Z", "replicas: 2", bad, bad2), old: deployment("", "replicas: 1", good)},
		{name: "the stored object opted out", now: deployment("", "replicas: 1", bad), old: deployment(`, annotations: {sixgate.io/ignore.host-port-ipv4: "test"}`, "replicas: 1", bad), warned: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := &rules.Request{Object: object(t, c.now), Old: object(t, c.old), Operation: rules.Create, Namespace: "shop"}
			if req.Old != nil {
				req.Operation = rules.Update
			}
			v := Judge(rules.NewSet(rules.DefaultPolicy("IPv6")), req)
			if len(v.Denied) != c.denied || len(v.Warned) != c.warned {
				t.Errorf("denied %v, warned %v; want %d and %d", v.Denied, v.Warned, c.denied, c.warned)
			}
		})
	}
}
