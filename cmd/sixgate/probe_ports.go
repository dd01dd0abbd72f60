package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sixgate/sixgate/pkg/sockets"
)

// containerPort is the kind of use that only declares a port, which is documentation and no more.
const containerPort = "containerPort"

// A portUse is a port of a pod and one that uses it.
type portUse struct {
	protocol sockets.Protocol
	port     uint16
	by       probeUse
}

// podUses is what dials the ports of a pod over IPv6, and what is declared of them: by Services of the pod's namespace that select
// it and have IPv6, by the kubelet, which dials the pod's first address, and by its containers. assume takes all of them for IPv6.
func podUses(pod *corev1.Pod, services []corev1.Service, assume bool) []portUse {
	var uses []portUse
	add := func(protocol corev1.Protocol, port int32, by probeUse) {
		if port > 0 && port <= 65535 && (protocol == corev1.ProtocolTCP || protocol == corev1.ProtocolUDP) {
			uses = append(uses, portUse{sockets.Protocol(protocol), uint16(port), by})
		}
	}
	containers := longRunning(pod)
	if assume || slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return isIPv6(ip.IP) }) {
		for _, s := range services {
			if !selects(&s, pod) || !assume && !slices.Contains(s.Spec.IPFamilies, corev1.IPv6Protocol) {
				continue
			}
			for _, p := range s.Spec.Ports {
				add(p.Protocol, servicePort(containers, p), probeUse{"Service", s.Name})
			}
		}
	}
	kubelet := assume || isIPv6(pod.Status.PodIP)
	for _, c := range containers {
		dial := func(kind, host string, port intstr.IntOrString) {
			if kubelet && host == "" {
				add(corev1.ProtocolTCP, probedPort(c, port), probeUse{kind, c.Name})
			}
		}
		for _, p := range []struct {
			kind  string
			probe *corev1.Probe
		}{{"startupProbe", c.StartupProbe}, {"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}} {
			switch {
			case p.probe == nil:
			case p.probe.HTTPGet != nil:
				dial(p.kind, p.probe.HTTPGet.Host, p.probe.HTTPGet.Port)
			case p.probe.TCPSocket != nil:
				dial(p.kind, p.probe.TCPSocket.Host, p.probe.TCPSocket.Port)
			case p.probe.GRPC != nil:
				dial(p.kind, "", intstr.FromInt32(p.probe.GRPC.Port))
			}
		}
		if l := c.Lifecycle; l != nil {
			if l.PostStart != nil && l.PostStart.HTTPGet != nil {
				dial("postStart", l.PostStart.HTTPGet.Host, l.PostStart.HTTPGet.Port)
			}
			if l.PreStop != nil && l.PreStop.HTTPGet != nil {
				dial("preStop", l.PreStop.HTTPGet.Host, l.PreStop.HTTPGet.Port)
			}
		}
		for _, p := range c.Ports {
			add(p.Protocol, p.ContainerPort, probeUse{containerPort, c.Name})
		}
	}
	return uses
}

// longRunning are the containers that run as long as the pod: its containers and its sidecars.
func longRunning(pod *corev1.Pod) []corev1.Container {
	containers := slices.Clone(pod.Spec.Containers)
	for _, c := range pod.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, c)
		}
	}
	return containers
}

func isIPv6(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return err == nil && addr.Is6()
}

func selects(s *corev1.Service, pod *corev1.Pod) bool {
	return s.Namespace == pod.Namespace && s.Spec.Type != corev1.ServiceTypeExternalName && len(s.Spec.Selector) > 0 &&
		labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(pod.Labels))
}

// servicePort is the port of the pod that a port of a Service leads to, 0 where the name is nobody's: as FindPort of Kubernetes
// (pkg/api/v1/pod).
func servicePort(containers []corev1.Container, p corev1.ServicePort) int32 {
	if p.TargetPort.Type == intstr.Int {
		return cmp.Or(p.TargetPort.IntVal, p.Port)
	}
	for _, c := range containers {
		for _, own := range c.Ports {
			if own.Name == p.TargetPort.StrVal && own.Protocol == p.Protocol {
				return own.ContainerPort
			}
		}
	}
	return 0
}

// probedPort is the port that the kubelet dials, 0 where the name is none of the container: as ResolveContainerPort of
// Kubernetes (pkg/probe).
func probedPort(c corev1.Container, port intstr.IntOrString) int32 {
	if port.Type == intstr.String {
		for _, own := range c.Ports {
			if own.Name == port.StrVal {
				return own.ContainerPort
			}
		}
	}
	return int32(port.IntValue()) // a text of digits too
}

// judge holds the uses of a target against what listens there. The errors are ports of which it cannot say anything.
func judge(t *probeTarget, n *sockets.Namespace, uses []portUse, stopped []string) (findings []probeFinding, unknown []probeNote) {
	slices.SortStableFunc(uses, func(a, b portUse) int {
		return cmp.Or(cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
	})
	for len(uses) > 0 {
		first, end := uses[0], 1
		for end < len(uses) && uses[end].port == first.port && uses[end].protocol == first.protocol {
			end++
		}
		var dialled, declared []probeUse
		for _, u := range uses[:end] {
			switch {
			case u.by.Kind == containerPort:
				declared = append(declared, u.by)
			case !slices.Contains(dialled, u.by):
				dialled = append(dialled, u.by)
			}
		}
		uses = uses[end:]
		port := portOf(n, first.protocol, first.port)
		switch reach := n.Reach(first.protocol, first.port); {
		case reach == sockets.IPv6, len(dialled) == 0 && reach <= sockets.None:
			continue // declared and not used is common, and harmless
		case reach == sockets.Unknown:
			unknown = append(unknown, probeNote{t.probePlace, "do not know what listens on " + port.label() + ": a socket table is missing"})
			continue
		}
		f := probeFinding{probePlace: t.probePlace, probePort: port, Level: probeFault, Uses: append(dialled, declared...)}
		f.Message = port.String()
		if port.Reach == sockets.IPv4Only.String() && !t.IPv6 {
			f.Message += " on a node without IPv6"
		}
		if len(dialled) > 0 {
			f.Message += "; " + sentence(t.Namespace, dialled)
		} else {
			f.Level = probeWarn
			f.Message += "; " + sentence(t.Namespace, declared)
		}
		if port.Reach == sockets.None.String() && len(stopped) > 0 {
			f.Message += "; not running: " + strings.Join(stopped, ", ")
		}
		if t.HostNetwork && port.Reach != sockets.None.String() {
			f.Message += "; the pod shares the network of its node, so it may be another process"
		}
		findings = append(findings, f)
	}
	return findings, unknown
}

// sentence says who dials or declares a port.
func sentence(namespace string, uses []probeUse) string {
	var names []string
	for _, u := range uses {
		switch u.Kind {
		case "Service":
			names = append(names, "Service "+namespace+"/"+u.Name)
		case containerPort:
			names = append(names, "container "+u.Name)
		default:
			names = append(names, u.Kind+" of container "+u.Name)
		}
	}
	names = slices.Compact(names)
	text, one, many := strings.Join(names, ", "), "dials it over IPv6", "dial it over IPv6"
	if uses[0].Kind == containerPort {
		one, many = "declares it", "declare it"
	}
	if len(names) > 1 {
		return text + " " + many
	}
	return text + " " + one
}

// portOf is what listens on a port.
func portOf(n *sockets.Namespace, protocol sockets.Protocol, port uint16) probePort {
	p := probePort{Protocol: string(protocol), Port: port, Reach: n.Reach(protocol, port).String(), Addresses: []string{}, Processes: []string{}}
	for _, l := range n.At(protocol, port) {
		p.Addresses = append(p.Addresses, l.AddrPort().String())
	}
	return p
}

// portsOf is what listens on every port.
func portsOf(n *sockets.Namespace) []probePort {
	ports := []probePort{}
	for i, l := range n.Listeners {
		if i == 0 || l.Protocol != n.Listeners[i-1].Protocol || l.Port != n.Listeners[i-1].Port {
			ports = append(ports, portOf(n, l.Protocol, l.Port))
		}
	}
	return ports
}

func (p *probePort) label() string {
	if p.Protocol == string(sockets.TCP) {
		return fmt.Sprintf("port %d", p.Port)
	}
	return fmt.Sprintf("port %d/%s", p.Port, p.Protocol)
}

// maxShown is how many addresses or processes a line of text names.
const maxShown = 4

func (p *probePort) String() string {
	var text string
	switch p.Reach {
	case sockets.None.String():
		return "nothing listens on " + p.label()
	case sockets.Loopback.String():
		text = " listens on loopback only"
	case sockets.LinkLocal.String():
		text = " listens on link-local addresses only"
	case sockets.IPv4Only.String():
		text = " listens on IPv4 only"
	case sockets.IPv6.String():
		text = " listens on IPv6"
	default:
		text = " listens"
	}
	text = p.label() + text + " (" + few(p.Addresses, maxShown) + ")"
	if len(p.Processes) > 0 {
		text += " by " + few(p.Processes, maxShown)
	}
	return text
}
