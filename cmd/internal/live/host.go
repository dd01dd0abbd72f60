package live

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ServerHost returns host and port of an API server's URL. A URL with a path is that of a proxy, and an error.
func ServerHost(server string) (HostPort, error) {
	u, err := url.Parse(server)
	if err != nil {
		return HostPort{}, err
	}
	if strings.Trim(u.Path, "/") != "" {
		return HostPort{}, fmt.Errorf("a proxy stands before the API server: %s has a path", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	n, err := strconv.Atoi(port)
	return HostPort{u.Hostname(), n}, err
}

// apiServerHost chooses a host that the certificate is good for and that others can dial over IPv6: the one of the kubeconfig, which just
// worked; else a public name; else an address. The port is that of the kubeconfig.
func apiServerHost(certificate *x509.Certificate, server string) Fact[HostPort] {
	at, err := ServerHost(server)
	if err != nil {
		return Fact[HostPort]{Err: err}
	}
	if certificate == nil {
		return Fact[HostPort]{Err: errors.New("the certificate of the API server is not known")}
	}
	if publicName(at.Host) && covers(certificate, at.Host) {
		return Fact[HostPort]{Value: at, Evidence: "this kubeconfig dials it"}
	}
	for _, name := range certificate.DNSNames {
		if publicName(name) && covers(certificate, name) {
			return Fact[HostPort]{Value: HostPort{name, at.Port}, Evidence: "a name of the certificate; the port is that of this kubeconfig"}
		}
	}
	if dialled, err := netip.ParseAddr(at.Host); err == nil && publicAddress(dialled) && covers(certificate, at.Host) {
		return Fact[HostPort]{Value: at, Evidence: "this kubeconfig dials it; a DNS name would be better, and the certificate has none for others"}
	}
	return Fact[HostPort]{Err: errors.New("the certificate has neither a DNS name for others nor the IPv6 address that this kubeconfig dials")}
}

// publicName: a DNS name that more than the cluster's own DNS or one machine resolves.
func publicName(name string) bool {
	if _, err := netip.ParseAddr(name); err == nil || !strings.Contains(name, ".") || strings.Contains(name, "*") {
		return false
	}
	for _, suffix := range []string{".svc", ".local", ".localdomain", ".localhost"} {
		if strings.HasSuffix(strings.ToLower(strings.TrimSuffix(name, ".")), suffix) {
			return false
		}
	}
	return !strings.HasPrefix(name+".", "kubernetes.default.")
}

// certificateFact says what is known of a certificate. Every API server's own names the Service in front of it; one that does not is
// shown by something else on the way.
func certificateFact(certificate *x509.Certificate, server string) Fact[*x509.Certificate] {
	f := Fact[*x509.Certificate]{Value: certificate, Evidence: "shown at " + server}
	switch _, err := ServerHost(server); {
	case certificate == nil:
		f.Err = errors.New("the connection has no TLS; is it kubectl proxy?")
	case err != nil:
		f.Err = err
	case !covers(certificate, "kubernetes.default.svc"):
		f.Err = fmt.Errorf("what is shown at %s does not name kubernetes.default.svc; it is that of a proxy", server)
	}
	return f
}

func publicAddress(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && a.IsGlobalUnicast() && a.Zone() == ""
}
