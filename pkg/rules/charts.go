package rules

import (
	"cmp"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A ChartValue is where people change what a stock chart renders: they edit its values, not the manifest.
type ChartValue struct {
	Chart    string   // its name in Chart.yaml
	Template string   // how the path of the template ends
	Object   string   // glob of "Kind/name", for objects without the comment that names the template; "": these cannot be told
	Rule     string   // whose finding the value repairs
	Values   []string // "path.in.values: value"
	Source   string   // where it was read: repository and file
}

// ChartValues returns what is known of stock charts, sorted by chart. Each row was read in the chart's own templates or README;
// what was not read is not here.
func ChartValues() []ChartValue {
	return []ChartValue{
		{"cert-manager", "/webhook-service.yaml", "Service/*-webhook", familyRule,
			[]string{"webhook.serviceIPFamilies: [IPv6]", "webhook.serviceIPFamilyPolicy: SingleStack"},
			"cert-manager/cert-manager, deploy/charts/cert-manager/templates/webhook-service.yaml"},
		{"cilium", "/hubble-ui/configmap.yaml", "ConfigMap/hubble-ui-nginx", "listen-nginx",
			[]string{"hubble.ui.frontend.server.ipv6.enabled: true"},
			"cilium/cilium, install/kubernetes/cilium/templates/hubble-ui/_nginx.tpl"},
		{"fluent-bit", "/configmap.yaml", "ConfigMap/*fluent-bit", "listen-log-collector",
			[]string{"config.service: the same text with HTTP_Listen ::"},
			"fluent/helm-charts, charts/fluent-bit/values.yaml"},
		{"ingress-nginx", "/controller-service.yaml", "Service/*-controller", familyRule,
			[]string{"controller.service.ipFamilies: [IPv6]", "controller.service.ipFamilyPolicy: SingleStack"},
			"kubernetes/ingress-nginx, charts/ingress-nginx/README.md"},
		{"ingress-nginx", "/controller-service-internal.yaml", "Service/*-controller-internal", familyRule,
			[]string{"controller.service.internal.ipFamilies: [IPv6]", "controller.service.internal.ipFamilyPolicy: SingleStack"},
			"kubernetes/ingress-nginx, charts/ingress-nginx/templates/controller-service-internal.yaml"},
		{"kube-prometheus-stack", "/prometheus/service.yaml", "Service/*-prometheus", familyRule,
			[]string{"prometheus.service.ipDualStack.enabled: true", "prometheus.service.ipDualStack.ipFamilies: [IPv6]", "prometheus.service.ipDualStack.ipFamilyPolicy: SingleStack"},
			"prometheus-community/helm-charts, charts/kube-prometheus-stack/templates/prometheus/service.yaml"},
		{"loki", "/gateway/configmap-gateway.yaml", "ConfigMap/*-gateway", "listen-nginx",
			[]string{"gateway.nginxConfig.enableIPv6: true"},
			"grafana/loki, production/helm/loki/templates/gateway/configmap-gateway.yaml"},
		{"mongodb", "/standalone/dep-sts.yaml", "Deployment/*", "listen-mongodb",
			[]string{"enableIPv6: true"},
			"bitnami/charts, bitnami/mongodb/templates/standalone/dep-sts.yaml"},
		{"mongodb", "/replicaset/statefulset.yaml", "StatefulSet/*", "listen-mongodb",
			[]string{"enableIPv6: true"},
			"bitnami/charts, bitnami/mongodb/templates/replicaset/statefulset.yaml"},
		{"redis-ha", "/redis-ha-configmap.yaml", "ConfigMap/*redis-ha-configmap", "listen-haproxy",
			[]string{"haproxy.IPv6.enabled: true"},
			"DandyDeveloper/charts, charts/redis-ha/templates/_configs.tpl"},
		{"traefik", "/templates/service.yaml", "", familyRule,
			[]string{"service.ipFamilies: [IPv6]", "service.ipFamilyPolicy: SingleStack"},
			"traefik/traefik-helm-chart, traefik/templates/_service.tpl"},
	}
}

const familyRule = "service-ip-family"

// An Origin is the chart that rendered an object.
type Origin struct {
	Chart    string   // name and version, where the object has the label for them; else the name
	Template string   // of the comment "# Source: shop/charts/db/templates/x.yaml" that Helm writes; "" without
	Values   []string // to set in the values of the chart that was installed, against one finding; none where that is not known
}

// String is the origin for people, "" if there is none.
func (o Origin) String() string {
	var parts []string
	if o.Template != "" {
		parts = append(parts, "template "+o.Template)
	}
	if o.Chart != "" {
		parts = append(parts, "chart "+o.Chart)
	}
	s := strings.Join(parts, ", ")
	if len(o.Values) > 0 {
		s += "; set in its values: " + strings.Join(o.Values, ", ")
	}
	return s
}

// chartLabels are the labels that Helm's own starter and older charts put name and version into.
var chartLabels = []string{"helm.sh/chart", "chart"}

// chartVersion matches name and version as the label has them; a + in the version has become _.
var chartVersion = regexp.MustCompile(`^(.+?)-(v?[0-9]+\.[0-9].*)$`)

// OriginOf tells where an object comes from that a rule finds fault with: source is the comment in front of it, or "". A Source
// comment that names no template, as people write them too, counts as none.
func OriginOf(o *Object, source, rule string) Origin {
	var from Origin
	for _, l := range chartLabels {
		from.Chart = cmp.Or(from.Chart, o.Str("metadata", "labels", l))
	}
	name := ""
	if m := chartVersion.FindStringSubmatch(from.Chart); m != nil {
		name = m[1]
	} else {
		from.Chart = ""
	}
	above, file, ok := strings.Cut(source, "/templates/")
	if !ok {
		above, file, ok = strings.Cut(source, "/crds/")
	}
	prefix, dir := "", ""
	if ok && file != "" {
		from.Template = source
		charts := strings.Split(above, "/charts/") // the first one was installed, the last one has the template
		dir = charts[len(charts)-1]
		if len(charts) > 1 {
			prefix = strings.Join(charts[1:], ".") + "."
		}
		from.Chart = cmp.Or(from.Chart, dir)
	}
	for _, v := range ChartValues() {
		if v.Rule != rule || v.Chart != name && v.Chart != dir {
			continue
		}
		matches := strings.HasSuffix(from.Template, v.Template)
		if from.Template == "" {
			matches, _ = path.Match(v.Object, o.Kind()+"/"+o.Name())
		}
		if matches {
			for _, value := range v.Values {
				from.Values = append(from.Values, prefix+value)
			}
			break
		}
	}
	from.Values = slices.Clip(from.Values)
	return from
}
