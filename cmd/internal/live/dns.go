package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coredns/caddy/caddyfile"
	corev1 "k8s.io/api/core/v1"
)

// A DNSService is the Service of the cluster's DNS.
type DNSService struct {
	Namespace, Name string
	IPv6, IPv4      string // cluster IPs, "" without
}

func dnsServiceOf(s *corev1.Service) DNSService {
	d := DNSService{Namespace: s.Namespace, Name: s.Name}
	for _, ip := range s.Spec.ClusterIPs {
		a, err := netip.ParseAddr(ip)
		switch {
		case err != nil: // None
		case a.Is4():
			d.IPv4 = ip
		default:
			d.IPv6 = ip
		}
	}
	return d
}

// chooseDNS returns the one Service of kube-system that serves DNS: kube-dns where it is among several, as kubelets are told its
// address by most installers.
func chooseDNS(services []corev1.Service) (DNSService, error) {
	services = slices.DeleteFunc(slices.Clone(services), func(s corev1.Service) bool {
		return s.Spec.ClusterIP == corev1.ClusterIPNone || !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == 53 })
	})
	if i := slices.IndexFunc(services, func(s corev1.Service) bool { return s.Name == "kube-dns" }); i >= 0 {
		return dnsServiceOf(&services[i]), nil
	}
	switch len(services) {
	case 0:
		return DNSService{}, errors.New("no Service of kube-system with the label k8s-app=kube-dns serves port 53")
	case 1:
		return dnsServiceOf(&services[0]), nil
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	return DNSService{}, fmt.Errorf("several Services of kube-system have the label k8s-app=kube-dns: %s", strings.Join(names, ", "))
}

// corefilePrefixes returns the prefixes of the dns64 plugin in a Corefile, its default where it is given none.
//
// Source: coredns/coredns v1.12, plugin/dns64/setup.go and README.md.
func corefilePrefixes(text string) ([]netip.Prefix, error) {
	if len(text) > maxCorefile {
		return nil, fmt.Errorf("a Corefile of %d bytes", len(text))
	}
	// The tokens only: the parser would read files that a Corefile imports, from this machine.
	d := caddyfile.NewDispenser("Corefile", strings.NewReader(text))
	var out []netip.Prefix
	depth, line := 0, 0
	for d.Next() {
		first := d.Line() != line
		line = d.Line()
		switch t := d.Val(); {
		case t == "{":
			depth++
		case t == "}":
			depth--
		case t == "dns64" && depth == 1 && first:
			prefix := "64:ff9b::/96" // the well-known prefix of RFC 6052
			if args := d.RemainingArgs(); len(args) > 0 {
				prefix = args[0]
			}
			for d.NextBlock() {
				if d.Val() == "prefix" && d.NextArg() {
					prefix = d.Val()
				}
			}
			line = d.Line()
			p, err := netip.ParsePrefix(prefix)
			if err != nil {
				return nil, fmt.Errorf("dns64 with prefix %q", prefix)
			}
			if !slices.Contains(out, p.Masked()) {
				out = append(out, p.Masked())
			}
		}
	}
	return out, nil
}

// maxCorefile is more than a ConfigMap holds.
const maxCorefile = 1 << 20

// ipv4Only are the addresses of ipv4only.arpa.
//
// Source: RFC 7050 section 8.2.
func ipv4Only() []netip.Addr {
	return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}
}

// nat64Prefixes returns the prefixes by which AAAA records of ipv4only.arpa were made. A prefix counts only if the well-known address is
// in one place of an answer alone; else it is not known which one is meant.
//
// Source: RFC 7050 section 3, RFC 6052 section 2.2.
func nat64Prefixes(answers []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range answers {
		var found []netip.Prefix
		for _, bits := range []int{32, 40, 48, 56, 64, 96} {
			if slices.Contains(ipv4Only(), embedded(a, bits)) {
				p, _ := a.Prefix(bits)
				found = append(found, p)
			}
		}
		if len(found) == 1 && !slices.Contains(out, found[0]) {
			out = append(out, found[0])
		}
	}
	return out
}

// embedded is the IPv4 address behind a prefix; octet 8, which must be zero, is not part of it.
func embedded(a netip.Addr, bits int) netip.Addr {
	octets := a.As16()
	var v4 [4]byte
	at := bits / 8
	for i := range v4 {
		if at == 8 {
			at++
		}
		v4[i] = octets[at]
		at++
	}
	return netip.AddrFrom4(v4)
}

// A dialer connects to a DNS server, over udp or tcp.
type dialer func(ctx context.Context, network string) (net.Conn, error)

// A dnsAnswer is what was answered, and by whom.
type dnsAnswer struct {
	addresses []netip.Addr
	where     string
}

const dnsLimit = 5 * time.Second

// askIPv4Only asks a DNS server for the AAAA records of ipv4only.arpa; none is an answer.
func askIPv4Only(ctx context.Context, dial dialer) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsLimit)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, StrictErrors: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network) }}
	answers, err := resolver.LookupNetIP(ctx, "ip6", "ipv4only.arpa.")
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		if e.IsNotFound {
			return nil, nil
		}
		if e.IsTimeout {
			return nil, fmt.Errorf("no answer in %v", dnsLimit)
		}
		return nil, errors.New(e.Err)
	}
	return answers, err
}
