//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// TestServiceHeadless: the policy makes Services of one namespace headless at their creation, and keeps them so.
func TestServiceHeadless(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "headless")
	for name, spec := range map[string]string{
		"plain":   "type: ClusterIP",
		"literal": "clusterIP: 10.96.0.53",
		"ipv6":    `clusterIP: "fd00:10:96::53"`,
		"ipv4":    "clusterIP: 10.96.0.54\nclusterIPs: [10.96.0.54]\nipFamilies: [IPv4]\nipFamilyPolicy: SingleStack",
		"dual":    "ipFamilies: [IPv4, IPv6]\nipFamilyPolicy: RequireDualStack",
	} {
		manifest := service(ns, name, spec)
		for step, way := range []string{"dry run", "apply", "apply", "replace", "server-side apply", "server-side apply", "apply"} {
			if r := in.run(t, manifest, clientWays[way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, way, r.err)
			} else if way != "dry run" {
				in.expect(t, `["None"] ["IPv6"]`, ".spec['clusterIPs','ipFamilies']", "service", name, "-n", ns)
			}
		}
		in.must(t, "", "patch", "service", name, "-n", ns, "-p", `{"spec":{"ports":[{"port":80,"targetPort":81}]}}`)
		in.must(t, manifest, "apply", "-f", "-")
	}
	// Stored with a cluster IP, for the API server dials it: never converted later.
	secure := strings.Replace(service(ns, "secure", "type: ClusterIP"), "port: 80", "port: 443", 1)
	r := in.must(t, secure, "apply", "-f", "-")
	contains(t, r.err, "port 443 may be a webhook or API")
	in.must(t, strings.Replace(secure, "port: 443", "port: 80", 1), "apply", "-f", "-")
	if ip := in.field(t, ".spec.clusterIP", "service", "secure", "-n", ns); ip == "None" {
		t.Error("an UPDATE took the cluster IP away")
	}
	// The policy changes its mind: what is headless stays so.
	in.withPolicy(t, strings.Replace(policyText, "headless/*", "other/*", 1))
	for _, way := range []string{"apply", "replace", "server-side apply"} {
		in.must(t, service(ns, "literal", "clusterIP: 10.96.0.53"), clientWays[way]...)
		in.expect(t, "None", ".spec.clusterIP", "service", "literal", "-n", ns)
	}
}

// TestServiceBecomes changes what a Service is, so that families count which did not before.
func TestServiceBecomes(t *testing.T) {
	bare := func(ns, name, spec string) string {
		return strings.Replace(service(ns, name, spec), "  selector: {app: x}\n", "", 1)
	}
	const (
		dual     = "clusterIP: None\nipFamilies: [IPv6, IPv4]\nipFamilyPolicy: RequireDualStack"
		external = "type: ExternalName\nexternalName: example.net"

		noDualStack = "this cluster is not configured for dual-stack services"
	)
	for name, c := range map[string]struct {
		before, after func(ns, name, spec string) string
		first, second string
		refused       string // what the API server says to the second manifest without Sixgate
		families      string // in the end
	}{
		"selector-dual":  {bare, service, dual, dual, noDualStack, `["IPv6"]`},
		"selector-ipv4":  {bare, service, "clusterIP: None\nipFamilies: [IPv4]", "clusterIP: None\nipFamilies: [IPv4]", "to release the secondary IP family", `["IPv6"]`},
		"selector-unset": {bare, service, "clusterIP: None", "clusterIP: None", noDualStack, `["IPv6"]`},
		"selector-gone":  {service, bare, "clusterIP: None\nipFamilies: [IPv6]", "clusterIP: None\nipFamilies: [IPv4]", "", `["IPv4"]`},
		"external-ipv4":  {service, service, external, "type: ClusterIP\nipFamilies: [IPv4]", "not configured on this cluster", `["IPv6"]`},
		"external-dual":  {service, service, external, "type: ClusterIP\nipFamilyPolicy: RequireDualStack", noDualStack, `["IPv6"]`},
		"external-ip":    {service, service, external, "type: ClusterIP\nclusterIP: 10.96.0.7", "IPv4 is not configured on this cluster", `["IPv6"]`},
		"to-external":    {service, service, "type: ClusterIP\nipFamilies: [IPv4]", external, "", ""},
	} {
		without, in := get(t, withoutSixgate), get(t, withSixgate)
		ns := without.namespace(t, "becomes")
		in.namespace(t, ns)
		without.must(t, c.before(ns, name, strings.Replace(c.first, "type: ClusterIP\nipFamilies: [IPv4]", "type: ClusterIP", 1)), "apply", "-f", "-")
		r := without.run(t, c.after(ns, name, c.second), "apply", "-f", "-")
		if (r.code != 0) != (c.refused != "") {
			t.Errorf("%s: without Sixgate: exit code %d: %s", name, r.code, r.err)
		}
		contains(t, r.err, c.refused)

		in.must(t, c.before(ns, name, c.first), "apply", "-f", "-")
		for step, way := range []string{"apply", "apply", "replace", "server-side apply", "server-side apply"} {
			if r := in.run(t, c.after(ns, name, c.second), clientWays[way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, way, r.err)
			}
		}
		in.expect(t, c.families, ".spec.ipFamilies", "service", name, "-n", ns)
	}
}

// TestServiceHeadlessAll: for clusters without kube-proxy even NodePort and LoadBalancer Services become headless, without what
// only those may have.
func TestServiceHeadlessAll(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "headless-all")
	in.withPolicy(t, strings.Replace(policyText, `["headless/*"]`, "all", 1))
	for name, spec := range map[string]string{
		"node-port":     "type: NodePort\nexternalTrafficPolicy: Local\nipFamilies: [IPv4]",
		"load-balancer": "type: LoadBalancer\nexternalTrafficPolicy: Local\nhealthCheckNodePort: 30303",
		"everything": "type: LoadBalancer\nloadBalancerIP: 192.0.2.1\nloadBalancerSourceRanges: [192.0.2.0/24]\nloadBalancerClass: example.com/x\n" +
			"allocateLoadBalancerNodePorts: false\nipFamilyPolicy: RequireDualStack\nclusterIP: 10.96.0.9",
	} {
		for step, way := range []string{"dry run", "apply", "apply", "replace", "server-side apply", "server-side apply", "apply"} {
			if r := in.run(t, service(ns, name, spec), clientWays[way]...); r.code != 0 {
				t.Errorf("%s: step %d, %s: %s", name, step, way, r.err)
			}
		}
		in.expect(t, `ClusterIP ["None"] ["IPv6"]`, ".spec['type','clusterIPs','ipFamilies']", "service", name, "-n", ns)
	}
	in.must(t, service(ns, "affinity", "type: LoadBalancer\nsessionAffinity: ClientIP"), "apply", "-f", "-")
	in.expect(t, "LoadBalancer", ".spec.type", "service", "affinity", "-n", ns)
}

// TestClusterDNS: kubelets have its address, so it becomes that of the policy and no other.
func TestClusterDNS(t *testing.T) {
	in := get(t, withSixgate)
	manifest := service("kube-system", "kube-dns", "clusterIP: 10.96.0.10\nclusterIPs: [10.96.0.10]\nipFamilies: [IPv4]")
	for step, way := range []string{"apply", "apply", "replace", "server-side apply", "server-side apply", "apply"} {
		if r := in.run(t, manifest, clientWays[way]...); r.code != 0 {
			t.Errorf("step %d, %s: %s", step, way, r.err)
		}
		in.expect(t, `["fd00:10:96::a"] ["IPv6"]`, ".spec['clusterIPs','ipFamilies']", "service", "kube-dns", "-n", "kube-system")
	}
}
