package rules

import (
	"fmt"
	"slices"
	"testing"
)

// TestListedOrder: a reader who sees each object once, in the order of Listed, finds what one finds who knows all of them before.
func TestListedOrder(t *testing.T) {
	for _, c := range loadCases(t) {
		if c.file("others.yaml") == "" || c.file("old.yaml") != "" {
			continue
		}
		var want, got []string
		req := c.fresh(t)
		for _, f := range c.findings(req) {
			want = append(want, fmt.Sprint(f, f.Level, f.Fix != nil))
		}
		list := mustParse(t, toJSON(t, c.file("others.yaml")))
		var all []*Object
		for i := range list.List("items") {
			all = append(all, NewObject(list.Map("items", i)))
		}
		listed := NewSet(c.policy).Listed()
		order := func(o *Object) int {
			return slices.IndexFunc(listed, func(t Target) bool { return t.Group == o.Group() && t.Kind == o.Kind() })
		}
		x, own := NewIndex(nil, "default"), order(req.Object)
		for _, o := range all {
			at := order(o)
			if at < 0 {
				t.Errorf("%s: others.yaml has a %s, which nobody lists", c.name, o.Kind())
			}
			if at <= own {
				x.Add(o)
			}
		}
		req.Index = x
		for _, f := range c.findings(req) {
			got = append(got, fmt.Sprint(f, f.Level, f.Fix != nil))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.name, got, want)
		}
	}
}

// TestListed: controllers come before what they make, and nothing twice.
func TestListed(t *testing.T) {
	listed := NewSet(DefaultPolicy("IPv6")).Listed()
	at := map[string]int{}
	for i, l := range listed {
		if _, again := at[l.Group+"/"+l.Kind]; again || l.Subresource != "" || l.Asked {
			t.Errorf("%+v", l)
		}
		at[l.Group+"/"+l.Kind] = i + 1
	}
	for _, pair := range [][2]string{
		{"apps/Deployment", "apps/ReplicaSet"}, {"apps/ReplicaSet", "/Pod"}, {"batch/CronJob", "batch/Job"}, {"batch/Job", "/Pod"},
		{"/Service", "/Endpoints"}, {"/Endpoints", "discovery.k8s.io/EndpointSlice"},
	} {
		if a, b := at[pair[0]], at[pair[1]]; a == 0 || b == 0 || a > b {
			t.Errorf("%s is %d, %s is %d", pair[0], a, pair[1], b)
		}
	}
	if listed := NewSet(DefaultPolicy("IPv4")).Listed(); listed != nil {
		t.Errorf("without rules nothing is listed: %v", listed)
	}
}
