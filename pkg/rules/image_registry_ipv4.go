package rules

import (
	"fmt"
	"strings"
)

// A registry without IPv6, and what is known of it.
type registry struct{ host, fact, instead string }

// registriesWithoutIPv6 are known by what somebody saw on a day, or by their documentation; * stands for any characters. It is for
// the policy (cluster.registriesWithoutIPv6) to know better.
//
// Source: kyverno/kyverno#13257 (ghcr.io; reg.kyverno.io on 2025-12-02), pocket-id/pocket-id#1488 (ghcr.io, 2026-05-25); Amazon ECR
// User Guide, "Making requests to Amazon ECR registries" (amazonaws.com is IPv4 only, on.aws is dual-stack).
var registriesWithoutIPv6 = []registry{
	{"ghcr.io", "had no IPv6 address on 2026-05-25", "mirror the image, or set a NAT64 prefix in the policy"},
	{"reg.kyverno.io", "had no IPv6 address on 2025-12-02", "mirror the image, or set a NAT64 prefix in the policy"},
	{"*.dkr.ecr.*.amazonaws.com", "is the IPv4-only name", "use the dual-stack one, ACCOUNT.dkr-ecr.REGION.on.aws"},
}

// imageRegistryIPv4 warns of images that an IPv6-only node cannot pull.
func imageRegistryIPv4() *Rule {
	return &Rule{
		ID: "image-registry-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Image comes from a registry without IPv6",
		Targets: podTargets(),
		Check:   checkImageRegistryIPv4,
		CEL:     celImageRegistryIPv4(),
	}
}

func checkImageRegistryIPv4(req *Request) []Finding {
	o := req.Object
	cluster := req.Policy.Cluster
	// The node pulls; with NAT64 or CLAT it reaches IPv4.
	if cluster.Nodes != "IPv6" || cluster.NAT64.Prefix != "" || cluster.NAT64.CLAT {
		return nil
	}
	pod, ok := podPath(o)
	if !ok || isMirror(o) {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		image, _ := c.obj["image"].(string)
		host := registryOf(image)
		if host == "" {
			continue
		}
		f := Finding{Path: c.path.With("image"), Subject: c.name, Value: host}
		switch r := withoutIPv6(cluster.RegistriesWithoutIPv6, host); {
		case ipFamily(host) == "IPv4" && !isLoopback(host):
			f.Message = fmt.Sprintf("%s is IPv4, no IPv6-only node pulls from there; use a name or an IPv6 address", quote(host))
		case r == nil:
			continue
		default:
			f.Message = fmt.Sprintf("%s %s, so the node cannot pull; %s", quote(host), r.fact, r.instead)
		}
		out = append(out, f)
	}
	return out
}

// registryOf is the host that an image is pulled from, without port; "" is Docker Hub.
//
// Source: github.com/distribution/reference, splitDockerDomain.
func registryOf(image string) string {
	host, _, ok := strings.Cut(image, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return ""
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(host)
}

// withoutIPv6 returns what is known of a host, nil if nothing is. A list of the policy replaces the rule's.
func withoutIPv6(policy []string, host string) *registry {
	if policy != nil {
		if globAny(policy, host) {
			return &registry{fact: "has no IPv6 address, says the policy", instead: "mirror the image"}
		}
		return nil
	}
	for i, r := range registriesWithoutIPv6 {
		if globMatch(r.host, host) {
			return &registriesWithoutIPv6[i]
		}
	}
	return nil
}

func celImageRegistryIPv4() *CEL {
	return &CEL{
		Needs: "nodes that have IPv6 only and no NAT64",
		Write: func(a *Active, p *Policy) *Expressions {
			c := p.Cluster
			if c.Nodes != "IPv6" || c.NAT64.Prefix != "" || c.NAT64.CLAT {
				return nil
			}
			facts := ""
			for _, r := range registriesWithoutIPv6 {
				if c.RegistriesWithoutIPv6 == nil {
					facts += celGlob("x.host", []string{r.host}) + " ? " + celString(" "+r.fact+", so the node cannot pull; "+r.instead) + "\n    : "
				}
			}
			if len(c.RegistriesWithoutIPv6) > 0 {
				facts = celGlob("x.host", c.RegistriesWithoutIPv6) + " ? ' has no IPv6 address, says the policy, so the node cannot pull; mirror the image'\n    : "
			}
			const domain = "string(x.c.image).split('/', 2)[0]"
			return &Expressions{
				Variables: append(celPodVariables(), []Variable{
					// What stands before the first slash is a registry where it can be no name of Docker Hub.
					{"registries", "$mirror ? [] : $containers.filter(x, x.c.?image.orValue('').matches('^([^/]*[.:][^/]*|localhost)/')).map(x,\n" +
						"    {'path': string(x.path + '.image'), 'name': string(x.name), 'host': (" + domain + ".matches(r':[^:\\]]*$') ? " +
						domain + ".substring(0, " + domain + ".lastIndexOf(':')) : " + domain + ").lowerAscii()})"},
					{"bad", "$registries.map(x, {'path': x.path, 'name': x.name, 'host': x.host, 'text':\n    " + celIPv4("x.host") + " && !" + celLoopback("x.host") +
						" ? ' is IPv4, no IPv6-only node pulls from there; use a name or an IPv6 address'\n    : " + facts + "''}).filter(x, x.text != '')"},
				}...),
				Faults: "$bad.map(x, " + celFault(a.ID, "'"+celLevel(a)+"'", "x.path", "x.name", "x.host", celQuoted("x.host")+" + x.text") + ")",
			}
		},
	}
}
