package rules

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// clusterRules judge the configuration of a cluster itself: files of kubeadm, kubelet and kube-proxy, arguments of K3s, and what
// CNIs, load balancers and storage are configured by. They are written before any webhook runs, so only an audit looks at them.
func clusterRules() []*Rule {
	return []*Rule{
		kubeadmConfig(), kubeletConfig(), kubeProxyConfig(), k3sArgs(),
		kindConfig(), calicoIPPool(), calicoBGP(), calicoFelix(), calicoInstallation(), calicoNodeEnv(),
		ciliumConfig(), flannelConfig(), metalLBPool(), rookCeph(),
	}
}

// A document is one piece of configuration: an object of its own, or one in a text of a ConfigMap or of chart values.
type document struct {
	*Object
	at   Path       // of the text; nil for an object of its own
	node *yaml.Node // the text; nil for an object of its own
	out  *[]Finding
}

// own is the object of a request as a document.
func own(req *Request, out *[]Finding) document { return document{Object: req.Object, out: out} }

// maxDocumentFindings bounds what one object is told: nobody reads more.
const maxDocumentFindings = 100

// report adds a fault at a path of the document. limit lowers the level where the document alone does not make it certain.
func (d document) report(path Path, limit Level, message string) {
	if message == "" || len(*d.out) >= maxDocumentFindings {
		return
	}
	f := Finding{Path: path, Limit: limit, Message: message, Subject: path.String()}
	if v, ok := d.Get(path...); ok {
		f.Value, _ = v.(string)
	}
	if d.at != nil {
		f.Path, f.Text, f.Subject = d.at, position(d.node, path), d.at.String()+" "+f.Subject
	}
	*d.out = append(*d.out, f)
}

// position is where a value of a YAML text begins, or the nearest above it that is there.
func position(n *yaml.Node, path Path) TextPos {
	if n == nil {
		return TextPos{}
	}
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	at := TextPos{n.Line, n.Column}
	for _, e := range path {
		var next *yaml.Node
		switch key := e.(type) {
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					next = n.Content[i+1]
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && key < len(n.Content) {
				next = n.Content[key]
			}
		}
		if next == nil {
			break
		}
		n, at = next, TextPos{next.Line, next.Column}
	}
	return at
}

// documents returns the mappings in a text of YAML or JSON; none where it is too large, not YAML, or a template.
func documents(text string, at Path, out *[]Finding) []document {
	if text == "" || len(text) > maxValues {
		return nil
	}
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		text = strings.ReplaceAll(text, "\t", " ") // JSON may be indented by tabs, YAML may not
	}
	var found []document
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for range maxDocuments {
		var n yaml.Node
		if decoder.Decode(&n) != nil {
			break
		}
		var root map[string]any
		if n.Decode(&root) == nil && root != nil {
			found = append(found, document{NewObject(root), at, &n, out})
		}
	}
	return found
}

// maxDocuments bounds what one text may hold; kubeadm's have five.
const maxDocuments = 50

// dataText returns the text under a key of a ConfigMap.
func dataText(o *Object, key string) string { return o.Str("data", key) }

// isConfigMap: also a list item has its kind.
func isConfigMap(o *Object) bool { return o.Kind() == "ConfigMap" && o.Group() == "" }

// componentDocuments returns the documents of an API group: the object itself, or those in the texts of a ConfigMap.
func componentDocuments(req *Request, group string, out *[]Finding) []document {
	o := req.Object
	if o.Group() == group {
		return []document{own(req, out)}
	}
	if !isConfigMap(o) {
		return nil
	}
	var found []document
	data := o.Map("data")
	for _, key := range sortedKeys(data) {
		text, _ := data[key].(string)
		if !strings.Contains(text, group+"/") {
			continue
		}
		for _, d := range documents(text, Path{"data", key}, out) {
			if d.Group() == group {
				found = append(found, d)
			}
		}
	}
	return found
}

// An argument is one of the options that a configuration passes to a component.
type argument struct {
	path  Path
	value string
}

// arguments reads options as kubeadm writes them: a mapping up to v1beta3, a list of {name, value} from v1beta4 on. Of an option
// that is given twice the last one counts.
func (d document) arguments(path ...any) map[string]argument {
	out := map[string]argument{}
	at := Path(path)
	for name, v := range d.Map(path...) {
		if s, ok := v.(string); ok {
			out[name] = argument{at.With(name), s}
		}
	}
	for i := range d.List(path...) {
		if name := d.Str(at.With(i, "name")...); name != "" {
			out[name] = argument{at.With(i, "value"), d.Str(at.With(i, "value")...)}
		}
	}
	return out
}

// ranges reports an option that holds CIDRs.
func (d document) ranges(path Path, value, example string) {
	if value != "" {
		message, limit := rangesFault(strings.Split(value, ","), example)
		d.report(path, limit, message)
	}
}

// addresses reports IPv4 in a list of addresses of which one must fit: all IPv4 is a fault, some is a leftover.
func (d document) addresses(path Path, values []string, message string) {
	ipv4, others := "", 0
	for _, v := range values {
		if v = strings.TrimSpace(v); ipFamily(v) == "IPv4" && !isLoopback4(v) {
			ipv4 = v
		} else {
			others++
		}
	}
	switch {
	case isUnspecified(ipv4): // the default address, an IPv4 one where there is one
		d.report(path, Warn, quote(ipv4)+" becomes an IPv4 address where there is one; give the IPv6 address")
	case ipv4 != "" && others == 0:
		d.report(path, None, quote(ipv4)+" "+message)
	case ipv4 != "":
		d.report(path, Warn, quote(ipv4)+" is an IPv4 address beside others, left from dual-stack; remove it")
	}
}
