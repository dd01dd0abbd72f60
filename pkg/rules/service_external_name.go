package rules

// serviceExternalName reports Services that point a DNS name at an address.
//
// Source: Kubernetes documentation, "Service", type ExternalName (an address is taken for a DNS name made of digits);
// kube-apiserver v1.37, pkg/apis/core/validation (externalName must be a DNS name, which an IPv4 literal looks like).
func serviceExternalName() *Rule {
	return &Rule{
		ID: "service-external-name", Since: "v0.1.0", Level: Warn,
		Title:   "ExternalName is an address",
		Targets: []Target{targetService},
		Check:   checkServiceExternalName,
		CEL: &CEL{
			Write: func(a *Active, p *Policy) *Expressions {
				with := ""
				if to := celTranslated(p, "$name"); to != "''" {
					with = " + [" + to + "].map(t, t != '' ? ' with \"' + t + '\"' : '')[0]"
				}
				return &Expressions{
					Variables: []Variable{{"name", "$object.?spec.?type.orValue('') == 'ExternalName' ? string($object.?spec.?externalName.orValue('')) : ''"}},
					Faults: "!" + celIPv4("$name") + " ? [] : [" + celFault(a.ID, "'"+celLevel(a)+"'", "'spec.externalName'", "'externalName'", "$name",
						celQuoted("$name")+" + ' becomes a CNAME that does not resolve; use a headless Service and an EndpointSlice of addressType IPv6'"+with) + "]",
				}
			},
		},
	}
}

func checkServiceExternalName(req *Request) []Finding {
	if serviceType(req.Object) != "ExternalName" {
		return nil
	}
	path := Path{"spec", "externalName"}
	value := req.Object.Str(path...)
	f := Finding{Path: path, Subject: "externalName", Value: value}
	switch ipFamily(value) {
	case "IPv4":
		f.Message = quote(value) + " becomes a CNAME that does not resolve; use a headless Service and an EndpointSlice of addressType IPv6"
		if to := translated(req.Policy, value); to != "" {
			f.Message += " with " + quote(to)
		}
	case "IPv6":
		f.Refused = true
		f.Message = quote(value) + " is no DNS name, the API server refuses it; use a headless Service and an EndpointSlice"
	default:
		return nil
	}
	return []Finding{f}
}
