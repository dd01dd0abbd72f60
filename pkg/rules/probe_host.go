package rules

import (
	"fmt"
	"strings"
)

// probeHost judges the hosts that probes and lifecycle hooks name. The kubelet dials them from the node.
//
// Source: kubelet v1.37, pkg/kubelet/prober/prober.go and pkg/kubelet/lifecycle/handlers.go (the host defaults to the pod's
// address); pkg/probe/http/request.go and pkg/probe/tcp/tcp.go (net.JoinHostPort, which puts brackets around the host).
func probeHost() *Rule {
	return &Rule{
		ID: "probe-host", Since: "v0.1.0", Level: Deny,
		Title:   "Probe or hook dials something else than the pod over IPv6",
		Targets: podTargets(),
		Check:   checkProbeHost,
		CEL:     celProbeHost(),
	}
}

// dialsByNode are the fields that name a host. A tcpSocket of a hook is accepted and never run; grpc has no host.
var dialsByNode = [][]any{
	{"livenessProbe", "httpGet"}, {"livenessProbe", "tcpSocket"},
	{"readinessProbe", "httpGet"}, {"readinessProbe", "tcpSocket"},
	{"startupProbe", "httpGet"}, {"startupProbe", "tcpSocket"},
	{"lifecycle", "postStart", "httpGet"}, {"lifecycle", "preStop", "httpGet"},
}

func checkProbeHost(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok {
		return nil
	}
	hostNetwork := o.Bool(pod.With("spec", "hostNetwork")...)
	var out []Finding
	for _, c := range containers(o, pod) {
		for _, at := range dialsByNode {
			action, _ := lookup(c.obj, at)
			fields, _ := action.(map[string]any)
			host, _ := fields["host"].(string)
			if host == "" {
				continue
			}
			path := c.path.With(at...).With("host")
			f := Finding{Path: path, Subject: c.name, Value: host}
			remove := func(o *Object) { o.Remove(path) }
			switch {
			case isLoopback(host) || isUnspecified(host) || host == "localhost":
				if hostNetwork {
					continue // the node is the pod
				}
				f.Limit = Warn
				f.Message = fmt.Sprintf("%s is the node itself, which dials, not the pod; remove host", quote(host))
				f.Fix = remove
			case ipFamily(host) == "IPv4":
				if c := req.Policy.Cluster; !c.nodesAreIPv6 || c.NAT64.CLAT {
					f.Limit = Warn
					f.Message = fmt.Sprintf("%s is IPv4, so not the pod, whatever answers the node there; remove host", quote(host))
					break
				}
				f.Message = fmt.Sprintf("%s is IPv4, the node that dials it has IPv6 only; %s", quote(host),
					insteadOf(req.Policy, host, "remove host, or give an IPv6 address"))
			case strings.HasPrefix(host, "[") && ipFamily(strings.Trim(host, "[]")) == "IPv6":
				bare := strings.Trim(host, "[]")
				f.Message = fmt.Sprintf("%s gets a second pair of brackets from the kubelet, so it never connects; write %s", quote(host), quote(bare))
				f.Fix = func(o *Object) { o.Set(path, bare) }
			default:
				continue
			}
			if !mayRepairPod(req) {
				f.Fix = nil
			}
			out = append(out, f)
		}
	}
	return out
}

func celProbeHost() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		var fields []string
		for _, at := range dialsByNode {
			dotted := Path(at).String() + ".host"
			fields = append(fields, "{'at': '"+dotted+"', 'host': string(x.c.?"+strings.ReplaceAll(dotted, ".", ".?")+".orValue(''))}")
		}
		const bare = "h.host.replace('[', '').replace(']', '')"
		level := "'" + celLevel(a) + "'"
		ofIPv4, fact := level, "' is IPv4, the node that dials it has IPv6 only; ' + "+celInsteadOf(p, "h.host", "'remove host, or give an IPv6 address'")
		if !p.Cluster.nodesAreIPv6 || p.Cluster.NAT64.CLAT {
			ofIPv4, fact = "'warn'", "' is IPv4, so not the pod, whatever answers the node there; remove host'"
		}
		return &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"hosts", "!$judged ? [] : $containers.map(x, [" + strings.Join(fields, ",\n    ") + "]\n    .filter(h, h.host != '')" +
					".map(h, {'path': string(x.path + '.' + h.at), 'name': string(x.name), 'host': h.host})).flatten()"},
				{"bad", "$hosts.map(h, {'path': h.path, 'name': h.name, 'host': h.host, 'why':\n    " +
					celLoopback("h.host") + " || " + celUnspecified("h.host") + " || h.host == 'localhost' ? ($hostNetwork ? '' : 'node')\n    : " +
					celIPv4("h.host") + " ? 'IPv4' : h.host.matches(r'^\\[+[0-9A-Fa-f:.]+\\]*$') && " + celIPv6(bare) + " ? 'brackets' : ''}).filter(h, h.why != '')"},
			}...),
			Faults: "$bad.map(h, " + celFault(a.ID, "(h.why == 'node' ? 'warn' : h.why == 'IPv4' ? "+ofIPv4+" : "+level+")", "h.path", "h.name", "h.host",
				celQuoted("h.host")+" + (h.why == 'node' ? ' is the node itself, which dials, not the pod; remove host'\n    : h.why == 'IPv4' ? "+fact+
					"\n    : ' gets a second pair of brackets from the kubelet, so it never connects; write ' + "+celQuoted(bare)+")") + ")",
		}
	}}
}
