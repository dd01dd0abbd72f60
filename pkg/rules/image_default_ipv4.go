package rules

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// imageDefaultIPv4 warns of images that serve IPv4 only as long as nobody configures them.
//
// Source: docker-library/mongo, docker-entrypoint.sh (adds --bind_ip_all itself, never --ipv6); kong.conf.default of Kong 3, proxy_listen;
// fluent/fluentd-docker-image, fluent.conf, and in_forward of Fluentd (bind 0.0.0.0); nginxinc/docker-nginx,
// 10-listen-on-ipv6-by-default.sh (edits default.conf if it can write), and docker-library/official-images#7868 (IPv6 since 1.18).
// Images that a listen- rule judges by their name are not here; RabbitMQ is client-ipv4's.
func imageDefaultIPv4() *Rule {
	return &Rule{
		ID: "image-default-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Image serves IPv4 only unless it is configured",
		Targets: podTargets(),
		Check:   checkImageDefaultIPv4,
		CEL:     celImageDefaultIPv4(),
	}
}

func checkImageDefaultIPv4(req *Request) []Finding {
	o := req.Object
	pod, ok := judgedPod(o)
	if !ok || o.Bool(pod.With("spec", "hostNetwork")...) {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		image, _ := c.obj["image"].(string)
		if c.list != "containers" || image == "" {
			continue
		}
		d := imageDefaults{req, pod, c, words(c.obj, "command"), words(c.obj, "args")}
		var message string
		var fix func(*Object)
		repository, tag := imageOf(image)
		switch repository { // others of these names are built otherwise
		case "mongo":
			message, fix = d.mongo()
		case "kong", "kong/kong", "kong/kong-gateway":
			message = d.kong()
		case "fluentd", "fluent/fluentd":
			message = d.fluentd()
		case "nginx":
			message = d.nginx(tag)
		}
		if message == "" {
			continue
		}
		if !mayRepairPod(req) {
			fix = nil
		}
		out = append(out, Finding{Path: c.path.With("image"), Subject: c.name, Value: repository, Message: message, Fix: fix})
	}
	return out
}

// imageOf splits an image into repository and tag, without registry and digest. Docker's own images have one name, also where a
// mirror keeps them below library/.
func imageOf(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if registryOf(image) != "" {
		_, image, _ = strings.Cut(image, "/")
	}
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image, tag = image[:i], image[i+1:]
	}
	if i := strings.LastIndex("/"+image, "/library/"); i >= 0 {
		image = ("/" + image)[i+len("/library/"):]
	}
	return image, tag
}

// imageName is the last part of the repository of a container's image.
func imageName(c container) string {
	image, _ := c.obj["image"].(string)
	repository, _ := imageOf(image)
	return repository[strings.LastIndexByte(repository, '/')+1:]
}

type imageDefaults struct {
	req           *Request
	pod           Path
	c             container
	command, args []string
}

func words(container map[string]any, list string) []string {
	var out []string
	values, _ := container[list].([]any)
	for _, v := range values {
		s, _ := v.(string)
		out = append(out, s)
	}
	return out
}

// mounted: something of the pod's lies at a path of the image, below it or above it.
func (d imageDefaults) mounted(path string) bool {
	mounts, _ := d.c.obj["volumeMounts"].([]any)
	return slices.ContainsFunc(mounts, func(v any) bool {
		m, _ := v.(map[string]any)
		at, _ := m["mountPath"].(string)
		at = strings.TrimSuffix(at, "/")
		return at == path || strings.HasPrefix(at, path+"/") || strings.HasPrefix(path, at+"/")
	})
}

// mayHave: the variable is set, or may come from an envFrom.
func (d imageDefaults) mayHave(name string) bool {
	from, _ := d.c.obj["envFrom"].([]any)
	return len(from) > 0 || slices.Contains(envNames(d.c.obj), name)
}

func (d imageDefaults) mongo() (string, func(*Object)) {
	if len(d.command) > 0 && !(len(d.command) == 1 && d.command[0] == "docker-entrypoint.sh") {
		return "", nil // mongod alone is on localhost, and with a --bind_ip listen-mongodb judges it
	}
	if len(d.args) > 0 && d.args[0] != "mongod" && !strings.HasPrefix(d.args[0], "-") {
		return "", nil // a client
	}
	for _, a := range d.args {
		name, _, _ := strings.Cut(a, "=")
		if slices.Contains([]string{"--ipv6", "--bind_ip", "--bind_ip_all", "--config", "-f"}, name) || strings.Contains(a, "$") {
			return "", nil
		}
	}
	path, grown := d.c.path.With("args"), []any{}
	for _, a := range d.args {
		grown = append(grown, a)
	}
	grown = append(grown, "--ipv6")
	return `"mongo" binds IPv4 only without --ipv6; add it to args`, func(o *Object) { o.Set(path, grown) }
}

func (d imageDefaults) kong() string {
	if len(d.command) > 0 || len(d.args) > 0 && d.args[0] != "docker-start" || d.mayHave("KONG_PROXY_LISTEN") || d.mayHave("KONG_ROLE") || d.mounted("/etc/kong") {
		return ""
	}
	return `"kong" proxies on 0.0.0.0 by default; set KONG_PROXY_LISTEN="0.0.0.0:8000, [::]:8000, 0.0.0.0:8443 ssl, [::]:8443 ssl"`
}

func (d imageDefaults) fluentd() string {
	if len(d.command) > 0 || len(d.args) > 0 || d.mayHave("FLUENTD_CONF") || d.mounted("/fluentd/etc") {
		return ""
	}
	return `"fluentd" takes logs on 0.0.0.0:24224 only by default; mount a configuration with "bind ::" in its source`
}

// nginx: since 1.19 the entrypoint adds "listen [::]:80" to default.conf, if it runs and may write.
func (d imageDefaults) nginx(tag string) string {
	if d.mounted("/etc/nginx") {
		return ""
	}
	o := d.req.Object
	readOnly := o.Bool(d.c.path.With("securityContext", "readOnlyRootFilesystem")...)
	why := ""
	runs := len(d.command) == 0 && (len(d.args) == 0 || d.args[0] == "nginx") || len(d.command) > 0 && d.command[0] == "nginx"
	minor, known := nginxMinor(tag)
	switch {
	case runs && known && minor < 17 && !slices.Contains(d.command, "-c") && !slices.Contains(d.args, "-c"):
		return quote("nginx:"+tag) + " serves IPv4 only, as all before 1.18; use a newer one"
	case known && minor < 19: // 1.18 listens on both, whoever starts it
		return ""
	case len(d.command) > 0 && d.command[0] != "nginx":
		return "" // who knows
	case len(d.command) > 0 && !slices.Contains(d.command, "-c") && !slices.Contains(d.args, "-c"):
		why = "command skips the entrypoint that adds IPv6"
	case len(d.command) > 0 || len(d.args) > 0 && d.args[0] != "nginx" && d.args[0] != "nginx-debug":
		return "" // the entrypoint script edits for nginx alone
	case readOnly:
		why = "a read-only root keeps its entrypoint from adding IPv6"
	case d.nonRoot():
		why = "as non-root its entrypoint cannot add IPv6"
	default:
		return ""
	}
	return `"nginx" serves IPv4 only: ` + why + `; mount a default.conf with "listen 80;" and "listen [::]:80;"`
}

var nginxTag = regexp.MustCompile(`^1\.([0-9]{1,2})($|[.-])`)

// nginxMinor is the minor version of a tag like 1.14.2-alpine.
func nginxMinor(tag string) (minor int, ok bool) {
	m := nginxTag.FindStringSubmatch(tag)
	if m == nil {
		return 0, false
	}
	minor, err := strconv.Atoi(m[1])
	return minor, err == nil
}

// nonRoot: the container certainly runs as another user than root, or is refused.
func (d imageDefaults) nonRoot() bool {
	o := d.req.Object
	for _, at := range []Path{d.c.path.With("securityContext"), d.pod.With("spec", "securityContext")} {
		if v, ok := o.Get(at.With("runAsUser")...); ok {
			n, ok := integer(v)
			return ok && n != 0
		}
	}
	return false
}

func celImageDefaultIPv4() *CEL {
	return &CEL{Write: func(a *Active, _ *Policy) *Expressions {
		mounted := func(path string) string {
			return "x.c.?volumeMounts.orValue([]).map(m, m.?mountPath.orValue('')).map(m, m.endsWith('/') ? m.substring(0, size(m) - 1) : m).exists(m, m == '" + path + "' || m.startsWith('" + path + "/') || '" + path + "'.startsWith(m + '/'))"
		}
		mayHave := func(name string) string {
			return "x.c.?env.orValue([]).exists(e, e.?name.orValue('') == '" + name + "')"
		}
		const (
			noFrom = "size(x.c.?envFrom.orValue([])) == 0"
			noC    = "!('-c' in x.command) && !('-c' in x.args)"
			tail   = `; mount a default.conf with "listen 80;" and "listen [::]:80;"'`
		)
		return &Expressions{
			Variables: append(celPodVariables(), []Variable{
				{"images", "!$judged || $hostNetwork ? [] : $containers.filter(x, x.list == 'containers').map(x, {'path': dyn(x.path), 'name': dyn(x.name), 'c': dyn(x.c), 'image': dyn(string(x.c.?image.orValue('')).split('@')[0])})\n" +
					"  .map(x, {'path': dyn(x.path), 'name': dyn(x.name), 'c': dyn(x.c), 'image': dyn(x.image.matches('^([^/]*[.:][^/]*|localhost)/') ? x.image.substring(x.image.indexOf('/') + 1) : x.image)})\n" +
					"  .map(x, {'path': dyn(x.path), 'name': dyn(x.name), 'c': dyn(x.c), 'command': dyn(x.c.?command.orValue([])), 'args': dyn(x.c.?args.orValue([])),\n" +
					"    'tag': dyn(x.image.find(':[^:/]*$').replace(':', '')), 'repository': dyn(('/' + x.image.substring(0, size(x.image) - size(x.image.find(':[^:/]*$')))).split('/library/'))})\n" +
					"  .map(x, {'path': dyn(x.path), 'name': dyn(x.name), 'c': dyn(x.c), 'command': dyn(x.command), 'args': dyn(x.args), 'tag': dyn(x.tag),\n" +
					"    'repository': dyn(size(x.repository) > 1 ? x.repository[size(x.repository) - 1] : x.repository[0].substring(1)),\n" +
					"    'minor': dyn(x.tag.matches('^1[.][0-9]{1,2}($|[.-])') ? int(x.tag.substring(2).find('^[0-9]+')) : -1)})"},
				{"said", "$images.map(x, {'path': string(x.path), 'name': string(x.name), 'repository': string(x.repository), 'text': string(\n" +
					"    x.repository == 'mongo' ? ((size(x.command) == 0 || x.command == ['docker-entrypoint.sh']) && (size(x.args) == 0 || x.args[0] == 'mongod' || x.args[0].startsWith('-')) &&\n" +
					"      !x.args.exists(a, a.split('=', 2)[0] in ['--ipv6', '--bind_ip', '--bind_ip_all', '--config', '-f'] || a.contains('$')) ? '\"mongo\" binds IPv4 only without --ipv6; add it to args' : '')\n" +
					"    : x.repository in ['kong', 'kong/kong', 'kong/kong-gateway'] ? (size(x.command) == 0 && (size(x.args) == 0 || x.args[0] == 'docker-start') && " + noFrom + " && !" + mayHave("KONG_PROXY_LISTEN") + " && !" + mayHave("KONG_ROLE") + " && !" + mounted("/etc/kong") + " ?\n" +
					"      '\"kong\" proxies on 0.0.0.0 by default; set KONG_PROXY_LISTEN=\"0.0.0.0:8000, [::]:8000, 0.0.0.0:8443 ssl, [::]:8443 ssl\"' : '')\n" +
					"    : x.repository in ['fluentd', 'fluent/fluentd'] ? (size(x.command) + size(x.args) == 0 && " + noFrom + " && !" + mayHave("FLUENTD_CONF") + " && !" + mounted("/fluentd/etc") + " ?\n" +
					"      '\"fluentd\" takes logs on 0.0.0.0:24224 only by default; mount a configuration with \"bind ::\" in its source' : '')\n" +
					"    : x.repository != 'nginx' || " + mounted("/etc/nginx") + " ? ''\n" +
					"    : x.minor >= 0 && x.minor < 17 && (size(x.command) == 0 ? size(x.args) == 0 || x.args[0] == 'nginx' : x.command[0] == 'nginx') && " + noC + " ? " + celQuoted("('nginx:' + x.tag)") + " + ' serves IPv4 only, as all before 1.18; use a newer one'\n" +
					"    : x.minor >= 0 && x.minor < 19 || size(x.command) > 0 && x.command[0] != 'nginx' ? ''\n" +
					"    : size(x.command) > 0 && " + noC + " ? '\"nginx\" serves IPv4 only: command skips the entrypoint that adds IPv6" + tail + "\n" +
					"    : size(x.command) > 0 || size(x.args) > 0 && !(x.args[0] in ['nginx', 'nginx-debug']) ? ''\n" +
					"    : x.c.?securityContext.?readOnlyRootFilesystem.orValue(false) ? '\"nginx\" serves IPv4 only: a read-only root keeps its entrypoint from adding IPv6" + tail + "\n" +
					"    : x.c.?securityContext.?runAsUser.or($pod.?spec.?securityContext.?runAsUser).orValue(0) != 0 ? '\"nginx\" serves IPv4 only: as non-root its entrypoint cannot add IPv6" + tail + "\n    : '')}).filter(x, x.text != '')"},
			}...),
			Faults: "$said.map(x, " + celFault(a.ID, "'"+celLevel(a)+"'", "x.path + '.image'", "x.name", "x.repository", "x.text") + ")",
		}
	}}
}
