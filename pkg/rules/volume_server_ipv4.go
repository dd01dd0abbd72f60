package rules

import (
	"fmt"
	"net/netip"
	"strings"
)

// volumeServerIPv4 refuses volumes on servers with an IPv4 address: the node mounts them, and has no IPv4 address.
//
// Source: k8s.io/api core/v1, PersistentVolumeSource and VolumeSource; kubernetes pkg/volume/nfs, getServerFromSource (brackets an
// IPv6 server itself); kubernetes-csi/csi-driver-nfs and csi-driver-smb, docs/driver-parameters.md.
func volumeServerIPv4() *Rule {
	targets := append([]Target{targetPersistentVolume, targetStorageClass, targetPod}, workloads()...)
	return &Rule{
		ID: "volume-server-ipv4", Since: "v0.1.0", Level: Deny,
		Title:   "Volume is on a server with an IPv4 address",
		Targets: targets,
		Check:   checkVolumeServerIPv4,
	}
}

func checkVolumeServerIPv4(req *Request) []Finding {
	o := req.Object
	var out []Finding
	add := func(path Path, value string) {
		host, port := value, ""
		if rest, ok := strings.CutPrefix(strings.ReplaceAll(value, `\`, "/"), "//"); ok { // an SMB share
			host, _, _ = strings.Cut(rest, "/")
		}
		if a, err := netip.ParseAddrPort(host); err == nil {
			host, port = a.Addr().String(), fmt.Sprint(a.Port())
		}
		if ipFamily(host) != "IPv4" || isLoopback(host) {
			return
		}
		f := Finding{Path: path, Value: value}
		fact, instead := "is IPv4, no node of the cluster can mount it", "the server's IPv6 address"
		if req.Policy.Cluster.Nodes != "IPv6" || req.Policy.Cluster.NAT64.CLAT {
			f.Limit, fact = Warn, "is IPv4, only nodes with IPv4 or CLAT can mount it"
		}
		if v6 := translated(req.Policy, host); v6 != "" {
			if port != "" {
				v6 = "[" + v6 + "]:" + port
			}
			instead = fmt.Sprintf("%q (NAT64)", v6)
		}
		f.Message = fmt.Sprintf("%s %s; give a DNS name or %s", quote(value), fact, instead)
		out = append(out, f)
	}
	str := func(path Path) { add(path, o.Str(path...)) }
	list := func(path Path) {
		for i, e := range o.List(path...) {
			if s, ok := e.(string); ok {
				add(path.With(i), s)
			}
		}
	}
	attributes := func(path Path) {
		for _, key := range []string{"server", "share", "source", "mounttargetip"} {
			str(path.With(key))
		}
		for part := range strings.SplitSeq(o.Str(path.With("monitors")...), ",") {
			add(path.With("monitors"), strings.TrimSpace(part))
		}
	}
	source := func(at Path) {
		str(at.With("nfs", "server"))
		str(at.With("iscsi", "targetPortal"))
		list(at.With("iscsi", "portals"))
		list(at.With("cephfs", "monitors"))
		list(at.With("rbd", "monitors"))
		attributes(at.With("csi", "volumeAttributes"))
	}
	switch o.Group() + "/" + o.Kind() {
	case "/PersistentVolume":
		source(Path{"spec"})
	case "storage.k8s.io/StorageClass":
		attributes(Path{"parameters"})
	default:
		pod, ok := podPath(o)
		if !ok || isMirror(o) {
			return nil
		}
		volumes := pod.With("spec", "volumes")
		for i := range o.List(volumes...) {
			n := len(out)
			source(volumes.With(i))
			for j := range out[n:] {
				out[n+j].Subject = o.Str(volumes.With(i, "name")...)
			}
		}
	}
	return out
}
