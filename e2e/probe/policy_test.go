//go:build e2e

package probe_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sixgate/sixgate/e2e/cluster"
	"github.com/sixgate/sixgate/pkg/rules"
)

// choice lines of a draft begin with # and no space.
var choice = regexp.MustCompile(`(?m)^( *)#(\S)`)

// TestPolicy drafts policies from a real API server and holds them against it. The cluster's DNS is a real one with DNS64.
func TestPolicy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	dir := t.TempDir()
	c, err := cluster.Start(ctx, cluster.Options{ExtraAPIServerArgs: []string{"--tls-sni-cert-key=" + certificateFor(t, dir, "api.example.net")}})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if err := c.Stop(); err != nil && !stopped {
			t.Error(err)
		}
	})
	e := &env{c, newKubelet(t, c.Address)}
	file := filepath.Join(dir, "policy.yaml")

	// A cluster of which nothing but the API server is there.
	bare := drafted(t, c.Kubeconfig)
	for _, want := range []string{
		"# ServiceCIDR kubernetes: fd00:10:96::/112\n  families: [IPv6]\n",
		"# Families of nodes: not known: there is no node\n",
		"# CNI: not known: no DaemonSet of a known CNI\n",
		"# Cluster DNS Service: not known: no Service of kube-system with the label k8s-app=kube-dns serves port 53\n",
		"# NAT64: not known: ",
		"# What routes the cluster IPs of Services: nothing was found",
		"#services: {mode: Headless}\n",
		"names localhost, kubernetes, kubernetes.default, kubernetes.default.svc, kubernetes.default.svc.cluster.local, " + c.Address,
		"#apiServer: {host: \"" + c.Address + "\", port: ",
	} {
		has(t, bare, want)
	}
	write(t, file, bare)
	command(t, c.Kubeconfig, "policy", "check", "--cluster", file).expect(t, 0, file+": ok\n", file+": not compared: cluster.nodes: there is no node\n")

	e.kubectl(t, "", "apply", "-f", "testdata/crds.yaml")
	e.kubectl(t, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	e.kubectl(t, "", "apply", "-f", "testdata/calico.yaml")
	e.kubectl(t, docRoles(t), "apply", "-f", "-")
	e.kubectl(t, "", "create", "clusterrolebinding", "drafter", "--clusterrole=sixgate-policy", "--user=drafter")
	e.kubectl(t, "", "create", "rolebinding", "drafter", "-n", "kube-system", "--role=sixgate-policy", "--user=drafter")
	e.kubectl(t, "", "create", "clusterrolebinding", "checker", "--clusterrole=sixgate-policy", "--user=checker")
	node := func(addresses ...any) {
		patch, err := json.Marshal(map[string]any{"status": map[string]any{
			"addresses": addresses, "daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": e.port(t)}}}})
		if err != nil {
			t.Fatal(err)
		}
		e.kubectl(t, "", "patch", "node", "node", "--subresource=status", "--type=merge", "-p", string(patch))
	}
	internal := map[string]any{"type": "InternalIP", "address": c.Address}
	node(internal)
	e.kubectl(t, "", "patch", "pod", "coredns-1", "-n", "kube-system", "--subresource=status", "--type=merge", "-p", `{"status":{"phase":"Running"}}`)

	// With the rights that the documentation asks for, nothing is missing but an answer of DNS.
	drafter := e.user(t, "drafter")
	full := drafted(t, drafter)
	for _, want := range []string{
		"# internal addresses of all nodes (1)\n  nodes: IPv6\n",
		"# CNI: DaemonSet calico-system/calico-node, IPAM Calico (Installation default)\n  cni: calico\n",
		"  dns:\n    namespace: kube-system\n    service: kube-dns\n    address: \"fd00:10:96::a\"\n",
		"[fd00:10:96::a]:53 from this machine: ",
		"pod kube-system/coredns-1 through the API server: ",
		"# What routes the cluster IPs of Services: kube-proxy, mode nftables (DaemonSet kube-system/kube-proxy, mode in ConfigMap kube-system/kube-proxy).\n",
		"#pools:\n# IPPool default-ipv6-ippool: fd00:10:244::/64\n#- {namespaces: [NAMESPACE], ipv6Pools: [\"fd00:10:244::/64\"]}\n",
		"# - IPPool old: no IPv6 addresses\n",
		"# - CiliumPodIPPool default: fd00:1::/104\n",
		"# - CiliumLoadBalancerIPPool outside: 2001:db8:5::1-2001:db8:5::9\n",
		"# - MetalLB IPAddressPool metallb-system/outside: no IPv6 addresses\n",
	} {
		has(t, full, want)
	}
	if strings.Contains(full, "forbidden") {
		t.Errorf("the documented rights are not enough:\n%s", full)
	}
	// A kubeconfig without rights still drafts what it can see.
	nobody := e.user(t, "nobody")
	little := drafted(t, nobody)
	for _, want := range []string{
		"# Families of Services: not known: get servicecidrs: forbidden; it needs the verb get on servicecidrs\n  #families: [IPv6]\n",
		// The API groups are open to all, but two CNIs left some.
		"# CNI: not known: several that give addresses: API group cilium.io, API group crd.projectcalico.org, DaemonSets not read\n",
		"#apiServer: {host: ",
		"# Pools: not read: list ippools.crd.projectcalico.org: forbidden; it needs the verb list on ippools.crd.projectcalico.org\n",
	} {
		has(t, little, want)
	}

	// DNS of the cluster: its configuration where it does not answer, then through the API server, then by its address.
	e.kubectl(t, "", "create", "configmap", "coredns", "-n", "kube-system", "--from-literal=Corefile=.:53 {\n  dns64 2001:db8:64::/96\n}\n")
	has(t, drafted(t, drafter), "# dns64 in ConfigMap kube-system/coredns; DNS itself could not be asked. ")
	has(t, drafted(t, drafter), "  nat64: {prefix: \"2001:db8:64::/96\"}\n")
	t.Run("DNS", func(t *testing.T) {
		if _, err := exec.LookPath("named"); err != nil {
			t.Skip("no named in PATH: apt-get install bind9")
		}
		serveDNS(t, "::1")
		through := drafted(t, drafter)
		has(t, through, "# AAAA records of ipv4only.arpa (RFC 7050), asked pod kube-system/coredns-1 through the API server. ")
		has(t, through, "  nat64: {prefix: \"64:ff9b::/96\"}\n")
		has(t, drafted(t, e.user(t, "checker")), "list pods of kube-system: forbidden; it needs the verb list on pods of kube-system")

		run(t, "ip", "-6", "addr", "add", "fd00:10:96::a/128", "dev", "lo", "nodad")
		serveDNS(t, "fd00:10:96::a")
		full = drafted(t, nobody) // whose DNS Service is not known
		has(t, full, "# NAT64: not known: ")
		full = drafted(t, drafter)
		has(t, full, "# AAAA records of ipv4only.arpa (RFC 7050), asked [fd00:10:96::a]:53 from this machine. ")
	})

	// A draft agrees with its cluster, also with every choice made.
	full = drafted(t, drafter)
	write(t, file, full)
	command(t, drafter, "policy", "check", "--cluster", file).expect(t, 0, file+": ok\n", "")
	write(t, file, choice.ReplaceAllString(full, "$1$2"))
	command(t, drafter, "policy", "check", "--cluster", file).expect(t, 0, file+": ok\n", "")

	// Drift on both sides.
	write(t, file, `apiVersion: sixgate.io/v1alpha1
kind: Policy
cluster:
  families: [IPv6, IPv4]
  cni: calico
  dns: {address: "fd00:10:96::b"}
apiServer: {host: other.example.net, port: 6443}
pools:
- {ipv6Pools: ["2001:db8:42::/64", "fd00:10:244:0:1::/80", old, default]}
`)
	node(internal, map[string]any{"type": "InternalIP", "address": "192.0.2.1"})
	e.kubectl(t, "", "delete", "ippools.crd.projectcalico.org", "public")
	r := command(t, drafter, "policy", "check", "--cluster", file)
	want := ""
	for _, line := range []string{
		"cluster.families: [IPv6 IPv4]; the cluster has [IPv6] (ServiceCIDR kubernetes: fd00:10:96::/112)",
		"cluster.nodes: IPv6; the cluster has DualStack (node node has an internal IPv4 address)",
		"cluster.dns.address: fd00:10:96::b; Service kube-system/kube-dns has fd00:10:96::a",
		"apiServer.host: other.example.net is not in the API server's certificate, which names localhost, kubernetes, kubernetes.default, kubernetes.default.svc, kubernetes.default.svc.cluster.local, " +
			c.Address + ", ::1, fd00:10:96::1",
		"pools[0].ipv6Pools[0]: there is no pool 2001:db8:42::/64 in the cluster; it has default-ipv6-ippool (fd00:10:244::/64)",
		"pools[0].ipv6Pools[1]: there is no pool fd00:10:244:0:1::/80 in the cluster; it has default-ipv6-ippool (fd00:10:244::/64)",
		"pools[0].ipv6Pools[2]: IPPool old has no IPv6 addresses",
		"pools[0].ipv6Pools[3]: there is no pool default in the cluster; it has default-ipv6-ippool (fd00:10:244::/64)",
	} {
		want += file + ": " + line + "\n"
	}
	r.expect(t, 1, want, "")
	// Another certificate is shown to who asks for this name.
	write(t, file, "apiVersion: sixgate.io/v1alpha1\nkind: Policy\ncluster: {nodes: DualStack, dns: {service: coredns}}\napiServer: {host: api.example.net, port: 6443}\n")
	command(t, drafter, "policy", "check", "--cluster", file).expect(t, 1, file+": cluster.dns.service: there is no Service kube-system/coredns\n", "")
	write(t, file, "apiVersion: sixgate.io/v1alpha1\nkind: Policy\ncluster: {families: [IPv6], nodes: DualStack}\n")
	command(t, nobody, "policy", "check", "--cluster", file).expect(t, 3, "",
		"sixgate: "+file+": not compared: cluster.families: get servicecidrs: forbidden; it needs the verb get on servicecidrs\n"+
			"sixgate: "+file+": not compared: cluster.nodes: list nodes: forbidden; it needs the verb list on nodes\n")

	// Nobody at all, then no API server.
	write(t, filepath.Join(dir, "token"), strings.Replace(read(t, c.Kubeconfig), "  user:\n", "  user:\n    token: x\n", 1))
	text := regexp.MustCompile(`(?m)^    client-.*\n`).ReplaceAllString(read(t, filepath.Join(dir, "token")), "")
	write(t, filepath.Join(dir, "token"), text)
	command(t, filepath.Join(dir, "token"), "policy", "init", "--cluster").expect(t, 3, "",
		"sixgate: read version of "+c.URL+": 401 Unauthorized; check the user of the kubeconfig\n")
	stopped = true
	if err := c.Stop(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := strings.Cut(c.URL, "]:")
	gone := "sixgate: reach the cluster at " + c.URL + ": dial tcp [" + c.Address + "]:" + port + ": connect: connection refused; check --kubeconfig and --context\n"
	command(t, drafter, "policy", "init", "--cluster").expect(t, 3, "", gone)
	command(t, drafter, "policy", "check", "--cluster", file).expect(t, 3, "", gone)
}

// drafted is a draft that the strict reader takes, as it is and with all choices made.
func drafted(t *testing.T, kubeconfig string) string {
	t.Helper()
	r := command(t, kubeconfig, "policy", "init", "--cluster")
	if r.code != 0 || r.err != "" {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	for _, text := range []string{r.out, choice.ReplaceAllString(r.out, "$1$2")} {
		if _, err := rules.ReadPolicy([]byte(text)); err != nil {
			t.Fatalf("%v:\n%s", err, text)
		}
	}
	return r.out
}

// docRoles are the roles that docs/policy-init.md shows.
func docRoles(t *testing.T) string {
	t.Helper()
	root, err := cluster.Root()
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(read(t, filepath.Join(root, "docs/policy-init.md")), "```yaml\napiVersion: rbac")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("no roles in docs/policy-init.md")
	}
	return "apiVersion: rbac" + text
}

// serveDNS runs BIND with DNS64 on port 53 of an address; it serves ipv4only.arpa by itself then.
func serveDNS(t *testing.T, address string) {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "named.conf"), "options { directory \""+dir+"\"; pid-file none; session-keyfile none; listen-on { none; }; listen-on-v6 { "+address+
		"; }; dnssec-validation no; dns64 64:ff9b::/96 { clients { any; }; }; };\ncontrols {};\n")
	cmd := exec.Command("named", "-g", "-c", filepath.Join(dir, "named.conf"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // see listen
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-done
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		done <- struct{}{}
		log.Close()
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("tcp", net.JoinHostPort(address, "53"))
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v: %s", err, read(t, log.Name()))
		}
	}
}

// certificateFor writes a self-signed certificate and its key, and returns "certificate,key".
func certificateFor(t *testing.T, dir, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sni.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})))
	write(t, filepath.Join(dir, "sni.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return filepath.Join(dir, "sni.crt") + "," + filepath.Join(dir, "sni.key")
}

func has(t *testing.T, text, want string) {
	t.Helper()
	if !strings.Contains(text, want) {
		t.Errorf("%q is not in:\n%s", want, text)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
