package live

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// A Fact is one thing that is true of a cluster.
type Fact[T any] struct {
	Value    T
	Evidence string // by what it is known, one line
	Err      error  // why it is not known; then Value means nothing
}

// Unread reports whether a fact is not known because the API server refused to tell, or failed.
func (f Fact[T]) Unread() bool {
	_, ok := errors.AsType[*unreadError](f.Err)
	return ok
}

// An unreadError is a request that was not answered.
type unreadError struct {
	what string
	err  error
}

func (e *unreadError) Error() string { return e.what + ": " + oneLine(e.err.Error()) }
func (e *unreadError) Unwrap() error { return e.err }

// unread adds to an error of the API server what was asked for, and the right that it needs where that is missing.
func unread(verb, resource string, err error) error {
	if err == nil {
		return nil
	}
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("forbidden; it needs the verb %s on %s", verb, resource)
	}
	return &unreadError{verb + " " + resource, err}
}

// A Cluster is what a policy says of one, as far as the API server tells.
type Cluster struct {
	Server, Version string

	Families    Fact[[]string]
	Nodes       Fact[string] // IPv6 or DualStack
	CNI         Fact[CNI]
	Multus      Fact[bool]
	Proxy       Fact[string] // what routes cluster IPs; "": nothing that was seen
	DNS         Fact[DNSService]
	NAT64       Fact[netip.Prefix] // the zero value: DNS makes no AAAA records
	Certificate Fact[*x509.Certificate]
	Host        Fact[HostPort] // for pods, in place of the cluster IP of the API server
	Pools       []Pool
	PoolErrs    []PoolError

	config *rest.Config
	client rest.Interface
}

// A PoolError is a kind of pools that could not be read.
type PoolError struct {
	CNI string // whose pools for pods they are; "" for those of Services, "*" for any
	Err error
}

// A HostPort is an address of the API server.
type HostPort struct {
	Host string
	Port int
}

// Read reads a cluster. The error says that it cannot be reached or that its user is not known; whatever else cannot be read is an
// error of that one fact. Only with dns64 the cluster's DNS is asked, which takes some seconds where it does not answer.
func Read(ctx context.Context, config *rest.Config, dns64 bool) (*Cluster, error) {
	interrupted := ctx
	ctx, cancel := context.WithTimeout(klog.NewContext(ctx, klog.Logger{}), readLimit) // what matters is returned as an error
	defer cancel()
	config = rest.CopyConfig(config)
	config.Timeout = requestLimit
	config.QPS = -1 // some 30 requests, once
	c := &Cluster{Server: config.Host, config: config}
	if u, err := url.Parse(c.Server); err == nil {
		c.Server = u.Redacted()
	}
	version, certificate, err := versionOf(ctx, config)
	if err != nil {
		return nil, err
	}
	c.Version = version
	if c.client, err = newClient(config); err != nil {
		return nil, err
	}
	c.Certificate = certificateFact(certificate, c.Server)
	if c.Host.Err = c.Certificate.Err; c.Host.Err == nil {
		c.Host = apiServerHost(certificate, c.Server)
	}

	families, from, err := ServiceFamilies(ctx, c.client)
	c.Families = Fact[[]string]{families, from, err}

	s, versions := c.signs(ctx)
	c.CNI, c.Proxy = s.cni(), s.proxy()
	multus := programsIn(s.sets, []program{{"multus", []string{"multus", "kube-multus-ds"}}})["multus"]
	c.Multus = Fact[bool]{multus != "", "DaemonSet " + multus, s.setsErr}
	c.readPools(ctx, versions)
	c.readDNS(ctx)
	if dns64 {
		c.readNAT64(ctx, s)
	} else {
		c.NAT64.Err = errors.New("not asked for")
	}
	if err := context.Cause(interrupted); err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	return c, nil
}

// signs reads what tells the CNI, and which versions of which API groups are served; nil where that is not known.
func (c *Cluster) signs(ctx context.Context) (*signs, map[string][]string) {
	s := &signs{}
	var err error
	s.sets, err = list[appsv1.DaemonSet](ctx, c.client, "/apis/apps/v1/daemonsets", "")
	s.setsErr = unread("list", "daemonsets", err)
	s.nodes, err = list[corev1.Node](ctx, c.client, "/api/v1/nodes", "")
	if c.Nodes = nodeFamilies(s.nodes); err != nil {
		c.Nodes.Err = unread("list", "nodes", err)
	}
	s.cilium, s.calico, s.kubeProxy = c.configMap(ctx, "cilium-config"), c.configMap(ctx, "calico-config"), c.configMap(ctx, "kube-proxy")

	var groups metav1.APIGroupList
	if err := get(ctx, c.client, "/apis", &groups); err != nil {
		c.PoolErrs = append(c.PoolErrs, PoolError{"*", unread("get", "/apis", err)})
		return s, nil
	}
	versions := map[string][]string{}
	for _, g := range groups.Groups {
		s.groups = append(s.groups, g.Name)
		versions[g.Name] = append(versions[g.Name], g.PreferredVersion.Version)
		for _, v := range g.Versions {
			if v.Version != g.PreferredVersion.Version {
				versions[g.Name] = append(versions[g.Name], v.Version)
			}
		}
	}
	if slices.Contains(s.groups, "operator.tigera.io") {
		var installation struct {
			Spec struct {
				CNI struct {
					Type string
					IPAM struct{ Type string }
				}
			}
		}
		if err := get(ctx, c.client, "/apis/operator.tigera.io/v1/installations/default", &installation); err == nil {
			s.tigeraCNI, s.tigeraIPAM = installation.Spec.CNI.Type, installation.Spec.CNI.IPAM.Type
		}
	}
	return s, versions
}

func (c *Cluster) configMap(ctx context.Context, name string) *config {
	var m corev1.ConfigMap
	err := get(ctx, c.client, "/api/v1/namespaces/kube-system/configmaps/"+name, &m)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return &config{m.Data, unread("get", "configmaps of kube-system", err)}
}

// readPools asks each version of a group that is served, the preferred one first: a group need not have all of its kinds in it.
func (c *Cluster) readPools(ctx context.Context, versions map[string][]string) {
	type object struct {
		Metadata struct{ Namespace, Name string }
		Spec     map[string]any
	}
kinds:
	for _, k := range poolKinds() {
		for _, group := range k.groups {
			for _, v := range versions[group] {
				objects, err := list[object](ctx, c.client, "/apis/"+group+"/"+v+"/"+k.resource, "")
				if apierrors.IsNotFound(err) {
					continue
				}
				if err != nil {
					c.PoolErrs = append(c.PoolErrs, PoolError{k.cni, unread("list", k.resource+"."+group, err)})
				}
				for _, o := range objects {
					c.Pools = append(c.Pools, k.poolOf(o.Metadata.Namespace, o.Metadata.Name, o.Spec))
				}
				continue kinds
			}
		}
	}
	slices.SortStableFunc(c.Pools, func(a, b Pool) int {
		return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
	})
}

// DNSServiceAt reads a Service by name.
func (c *Cluster) DNSServiceAt(ctx context.Context, namespace, name string) Fact[DNSService] {
	if c.DNS.Err == nil && c.DNS.Value.Namespace == namespace && c.DNS.Value.Name == name {
		return c.DNS
	}
	var svc corev1.Service
	err := get(ctx, c.client, "/api/v1/namespaces/"+url.PathEscape(namespace)+"/services/"+url.PathEscape(name), &svc)
	if apierrors.IsNotFound(err) {
		return Fact[DNSService]{Err: fmt.Errorf("there is no Service %s/%s", namespace, name)}
	}
	return Fact[DNSService]{Value: dnsServiceOf(&svc), Evidence: "Service " + namespace + "/" + name, Err: unread("get", "services of "+namespace, err)}
}

func (c *Cluster) readDNS(ctx context.Context) {
	services, err := list[corev1.Service](ctx, c.client, "/api/v1/namespaces/kube-system/services", "k8s-app=kube-dns")
	if err != nil {
		c.DNS.Err = unread("list", "services of kube-system", err)
	} else if c.DNS.Value, c.DNS.Err = chooseDNS(services); c.DNS.Err == nil {
		c.DNS.Evidence = "label k8s-app=kube-dns"
	}
}

func (c *Cluster) readNAT64(ctx context.Context, s *signs) {
	answer, err := c.askDNS(ctx)
	c.NAT64 = nat64(c.configMap(ctx, "coredns"), answer, err)
	if c.NAT64.Err != nil && s.cilium.get("enable-nat46x64-gateway") == "true" {
		c.NAT64.Err = fmt.Errorf("%w; Cilium's NAT46/64 gateway is on (ConfigMap kube-system/cilium-config)", c.NAT64.Err)
	}
}

// askDNS asks the cluster's DNS for the AAAA records of ipv4only.arpa: by its address, which answers in pods and on nodes, else through
// the API server.
func (c *Cluster) askDNS(ctx context.Context) (dnsAnswer, error) {
	var direct error
	if address := cmp.Or(c.DNS.Value.IPv6, c.DNS.Value.IPv4); c.DNS.Err == nil && address != "" {
		at := net.JoinHostPort(address, "53")
		where := at + " from this machine"
		answers, err := askIPv4Only(ctx, func(ctx context.Context, network string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		})
		if err == nil {
			return dnsAnswer{answers, where}, nil
		}
		direct = fmt.Errorf("%s: %w", where, err)
	}
	answer, err := c.askThroughAPIServer(ctx)
	if err != nil {
		if direct != nil {
			err = fmt.Errorf("%w; %w", direct, err)
		}
		return dnsAnswer{}, fmt.Errorf("AAAA records of ipv4only.arpa could not be asked for: %w", err)
	}
	return answer, nil
}

// nat64 decides by an answer of the cluster's DNS, and by its configuration where it could not be asked.
func nat64(corefile *config, answer dnsAnswer, err error) Fact[netip.Prefix] {
	const records, config = "AAAA records of ipv4only.arpa", "dns64 in ConfigMap kube-system/coredns"
	if err == nil {
		found := nat64Prefixes(answer.addresses)
		switch {
		case len(answer.addresses) == 0:
			return Fact[netip.Prefix]{Evidence: "no " + records + ", asked " + answer.where}
		case len(found) == 1:
			return Fact[netip.Prefix]{Value: found[0], Evidence: records + " (RFC 7050), asked " + answer.where}
		}
		return Fact[netip.Prefix]{Err: fmt.Errorf("%d prefixes in the %s, asked %s", len(found), records, answer.where)}
	}
	var configured []netip.Prefix
	if corefile != nil && corefile.err == nil {
		var bad error
		if configured, bad = corefilePrefixes(corefile.get("Corefile")); bad != nil {
			err = fmt.Errorf("%w; %s: %w", err, config, bad)
		}
	}
	switch len(configured) {
	case 0:
		return Fact[netip.Prefix]{Err: &unaskedError{err}}
	case 1:
		return Fact[netip.Prefix]{Value: configured[0], Evidence: config + "; DNS itself could not be asked"}
	}
	return Fact[netip.Prefix]{Err: fmt.Errorf("several prefixes by %s: %v", config, configured)}
}

// An unaskedError is not that of one right which is missing: there are several ways to ask, and none may be open to a good user.
type unaskedError struct{ err error }

func (e *unaskedError) Error() string { return e.err.Error() }

// CertificateCovers says whether the API server shows a certificate that is good for a host to who asks for it.
func (c *Cluster) CertificateCovers(ctx context.Context, host string) bool {
	if covers(c.Certificate.Value, host) {
		return true
	}
	other, err := certificateFor(ctx, c.config, host)
	return err == nil && covers(other, host)
}

// CertificateNames are the names and addresses of the certificate, as it has them.
func (c *Cluster) CertificateNames() []string { return namesOf(c.Certificate.Value) }

func namesOf(certificate *x509.Certificate) []string {
	if certificate == nil {
		return nil
	}
	names := slices.Clone(certificate.DNSNames)
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
