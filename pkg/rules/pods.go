package rules

import (
	netutils "k8s.io/utils/net"
)

// podRules are the rules about what a pod says of addresses, apart from what it listens on.
func podRules() []*Rule {
	return []*Rule{
		ipVariableUnbracketed(),
		apiServerHostValue(),
		probeHost(),
		dnsConfigIPv4(),
		hostAliasIPv4(),
		envIPv4Literal(),
		ipv6Disabled(),
		imageDefaultIPv4(),
		imageRegistryIPv4(),
		windowsNode(),
		publicPod(),
	}
}

// podTargets are Pods and what makes them.
func podTargets() []Target { return append([]Target{targetPod}, workloads()...) }

// judgedPod is where an object keeps a pod that a person wrote for Linux.
func judgedPod(o *Object) (Path, bool) {
	pod, ok := podPath(o)
	return pod, ok && !isMirror(o) && !isWindows(o, pod)
}

// mayRepairPod: nearly everything of a stored Pod is immutable.
func mayRepairPod(req *Request) bool {
	return req.Operation != Update || req.Object.Kind() != "Pod"
}

// dialsIPv4: the pod has its node's network, and that has IPv4 or translates it.
func dialsIPv4(req *Request, pod Path) bool {
	c := req.Policy.Cluster
	return (c.Nodes != "IPv6" || c.NAT64.CLAT) && req.Object.Bool(pod.With("spec", "hostNetwork")...)
}

// insteadOf is the way out for an IPv4 literal: its NAT64 form where the policy has a prefix, else other.
func insteadOf(p *Policy, v4, other string) string {
	if v6 := translated(p, v4); v6 != "" {
		return "use " + quote(v6) + ", its NAT64 form"
	}
	return other
}

// isLoopback: the literal is an address of the loopback interface.
func isLoopback(s string) bool {
	ip := netutils.ParseIPSloppy(s)
	return ip != nil && ip.IsLoopback()
}
