package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// hostPortIPv4 refuses host ports on IPv4 addresses.
//
// Source: measured on a node (docs/rules/host-port-ipv4.md); containernetworking/plugins, plugins/meta/portmap skips an entry
// whose hostIP is of another family than the pod, silently; kube-scheduler v1.37, framework/types.go takes only an empty hostIP
// and 0.0.0.0 for a wildcard, never "::".
func hostPortIPv4() *Rule {
	return &Rule{
		ID: "host-port-ipv4", Since: "v0.1.0", Level: Deny, Mutate: true,
		Title:   "Host port is published on an IPv4 address",
		Targets: append([]Target{targetPod}, workloads()...),
		Check:   checkHostPortIPv4,
		CEL:     celHostPortIPv4(),
	}
}

func checkHostPortIPv4(req *Request) []Finding {
	o := req.Object
	pod, ok := podPath(o)
	if !ok || isMirror(o) {
		return nil
	}
	hostNetwork := o.Bool(pod.With("spec", "hostNetwork")...)
	all := hostPorts(o, pod, hostNetwork)
	if !slices.ContainsFunc(all, func(p hostPort) bool { return ipFamily(p.hostIP) == "IPv4" }) {
		return nil
	}
	// Where another entry publishes the same port on IPv6 or on any address, an IPv4 one is only half of a dual-stack pair, and
	// without hostIP it could be a duplicate, which the API server refuses.
	reachable := map[string]bool{}
	for _, p := range all {
		if ipFamily(p.hostIP) != "IPv4" && p.hostIP != "::1" { // there is no host port on ::1 (kubernetes-sigs/cri-tools#165)
			reachable[p.key()] = true
		}
	}
	// Once a wildcard is cleared it publishes the port for every other entry.
	wildcard := map[string]int{}
	for i, p := range all {
		if _, ok := wildcard[p.key()]; !ok && ipFamily(p.hostIP) == "IPv4" && isUnspecified(p.hostIP) {
			wildcard[p.key()] = i
		}
	}
	cleared := clearedBefore(req)
	var out []Finding
	for i, p := range all {
		if ipFamily(p.hostIP) != "IPv4" || reachable[p.key()] {
			continue
		}
		if first, ok := wildcard[p.key()]; ok && first != i {
			continue
		}
		path := p.at.With("ports", p.i, "hostIP")
		f := Finding{Path: path, Subject: p.key(), Value: p.hostIP}
		switch {
		case hostNetwork:
			f.Limit = Warn
			f.Message = fmt.Sprintf("%s is not used by a hostNetwork pod, its program chooses the address itself; remove hostIP", quote(p.hostIP))
		case isUnspecified(p.hostIP):
			f.Message = fmt.Sprintf("%s publishes on IPv4 only, port %d is unreachable; remove hostIP", quote(p.hostIP), p.number)
			f.Changed = fmt.Sprintf("removed %s, so that port %d is published on IPv6", quote(p.hostIP), p.number)
			f.Fix = func(o *Object) { o.Remove(path) }
			if cleared != nil && !cleared[p.container+" "+p.key()] {
				f.Fix, f.Changed = nil, ""
			}
		default:
			f.Message = fmt.Sprintf("%s publishes on IPv4 only, port %d is unreachable; give an IPv6 address of the node, or remove hostIP to publish on all", quote(p.hostIP), p.number)
		}
		out = append(out, f)
	}
	return out
}

// clearedBefore returns the host ports that a Pod is stored with and that have no hostIP: those were cleared at its creation, so
// the same must happen to the same manifest again. The others keep theirs, the field is immutable. It is nil where everything
// may still be cleared.
func clearedBefore(req *Request) map[string]bool {
	if req.Operation != Update || req.Old == nil || req.Object.Kind() != "Pod" {
		return nil
	}
	cleared := map[string]bool{}
	for _, old := range hostPorts(req.Old, nil, false) {
		if old.hostIP == "" {
			cleared[old.container+" "+old.key()] = true
		}
	}
	return cleared
}

type hostPort struct {
	at                          Path // of the container
	i                           int
	container, hostIP, protocol string
	number                      int64
}

func (p hostPort) key() string { return strconv.FormatInt(p.number, 10) + "/" + p.protocol }

// hostPorts returns the ports that a pod publishes on its node. With hostNetwork the API server defaults each hostPort to its
// containerPort.
func hostPorts(o *Object, pod Path, hostNetwork bool) []hostPort {
	var out []hostPort
	for _, c := range containers(o, pod) {
		ports, _ := c.obj["ports"].([]any)
		for i, port := range ports {
			port, _ := port.(map[string]any)
			number, _ := integer(port["hostPort"])
			if number == 0 && hostNetwork {
				number, _ = integer(port["containerPort"])
			}
			if number == 0 {
				continue
			}
			protocol, _ := port["protocol"].(string)
			hostIP, _ := port["hostIP"].(string)
			out = append(out, hostPort{c.path, i, c.name, hostIP, cmp.Or(protocol, "TCP"), number})
		}
	}
	return out
}
