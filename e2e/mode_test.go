//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestAuditMode: with mode: audit the real API server stores and refuses what it would without Sixgate, people read what would
// have been, and it is counted; a namespace that the policy enforces is repaired and refused as ever.
func TestAuditMode(t *testing.T) {
	in := get(t, withSixgate)
	audited, enforced := in.namespace(t, "mode-audited"), in.namespace(t, "mode-enforced")
	in.withPolicy(t, policyText+"mode: audit\nenforceNamespaces: [\"*-enforced\"]\n")
	would := func(action, rule string) float64 {
		return in.metric(t, 0, "sixgate_findings_total", fmt.Sprintf("namespace=%q", audited), fmt.Sprintf("action=%q", action), fmt.Sprintf("rule=%q", rule))
	}
	if v := in.metric(t, 0, "sixgate_audit_mode"); v != 1 {
		t.Errorf("sixgate_audit_mode is %v", v)
	}
	bound := ", ports: [{containerPort: 80, hostPort: 80, hostIP: 127.0.0.1}]"

	// The API server itself refuses an IPv4 Service; the warning above its error says why.
	r := in.run(t, service(audited, "x", "ipFamilies: [IPv4]"), "create", "-f", "-")
	contains(t, r.err, `Warning: spec.ipFamilies[0]: "IPv4" `)
	contains(t, r.err, "not configured on this cluster")
	if n := would("would-be-changed", "service-ip-family"); n < 1 {
		t.Errorf("would-be-changed is %v", n)
	}
	r = in.must(t, pod(audited, "x", bound), "create", "-f", "-")
	contains(t, r.err, `hostIP: "127.0.0.1" publishes on IPv4 only`)
	contains(t, r.err, "Warning: sixgate only audits here: where the policy enforces, this request is refused")
	in.expect(t, "127.0.0.1", ".spec.containers[0].ports[0].hostIP", "pod", "x", "-n", audited)
	if env := in.field(t, ".spec.containers[0].env", "pod", "x", "-n", audited); env != "" {
		t.Errorf("env was added: %s", env)
	}
	for rule, action := range map[string]string{"host-port-ipv4": "would-be-denied", "api-server-host": "would-be-changed"} {
		if n := would(action, rule); n < 1 {
			t.Errorf("%s of %s is %v", action, rule, n)
		}
	}
	for _, action := range []string{"changed", "denied"} {
		if n := in.metric(t, 0, "sixgate_findings_total", fmt.Sprintf("namespace=%q", audited), fmt.Sprintf("action=%q", action)); n != 0 {
			t.Errorf("%v findings were %s", n, action)
		}
	}

	// One namespace enforces, by its name in the list.
	in.must(t, service(enforced, "x", "ipFamilies: [IPv4]"), "create", "-f", "-")
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "x", "-n", enforced)
	if r := in.run(t, pod(enforced, "x", bound), "create", "-f", "-"); r.code == 0 || !strings.Contains(r.err, "denied the request") {
		t.Errorf("the pod was accepted: %s", r.err)
	}

	// Then all do; and the way back is the same edit the other way round.
	in.setPolicy(t, policyText+"auditNamespaces: [elsewhere]\n", "ok")
	if v := in.metric(t, 0, "sixgate_audit_mode"); v != 0 {
		t.Errorf("sixgate_audit_mode is %v", v)
	}
	in.must(t, service(audited, "x", "ipFamilies: [IPv4]"), "create", "-f", "-")
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "x", "-n", audited)
	in.setPolicy(t, policyText+"auditNamespaces: [mode-enforced]\n", "ok")
	in.must(t, pod(enforced, "x", bound), "create", "-f", "-")
}

// TestFight: a controller that writes IPv4 back to a Service succeeds each time, and after ten rounds it is counted and no longer warned.
func TestFight(t *testing.T) {
	in := get(t, withSixgate)
	ns := in.namespace(t, "fight")
	manifest := service(ns, "x", "ipFamilies: [IPv4]")
	in.must(t, manifest, "apply", "-f", "-")
	repeated := func() float64 {
		return in.metric(t, 0, "sixgate_repeated_changes_total", `kind="Service"`, fmt.Sprintf("namespace=%q", ns))
	}
	const rounds = 10
	for i := range rounds + 2 {
		r := in.must(t, manifest, "apply", "-f", "-")
		if warned := strings.Contains(r.err, "Warning: spec.ipFamilies"); warned != (i < rounds-1) {
			t.Errorf("round %d: %q", i, r.err)
		}
	}
	in.expect(t, `["IPv6"]`, ".spec.ipFamilies", "service", "x", "-n", ns)
	if n := repeated(); n != 3 {
		t.Errorf("sixgate_repeated_changes_total is %v", n)
	}
}
