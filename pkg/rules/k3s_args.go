package rules

import (
	"slices"
	"strconv"
	"strings"
)

// k3sArgs judges the arguments and the configuration file of K3s and RKE2.
//
// Source: docs.k3s.io, networking/basic-network-options (flags, flannel-ipv6-masq, /112 for Services); the limits of kube-apiserver
// and kube-controller-manager, which K3s runs.
func k3sArgs() *Rule {
	return &Rule{
		ID: "k3s-args", Since: "v0.1.0", Level: Deny,
		Title:   "K3s or RKE2 is started for IPv4, or with ranges that do not add up",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(append(workloads(), targetPod, targetConfigMap)...),
		Check:   checkK3s,
	}
}

func checkK3s(req *Request) []Finding {
	var out []Finding
	o := req.Object
	if isConfigMap(o) {
		data := o.Map("data")
		for _, key := range sortedKeys(data) {
			text, _ := data[key].(string)
			if !strings.Contains(text, "cidr") && !strings.Contains(text, "node-ip") && !strings.Contains(text, "cluster-dns") {
				continue
			}
			for _, d := range documents(text, Path{"data", key}, &out) {
				if isK3sFile(d.Root()) {
					d.k3s(k3sFile(d))
				}
			}
		}
		return out
	}
	pod, ok := podPath(o)
	if !ok {
		return nil
	}
	for _, c := range containers(o, pod) {
		if options := k3sContainer(o, c); options != nil {
			own(req, &out).k3s(options)
		}
	}
	return out
}

// k3sOptions are options in their order; one may be given several times.
type k3sOptions map[string][]argument

func (o k3sOptions) add(name string, path Path, value string) {
	name = strings.TrimLeft(name, "-")
	o[name] = append(o[name], argument{path, value})
}

// joined is all values of an option in one list, and where the last one stands.
func (o k3sOptions) joined(name string) (Path, string) {
	var values []string
	var at Path
	for _, a := range o[name] {
		values, at = append(values, a.value), a.path
	}
	return at, strings.Join(values, ",")
}

// isK3sFile: the names of some options are those of no other program.
func isK3sFile(root map[string]any) bool {
	return root["apiVersion"] == nil && slices.ContainsFunc([]string{
		"flannel-backend", "flannel-ipv6-masq", "write-kubeconfig-mode", "cluster-init", "tls-san", "service-cidr", "cluster-cidr", "node-external-ip",
	}, func(key string) bool { return root[key] != nil })
}

func k3sFile(d document) k3sOptions {
	out := k3sOptions{}
	for _, key := range sortedKeys(d.Root()) {
		switch v := d.Root()[key].(type) {
		case string:
			out.add(key, Path{key}, v)
		case bool:
			out.add(key, Path{key}, strconv.FormatBool(v))
		case []any:
			for i, e := range v {
				if s, ok := e.(string); ok {
					out.add(key, Path{key, i}, s)
				}
			}
		}
	}
	return out
}

// k3sContainer reads the arguments of a container that runs K3s or RKE2; nil for another one.
func k3sContainer(o *Object, c container) k3sOptions {
	name := imageName(c)
	program := firstWord(c)
	program = program[strings.LastIndexByte(program, '/')+1:]
	out := k3sOptions{}
	switch {
	case program == "rke2" || strings.HasPrefix(name, "rke2"):
		out.add("cni", c.path, "canal") // its default
	case program != "k3s" && name != "k3s":
		return nil
	}
	type word struct {
		path Path
		text string
	}
	var words []word
	for _, list := range []string{"command", "args"} {
		for i, w := range o.List(c.path.With(list)...) {
			if s, ok := w.(string); ok {
				words = append(words, word{c.path.With(list, i), s})
			}
		}
	}
	for i := 0; i < len(words); i++ {
		w := words[i]
		if !strings.HasPrefix(w.text, "-") {
			continue
		}
		if name, value, ok := strings.Cut(w.text, "="); ok {
			out.add(name, w.path, value)
		} else if i+1 < len(words) && !strings.HasPrefix(words[i+1].text, "-") {
			i++
			out.add(w.text, words[i].path, words[i].text)
		} else {
			out.add(w.text, w.path, "true")
		}
	}
	for i := range o.List(c.path.With("env")...) {
		if at := c.path.With("env", i); o.Str(at.With("name")...) == "K3S_URL" {
			out.add("server", at.With("value"), o.Str(at.With("value")...))
		}
	}
	return out
}

// firstWord is the program of a container's command line, or the first argument where the image names the program.
func firstWord(c container) string {
	for _, list := range []string{"command", "args"} {
		words, _ := c.obj[list].([]any)
		for _, w := range words {
			if s, ok := w.(string); ok {
				return s
			}
		}
	}
	return ""
}

// k3s judges one set of options.
func (d document) k3s(o k3sOptions) {
	podsAt, pods := o.joined("cluster-cidr")
	d.ranges(podsAt, pods, examplePodRange)
	servicesAt, services := o.joined("service-cidr")
	d.ranges(servicesAt, services, exampleServiceRange)
	if at, v := o.joined("cluster-dns"); v != "" {
		d.addresses(at, strings.Split(v, ","), clusterDNSMessage)
	}
	for _, name := range []string{"node-ip", "node-external-ip", "advertise-address"} {
		if at, v := o.joined(name); v != "" {
			d.addresses(at, strings.Split(v, ","), "is IPv4, which this cluster cannot use; give the node's IPv6 address")
		}
	}
	for _, a := range o["server"] {
		d.urls(a.path, []string{a.value})
	}
	for _, a := range o["tls-san"] {
		for _, name := range strings.Split(a.value, ",") {
			if ipFamily(name) == "IPv4" && !isLoopback4(name) {
				d.report(a.path, Warn, quote(name)+" is IPv4, no client of this cluster dials it; give the IPv6 address or a DNS name")
			}
		}
	}
	podRange, serviceRange := ipv6Prefix(pods), ipv6Prefix(services)
	d.report(servicesAt, Warn, serviceRangeFault(serviceRange)) // newer API servers take larger ones
	if podRange.IsValid() && serviceRange.IsValid() && podRange.Overlaps(serviceRange) {
		d.report(servicesAt, Warn, quote(serviceRange.String())+" overlaps cluster-cidr; give Services a range of their own")
	}
	if mask := o.nodeMask(); podRange.IsValid() {
		d.report(podsAt, None, nodeMaskFault(podRange, mask))
	}
	_, backend := o.joined("flannel-backend")
	// RKE2 alone has cni, and no such option.
	if _, masq := o.joined("flannel-ipv6-masq"); isUniqueLocal(podRange) && backend != "none" && masq != "true" && o["cni"] == nil {
		d.report(podsAt, Warn, quote(podRange.String())+" is unique local, its pods have no way back from the Internet; set flannel-ipv6-masq (K3s)")
	}
}

// nodeMask is the length of the range of one node.
func (o k3sOptions) nodeMask() int {
	mask := defaultNodeMask
	for _, name := range []string{"kube-controller-manager-arg", "kube-controller-arg"} {
		for _, a := range o[name] {
			option, value, _ := strings.Cut(strings.TrimLeft(a.value, "-"), "=")
			if n, err := strconv.Atoi(value); err == nil && (option == "node-cidr-mask-size-ipv6" || option == "node-cidr-mask-size") {
				mask = n
			}
		}
	}
	return mask
}
