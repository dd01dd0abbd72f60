//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/sixgate/sixgate/pkg/rules"
)

// defineCustomResources makes the API server serve every custom resource that is registered, whatever its fields: the webhook's
// answer is in question here, not the schema of others.
func (in *installation) defineCustomResources(t *testing.T) {
	t.Helper()
	type object = map[string]any
	var items []object
	known := map[string]bool{}
	for _, r := range rules.All() {
		for _, target := range r.Targets {
			name := target.Resource + "." + target.Group
			builtIn := !strings.Contains(target.Group, ".") || strings.HasSuffix(target.Group, ".k8s.io") && target.Group != "gateway.networking.k8s.io"
			if builtIn || target.Resource == "" || known[name] {
				continue
			}
			known[name] = true
			scope := "Namespaced"
			if target.Cluster {
				scope = "Cluster"
			}
			items = append(items, object{
				"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
				// Groups below k8s.io are guarded.
				"metadata": object{"name": name, "annotations": object{"api-approved.kubernetes.io": "unapproved, for a test"}},
				"spec": object{
					"group": target.Group, "scope": scope,
					"names": object{"plural": target.Resource, "kind": target.Kind, "listKind": target.Kind + "List"},
					"versions": []object{{
						"name": target.Version, "served": true, "storage": true,
						"schema": object{"openAPIV3Schema": object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
					}},
				},
			})
		}
	}
	if len(items) == 0 {
		return
	}
	list, err := json.Marshal(object{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"apply", "-f", "-"}, {"wait", "--for=condition=Established", "--timeout=60s", "-f", "-"}} {
		if r := in.run(t, string(list), args...); r.code != 0 {
			t.Fatalf("kubectl %s: %s", args[0], r.err)
		}
	}
}
