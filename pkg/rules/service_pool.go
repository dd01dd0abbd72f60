package rules

import (
	"maps"
	"slices"
	"strings"
)

// A loadBalancer is a system that gives LoadBalancer Services their addresses, and the annotations by which it is asked.
type loadBalancer struct {
	name, system   string                // in services.loadBalancer, and as people write it
	pools, address string                // keys; "": it has none
	noPools        string                // what to do instead of a key for pools
	noAddress      string                // and for an address
	encode         func([]string) string // of either
	manyPools      bool
}

// loadBalancers is never changed.
var loadBalancers = []loadBalancer{
	{name: "calico", system: "Calico", pools: "projectcalico.org/ipv6pools", address: "projectcalico.org/loadBalancerIPs", encode: jsonArray, manyPools: true},
	{name: "cilium", system: "Cilium", address: "lbipam.cilium.io/ips", encode: commas, noPools: "a CiliumLoadBalancerIPPool selects its Services itself; give addresses"},
	{name: "metallb", system: "MetalLB", pools: "metallb.io/address-pool", address: "metallb.io/loadBalancerIPs", encode: commas},
	{name: "purelb", system: "PureLB", pools: "purelb.io/service-group", address: "purelb.io/addresses", encode: commas},
	{name: "kube-vip", system: "kube-vip", address: "kube-vip.io/loadbalancerIPs", encode: commas, noPools: "kube-vip reads its ranges from a ConfigMap by namespace; give addresses"},
	{name: "antrea", system: "Antrea", pools: "service.antrea.io/external-ip-pool", encode: commas, noAddress: "Antrea reads one address from spec.loadBalancerIP only; name a pool"},
}

func commas(values []string) string { return strings.Join(values, ",") }

// loadBalancer returns the system that the policy names, nil if it names none.
func (p *Policy) loadBalancer() *loadBalancer {
	for i := range loadBalancers {
		if loadBalancers[i].name == p.Services.LoadBalancer {
			return &loadBalancers[i]
		}
	}
	return nil
}

// servicePool gives LoadBalancer Services the pools, or the address, that the policy has for them.
//
// Source: the constants of the systems that are named in service_pool_annotation.go; the judges there take what is written here.
func servicePool() *Rule {
	return &Rule{
		ID: "service-pool", Since: "v0.1.0", Level: None, Mutate: true,
		Title:   "LoadBalancer Services are given the pools of the policy",
		Targets: []Target{targetService},
		Check:   checkServicePool,
		CEL:     celServicePool(),
	}
}

func checkServicePool(req *Request) []Finding {
	o := req.Object
	lb := req.Policy.loadBalancer()
	if lb == nil || serviceType(o) != "LoadBalancer" || o.Str("spec", "loadBalancerIP") != "" {
		return nil
	}
	if class := o.Str("spec", "loadBalancerClass"); class != "" && !strings.Contains(class, lb.name) {
		return nil // another system serves it
	}
	annotations := o.Map("metadata", "annotations")
	for _, k := range poolKeys {
		if k.name == lb.name && slices.ContainsFunc(k.keys, func(key string) bool { return has(annotations, key) }) {
			return nil // somebody chose
		}
	}
	pool := req.Policy.servicePool(req.Namespace, o.Map("metadata", "labels"))
	if pool == nil {
		return nil
	}
	var out []Finding
	for _, a := range lb.annotations(pool) {
		path := Path{"metadata", "annotations", a.key}
		// An address that clients know does not change: on UPDATE only what the request dropped comes back.
		if old := storedService(req); old != nil && serviceType(old) == "LoadBalancer" && old.Str(path...) != a.value {
			continue
		}
		out = append(out, Finding{
			Path: path, Subject: a.key, Message: "adds " + a.value,
			Fix: func(o *Object) { o.Set(path, a.value) },
		})
	}
	return out
}

// servicePool returns the first entry that selects a Service, or nil.
func (p *Policy) servicePool(namespace string, labels map[string]any) *ServicePool {
	for i := range p.Services.Pools {
		pool := &p.Services.Pools[i]
		matches := len(pool.Namespaces) == 0 || globAny(pool.Namespaces, namespace)
		for k, v := range pool.Services {
			matches = matches && labels[k] == v
		}
		if matches {
			return pool
		}
	}
	return nil
}

// annotations are what the system reads for this entry.
func (lb *loadBalancer) annotations(p *ServicePool) []addition {
	var out []addition
	if lb.pools != "" && len(p.IPv6Pools) > 0 {
		out = append(out, addition{key: lb.pools, value: lb.encode(canonicalAddresses(p.IPv6Pools))})
	}
	if lb.address != "" && len(p.Addresses) > 0 {
		out = append(out, addition{key: lb.address, value: lb.encode(canonicalAddresses(p.Addresses))})
	}
	return out
}

func (p *Policy) checkServicePools(bad complain) {
	var names []string
	for _, lb := range loadBalancers {
		names = append(names, lb.name)
	}
	lb, named := p.loadBalancer(), p.Services.LoadBalancer
	if named != "" && lb == nil {
		bad(Path{"services", "loadBalancer"}, "%q must be one of %s%s", named, strings.Join(names, ", "), Suggest(named, names))
	}
	for i, pool := range p.Services.Pools {
		at := Path{"services", "pools", i}
		if named == "" {
			bad(at, "each load balancer has annotations of its own; set services.loadBalancer")
		}
		if len(pool.IPv6Pools)+len(pool.Addresses) == 0 {
			bad(at, "gives nothing; set ipv6Pools or addresses")
		}
		if len(pool.Addresses) > 1 {
			bad(at.With("addresses"), "%d addresses: a Service takes one IPv6 address; write one entry for each", len(pool.Addresses))
		}
		for j, v := range pool.Addresses {
			if !isIPv6Address(v) {
				bad(at.With("addresses", j), "%q is not an IPv6 address", v)
			}
		}
		if lb != nil {
			lb.check(&pool, at, bad)
		}
	}
}

func (lb *loadBalancer) check(p *ServicePool, at Path, bad complain) {
	if len(p.Addresses) > 0 && lb.address == "" {
		bad(at.With("addresses"), "%s", lb.noAddress)
	}
	switch {
	case len(p.IPv6Pools) == 0:
	case lb.pools == "":
		bad(at.With("ipv6Pools"), "%s", lb.noPools)
	case len(p.IPv6Pools) > 1 && !lb.manyPools:
		bad(at.With("ipv6Pools"), "%s reads one pool; name one", lb.system)
	default:
		for _, k := range poolKeys {
			if value := lb.encode(p.IPv6Pools); slices.Contains(k.keys, lb.pools) {
				if fault := k.judge(value); fault.message != "" {
					bad(at.With("ipv6Pools"), "%q %s", value, fault.message)
				}
			}
		}
	}
}

func celServicePool() *CEL {
	return &CEL{
		Needs: "services.loadBalancer and services.pools",
		Write: func(a *Active, p *Policy) *Expressions {
			lb := p.loadBalancer()
			if lb == nil || len(p.Services.Pools) == 0 {
				return nil
			}
			var chosen []string
			for _, k := range poolKeys {
				if k.name == lb.name {
					chosen = append(chosen, k.keys...)
				}
			}
			entries := ""
			for i := range p.Services.Pools {
				pool := &p.Services.Pools[i]
				var tests, adds []string
				if len(pool.Namespaces) > 0 {
					tests = append(tests, celGlob(celNamespace, pool.Namespaces))
				}
				for _, k := range slices.Sorted(maps.Keys(pool.Services)) {
					tests = append(tests, "$object.metadata.?labels[?"+celString(k)+"] == optional.of("+celString(pool.Services[k])+")")
				}
				for _, a := range lb.annotations(pool) {
					adds = append(adds, "{'key': "+celString(a.key)+", 'value': "+celString(a.value)+"}")
				}
				entries += celAll(tests...) + " ? [" + strings.Join(adds, ", ") + "]\n    : "
			}
			e := &Expressions{Variables: []Variable{
				{"gets", "$object.?spec.?type.orValue('') == 'LoadBalancer' && $object.?spec.?loadBalancerIP.orValue('') == '' &&\n  " +
					"($object.?spec.?loadBalancerClass.orValue('') == '' || $object.spec.loadBalancerClass.contains('" + lb.name + "')) &&\n  " +
					"!" + celList(chosen) + ".exists(k, k in $object.metadata.?annotations.orValue({}))"},
				// An address that clients know does not change: on UPDATE only what the request dropped comes back.
				{"adds", "!$gets ? [] : (" + entries + "[]).filter(a, $old == null || $old.?spec.?type.orValue('') != 'LoadBalancer' || $old.metadata.?annotations[?a.key] == optional.of(a.value))"},
			}}
			if a.Repairs() {
				e.Patch = "size($adds) == 0 ? [] :\n  !has(object.metadata.annotations) ? [JSONPatch{op: 'add', path: '/metadata/annotations', value: $adds.transformMapEntry(i, a, {a.key: a.value})}]\n" +
					"  : $adds.map(a, JSONPatch{op: 'add', path: '/metadata/annotations/' + jsonpatch.escapeKey(a.key), value: a.value})"
			}
			return e
		},
	}
}
