package listen

import "strings"

// The components of Kubernetes are written in Go, so 0.0.0.0 is both families. kube-proxy's bindAddress is bound by nothing.
// localAPIEndpoint.advertiseAddress of kubeadm, which its etcd binds, is judged with all that an API server publishes.

func componentFile(f File) []Listener {
	var out []Listener
	scalar := func(n yamlNode, field, port string, pair bool) {
		if n.str() == "" {
			return
		}
		host, p, ok := n.str(), port, true
		if pair {
			host, p, ok = splitHostPort(n.str())
		}
		if ok {
			out = append(out, n.listener(field+": "+n.str(), host, p, golang.family(host)).orElse(giveIPv6))
		}
	}
	extra := func(n yamlNode) {
		if len(n.keys()) > maxServers || len(n.items()) > maxServers {
			return
		}
		for _, k := range n.keys() {
			componentArgument(&out, k.key.Value, k.value)
		}
		if n.exists() && len(n.keys()) == 0 {
			for _, item := range n.items() {
				componentArgument(&out, item.get("name").str(), item.get("value"))
			}
		}
	}
	docs := readYAML(f)
	for _, doc := range docs[:min(len(docs), maxServers)] {
		group, _, _ := strings.Cut(doc.get("apiVersion").str(), "/")
		switch kind := doc.get("kind").str(); {
		case group == "kubelet.config.k8s.io" && kind == "KubeletConfiguration":
			scalar(doc.get("address"), "address", "10250", false)
			scalar(doc.get("healthzBindAddress"), "healthzBindAddress", "10248", false)
		case group == "kubeproxy.config.k8s.io" && kind == "KubeProxyConfiguration":
			scalar(doc.get("healthzBindAddress"), "healthzBindAddress", "10256", true)
			scalar(doc.get("metricsBindAddress"), "metricsBindAddress", "10249", true)
		case group != "kubeadm.k8s.io":
		case kind == "ClusterConfiguration":
			for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
				extra(doc.get(component, "extraArgs"))
			}
			extra(doc.get("etcd", "local", "extraArgs"))
		}
	}
	return out
}

// componentArgument is one of kubeadm's extraArgs.
func componentArgument(out *[]Listener, name string, n yamlNode) {
	switch name {
	case "bind-address":
		*out = append(*out, n.listenerIf(name+": "+n.str(), n.str(), "")...)
	case "listen-client-urls", "listen-peer-urls", "listen-metrics-urls":
		var some []Listener
		for _, url := range strings.SplitN(n.str(), ",", 10) {
			_, rest, _ := strings.Cut(url, "://")
			if host, port, ok := splitHostPort(rest); ok {
				some = append(some, n.listenerIf(name+": "+url, host, port)...)
			}
		}
		*out = append(*out, siblings(some)...)
	}
}

func (n yamlNode) listenerIf(text, host, port string) []Listener {
	if host == "" {
		return nil
	}
	return []Listener{n.listener(text, host, port, golang.family(host)).orElse(giveIPv6)}
}

func componentCases() []Case {
	c := func(file, text, port string, binds Family) Case {
		return Case{File: file, Config: text, Port: port, Binds: binds, NoFix: true, NotRun: "needs a node"}
	}
	kubelet := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nclusterDNS: [10.96.0.10]\n"
	proxy := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nclusterCIDR: 10.0.0.0/8\n"
	cluster := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
	return []Case{
		c("kubelet", kubelet+"address: 10.1.2.3\n", "10250", IPv4), c("kubelet", kubelet+"address: 0.0.0.0\n", "10250", Dual), c("kubelet", kubelet+"healthzBindAddress: 127.0.0.1\n", "10248", Loopback),
		c("config.conf", proxy+"bindAddress: 10.1.2.3\n", "10256", Unknown), c("config.conf", proxy+"healthzBindAddress: 10.1.2.3:10256\n", "10256", IPv4), c("config.conf", proxy+"metricsBindAddress: 0.0.0.0:10249\n", "10249", Dual),
		c("ClusterConfiguration", cluster+"apiServer:\n  extraArgs:\n  - name: bind-address\n    value: 10.1.2.3\n", "6443", IPv4),
		c("ClusterConfiguration", cluster+"controllerManager:\n  extraArgs:\n    bind-address: 0.0.0.0\n", "10257", Dual),
		c("ClusterConfiguration", cluster+"etcd:\n  local:\n    extraArgs:\n      listen-client-urls: https://127.0.0.1:2379,https://10.1.2.3:2379\n", "2379", IPv4),
		c("ClusterConfiguration", cluster+"networking:\n  podSubnet: 10.244.0.0/16\n", "6443", Unknown),
	}
}
