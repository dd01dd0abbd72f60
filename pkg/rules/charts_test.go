package rules

import (
	"slices"
	"strings"
	"testing"
)

// TestChartValues: each row names a rule that there is, and where it was read.
func TestChartValues(t *testing.T) {
	rows := ChartValues()
	if !slices.IsSortedFunc(rows, func(a, b ChartValue) int { return strings.Compare(a.Chart, b.Chart) }) {
		t.Error("not sorted by chart")
	}
	for _, v := range rows {
		if !slices.Contains(IDs(), v.Rule) || len(v.Values) == 0 || v.Source == "" {
			t.Errorf("%+v", v)
		}
		for _, value := range v.Values {
			if !strings.Contains(value, ": ") {
				t.Errorf("%s: %q is no value", v.Chart, value)
			}
		}
	}
}

func TestOriginOf(t *testing.T) {
	object := func(kind, name, label string) *Object {
		return NewObject(map[string]any{"kind": kind, "metadata": map[string]any{"name": name, "labels": map[string]any{"helm.sh/chart": label}}})
	}
	for _, tt := range []struct {
		name               string
		object             *Object
		source, rule, want string
	}{
		{name: "template and label", object: object("Service", "ingress-nginx-controller", "ingress-nginx-4.12.3"), source: "ingress-nginx/templates/controller-service.yaml",
			want: "template ingress-nginx/templates/controller-service.yaml, chart ingress-nginx-4.12.3; set in its values: controller.service.ipFamilies: [IPv6], controller.service.ipFamilyPolicy: SingleStack"},
		{name: "another template of the chart", object: object("Service", "x-defaultbackend", "ingress-nginx-4.12.3"), source: "ingress-nginx/templates/default-backend-service.yaml",
			want: "template ingress-nginx/templates/default-backend-service.yaml, chart ingress-nginx-4.12.3"},
		{name: "the label alone", object: object("Service", "shop-ingress-nginx-controller", "ingress-nginx-4.12.3"),
			want: "chart ingress-nginx-4.12.3; set in its values: controller.service.ipFamilies: [IPv6], controller.service.ipFamilyPolicy: SingleStack"},
		{name: "the label, another object", object: object("Service", "x-metrics", "ingress-nginx-4.12.3"), want: "chart ingress-nginx-4.12.3"},
		{name: "the comment alone, part of another chart", object: object("ConfigMap", "argocd-redis-ha-configmap", ""), rule: "listen-haproxy",
			source: "argo-cd/charts/redis-ha/templates/redis-ha-configmap.yaml",
			want:   "template argo-cd/charts/redis-ha/templates/redis-ha-configmap.yaml, chart redis-ha; set in its values: redis-ha.haproxy.IPv6.enabled: true"},
		{name: "under another name", object: object("ConfigMap", "x", "redis-ha-4.34.0"), rule: "listen-haproxy", source: "shop/charts/cache/templates/redis-ha-configmap.yaml",
			want: "template shop/charts/cache/templates/redis-ha-configmap.yaml, chart redis-ha-4.34.0; set in its values: cache.haproxy.IPv6.enabled: true"},
		{name: "another rule", object: object("ConfigMap", "x", "redis-ha-4.34.0"), rule: "listen-redis", want: "chart redis-ha-4.34.0"},
		{name: "a version with v", object: object("Service", "cert-manager-webhook", "cert-manager-v1.18.2"),
			want: "chart cert-manager-v1.18.2; set in its values: webhook.serviceIPFamilies: [IPv6], webhook.serviceIPFamilyPolicy: SingleStack"},
		{name: "no chart", object: object("Service", "x", "web"), source: "https://example.net/x.yaml", want: ""},
		{name: "custom resource definitions", object: object("CustomResourceDefinition", "x", ""), source: "shop/crds/x.yaml", want: "template shop/crds/x.yaml, chart shop"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule := tt.rule
			if rule == "" {
				rule = familyRule
			}
			if got := OriginOf(tt.object, tt.source, rule).String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}
