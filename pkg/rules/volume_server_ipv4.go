package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// volumeServerIPv4 refuses volumes on servers with an IPv4 address: the node mounts them, and has no IPv4 address.
//
// Source: k8s.io/api core/v1, PersistentVolumeSource and VolumeSource; kubernetes pkg/volume/nfs, getServerFromSource (brackets an
// IPv6 server itself); kubernetes-csi/csi-driver-nfs and csi-driver-smb, docs/driver-parameters.md;
// sig-storage-lib-external-provisioner, annotation provisioned-by.
func volumeServerIPv4() *Rule {
	targets := append([]Target{targetPersistentVolume, targetStorageClass, targetPod}, workloads()...)
	return &Rule{
		ID: "volume-server-ipv4", Since: "v0.1.0", Level: Deny,
		Title:   "Volume is on a server with an IPv4 address",
		Targets: targets,
		Check:   checkVolumeServerIPv4,
	}
}

// A volumeServer is a server, portal or monitor as a field names it.
type volumeServer struct {
	path             Path
	text, host, port string
}

// serversOf reads the servers of a text: one, or several with commas between them, in JSON brackets or not.
func serversOf(path Path, text string) []volumeServer {
	var out []volumeServer
	if strings.Count(text, ",") > 1000 {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "[v") || strings.HasPrefix(part, `["`) { // Ceph's monitors, or JSON
			part = part[1:]
		}
		if strings.HasSuffix(part, "]") && !strings.Contains(part, "[") {
			part = part[:len(part)-1]
		}
		part = strings.Trim(part, `" `)
		s := volumeServer{path: path, text: part, host: part}
		if rest, ok := strings.CutPrefix(strings.ReplaceAll(part, `\`, "/"), "//"); ok { // an SMB share
			s.host, _, _ = strings.Cut(rest, "/")
		}
		for _, messenger := range []string{"v1:", "v2:"} { // of Ceph
			s.host = strings.TrimPrefix(s.host, messenger)
		}
		if a, err := netip.ParseAddrPort(s.host); err == nil {
			s.host, s.port = a.Addr().Unmap().String(), strconv.Itoa(int(a.Port()))
		}
		if part != "" {
			out = append(out, s)
		}
	}
	return out
}

func checkVolumeServerIPv4(req *Request) []Finding {
	o := req.Object
	var out []Finding
	// A provisioner has made the disk already, and would try for ever.
	provisioned := o.Kind() == "PersistentVolume" && o.Str("metadata", "annotations", "pv.kubernetes.io/provisioned-by") != ""
	// add judges the servers of one field: any of them will do.
	add := func(servers ...volumeServer) {
		four := slices.DeleteFunc(slices.Clone(servers), func(s volumeServer) bool { return ipFamily(s.host) != "IPv4" || isLoopback(s.host) })
		if len(four) == 0 {
			return
		}
		s := four[0]
		said, is := quote(s.text), "is"
		if n := len(four) - 1; n > 0 {
			said, is = fmt.Sprintf("%s and %d more", said, n), "are"
		}
		var texts []string
		for _, s := range four {
			texts = append(texts, s.text)
		}
		slices.Sort(texts)
		f := Finding{Path: s.path, Value: strings.Join(texts, ",")}
		fact, instead := is+" IPv4, no node of the cluster can mount it", "an IPv6 address of the server"
		if c := req.Policy.Cluster; !c.nodesAreIPv6 || c.NAT64.CLAT {
			f.Limit, fact = Warn, is+" IPv4, only nodes with IPv4 or CLAT can mount it"
		} else if len(four) < len(servers) {
			f.Limit, fact = Warn, is+" IPv4, no node of the cluster reaches it"
		} else if provisioned {
			f.Limit = Warn
		}
		if v6 := translated(req.Policy, s.host); v6 != "" && !strings.HasPrefix(s.text, "//") && !strings.HasPrefix(s.text, `\\`) {
			if s.port != "" {
				v6 = "[" + v6 + "]:" + s.port
			}
			instead = fmt.Sprintf("%q (NAT64)", v6)
		}
		f.Message = fmt.Sprintf("%s %s; give a DNS name or %s", said, fact, instead)
		out = append(out, f)
	}
	str := func(path Path) []volumeServer { return serversOf(path, o.Str(path...)) }
	list := func(path Path) []volumeServer {
		var servers []volumeServer
		for i, e := range o.List(path...) {
			if s, ok := e.(string); ok {
				servers = append(servers, serversOf(path.With(i), s)...)
			}
		}
		return servers
	}
	// attributes are read by a driver, of which only the names of its keys are known: nothing is certain.
	attributes := func(path Path) {
		if o.Map(path...) == nil {
			return
		}
		n := len(out)
		defer func() {
			for i := range out[n:] {
				out[n+i].Limit = Warn
			}
		}()
		for _, key := range []string{"server", "share", "source", "mounttargetip", "monitors"} {
			add(str(path.With(key))...)
		}
		var portals []volumeServer
		for _, key := range []string{"targetPortal", "portal", "portals"} {
			portals = append(portals, str(path.With(key))...)
		}
		add(portals...)
	}
	source := func(at Path) {
		add(str(at.With("nfs", "server"))...)
		add(append(str(at.With("iscsi", "targetPortal")), list(at.With("iscsi", "portals"))...)...)
		add(list(at.With("cephfs", "monitors"))...)
		add(list(at.With("rbd", "monitors"))...)
		attributes(at.With("csi", "volumeAttributes"))
		attributes(at.With("flexVolume", "options"))
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
