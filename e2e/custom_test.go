//go:build e2e

package e2e

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// customKinds are a kind with pods, as Argo Rollouts has it, and one without.
const customKinds = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rollouts.custom.example.net}
spec:
  group: custom.example.net
  names: {kind: Rollout, plural: rollouts}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              template: {type: object, x-kubernetes-preserve-unknown-fields: true}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ships.custom.example.net}
spec:
  group: custom.example.net
  names: {kind: Ship, plural: ships}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {name: {type: string}}}}}
`

const customObjects = `apiVersion: custom.example.net/v1
kind: Rollout
metadata: {name: web}
spec:
  template:
    spec:
      containers:
      - {name: web, image: registry.example.net/web:1, ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]}
---
apiVersion: custom.example.net/v1
kind: Ship
metadata: {name: ida}
spec: {name: ida}
`

// TestCustomResources: an audit of a cluster finds the pods in custom resources, lists no kind that has none, and takes a ReplicaSet of a
// Rollout for what it is; a user who may not list them is told.
func TestCustomResources(t *testing.T) {
	in := get(t, bareSixgate)
	ns := in.namespace(t, "custom")
	in.must(t, customKinds, "apply", "-f", "-")
	for _, name := range []string{"rollouts", "ships"} {
		in.must(t, "", "wait", "--for=condition=Established", "crd/"+name+".custom.example.net", "--timeout=60s")
	}
	t.Cleanup(func() { in.must(t, customKinds, "delete", "-f", "-") })
	in.must(t, customObjects, "apply", "-n", ns, "-f", "-") // the webhook is not asked
	uid := in.field(t, ".metadata.uid", "rollouts.custom.example.net/web", "-n", ns)
	in.must(t, `apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: web-1
  ownerReferences: [{apiVersion: custom.example.net/v1, kind: Rollout, name: web, uid: `+uid+`, controller: true}]
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: registry.example.net/web:1, ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]}
`, "apply", "-n", ns, "-f", "-")

	var r auditReport
	eventually(t, func() error { // the schemas are published some seconds after the kinds
		r, _, _ = auditJSON(t, in.Kubeconfig, "-n", ns)
		if len(r.Findings) == 0 {
			return errors.New("no findings")
		}
		return nil
	})
	if got := r.found("host-port-ipv4", ""); len(r.Findings) != 1 || got[ns+"/web"] != 1 {
		t.Errorf("findings: %+v", r.Findings)
	}
	if f := r.Findings[0]; f.Path != "spec.template.spec.containers[0].ports[0].hostIP" || f.Level != "warn" {
		t.Errorf("finding: %+v", f)
	}
	for _, o := range r.Objects {
		if o.Kind == "Ship" || o.Kind == "ReplicaSet" {
			t.Errorf("audited: %+v", o)
		}
	}

	in.must(t, "", "create", "serviceaccount", "narrow", "-n", "sixgate-system")
	in.must(t, "", "apply", "-f", "../config/audit/clusterrole.yaml")
	in.must(t, "", "create", "clusterrolebinding", "narrow", "--clusterrole=sixgate-audit", "--serviceaccount=sixgate-system:narrow")
	t.Cleanup(func() {
		in.must(t, "", "delete", "clusterrolebinding/narrow")
		in.must(t, "", "delete", "serviceaccount/narrow", "-n", "sixgate-system")
	})
	narrow := filepath.Join(t.TempDir(), "kubeconfig")
	if err := in.WriteKubeconfig(t.Context(), narrow, "narrow"); err != nil {
		t.Fatal(err)
	}
	r, stderr, _ := auditJSON(t, narrow, "-n", ns)
	if len(r.Errors) > 0 || strings.Contains(stderr, "ships") {
		t.Errorf("errors: %v %s", r.Errors, stderr)
	}
	contains(t, stderr, "not audited, since they may not be listed: rollouts.custom.example.net, which may have pods in them")
}
