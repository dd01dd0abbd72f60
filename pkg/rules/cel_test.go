package rules

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCELAddresses: the patterns that CEL matches know the same literals as the Go rules.
func TestCELAddresses(t *testing.T) {
	ipv4, unspecified, loopback := regexp.MustCompile(celIPv4Text), regexp.MustCompile(celAnyIPv4Text), regexp.MustCompile(celLoopbackText)
	cidr, private := regexp.MustCompile(celCIDRv4Text), regexp.MustCompile(celPrivateText)
	for _, s := range []string{
		"", "0.0.0.0", "000.0.0.0", "00.00.00.00", "127.0.0.1", "10.96.0.53", "010.096.0.053", "255.255.255.255", "256.0.0.1", "1.2.3", "1.2.3.4.5", "1.2.3.400",
		"::", "::1", "fd00::1", "::ffff:10.0.0.1", "::FFFF:10.0.0.1", "0:0:0:0:0:ffff:10.0.0.1", "::ffff:0.0.0.0", "::ffff:a00:1", "::ffff:0:0", "::ffff:0:1", "0::ffff:1:2",
		"::fffe:10.0.0.1", "64:ff9b::10.0.0.1", "2001:db8::ffff:1:2", "fe80::1%eth0", "localhost", "10.0.0.1/8", " 10.0.0.1", "None", "1.2.3.4\n", "0000000.0.0.0",
		"127.255.0.1", "0127.0.0.1", "128.0.0.1", "27.0.0.1", "127.0.0", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:7eff:1",
		"10.0.0.0/33", "0.0.0.0/0", "10.0.0.0/", "::/0", "fd00::/8", "::ffff:10.0.0.0/104", "::ffff:a00:0/104",
		"172.16.0.1", "172.31.255.255", "172.15.0.1", "172.32.0.1", "192.168.1.1", "110.0.0.1", "::ffff:192.168.0.1", "::ffff:c0a8:1", "::ffff:ac10:1", "::ffff:ac20:1",
	} {
		want := ipFamily(s) == "IPv4"
		if got := ipv4.MatchString(s); got != want {
			t.Errorf("%q: %t, ipFamily says %q", s, got, ipFamily(s))
		}
		if got := loopback.MatchString(s); got != (want && isLoopback(s)) {
			t.Errorf("%q: loopback is %t", s, got)
		}
		if got := cidr.MatchString(s); got != (strings.Contains(s, "/") && rangeFamily(s) == "IPv4") {
			t.Errorf("%q: an IPv4 CIDR is %t", s, got)
		}
		if a, err := netip.ParseAddr(s); err == nil && want && private.MatchString(s) != a.Unmap().IsPrivate() {
			t.Errorf("%q: private is %t", s, !a.Unmap().IsPrivate())
		}
		if got := unspecified.MatchString(s); got != (want && isUnspecified(s)) {
			t.Errorf("%q: unspecified is %t", s, got)
		}
	}
}

// TestCELGlob: names that hold what CEL or a pattern would read as its own.
func TestCELGlob(t *testing.T) {
	for patterns, want := range map[string]string{
		"":         "false",
		"*":        "true",
		"a":        `x in ["a"]`,
		"a.b*":     `x.matches("^a\\.b.*\x24")`,
		`"$object`: `x in ["\"\x24object"]`,
	} {
		var list []string
		if patterns != "" {
			list = []string{patterns}
		}
		if got := celGlob("x", list); got != want {
			t.Errorf("%s: %s, want %s", patterns, got, want)
		}
	}
}

// TestCEL: every rule says how it is exported, or why it is not.
func TestCEL(t *testing.T) {
	for _, r := range All() {
		if r.CEL == nil {
			t.Errorf("%s: write it in CEL, or say in CEL.Never why not", r.ID)
			continue
		}
		if (r.CEL.Never == "") == (r.CEL.Write == nil) {
			t.Errorf("%s: either Never or Write", r.ID)
		}
		for name := range r.CEL.Cases {
			if _, err := os.Stat(filepath.Join("testdata", r.ID, name+".txtar")); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		}
	}
}
