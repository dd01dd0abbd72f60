//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// apiServerVars is what every container is given, as jsonpath prints it.
const apiServerVars = "KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_SERVICE_PORT_HTTPS"

const envNames = ".env[*].name"

// pod is a bare Pod with one container web, whose fields are given as flow YAML. Its ServiceAccount is spelled out: what the
// API server adds for one makes every kubectl replace fail, without Sixgate too.
func pod(namespace, name, fields string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\nspec:\n  serviceAccountName: default\n  automountServiceAccountToken: false\n  containers:\n  - {name: web, image: x%s}\n", name, namespace, fields)
}

// deployment is a Deployment of one such container.
func deployment(namespace, name, fields string) string {
	return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: %[2]s, namespace: %[1]s}\nspec:\n"+
		"  selector: {matchLabels: {app: %[2]s}}\n  template:\n    metadata: {labels: {app: %[2]s}}\n    spec:\n"+
		"      containers:\n      - {name: web, image: x%[3]s}\n", namespace, name, fields)
}

// expect compares one field of a stored object.
func (in *installation) expect(t *testing.T, want, path string, args ...string) {
	t.Helper()
	if got := in.field(t, path, args...); got != want {
		t.Errorf("%s: %s is %q, not %q", strings.Join(args, " "), path, got, want)
	}
}

// pods waits until a selector matches n Pods that are not being deleted, and returns their names.
func (in *installation) pods(t *testing.T, namespace, selector string, n int) []string {
	t.Helper()
	var names []string
	eventually(t, func() error {
		names = strings.Fields(in.must(t, "", "get", "pods", "-n", namespace, "-l", selector, "-o", "name").out)
		if len(names) != n {
			return fmt.Errorf("%d pods of %s, not %d: %v", len(names), selector, n, names)
		}
		return nil
	})
	return names
}

// TestPodVariables makes Pods in the ways that people do.
func TestPodVariables(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "pod-variables")

	r := in.must(t, "", "run", "run", "--image=x", "--env=A=https://$(KUBERNETES_SERVICE_HOST)", "-n", ns)
	if r.err != "" {
		t.Errorf("what is only added needs no words: %s", r.err)
	}
	in.expect(t, apiServerVars+" A", ".spec.containers[0]"+envNames, "pod", "run", "-n", ns)
	in.expect(t, "api.example.net 6443 6443 https://$(KUBERNETES_SERVICE_HOST)", ".spec.containers[0].env[*].value", "pod", "run", "-n", ns)

	in.must(t, "", "create", "deployment", "web", "--image=x", "--replicas=2", "-n", ns)
	for _, name := range in.pods(t, ns, "app=web", 2) {
		in.expect(t, apiServerVars, ".spec.containers[0]"+envNames, name, "-n", ns)
	}
	in.expect(t, "", ".spec.template.spec.containers[0].env", "deployment", "web", "-n", ns)
	in.expect(t, "", ".items[0].spec.template.spec.containers[0].env", "replicaset", "-l", "app=web", "-n", ns)

	in.must(t, `apiVersion: v1
kind: Pod
metadata: {name: lists, namespace: `+ns+`}
spec:
  initContainers:
  - {name: init, image: x}
  - {name: sidecar, image: x, restartPolicy: Always, env: [{name: B, value: "1"}]}
  containers:
  - {name: web, image: x}
  - {name: own, image: x, env: [{name: A, value: "1"}, {name: KUBERNETES_SERVICE_HOST, value: "2001:db8::1"}]}
  - {name: prefixed, image: x, envFrom: [{prefix: DB_, configMapRef: {name: db}}]}
`, "apply", "-f", "-")
	for list, want := range map[string]string{
		"initContainers[0]": apiServerVars, "initContainers[1]": apiServerVars + " B",
		"containers[0]": apiServerVars, "containers[1]": "A KUBERNETES_SERVICE_HOST", "containers[2]": apiServerVars,
	} {
		in.expect(t, want, ".spec."+list+envNames, "pod", "lists", "-n", ns)
	}
	r = in.must(t, pod(ns, "hidden", ", envFrom: [{configMapRef: {name: x}}]"), "apply", "-f", "-")
	contains(t, r.err, "Warning: spec.containers[0].envFrom[0]: may set KUBERNETES_SERVICE_HOST")
	in.expect(t, "", ".spec.containers[0].env", "pod", "hidden", "-n", ns)
}

// TestPodDebug adds ephemeral containers; those that are there already may not be changed.
func TestPodDebug(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "pod-debug")
	in.must(t, "", "run", "x", "--image=x", "-n", ns)
	in.must(t, "", "annotate", "pod", "x", "-n", ns, "sixgate.io/ignore.api-server-host=older than Sixgate")
	in.must(t, "", "debug", "x", "--image=x", "-c", "older", "-n", ns)
	in.must(t, "", "annotate", "pod", "x", "-n", ns, "sixgate.io/ignore.api-server-host-")
	in.must(t, "", "debug", "x", "--image=x", "-c", "first", "-n", ns)
	in.must(t, "", "debug", "x", "--image=x", "-c", "second", "--env=A=1", "-n", ns)
	for name, want := range map[string]string{"older": "", "first": apiServerVars, "second": apiServerVars + " A"} {
		in.expect(t, want, `.spec.ephemeralContainers[?(@.name=="`+name+`")]`+envNames, "pod", "x", "-n", ns)
	}
	in.must(t, "", "debug", "x", "--image=x", "--copy-to=copy", "-c", "debugger", "-n", ns)
	for _, name := range []string{"x", "debugger"} {
		in.expect(t, apiServerVars, `.spec.containers[?(@.name=="`+name+`")]`+envNames, "pod", "copy", "-n", ns)
	}
}

// clientWays are the ways in which clients send a manifest again.
var clientWays = map[string][]string{
	"apply":             {"apply", "-f", "-"},
	"replace":           {"replace", "-f", "-"},
	"server-side apply": {"apply", "--server-side", "--force-conflicts", "-f", "-"},
	"dry run":           {"apply", "--dry-run=server", "-f", "-"},
}

// TestPodAgain sends the manifests of bare Pods again. Nearly everything in a stored Pod is immutable.
func TestPodAgain(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "pod-again")
	for name, c := range map[string]struct{ fields, env string }{
		"none":  {"", apiServerVars},
		"user":  {`, env: [{name: Z, value: "1"}, {name: A, value: $(KUBERNETES_SERVICE_HOST)}, {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]`, apiServerVars + " Z A ME"},
		"owner": {`, env: [{name: A, value: "1"}, {name: KUBERNETES_SERVICE_PORT, value: "1"}]`, "A KUBERNETES_SERVICE_PORT"},
	} {
		manifest := pod(ns, name, c.fields)
		newImage := strings.Replace(manifest, "image: x", "image: newer", 1)
		for step, send := range []struct{ way, manifest string }{
			{"apply", manifest}, {"apply", manifest}, {"apply", newImage}, {"dry run", manifest}, {"apply", manifest},
			{"replace", manifest}, {"replace", newImage}, {"apply", manifest},
			{"server-side apply", manifest}, {"server-side apply", manifest}, {"server-side apply", newImage}, {"replace", manifest}, {"apply", manifest},
		} {
			if r := in.run(t, send.manifest, clientWays[send.way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, send.way, r.err)
			}
			in.expect(t, c.env, ".spec.containers[0]"+envNames, "pod", name, "-n", ns)
		}

		// By server-side apply from the start.
		manifest = pod(ns, name+"-ssa", c.fields)
		for step, way := range []string{"server-side apply", "server-side apply", "apply", "replace"} {
			if r := in.run(t, manifest, clientWays[way]...); r.code != 0 {
				t.Errorf("%s by server-side apply: step %d, %s: %s", name, step, way, r.err)
			}
			in.expect(t, c.env, ".spec.containers[0]"+envNames, "pod", name+"-ssa", "-n", ns)
		}
	}
	// What the API server refuses without Sixgate is refused with it, in its own words.
	for _, fields := range []string{`, env: [{name: NEW, value: "1"}]`, `, command: [x]`} {
		for _, way := range []string{"apply", "replace", "server-side apply"} {
			r := in.run(t, pod(ns, "none", fields), clientWays[way]...)
			contains(t, r.err, "pod updates may not change fields other than")
		}
	}
	// A field that the API server does not know is its affair.
	r := in.must(t, pod(ns, "unknown", ", futureField: 9007199254740993"), "apply", "--validate=warn", "-f", "-")
	contains(t, r.err, `unknown field "spec.containers[0].futureField"`)
	in.expect(t, apiServerVars, ".spec.containers[0]"+envNames, "pod", "unknown", "-n", ns)
}

// TestPodResolvers: IPv4 nameservers become the policy's resolvers, and the manifest may come again.
func TestPodResolvers(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "pod-resolvers")
	manifest := pod(ns, "legacy", "") + "\n  dnsPolicy: None\n  dnsConfig: {nameservers: [8.8.8.8, 1.1.1.1]}\n"
	for step, way := range []string{"apply", "apply", "dry run", "replace", "server-side apply", "server-side apply", "apply"} {
		r := in.run(t, manifest, clientWays[way]...)
		if r.code != 0 {
			t.Errorf("step %d, %s: %s", step, way, r.err)
		}
		contains(t, r.err, `spec.dnsConfig.nameservers[0]: replaced "8.8.8.8" by "2001:4860:4860::6464", which the policy gives [dns-config-ipv4]`)
		in.expect(t, "2001:4860:4860::6464", ".spec.dnsConfig.nameservers[*]", "pod", "legacy", "-n", ns)
	}
	// Templates are judged, their Pods repaired.
	r := in.run(t, strings.TrimRight(deployment(ns, "legacy", ""), "\n ")+"\n      dnsPolicy: None\n      dnsConfig: {nameservers: [8.8.8.8]}\n", "apply", "-f", "-")
	contains(t, r.err, "with dnsPolicy None the pod resolves nothing")
}

// TestPodPools: the policy gives Pods of two namespaces their addresses.
func TestPodPools(t *testing.T) {
	in := get(t, withSixgate)
	dns, pools := in.namespace(t, "dns"), in.namespace(t, "pools")
	const (
		key     = `.metadata.annotations.cni\.projectcalico\.org/`
		address = `["2001:db8:53::1"]`
		cidr    = `["2001:db8:42::/64"]`
	)
	in.must(t, "", "run", "a", "--image=x", "-l", "k8s-app=kube-dns-a", "-n", dns)
	in.expect(t, address, key+"ipAddrs", "pod", "a", "-n", dns)
	in.must(t, "", "run", "b", "--image=x", "-n", dns)
	in.expect(t, "", key+"ipAddrs", "pod", "b", "-n", dns)

	manifest := pod(pools, "again", "")
	for step, way := range []string{"apply", "apply", "server-side apply", "server-side apply", "apply"} {
		in.must(t, manifest, clientWays[way]...)
		if got := in.field(t, key+"ipv6pools", "pod", "again", "-n", pools); got != cidr {
			t.Errorf("step %d, %s: ipv6pools is %q", step, way, got)
		}
	}
	in.must(t, manifest, "replace", "-f", "-") // the plugin has read them by then

	in.must(t, "", "run", "own", "--image=x", `--annotations=cni.projectcalico.org/ipv6pools=["mine"]`, "-n", pools)
	in.expect(t, `["mine"]`, key+"ipv6pools", "pod", "own", "-n", pools)
	in.must(t, "", "run", "fixed", "--image=x", `--annotations=cni.projectcalico.org/ipAddrs=["2001:db8:42::7"]`, "-n", pools)
	in.expect(t, "", key+"ipv6pools", "pod", "fixed", "-n", pools)

	in.must(t, "", "create", "deployment", "web", "--image=x", "-n", pools)
	in.expect(t, cidr, key+"ipv6pools", in.pods(t, pools, "app=web", 1)[0], "-n", pools)
	in.expect(t, "", ".spec.template.metadata.annotations", "deployment", "web", "-n", pools)

	r := in.run(t, "", "run", "bad", "--image=x", "--annotations=cni.projectcalico.org/ipv6pools=2001:db8:42::/64", "-n", pools)
	contains(t, r.err, `metadata.annotations["cni.projectcalico.org/ipv6pools"]: "2001:db8:42::/64" is not a JSON array of strings, the pod will not start; write ["…"] inside the string [pod-ip-pool-value]`)
	if r.code == 0 {
		t.Error("a malformed pool was accepted")
	}
	r = in.must(t, strings.Replace(deployment(dns, "dns", ""), "app: dns}}\n    spec", "app: dns, k8s-app: kube-dns-a}}\n    spec", 1), "apply", "-f", "-")
	contains(t, r.err, `a rolling update starts the new pod while the old one has the address "2001:db8:53::1"`)
}

// TestNamespacePools: the policy gives a Namespace the default of its Pods, which get nothing themselves.
func TestNamespacePools(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "pools-default")
	const (
		annotation = "cni.projectcalico.org/ipv6pools"
		key        = `.metadata.annotations.cni\.projectcalico\.org/ipv6pools`
		cidr       = `["2001:db8:42::/64"]`
	)
	in.expect(t, cidr, key, "namespace", ns)
	in.must(t, "", "run", "a", "--image=x", "-n", ns)
	in.expect(t, "", key, "pod", "a", "-n", ns)

	in.must(t, "", "annotate", "namespace", ns, annotation+"-") // as one that was there before Sixgate
	in.expect(t, cidr, key, "namespace", ns)
	in.must(t, "", "annotate", "--overwrite", "namespace", ns, annotation+`=["mine"]`)
	in.expect(t, `["mine"]`, key, "namespace", ns)

	r := in.run(t, "", "annotate", "--overwrite", "namespace", ns, annotation+"=mine")
	contains(t, r.err, `metadata.annotations["cni.projectcalico.org/ipv6pools"]: "mine" is not a JSON array of strings`)
	if r.code == 0 {
		t.Error("a malformed default was accepted")
	}
	in.must(t, "", "delete", "namespace", ns, "--wait=false")
}

// TestHostPort publishes on addresses of the node.
func TestHostPort(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "host-port")
	port := func(ip string) string {
		return ", ports: [{containerPort: 80, hostPort: 8080, hostIP: " + ip + "}, {containerPort: 81}]"
	}

	manifest := pod(ns, "any", port("0.0.0.0"))
	for step, way := range []string{"dry run", "apply", "apply", "apply", "replace", "server-side apply", "server-side apply", "replace", "apply"} {
		r := in.run(t, manifest, clientWays[way]...)
		if r.code != 0 {
			t.Errorf("step %d, %s: %s", step, way, r.err)
			continue
		}
		contains(t, r.err, `Warning: spec.containers[0].ports[0].hostIP: removed "0.0.0.0", so that port 8080 is published on IPv6 [host-port-ipv4]`)
		if way != "dry run" {
			in.expect(t, `{"containerPort":80,"hostPort":8080,"protocol":"TCP"}`, ".spec.containers[0].ports[0]", "pod", "any", "-n", ns)
		}
	}

	const denied = `"127.0.0.1" publishes on IPv4 only, port 8080 is unreachable; give an IPv6 address of the node, or remove hostIP to publish on all [host-port-ipv4]` +
		"\nto keep it as it is, annotate the object with a reason: sixgate.io/ignore.host-port-ipv4"
	for kind, manifest := range map[string]string{"": pod(ns, "loopback", port("127.0.0.1")), "template.spec.": deployment(ns, "loopback", port("127.0.0.1"))} {
		for _, how := range []string{"apply", "create"} {
			want := "Error from server (Forbidden): error when creating \"STDIN\": admission webhook \"validate.sixgate.io\" denied the request: spec." +
				kind + "containers[0].ports[0].hostIP: " + denied + "\n"
			if r := in.run(t, manifest, how, "-f", "-"); r.code == 0 || r.err != want {
				t.Errorf("%s: exit code %d, %q, not %q", how, r.code, r.err, want)
			}
		}
	}

	r := in.must(t, strings.Replace(pod(ns, "host", ", ports: [{containerPort: 8080, hostPort: 8080, hostIP: 127.0.0.1}]"), "spec:", "spec:\n  hostNetwork: true", 1), "apply", "-f", "-")
	contains(t, r.err, `Warning: spec.containers[0].ports[0].hostIP: "127.0.0.1" is not used by a hostNetwork pod`)
	in.expect(t, "127.0.0.1", ".spec.containers[0].ports[0].hostIP", "pod", "host", "-n", ns)

	// Pods of a template are repaired, the template is not.
	r = in.must(t, deployment(ns, "web", port("0.0.0.0")), "apply", "-f", "-")
	contains(t, r.err, "Warning: spec.template.spec.containers[0].ports[0].hostIP")
	in.expect(t, "0.0.0.0", ".spec.template.spec.containers[0].ports[0].hostIP", "deployment", "web", "-n", ns)
	in.expect(t, "", ".spec.containers[0].ports[0].hostIP", in.pods(t, ns, "app=web", 1)[0], "-n", ns)
}

// TestDeploymentPredates: what was there before Sixgate goes on, and only what makes it worse is refused.
func TestDeploymentPredates(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "predates")
	port := func(n int) string { return fmt.Sprintf("{containerPort: %d, hostPort: %d, hostIP: 127.0.0.1}", n, n) }
	manifest := deployment(ns, "old", ", ports: ["+port(80)+"]")

	in.withPolicy(t, policyText+"rules: {host-port-ipv4: off}\n")
	in.must(t, manifest, "apply", "-f", "-")
	before := in.pods(t, ns, "app=old", 1)
	in.setPolicy(t, policyText, "ok")

	// Its Pods come from a controller, so they are made, and those who look at the owner are told.
	in.must(t, "", append([]string{"delete", "-n", ns}, before...)...)
	in.pods(t, ns, "app=old", 1)
	in.must(t, "", "scale", "deployment/old", "--replicas=3", "-n", ns)
	for _, name := range in.pods(t, ns, "app=old", 3) {
		in.expect(t, "127.0.0.1", ".spec.containers[0].ports[0].hostIP", name, "-n", ns)
	}
	eventually(t, func() error {
		text := in.must(t, "", "get", "events", "-n", ns, "--field-selector=reason=IPv4Only,involvedObject.kind=ReplicaSet", "-o", "jsonpath={.items[*].message}").out
		if want := `"127.0.0.1" publishes on IPv4 only, port 80 is unreachable`; !strings.Contains(text, want) {
			return fmt.Errorf("no Event on the ReplicaSet: %q", text)
		}
		return nil
	})

	r := in.must(t, manifest, "apply", "-f", "-")
	contains(t, r.out, "unchanged")
	for _, args := range [][]string{
		{"label", "deployment/old", "a=b"},
		{"annotate", "deployment/old", "a=b"},
		{"patch", "deployment/old", "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/x"]}}`},
		{"patch", "deployment/old", "--type=merge", "-p", `{"metadata":{"finalizers":null}}`},
		{"patch", "deployment/old", "--subresource=status", "--type=merge", "-p", `{"status":{"observedGeneration":1}}`},
		{"set", "image", "deployment/old", "web=newer"},
		{"set", "env", "deployment/old", "A=1"},
		{"rollout", "restart", "deployment/old"},
		{"patch", "deployment/old", "--type=json", "-p", `[{"op":"add","path":"/spec/template/spec/containers/0","value":{"name":"first","image":"x"}}]`},
		{"expose", "deployment/old", "--port=80"},
		{"autoscale", "deployment/old", "--min=1", "--max=3"},
	} {
		in.must(t, "", append(args, "-n", ns)...)
	}
	// The rollout goes on: the newest ReplicaSet has a Pod.
	eventually(t, func() error {
		revision := in.field(t, `.metadata.annotations.deployment\.kubernetes\.io/revision`, "deployment", "old", "-n", ns)
		sets := in.must(t, "", "get", "replicasets", "-n", ns, "-l", "app=old", "-o", `jsonpath={range .items[*]}{.metadata.annotations.deployment\.kubernetes\.io/revision}={.status.replicas} {end}`).out
		for _, set := range strings.Fields(sets) {
			if n, ok := strings.CutPrefix(set, revision+"="); ok && n != "" && n != "0" {
				return nil
			}
		}
		return fmt.Errorf("revision %s has no Pod: %s", revision, sets)
	})

	r = in.run(t, deployment(ns, "old", ", ports: ["+port(80)+", "+port(81)+"]"), "apply", "-f", "-")
	if r.code == 0 {
		t.Error("a second IPv4 port was accepted")
	}
	contains(t, r.err, "port 81 is unreachable")
	if strings.Contains(r.err, "port 80 ") {
		t.Errorf("what was there before is not a reason: %s", r.err)
	}
	r = in.must(t, deployment(ns, "old", ", imagePullPolicy: Never, ports: ["+port(80)+"]"), "apply", "-f", "-")
	contains(t, r.err, "Warning: spec.template.spec.containers[")
	in.must(t, deployment(ns, "old", ""), "apply", "-f", "-") // repaired at last
	in.must(t, "", "delete", "deployment", "old", "-n", ns, "--cascade=foreground", "--timeout=60s")
}
