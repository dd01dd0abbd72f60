package rules

import (
	"net/netip"

	"github.com/sixgate/sixgate/pkg/listen"
)

// listenNginx refuses nginx servers that no IPv6 client reaches.
//
// Source: nginx run in an IPv6-only network namespace (e2e/listen): "listen 80;" binds 0.0.0.0:80 and nothing else.
func listenNginx() *Rule {
	return &Rule{
		ID: "listen-nginx", Since: "v0.1.0", Level: Deny,
		Title:   "nginx server listens on IPv4 only",
		Targets: []Target{targetConfigMap},
		Check:   checkListenNginx,
	}
}

func checkListenNginx(req *Request) []Finding {
	var out []Finding
	for _, l := range listen.Nginx(dataFiles(req.Object)) {
		if l.Fault == listen.None {
			continue
		}
		f := Finding{
			Path: Path{"data", l.File}, Text: TextPos{l.Line, l.Column}, Value: l.Address + ":" + l.Port,
			Message: listenMessage(l),
		}
		if !l.Certain() || l.Fault != listen.IPv4Only {
			f.Limit = Warn
		}
		if _, err := netip.ParseAddr(l.Address); err == nil && l.Fix == "" && !isUnspecified(l.Address) && req.Policy.Cluster.Nodes != "IPv6" {
			f.Limit = Warn // a hostNetwork pod has the IPv4 address of its node
		}
		if l.Fix != "" {
			f.Fix = func(o *Object) { repairNginx(o, l.File) }
		}
		out = append(out, f)
	}
	return out
}

func listenMessage(l listen.Listener) string {
	message := quote(l.Text) + " " + l.Reason
	switch {
	case l.Fix != "":
		message += `; add "` + cut(clean(l.Fix), 80) + `"`
	case l.Fault == listen.Conflict:
		message += "; remove one of the two"
	case isUnspecified(l.Address) || l.Address == "" || l.Address == "*":
		message += "; listen on [::] for the same ports"
	default:
		message += "; give an IPv6 address"
	}
	if !l.Certain() {
		message += " (unless " + cut(clean(l.Doubt), 60) + ")"
	}
	return message
}

// dataFiles are the texts of a ConfigMap.
func dataFiles(o *Object) []listen.File {
	data := o.Map("data")
	files := make([]listen.File, 0, len(data))
	for _, key := range sortedKeys(data) {
		if text, ok := data[key].(string); ok {
			files = append(files, listen.File{Name: key, Text: text})
		}
	}
	return files
}

// repairNginx repairs one text as a whole: the positions of its listeners belong to the text as it was read.
func repairNginx(o *Object, key string) {
	files := dataFiles(o)
	listeners := listen.Nginx(files)
	for _, f := range files {
		if f.Name != key {
			continue
		}
		if text := listen.Repair(f, listeners); text != f.Text {
			o.Set(Path{"data", key}, text)
		}
	}
}
