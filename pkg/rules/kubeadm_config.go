package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// kubeadmConfig judges what kubeadm builds a cluster from.
//
// Source: k8s.io/kubernetes v1.37.0, cmd/kubeadm/app/apis/kubeadm/validation/validation.go, and measured with its binary
// (`kubeadm config validate`); pkg/controlplane/apiserver/options/validation.go; cmd/kube-controller-manager/app/core.go. Addresses to
// listen on are the business of listen-kubernetes-component.
func kubeadmConfig() *Rule {
	return &Rule{
		ID: "kubeadm-config", Since: "v0.1.0", Level: Deny,
		Title: "kubeadm configuration for IPv4, or with ranges that do not add up",
		CEL:   &CEL{Never: auditAlone},
		Targets: append(configuration("kubeadm.k8s.io", "v1beta4", "ClusterConfiguration", "InitConfiguration", "JoinConfiguration"),
			auditOnly(targetConfigMap)...),
		Check: checkKubeadm,
	}
}

const (
	examplePodRange     = "fd00:10:244::/56"
	exampleServiceRange = "fd00:10:96::/112"
)

func checkKubeadm(req *Request) []Finding {
	var out []Finding
	for _, d := range componentDocuments(req, "kubeadm.k8s.io", &out) {
		switch d.Kind() {
		case "ClusterConfiguration":
			d.kubeadmNetworking()
			d.kubeadmControlPlane()
			d.kubeadmEtcd()
		case "InitConfiguration":
			d.advertise(Path{"localAPIEndpoint", "advertiseAddress"})
			d.nodeRegistration()
		case "JoinConfiguration":
			d.advertise(Path{"controlPlane", "localAPIEndpoint", "advertiseAddress"})
			d.endpoint(Path{"discovery", "bootstrapToken", "apiServerEndpoint"})
			d.nodeRegistration()
		}
	}
	return out
}

// kubeadmNetworking judges the ranges, as kubeadm's ValidateNetworking does.
func (d document) kubeadmNetworking() {
	pods, services := Path{"networking", "podSubnet"}, Path{"networking", "serviceSubnet"}
	d.ranges(pods, d.Str(pods...), examplePodRange)
	d.ranges(services, d.Str(services...), exampleServiceRange)
	manager := d.arguments("controllerManager", "extraArgs")
	podRange, serviceRange := ipv6Prefix(d.Str(pods...)), ipv6Prefix(d.Str(services...))
	if message := serviceRangeFault(serviceRange); message != "" {
		d.report(services, None, message+" (kubeadm refuses it)")
	}
	if podRange.IsValid() && serviceRange.IsValid() && podRange.Overlaps(serviceRange) {
		d.report(services, Warn, fmt.Sprintf("%s overlaps podSubnet %s; give Services a range of their own", quote(serviceRange.String()), quote(podRange.String())))
	}
	if podRange.IsValid() && manager["allocate-node-cidrs"].value != "false" {
		mask := defaultNodeMask
		if text := manager["node-cidr-mask-size-ipv6"].value; text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				return
			}
			mask = n
		}
		if message := nodeMaskFault(podRange, mask); message != "" {
			if old, ok := manager["node-cidr-mask-size"]; ok && manager["node-cidr-mask-size-ipv6"].value == "" {
				message = fmt.Sprintf("%s is not read by kubeadm, which takes /%d; rename it node-cidr-mask-size-ipv6 (podSubnet has /%d)", quote(old.value), defaultNodeMask, podRange.Bits())
				d.report(old.path, None, message)
			} else {
				d.report(pods, None, message+" (kubeadm refuses it)")
			}
		}
	}
	// kube-controller-manager, setNodeCIDRMaskSizes. It starts no node allocation with these.
	single := podRange.IsValid() && !strings.Contains(d.Str(pods...), ",")
	if a, ok := manager["node-cidr-mask-size-ipv4"]; ok && single {
		d.report(a.path, None, quote(a.value)+" is refused by kube-controller-manager in an IPv6-only cluster; remove it")
	}
	if a, ok := manager["node-cidr-mask-size"]; ok && single && has6(manager) {
		d.report(a.path, None, quote(a.value)+" is refused by kube-controller-manager beside node-cidr-mask-size-ipv6; remove it")
	}
}

func has6(args map[string]argument) bool { return args["node-cidr-mask-size-ipv6"].value != "" }

// kubeadmControlPlane judges endpoint, names of the certificate and arguments.
func (d document) kubeadmControlPlane() {
	d.endpoint(Path{"controlPlaneEndpoint"})
	d.certSANs(Path{"apiServer", "certSANs"})
	for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
		args := d.arguments(component, "extraArgs")
		for _, name := range sortedKeys(args) {
			a := args[name]
			switch name {
			case "advertise-address":
				d.advertise(a.path)
			case "service-cluster-ip-range":
				d.ranges(a.path, a.value, exampleServiceRange)
				if component == "apiServer" {
					d.report(a.path, Warn, serviceRangeFault(ipv6Prefix(a.value)))
				}
			case "cluster-cidr":
				d.ranges(a.path, a.value, examplePodRange)
				if args["allocate-node-cidrs"].value == "true" {
					text := cmp.Or(args["node-cidr-mask-size-ipv6"].value, args["node-cidr-mask-size"].value, strconv.Itoa(defaultNodeMask))
					if mask, err := strconv.Atoi(text); err == nil {
						d.report(a.path, None, nodeMaskFault(ipv6Prefix(a.value), mask))
					}
				}
			case "etcd-servers":
				d.urls(a.path, strings.Split(a.value, ","))
			}
		}
	}
}

// kubeadmEtcd judges where etcd is dialled. What it listens on is the business of listen-kubernetes-component.
func (d document) kubeadmEtcd() {
	for i, url := range d.Strings("etcd", "external", "endpoints") {
		d.urls(Path{"etcd", "external", "endpoints", i}, []string{url})
	}
	d.certSANs(Path{"etcd", "local", "serverCertSANs"})
	d.certSANs(Path{"etcd", "local", "peerCertSANs"})
	args := d.arguments("etcd", "local", "extraArgs")
	for _, name := range sortedKeys(args) {
		a := args[name]
		urls := strings.Split(a.value, ",")
		switch name {
		case "advertise-client-urls", "initial-advertise-peer-urls":
			d.urls(a.path, urls)
		case "initial-cluster":
			for i := range urls {
				_, urls[i], _ = strings.Cut(urls[i], "=")
			}
			d.urls(a.path, urls)
		case "listen-client-urls", "listen-peer-urls", "listen-metrics-urls":
			// An IPv4 address is reported where all listeners are.
			for _, url := range urls {
				if message := urlFault(url); strings.Contains(message, "brackets;") {
					d.report(a.path, None, message)
					break
				}
			}
		}
	}
}

// urls reports the first URL with a fault.
func (d document) urls(path Path, urls []string) {
	for _, url := range urls {
		if message := urlFault(strings.TrimSpace(url)); message != "" {
			d.report(path, None, message)
			return
		}
	}
}

// endpoint judges a "host:port" that nodes dial; kubeadm's ParseHostPort reads it with net.SplitHostPort.
func (d document) endpoint(path Path) {
	value := d.Str(path...)
	switch message := hostFault(value); {
	case message != "":
		d.report(path, None, message)
	case strings.HasPrefix(value, "[") && strings.HasSuffix(value, "]"):
		d.report(path, None, quote(value)+" has brackets and no port, kubeadm refuses it; add the port")
	case ipFamily(value) == "IPv6" && strings.HasSuffix(value, ":6443"):
		d.report(path, Warn, quote(value)+` is one IPv6 address, without port; if 6443 is the port write "[address]:6443"`)
	}
}

// advertise judges the address that the API server publishes. kube-apiserver does not start where it is of another family than
// the Service range (validatePublicIPServiceClusterIPRangeIPFamilies).
func (d document) advertise(path Path) {
	value := d.Str(path...)
	switch family := ipFamily(value); {
	case family == "IPv4" && (isUnspecified(value) || isLoopback4(value)):
		// Both mean the default address; an IPv4 one is preferred.
		d.report(path, Warn, quote(value)+" becomes an IPv4 address of the node where it has one; give the node's IPv6 address")
	case family == "IPv4":
		d.report(path, None, quote(value)+" is IPv4, the API server does not start with it beside an IPv6 Service range; give the node's IPv6 address")
	case family == "" && strings.ContainsAny(value, "[]"):
		d.report(path, None, quote(value)+" is refused: an address stands here without brackets and port; remove them")
	}
}

// certSANs judges names of a certificate. IPv4 ones do no harm and help nobody.
func (d document) certSANs(path Path) {
	for i, name := range d.Strings(path...) {
		switch {
		case strings.ContainsAny(name, "[]"):
			d.report(path.With(i), None, quote(name)+" is no name of a certificate, kubeadm refuses it; write the address without brackets and port")
		case ipFamily(name) == "IPv4" && !isLoopback4(name):
			d.report(path.With(i), Warn, quote(name)+" is IPv4, no client of this cluster dials it; give the IPv6 address or a DNS name")
		}
	}
}

// nodeRegistration judges the kubelet's arguments.
func (d document) nodeRegistration() {
	args := d.arguments("nodeRegistration", "kubeletExtraArgs")
	if a, ok := args["node-ip"]; ok {
		d.addresses(a.path, strings.Split(a.value, ","), "is IPv4, the node would register without its IPv6 address; give that one")
	}
	if a, ok := args["cluster-dns"]; ok {
		d.addresses(a.path, strings.Split(a.value, ","), clusterDNSMessage)
	}
}

const clusterDNSMessage = "is IPv4, no pod reaches it and no name resolves; give the IPv6 address of the cluster DNS Service"

// kubeletConfig judges the kubelet's configuration file.
//
// Source: k8s.io/kubernetes v1.37.0, pkg/kubelet/kubelet.go and network/dns (clusterDNS goes into the resolv.conf of pods as it is). address and
// healthzBindAddress are the business of listen-kubernetes-component.
func kubeletConfig() *Rule {
	return &Rule{
		ID: "kubelet-config", Since: "v0.1.0", Level: Deny,
		Title:   "kubelet gives pods an IPv4 DNS server, or reads from an IPv4 address",
		CEL:     &CEL{Never: auditAlone},
		Targets: append(configuration("kubelet.config.k8s.io", "v1beta1", "KubeletConfiguration"), auditOnly(targetConfigMap)...),
		Check:   checkKubelet,
	}
}

func checkKubelet(req *Request) []Finding {
	var out []Finding
	for _, d := range componentDocuments(req, "kubelet.config.k8s.io", &out) {
		if d.Kind() != "KubeletConfiguration" {
			continue
		}
		servers := d.Strings("clusterDNS")
		usable := slices.ContainsFunc(servers, func(s string) bool { return ipFamily(s) == "IPv6" })
		for i, s := range servers {
			path := Path{"clusterDNS", i}
			switch family := ipFamily(s); {
			case family == "IPv4" && usable:
				d.report(path, Warn, quote(s)+" is IPv4, each lookup of a pod may wait for it; remove it")
			case family == "IPv4":
				message := quote(s) + " " + clusterDNSMessage
				if a := req.Policy.Cluster.DNS.Address; a != "" {
					message += ", " + a
				}
				d.report(path, None, message)
			case family == "" && s != "" && (looksIPv6(s) || strings.ContainsAny(s, "[]")):
				d.report(path, None, quote(s)+" is no address, the kubelet leaves it out; write the address alone")
			}
		}
		d.urls(Path{"staticPodURL"}, []string{d.Str("staticPodURL")})
		d.ranges(Path{"podCIDR"}, d.Str("podCIDR"), examplePodRange)
	}
	return out
}

// kubeProxyConfig judges kube-proxy's configuration file.
//
// Source: k8s.io/kubernetes v1.37.0, cmd/kube-proxy/app/server.go (detectNodeIPs, checkBadIPConfig: an error in the log, fatal only where
// the kernel has one family) and pkg/proxy/util/nodeport_addresses.go. healthzBindAddress
// and metricsBindAddress are the business of listen-kubernetes-component; bindAddress is bound by nothing.
func kubeProxyConfig() *Rule {
	return &Rule{
		ID: "kube-proxy-config", Since: "v0.1.0", Level: Warn,
		Title:   "kube-proxy is configured for IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: append(configuration("kubeproxy.config.k8s.io", "v1alpha1", "KubeProxyConfiguration"), auditOnly(targetConfigMap)...),
		Check:   checkKubeProxy,
	}
}

func checkKubeProxy(req *Request) []Finding {
	var out []Finding
	for _, d := range componentDocuments(req, "kubeproxy.config.k8s.io", &out) {
		if d.Kind() != "KubeProxyConfiguration" {
			continue
		}
		bind := d.Str("bindAddress")
		if ipFamily(bind) == "IPv4" && !isUnspecified(bind) {
			d.report(Path{"bindAddress"}, Warn, quote(bind)+` makes IPv4 the first family of kube-proxy on this node; use "::"`)
		}
		if cidrs := d.Str("clusterCIDR"); cidrs != "" {
			message, _ := rangesFault(strings.Split(cidrs, ","), examplePodRange)
			d.report(Path{"clusterCIDR"}, Warn, message)
		}
		addresses := d.Strings("nodePortAddresses")
		ipv4 := func(s string) bool { return cidrFamily(s) == "IPv4" }
		if i := slices.IndexFunc(addresses, ipv4); i >= 0 && !slices.ContainsFunc(addresses, func(s string) bool { return !ipv4(s) }) {
			d.report(Path{"nodePortAddresses", i}, Warn, quote(addresses[i])+` limits IPv4 only, node ports are open on every IPv6 address; use "primary"`)
		}
		for i, s := range d.Strings("ipvs", "excludeCIDRs") {
			if ipv4(s) {
				d.report(Path{"ipvs", "excludeCIDRs", i}, Warn, quote(s)+" is IPv4 and protects nothing here; give the IPv6 range")
			}
		}
	}
	return out
}
