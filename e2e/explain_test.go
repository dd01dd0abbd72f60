//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// TestExplainObject: what is said of objects that the webhook has changed, by each way in which people send them; and that the audit
// of the same cluster has nothing to say about what was repaired.
func TestExplainObject(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "explain")
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: NAME}\nspec: {selector: {app: a}, ports: [{port: 80}], ipFamilies: [IPv4]}\n"
	in.must(t, strings.ReplaceAll(service, "NAME", "applied"), "apply", "-n", ns, "-f", "-")
	in.must(t, strings.ReplaceAll(service, "NAME", "created"), "create", "-n", ns, "-f", "-")
	in.must(t, strings.ReplaceAll(service, "NAME", "server-side"), "apply", "--server-side", "-n", ns, "-f", "-")
	in.must(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: a}}\n  template:\n    metadata: {labels: {app: a}}\n"+
		"    spec: {containers: [{name: a, image: registry.example/a, ports: [{containerPort: 80, hostPort: 80, hostIP: 0.0.0.0}]}]}\n", "apply", "-n", ns, "-f", "-")
	in.must(t, "", "wait", "--for=create", "pod", "-l", "app=a", "-n", ns, "--timeout=60s")
	pod := in.field(t, ".items[0].metadata.name", "pod", "-n", ns, "-l", "app=a")

	explain := func(what string, want ...string) {
		t.Helper()
		out, stderr, code, _ := sixgate(t, in.Kubeconfig, "explain", what, "-n", ns)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit code %d: %s", what, code, stderr)
		}
		for _, w := range want {
			contains(t, out, w)
		}
	}
	const changed = "changed: spec.ipFamilies[0]: changed \"IPv4\" to \"IPv6\", the only family of this cluster [service-ip-family]\n    sent    \"IPv4\"\n    stored  \"IPv6\"\n"
	explain("Service/applied", "rules as the policy of the installed webhook sets them\n", changed, "undo service-ip-family: ")
	explain("svc/created", "not known: spec.ipFamilies was sent, by kubectl-create; ", "changed: nothing that the object shows\n")
	explain("services/server-side", "not known: spec.ipFamilies was sent, by kubectl; ")
	explain("pod/"+pod, "that kube-controller-manager sent", "removed: spec.containers[0].ports[0].hostIP was sent, by kube-controller-manager, ",
		"undo host-port-ipv4: ", "into the pod template that ReplicaSet/web-")
	explain("deploy/web", "changed: nothing that the object shows\n")
	for what, want := range map[string]string{
		"pod/none":  `sixgate: get pod/none: pods "none" not found`,
		"lease/a":   "sixgate: no rule looks at objects of the kind Lease",
		"unknown/a": `sixgate: the cluster has no kind "unknown"`,
	} {
		_, stderr, code, _ := sixgate(t, in.Kubeconfig, "explain", what, "-n", ns)
		if code != 3 || stderr != want+"\n" {
			t.Errorf("%s: exit code %d, %q", what, code, stderr)
		}
	}

	r, stderr, _ := auditJSON(t, in.Kubeconfig, "-n", ns)
	if len(r.Findings) > 0 || len(r.Errors) > 0 || stderr != "" {
		t.Errorf("what was repaired is reported: %+v %s", r, stderr)
	}
}
