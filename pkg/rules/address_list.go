package rules

import (
	"strings"

	netutils "k8s.io/utils/net"
)

// An addressList is a list of addresses, or of CIDRs, as the families that it names.
type addressList struct {
	ipv4, ipv6, other int
	anyIPv4           bool   // 0.0.0.0/0 is among them
	first             string // IPv4 entry
	at                int    // its index
}

// onlyIPv4: nothing in the list is, or may be, IPv6.
func (l addressList) onlyIPv4() bool { return l.ipv4 > 0 && l.ipv6 == 0 && l.other == 0 }

// readAddresses counts the families of addresses and CIDRs; white space around an entry does not matter, and neither does IPv4
// loopback, which nobody outside has.
func readAddresses(values []string) addressList {
	var l addressList
	for i, v := range values {
		v = strings.TrimSpace(v)
		switch family := rangeFamily(v); {
		case family == "IPv4" && strings.HasPrefix(v, "127."):
		case family == "IPv4":
			if l.ipv4 == 0 || strings.HasSuffix(v, "/0") && !l.anyIPv4 {
				l.first, l.at = v, i
			}
			l.ipv4++
			l.anyIPv4 = l.anyIPv4 || strings.HasSuffix(v, "/0")
		case family == "IPv6":
			l.ipv6++
		default:
			l.other++
		}
	}
	return l
}

// rangeFamily is the family of an address or a CIDR, "" if it is neither.
func rangeFamily(s string) string {
	if !strings.Contains(s, "/") {
		return ipFamily(s)
	}
	ip, _, err := netutils.ParseCIDRSloppy(s)
	if err != nil {
		return ""
	}
	return ipFamily(ip.String())
}

// splitList splits at commas or at white space, whichever the text has.
func splitList(s string) []string {
	if strings.Contains(s, ",") {
		return strings.Split(s, ",")
	}
	return strings.Fields(s)
}

// stringsAt returns the strings of a list with their indices kept: what is no string is "".
func stringsAt(o *Object, path Path) []string {
	list := o.List(path...)
	if len(list) == 0 {
		return nil
	}
	out := make([]string, len(list))
	for i, e := range list {
		out[i], _ = e.(string)
	}
	return out
}

// dropIPv4 removes the IPv4 entries of a list of texts. It does so at once: one by one, a list of hundred thousands would take
// minutes.
func dropIPv4(o *Object, path Path) {
	var kept []any
	for _, e := range o.List(path...) {
		if v, _ := e.(string); rangeFamily(strings.TrimSpace(v)) != "IPv4" {
			kept = append(kept, e)
		}
	}
	o.Set(path, kept)
}
