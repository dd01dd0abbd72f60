package rules

import (
	"testing"
	"time"
)

// TestException: it holds to the end of its last day in UTC, and is named by what it skips.
func TestException(t *testing.T) {
	const object = `{"apiVersion":"v1","kind":"Service","metadata":{"name":"legacy","namespace":"shop"},"spec":{"ipFamilies":["IPv4"]}}`
	const exception = `exceptions: [{rule: service-ip-family, objects: ["shop/Service/legacy"], owner: web, reason: old`
	for _, tt := range []struct {
		name, until, now string
		holds            bool
	}{
		{"for ever", "", "2999-01-01T00:00:00Z", true},
		{"before", ", until: 2027-03-01", "2026-01-01T00:00:00Z", true},
		{"its last second", ", until: 2027-03-01", "2027-03-01T23:59:59Z", true},
		{"its last second elsewhere", ", until: 2027-03-01", "2027-03-02T00:59:59+01:00", true},
		{"after", ", until: 2027-03-01", "2027-03-02T00:00:00Z", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := ReadPolicy([]byte(policyHead + "cluster: {families: [IPv6]}\n" + exception + tt.until + "}]\n"))
			if err != nil {
				t.Fatal(err)
			}
			o, err := ParseObject([]byte(object))
			if err != nil {
				t.Fatal(err)
			}
			now, err := time.Parse(time.RFC3339, tt.now)
			if err != nil {
				t.Fatal(err)
			}
			set := NewSetAt(p, func() time.Time { return now })
			active, skipped := set.Rules(&Request{Operation: Create, Namespace: "shop", Object: o})
			found := 0
			for _, a := range active {
				if a.ID == "service-ip-family" {
					found++
				}
			}
			e := &p.Exceptions[0]
			if set.Expired(e) == tt.holds || (found == 0) != tt.holds || e.Line() != 4 {
				t.Errorf("expired %t, %d findings, line %d", set.Expired(e), found, e.Line())
			}
			if tt.holds && (len(skipped) != 1 || skipped[0].Exception != e || skipped[0].Active.ID != "service-ip-family") {
				t.Errorf("skipped: %+v", skipped)
			}
		})
	}
}

// TestSetLevel: patterns, the rest of a setting, and what is unknown.
func TestSetLevel(t *testing.T) {
	no := false
	p := DefaultPolicy("IPv6")
	if err := p.SetLevel("listen-*", Warn); err != nil {
		t.Fatal(err)
	}
	p.Rules["host-port-ipv4"] = Setting{Mutate: &no}
	if err := p.SetLevel("host-port-ipv4", Off); err != nil {
		t.Fatal(err)
	}
	if s := p.Rules["host-port-ipv4"]; s.Level != Off || s.Mutate != &no || p.Rules["listen-nginx"].Level != Warn || p.Rules["probe-host"].Level != None {
		t.Errorf("%+v", p.Rules)
	}
	if err := p.SetLevel("lisen-nginx", Warn); err == nil || err.Error() != `unknown rule "lisen-nginx"; did you mean "listen-nginx"?` {
		t.Error(err)
	}
}
