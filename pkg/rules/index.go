package rules

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An Index holds what the other objects of the same input say about an object. A nil Index knows nothing. It keeps texts instead of
// trees, so that a whole cluster fits: about 200 bytes for a Service or workload, nothing for most other objects. Once it is complete,
// several may ask it at the same time.
type Index struct {
	namespace string            // of objects that name none
	dialled   map[string]string // "namespace/name" of a Service -> what the API server dials it for
	mounts    map[string][]mount
	services  map[string][]service // by namespace
	guarded   map[string]bool      // namespaces with a NetworkPolicy; *: all
	ipv6      map[string]bool      // kinds of address pools of which one has IPv6 addresses
	pools     []pool               // enabled IPPools of Calico, at most maxPools

	templates []template
	postings  []posting // of the templates, sorted by hash when they are looked up
	sorting   sync.Mutex
	sorted    bool

	texts map[string]string  // that many objects share
	known map[string]origins // by their text
}

// A pool is a named range.
type pool struct {
	name string
	cidr netip.Prefix
}

// maxPools bounds the comparison of each pool with each other.
const maxPools = 200

// A mount is a pod template that uses a ConfigMap.
type mount struct {
	labels  labelText
	dialled string // ports that its containers and probes name, each between commas
	all     bool   // one of them cannot be told

	variables []origins // of each container
}

// A service is what a Service with selector dials.
type service struct {
	selector string // labels, each between zeros
	ports    string // target ports, each between commas
	named    bool   // one of them is a name
}

type template struct {
	labels labelText
	ports  string // name=number, each between zeros
}

// A posting says that a template may have a label.
type posting struct{ hash, template uint32 }

// A labelText is a namespace and the labels of a pod: "namespace", then zero, key, one, value for each, then zero. Labels with
// these control characters are left out, no API server takes them.
type labelText string

const (
	endOfLabel = "\x00"
	endOfKey   = "\x01"
)

// label is one label as a labelText has it, false if it is none.
func label(key string, value any) (string, bool) {
	v, ok := value.(string)
	if !ok || strings.ContainsAny(key+v, endOfLabel+endOfKey) {
		return "", false
	}
	return key + endOfKey + v, true
}

func labelsOf(namespace string, labels map[string]any) labelText {
	var b strings.Builder
	b.WriteString(namespace + endOfLabel)
	for _, key := range sortedKeys(labels) {
		if l, ok := label(key, labels[key]); ok {
			b.WriteString(l + endOfLabel)
		}
	}
	return labelText(b.String())
}

// all are the labels.
func (t labelText) all() iter.Seq[string] {
	_, rest, _ := strings.Cut(string(t), endOfLabel)
	return strings.SplitSeq(strings.TrimSuffix(rest, endOfLabel), endOfLabel)
}

func (t labelText) in(namespace string) bool {
	return strings.HasPrefix(string(t), namespace+endOfLabel)
}
func (t labelText) has(label string) bool {
	return strings.Contains(string(t), endOfLabel+label+endOfLabel)
}

// NewIndex indexes the objects of one input; namespace is that of objects which name none.
func NewIndex(objects []*Object, namespace string) *Index {
	x := &Index{
		namespace: namespace, dialled: map[string]string{}, mounts: map[string][]mount{}, services: map[string][]service{}, guarded: map[string]bool{},
		ipv6:  map[string]bool{},
		texts: map[string]string{}, known: map[string]origins{},
	}
	for _, o := range objects {
		x.Add(o)
	}
	return x
}

// Add indexes one more object. It keeps nothing of the object's tree.
func (x *Index) Add(o *Object) {
	ns := cmp.Or(o.Namespace(), x.namespace)
	if pod, ok := podPath(o); ok {
		x.addPod(o, pod, ns, true)
		return
	}
	for _, e := range embeddedPods(o) {
		x.addPod(e.view, Path{"template"}, ns, e.whole)
	}
	who := o.Kind() + " " + o.Name()
	switch o.Group() + "/" + o.Kind() {
	case "admissionregistration.k8s.io/MutatingWebhookConfiguration", "admissionregistration.k8s.io/ValidatingWebhookConfiguration":
		for i := range o.List("webhooks") {
			x.dial(o.Map("webhooks", i, "clientConfig", "service"), who)
		}
	case "projectcalico.org/IPPool", "crd.projectcalico.org/IPPool":
		if p := ipv6Prefix(o.Str("spec", "cidr")); p.IsValid() && !o.Bool("spec", "disabled") {
			x.ipv6["IPPool"] = true
			if len(x.pools) < maxPools {
				x.pools = append(x.pools, pool{o.Name(), p})
			}
		}
	case "metallb.io/IPAddressPool":
		x.ipv6["IPAddressPool"] = x.ipv6["IPAddressPool"] ||
			slices.ContainsFunc(o.Strings("spec", "addresses"), func(s string) bool { return poolFamily(s) == "IPv6" })
	case "/Service":
		if s, ok := dials(o); ok {
			s.ports = x.share(s.ports)
			x.services[ns] = append(x.services[ns], s)
		}
	case "networking.k8s.io/NetworkPolicy", "projectcalico.org/NetworkPolicy", "crd.projectcalico.org/NetworkPolicy", "cilium.io/CiliumNetworkPolicy":
		x.guarded[ns] = true
	case "projectcalico.org/GlobalNetworkPolicy", "crd.projectcalico.org/GlobalNetworkPolicy", "cilium.io/CiliumClusterwideNetworkPolicy":
		x.guarded["*"] = true
	case "apiregistration.k8s.io/APIService":
		x.dial(o.Map("spec", "service"), who)
	case "apiextensions.k8s.io/CustomResourceDefinition":
		x.dial(o.Map("spec", "conversion", "webhook", "clientConfig", "service"), who)
	}
}

// addPod indexes a pod or its template. It is not whole where others may add containers.
func (x *Index) addPod(o *Object, pod Path, namespace string, whole bool) {
	t := template{labels: labelsOf(namespace, o.Map(pod.With("metadata", "labels")...)), ports: x.share(portNames(o, pod))}
	x.mount(o, pod, namespace, t.labels, whole)
	x.post(namespace, "")
	for l := range t.labels.all() {
		if l != "" { // a pod without labels
			x.post(namespace, l)
		}
	}
	x.templates = append(x.templates, t)
}

// post notes the label of the template that comes next.
func (x *Index) post(namespace, label string) {
	x.postings, x.sorted = append(x.postings, posting{hashOf(namespace, label), uint32(len(x.templates))}), false
}

func hashOf(namespace, label string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(namespace + endOfLabel + label)) // never fails
	return h.Sum32()
}

// share returns one copy of a text that many objects have.
func (x *Index) share(text string) string {
	if t, ok := x.texts[text]; ok {
		return t
	}
	x.texts[text] = text
	return text
}

// rootCA is in every pod, and nothing but a certificate.
const rootCA = "kube-root-ca.crt"

// mount notes the ConfigMaps that a pod template uses, as volumes or whole environments.
func (x *Index) mount(o *Object, pod Path, namespace string, labels labelText, whole bool) {
	var names []string
	eachUse(o, pod, func(kind, name string) {
		if kind == "ConfigMap" && name != rootCA {
			names = append(names, name)
		}
	})
	if len(names) == 0 {
		return
	}
	ports, all := podPorts(o, pod)
	m := mount{labels: labels, dialled: x.share(portList(ports)), all: all || !whole}
	for _, c := range containers(o, pod) {
		m.variables = append(m.variables, x.origins(originsOf(o, pod, c)))
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		x.mounts[namespace+"/"+n] = append(x.mounts[namespace+"/"+n], m)
	}
}

// origins keeps what can tell an address, one copy for all containers that have the same.
func (x *Index) origins(all origins) origins {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] <= originOther && name != "" && name != "KUBERNETES_SERVICE_HOST" && !serviceVariable.MatchString(name) {
			delete(all, name)
			continue
		}
		fmt.Fprintf(&text, "%q %d,", name, all[name])
	}
	if same, ok := x.known[text.String()]; ok {
		return same
	}
	x.known[text.String()] = all
	return all
}

// dials reads a Service; false if it has no selector that a pod can match.
func dials(o *Object) (service, bool) {
	s := service{selector: endOfLabel}
	selector := o.Map("spec", "selector")
	for _, key := range sortedKeys(selector) {
		l, ok := label(key, selector[key])
		if !ok {
			return s, false
		}
		s.selector += l + endOfLabel
	}
	ports := map[string]bool{}
	for i := range o.List("spec", "ports") {
		v, ok := o.Get("spec", "ports", i, "targetPort")
		if !ok {
			v, _ = o.Get("spec", "ports", i, "port")
		}
		if n, ok := integer(v); ok {
			ports[strconv.FormatInt(n, 10)] = true
		} else {
			s.named = true
		}
	}
	s.ports = portList(ports)
	return s, len(selector) > 0
}

// selects reports whether a pod of the Service's namespace is behind it.
func (s service) selects(pod labelText) bool {
	for l := range strings.SplitSeq(strings.Trim(s.selector, endOfLabel), endOfLabel) {
		if !pod.has(l) {
			return false
		}
	}
	return true
}

// portList is a set of ports, each between commas.
func portList(ports map[string]bool) string {
	if len(ports) == 0 {
		return ""
	}
	return "," + strings.Join(slices.Sorted(maps.Keys(ports)), ",") + ","
}

func (x *Index) dial(service map[string]any, who string) {
	namespace, _ := service["namespace"].(string)
	if name, _ := service["name"].(string); name != "" {
		x.dialled[namespace+"/"+name] = who
	}
}

// portNames are the numbers of the named ports of a pod.
func portNames(o *Object, pod Path) string {
	ports := map[string]int64{}
	for _, c := range containers(o, pod) {
		list, _ := c.obj["ports"].([]any)
		for _, p := range list {
			port, _ := p.(map[string]any)
			name, _ := port["name"].(string)
			if n, ok := integer(port["containerPort"]); ok && name != "" && !strings.Contains(name, endOfLabel) {
				ports[name] = n
			}
		}
	}
	if len(ports) == 0 {
		return ""
	}
	text := endOfLabel
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		text += name + "=" + strconv.FormatInt(ports[name], 10) + endOfLabel
	}
	return text
}

// port is the number of a named port, or 0.
func (t template) port(name string) int64 {
	_, after, ok := strings.Cut(t.ports, endOfLabel+name+"=")
	if !ok || name == "" {
		return 0
	}
	number, _, _ := strings.Cut(after, endOfLabel)
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil { // the name has a "=" in it
		return 0
	}
	return n
}

// dials returns what the API server dials a Service for.
func (x *Index) dials(namespace, name string) (string, bool) {
	if x == nil {
		return "", false
	}
	who, ok := x.dialled[namespace+"/"+name]
	return who, ok
}

// has6 reports whether an address pool of a kind has IPv6 addresses.
func (x *Index) has6(kind string) bool { return x != nil && x.ipv6[kind] }

// overlaps returns the name of another IPPool that shares addresses with a range; "" if none does. Two manifests of one pool
// are one pool.
func (x *Index) overlaps(name string, p netip.Prefix) string {
	if x == nil {
		return ""
	}
	for _, other := range x.pools {
		if other.name != name && other.cidr.Overlaps(p) {
			return other.name
		}
	}
	return ""
}

// candidates are the postings of the rarest label of a selector.
func (x *Index) candidates(namespace string, selector []string) []posting {
	x.sorting.Lock()
	if !x.sorted {
		slices.SortFunc(x.postings, func(a, b posting) int {
			return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.template, b.template))
		})
		x.sorted = true
	}
	x.sorting.Unlock()
	few := x.having(hashOf(namespace, ""))
	for _, l := range selector {
		if p := x.having(hashOf(namespace, l)); len(p) < len(few) {
			few = p
		}
	}
	return few
}

func (x *Index) having(hash uint32) []posting {
	at := func(h uint64) int {
		i, _ := slices.BinarySearchFunc(x.postings, h, func(p posting, h uint64) int { return cmp.Compare(uint64(p.hash), h) })
		return i
	}
	return x.postings[at(uint64(hash)):at(uint64(hash)+1)]
}

// targetPort resolves a named target port in the pod templates that a selector matches; 0 if none has it or they differ.
func (x *Index) targetPort(namespace string, selector map[string]any, name string) int64 {
	if x == nil {
		return 0
	}
	var want []string
	for k, v := range selector {
		l, ok := label(k, v)
		if !ok {
			return 0
		}
		want = append(want, l)
	}
	var found int64
candidates:
	for _, p := range x.candidates(namespace, want) {
		t := x.templates[p.template]
		if !t.labels.in(namespace) {
			continue
		}
		for _, l := range want {
			if !t.labels.has(l) {
				continue candidates
			}
		}
		number := t.port(name)
		if number == 0 || found != 0 && number != found {
			return 0
		}
		found = number
	}
	return found
}

func selects(selector, labels map[string]any) bool {
	for k, v := range selector {
		if _, ok := v.(string); !ok || labels[k] != v { // maps cannot be compared
			return false
		}
	}
	return true
}

// exposes reports whether others may dial the port of a listener that a ConfigMap configures: false only where every pod template
// of the input that mounts the ConfigMap, and every Service that selects it, names other ports.
func (req *Request) exposes(l listener) bool {
	if req.Object.Kind() != "ConfigMap" || !isNumber(l.Port) {
		return true
	}
	x := req.others()
	if x == nil {
		return true
	}
	users := x.mounts[req.Namespace+"/"+req.Object.Name()]
	for _, u := range users {
		if u.all || strings.Contains(u.dialled, ","+l.Port+",") {
			return true
		}
		for _, s := range x.services[req.Namespace] {
			if (s.named || strings.Contains(s.ports, ","+l.Port+",")) && s.selects(u.labels) {
				return true
			}
		}
	}
	return len(users) == 0
}
