package rules

import "strings"

// kindConfig judges what kind makes a cluster of containers from, on which workloads are tried.
//
// Source: sigs.k8s.io/kind v0.33.0, pkg/apis/config/v1alpha4/default.go (an empty ipFamily is ipv4) and
// pkg/internal/apis/config/validate.go (validateSubnets).
func kindConfig() *Rule {
	return &Rule{
		ID: "kind-config", Since: "v0.1.0", Level: Deny,
		Title:   "kind makes a cluster with IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: configuration("kind.x-k8s.io", "v1alpha4", "Cluster"),
		Check:   checkKind,
	}
}

func checkKind(req *Request) []Finding {
	var out []Finding
	d := own(req, &out)
	family := Path{"networking", "ipFamily"}
	switch value := d.Str(family...); value {
	case "ipv6":
		d.kindRange("podSubnet", examplePodRange)
		d.kindRange("serviceSubnet", exampleServiceRange)
	case "", "ipv4":
		said := quote(value)
		if value == "" {
			said = "empty means ipv4"
		}
		d.report(family, Warn, said+": workloads are tried on IPv4, where no fault of this kind shows; set networking.ipFamily: ipv6")
	case "dual":
		d.report(family, Warn, `"dual": what needs IPv4 works here and not on an IPv6-only cluster; set networking.ipFamily: ipv6`)
	}
	return out
}

// kindRange judges a range as kind does where the family is ipv6; what a template fills in is unknown.
func (d document) kindRange(field, example string) {
	path := Path{"networking", field}
	value := d.Str(path...)
	list := strings.Split(value, ",")
	for _, s := range list {
		if family := cidrFamily(s); family == "IPv4" || family == "IPv6" && len(list) > 1 {
			d.report(path, None, quote(value)+" is not one IPv6 range, so kind refuses it with ipFamily: ipv6; remove it or give one, such as "+example)
			return
		}
	}
}
