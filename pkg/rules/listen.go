package rules

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/listen"
)

// listenFamilies are the families of programs, one rule each, in the order of the reports.
func listenFamilies() []struct{ id, title string } {
	return []struct{ id, title string }{
		{"listen-nginx", "nginx server listens on IPv4 only"},
		{"listen-apache", "Apache httpd listens on IPv4 only"},
		{"listen-haproxy", "HAProxy binds IPv4 only"},
		{"listen-envoy", "Envoy listener binds IPv4 only"},
		{"listen-proxy", "Proxy or small web server listens on IPv4 only"},
		{"listen-php", "PHP server listens on IPv4 only"},
		{"listen-python-server", "Python server binds IPv4 only"},
		{"listen-ruby-server", "Ruby server binds IPv4 only"},
		{"listen-node", "Node.js server listens on IPv4 only"},
		{"listen-rust", "Rust server binds IPv4 only"},
		{"listen-dotnet", ".NET server listens on IPv4 only"},
		{"listen-java", "JVM uses IPv4 only"},
		{"listen-go", "Go server listens on IPv4 only"},
		{"listen-redis", "Redis binds IPv4 only"},
		{"listen-postgresql", "PostgreSQL serves IPv4 only"},
		{"listen-mysql", "MySQL or MariaDB binds IPv4 only"},
		{"listen-mongodb", "MongoDB listens on IPv4 only"},
		{"listen-memcached", "memcached listens on IPv4 only"},
		{"listen-clickhouse", "ClickHouse listens on IPv4 only"},
		{"listen-message-broker", "Message broker listens on IPv4 only"},
		{"listen-mail", "Mail server listens on IPv4 only"},
		{"listen-dns", "DNS server listens on IPv4 only"},
		{"listen-daemon", "Daemon listens on IPv4 only"},
		{"listen-ceph", "Ceph daemon binds IPv4 only"},
		{"listen-matrix", "Matrix server binds IPv4 only"},
		{"listen-collabora", "Collabora Online listens on IPv4 only"},
		{"listen-log-collector", "Log collector listens on IPv4 only"},
		{"listen-kubernetes-component", "Kubernetes component is bound to an IPv4 address"},
		{"listen-wildcard", "A program that is not known is told to bind 0.0.0.0"},
	}
}

// listenRules refuse servers that no IPv6 client reaches: one rule for each family of programs in pkg/listen.
//
// Source: the programs of listen.Programs, most of them run in an IPv6-only network namespace (docs/listen.md, e2e/listen).
func listenRules() []*Rule {
	targets := append([]Target{targetConfigMap, targetSecret, targetPod}, workloads()...)
	targets = append(targets, targetHelmChart, targetHelmChartConfig)
	var out []*Rule
	for _, f := range listenFamilies() {
		level := Deny
		if f.id == "listen-wildcard" {
			level = Warn
		}
		targets := targets
		if f.id == "listen-kubernetes-component" {
			targets = append(slices.Clone(targets), componentTargets()...)
		}
		out = append(out, &Rule{
			ID: f.id, Title: f.title, Since: "v0.1.0", Level: level, MayMutate: true, Targets: targets,
			Check: func(req *Request) []Finding { return checkListen(f.id, req) },
			CEL:   &CEL{Never: noParser},
		})
	}
	return out
}

// A listener is what pkg/listen says of one text of an object.
type listener struct {
	listen.Listener
	rule    string
	path    Path
	subject string // container or key
	limit   Level  // None: the level of the rule
	note    string // why there is a limit
	edits   []textEdit
}

// A textEdit is a text of the object and what it becomes.
type textEdit struct {
	path Path
	text string
}

func checkListen(rule string, req *Request) []Finding {
	var out []Finding
	for _, l := range listeners(req.Object) {
		if l.rule != rule {
			continue
		}
		f := Finding{
			Path: l.path, Text: TextPos{l.Line, l.Column}, Subject: l.subject,
			Value: l.Address + ":" + l.Port, Message: listenMessage(l.Listener), Limit: l.limit,
		}
		switch last, _ := l.path[len(l.path)-1].(string); {
		case req.Object.Kind() == "ConfigMap", last == "valuesContent":
		case req.Object.Kind() != "Secret":
			if !strings.Contains(textAt(req.Object, l.path), "\n") {
				f.Text = TextPos{} // the field is the place
			}
		default:
			f.Text = TextPos{l.Line, 0}
			f.Message = fmt.Sprintf("%s configuration %s; sixgate explain %s has the way out", l.Program, secretReason(l), rule) // never a value
		}
		if !l.Certain() || l.Fault != listen.IPv4Only {
			f.Limit = Warn
		}
		// A hostNetwork pod has the IPv4 address of its node.
		if _, err := netip.ParseAddr(l.Address); err == nil && !l.Fixable() && !isUnspecified(l.Address) && req.Policy.Cluster.Nodes != "IPv6" {
			f.Limit = Warn
		}
		if pod, ok := podPath(req.Object); ok && req.Policy.Cluster.Nodes != "IPv6" && req.Object.Bool(pod.With("spec", "hostNetwork")...) {
			f.Limit = Warn
		}
		if f.Limit == None && !req.exposes(l) {
			f.Limit, l.note = Warn, "no containerPort, probe or Service names port "+l.Port
		}
		if l.note != "" && l.Certain() {
			f.Message += " (" + cut(clean(l.note), 60) + ")"
		}
		if len(l.edits) > 0 && mayEdit(req, l.edits) {
			f.Fix = func(o *Object) {
				// The place of an edit belongs to the texts as they were read: so are all of this rule made at once.
				for _, l := range listeners(o) {
					if l.rule == rule && mayEdit(req, l.edits) {
						for _, e := range l.edits {
							o.Set(e.path, e.text)
						}
					}
				}
			}
			if set := req.Policy.Rules[rule]; set.Mutate != nil && *set.Mutate {
				f.Changed = quote(l.Text) + " " + l.Reason + "; repaired: " + l.Advice
				if req.Object.Kind() == "Secret" {
					f.Changed = fmt.Sprintf("%s configuration %s; repaired", l.Program, secretReason(l))
				}
			}
		}
		out = append(out, f)
	}
	return out
}

// secretReason is why a listener of a Secret is wrong, without a word of its text.
func secretReason(l listener) string {
	if l.Fault == listen.Conflict {
		return "has two listeners that cannot be bound at once"
	}
	return l.Reason
}

// mayEdit: the containers of a stored Pod cannot be changed, nor an immutable ConfigMap or Secret. What was repaired when it was created is repaired again, so
// that the same manifest can be applied again; everything else stays.
func mayEdit(req *Request, edits []textEdit) bool {
	if req.Operation != Update || req.Old == nil || req.Object.Kind() != "Pod" && !req.Old.Bool("immutable") {
		return true
	}
	return !slices.ContainsFunc(edits, func(e textEdit) bool { return textAt(req.Old, e.path) != e.text })
}

func listenMessage(l listen.Listener) string {
	message := quote(l.Text) + " " + l.Reason
	if l.Advice != "" {
		message += "; " + cut(clean(l.Advice), 100)
	}
	if !l.Certain() {
		message += " (unless " + cut(clean(l.Doubt), 60) + ")"
	}
	return message
}

// listeners returns the faulty listeners that an object configures. They are read once for each state of the object: all
// rules of this file ask.
func listeners(o *Object) []listener {
	if o.listening == nil || o.listening.ops != len(o.ops) {
		o.listening = &listening{ops: len(o.ops), found: readListeners(o, false)}
	}
	return o.listening.found
}

// listening is what listeners found when the object had so many edits.
type listening struct {
	ops   int
	found []listener
}

// readListeners returns the faulty listeners, or all.
func readListeners(o *Object, all bool) []listener {
	switch o.Group() + "/" + o.Kind() {
	case "/ConfigMap":
		return readData(o, "data", plainText, all)
	case "/Secret":
		switch o.Str("type") {
		case "helm.sh/release.v1", "kubernetes.io/tls", "kubernetes.io/service-account-token", "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg":
			return nil
		}
		return append(readData(o, "data", base64Text, all), readData(o, "stringData", plainText, all)...)
	case "helm.cattle.io/HelmChart", "helm.cattle.io/HelmChartConfig":
		return readChartValues(o, all)
	case "kubelet.config.k8s.io/KubeletConfiguration", "kubeproxy.config.k8s.io/KubeProxyConfiguration", "kubeadm.k8s.io/ClusterConfiguration":
		return readComponent(o, all)
	}
	pod, ok := podPath(o)
	if !ok || isMirror(o) || isWindows(o, pod) {
		return nil
	}
	var out []listener
	ports := sync.OnceValues(func() (map[string]bool, bool) { return podPorts(o, pod) })
	for _, c := range containers(o, pod) {
		if out = append(out, readContainer(o, ports, c, all)...); len(out) > maxListeners {
			break
		}
	}
	return out
}

// maxListeners is after how many listeners the other containers of a pod are not read: enough is known.
const maxListeners = 5000

// componentTargets are files that configure a component, which also ConfigMaps hold as texts.
func componentTargets() []Target {
	return slices.Concat(configuration("kubelet.config.k8s.io", "v1beta1", "KubeletConfiguration"),
		configuration("kubeproxy.config.k8s.io", "v1alpha1", "KubeProxyConfiguration"),
		configuration("kubeadm.k8s.io", "v1beta4", "ClusterConfiguration"))
}

// readComponent judges such a file by the text that it would be in a ConfigMap.
func readComponent(o *Object, all bool) []listener {
	var root yaml.Node
	text, err := json.Marshal(o.Root()) // which is YAML, and does not grow with its depth
	if err != nil || len(text) > maxValues || yaml.Unmarshal(text, &root) != nil {
		return nil
	}
	var out []listener
	for _, l := range listen.ReadFiles([]listen.File{{Name: o.Kind() + ".yaml", Text: string(text)}}) {
		if path := pathAt(&root, nil, l.Line, l.Column); path != nil && (l.Fault != listen.None || all) {
			out = append(out, listener{Listener: l, rule: ruleOf(l.Program), path: path, subject: path.String()})
		}
	}
	return out
}

// pathAt is the path of the scalar that begins at a place of a YAML text; nil if none does.
func pathAt(n *yaml.Node, at Path, line, column int) Path {
	switch {
	case len(at) > maxValueDepth:
		return nil
	case n.Kind == yaml.ScalarNode && n.Line == line && n.Column == column:
		return at
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if found := pathAt(n.Content[i+1], at.With(n.Content[i].Value), line, column); found != nil {
				return found
			}
		}
	default:
		for i, e := range n.Content {
			below := at.With(i)
			if n.Kind == yaml.DocumentNode {
				below = at
			}
			if found := pathAt(e, below, line, column); found != nil {
				return found
			}
		}
	}
	return nil
}

// A Reading is one listener that an object configures, faulty or not; or, with an empty Program, a text that may configure one and
// was not understood, so not judged.
type Reading struct {
	Path    Path
	Text    TextPos
	Program string
	Says    string // what the listener binds, or why nothing is known
}

// Readings returns all that an object says about listeners.
func Readings(o *Object) []Reading {
	var out []Reading
	read := map[string]bool{}
	for _, l := range readListeners(o, true) {
		read[l.path.String()] = true
		says := fmt.Sprintf("%s binds %s", quote(l.Text), l.Family)
		if l.Port != "" {
			says += ", port " + cut(clean(l.Port), 40)
		}
		if l.Doubt != "" {
			says += " (unless " + cut(clean(l.Doubt), 60) + ")"
		}
		if o.Kind() == "Secret" {
			says = "binds " + l.Family.String()
		}
		out = append(out, Reading{l.path, TextPos{l.Line, 0}, l.Program, says})
	}
	if o.Kind() == "ConfigMap" && o.Group() == "" {
		data := o.Map("data")
		for _, key := range sortedKeys(data) {
			path := Path{"data", key}
			text, _ := data[key].(string)
			if as := listen.Candidates(listen.File{Name: key, Text: text}); len(as) > 0 && !read[path.String()] {
				out = append(out, Reading{Path: path, Says: "no listener was found: read as " + strings.Join(as, ", ")})
			}
		}
	}
	return out
}

// An encoding is how a field holds a text.
type encoding struct {
	decode func(string) (string, bool)
	encode func(string) string
}

var (
	plainText  = encoding{func(s string) (string, bool) { return s, true }, func(s string) string { return s }}
	base64Text = encoding{
		func(s string) (string, bool) {
			b, err := base64.StdEncoding.DecodeString(s)
			return string(b), err == nil && utf8.Valid(b)
		},
		func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	}
)

// readData judges the texts of a ConfigMap or Secret, which are files of one folder.
func readData(o *Object, field string, as encoding, all bool) []listener {
	data := o.Map(field)
	files := make([]listen.File, 0, len(data))
	for _, key := range sortedKeys(data) {
		if value, ok := data[key].(string); ok {
			if text, ok := as.decode(value); ok {
				files = append(files, listen.File{Name: key, Text: text})
			}
		}
	}
	found := listen.ReadFiles(files)
	if len(found) == 0 {
		return nil
	}
	texts := make(map[string]string, len(files))
	for _, f := range files {
		texts[f.Name] = f.Text
	}
	return place(found, func(name string) (Path, string, string) {
		text, ok := texts[name]
		if !ok {
			return nil, "", ""
		}
		return Path{field, name}, name, text
	}, as, all)
}

// place turns what pkg/listen found into listeners of an object. where gives the field and subject of a File by its name, and
// its text.
func place(found []listen.Listener, where func(name string) (path Path, subject, text string), as encoding, all bool) []listener {
	type ruleFile struct{ rule, file string }
	together := map[ruleFile][]listen.Listener{} // all edits of a rule in one text are made at once
	for _, l := range found {
		for i, e := range l.Edits {
			if !slices.ContainsFunc(l.Edits[:i], func(before listen.Edit) bool { return before.File == e.File }) {
				key := ruleFile{ruleOf(l.Program), e.File}
				together[key] = append(together[key], l)
			}
		}
	}
	repaired := map[ruleFile]string{}
	var out []listener
	for _, l := range found {
		path, subject, _ := where(l.File)
		if l.Fault == listen.None && !all || path == nil {
			continue
		}
		rule := ruleOf(l.Program)
		at := listener{Listener: l, rule: rule, path: path, subject: subject}
		for _, e := range l.Edits {
			path, _, text := where(e.File)
			if path == nil {
				at.edits = nil
				break
			}
			key := ruleFile{rule, e.File}
			if _, ok := repaired[key]; !ok {
				repaired[key] = as.encode(listen.Repair(listen.File{Name: e.File, Text: text}, together[key]))
			}
			edit := textEdit{path, repaired[key]}
			if !slices.ContainsFunc(at.edits, func(e textEdit) bool { return slices.Equal(e.path, path) }) {
				at.edits = append(at.edits, edit)
			}
		}
		out = append(out, at)
	}
	return out
}

// ruleOf is the rule that is about a program.
func ruleOf(program string) string { return programRules()[program] }

var programRules = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	for _, p := range listen.Programs() {
		out[p.Name] = p.Rule
	}
	return out
})

// readContainer judges what a container runs: image, command, args and env.
func readContainer(o *Object, ports func() (map[string]bool, bool), c container, all bool) []listener {
	image, _ := c.obj["image"].(string)
	p := listen.Process{Image: image}
	// A text has the name "" if it is the image, what the image does by itself, else its number in fields: few paths are asked for.
	type field struct {
		list string
		i    int
	}
	var fields []field
	file := func(list string, i int, value any) listen.File {
		text, _ := value.(string)
		fields = append(fields, field{list, i})
		return listen.File{Name: strconv.Itoa(len(fields) - 1), Text: text}
	}
	words := func(list string) (out []listen.File) {
		values, _ := c.obj[list].([]any)
		for i, w := range values {
			out = append(out, file(list, i, w))
		}
		return out
	}
	p.Command, p.Args = words("command"), words("args")
	env, _ := c.obj["env"].([]any)
	if len(env) > 0 {
		p.Env = make([]listen.Variable, 0, len(env))
		fields = slices.Grow(fields, len(env))
	}
	for i, e := range env {
		variable, _ := e.(map[string]any)
		name, _ := variable["name"].(string)
		if variable["valueFrom"] != nil {
			p.Env = append(p.Env, listen.Variable{Name: name})
			continue
		}
		p.Env = append(p.Env, listen.Variable{Name: name, Known: true, Value: file("env", i, variable["value"])})
	}
	found := listen.ReadProcess(p)
	if len(found) == 0 {
		return nil
	}
	out := place(found, func(name string) (Path, string, string) {
		path := c.path.With("image")
		if name != "" {
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 || n >= len(fields) {
				return nil, "", ""
			}
			if path = c.path.With(fields[n].list, fields[n].i); fields[n].list == "env" {
				path = path.With("value")
			}
		}
		return path, c.name, textAt(o, path)
	}, plainText, all)
	always := o.Str(c.path.With("restartPolicy")...) == "Always"
	for i := range out {
		switch {
		case c.list != "containers" && !(c.list == "initContainers" && always):
			out[i].limit, out[i].note = Warn, "not a container that serves"
		case out[i].Port != "" && !declaresPort(ports, out[i].Port):
			// Perhaps only a neighbour in the pod dials it, over 127.0.0.1.
			out[i].limit, out[i].note = Warn, "no containerPort or probe names port "+out[i].Port
		}
	}
	return out
}

func textAt(o *Object, path Path) string {
	if path == nil {
		return ""
	}
	return o.Str(path...)
}

// declaresPort reports whether a container of a pod says that others dial a TCP port: by a containerPort or a probe. A port that
// is no number may be any.
func declaresPort(ports func() (map[string]bool, bool), port string) bool {
	declared, all := ports()
	return all || declared[port] || !isNumber(port)
}

// podPorts returns the ports that the containers and probes of a pod name, as decimal numbers. all is true if one of them cannot
// be told.
func podPorts(o *Object, pod Path) (ports map[string]bool, all bool) {
	ports = map[string]bool{}
	named := map[string]string{}
	add := func(v any) {
		if n, ok := integer(v); ok {
			ports[fmt.Sprint(n)] = true
		} else if s, ok := v.(string); ok {
			if !isNumber(s) && named[s] == "" {
				all = true
			}
			ports[cmp.Or(named[s], s)] = true
		}
	}
	for _, c := range containers(o, pod) {
		list, _ := c.obj["ports"].([]any)
		for _, p := range list {
			port, _ := p.(map[string]any)
			if n, ok := integer(port["containerPort"]); ok {
				name, _ := port["name"].(string)
				named[name] = fmt.Sprint(n)
				add(n)
			}
		}
	}
	for _, c := range containers(o, pod) {
		for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
			for _, kind := range []string{"httpGet", "tcpSocket", "grpc"} {
				if v, ok := lookup(c.obj, []any{probe, kind, "port"}); ok {
					add(v)
				}
			}
		}
	}
	return ports, all
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
