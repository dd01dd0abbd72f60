package rules

import (
	"net/netip"
	"slices"
	"strconv"
)

// An Index holds what the other objects of the same input say about an object. A nil Index knows nothing.
type Index struct {
	dialled   map[string]string // "namespace/name" of a Service -> what the API server dials it for
	templates map[labelled][]template
	mounts    map[string][]mount   // by "namespace/name" of a ConfigMap
	services  map[string][]service // by namespace
	guarded   map[string]bool      // namespaces with a NetworkPolicy; *: all
	ipv6      map[string]bool      // kinds of address pools of which one has IPv6 addresses
	pools     []pool               // enabled IPPools of Calico, at most maxPools
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
	labels  map[string]any
	dialled map[string]bool // ports that its containers and probes name
	all     bool            // one of them cannot be told

	variables []origins // of each container
}

// A service is what a Service dials.
type service struct {
	selector map[string]any
	ports    map[string]bool // target ports
	named    bool            // one of them is a name
}

// labelled are the templates of a namespace that have a label; with no key all of them.
type labelled struct{ namespace, key, value string }

type template struct {
	labels map[string]any
	ports  map[string]int64 // by name
}

// NewIndex indexes the objects of one input; namespace is that of objects which name none.
func NewIndex(objects []*Object, namespace string) *Index {
	x := &Index{dialled: map[string]string{}, templates: map[labelled][]template{}, mounts: map[string][]mount{}, services: map[string][]service{}, guarded: map[string]bool{}, ipv6: map[string]bool{}}
	for _, o := range objects {
		ns := o.Namespace()
		if ns == "" {
			ns = namespace
		}
		if pod, ok := podPath(o); ok {
			t := podTemplate(o, pod)
			x.mount(o, pod, ns, t.labels)
			x.templates[labelled{namespace: ns}] = append(x.templates[labelled{namespace: ns}], t)
			for k, v := range t.labels {
				if value, ok := v.(string); ok && k != "" {
					l := labelled{ns, k, value}
					x.templates[l] = append(x.templates[l], t)
				}
			}
			continue
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
			x.services[ns] = append(x.services[ns], dials(o))
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
	return x
}

// mount notes the ConfigMaps that a pod template uses, as volumes or whole environments.
func (x *Index) mount(o *Object, pod Path, namespace string, labels map[string]any) {
	var names []string
	for i := range o.List(pod.With("spec", "volumes")...) {
		at := pod.With("spec", "volumes", i)
		names = append(names, o.Str(at.With("configMap", "name")...))
		for j := range o.List(at.With("projected", "sources")...) {
			names = append(names, o.Str(at.With("projected", "sources", j, "configMap", "name")...))
		}
	}
	for _, c := range containers(o, pod) {
		for i := range o.List(c.path.With("envFrom")...) {
			names = append(names, o.Str(c.path.With("envFrom", i, "configMapRef", "name")...))
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
	if len(names) == 0 {
		return
	}
	ports, all := podPorts(o, pod)
	m := mount{labels: labels, dialled: ports, all: all}
	for _, c := range containers(o, pod) {
		m.variables = append(m.variables, originsOf(o, pod, c))
	}
	slices.Sort(names)
	for _, n := range slices.Compact(names) {
		x.mounts[namespace+"/"+n] = append(x.mounts[namespace+"/"+n], m)
	}
}

func dials(o *Object) service {
	s := service{selector: o.Map("spec", "selector"), ports: map[string]bool{}}
	for i := range o.List("spec", "ports") {
		v, ok := o.Get("spec", "ports", i, "targetPort")
		if !ok {
			v, _ = o.Get("spec", "ports", i, "port")
		}
		if n, ok := integer(v); ok {
			s.ports[strconv.FormatInt(n, 10)] = true
		} else {
			s.named = true
		}
	}
	return s
}

func (x *Index) dial(service map[string]any, who string) {
	namespace, _ := service["namespace"].(string)
	if name, _ := service["name"].(string); name != "" {
		x.dialled[namespace+"/"+name] = who
	}
}

func podTemplate(o *Object, pod Path) template {
	t := template{labels: o.Map(pod.With("metadata", "labels")...), ports: map[string]int64{}}
	for _, c := range containers(o, pod) {
		for i := range o.List(c.path.With("ports")...) {
			at := c.path.With("ports", i)
			number, _ := o.Get(at.With("containerPort")...)
			if n, ok := integer(number); ok {
				t.ports[o.Str(at.With("name")...)] = n
			}
		}
	}
	return t
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

// targetPort resolves a named target port in the pod templates that a selector matches; 0 if none has it or they differ.
func (x *Index) targetPort(namespace string, selector map[string]any, name string) int64 {
	if x == nil {
		return 0
	}
	templates := x.templates[labelled{namespace: namespace}]
	for k, v := range selector {
		if value, ok := v.(string); ok && k != "" {
			if few := x.templates[labelled{namespace, k, value}]; len(few) < len(templates) {
				templates = few
			}
		}
	}
	var found int64
	for _, t := range templates {
		if !selects(selector, t.labels) {
			continue
		}
		number := t.ports[name]
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
	if req.Index == nil || req.Object.Kind() != "ConfigMap" || !isNumber(l.Port) {
		return true
	}
	users := req.Index.mounts[req.Namespace+"/"+req.Object.Name()]
	for _, u := range users {
		if u.all || u.dialled[l.Port] {
			return true
		}
		for _, s := range req.Index.services[req.Namespace] {
			if len(s.selector) > 0 && selects(s.selector, u.labels) && (s.named || s.ports[l.Port]) {
				return true
			}
		}
	}
	return len(users) == 0
}
