//go:build e2e

package e2e

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// guarded are objects that Sixgate would change or refuse on an IPv6-only cluster. The address is from the part of the range
// from which the API server assigns none by itself.
func guarded(ns string) string {
	return strings.Join([]string{
		service(ns, "ipv4", "ipFamilies: [IPv4]"),
		service(ns, "literal", "clusterIP: 10.96.0.77"),
		service(ns, "dual", "ipFamilies: [IPv4, IPv6]\nipFamilyPolicy: RequireDualStack"),
		service(ns, "load-balancer", "type: LoadBalancer\nipFamilyPolicy: PreferDualStack"),
		deployment(ns, "web", ", ports: [{containerPort: 80, hostPort: 8080, hostIP: 127.0.0.1}]"),
		pod(ns, "web", ", ports: [{containerPort: 80, hostPort: 8080, hostIP: 0.0.0.0}]"),
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: nginx, namespace: " + ns + "}\ndata:\n  default.conf: |\n    server {\n      listen 80;\n    }\n",
	}, "---\n")
}

var guardedNames = []string{"service/ipv4", "service/literal", "service/dual", "service/load-balancer", "deployment/web", "pod/web", "configmap/nginx"}

// TestGuard: on a dual-stack cluster Sixgate is as if it were not there.
func TestGuard(t *testing.T) {
	in := get(t, dualStack)
	// What is random or a clock's in an object; the rest must be the same.
	stored := func(ns, name string) map[string]any {
		o := in.object(t, name, "-n", ns)
		o["metadata"] = map[string]any{"annotations": o["metadata"].(map[string]any)["annotations"]}
		delete(o, "status")
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal([]byte(strings.ReplaceAll(string(raw), ns, "NAMESPACE")), &out); err != nil {
			t.Fatal(err)
		}
		if spec, ok := out["spec"].(map[string]any); ok {
			for _, field := range []string{"clusterIP", "clusterIPs", "ports", "healthCheckNodePort"} {
				delete(spec, field)
			}
		}
		return out
	}
	if v := in.metric(t, 0, "sixgate_cluster_ipv6_only"); v != 0 {
		t.Errorf("sixgate_cluster_ipv6_only is %v", v)
	}
	in.namespace(t, "guard-with")
	in.namespace(t, "guard-without")
	if err := in.sixgate.Stop(0); err != nil {
		t.Fatal(err)
	}
	without := in.must(t, guarded("guard-without"), "apply", "-f", "-")
	in.must(t, "", "delete", "service", "literal", "-n", "guard-without") // two cannot have the address
	if err := in.sixgate.Start(0); err != nil {
		t.Fatal(err)
	}
	if err := in.sixgate.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	with := in.must(t, guarded("guard-with"), "apply", "-f", "-")
	if with.err != without.err {
		t.Errorf("warnings with Sixgate: %q, without: %q", with.err, without.err)
	}
	for _, name := range guardedNames {
		if name == "service/literal" {
			in.expect(t, "10.96.0.77", ".spec.clusterIP", name, "-n", "guard-with")
			continue
		}
		if a, b := stored("guard-with", name), stored("guard-without", name); !reflect.DeepEqual(a, b) {
			t.Errorf("%s with Sixgate:\n%v\nwithout:\n%v", name, a, b)
		}
	}
	in.expect(t, `["IPv4"] ["IPv4","IPv6"]`, ".items[*].spec.ipFamilies", "service", "ipv4", "dual", "-n", "guard-with")
	if n := in.metric(t, 0, "sixgate_requests_total", `result="allowed"`); n == 0 {
		t.Error("no request has reached Sixgate")
	}
	for _, result := range []string{"changed", "denied", "warned", "error", "panic"} {
		if n := in.metric(t, 0, "sixgate_requests_total", `result="`+result+`"`); n != 0 {
			t.Errorf("%v requests were %s", n, result)
		}
	}
}

// TestFamiliesOverride: the policy says that the cluster is IPv6-only. What is older is reported and never broken.
func TestFamiliesOverride(t *testing.T) {
	in := get(t, dualStack)
	ns := in.namespace(t, "override")
	manifest := service(ns, "old", "clusterIP: 10.96.0.88\nipFamilies: [IPv4]")
	dual := service(ns, "old-dual", "ipFamilies: [IPv4, IPv6]\nipFamilyPolicy: RequireDualStack")
	in.must(t, manifest+"---\n"+dual, "apply", "-f", "-")
	before := in.field(t, ".items[*].spec['clusterIPs','ipFamilies','ipFamilyPolicy']", "service", "old", "old-dual", "-n", ns)

	in.withPolicy(t, strings.Replace(policyText, "cluster: {", "cluster: {families: [IPv6], ", 1))
	if v := in.metric(t, 0, "sixgate_cluster_ipv6_only"); v != 1 {
		t.Errorf("sixgate_cluster_ipv6_only is %v", v)
	}
	r := in.must(t, service(ns, "new", "clusterIP: 10.96.0.89\nipFamilies: [IPv4, IPv6]\nipFamilyPolicy: PreferDualStack"), "apply", "-f", "-")
	contains(t, r.err, `spec.ipFamilies[0]: dropped "IPv4", this cluster has only IPv6 [service-ip-family]`)
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "new", "-n", ns)

	for name, manifest := range map[string]string{"old": manifest, "old-dual": dual} {
		changed := strings.Replace(manifest, "port: 80", "port: 80, targetPort: 8080", 1)
		for step, send := range []struct{ way, manifest string }{
			{"apply", manifest}, {"apply", changed}, {"apply", manifest}, {"replace", changed}, {"server-side apply", manifest}, {"server-side apply", changed},
		} {
			if r := in.run(t, send.manifest, clientWays[send.way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, send.way, r.err)
			}
		}
		r := in.must(t, "", "patch", "service", name, "-n", ns, "-p", `{"spec":{"ports":[{"port":80,"targetPort":81}]}}`)
		contains(t, r.err, `Warning: spec.ipFamilies[0]: "IPv4" is older than this cluster's families and cannot change; delete and recreate the Service [service-ip-family]`)
		for _, args := range [][]string{
			{"label", "service", name, "a=b"},
			{"patch", "service", name, "--subresource=status", "--type=merge", "-p", `{"status":{"loadBalancer":{}}}`},
			{"patch", "service", name, "--type=merge", "-p", `{"metadata":{"finalizers":["example.com/x"]}}`},
			{"patch", "service", name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`},
			{"patch", "service", name, "--type=merge", "-p", `{"spec":{"type":"NodePort"}}`},
			{"patch", "service", name, "--type=merge", "-p", `{"spec":{"type":"ClusterIP"}}`},
		} {
			in.must(t, "", append(args, "-n", ns)...)
		}
	}
	in.expect(t, before, ".items[*].spec['clusterIPs','ipFamilies','ipFamilyPolicy']", "service", "old", "old-dual", "-n", ns)
	// The way out of dual-stack that the API server has must stay open.
	in.must(t, "", "patch", "service", "old-dual", "-n", ns, "--type=merge", "-p", `{"spec":{"ipFamilyPolicy":"SingleStack","ipFamilies":["IPv4"]}}`)
	in.must(t, "", "delete", "service", "old", "old-dual", "-n", ns)
	in.must(t, manifest, "apply", "-f", "-")
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "old", "-n", ns)
}

// TestFamilyOfOtherServiceCIDR: a range of the other family does not give the cluster that family, so Sixgate stays.
func TestFamilyOfOtherServiceCIDR(t *testing.T) {
	without := get(t, withoutSixgate)
	const cidr = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nmetadata: {name: four}\nspec: {cidrs: [10.77.0.0/24]}\n"
	without.must(t, cidr, "create", "-f", "-")
	t.Cleanup(func() { without.must(t, "", "delete", "servicecidr", "four", "--wait=false") })
	r := without.run(t, service("default", "four", "ipFamilies: [IPv4]"), "create", "-f", "-")
	contains(t, r.err, "not configured on this cluster")

	in := get(t, withSixgate)
	in.must(t, cidr, "create", "-f", "-")
	t.Cleanup(func() { in.must(t, "", "delete", "servicecidr", "four", "--wait=false") })
	// Families are read at the start too.
	if err := errors.Join(in.sixgate.Stop(0), in.sixgate.Start(0), in.sixgate.WaitReady(t.Context())); err != nil {
		t.Fatal(err)
	}
	if v := in.metric(t, 0, "sixgate_cluster_ipv6_only"); v != 1 {
		t.Errorf("sixgate_cluster_ipv6_only is %v", v)
	}
	ns := in.namespace(t, "four")
	in.must(t, service(ns, "four", "ipFamilies: [IPv4]"), "create", "-f", "-")
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "four", "-n", ns)
}
