package rules

import (
	"maps"
	"slices"
	"strings"
)

// A cloudSetting is an annotation by which a cloud's load balancer is made IPv4-only.
type cloudSetting struct {
	ipv4 string // the value that chooses IPv4; "": any IPv4 address
	want string // the value that also chooses IPv6; "": there is no one right value
	why  string
}

// cloudSettings returns the annotation of Services, and of Ingresses, by key.
//
// Source: the annotation tables of kubernetes-sigs/aws-load-balancer-controller, kubernetes-sigs/cloud-provider-azure,
// kubernetes/cloud-provider-alibaba-cloud and hetznercloud/hcloud-cloud-controller-manager.
func cloudSettings(kind string) map[string]cloudSetting {
	if kind == "Ingress" {
		return map[string]cloudSetting{
			"alb.ingress.kubernetes.io/ip-address-type": {"ipv4", "dualstack", "makes a load balancer without IPv6"},
		}
	}
	return map[string]cloudSetting{
		"service.beta.kubernetes.io/aws-load-balancer-ip-address-type":     {"ipv4", "dualstack", "makes a load balancer without IPv6"},
		"service.beta.kubernetes.io/azure-load-balancer-ipv4":              {"", "", "is a frontend address for IPv4, an IPv6 Service has none; use azure-load-balancer-ipv6"},
		"service.beta.kubernetes.io/alibaba-cloud-loadbalancer-ip-version": {"ipv4", "", "makes a load balancer without IPv6; use \"ipv6\" for a CLB, \"DualStack\" for an NLB"},
		"load-balancer.hetzner.cloud/ipv6-disabled":                        {"true", "false", "makes a load balancer without IPv6"},
	}
}

// serviceCloudLB reports annotations that make a cloud's load balancer IPv4-only.
func serviceCloudLB() *Rule {
	return &Rule{
		ID: "service-cloud-lb", Since: "v0.1.0", Level: Warn,
		Title:   "Annotation asks the cloud for a load balancer without IPv6",
		Targets: []Target{targetService, targetIngress},
		Check:   checkServiceCloudLB,
		CEL:     celServiceCloudLB(),
	}
}

func checkServiceCloudLB(req *Request) []Finding {
	o := req.Object
	annotations := o.Map("metadata", "annotations")
	if len(annotations) == 0 || o.Kind() == "Service" && serviceType(o) != "LoadBalancer" {
		return nil
	}
	settings := cloudSettings(o.Kind())
	var out []Finding
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		s, path := settings[key], Path{"metadata", "annotations", key}
		value, _ := annotations[key].(string)
		if s.ipv4 == "" && ipFamily(value) != "IPv4" || s.ipv4 != "" && !strings.EqualFold(value, s.ipv4) {
			continue
		}
		if ipv6, _ := annotations[strings.TrimSuffix(key, "4")+"6"].(string); strings.HasSuffix(key, "4") && ipFamily(ipv6) == "IPv6" {
			continue // the IPv4 half of a pair
		}
		f := Finding{Path: path, Subject: key, Value: value, Message: quote(value) + " " + s.why}
		if s.want != "" {
			f.Message += "; use " + quote(s.want)
			f.Fix = func(o *Object) { o.Set(path, s.want) }
		}
		out = append(out, f)
	}
	return out
}

func celServiceCloudLB() *CEL {
	return &CEL{Write: func(a *Active, _ *Policy) *Expressions {
		var faults []string
		for _, kind := range []string{"Service", "Ingress"} {
			settings := cloudSettings(kind)
			for _, key := range slices.Sorted(maps.Keys(settings)) {
				s, value := settings[key], "$annotations[?'"+key+"'].orValue('')"
				test := value + ".lowerAscii() == '" + s.ipv4 + "'"
				if s.ipv4 == "" {
					test = celIPv4(value)
				}
				if pair, ok := strings.CutSuffix(key, "4"); ok {
					test += " && !" + celIPv6("$annotations[?'"+pair+"6'].orValue('')")
				}
				way := " " + s.why
				if s.want != "" {
					way += "; use " + quote(s.want)
				}
				faults = append(faults, "(request.kind.kind == '"+kind+"' && '"+key+"' in $annotations && "+test+" ?\n    ["+celFault(a.ID, "'"+celLevel(a)+"'",
					"'metadata.annotations[\""+key+"\"]'", "'"+key+"'", value, celQuoted(value)+" + "+celString(way))+"] : [])")
			}
		}
		return &Expressions{
			Variables: []Variable{{"annotations", "request.kind.kind == 'Service' && dyn($object).?spec.?type.orValue('') != 'LoadBalancer' ? {} : $object.metadata.?annotations.orValue({})"}},
			Faults:    strings.Join(faults, " +\n  "),
		}
	}}
}
