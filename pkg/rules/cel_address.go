package rules

import (
	"fmt"
	"net/netip"
)

const (
	celLoopbackText = `(?i)^(?:` + ipv4Mapped + `)?0*127(?:\.` + ipv4Octet + `){3}$|^` + ipv4Mapped + `7f[0-9a-f]{2}:[0-9a-f]{1,4}$`
	celPrivateText  = `(?i)(?:^|:)(?:10\.|192\.168\.|172\.(?:1[6-9]|2[0-9]|3[01])\.)|:ffff:(?:0?a[0-9a-f]{2}|c0a8|ac1[0-9a-f]):[0-9a-f]+$`
	celCIDRv4Text   = `(?i)^(?:` + ipv4Octet + `(?:\.` + ipv4Octet + `){3}/(?:3[0-2]|[12]?[0-9])|` +
		ipv4Mapped + `(?:` + ipv4Octet + `(?:\.` + ipv4Octet + `){3}|[0-9a-f]{1,4}:[0-9a-f]{1,4})/(?:12[0-8]|1[01][0-9]|[1-9]?[0-9]))$`
)

// celIPv6, celLoopback and celUnspecified are the tests of the same name. CEL's isIP takes no zone and no IPv4 in IPv6 form.
func celIPv6(s string) string { return "(isIP(" + s + ") && ip(" + s + ").family() == 6)" }

func celLoopback(s string) string {
	return "(" + s + ".matches(r'" + celLoopbackText + "') || isIP(" + s + ") && ip(" + s + ").isLoopback())"
}

func celUnspecified(s string) string {
	return "(" + celAnyIPv4(s) + " || isIP(" + s + ") && ip(" + s + ").isUnspecified())"
}

// celRangeFamily is rangeFamily in CEL.
func celRangeFamily(s string) string {
	return "(" + celIPv4(s) + " || " + s + ".matches(r'" + celCIDRv4Text + "') ? 'IPv4' : isIP(" + s + ") || isCIDR(" + s + ") ? 'IPv6' : '')"
}

// celTranslated is translated in CEL, of a text that is known to be IPv4.
func celTranslated(p *Policy, s string) string {
	prefix, err := netip.ParsePrefix(p.Cluster.NAT64.Prefix)
	if err != nil {
		return "''"
	}
	head := ""
	for a, i := prefix.Addr().As16(), 0; i < 12; i += 2 {
		head += fmt.Sprintf("%x:", int(a[i])<<8|int(a[i+1]))
	}
	last := "(v.contains('.') ? v.substring(v.lastIndexOf(':') + 1) : v.split(':').slice(size(v.split(':')) - 2, size(v.split(':'))).join(':'))"
	but := celLoopbackText + "|" + celAnyIPv4Text
	if p.Cluster.NAT64.Prefix == "64:ff9b::/96" {
		but += "|" + celPrivateText + `|(?:^|:)169\.254\.|:ffff:a9fe:`
	}
	return "[string(" + s + ")].map(v, v.matches(r'" + but + "') ? '' : [string('" + head + "' + " + last + ")].map(t, isIP(t) ? string(ip(t)) : '')[0])[0]"
}

// celInsteadOf is insteadOf in CEL; other is an expression.
func celInsteadOf(p *Policy, s, other string) string {
	to := celTranslated(p, s)
	if to == "''" {
		return other
	}
	return "[" + to + "].map(t, t != '' ? 'use \"' + t + '\", its NAT64 form' : " + other + ")[0]"
}

// celPodVariables are a pod and its containers, of which x.c is the container itself.
func celPodVariables() []Variable {
	return []Variable{
		{"pod", "request.kind.kind in ['ConfigMap', 'PersistentVolume', 'StorageClass', 'Service', 'NetworkPolicy'] ? dyn({}) : " + celPod(podTargets())},
		{"mirror", celMirror},
		{"hostNetwork", celHostNetwork},
		{"judged", "!$mirror && !" + celWindows}, // judgedPod
		{"containers", celLists("$pod") + ".map(l, $pod.?spec[?l].orValue([]).transformList(i, c,\n" +
			"    {'path': dyn(" + celPodPath + " + 'spec.' + l + '[' + string(i) + ']'), 'list': dyn(l), 'name': dyn(c.?name.orValue('')), 'c': dyn(c)})).flatten()"},
	}
}

// celDialsIPv4 is dialsIPv4 in CEL.
func celDialsIPv4(p *Policy) string {
	if p.Cluster.Nodes != "IPv6" || p.Cluster.NAT64.CLAT {
		return "$hostNetwork"
	}
	return "false"
}

// celAddressList is readAddresses in CEL, of a list of texts: each with its index and family; and which one speaks for those of IPv4.
func celAddressList(texts string) string {
	return texts + ".map(v, string(v).trim()).transformList(i, v, {'at': string(i), 'v': string(v), 'family': [" + celRangeFamily("v") + "].map(f, f == 'IPv4' && v.startsWith('127.') ? 'loopback' : string(f))[0]})"
}

func celFirstIPv4(list string) string {
	return "(" + list + ".filter(e, e.family == 'IPv4' && e.v.endsWith('/0')) + " + list + ".filter(e, e.family == 'IPv4'))[0]"
}

func celSomeIPv4(list string) string { return list + ".exists(e, e.family == 'IPv4')" }

func celOnlyIPv4(list string) string {
	return "(" + celSomeIPv4(list) + " && !" + list + ".exists(e, e.family in ['IPv6', '']))"
}
