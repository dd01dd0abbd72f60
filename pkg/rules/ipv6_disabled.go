package rules

import (
	"fmt"
	"regexp"
	"strings"
)

// ipv6Disabled refuses pods that switch IPv6 off for themselves.
//
// Source: Linux, Documentation/networking/ip-sysctl.rst (disable_ipv6: all addresses and routes of the interface are removed;
// bindv6only); both were set in a network namespace of Linux 6.
func ipv6Disabled() *Rule {
	return &Rule{
		ID: "ipv6-disabled", Since: "v0.1.0", Level: Deny,
		Title:   "Pod switches IPv6 off",
		Targets: podTargets(),
		Check:   checkIPv6Disabled,
		CEL:     celIPv6Disabled(),
	}
}

// disables matches commands that set the sysctl: sysctl's argument, and a redirection to its file.
var disables = regexp.MustCompile(`net[./]ipv6[./]conf[./][\w.-]+[./]disable_ipv6\s*=\s*["']?1\b|echo\s+["']?1["']?\s*(>|\|\s*tee)\s*["']?/proc/sys/net/ipv6/conf/[\w.-]+/disable_ipv6\b`)

func checkIPv6Disabled(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok {
		return nil
	}
	var out []Finding
	sysctls := pod.With("spec", "securityContext", "sysctls")
	for i := range o.List(sysctls...) {
		name := strings.ReplaceAll(o.Str(sysctls.With(i, "name")...), "/", ".")
		if strings.TrimSpace(o.Str(sysctls.With(i, "value")...)) != "1" || !strings.HasPrefix(name, "net.ipv6.") {
			continue
		}
		f := Finding{Path: sysctls.With(i), Subject: name, Value: "1"}
		switch {
		case name == "net.ipv6.conf.all.disable_ipv6" || name == "net.ipv6.conf.eth0.disable_ipv6":
			f.Message = fmt.Sprintf("%s = 1 takes the pod's only address away; remove it", quote(name))
		case strings.HasSuffix(name, ".disable_ipv6"):
			f.Limit = Warn
			f.Message = fmt.Sprintf("%s = 1 switches IPv6 off there; remove it", quote(name))
		case name == "net.ipv6.bindv6only":
			f.Limit = Warn
			f.Message = fmt.Sprintf("%s = 1 makes servers on [::] refuse 127.0.0.1, which neighbours and scripts in the pod dial; remove it", quote(name))
		default:
			continue
		}
		out = append(out, f)
	}
	for _, c := range containers(o, pod) {
		for _, list := range []string{"command", "args"} {
			words, _ := c.obj[list].([]any)
			for i, w := range words {
				text, _ := w.(string)
				if !strings.Contains(text, "disable_ipv6") {
					continue
				}
				for _, at := range disables.FindAllStringIndex(text, 20) {
					if isComment(text, at[0]) {
						continue
					}
					f := Finding{Path: c.path.With(list, i), Subject: c.name, Value: text[at[0]:at[1]], Limit: Warn,
						Message: fmt.Sprintf("%s takes the pod's only address away; remove the command", quote(text[at[0]:at[1]]))}
					if strings.Contains(text, "\n") {
						f.Text = textPos(text, at[0])
					}
					out = append(out, f)
					break
				}
			}
		}
	}
	return out
}

func celIPv6Disabled() *CEL {
	return &CEL{
		Differences: []string{"A command that is spread over two lines is not seen."},
		Write: func(a *Active, _ *Policy) *Expressions {
			script := "type(w) == string && w.contains('disable_ipv6')"
			lines := "w.split('\\n').transformList(n, l, l.contains('disable_ipv6') && !l.matches('^[ \\t]*(#|//|;)'),\n" +
				"        {'line': w.contains('\\n') ? ':' + string(n + 1) : '', 'match': string(l.find(" + celString(disables.String()) + "))}).filter(m, m.match != '')"
			return &Expressions{
				Variables: append(celPodVariables(), []Variable{
					{"sysctls", "!$judged ? [] : $pod.?spec.?securityContext.?sysctls.orValue([]).transformList(i, s, s.?value.orValue('').trim() == '1',\n" +
						"    {'path': string(" + celPodPath + " + 'spec.securityContext.sysctls[' + string(i) + ']'), 'name': string(s.?name.orValue('').replace('/', '.'))})\n" +
						"  .filter(s, s.name == 'net.ipv6.bindv6only' || s.name.startsWith('net.ipv6.') && s.name.endsWith('.disable_ipv6'))"},
					{"scripts", "!$judged ? [] : $containers.map(x, ['command', 'args'].map(f, x.c[?f].orValue([]).transformList(i, w, " + script + ",\n" +
						"    " + lines + ".transformList(k, m, k == 0, {'path': string(x.path + '.' + f + '[' + string(i) + ']' + m.line), 'name': string(x.name), 'match': m.match})))).flatten().flatten().flatten()"},
				}...),
				Faults: "$sysctls.map(s, " + celFault(a.ID, "(s.name in ['net.ipv6.conf.all.disable_ipv6', 'net.ipv6.conf.eth0.disable_ipv6'] ? '"+celLevel(a)+"' : 'warn')",
					"s.path", "s.name", "'1'", celQuoted("s.name")+" + (s.name in ['net.ipv6.conf.all.disable_ipv6', 'net.ipv6.conf.eth0.disable_ipv6'] ? ' = 1 takes the pod\\'s only address away; remove it'\n    : "+
						"s.name == 'net.ipv6.bindv6only' ? ' = 1 makes servers on [::] refuse 127.0.0.1, which neighbours and scripts in the pod dial; remove it'\n    : "+
						"' = 1 switches IPv6 off there; remove it')") + ") +\n  $scripts.map(s, " +
					celFault(a.ID, "'warn'", "s.path", "s.name", "s.match", celQuoted("s.match")+" + ' takes the pod\\'s only address away; remove the command'") + ")",
			}
		},
	}
}
