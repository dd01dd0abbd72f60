package rules

import (
	"net/netip"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TestTextForm holds ip-text-form to the API server's own functions: whatever they refuse or warn about in IPv6 is reported, nothing
// else, and the form that is suggested pleases them.
func TestTextForm(t *testing.T) {
	for _, s := range []string{
		"::", "::1", "fd00::1", "FD00::1", "fd00:0::1", "fd00::0001", "0:0:0:0:0:0:0:1", "2001:db8:0:1:1:1:1:1", "2001:db8::1:1:1:1:1",
		"::ffff:10.0.0.1", "::ffff:a00:1", "10.0.0.1", "010.0.0.1", "64:ff9b::10.0.0.1",
	} {
		message, canonical := textForm(s)
		warnings := validation.GetWarningsForIP(nil, s)
		if (message != "") != (len(warnings) > 0) {
			t.Errorf("%s: %q, the API server says %q", s, message, warnings)
		}
		if refused := len(validation.IsValidIPForLegacyField(nil, s, true, nil)) > 0; refused != strings.Contains(message, "refuses") {
			t.Errorf("%s: refused %t, the rule says %q", s, refused, message)
		}
		if canonical != "" && len(validation.IsValidIP(nil, canonical)) > 0 {
			t.Errorf("%s: %q is not canonical", s, canonical)
		}
	}
	for _, s := range []string{"::/0", "2001:db8::/32", "2001:DB8::/32", "2001:db8::1/64", "2001:db8:0::/64", "::ffff:10.0.0.0/104", "10.0.0.0/8", "010.0.0.0/8"} {
		message, canonical := textForm(s)
		warnings := validation.GetWarningsForCIDR(nil, s)
		if (message != "") != (len(warnings) > 0) {
			t.Errorf("%s: %q, the API server says %q", s, message, warnings)
		}
		if refused := len(validation.IsValidCIDRForLegacyField(nil, s, true, nil)) > 0; refused != strings.Contains(message, "refuses") {
			t.Errorf("%s: refused %t, the rule says %q", s, refused, message)
		}
		if canonical != "" && len(validation.IsValidCIDR(nil, canonical)) > 0 {
			t.Errorf("%s: %q is not canonical", s, canonical)
		}
	}
}

func TestNAT64(t *testing.T) {
	p := DefaultPolicy("IPv6")
	if got := p.nat64("192.0.2.1"); got != "" {
		t.Errorf("%q without a prefix", got)
	}
	// RFC 6052, section 2.4: 192.0.2.33 with a prefix of 96 bits.
	for prefix, want := range map[string]string{"64:ff9b::/96": "64:ff9b::c000:221", "2001:db8:122:344::/96": "2001:db8:122:344::c000:221"} {
		p.Cluster.NAT64.Prefix = prefix
		if got := p.nat64("192.0.2.33"); got != want {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
		if got := p.nat64("fd00::1"); got != "" {
			t.Errorf("%s: %s for an IPv6 address", prefix, got)
		}
	}
	p.Cluster.NAT64.Prefix = "64:ff9b::/96"
	if got := translated(p, "10.0.0.1"); got != "" {
		t.Errorf("%s for a private address with the well-known prefix", got)
	}
	p.Cluster.NAT64.Prefix = "2001:db8:64::/96"
	if got := translated(p, "10.0.0.1"); got != "2001:db8:64::a00:1" {
		t.Errorf("%q for a private address with a prefix of the operator", got)
	}
}

func TestCIDROf(t *testing.T) {
	for s, want := range map[string]string{
		"0.0.0.0/0": "0.0.0.0/0", "10.1.2.3/8": "10.0.0.0/8", "010.0.0.0/8": "10.0.0.0/8", "10.0.0.1": "10.0.0.1/32", "::ffff:0:0/96": "0.0.0.0/0",
		"::/0": "::/0", "fd00::1": "fd00::1/128", "fe80::1%eth0": "fe80::1/128", "": "invalid Prefix", "web": "invalid Prefix", "10.0.0.0/33": "invalid Prefix",
	} {
		if got := cidrOf(s); got.String() != want {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
		if got := cidrOf(s); got != (netip.Prefix{}) && !got.IsValid() {
			t.Errorf("%q: half a prefix", s)
		}
	}
}

// FuzzNetworkTexts: no text makes the readers of configuration texts crash, places are inside the text, and a repaired text needs no
// repair.
func FuzzNetworkTexts(f *testing.F) {
	for _, c := range []string{
		". {\n  forward . 8.8.8.8\n}\n", "(a) {\n dns64\n}\n. {\n import a\n forward . /etc/resolv.conf {\n }\n}", "resolver 10.0.0.1 ipv6=off;",
		"a: {dns_lookup_family: V4_ONLY}", "options no-aaaa", "memberlist:\n  join_members: [a]\ncommon:\n", "modules: {a: {http: {preferred_ip_protocol: ip4, ip_protocol_fallback: false}}}",
		"sentinel monitor a 10.0.0.1 6379 2", "advertised.listeners=A://10.0.0.1:1",
	} {
		f.Add(c)
	}
	p := DefaultPolicy("IPv6")
	p.Cluster.NAT64.Prefix = "64:ff9b::/96"
	rules := []*Rule{dnsCorefile(), clientIPv4()}
	f.Fuzz(func(t *testing.T, text string) {
		for _, key := range []string{"Corefile", "a.override", "nginx.conf"} {
			o := NewObject(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "data": map[string]any{key: text}})
			for _, r := range rules {
				req := &Request{Object: o, Operation: Create, Namespace: "default", Policy: p}
				lines := strings.Count(text, "\n") + 1
				found := r.Check(req)
				for _, x := range found {
					if x.Text.Line < 1 || x.Text.Line > lines || x.Text.Column < 1 {
						t.Errorf("%s: %v is not in the text", r.ID, x.Text)
					}
				}
				fixed := o.Copy()
				applyAll(fixed, found)
				for _, x := range r.Check(&Request{Object: fixed, Operation: Create, Namespace: "default", Policy: p}) {
					if x.Fix != nil {
						t.Errorf("%s: the repaired text needs a repair: %s", r.ID, x.Message)
					}
				}
			}
		}
	})
}
