package rules

import (
	"encoding/json"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	netutils "k8s.io/utils/net"
)

// A cni is a network plugin: how it is told, by annotations, which addresses a pod gets.
type cni struct {
	name string // in cluster.cni
	// pod and namespace are the annotations that say what an entry of the policy gives; namespace is nil where the CNI reads
	// no default of the Namespace, and noNamespace says what to do instead.
	pod, namespace func(*Pool) []addition
	noNamespace    string
	// lacks are the fields of an entry that it has no annotation for, and what to do instead.
	lacks map[string]string
	// pool and address say what is wrong with one value of the policy, "" if nothing is.
	pool, address func(string) string
	// entry says what is wrong with the fields of an entry together; nil: nothing can be.
	entry func(*Pool) string
	// judge reports what its parser does not take. A limit of None stands for the level of the rule: the pod will not start.
	judge func(annotations, reporter)
}

const ovnKubernetes = "ovn-kubernetes"

// An addition is an annotation, which is not written beside one of the keys that it yields to.
type addition struct {
	key, value string
	yields     []string
}

// annotations are those of a Pod, of a pod template or of a Namespace.
type annotations struct {
	values      map[string]any
	onNamespace bool
}

func (a annotations) get(key string) (string, bool) {
	v, ok := a.values[key].(string)
	return v, ok
}

type reporter func(key string, limit Level, message string)

// cniNamed returns nil for a name that is not in the table.
func cniNamed(name string) *cni {
	for i := range cnis {
		if cnis[i].name == name {
			return &cnis[i]
		}
	}
	return nil
}

func cniNames() []string {
	var out []string
	for _, c := range cnis {
		out = append(out, c.name)
	}
	return out
}

const noFamilies = "has no annotation for families; leave it out"

// cnis are the plugins that read addresses from annotations. It is never changed.
var cnis = []cni{
	{
		name: "calico", pod: calicoPod, namespace: calicoNamespace,
		pool:    func(v string) string { return calicoPool(v, "IPv6") },
		address: bareAddress, judge: judgeCalico,
	},
	{
		name: "cilium", pod: ciliumPool, namespace: ciliumPool,
		lacks: map[string]string{
			"addresses":  "Cilium has no annotation for one address; make a CiliumPodIPPool of it and name that in ipv6Pools",
			"ipFamilies": "Cilium " + noFamilies,
		},
		pool: nameOf("a CiliumPodIPPool"), judge: judgeCilium,
		entry: func(p *Pool) string {
			if len(p.IPv6Pools) > 1 {
				return "Cilium reads one pool; name one in ipv6Pools"
			}
			return ""
		},
	},
	{
		name: "antrea", pod: antreaPod, namespace: antreaPod,
		lacks: map[string]string{"ipFamilies": "Antrea " + noFamilies},
		pool:  nameOf("an IPPool"), address: bareAddress, judge: judgeAntrea,
		entry: func(p *Pool) string {
			if len(p.Addresses) > 0 && len(p.IPv6Pools) != 1 {
				return "Antrea takes an address from one IPPool; name that one in ipv6Pools"
			}
			return ""
		},
	},
	{
		name: "kube-ovn", pod: kubeOVNPod,
		noNamespace: "Kube-OVN writes the annotations of Namespaces itself; list them in spec.namespaces of the IPPool or Subnet",
		pool:        nameOf("an IPPool"), address: bareAddress, judge: judgeKubeOVN,
		entry: func(p *Pool) string {
			switch {
			case len(p.IPv6Pools) > 1:
				return "Kube-OVN reads one pool; name one in ipv6Pools"
			case len(p.IPv6Pools) > 0 && len(p.Addresses) > 0:
				return "Kube-OVN reads no pool beside an address; give one of the two"
			}
			return ""
		},
	},
	{
		name: "spiderpool", pod: spiderpoolPod, namespace: spiderpoolNamespace,
		lacks: map[string]string{
			"addresses":  "Spiderpool has no annotation for one address; make a SpiderIPPool of it and name that in ipv6Pools",
			"ipFamilies": "Spiderpool " + noFamilies,
		},
		pool: spiderIPPool, judge: judgeSpiderpool,
	},
	{
		name: ovnKubernetes, pod: ovnKubernetesPod,
		noNamespace: "OVN-Kubernetes reads no annotation of a Namespace; make a UserDefinedNetwork there",
		lacks: map[string]string{
			"ipv6Pools":  "OVN-Kubernetes has no annotation for pools; make a UserDefinedNetwork, or give addresses",
			"ipFamilies": "OVN-Kubernetes " + noFamilies,
		},
		address: addressWithLength, judge: judgeNetworks,
	},
}

func bareAddress(v string) string {
	if !isIPv6Address(v) {
		return "is not an IPv6 address"
	}
	return ""
}

func addressWithLength(v string) string {
	address, length, ok := strings.Cut(v, "/")
	if _, err := netip.ParsePrefix(v); !isIPv6Address(address) || ok && length == "" || ok && err != nil {
		return "is not an IPv6 address with the prefix length of its subnet"
	}
	if !ok {
		return "needs the prefix length of its subnet; add it, such as /64"
	}
	return ""
}

var poolName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$`)

func nameOf(kind string) func(string) string {
	return func(v string) string {
		if !poolName.MatchString(v) {
			return "is no name of " + kind
		}
		return ""
	}
}

// canonicalAddresses masks CIDRs and writes addresses in their one form; names stay.
func canonicalAddresses(values []string) []string {
	var out []string
	for _, v := range values {
		if prefix, err := netip.ParsePrefix(v); err == nil {
			v = prefix.Masked().String()
		} else if a, err := netip.ParseAddr(v); err == nil {
			v = a.String()
		}
		out = append(out, v)
	}
	return out
}

func jsonArray(values []string) string {
	if len(values) == 0 {
		return ""
	}
	b, _ := json.Marshal(values) // strings always encode
	return string(b)
}

// first is the one value of a field whose CNI reads one.
func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

// Calico's annotations. Each holds a JSON array inside a string.
//
// Source: projectcalico/calico, cni-plugin/pkg/k8s/k8s.go (keys, syntax, and which exclude each other),
// cni-plugin/internal/pkg/utils/utils.go and libcalico-go/lib/ipam/ipam.go (a CIDR must be a whole enabled pool).
const (
	calicoIPv6Pools     = "cni.projectcalico.org/ipv6pools"
	calicoIPv4Pools     = "cni.projectcalico.org/ipv4pools"
	calicoIPAddrs       = "cni.projectcalico.org/ipAddrs"
	calicoIPAddrsNoIpam = "cni.projectcalico.org/ipAddrsNoIpam"
	calicoIPFamilies    = "cni.projectcalico.org/ipFamilies"
	calicoFloatingIPs   = "cni.projectcalico.org/floatingIPs"
)

// calicoPod: CIDRs are masked and canonical, since older versions compare the text. A user who gives addresses has no use for
// a pool, and an address would overrule the pools that the user chose.
func calicoPod(p *Pool) []addition {
	own := []string{calicoIPAddrs, calicoIPAddrsNoIpam}
	return []addition{
		{calicoIPv6Pools, jsonArray(canonicalAddresses(p.IPv6Pools)), own},
		{calicoIPAddrs, jsonArray(canonicalAddresses(p.Addresses)), append(own, calicoIPv6Pools)},
		{calicoIPFamilies, jsonArray(p.IPFamilies), own},
	}
}

func calicoNamespace(p *Pool) []addition {
	return []addition{
		{key: calicoIPv6Pools, value: jsonArray(canonicalAddresses(p.IPv6Pools))},
		{key: calicoIPFamilies, value: jsonArray(p.IPFamilies)},
	}
}

func judgeCalico(a annotations, report reporter) {
	for _, key := range []string{calicoIPv6Pools, calicoIPv4Pools, calicoIPAddrs, calicoIPAddrsNoIpam, calicoIPFamilies, calicoFloatingIPs} {
		value, ok := a.get(key)
		if !ok || value == "" && key != calicoFloatingIPs {
			continue // counts as unset
		}
		if a.onNamespace && key != calicoIPv6Pools && key != calicoIPv4Pools && key != calicoIPFamilies {
			continue // not read there
		}
		var values []string
		if err := json.Unmarshal([]byte(value), &values); err != nil {
			report(key, None, `is not a JSON array of strings, the pod will not start; write ["…"] inside the string`)
			continue
		}
		if message, limit := calicoValue(key, values); message != "" {
			report(key, limit, message)
		}
	}
	ipam, _ := a.get(calicoIPAddrs)
	if noIpam, _ := a.get(calicoIPAddrsNoIpam); ipam != "" && noIpam != "" && !a.onNamespace {
		report(calicoIPAddrsNoIpam, None, "stands beside ipAddrs, Calico refuses the pod; keep one of them")
	}
}

// calicoValue judges one decoded annotation; message is "" if Calico takes it and IPv6 comes out.
func calicoValue(key string, values []string) (message string, limit Level) {
	switch key {
	case calicoIPv6Pools:
		for _, v := range values {
			if m := calicoPool(v, "IPv6"); m != "" {
				return quote(v) + " " + m, None
			}
		}
	case calicoIPv4Pools:
		return "names IPv4 pools, which an IPv6-only cluster does not have; use ipv6pools", Warn
	case calicoIPFamilies:
		for _, v := range values {
			if v != "IPv4" && v != "IPv6" {
				return quote(v) + ` must be "IPv4" or "IPv6", in this spelling`, None
			}
		}
		if slices.Contains(values, "IPv4") {
			return `asks for an IPv4 address too, which a cluster without IPv4 pools does not have; use ["IPv6"]`, Warn
		}
	case calicoIPAddrs, calicoIPAddrsNoIpam:
		if len(values) == 0 {
			return "holds no address, Calico refuses the pod; remove the annotation", None
		}
		count := map[string]int{}
		for _, v := range values {
			family := ipFamily(v)
			if family == "" {
				return quote(v) + " is not an address, Calico refuses the pod; give an IPv6 address", None
			}
			count[family]++
		}
		if count["IPv4"] > 1 || count["IPv6"] > 1 {
			return "holds two addresses of one family, Calico refuses the pod; keep one", None
		}
		if count["IPv4"] > 0 {
			return "asks for an IPv4 address; give an IPv6 address of an enabled pool", Warn
		}
	}
	return "", None
}

// calicoPool judges one entry of a pool list: a CIDR of the family, or the name of an IPPool; "" if it is one.
func calicoPool(v, family string) string {
	ip, _, err := netutils.ParseCIDRSloppy(v) // as lenient as the parser in Calico
	switch {
	case err == nil && ipFamily(ip.String()) != family:
		return "is not an " + family + " pool, Calico refuses the pod; give an " + family + " CIDR or the name of an IPPool"
	case err == nil:
		return ""
	case ipFamily(v) != "":
		return "is an address, the pool's whole CIDR is needed; add its prefix length"
	case !poolName.MatchString(v):
		return "is neither a CIDR nor the name of an IPPool"
	}
	return ""
}

// Cilium's annotations, of IPAM mode multi-pool. Each holds one name.
//
// Source: cilium/cilium v1.20.2, pkg/annotation/k8s.go and pkg/ipam/metadata/manager.go: an empty value counts as unset, any
// other is the name of a CiliumPodIPPool; the key of the family comes before ip-pool, the Pod before the Namespace.
const (
	ciliumIPv6Pool = "ipam.cilium.io/ipv6-pool"
	ciliumIPv4Pool = "ipam.cilium.io/ipv4-pool"
	ciliumIPPool   = "ipam.cilium.io/ip-pool"
	ciliumRequire  = "ipam.cilium.io/require-pool-match"
)

func ciliumPool(p *Pool) []addition {
	return []addition{{ciliumIPv6Pool, first(p.IPv6Pools), []string{ciliumIPPool}}}
}

func judgeCilium(a annotations, report reporter) {
	key := ciliumIPv6Pool
	name, _ := a.get(key)
	if name == "" {
		key = ciliumIPPool
		name, _ = a.get(key)
	}
	if name != "" && !poolName.MatchString(name) {
		report(key, None, "is no name of a CiliumPodIPPool, the pod will not start; write one name, no list and no CIDR")
	}
	if v4, _ := a.get(ciliumIPv4Pool); v4 != "" && name == "" {
		report(ciliumIPv4Pool, Warn, "is for IPv4 addresses, which an IPv6-only cluster does not have; use ipv6-pool")
	}
	if v, ok := a.get(ciliumRequire); ok && v != "true" && v != "false" {
		report(ciliumRequire, Warn, `counts as false; write "true" in this spelling`)
	}
}

// Antrea's annotations: lists with commas, in which spaces count for the pools and do not for the addresses.
//
// Source: antrea-io/antrea, pkg/ipam/annotations.go and pkg/agent/cniserver/ipam/antrea_ipam_controller.go.
const (
	antreaIPPools = "ipam.antrea.io/ippools"
	antreaPodIPs  = "ipam.antrea.io/pod-ips"
)

func antreaPod(p *Pool) []addition {
	return []addition{
		{antreaIPPools, strings.Join(p.IPv6Pools, ","), []string{antreaPodIPs}},
		{antreaPodIPs, strings.Join(canonicalAddresses(p.Addresses), ","), []string{antreaIPPools}},
	}
}

func judgeAntrea(a annotations, report reporter) {
	if value, ok := a.get(antreaIPPools); ok { // an empty one is a list of one pool without a name
		var bad []string
		names := strings.Split(value, ",")
		for _, name := range names {
			if !poolName.MatchString(name) {
				bad = append(bad, name)
			}
		}
		switch {
		case len(bad) == len(names):
			report(antreaIPPools, None, "names no IPPool, Antrea refuses the pod; write names with commas and no spaces")
		case len(bad) > 0:
			report(antreaIPPools, Warn, "holds "+part(bad[0])+", no name of an IPPool, which is skipped; use commas and no spaces")
		}
	}
	value, _ := a.get(antreaPodIPs)
	if a.onNamespace || value == "" {
		return
	}
	limit := None
	if !has(a.values, antreaIPPools) {
		limit = Warn // read only where the Namespace names pools
	}
	count := map[string]int{}
	for v := range strings.SplitSeq(strings.ReplaceAll(value, " ", ""), ",") {
		if v == "" {
			continue
		}
		family := parsedFamily(v)
		if family == "" {
			report(antreaPodIPs, limit, holds(value, v, "no address, Antrea refuses the pod; give an IPv6 address"))
			return
		}
		count[family]++
	}
	switch {
	case count["IPv4"] > 1 || count["IPv6"] > 1:
		report(antreaPodIPs, limit, "holds two addresses of one family, Antrea refuses the pod; keep one")
	case count["IPv4"] > 0:
		report(antreaPodIPs, Warn, "asks for an IPv4 address; give an IPv6 address of the IPPool")
	}
}

// part quotes an element of a value that is itself quoted before it.
func part(v string) string { return quote(cut(v, 20)) }

// holds says what an element of a value is not, and names it unless it is all of the value.
func holds(value, element, fault string) string {
	if element == value {
		return "is " + fault
	}
	return "holds " + part(element) + ", " + fault
}

// parsedFamily is the family of what Go's own parser takes, which several CNIs use; "" if it does not.
func parsedFamily(v string) string {
	switch ip := net.ParseIP(v); {
	case ip == nil:
		return ""
	case ip.To4() != nil:
		return "IPv4"
	}
	return "IPv6"
}

// Kube-OVN's annotations. Those of Namespaces are written by its controller.
//
// Source: kubeovn/kube-ovn, pkg/util/validator.go (ValidatePodNetwork), pkg/util/address_family.go and
// pkg/controller/pod.go (acquireAddress: the address comes before the pool).
const (
	kubeOVNAddress = "ovn.kubernetes.io/ip_address"
	kubeOVNPool    = "ovn.kubernetes.io/ip_pool"
	kubeOVNFamily  = "ovn.kubernetes.io/ip_family"
	kubeOVNSubnet  = "ovn.kubernetes.io/logical_switch"
)

func kubeOVNPod(p *Pool) []addition {
	family := ""
	if len(p.IPFamilies) > 0 {
		family = "ipv6"
	}
	return []addition{
		{kubeOVNPool, first(p.IPv6Pools), []string{kubeOVNAddress, kubeOVNSubnet}},
		{kubeOVNAddress, first(canonicalAddresses(p.Addresses)), []string{kubeOVNPool, kubeOVNSubnet}},
		{kubeOVNFamily, family, []string{kubeOVNAddress}},
	}
}

func judgeKubeOVN(a annotations, report reporter) {
	if a.onNamespace {
		return
	}
	if value, _ := a.get(kubeOVNAddress); value != "" {
		ipv6 := false
		var bad []string
		for v := range strings.SplitSeq(value, ",") {
			address, _, mask := strings.Cut(v, "/")
			if _, _, err := net.ParseCIDR(v); mask && err != nil || parsedFamily(address) == "" {
				bad = append(bad, v)
			}
			ipv6 = ipv6 || parsedFamily(address) == "IPv6"
		}
		switch {
		case len(bad) > 0:
			report(kubeOVNAddress, None, holds(value, bad[0], "no address, Kube-OVN refuses the pod; use commas and no spaces"))
		case !ipv6:
			report(kubeOVNAddress, Warn, "asks for an IPv4 address; give an IPv6 address of the Subnet")
		}
	}
	if value, _ := a.get(kubeOVNPool); value != "" {
		judgeKubeOVNPool(value, func(limit Level, message string) { report(kubeOVNPool, limit, message) })
	}
	switch value, _ := a.get(kubeOVNFamily); value {
	case "", "ipv6":
	case "ipv4":
		report(kubeOVNFamily, Warn, "asks for IPv4, which an IPv6-only Subnet does not have; use ipv6")
	default:
		report(kubeOVNFamily, None, "must be ipv6, in this spelling, Kube-OVN refuses the pod; use ipv6")
	}
}

// judgeKubeOVNPool: one name, or addresses: ";" stands between pods and "," between the families of one pod, else between
// pods. Of the addresses of one pod Kube-OVN validates the first; a pod that meets a bad one takes another.
func judgeKubeOVNPool(value string, report func(Level, string)) {
	if !strings.ContainsAny(value, ";,") && net.ParseIP(value) == nil {
		if !poolName.MatchString(value) {
			report(None, "is neither the name of an IPPool nor an address, the pod will not start; name one IPPool")
		}
		return
	}
	ipv6 := false
	for pod := range strings.SplitSeq(value, ";") {
		for i, v := range strings.Split(pod, ",") {
			switch family := parsedFamily(strings.TrimSpace(v)); {
			case family == "" && i == 0:
				report(None, holds(value, v, "no address, Kube-OVN refuses the pod; name one IPPool or addresses"))
				return
			case family == "":
				report(Warn, holds(value, v, "no address, so no pod can have it; remove it"))
				return
			case family == "IPv6":
				ipv6 = true
			}
		}
	}
	if !ipv6 {
		report(Warn, "asks for IPv4 addresses; give IPv6 addresses of the Subnet, or the name of an IPPool")
	}
}

// Spiderpool's annotations: JSON. An empty value is set, and no JSON.
//
// Source: spidernet-io/spiderpool, pkg/constant/k8s.go, pkg/types/k8s.go, pkg/ipam/pool_selections.go (subnet before ippools
// before ippool before the Namespace), pkg/ipam/utils.go and pkg/namespacemanager/utils.go.
const (
	spiderIPPoolKey  = "ipam.spidernet.io/ippool"
	spiderIPPools    = "ipam.spidernet.io/ippools"
	spiderSubnet     = "ipam.spidernet.io/subnet"
	spiderSubnets    = "ipam.spidernet.io/subnets"
	spiderNamespace6 = "ipam.spidernet.io/default-ipv6-ippool"
	spiderNamespace4 = "ipam.spidernet.io/default-ipv4-ippool"
)

// spiderPools is one interface of a pod. IPv4 is there for the type check that Spiderpool makes.
type spiderPools struct {
	Interface    string   `json:"interface,omitempty"`
	IPv4         []string `json:"ipv4,omitempty"`
	IPv6         []string `json:"ipv6,omitempty"`
	CleanGateway bool     `json:"cleangateway,omitempty"`
}

func spiderpoolPod(p *Pool) []addition {
	if len(p.IPv6Pools) == 0 {
		return nil
	}
	b, _ := json.Marshal(spiderPools{IPv6: p.IPv6Pools}) // strings always encode
	return []addition{{spiderIPPoolKey, string(b), []string{spiderIPPools, spiderSubnet, spiderSubnets}}}
}

func spiderpoolNamespace(p *Pool) []addition {
	return []addition{{key: spiderNamespace6, value: jsonArray(p.IPv6Pools)}}
}

var spiderName = regexp.MustCompile(`^[a-z0-9.*?[\]-]+$`)

// spiderIPPool: wildcards are allowed.
func spiderIPPool(v string) string {
	if !spiderName.MatchString(v) {
		return "is no name of a SpiderIPPool"
	}
	return ""
}

func judgeSpiderpool(a annotations, report reporter) {
	if a.onNamespace {
		var v4, v6 []string
		for i, into := range []*[]string{&v4, &v6} {
			key := [...]string{spiderNamespace4, spiderNamespace6}[i]
			if value, ok := a.get(key); ok && json.Unmarshal([]byte(value), into) != nil {
				report(key, None, `is not a JSON array of strings, Spiderpool refuses the pods; write ["…"] inside the string`)
				return
			}
		}
		if len(v4) > 0 && len(v6) == 0 {
			report(spiderNamespace4, Warn, "names IPv4 pools, which an IPv6-only cluster does not have; use default-ipv6-ippool")
		}
		spiderNames(v6, func(message string) { report(spiderNamespace6, Warn, message) })
		return
	}
	limit := None
	if has(a.values, spiderSubnet) || has(a.values, spiderSubnets) {
		limit = Warn // where SpiderSubnet is on, that one is read instead
	}
	var pools []spiderPools
	key := spiderIPPools
	if value, ok := a.get(key); ok {
		if message := spiderInterfaces(value, &pools); message != "" {
			report(key, limit, message)
			return
		}
	} else {
		key = spiderIPPoolKey
		value, ok := a.get(key)
		if !ok {
			return
		}
		var pool struct{ IPv4, IPv6 []string }
		if err := json.Unmarshal([]byte(value), &pool); err != nil {
			report(key, limit, `is not a JSON object, Spiderpool refuses the pod; write {"ipv6": ["…"]} inside the string`)
			return
		}
		pools = []spiderPools{{IPv4: pool.IPv4, IPv6: pool.IPv6}}
	}
	for _, p := range pools {
		if len(p.IPv6) == 0 {
			report(key, Warn, `names no IPv6 pool; add "ipv6": ["…"]`)
			return
		}
		if spiderNames(p.IPv6, func(message string) { report(key, Warn, message) }) {
			return
		}
	}
}

// spiderInterfaces decodes the value of ippools and says why Spiderpool refuses it.
func spiderInterfaces(value string, pools *[]spiderPools) string {
	if err := json.Unmarshal([]byte(value), pools); err != nil {
		return `is not a JSON array of objects, Spiderpool refuses the pod; write [{"interface": "eth0", "ipv6": ["…"]}]`
	}
	if len(*pools) == 0 {
		return "is an empty list, Spiderpool refuses the pod; remove the annotation"
	}
	seen := map[string]bool{}
	for _, p := range *pools {
		switch {
		case (p.Interface == "") != ((*pools)[0].Interface == ""):
			return "names some interfaces and others not, Spiderpool refuses the pod; name all"
		case p.Interface != "" && seen[p.Interface]:
			return "holds interface " + part(p.Interface) + " twice, Spiderpool refuses the pod; keep one"
		}
		seen[p.Interface] = true
	}
	return ""
}

// spiderNames reports the first entry that is no name of a pool.
func spiderNames(names []string, report func(string)) bool {
	i := slices.IndexFunc(names, func(v string) bool { return spiderIPPool(v) != "" })
	if i >= 0 {
		report("holds " + part(names[i]) + ", no name of a SpiderIPPool; name a pool, not its addresses")
	}
	return i >= 0
}

// ovnKubernetesPod asks for an address in the primary network of the pod's namespace.
//
// Source: ovn-kubernetes/ovn-kubernetes, go-controller/pkg/util/multi_network.go (overrideActiveNSEWithDefaultNSE: the
// selection must name the default network) and go-controller/pkg/allocator/pod/pod_annotation.go (addresses are CIDRs).
func ovnKubernetesPod(p *Pool) []addition {
	if len(p.Addresses) == 0 {
		return nil
	}
	namespace, name, _ := strings.Cut(p.Network, "/")
	if p.Network == "" {
		namespace, name = ovnKubernetes, "default"
	}
	address := p.Addresses[0]
	if prefix, err := netip.ParsePrefix(address); err == nil {
		address = prefix.String()
	}
	b, _ := json.Marshal([]network{{Name: name, Namespace: namespace, IPs: []string{address}}}) // strings always encode
	return []addition{{key: multusDefault, value: string(b)}}
}

// Network selections, which Multus reads, and OVN-Kubernetes too.
//
// Source: k8snetworkplumbingwg/multus-cni v4.1.0, pkg/k8sclient/k8sclient.go (parsePodNetworkAnnotation) and
// network-attachment-definition-client v1.7.7, pkg/utils/net-attach-def.go; tools/cni runs both on the same values.
const (
	multusNetworks = "k8s.v1.cni.cncf.io/networks"
	multusDefault  = "v1.multus-cni.io/default-network"
)

// network is one network selection: the fields whose type both parsers check.
type network struct {
	Name         string            `json:"name"`
	Namespace    string            `json:"namespace,omitempty"`
	IPs          []string          `json:"ips,omitempty"`
	MAC          string            `json:"mac,omitempty"`
	GUID         string            `json:"infiniband-guid,omitempty"`
	Interface    string            `json:"interface,omitempty"`
	PortMappings []*portMapping    `json:"portMappings,omitempty"`
	Bandwidth    *bandwidth        `json:"bandwidth,omitempty"`
	CNIArgs      map[string]any    `json:"cni-args,omitempty"`
	DefaultRoute []json.RawMessage `json:"default-route,omitempty"`
}

type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

type bandwidth struct {
	IngressRate  int `json:"ingressRate"`
	IngressBurst int `json:"ingressBurst"`
	EgressRate   int `json:"egressRate"`
	EgressBurst  int `json:"egressBurst"`
}

func judgeNetworks(a annotations, report reporter) {
	if a.onNamespace {
		return
	}
	if value, _ := a.get(multusNetworks); value != "" {
		if _, message := networkSelections(value); message != "" {
			report(multusNetworks, None, message)
		}
	}
	value, ok := a.get(multusDefault)
	if !ok {
		return
	}
	networks, message := networkSelections(value)
	switch {
	case message != "":
		report(multusDefault, None, message)
	case len(networks) > 1:
		report(multusDefault, None, "holds more than one default network, the pod will not start; keep one")
	case len(networks) == 0:
		report(multusDefault, Warn, "holds no network; name one or remove the annotation")
	case len(networks[0].IPs) > 0:
		judgeDefaultAddresses(networks[0], func(message string) { report(multusDefault, Warn, message) })
	}
}

// judgeDefaultAddresses: an attached network may well be IPv4, the pod's own is not.
func judgeDefaultAddresses(n *network, report func(string)) {
	ipv6 := false
	for _, v := range n.IPs {
		address, _, mask := strings.Cut(v, "/")
		if !mask && n.Name == "default" && strings.HasSuffix(n.Namespace, ovnKubernetes) {
			report("gives " + part(v) + " no prefix length, which OVN-Kubernetes needs; add that of its subnet")
			return
		}
		ipv6 = ipv6 || parsedFamily(address) == "IPv6"
	}
	if !ipv6 {
		report("asks for an IPv4 address; give an IPv6 address of the network")
	}
}

// networkSelections decodes a value as Multus does: JSON where it holds a bracket, a brace or a quote, else a list with commas.
// message is "" if Multus takes it.
func networkSelections(value string) (networks []*network, message string) {
	if strings.ContainsAny(value, `[{"`) {
		if err := json.Unmarshal([]byte(value), &networks); err != nil {
			return nil, `is not a JSON array of networks, the pod will not start; write [{"name": "…"}]`
		}
	} else {
		for item := range strings.SplitSeq(value, ",") {
			n := networkNamed(strings.TrimSpace(item))
			if n == nil {
				return nil, holds(value, item, "no network, the pod will not start; write namespace/name@interface")
			}
			networks = append(networks, n)
		}
	}
	for _, n := range networks {
		if n == nil || n.Name == "" {
			return nil, "holds a network without name, the pod will not start; name it or remove it"
		}
		for _, v := range []string{n.MAC, n.GUID} {
			if _, err := net.ParseMAC(v); v != "" && err != nil {
				return nil, holds(value, v, "no hardware address, the pod will not start; correct it")
			}
		}
		for _, v := range n.IPs {
			_, _, err := net.ParseCIDR(v)
			if net.ParseIP(v) == nil && err != nil {
				return nil, holds(value, v, "no address, the pod will not start; write it as 2001:db8::1/64")
			}
		}
		for _, raw := range n.DefaultRoute {
			var ip net.IP
			if json.Unmarshal(raw, &ip) != nil {
				return nil, "holds a default-route that is no address, the pod will not start; correct it"
			}
		}
	}
	return networks, ""
}

var networkName = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$`)

// networkNamed reads namespace/name@interface; nil if Multus does not.
func networkNamed(item string) *network {
	var n network
	namespace, name, slash := strings.Cut(item, "/")
	if slash {
		n.Namespace = strings.TrimSpace(namespace)
	} else {
		name = item
	}
	name, iface, _ := strings.Cut(name, "@")
	n.Name, n.Interface = strings.TrimSpace(name), strings.TrimSpace(iface)
	if strings.ContainsRune(name, '/') || strings.ContainsAny(iface, "/@") || !networkName.MatchString(n.Namespace) || !networkName.MatchString(n.Name) ||
		len(n.Interface) > 15 || strings.ContainsAny(n.Interface, " \t\n\v\f\r") {
		return nil
	}
	return &n
}

// checkPool holds one entry of the policy against what the CNI can be told.
func (c *cni) checkPool(p *Pool, at Path, bad complain) {
	for _, f := range []struct {
		name   string
		values []string
		wrong  func(string) string
	}{
		{"ipv6Pools", p.IPv6Pools, c.pool},
		{"addresses", p.Addresses, c.address},
		{"ipFamilies", p.IPFamilies, func(v string) string {
			if v != "IPv6" {
				return "must be IPv6"
			}
			return ""
		}},
	} {
		if instead, lacks := c.lacks[f.name]; lacks && len(f.values) > 0 {
			bad(at.With(f.name), "%s", instead)
			continue
		}
		if f.name == "addresses" && len(f.values) > 1 {
			bad(at.With(f.name), "%d addresses: a pod takes one IPv6 address; write one entry for each", len(f.values))
		}
		for j, v := range f.values {
			if message := f.wrong(v); message != "" {
				bad(at.With(f.name, j), "%q %s", v, message)
			}
		}
	}
	if c.entry != nil {
		if message := c.entry(p); message != "" {
			bad(at, "%s", message)
		}
	}
	if p.Network != "" && c.name != ovnKubernetes {
		bad(at.With("network"), "only %s reads it; leave it out", ovnKubernetes)
	} else if ns, name, ok := strings.Cut(p.Network, "/"); p.Network != "" && (!ok || !poolName.MatchString(ns) || !poolName.MatchString(name)) {
		bad(at.With("network"), "%q must be \"namespace/name\" of the default network", p.Network)
	}
	if !p.onNamespace() {
		return
	}
	switch {
	case c.namespace == nil:
		bad(at.With("annotate"), "%s", c.noNamespace)
	case len(p.Pods) > 0:
		bad(at.With("pods"), "a Namespace gives the same to all its pods; leave out pods or annotate")
	case len(p.Addresses) > 0:
		bad(at.With("addresses"), "a Namespace gives the same to all its pods; leave out addresses or annotate")
	}
}
