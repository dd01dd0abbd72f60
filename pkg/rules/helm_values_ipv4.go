package rules

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// helmValuesIPv4 reports values that make a chart's Service ask for IPv4, in the HelmChart and HelmChartConfig of K3s and RKE2.
//
// Source: k3s-io/helm-controller (valuesContent is the chart's values file, set its single values); traefik/traefik-helm-chart,
// values.yaml (service.ipFamilyPolicy, ipFamilies, externalIPs, loadBalancerSourceRanges), names that most charts share.
func helmValuesIPv4() *Rule {
	return &Rule{
		ID: "helm-values-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Values of a chart ask for an IPv4 or dual-stack Service",
		CEL:     &CEL{Never: "reads the values of a chart, YAML inside a string, for which CEL has no parser"},
		Targets: []Target{targetHelmChart, targetHelmChartConfig},
		Check:   checkHelmValuesIPv4,
	}
}

func checkHelmValuesIPv4(req *Request) []Finding {
	o := req.Object
	var out []Finding
	path := Path{"spec", "valuesContent"}
	var root yaml.Node
	if text := o.Str(path...); text != "" && len(text) <= maxValues && yaml.Unmarshal([]byte(text), &root) == nil {
		walkServiceValues(&root, "", 0, func(key string, n *yaml.Node, value, message string) {
			out = append(out, Finding{Path: path, Text: TextPos{n.Line, n.Column}, Subject: key, Value: value, Message: message})
		})
	}
	set := o.Map("spec", "set")
	for _, k := range sortedKeys(set) {
		name := k[strings.LastIndexByte(k, '.')+1:]
		name, _, _ = strings.Cut(name, "[") // ipFamilies[0]
		value, _ := set[k].(string)
		if message := serviceValue(name, strings.Split(strings.Trim(value, "{}"), ",")); message != "" {
			out = append(out, Finding{Path: Path{"spec", "set", k}, Subject: k, Value: value, Message: message})
		}
	}
	return out
}

// walkServiceValues calls found for each value that makes a Service ask for IPv4.
func walkServiceValues(n *yaml.Node, key string, depth int, found func(key string, n *yaml.Node, value, message string)) {
	if depth > maxValueDepth {
		return
	}
	switch n.Kind {
	case yaml.DocumentNode:
		for _, e := range n.Content {
			walkServiceValues(e, key, depth+1, found)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			walkServiceValues(n.Content[i+1], n.Content[i].Value, depth+1, found)
		}
	case yaml.ScalarNode:
		if message := serviceValue(key, []string{n.Value}); message != "" {
			found(key, n, n.Value, message)
		}
	case yaml.SequenceNode:
		var values []string
		for _, e := range n.Content {
			if e.Kind == yaml.ScalarNode {
				values = append(values, e.Value)
			} else {
				walkServiceValues(e, key, depth+1, found)
			}
		}
		if message := serviceValue(key, values); message != "" {
			found(key, n, strings.Join(values, ","), message)
		}
	}
}

// serviceValue says what is wrong with the value of a field of that name in the Service that the chart makes; "" if nothing is.
func serviceValue(name string, values []string) string {
	switch name {
	case "ipFamilyPolicy":
		if slices.Contains(values, "RequireDualStack") {
			return `"RequireDualStack" asks for two families, this cluster has one; use "SingleStack" or "PreferDualStack"`
		}
	case "ipFamilies":
		if slices.Contains(values, "IPv4") {
			return `"IPv4" is not a family of this cluster, the API server refuses the Service; use ["IPv6"]`
		}
	case "externalIPs", "loadBalancerIP", "clusterIP", "loadBalancerSourceRanges":
		l := readAddresses(values)
		if l.ipv4 == 0 || name == "loadBalancerSourceRanges" && !l.onlyIPv4() {
			return ""
		}
		switch name {
		case "clusterIP":
			return quote(l.first) + " is not an address of this cluster, the API server refuses the Service; leave it out"
		case "loadBalancerSourceRanges":
			return quote(l.first) + " names IPv4 clients only; add the IPv6 ranges"
		}
		return quote(l.first) + " is an IPv4 address, which an IPv6 Service does not use; give an IPv6 address"
	}
	return ""
}
