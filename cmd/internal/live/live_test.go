package live

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestNAT64Prefixes: the forms of RFC 6052 section 2.4, with the addresses of ipv4only.arpa.
func TestNAT64Prefixes(t *testing.T) {
	for _, tt := range []struct{ answers, want string }{
		{"2001:db8:c000:aa::", "2001:db8::/32"},
		{"2001:db8:1c0:0:aa::", "2001:db8:100::/40"},
		{"2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"},
		{"2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"},
		{"2001:db8:122:344:c0:0:aa00::", "2001:db8:122:344::/64"},
		{"2001:db8:122:344::192.0.0.170", "2001:db8:122:344::/96"},
		{"64:ff9b::c000:aa 64:ff9b::c000:ab", "64:ff9b::/96"},
		{"64:ff9b::c000:aa 2001:db8::c000:ab", "64:ff9b::/96 2001:db8::/96"},
		{"64:ff9b::c000:a9", ""},          // another address
		{"2001:db8:c000:aa::c000:aa", ""}, // in two places
		{"2001:db8::1 64:ff9b::c000:aa", "64:ff9b::/96"},
		{"", ""},
	} {
		var answers []netip.Addr
		for _, a := range strings.Fields(tt.answers) {
			answers = append(answers, netip.MustParseAddr(a))
		}
		var got []string
		for _, p := range nat64Prefixes(answers) {
			got = append(got, p.String())
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.answers, got, tt.want)
		}
	}
}

func TestCorefilePrefixes(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{".:53 {\n    dns64\n    forward . /etc/resolv.conf\n}\n", "[64:ff9b::/96]"},
		{".:53 {\n    dns64 2001:db8:64::/96\n}\n", "[2001:db8:64::/96]"},
		{".:53 {\n    dns64 {\n        translate_all\n        prefix 2001:db8:64::/96\n    }\n    cache\n}\n", "[2001:db8:64::/96]"},
		{". {\n dns64\n}\nexample.org {\n dns64 2001:db8::/96\n}\n", "[64:ff9b::/96 2001:db8::/96]"},
		{". {\n forward dns64 ::1\n # dns64\n rewrite name dns64 a\n}\n", "[]"},
		{". {\n log {\n  dns64\n }\n}\n", "[]"}, // an option of another plugin
		{"import /etc/hostname\n. {\n import /etc/passwd\n}\n", "[]"},
		{". {\n dns64 64\n}\n", `dns64 with prefix "64"`},
		{"", "[]"}, {"{", "[]"}, {"}}}", "[]"}, {". {\n dns64 {", "[64:ff9b::/96]"},
	} {
		got, err := corefilePrefixes(tt.text)
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if text != tt.want {
			t.Errorf("%q: %s, want %s", tt.text, text, tt.want)
		}
	}
	if _, err := corefilePrefixes(strings.Repeat("a", maxCorefile+1)); err == nil {
		t.Error("a Corefile without end is read")
	}
}

func TestNAT64(t *testing.T) {
	corefile := &config{data: map[string]string{"Corefile": ". {\n dns64\n}\n"}}
	addr := func(s string) dnsAnswer { return dnsAnswer{[]netip.Addr{netip.MustParseAddr(s)}, "here"} }
	unasked := errors.New("no route")
	for _, tt := range []struct {
		name     string
		corefile *config
		answer   dnsAnswer
		err      error
		want     string
	}{
		{"asked", nil, addr("2001:db8::c000:aa"), nil, "2001:db8::/96"},
		{"the answer counts, not the configuration", corefile, addr("2001:db8::c000:aa"), nil, "2001:db8::/96"},
		{"no record", corefile, dnsAnswer{where: "here"}, nil, "none"},
		{"no prefix", nil, addr("2001:db8::1"), nil, "error"},
		{"configured", corefile, dnsAnswer{}, unasked, "64:ff9b::/96"},
		{"neither", nil, dnsAnswer{}, unasked, "error"},
		{"forbidden", &config{err: errors.New("forbidden")}, dnsAnswer{}, unasked, "error"},
		{"no dns64", &config{data: map[string]string{"Corefile": ". {\n}\n"}}, dnsAnswer{}, unasked, "error"},
		{"two", &config{data: map[string]string{"Corefile": ". {\n dns64\n}\na {\n dns64 2001:db8::/96\n}"}}, dnsAnswer{}, unasked, "error"},
	} {
		f := nat64(tt.corefile, tt.answer, tt.err)
		got := "none"
		if f.Err != nil {
			got = "error"
		} else if f.Value.IsValid() {
			got = f.Value.String()
		}
		if got != tt.want || f.Unread() || f.Err == nil && f.Evidence == "" {
			t.Errorf("%s: %s (%s, %v), want %s", tt.name, got, f.Evidence, f.Err, tt.want)
		}
	}
}

func daemonSets(names ...string) []appsv1.DaemonSet {
	var out []appsv1.DaemonSet
	for _, n := range names {
		namespace, name, _ := strings.Cut(n, "/")
		name, label, _ := strings.Cut(name, "=")
		out = append(out, appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"k8s-app": label}}})
	}
	return out
}

func TestCNI(t *testing.T) {
	forbidden := unread("list", "daemonsets", errors.New("no"))
	data := func(key, value string) *config { return &config{data: map[string]string{key: value}} }
	k3s := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", Annotations: map[string]string{"flannel.alpha.coreos.com/backend-type": "vxlan"}}}
	k3s.Status.NodeInfo.KubeletVersion = "v1.37.0+k3s1"
	for _, tt := range []struct {
		name  string
		signs signs
		want  string // name, deaf, or the error
	}{
		{"Calico", signs{sets: daemonSets("calico-system/calico-node"), tigeraCNI: "Calico", tigeraIPAM: "Calico"}, "calico"},
		{"Calico by manifest", signs{sets: daemonSets("kube-system/calico-node"), calico: data("cni_network_config", `{"ipam": { "type": "calico-ipam" }}`)}, "calico"},
		{"Calico of unseen IPAM", signs{sets: daemonSets("kube-system/calico-node")}, "calico"},
		{"Calico with host-local", signs{sets: daemonSets("kube-system/calico-node"), calico: data("cni_network_config", `{"ipam":{"type":"host-local"}}`)}, "calico, deaf"},
		{"Calico for policies on AWS", signs{sets: daemonSets("calico-system/calico-node", "kube-system/aws-node"), tigeraCNI: "AmazonVPC"}, "aws-vpc-cni"},
		{"Canal", signs{sets: daemonSets("kube-system/rke2-canal=canal"), groups: []string{"crd.projectcalico.org"}}, "canal, deaf"},
		{"Cilium", signs{sets: daemonSets("kube-system/cilium", "kube-system/cilium-envoy=cilium-envoy"), cilium: data("ipam", "multi-pool")}, "cilium"},
		{"Cilium without pools", signs{sets: daemonSets("kube-system/cilium"), cilium: data("ipam", "cluster-pool")}, "cilium, deaf"},
		{"by label", signs{sets: daemonSets("x/y=kube-ovn-cni")}, "kube-ovn"},
		{"Flannel", signs{sets: daemonSets("kube-flannel/kube-flannel-ds")}, "flannel, deaf"},
		{"two", signs{sets: daemonSets("kube-system/cilium", "kube-system/calico-node")}, "error"},
		{"K3s", signs{nodes: []corev1.Node{k3s}}, "flannel, deaf"},
		{"what an uninstalled CNI left", signs{groups: []string{"cilium.io"}}, "error"},
		{"DaemonSets forbidden", signs{setsErr: forbidden, groups: []string{"cilium.io", "metallb.io"}}, "cilium"},
		{"DaemonSets forbidden, groups of two", signs{setsErr: forbidden, groups: []string{"cilium.io", "crd.antrea.io"}}, "error"},
		{"nothing read", signs{setsErr: forbidden}, "unread"},
		{"nothing", signs{}, "error"},
	} {
		f := tt.signs.cni()
		got := f.Value.Name
		switch {
		case f.Unread():
			got = "unread"
		case f.Err != nil:
			got = "error"
		case f.Value.Deaf != "":
			got += ", deaf"
		}
		if got != tt.want || f.Err == nil && f.Evidence == "" {
			t.Errorf("%s: %s (%s, %v), want %s", tt.name, got, f.Evidence, f.Err, tt.want)
		}
	}
}

func TestProxy(t *testing.T) {
	kubeProxy := func(text string) *config { return &config{data: map[string]string{"config.conf": text}} }
	for _, tt := range []struct {
		signs signs
		want  string
	}{
		{signs{sets: daemonSets("kube-system/kube-proxy"), kubeProxy: kubeProxy("mode: nftables\n")}, "kube-proxy, mode nftables"},
		{signs{sets: daemonSets("kube-system/kube-proxy"), kubeProxy: kubeProxy("mode: \"\"\n")}, "kube-proxy, mode the default of its version"},
		{signs{sets: daemonSets("kube-system/kube-proxy"), kubeProxy: &config{err: errors.New("no")}}, "kube-proxy, mode not known"},
		{signs{sets: daemonSets("kube-system/kube-proxy"), kubeProxy: kubeProxy("}")}, "kube-proxy, mode not known"},
		{signs{setsErr: errors.New("no"), kubeProxy: kubeProxy("mode: ipvs\n")}, "kube-proxy, mode ipvs"},
		{signs{cilium: &config{data: map[string]string{"kube-proxy-replacement": "true"}}}, "Cilium in place of kube-proxy"},
		{signs{cilium: &config{data: map[string]string{"kube-proxy-replacement": "false"}}}, ""},
		{signs{sets: daemonSets("ovn-kubernetes/ovnkube-node")}, "OVN-Kubernetes in place of kube-proxy"},
		{signs{setsErr: errors.New("no")}, "error"},
		{signs{kubeProxy: &config{err: errors.New("no")}}, "error"},
		{signs{cilium: &config{err: errors.New("no")}}, "error"},
		{signs{}, ""},
	} {
		f := tt.signs.proxy()
		if f.Err != nil {
			f.Value = "error"
		}
		if f.Value != tt.want {
			t.Errorf("%q, want %q", f.Value, tt.want)
		}
	}
}

func TestNodeFamilies(t *testing.T) {
	node := func(addresses ...string) corev1.Node {
		n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		for _, a := range addresses {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "n"})
		return n
	}
	for want, nodes := range map[string][]corev1.Node{
		"IPv6":      {node("2001:db8::1"), node("2001:db8::2")},
		"DualStack": {node("2001:db8::1"), node("2001:db8::2", "192.0.2.1")},
		"error":     {node()},
	} {
		f := nodeFamilies(nodes)
		if f.Err != nil {
			f.Value = "error"
		}
		if f.Value != want {
			t.Errorf("%s, want %s", f.Value, want)
		}
	}
	if nodeFamilies(nil).Err == nil {
		t.Error("nodes of an empty cluster")
	}
}

// TestPools: what the CRDs of each system look like, and what has another shape than they say.
func TestPools(t *testing.T) {
	for _, tt := range []struct{ kind, spec, ipv6, ipv4, unusable string }{
		{"IPPool", `{"cidr": "2001:db8:42::/64", "allowedUses": ["Workload", "Tunnel"]}`, "[2001:db8:42::/64]", "[]", ""},
		{"IPPool", `{"cidr": "10.0.0.0/8", "disabled": true}`, "[]", "[10.0.0.0/8]", "disabled"},
		{"IPPool", `{"cidr": "2001:db8::/64", "allowedUses": ["LoadBalancer"]}`, "[2001:db8::/64]", "[]", "allowedUses without Workload"},
		{"CiliumPodIPPool", `{"ipv4": {"cidrs": ["10.0.0.0/8"], "maskSize": 24}, "ipv6": {"cidrs": ["fd00::/104", "fd01::/104"], "maskSize": 120}}`, "[fd00::/104 fd01::/104]", "[10.0.0.0/8]", ""},
		{"CiliumLoadBalancerIPPool", `{"blocks": [{"cidr": "2001:db8::/120"}, {"start": "2001:db8:1::1", "stop": "2001:db8:1::9"}, {"start": "192.0.2.1"}]}`,
			"[2001:db8::/120 2001:db8:1::1-2001:db8:1::9]", "[192.0.2.1]", ""},
		{"MetalLB IPAddressPool", `{"addresses": ["192.0.2.1-192.0.2.9", "2001:db8::1-2001:db8::9", "2001:db8:1::/124"]}`, "[2001:db8::1-2001:db8::9 2001:db8:1::/124]", "[192.0.2.1-192.0.2.9]", ""},
		{"Antrea ExternalIPPool", `{"ipRanges": [{"start": "2001:db8::1", "end": "2001:db8::9"}]}`, "[2001:db8::1-2001:db8::9]", "[]", ""},
		{"SpiderIPPool", `{"subnet": "2001:db8::/64", "disable": true}`, "[2001:db8::/64]", "[]", "disabled"},
		{"PureLB ServiceGroup", `{"local": {"v6pools": [{"subnet": "2001:db8::/64", "pool": "2001:db8::/120"}]}}`, "[2001:db8::/120]", "[]", ""},
		{"MetalLB IPAddressPool", `{"addresses": "192.0.2.1"}`, "[]", "[192.0.2.1]", ""},
		{"MetalLB IPAddressPool", `{"addresses": {"a": ["x", 1, null]}}`, "[]", "[]", ""},
		{"MetalLB IPAddressPool", `null`, "[]", "[]", ""},
	} {
		var spec map[string]any
		if err := json.Unmarshal([]byte(tt.spec), &spec); err != nil {
			t.Fatal(err)
		}
		for _, k := range poolKinds() {
			if k.kind != tt.kind || k.kind == "IPPool" && k.cni != "calico" {
				continue
			}
			p := k.poolOf("", "a", spec)
			if fmt.Sprint(p.IPv6) != tt.ipv6 || fmt.Sprint(p.IPv4) != tt.ipv4 || p.Unusable != tt.unusable {
				t.Errorf("%s %s: %+v", tt.kind, tt.spec, p)
			}
		}
	}
}

func certificate(t *testing.T, names ...string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAPIServerHost(t *testing.T) {
	names := []string{"cp-1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost", "fd00:10:96::1", "::1", "192.0.2.1"}
	for _, tt := range []struct {
		server string
		more   []string
		want   HostPort // zero: none
	}{
		{"https://api.example.net:6443", []string{"api.example.net"}, HostPort{"api.example.net", 6443}},
		{"https://api.example.net", []string{"*.example.net"}, HostPort{"api.example.net", 443}},
		{"https://vpn.example.net:6443", []string{"api.example.net"}, HostPort{"api.example.net", 6443}}, // tls-server-name
		{"https://[2001:db8::1]:6443", []string{"2001:db8::1"}, HostPort{"2001:db8::1", 6443}},
		{"https://[2001:db8::1]:6443", []string{"api.example.net", "2001:db8::1"}, HostPort{"api.example.net", 6443}},
		{"https://[2001:db8::2]:6443", []string{"2001:db8::1"}, HostPort{}},
		{"https://[::1]:6443", nil, HostPort{}},
		{"https://localhost:6443", nil, HostPort{}},
		{"https://192.0.2.1:6443", nil, HostPort{}},
		{"https://kubernetes.default.svc", nil, HostPort{}},
		{"https://cp-1:6443", nil, HostPort{}},
		{"https://api.example.net/k8s/clusters/c-1", []string{"api.example.net"}, HostPort{}}, // Rancher
		{"://", nil, HostPort{}},
	} {
		f := apiServerHost(certificate(t, append(names, tt.more...)...), tt.server)
		if f.Value != tt.want || (f.Err == nil) != (tt.want != HostPort{}) {
			t.Errorf("%s %v: %+v", tt.server, tt.more, f)
		}
	}
	if apiServerHost(nil, "https://api.example.net").Err == nil {
		t.Error("a host without a certificate")
	}
}

// TestCertificateFact: only an API server's own certificate is one to judge by.
func TestCertificateFact(t *testing.T) {
	own := certificate(t, "kubernetes.default.svc", "api.example.net")
	for _, tt := range []struct {
		certificate *x509.Certificate
		server      string
		known       bool
	}{
		{own, "https://api.example.net:6443", true},
		{own, "https://api.example.net/k8s/clusters/c-1", false},
		{certificate(t, "api.example.net"), "https://api.example.net", false},
		{nil, "http://localhost:8001", false},
	} {
		if f := certificateFact(tt.certificate, tt.server); (f.Err == nil) != tt.known {
			t.Errorf("%s: %v", tt.server, f.Err)
		}
	}
}

func TestChooseDNS(t *testing.T) {
	service := func(name, ip string, port int32) corev1.Service {
		return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Port: port}}}}
	}
	dns, metrics, headless := service("kube-dns", "fd00::a", 53), service("metrics", "fd00::b", 9153), service("headless", "None", 53)
	other := service("rke2-coredns", "10.43.0.10", 53)
	for _, tt := range []struct {
		services []corev1.Service
		want     DNSService
	}{
		{[]corev1.Service{metrics, headless, other, dns}, DNSService{Namespace: "kube-system", Name: "kube-dns", IPv6: "fd00::a"}},
		{[]corev1.Service{metrics, headless, other}, DNSService{Namespace: "kube-system", Name: "rke2-coredns", IPv4: "10.43.0.10"}},
		{[]corev1.Service{other, service("b", "fd00::c", 53)}, DNSService{}},
		{[]corev1.Service{metrics}, DNSService{}},
	} {
		got, err := chooseDNS(tt.services)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.want.Name != "") {
			t.Errorf("%+v, %v, want %+v", got, err, tt.want)
		}
	}
}
