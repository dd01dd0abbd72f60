package rules

import (
	"fmt"
	"strings"
)

// apiServerHostValue refuses an API server address that no in-cluster client can dial.
//
// Source: client-go v0.37, rest/config.go: the value goes through net.JoinHostPort, which puts brackets around it, so brackets in
// the value are doubled.
func apiServerHostValue() *Rule {
	return &Rule{
		ID: "api-server-host-value", Since: "v0.1.0", Level: Deny,
		Title:   "KUBERNETES_SERVICE_HOST is IPv4 or in brackets",
		Targets: append(podTargets(), targetConfigMap),
		Check:   checkAPIServerHostValue,
		CEL:     celAPIServerHostValue(),
	}
}

func checkAPIServerHostValue(req *Request) []Finding {
	o := req.Object
	name := apiServerVars[0]
	if o.Kind() == "ConfigMap" {
		path := Path{"data", name}
		message := badAPIServerHost(req.Policy, o.Str(path...))
		if message == "" {
			return nil
		}
		return []Finding{{Path: path, Subject: name, Value: o.Str(path...), Limit: Warn, Message: message}} // who reads it is not known
	}
	pod, ok := judgedPod(o)
	if !ok {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		env, _ := c.obj["env"].([]any)
		for i, variable := range env {
			if envName(variable) != name {
				continue
			}
			path := c.path.With("env", i, "value")
			value := o.Str(path...)
			message := badAPIServerHost(req.Policy, value)
			if message == "" || ipFamily(value) == "IPv4" && dialsIPv4(req, pod) {
				continue
			}
			out = append(out, Finding{Path: path, Subject: c.name, Value: value, Message: message})
		}
	}
	return out
}

// badAPIServerHost says what is wrong with a value, "" if nothing is. 127.0.0.1 is a proxy in the pod or on its node.
func badAPIServerHost(p *Policy, value string) string {
	way := "give a DNS name of its certificate, or an IPv6 address"
	if p.APIServer.Host != "" {
		way = "use " + quote(p.APIServer.Host)
	}
	if inside, ok := strings.CutPrefix(value, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		if ok && ipFamily(inside) != "" {
			return fmt.Sprintf("%s gets a second pair of brackets from every client, so none connects; write it without", quote(value))
		}
		return ""
	}
	if ipFamily(value) != "IPv4" || isLoopback(value) {
		return ""
	}
	return fmt.Sprintf("%s is IPv4, no pod reaches the API server there; %s", quote(value), way)
}

func celAPIServerHostValue() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		way := "'give a DNS name of its certificate, or an IPv6 address'"
		if p.APIServer.Host != "" {
			way = celString("use " + quote(p.APIServer.Host))
		}
		const inside = "h.value.substring(1, size(h.value) - 1)"
		return &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"hosts", "request.kind.kind == 'ConfigMap' ?\n  ('KUBERNETES_SERVICE_HOST' in dyn($object).?data.orValue({}) ?\n" +
					"    [{'path': 'data.KUBERNETES_SERVICE_HOST', 'name': 'KUBERNETES_SERVICE_HOST', 'value': string(dyn($object).data.KUBERNETES_SERVICE_HOST)}] : [])\n  : " +
					"!$judged ? [] : $containers.map(x, x.c.?env.orValue([]).transformList(i, e, e.?name.orValue('') == 'KUBERNETES_SERVICE_HOST',\n" +
					"    {'path': string(x.path + '.env[' + string(i) + '].value'), 'name': string(x.name), 'value': string(e.?value.orValue(''))})).flatten()"},
				{"bad", "$hosts.map(h, {'path': h.path, 'name': h.name, 'value': h.value, 'text': string(\n    h.value.matches(r'^\\[.*\\]$') ? (" +
					celIPv4(inside) + " || isIP(" + inside + ") ? " + celQuoted("h.value") + " + ' gets a second pair of brackets from every client, so none connects; write it without' : '')\n    : " +
					celIPv4("h.value") + " && !" + celLoopback("h.value") + " && " + celNot(celAll("request.kind.kind != 'ConfigMap'", celDialsIPv4(p))) + " ? " +
					celQuoted("h.value") + " + ' is IPv4, no pod reaches the API server there; ' + " + way + " : '')}).filter(h, h.text != '')"},
			}...),
			Faults: "$bad.map(h, " + celFault(a.ID, "(request.kind.kind == 'ConfigMap' ? 'warn' : '"+celLevel(a)+"')", "h.path", "h.name", "h.value", "h.text") + ")",
		}
	}}
}
