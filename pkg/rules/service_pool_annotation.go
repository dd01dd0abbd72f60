package rules

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
)

// A poolKey is an annotation of Services that chooses addresses or pools, as the system that reads it takes it.
type poolKey struct {
	keys  []string // the first one that is there is read
	name  string   // of the system: in services.loadBalancer, or in cluster.cni
	judge func(value string) poolFault
	every bool // read from Services of every type, not of LoadBalancer only
	empty bool // an empty value is read too
}

// A poolFault is what is wrong with a value.
type poolFault struct {
	message string // after the quoted value; "": nothing
	limit   Level  // None: certain, where the system is
	keep    string // the value without its IPv4 part; "": there is no other part
}

// poolKeys is never changed.
var poolKeys = []poolKey{
	{keys: []string{"projectcalico.org/ipv6pools"}, name: "calico", judge: calicoServicePools, empty: true},
	{keys: []string{"projectcalico.org/ipv4pools"}, name: "calico", judge: calicoServiceIPv4Pools, empty: true},
	{keys: []string{"projectcalico.org/loadBalancerIPs"}, name: "calico", judge: calicoServiceAddresses, empty: true},
	{keys: []string{"lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"}, name: "cilium", judge: ciliumServiceAddresses},
	{keys: []string{"metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs"}, name: "metallb", judge: metalLBAddresses},
	{keys: []string{"metallb.io/address-pool", "metallb.universe.tf/address-pool"}, name: "metallb", judge: onePoolName},
	{keys: []string{"purelb.io/addresses"}, name: "purelb", judge: pureLBAddresses, empty: true},
	{keys: []string{"purelb.io/service-group"}, name: "purelb", judge: onePoolName},
	{keys: []string{"kube-vip.io/loadbalancerIPs"}, name: "kube-vip", judge: kubeVIPAddresses},
	{keys: []string{"service.antrea.io/external-ip-pool"}, name: "antrea", judge: onePoolName},
	{keys: []string{"ovn.kubernetes.io/switch_lb_vip"}, name: "kube-ovn", judge: kubeOVNAddresses, every: true},
}

// servicePoolAnnotation judges the annotations by which a Service asks a load balancer of the cluster for an address, each by the
// rules of the parser that reads it.
//
// Source: projectcalico/calico, kube-controllers/pkg/controllers/loadbalancer; cilium/cilium, operator/pkg/lbipam/lbipam.go;
// metallb/metallb, controller/service.go; purelb, internal/allocator/allocator.go; kube-vip/kube-vip, pkg/instance (FetchServiceAddresses);
// kubeovn/kube-ovn, pkg/controller/service.go.
func servicePoolAnnotation() *Rule {
	return &Rule{
		ID: "service-pool-annotation", Since: "v0.1.0", Level: Deny,
		Title:   "Load-balancer annotation asks for IPv4, or cannot be read",
		CEL:     &CEL{Never: "judges lists of which each has a format of its own, some of them JSON inside a string, for which CEL has no parser"},
		Targets: []Target{targetService},
		Check:   checkServicePoolAnnotation,
	}
}

func checkServicePoolAnnotation(req *Request) []Finding {
	o := req.Object
	annotations, t := o.Map("metadata", "annotations"), serviceType(o)
	if len(annotations) == 0 {
		return nil
	}
	var out []Finding
	for _, k := range poolKeys {
		if t != "LoadBalancer" && !k.every {
			continue
		}
		i := slices.IndexFunc(k.keys, func(key string) bool { return has(annotations, key) })
		if i < 0 {
			continue
		}
		path := Path{"metadata", "annotations", k.keys[i]}
		value, isString := annotations[k.keys[i]].(string)
		if !isString || value == "" && !k.empty || strings.Contains(value, "${") || strings.Contains(value, "{{") {
			continue // the last two are filled in before anybody applies the manifest
		}
		f := Finding{Path: path, Subject: k.keys[i], Value: value}
		if value == "" || !certainlyRead(req, k.name) {
			f.Limit = Warn
		}
		fault := k.judge(value)
		if ip := o.Str("spec", "loadBalancerIP"); k.name == "metallb" && ip != "" && fault.message == "" && strings.HasSuffix(k.keys[i], "/loadBalancerIPs") {
			fault.message = "stands beside spec.loadBalancerIP, MetalLB gives no address; remove spec.loadBalancerIP"
		}
		if fault.message == "" {
			continue
		}
		if fault.limit != None {
			f.Limit = fault.limit
		}
		f.Message = quote(value) + " " + fault.message
		if fault.keep != "" {
			f.Fix = func(o *Object) { o.Set(path, fault.keep) }
		}
		out = append(out, f)
	}
	return out
}

// certainlyRead: the policy names the system, and the Service no other one.
func certainlyRead(req *Request, system string) bool {
	named := req.Policy.Services.LoadBalancer
	if named == "" {
		named = req.Policy.Cluster.CNI
	}
	class := req.Object.Str("spec", "loadBalancerClass")
	return named == system && (class == "" || strings.Contains(class, system))
}

// calicoServicePools: a JSON array of CIDRs or names of IPPools; one bad entry and the Service gets nothing, said only in a log.
func calicoServicePools(value string) poolFault {
	var pools []string
	if json.Unmarshal([]byte(value), &pools) != nil {
		return notJSON
	}
	for _, p := range pools {
		switch {
		case strings.Contains(p, "/") && rangeFamily(p) == "IPv4":
			return poolFault{message: "holds an IPv4 pool, Calico gives no address; give an IPv6 CIDR or the name of an IPPool"}
		case strings.Contains(p, "/") && rangeFamily(p) == "", !strings.Contains(p, "/") && !poolName.MatchString(p):
			return poolFault{message: "holds neither a CIDR nor the name of an IPPool, Calico gives no address; write [\"2001:db8::/120\"]"}
		}
	}
	return poolFault{}
}

var notJSON = poolFault{message: `is not a JSON array of strings, Calico gives no address; write ["…"] inside the string`}

func calicoServiceIPv4Pools(value string) poolFault {
	var pools []string
	if json.Unmarshal([]byte(value), &pools) != nil {
		return notJSON
	}
	return poolFault{message: "names IPv4 pools, which an IPv6 Service does not use; use projectcalico.org/ipv6pools", limit: Warn}
}

// calicoServiceAddresses: a JSON array, at most one address of each family.
func calicoServiceAddresses(value string) poolFault {
	var ips []string
	if json.Unmarshal([]byte(value), &ips) != nil {
		return notJSON
	}
	f := strictAddresses("Calico", ips)
	if f.message == "" && f.ipv6 > 1 {
		f.message = "names more than one IPv6 address, Calico gives none; keep one"
	}
	if len(f.kept) > 0 {
		f.keep = jsonArray(f.kept)
	}
	return f.poolFault
}

// ciliumServiceAddresses: commas, trimmed. An entry that is no address is logged and left out, so the Service gets another one.
func ciliumServiceAddresses(value string) poolFault {
	f := strictAddresses("Cilium", trimmed(value))
	f.message = strings.Replace(f.message, "Cilium gives none", "Cilium leaves it out", 1)
	if f.ipv4 > 0 {
		f.limit = Warn // its NAT46 gateway can serve them
	}
	f.keep = strings.Join(f.kept, ",")
	return f.poolFault
}

// metalLBAddresses: commas, trimmed; the families must be those of the Service, and one address of each.
func metalLBAddresses(value string) poolFault {
	f := strictAddresses("MetalLB", trimmed(value))
	if f.message == "" && f.ipv6 > 1 {
		f.message = "names more than one IPv6 address, MetalLB gives none; keep one"
	}
	if len(f.kept) == 1 {
		f.keep = f.kept[0]
	}
	return f.poolFault
}

// pureLBAddresses: commas, and a space is part of the entry.
func pureLBAddresses(value string) poolFault {
	values := strings.Split(value, ",")
	for _, v := range values {
		if v != strings.TrimSpace(v) && net.ParseIP(strings.TrimSpace(v)) != nil {
			return poolFault{message: "has white space, which PureLB does not trim: it gives no address; write the commas without spaces"}
		}
	}
	f := strictAddresses("PureLB", values)
	f.keep = strings.Join(f.kept, ",")
	return f.poolFault
}

// kubeVIPAddresses: commas, trimmed, empty entries left out. 0.0.0.0 asks for DHCP, which is IPv4. Newer versions take host names.
func kubeVIPAddresses(value string) poolFault {
	values := slices.DeleteFunc(trimmed(value), func(v string) bool { return v == "" })
	if slices.ContainsFunc(values, dnsName.MatchString) {
		return poolFault{}
	}
	f := strictAddresses("kube-vip", values)
	if slices.Contains(values, "0.0.0.0") && f.message != "" && f.ipv6 == 0 {
		f.message = "asks for an address by DHCP for IPv4, which serves no IPv6 Service; give an IPv6 address"
	}
	f.keep = strings.Join(f.kept, ",")
	return f.poolFault
}

// kubeOVNAddresses: commas, which older versions do not trim.
func kubeOVNAddresses(value string) poolFault {
	f := strictAddresses("Kube-OVN", trimmed(value))
	f.limit = Warn // an address beside those of the Service
	f.keep = strings.Join(f.kept, ",")
	return f.poolFault
}

// onePoolName: a single name.
func onePoolName(value string) poolFault {
	if poolName.MatchString(value) && rangeFamily(value) == "" {
		return poolFault{}
	}
	return poolFault{message: "is not the name of a pool, the Service gets no address; give one name, no CIDR and no list"}
}

func trimmed(value string) []string {
	out := strings.Split(value, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

type addressFault struct {
	poolFault
	ipv4, ipv6 int
	kept       []string // the IPv6 ones of a list of both, that could stand alone
}

// strictAddresses judges a list as net.ParseIP reads it.
func strictAddresses(system string, values []string) addressFault {
	var f addressFault
	var ipv6 []string
	first := ""
	for _, v := range values {
		switch ip := net.ParseIP(v); {
		case ip == nil:
			f.message = "holds " + quote(v) + ", which is no address, " + system + " gives none; give an IPv6 address without prefix length"
			if len(values) == 1 {
				f.message = "is no address, " + system + " gives none; give an IPv6 address without prefix length"
			}
			return f
		case ip.To4() != nil:
			if f.ipv4 == 0 {
				first = v
			}
			f.ipv4++
		default:
			f.ipv6++
			ipv6 = append(ipv6, v)
		}
	}
	switch {
	case f.ipv4 > 0 && f.ipv6 > 0:
		f.message = "holds the IPv4 address " + quote(first) + ", which an IPv6 Service cannot have; keep the IPv6 one"
		f.limit, f.kept = Warn, ipv6
	case f.ipv4 > 0:
		f.message = "is an IPv4 address, which an IPv6 Service cannot have; give an IPv6 address of a pool"
	}
	return f
}
