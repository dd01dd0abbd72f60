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
		CEL:     celVolumeServerIPv4(),
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

// volumeServers are the kinds of volumes that name servers.
var volumeServers = []string{"nfs", "iscsi", "cephfs", "rbd", "csi", "flexVolume"}

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
		for i, v := range o.List(volumes...) {
			volume, _ := v.(map[string]any)
			if !slices.ContainsFunc(volumeServers, func(key string) bool { return volume[key] != nil }) {
				continue
			}
			n := len(out)
			source(volumes.With(i))
			for j := range out[n:] {
				out[n+j].Subject = o.Str(volumes.With(i, "name")...)
			}
		}
	}
	return out
}

func celVolumeServerIPv4() *CEL {
	return &CEL{Write: func(a *Active, p *Policy) *Expressions {
		field := func(path string) string {
			return "[{'path': string(v.path + '" + path + "'), 'text': string(v.s.?" + strings.ReplaceAll(path, ".", ".?") + ".orValue(''))}]"
		}
		// Monitors are null in an object that the API server has yet to refuse.
		list := func(path string) string {
			at := "v.s.?" + strings.ReplaceAll(path, ".", ".?") + ".orValue([])"
			return "(type(" + at + ") == list ? " + at + " : []).transformList(i, t, {'path': string(v.path + '" + path + "[' + string(i) + ']'), 'text': string(t)})"
		}
		// Servers of a text have commas between them, and may be in JSON brackets; Ceph's have a version, SMB's a share.
		const servers = "string(f.text).split(',').map(t, t.trim()).map(t, t.startsWith('[v') || t.startsWith('[\"') ? t.substring(1) : t)\n" +
			"      .map(t, t.endsWith(']') && !t.contains('[') ? t.substring(0, size(t) - 1) : t).map(t, t.replace('\"', '').trim()).filter(t, t != '')\n" +
			"      .map(t, {'path': string(f.path), 'text': t, 'host': t.replace('\\\\', '/').startsWith('//') ? t.replace('\\\\', '/').substring(2).split('/')[0] : t.matches('^v[12]:') ? t.substring(3) : t})\n" +
			"      .map(s, {'path': s.path, 'text': s.text, 'host': s.host.matches('^[0-9.]+:[0-9]{1,5}$') && isIP(s.host.split(':')[0]) ? s.host.split(':')[0]\n" +
			"          : s.host.matches('^[[].*[]]:[0-9]{1,5}$') ? s.host.substring(1, s.host.lastIndexOf(']')) : s.host,\n" +
			"        'port': s.host.matches('^([0-9.]+|[[].*[]]):[0-9]{1,5}$') ? s.host.substring(s.host.lastIndexOf(':') + 1) : ''})"
		v4 := "!" + celLoopback("s.host") + " && " + celIPv4("s.host")
		level, fact := "(g.four < g.all || $provisioned || ['csi.volumeAttributes.', 'flexVolume.options.'].exists(d, g.first.path.contains(d)) || g.first.path.startsWith('parameters.') ? 'warn' : '"+celLevel(a)+"')", "(g.four < g.all ? ' IPv4, no node of the cluster reaches it' : ' IPv4, no node of the cluster can mount it')"
		if !p.Cluster.nodesAreIPv6 || p.Cluster.NAT64.CLAT {
			level, fact = "'warn'", "' IPv4, only nodes with IPv4 or CLAT can mount it'"
		}
		instead := "'an IPv6 address of the server'"
		if to := celTranslated(p, "g.first.host"); to != "''" {
			instead = "[g.first.text.matches(r'^(//|\\\\)') ? '' : " + to + "].map(t, t == '' ? " + instead + " : g.first.port == '' ? '\"' + t + '\" (NAT64)' : '\"[' + t + ']:' + g.first.port + '\" (NAT64)')[0]"
		}
		return &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"provisioned", "request.kind.kind == 'PersistentVolume' && $object.metadata.?annotations[?'pv.kubernetes.io/provisioned-by'].orValue('') != ''"},
				{"volumes", "request.kind.kind == 'PersistentVolume' ? [{'path': dyn('spec.'), 'name': dyn(''), 's': dyn(dyn($object).?spec.orValue({}))}]\n  : " +
					"$mirror || request.kind.kind == 'StorageClass' ? []\n  : $pod.?spec.?volumes.orValue([]).transformList(i, s, {'path': dyn(" + celPodPath + " + 'spec.volumes[' + string(i) + '].'), 'name': dyn(s.?name.orValue('')), 's': dyn(s)})"},
				{"attributes", "request.kind.kind == 'StorageClass' ? [{'path': dyn('parameters.'), 'name': dyn(''), 'm': dyn(dyn($object).?parameters.orValue({}))}]\n  : $volumes.map(v, [\n" +
					"    {'path': dyn(v.path + 'csi.volumeAttributes.'), 'name': dyn(v.name), 'm': dyn(v.s.?csi.?volumeAttributes.orValue({}))},\n" +
					"    {'path': dyn(v.path + 'flexVolume.options.'), 'name': dyn(v.name), 'm': dyn(v.s.?flexVolume.?options.orValue({}))}]).flatten()"},
				// Of the servers of one field any will do.
				{"fields", "$volumes.map(v, [\n    " + field("nfs.server") + ",\n    " + field("iscsi.targetPortal") + " + " + list("iscsi.portals") + ",\n    " +
					list("cephfs.monitors") + ",\n    " + list("rbd.monitors") + "].map(l, {'name': dyn(v.name), 'fields': dyn(l)})).flatten() +\n" +
					"  $attributes.map(a, [['server'], ['share'], ['source'], ['mounttargetip'], ['monitors'], ['targetPortal', 'portal', 'portals']].map(l,\n" +
					"    {'name': dyn(a.name), 'fields': dyn(l.filter(k, k in a.m).map(k, {'path': string(a.path + k), 'text': string(a.m[k])}))})).flatten()"},
				{"groups", "$fields.map(g, {'name': dyn(g.name), 'servers': dyn(g.fields.filter(f, f.text != '').map(f, " + servers + ").flatten())})\n" +
					"  .map(g, {'name': dyn(g.name), 'all': dyn(size(g.servers)), 'list': dyn(g.servers.filter(s, " + v4 + "))}).filter(g, size(g.list) > 0)\n" +
					"  .map(g, {'name': dyn(g.name), 'all': dyn(g.all), 'four': dyn(size(g.list)), 'first': dyn(g.list[0]), 'texts': dyn(g.list.map(s, string(s.text)).sort().join(','))})"},
			}...),
			Faults: "$groups.map(g, " + celFault(a.ID, level, "g.first.path", "g.name", "g.texts",
				celQuoted("string(g.first.text)")+" + (g.four > 1 ? ' and ' + string(g.four - 1) + ' more are' : ' is') +\n    "+fact+" + '; give a DNS name or ' + "+instead) + ")",
		}
	}}
}
