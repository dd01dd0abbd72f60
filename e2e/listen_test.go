//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sixgate/sixgate/e2e/cluster"
)

func server(kind, namespace, name, args, ports string) string {
	spec := "{containers: [{name: web, image: \"registry.example.net/shop:1\", command: " + args + ports + "}]}"
	if kind == "Pod" {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec + "\n"
	}
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec:\n  selector: {matchLabels: {app: x}}\n" +
		"  template: {metadata: {labels: {app: x}}, spec: " + spec + "}\n"
}

// TestListenArguments: what kubectl says of servers that are told what to bind.
func TestListenArguments(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "listen-arguments")
	const ports = ", ports: [{containerPort: 8000}]"
	for name, c := range map[string]struct{ args, ports, denied, warned string }{
		"gunicorn": {args: `[gunicorn, -b, "0.0.0.0:8000", shop.wsgi]`, ports: ports,
			denied: `spec.template.spec.containers[0].command[2]: "-b 0.0.0.0:8000" binds IPv4 only`},
		"shell": {args: `[sh, -c, "exec gunicorn -b :8000 shop.wsgi"]`, ports: ports,
			denied: `spec.template.spec.containers[0].command[2]: "-b :8000" binds IPv4 only`},
		"sidecar": {args: `[gunicorn, -b, "0.0.0.0:8000", shop.wsgi]`, warned: "no containerPort or probe names port 8000"},
		"ipv6":    {args: `[gunicorn, -b, "[::]:8000", shop.wsgi]`, ports: ports},
		"go":      {args: `[prometheus, "--web.listen-address=0.0.0.0:8000"]`, ports: ports},
		"unknown": {args: `[shop, --host, "0.0.0.0"]`, ports: ports, warned: "[listen-wildcard]"},
	} {
		r := in.run(t, server("Deployment", ns, name, c.args, c.ports), "apply", "-f", "-")
		switch {
		case c.denied != "":
			if r.code == 0 {
				t.Errorf("%s: accepted", name)
			}
			contains(t, r.err, c.denied)
			contains(t, r.err, "sixgate.io/ignore.listen-python-server")
		case r.code != 0:
			t.Errorf("%s: %s", name, r.err)
		case c.warned != "":
			contains(t, r.err, c.warned)
		case r.err != "":
			t.Errorf("%s: %s", name, r.err)
		}
	}
}

// TestListenRepaired: where the policy says so the webhook repairs what it would refuse, and the same manifest can be applied
// again.
func TestListenRepaired(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "listen-repaired")
	in.withPolicy(t, policyText+"rules: {listen-nginx: {mutate: true}, listen-python-server: {mutate: true}}\n")
	in.register(t, "repair-configmaps", "mutatingwebhookconfiguration")

	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web, namespace: " + ns + "}\ndata:\n  default.conf: |\n    server {\n      listen 80;\n      location / { root /srv; }\n    }\n"
	var r result
	eventually(t, func() error { // the API server reads the registration again
		in.run(t, "", "delete", "configmap", "web", "-n", ns, "--ignore-not-found")
		r = in.run(t, manifest, "apply", "-f", "-")
		if r.code != 0 {
			return errorOf(r)
		}
		return nil
	})
	contains(t, r.err, `data["default.conf"]:2: "listen 80;" binds 0.0.0.0 only; repaired: add "listen [::]:80;"`)
	for range 2 {
		if got := in.field(t, ".data.default\\.conf", "configmap", "web", "-n", ns); !strings.Contains(got, "listen 80;\n  listen [::]:80;\n") {
			t.Errorf("stored: %s", got)
		}
		in.must(t, manifest, "apply", "-f", "-")
		in.must(t, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-")
	}

	pod := server("Pod", ns, "web", `[gunicorn, -b, "0.0.0.0:8000", shop.wsgi]`, ", ports: [{containerPort: 8000}]")
	for range 2 {
		in.must(t, pod, "apply", "-f", "-")
		if got := in.field(t, ".spec.containers[0].command[2]", "pod", "web", "-n", ns); got != "[::]:8000" {
			t.Errorf("stored: %s", got)
		}
	}
	in.must(t, pod, "apply", "--server-side", "--force-conflicts", "-f", "-")
}

// TestListenSecrets: a Secret is read where the policy and the registration say so, and nothing of it is told.
func TestListenSecrets(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "listen-secrets")
	in.withPolicy(t, policyText+"secrets: true\n")
	in.register(t, "secrets", "validatingwebhookconfiguration")
	manifest := "apiVersion: v1\nkind: Secret\nmetadata: {name: web, namespace: " + ns + "}\nstringData:\n  default.conf: |\n    server { listen 8099; location / { root /s3cret; } }\n"
	eventually(t, func() error {
		r := in.run(t, manifest, "apply", "--dry-run=server", "-f", "-")
		if r.code == 0 || !strings.Contains(r.err, "nginx configuration binds 0.0.0.0 only") {
			return errorOf(r)
		}
		if strings.Contains(r.err, "8099") || strings.Contains(r.err, "s3cret") {
			t.Errorf("quoted: %s", r.err)
		}
		return nil
	})
}

// register adds the resource of a component of config/webhook until the test ends.
func (in *installation) register(t *testing.T, component, kind string) {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "config/webhook/components", component, "kustomization.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var k struct{ Patches []struct{ Patch string } }
	if err := yaml.Unmarshal(text, &k); err != nil || len(k.Patches) != 1 {
		t.Fatalf("%s: %v", text, err)
	}
	patch, err := yaml.YAMLToJSON([]byte(k.Patches[0].Patch))
	if err != nil {
		t.Fatal(err)
	}
	before := in.object(t, kind, "sixgate")["webhooks"].([]any)[0].(map[string]any)["rules"].([]any)
	in.must(t, "", "patch", kind, "sixgate", "--type=json", "-p", string(patch))
	t.Cleanup(func() {
		back, err := json.Marshal([]any{map[string]any{"op": "replace", "path": "/webhooks/0/rules", "value": before}})
		if err != nil {
			t.Fatal(err)
		}
		in.must(t, "", "patch", kind, "sixgate", "--type=json", "-p", string(back))
	})
}

func errorOf(r result) error { return fmt.Errorf("exit code %d: %s%s", r.code, r.out, r.err) }
