package live

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// A CNI is the network plugin that gives pods their addresses.
type CNI struct {
	Name string // as cluster.cni of the policy spells those it knows
	// Deaf is why it reads no annotations about pools here, "" where it does or where that cannot be seen.
	Deaf string
}

// A program is one that a DaemonSet runs, known by the DaemonSet's name or its label k8s-app, app or app.kubernetes.io/name.
type program struct {
	name  string
	words []string
}

// cniPrograms: what the installers of each CNI call it.
func cniPrograms() []program {
	return []program{
		{"calico", []string{"calico-node"}},
		{"cilium", []string{"cilium"}},
		{"antrea", []string{"antrea-agent"}},
		{"kube-ovn", []string{"kube-ovn-cni"}},
		{"ovn-kubernetes", []string{"ovnkube-node"}},
		{"spiderpool", []string{"spiderpool-agent"}},
		{"canal", []string{"canal", "rke2-canal"}},
		{"flannel", []string{"kube-flannel-ds", "kube-flannel", "flannel"}},
		{"kindnet", []string{"kindnet"}},
		{"kube-router", []string{"kube-router"}},
		{"weave", []string{"weave-net"}},
		{"aws-vpc-cni", []string{"aws-node"}},
		{"azure-cni", []string{"azure-cns"}},
	}
}

// cniGroups: the API groups of each CNI's custom resources.
func cniGroups() map[string]string {
	return map[string]string{
		"crd.projectcalico.org": "calico", "projectcalico.org": "calico", "cilium.io": "cilium", "crd.antrea.io": "antrea",
		"kubeovn.io": "kube-ovn", "k8s.ovn.org": "ovn-kubernetes", "spiderpool.spidernet.io": "spiderpool",
	}
}

// programsIn returns which of some programs DaemonSets run, each with "namespace/name" of the DaemonSet.
func programsIn(sets []appsv1.DaemonSet, programs []program) map[string]string {
	found := map[string]string{}
	for _, s := range sets {
		names := []string{s.Name, s.Labels["k8s-app"], s.Labels["app"], s.Labels["app.kubernetes.io/name"]}
		for _, p := range programs {
			if slices.ContainsFunc(p.words, func(w string) bool { return slices.Contains(names, w) }) && found[p.name] == "" {
				found[p.name] = s.Namespace + "/" + s.Name
			}
		}
	}
	return found
}

// signs are what tells the CNI and the kube-proxy of a cluster. Each error says why its part is not known.
type signs struct {
	sets      []appsv1.DaemonSet
	setsErr   error
	nodes     []corev1.Node
	groups    []string
	cilium    *config // kube-system/cilium-config
	calico    *config // kube-system/calico-config
	kubeProxy *config // kube-system/kube-proxy
	// The tigera-operator's Installation: spec.cni.type and spec.cni.ipam.type, "" where there is none.
	tigeraCNI, tigeraIPAM string
}

// A config is a ConfigMap, or why it could not be read; nil where there is none.
type config struct {
	data map[string]string
	err  error
}

func (c *config) get(key string) string {
	if c == nil {
		return ""
	}
	return c.data[key]
}

// cni decides by DaemonSets, which run; custom resources only tell what was installed once, and are asked where DaemonSets cannot be
// read.
func (s *signs) cni() Fact[CNI] {
	found := programsIn(s.sets, cniPrograms())
	var evidence []string
	for name, set := range found {
		evidence = append(evidence, "DaemonSet "+set)
		if _, other := found["calico"]; name == "calico" && other && s.tigeraCNI != "" && s.tigeraCNI != "Calico" {
			delete(found, "calico") // for its policies: the operator says that another plugin gives the addresses
			evidence = append(evidence, "Installation default with spec.cni.type "+s.tigeraCNI)
		}
	}
	if len(found) == 0 && s.k3s() {
		for _, n := range s.nodes {
			if n.Annotations["flannel.alpha.coreos.com/backend-type"] != "" {
				return Fact[CNI]{Value: CNI{Name: "flannel", Deaf: deafPlugins()["flannel"]}, Evidence: "node " + n.Name + " is K3s with annotations of Flannel"}
			}
		}
	}
	if len(found) == 0 {
		for group, name := range cniGroups() {
			if slices.Contains(s.groups, group) {
				found[name] = ""
				evidence = append(evidence, "API group "+group)
			}
		}
		if s.setsErr != nil {
			evidence = append(evidence, "DaemonSets not read")
		} else if len(found) > 0 {
			slices.Sort(evidence)
			return Fact[CNI]{Err: fmt.Errorf("no DaemonSet of a known CNI, only what it left: %s", strings.Join(evidence, ", "))}
		}
	}
	slices.Sort(evidence)
	switch {
	case len(found) == 0 && s.setsErr != nil:
		return Fact[CNI]{Err: s.setsErr}
	case len(found) == 0:
		return Fact[CNI]{Err: errors.New("no DaemonSet of a known CNI")}
	case len(found) > 1:
		return Fact[CNI]{Err: fmt.Errorf("several that give addresses: %s", strings.Join(evidence, ", "))}
	}
	var c CNI
	for c.Name = range found {
	}
	why, how := s.deaf(c.Name)
	c.Deaf = why
	if how != "" {
		evidence = append(evidence, how)
	}
	return Fact[CNI]{Value: c, Evidence: strings.Join(evidence, ", ")}
}

// deafPlugins read no annotations about addresses at all, or none that Sixgate knows.
func deafPlugins() map[string]string {
	return map[string]string{
		"canal": "addresses come from Flannel's host-local IPAM, which reads no annotations", "flannel": "Flannel reads no annotations about addresses",
		"kindnet": "kindnet reads no annotations about addresses",
	}
}

var calicoIPAM = regexp.MustCompile(`"ipam"\s*:\s*\{\s*"type"\s*:\s*"([a-z-]+)"`)

// deaf says why a CNI reads no annotations about pools here, and by what that is known.
func (s *signs) deaf(name string) (why, how string) {
	switch name {
	case "calico":
		ipam, from := s.tigeraIPAM, "Installation default"
		if m := calicoIPAM.FindStringSubmatch(s.calico.get("cni_network_config")); ipam == "" && m != nil {
			ipam, from = m[1], "ConfigMap kube-system/calico-config"
		}
		switch ipam {
		case "":
			return "", "IPAM not seen"
		case "Calico", "calico-ipam":
			return "", fmt.Sprintf("IPAM %s (%s)", ipam, from)
		}
		return fmt.Sprintf("IPAM is %s (%s), and only calico-ipam reads annotations", oneLine(ipam), from), ""
	case "cilium":
		switch ipam := s.cilium.get("ipam"); ipam {
		case "":
			return "", "IPAM not seen"
		case "multi-pool":
			return "", "IPAM multi-pool (ConfigMap kube-system/cilium-config)"
		default:
			return fmt.Sprintf("IPAM is %s (ConfigMap kube-system/cilium-config), and only multi-pool reads annotations", oneLine(ipam)), ""
		}
	}
	return deafPlugins()[name], ""
}

func (s *signs) k3s() bool {
	return slices.ContainsFunc(s.nodes, func(n corev1.Node) bool { return strings.Contains(n.Status.NodeInfo.KubeletVersion, "+k3s") })
}

// proxy says what routes the cluster IPs of Services. The value is "" where nothing is known to: then they may lead nowhere.
func (s *signs) proxy() Fact[string] {
	sets := programsIn(s.sets, []program{{"kube-proxy", []string{"kube-proxy"}}, {"ovn", []string{"ovnkube-node"}}})
	replacement := s.cilium.get("kube-proxy-replacement")
	mode := struct {
		Mode string `json:"mode"`
	}{}
	switch {
	case sets["kube-proxy"] != "" || s.kubeProxy != nil && s.kubeProxy.err == nil:
		from := "ConfigMap kube-system/kube-proxy"
		if sets["kube-proxy"] != "" {
			from = "DaemonSet " + sets["kube-proxy"]
		}
		if s.kubeProxy == nil || s.kubeProxy.err != nil {
			return Fact[string]{Value: "kube-proxy, mode not known", Evidence: from}
		}
		if err := yaml.Unmarshal([]byte(s.kubeProxy.get("config.conf")), &mode); err != nil {
			return Fact[string]{Value: "kube-proxy, mode not known", Evidence: from}
		}
		if mode.Mode == "" {
			mode.Mode = "the default of its version"
		}
		return Fact[string]{Value: "kube-proxy, mode " + oneLine(mode.Mode), Evidence: from + ", mode in ConfigMap kube-system/kube-proxy"}
	case replacement != "" && replacement != "false" && replacement != "disabled":
		return Fact[string]{Value: "Cilium in place of kube-proxy", Evidence: "kube-proxy-replacement " + oneLine(replacement) + " in ConfigMap kube-system/cilium-config"}
	case sets["ovn"] != "":
		return Fact[string]{Value: "OVN-Kubernetes in place of kube-proxy", Evidence: "DaemonSet " + sets["ovn"]}
	case s.k3s():
		return Fact[string]{Value: "kube-proxy inside the agent of K3s, mode not known", Evidence: "kubelet version of the nodes"}
	case s.setsErr != nil:
		return Fact[string]{Err: s.setsErr}
	case s.kubeProxy != nil:
		return Fact[string]{Err: s.kubeProxy.err}
	case s.cilium != nil && s.cilium.err != nil:
		return Fact[string]{Err: s.cilium.err}
	}
	return Fact[string]{Evidence: "no DaemonSet and no ConfigMap of kube-proxy; one that is no pod is not seen"}
}

// nodeFamilies returns the value of cluster.nodes: what the internal addresses of the nodes are.
func nodeFamilies(nodes []corev1.Node) Fact[string] {
	if len(nodes) == 0 {
		return Fact[string]{Err: errors.New("there is no node")}
	}
	seen := map[string]string{} // family to a node that has it
	for _, n := range nodes {
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP {
				family := "IPv6"
				if !strings.Contains(a.Address, ":") {
					family = "IPv4"
				}
				if seen[family] == "" {
					seen[family] = n.Name
				}
			}
		}
	}
	switch {
	case seen["IPv4"] != "":
		return Fact[string]{Value: "DualStack", Evidence: fmt.Sprintf("node %s has an internal IPv4 address", seen["IPv4"])}
	case seen["IPv6"] != "":
		return Fact[string]{Value: "IPv6", Evidence: fmt.Sprintf("internal addresses of all nodes (%d)", len(nodes))}
	}
	return Fact[string]{Err: errors.New("no node has an internal address")}
}
