package rules

import (
	"fmt"
	"net/netip"
	"strings"

	netutils "k8s.io/utils/net"
)

// The arithmetic of address ranges. Each limit names who sets it.
const (
	// maxServiceBits: kubeadm v1.37, constants.MaximumBitsForServiceSubnet. kube-apiserver v1.37 itself takes a /64 (measured); older
	// ones, that allocate from a bitmap, have the same limit.
	maxServiceBits = 20
	// minServiceAddresses: kubeadm v1.37, constants.MinimumAddressesInServiceSubnet.
	minServiceAddresses = 10
	// maxNodeBits: kube-controller-manager v1.37, nodeipam/ipam/cidrset, clusterSubnetMaxDiff (a bitmap of all nodes), and kubeadm,
	// constants.PodSubnetNodeMaskMaxDiff.
	maxNodeBits = 16
	// defaultNodeMask: the same two, defaultNodeMaskCIDRIPv6.
	defaultNodeMask = 64
	// minCalicoBlock, maxCalicoBlock and defaultCalicoBlock: projectcalico/calico, libcalico-go/lib/clientv3/ippool.go.
	minCalicoBlock, maxCalicoBlock, defaultCalicoBlock = 116, 128, 122
)

var (
	siteLocal    = netip.MustParsePrefix("fec0::/10") // deprecated by RFC 3879
	uniqueLocal  = netip.MustParsePrefix("fc00::/7")  // RFC 4193
	linkLocal    = netip.MustParsePrefix("fe80::/10")
	ipv4Loopback = netip.MustParsePrefix("127.0.0.0/8")
)

// isUniqueLocal: no router outside the site knows the way back to these addresses.
func isUniqueLocal(p netip.Prefix) bool { return p.IsValid() && uniqueLocal.Overlaps(p) }

// isLoopback4 reports an IPv4 address of the node itself, which every node has.
func isLoopback4(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && ipv4Loopback.Contains(a)
}

// cidrFamily is the family of a CIDR: "IPv4", "IPv6", or "" if it is none. It is as lenient as the parsers of Kubernetes.
func cidrFamily(s string) string {
	ip, _, err := netutils.ParseCIDRSloppy(s)
	switch {
	case err != nil:
		return ""
	case ip.To4() != nil:
		return "IPv4"
	}
	return "IPv6"
}

// ipv6Prefix is the first IPv6 CIDR of a comma-separated list, as it is written; the zero Prefix if there is none.
func ipv6Prefix(list string) netip.Prefix {
	for _, s := range strings.Split(list, ",") {
		if p, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil && cidrFamily(p.String()) == "IPv6" {
			return p
		}
	}
	return netip.Prefix{}
}

// rangesFault judges a list of CIDRs that a cluster uses for one purpose, written with commas or as a list. message is "" where
// nothing is certain: a placeholder is neither family.
func rangesFault(list []string, example string) (message string, limit Level) {
	ipv4, ipv6, wrong := "", "", ""
	for _, s := range list {
		switch s = strings.TrimSpace(s); cidrFamily(s) {
		case "IPv4":
			ipv4 = s
		case "IPv6":
			ipv6 = s
		default:
			if looksIPv6(s) {
				wrong = s
			}
		}
	}
	switch {
	case wrong != "":
		return quote(wrong) + " is not a CIDR; write address and prefix length, such as " + example, None
	case ipv4 != "" && ipv6 != "":
		return fmt.Sprintf("%s is an IPv4 range beside an IPv6 one, left from dual-stack; remove it", quote(ipv4)), Warn
	case ipv4 != "":
		return fmt.Sprintf("%s is an IPv4 range, which this cluster cannot use; give an IPv6 one, such as %s", quote(ipv4), example), None
	case ipv6 != "" && siteLocal.Overlaps(ipv6Prefix(ipv6)):
		return quote(ipv6) + " is site-local, which RFC 3879 deprecates; use a range of fd00::/8", Warn
	}
	return "", None
}

// looksIPv6: somebody meant an IPv6 address or range; a template or a variable is not meant so.
func looksIPv6(s string) bool {
	return strings.Count(s, ":") > 1 && strings.Trim(strings.ToLower(s), "0123456789abcdef:./") == ""
}

// serviceRangeFault judges the size of the Service range.
func serviceRangeFault(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return ""
	case 128-p.Bits() > maxServiceBits:
		return fmt.Sprintf("%s is larger than /%d; use a /%d to /112", quote(p.String()), 128-maxServiceBits, 128-maxServiceBits)
	case 1<<(128-p.Bits()) < minServiceAddresses:
		return fmt.Sprintf("%s holds fewer than %d addresses; use a /112", quote(p.String()), minServiceAddresses)
	}
	return ""
}

// nodeMaskFault judges how a pod range is cut into one range for each node.
func nodeMaskFault(p netip.Prefix, mask int) string {
	switch {
	case !p.IsValid():
		return ""
	case mask > 128 || mask < 1:
		return fmt.Sprintf("a node mask of /%d is no IPv6 prefix length; use one from /%d to /%d", mask, p.Bits(), min(128, p.Bits()+maxNodeBits))
	case p.Bits() > mask:
		return fmt.Sprintf("%s is smaller than the /%d of one node; use a /%d to /%d, or set node-cidr-mask-size-ipv6",
			quote(p.String()), mask, max(mask-maxNodeBits, 1), mask)
	case mask-p.Bits() > maxNodeBits:
		return fmt.Sprintf("%s is cut into /%d for each node, %d bits, at most %d can be; use a /%d or longer",
			quote(p.String()), mask, mask-p.Bits(), maxNodeBits, mask-maxNodeBits)
	}
	return ""
}

// A hostFault is what is wrong with one "host:port", host or address; "" if nothing is, or the value is a name or a placeholder.
func hostFault(s string) string {
	host := s
	if rest, ok := strings.CutPrefix(s, "["); ok {
		end := strings.IndexByte(rest, ']')
		if end < 0 {
			return quote(s) + ` lacks the closing bracket; write "[address]:port"`
		}
		host = rest[:end]
	} else if strings.Count(s, ":") == 1 {
		host, _, _ = strings.Cut(s, ":")
	}
	switch family := ipFamily(host); {
	case family == "IPv4" && !isLoopback4(host):
		return quote(s) + " is IPv4, which no IPv6-only node reaches; give a DNS name or an IPv6 address in brackets"
	case family == "" && !strings.HasPrefix(s, "[") && looksIPv6(host):
		return quote(s) + ` is no IPv6 address, port and address run together; write "[address]:port"`
	}
	return ""
}

// urlFault is what is wrong with the host of a URL.
func urlFault(s string) string {
	_, rest, ok := strings.Cut(s, "://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if !strings.HasPrefix(host, "[") && looksIPv6(host) {
		return quote(s) + " has an IPv6 address without brackets; write https://[address]:port"
	}
	return hostFault(host)
}
