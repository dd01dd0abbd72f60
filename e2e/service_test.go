//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

func service(namespace, name, spec string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec:\n  selector: {app: x}\n  ports: [{port: 80}]\n  %s\n",
		name, namespace, strings.ReplaceAll(spec, "\n", "\n  "))
}

// TestServiceRefusedWithoutSixgate is the premise: what the API server says on its own.
func TestServiceRefusedWithoutSixgate(t *testing.T) {
	in := get(t, withoutSixgate)
	for spec, want := range map[string]string{
		"ipFamilies: [IPv4]":               `spec.ipFamilies[0]: Invalid value: "IPv4": not configured on this cluster`,
		"ipFamilyPolicy: RequireDualStack": "this cluster is not configured for dual-stack services",
		"clusterIP: 10.0.0.5":              "IPv4 is not configured on this cluster",
	} {
		r := in.run(t, service("default", "x", spec), "apply", "-f", "-")
		if r.code == 0 {
			t.Errorf("%s: accepted", spec)
		}
		contains(t, r.err, want)
	}
}

// TestServiceLifecycle sends the same manifest in every way that clients have.
func TestServiceLifecycle(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "service-lifecycle")
	for i, spec := range []string{
		"ipFamilies: [IPv4]",
		"ipFamilies: [IPv4, IPv6]\nipFamilyPolicy: PreferDualStack",
		"ipFamilies: [IPv6, IPv4]\nipFamilyPolicy: RequireDualStack",
		"ipFamilyPolicy: RequireDualStack\ntype: LoadBalancer",
		"clusterIP: 10.96.0.53",
		"clusterIP: 10.96.0.53\nclusterIPs: [\"10.96.0.53\"]\nipFamilies: [IPv4]\nipFamilyPolicy: SingleStack",
		"clusterIP: None\nipFamilies: [IPv4]",
		"type: NodePort\nipFamilies: [IPv4]",
	} {
		name := fmt.Sprintf("s%d", i)
		manifest := service(ns, name, spec)
		check := func(how string, r result) {
			t.Helper()
			if r.code != 0 {
				t.Errorf("%s: %s: %s", how, spec, r.err)
				return
			}
			if f := in.field(t, ".spec.ipFamilies[*]", "service", name, "-n", ns); f != "IPv6" {
				t.Errorf("%s: %s: families %q", how, spec, f)
			}
		}
		dry := in.run(t, manifest, "apply", "--dry-run=server", "-f", "-")
		if dry.code != 0 {
			t.Errorf("dry run: %s: %s", spec, dry.err)
		}
		first := in.run(t, manifest, "apply", "-f", "-")
		check("apply", first)
		contains(t, first.err, "[service-ip-family]")
		for range 3 {
			check("apply again", in.run(t, manifest, "apply", "-f", "-"))
		}
		check("replace", in.run(t, manifest, "replace", "-f", "-"))
		check("server-side apply", in.run(t, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-"))
		check("server-side apply again", in.run(t, manifest, "apply", "--server-side", "--force-conflicts", "-f", "-"))
		check("patch", in.run(t, "", "patch", "service", name, "-n", ns, "-p", `{"spec":{"ports":[{"port":80,"targetPort":81}]}}`))
		check("label", in.run(t, "", "label", "service", name, "-n", ns, "a=b"))
		check("status", in.run(t, "", "patch", "service", name, "-n", ns, "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{}}}`))
		check("finalizer", in.run(t, "", "patch", "service", name, "-n", ns, "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/x"]}}`))
		in.must(t, "", "delete", "service", name, "-n", ns, "--wait=false")
		in.must(t, "", "patch", "service", name, "-n", ns, "--type=merge", "-p", `{"metadata":{"finalizers":[]}}`)
		eventually(t, func() error {
			if r := in.run(t, "", "get", "service", name, "-n", ns); r.code == 0 {
				return fmt.Errorf("%s: still there", spec)
			}
			return nil
		})
	}
}

// TestServicePools: the annotations of the policy are there after every kind of write, and those of the user stay.
func TestServicePools(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "service-pools")
	in.withPolicy(t, strings.Replace(policyText, `services: {`, `services: {loadBalancer: metallb, pools: [{namespaces: [service-pools], addresses: ["2001:db8::1"]}], `, 1))
	manifest := service(ns, "web", "type: LoadBalancer")
	const key = `.metadata.annotations.metallb\.io/loadBalancerIPs`
	for _, how := range [][]string{{"create"}, {"apply"}, {"replace"}, {"apply", "--server-side", "--force-conflicts"}, {"delete"}, {"apply", "--server-side"}} {
		in.must(t, manifest, append(how, "-f", "-")...)
		if how[0] == "delete" {
			continue
		}
		if v := in.field(t, key, "service", "web", "-n", ns); v != "2001:db8::1" {
			t.Errorf("%v: %q", how, v)
		}
	}
	in.must(t, "", "annotate", "service", "web", "-n", ns, "--overwrite", "metallb.io/loadBalancerIPs=2001:db8::2")
	in.must(t, manifest, "apply", "--server-side", "-f", "-")
	if v := in.field(t, key, "service", "web", "-n", ns); v != "2001:db8::2" {
		t.Errorf("annotated by hand: %q", v)
	}
	in.must(t, service(ns, "user", "type: LoadBalancer\nloadBalancerIP: \"2001:db8::3\""), "apply", "-f", "-")
	if v := in.field(t, key, "service", "user", "-n", ns); v != "" {
		t.Errorf("beside spec.loadBalancerIP: %q", v)
	}
	r := in.run(t, strings.Replace(service(ns, "bad", "type: LoadBalancer"), "metadata: {", `metadata: {annotations: {metallb.io/loadBalancerIPs: 192.0.2.1}, `, 1), "apply", "-f", "-")
	contains(t, r.err, `metadata.annotations["metallb.io/loadBalancerIPs"]: "192.0.2.1" is an IPv4 address, which an IPv6 Service cannot have; give an IPv6 address of a pool [service-pool-annotation]`)
	if r.code == 0 {
		t.Error("an IPv4 address is accepted, although the policy names MetalLB")
	}
}
