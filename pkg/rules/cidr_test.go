package rules

import (
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestRangeLimits holds each limit one step inside and one outside, as kubeadm v1.37 and kube-controller-manager v1.37 answered.
func TestRangeLimits(t *testing.T) {
	for _, c := range []struct {
		cidr string
		ok   bool
	}{
		{"fd00:10:96::/107", false}, {"fd00:10:96::/108", true}, {"fd00:10:96::/124", true}, {"fd00:10:96::/125", false}, {"::/0", false},
	} {
		if got := serviceRangeFault(netip.MustParsePrefix(c.cidr)); (got == "") != c.ok {
			t.Errorf("Service range %s: %q", c.cidr, got)
		}
	}
	for _, c := range []struct {
		cidr string
		mask int
		ok   bool
	}{
		{"fd00:10:244::/47", 64, false}, {"fd00:10:244::/48", 64, true}, {"fd00:10:244::/64", 64, true}, {"fd00:10:244::/65", 64, false},
		{"fd00:10:244::/104", 120, true}, {"fd00:10:244::/104", 121, false}, {"fd00:10:244::/104", 129, false}, {"::/0", -1, false},
	} {
		if got := nodeMaskFault(netip.MustParsePrefix(c.cidr), c.mask); (got == "") != c.ok {
			t.Errorf("pod range %s, node mask %d: %q", c.cidr, c.mask, got)
		}
	}
	if serviceRangeFault(netip.Prefix{})+nodeMaskFault(netip.Prefix{}, 64) != "" {
		t.Error("no range has a fault")
	}
}

// TestAuditOnly: at admission nobody is asked about the configuration of a cluster.
func TestAuditOnly(t *testing.T) {
	asked := 0
	for _, c := range loadCases(t) {
		req := c.fresh(t)
		if a := c.active(req); a != nil && a.AuditOnly() {
			asked++
			req.Audit = false
			if c.active(req) != nil {
				t.Errorf("%s: asked at admission", c.name)
			}
		}
	}
	if asked == 0 {
		t.Error("no case")
	}
}

// FuzzAddresses: no text that stands where an address should makes a message that is no message.
func FuzzAddresses(f *testing.F) {
	for _, s := range []string{
		"[2001:db8::1]:6443", "2001:db8::1:6443", "https://[2001:db8::1", "https://user@10.1.2.3:2379/x", "fd00::/56, 10.0.0.0/8",
		"2001:db8::9-2001:db8::1", "10.0.0.1-", "fe80::1%eth0/64", "::ffff:10.0.0.1/112", "${RANGE}", "", "-", "[", "://",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		message, _ := rangesFault(strings.Split(s, ","), examplePodRange)
		p := ipv6Prefix(s)
		for _, m := range []string{message, hostFault(s), urlFault(s), serviceRangeFault(p), nodeMaskFault(p, defaultNodeMask)} {
			if utf8.RuneCountInString(m) > maxMessage || strings.ContainsAny(m, "\n\r") {
				t.Errorf("%q: %q", s, m)
			}
		}
		poolFamily(s)
		cidrFamily(s)
	})
}
