package rules

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// envIPv4Literal warns of IPv4 addresses that a program is told to dial.
//
// Source: a pod of an IPv6-only cluster has no IPv4 address but 127.0.0.1 (measured: connect gives ENETUNREACH).
func envIPv4Literal() *Rule {
	return &Rule{
		ID: "env-ipv4-literal", Since: "v0.1.0", Level: Warn,
		Title:   "Program is told to dial an IPv4 address",
		CEL:     &CEL{Never: "must tell what a program dials from what it listens on, by the same parsers as the listen- rules"},
		Targets: podTargets(),
		Check:   checkEnvIPv4Literal,
	}
}

var (
	// hostOfURL and hostAndPort are IPv4 literals that nothing else can be; the last group is the literal.
	hostOfURL   = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://(?:[^/\s@"']*@)?((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?:[:/?#,;\s"')]|$)`)
	hostAndPort = regexp.MustCompile(`(?:^|[\s=,;@"'(])((?:[0-9]{1,3}\.){3}[0-9]{1,3}):[0-9]{1,5}(?:[^0-9.]|$)`)
	// dialledName are names of variables and flags whose value is an address of somebody else; four numbers may be a version too.
	dialledName = regexp.MustCompile(`(?i)(^|[_.-])(host(name)?|addr(ess)?|ip|ips|server|servers|url|uri|endpoints?|peers?|brokers?|nameservers?|resolvers?|dns|gateway|target|upstream|master|primary|replica|slave|backend|nodes?|seeds?)([0-9]*$|[_.-])|ip$|host$|server$|addr$`)
	// namedElse are names whose value is not dialled, or is another rule's.
	namedElse = regexp.MustCompile(`(?i)no_?proxy|version|tag|image|release|allow|trust|whitelist|deny|block|origin|cidr|mask|range|pool|subnet|listen|bind|advertis|announce|exclude|^KUBERNETES_SERVICE_HOST$`)
)

// maxLiteralText of one value is read, in bytes: a script may be long, an address is not.
const maxLiteralText = 32 << 10

func checkEnvIPv4Literal(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok || dialsIPv4(req, pod) {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		if image, _ := c.obj["image"].(string); strings.Contains(image, "klipper-lb") {
			continue // ingress-ipv4 says so of its Service
		}
		judge := func(list string, i int, name, text string) {
			text = text[:min(len(text), maxLiteralText)]
			if !mayHoldIPv4(text) || namedElse.MatchString(name) {
				return
			}
			literal, at := dialledIPv4(name, text)
			if literal == "" {
				return
			}
			path := c.path.With(list, i)
			if list == "env" {
				path = append(path, "value")
			}
			if isListener(o, path) {
				return
			}
			f := Finding{Path: path, Subject: c.name, Value: literal}
			f.Message = fmt.Sprintf("%s is IPv4, no pod reaches it; %s", quote(literal), insteadOf(req.Policy, literal, "give a name or an IPv6 address"))
			if strings.Contains(text, "\n") {
				f.Text = textPos(text, at)
			}
			out = append(out, f)
		}
		env, _ := c.obj["env"].([]any)
		for i, e := range env {
			variable, _ := e.(map[string]any)
			if text, ok := variable["value"].(string); ok {
				judge("env", i, envName(e), text)
			}
		}
		for _, list := range []string{"command", "args"} {
			words, _ := c.obj[list].([]any)
			before := ""
			for i, w := range words {
				text, _ := w.(string)
				name := before
				if flag, value, ok := strings.Cut(text, "="); ok && strings.HasPrefix(flag, "-") && !strings.ContainsAny(flag, " \n") {
					name, text = flag, value
				}
				judge(list, i, name, text)
				if before = ""; strings.HasPrefix(text, "-") {
					before = text
				}
			}
		}
	}
	return out
}

// mayHoldIPv4: there are as many dots between digits as an address has.
func mayHoldIPv4(text string) bool {
	dots := 0
	for i := 1; i+1 < len(text); i++ {
		if text[i] == '.' && isDigit(text[i-1]) && isDigit(text[i+1]) {
			dots++
		}
	}
	return dots >= 3
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// dialledIPv4 returns the first IPv4 literal of a text that a program dials, and its offset.
func dialledIPv4(name, text string) (literal string, at int) {
	best := -1
	for _, form := range []*regexp.Regexp{hostOfURL, hostAndPort} {
		for _, m := range form.FindAllStringSubmatchIndex(text, 20) {
			if isOutside(text[m[2]:m[3]]) && !isComment(text, m[2]) && (best < 0 || m[2] < best) {
				best, literal = m[2], text[m[2]:m[3]]
			}
		}
	}
	if best >= 0 || !dialledName.MatchString(name) {
		return literal, best
	}
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); isOutside(part) {
			return part, strings.Index(text, part)
		}
	}
	return "", -1
}

// isOutside: an IPv4 literal of a machine, so no loopback, wildcard, multicast or mask.
func isOutside(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is4() && a.As4()[0] != 0 && !a.IsLoopback() && a.As4()[0] < 224
}

// isListener: a rule about listeners speaks of this text.
func isListener(o *Object, path Path) bool {
	return slices.ContainsFunc(listeners(o), func(l listener) bool { return slices.Equal(l.path, path) })
}
