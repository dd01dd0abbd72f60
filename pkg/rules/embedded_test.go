package rules

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestEmbeddedLimits: an object may have any number of pods, at any depth, and be of any size: so much is looked at, and no more.
func TestEmbeddedLimits(t *testing.T) {
	const pod = `{"containers":[{"name":"a","image":"a","ports":[{"containerPort":80,"hostPort":80,"hostIP":"0.0.0.0"}]}]}`
	set := NewSet(DefaultPolicy("IPv6"))
	found := func(spec string) int {
		t.Helper()
		o := mustParse(t, []byte(`{"apiVersion":"example.net/v1","kind":"Fleet","metadata":{"name":"a"},"spec":`+spec+`}`))
		if !json.Valid([]byte(spec)) {
			t.Fatal(spec)
		}
		req := &Request{Object: o, Operation: Create, Namespace: "default", Audit: true}
		n := 0
		active, _ := set.Rules(req)
		for _, a := range active {
			if a.ID == "host-port-ipv4" {
				n += len(a.Findings(req))
			}
		}
		return n
	}
	nested := func(depth int) string {
		return strings.Repeat(`{"x":`, depth) + pod + strings.Repeat(`}`, depth)
	}
	many := func(n int) string { return "[" + strings.Repeat(pod+",", n) + "0]" }
	for name, c := range map[string]struct {
		spec string
		want int
	}{
		"one":               {pod, 1},
		"at the depth":      {nested(maxEmbeddedDepth - 1), 1},
		"below it":          {nested(maxEmbeddedDepth), 0},
		"as many":           {many(maxEmbedded), maxEmbedded},
		"more":              {many(9000), maxEmbedded},
		"no pod in 1 MB":    {fmt.Sprintf("[%s0]", strings.Repeat(`{"a":[{"name":"x"}]},`, 50000)), 0},
		"a pod in a pod":    {strings.Replace(pod, `"image":"a"`, `"image":"a","spec":`+pod, 1), 1},
		"deep, and nothing": {strings.Repeat("[", 9000) + strings.Repeat("]", 9000), 0},
	} {
		if got := found(c.spec); got != c.want {
			t.Errorf("%s: %d findings, want %d", name, got, c.want)
		}
	}
}
