package rules

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/sixgate/sixgate/pkg/quickyaml"
)

// ipVariableUnbracketed finds variables that hold an IPv6 address and stand before a port, or in a URL, without brackets.
//
// Source: RFC 3986, section 3.2.2; Go 1.26, net.SplitHostPort ("too many colons in address"); kubelet v1.37, pkg/kubelet/envvars
// (the variables *_SERVICE_HOST hold a bare address); third_party/forked/golang/expansion (what $(NAME) means).
func ipVariableUnbracketed() *Rule {
	return &Rule{
		ID: "ip-variable-unbracketed", Since: "v0.1.0", Level: Warn,
		Title:   "Variable with an IP address stands before a port without brackets",
		Targets: append(podTargets(), targetConfigMap),
		Check:   checkIPVariableUnbracketed,
		CEL:     celIPVariableUnbracketed(),
	}
}

func checkIPVariableUnbracketed(req *Request) []Finding {
	o := req.Object
	if o.Kind() == "ConfigMap" {
		return unbracketedInData(req)
	}
	pod, ok := judgedPod(o)
	if !ok {
		return nil
	}
	var out []Finding
	for _, c := range containers(o, pod) {
		var known origins // most containers need none
		eachText(c, func(path Path, text string) {
			var bare []expansion
			for _, e := range expansions(text) {
				if known == nil {
					known = originsOf(o, pod, c)
				}
				if known.of(req.Policy, e.name) > originOther && !isComment(text, e.start) && !computes(text, e) {
					bare = append(bare, e)
				}
			}
			if len(bare) == 0 {
				return
			}
			from := known.of(req.Policy, bare[0].name)
			f := Finding{Path: path, Subject: c.name, Value: text, Message: bare[0].message(text, from)}
			if strings.Contains(text, "\n") {
				f.Text = textPos(text, bare[0].start)
			}
			// On nodes with both families the node's address may be IPv4.
			doubtful := func(e expansion) bool {
				from := known.of(req.Policy, e.name)
				return from == originSeveral || req.Policy.Cluster.Nodes != "IPv6" &&
					(from == originNode || o.Bool(pod.With("spec", "hostNetwork")...))
			}
			isYAML := strings.HasPrefix(text, "--set") // a bracket would begin a list, as in the Collector's --set=KEY=VALUE
			if mayRepairPod(req) && !isYAML && !slices.ContainsFunc(bare, doubtful) {
				fixed := withBrackets(text, bare)
				f.Fix = func(o *Object) { o.Set(path, fixed) }
			}
			out = append(out, f)
		})
	}
	return out
}

// eachText calls visit with each command word, argument and literal variable of a container that has a "$".
func eachText(c container, visit func(path Path, text string)) {
	for _, list := range []string{"command", "args"} {
		words, _ := c.obj[list].([]any)
		for i, w := range words {
			if text, ok := w.(string); ok && strings.Contains(text, "$") {
				visit(c.path.With(list, i), text)
			}
		}
	}
	env, _ := c.obj["env"].([]any)
	for i, e := range env {
		variable, _ := e.(map[string]any)
		if text, ok := variable["value"].(string); ok && strings.Contains(text, "$") {
			visit(c.path.With("env", i, "value"), text)
		}
	}
}

// An origin is what is known of a variable. From originPod on it holds an address.
type origin int

const (
	originUnknown origin = iota
	originOther
	originPod     // the pod's address
	originNode    // the node's
	originService // a Service's
	originSeveral // all addresses of the pod or node, with commas
)

// origins are the variables of a container, and with the name "" whether others may come from an envFrom.
type origins map[string]origin

// serviceVariable are the variables that the kubelet makes of Services and that hold a bare address.
var serviceVariable = regexp.MustCompile(`^[A-Z][A-Z0-9_]*_(SERVICE_HOST|PORT_[0-9]+_(TCP|UDP|SCTP)_ADDR)$`)

func originsOf(o *Object, pod Path, c container) origins {
	out := origins{}
	env, _ := c.obj["env"].([]any)
	for _, e := range env {
		variable, _ := e.(map[string]any)
		name := envName(e)
		field, _ := lookup(e, []any{"valueFrom", "fieldRef", "fieldPath"})
		switch field {
		case "status.podIP":
			out[name] = originPod
			continue
		case "status.hostIP":
			out[name] = originNode
			continue
		case "status.podIPs", "status.hostIPs":
			out[name] = originSeveral
			continue
		}
		value, literal := variable["value"].(string)
		switch {
		case ipFamily(value) == "IPv6":
			out[name] = originService
		case strings.HasPrefix(value, "$(") && out[strings.TrimSuffix(value[2:], ")")] > originOther:
			out[name] = out[strings.TrimSuffix(value[2:], ")")]
		case literal:
			out[name] = originOther
		default:
			out[name] = originUnknown
		}
	}
	links, said := o.Get(pod.With("spec", "enableServiceLinks")...)
	from, _ := c.obj["envFrom"].([]any)
	if len(from) > 0 || said && links == false {
		out[""] = originOther
	}
	if _, ok := out["KUBERNETES_SERVICE_HOST"]; !ok && hidesAPIServerVars(c.obj) >= 0 {
		out["KUBERNETES_SERVICE_HOST"] = originUnknown
	}
	return out
}

func (known origins) of(p *Policy, name string) origin {
	if from, ok := known[name]; ok {
		return from
	}
	switch {
	case name == "KUBERNETES_SERVICE_HOST":
		return p.apiServerOrigin()
	case known[""] == originUnknown && serviceVariable.MatchString(name):
		return originService
	}
	return originUnknown
}

// apiServerOrigin: Go refuses https://[api.example.net]:443, so a name must never be put into brackets.
func (p *Policy) apiServerOrigin() origin {
	if p.APIServer.Host != "" && ipFamily(p.APIServer.Host) == "" {
		return originOther
	}
	return originService
}

// An expansion is a variable in a text that lacks brackets if it holds an IPv6 address.
type expansion struct {
	name       string
	start, end int // of the variable
	to         int // where the port ends
}

func (e expansion) message(text string, from origin) string {
	now := text[e.start:e.to]
	if from == originSeveral {
		return fmt.Sprintf("%s is a list of addresses, and IPv6 before a port needs brackets; use status.podIP, and [ ] around it", quote(now))
	}
	fact := "is IPv6 and a port without brackets, which nothing reads"
	if e.to == e.end {
		fact = "is IPv6 in a URL without brackets, which no client reads"
	}
	return fmt.Sprintf("%s %s; write %s", quote(now), fact, quote(withBrackets(now, []expansion{{start: 0, end: e.end - e.start}})))
}

// maxExpansions of one text; beyond them nothing is said.
const maxExpansions = 200

// expansions returns the variables of a text that stand before a port, or alone as the host of a URL, without brackets.
func expansions(text string) []expansion {
	var out []expansion
	for i := 0; len(out) < maxExpansions; {
		at := strings.IndexByte(text[i:], '$')
		if at < 0 {
			return out
		}
		start := i + at
		if strings.HasPrefix(text[start:], "$$") { // an escape of the kubelet's, or a process number
			i = start + 2
			continue
		}
		i = start + 1
		url := inURL(text[:start])
		if !url && start > 0 && !strings.ContainsRune(" \t\r\n=,@'\"(;|:>`[", rune(text[start-1])) && !strings.HasSuffix(text[:start], "//") {
			continue
		}
		name, size := variable(text[start:])
		if size == 0 {
			continue
		}
		end := start + size
		i = end
		rest := text[end:]
		if to := portAfter(rest); to > 0 {
			out = append(out, expansion{name, start, end, end + to})
		} else if url && (rest == "" || strings.ContainsRune("/?# \t\r\n'\",;|&`)\\", rune(rest[0]))) {
			out = append(out, expansion{name, start, end, end})
		}
	}
	return nil
}

// variable reads $(NAME), ${NAME}, ${env:NAME} or $NAME at the start of a text; size is 0 where there is none.
func variable(text string) (name string, size int) {
	text = text[:min(len(text), 256)]
	if len(text) < 2 || text[0] != '$' {
		return "", 0
	}
	start, end := 1, byte(0)
	switch text[1] {
	case '(':
		start, end = 2, ')'
	case '{':
		start, end = 2, '}'
		if strings.HasPrefix(text[2:], "env:") {
			start += len("env:")
		}
	}
	to := start
	for to < len(text) && (isLetter(text[to]) || to > start && isDigit(text[to])) {
		to++
	}
	switch {
	case to == start:
		return "", 0
	case end == 0:
		return text[start:to], to
	case to == len(text) || text[to] != end:
		return "", 0
	}
	return text[start:to], to + 1
}

// isLetter: c may begin a name of a variable.
func isLetter(c byte) bool { return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' }

// portAfter is the length of ":port" at the start of a text: digits, or a variable that is called a port.
func portAfter(text string) int {
	if !strings.HasPrefix(text, ":") {
		return 0
	}
	to := 1
	for to < len(text) && to <= 5 && isDigit(text[to]) {
		to++
	}
	if to > 1 && (to == len(text) || !isDigit(text[to]) && !isLetter(text[to])) {
		return to
	}
	if name, size := variable(text[1:]); strings.Contains(strings.ToUpper(name), "PORT") {
		return 1 + size
	}
	return 0
}

// inURL: a host comes next, after the scheme or after user and password.
func inURL(before string) bool {
	if strings.HasSuffix(before, "://") {
		return true
	}
	if !strings.HasSuffix(before, "@") {
		return false
	}
	before = before[max(0, len(before)-256):]
	scheme := strings.LastIndex(before, "://")
	return scheme >= 0 && !strings.ContainsAny(before[scheme+3:], "/ \t\n\"'")
}

// computes: the text gives the variable a value itself, knows brackets, or is for a program that wants none before the port.
func computes(text string, e expansion) bool {
	line, _, _ := strings.Cut(text[lineStart(text, e.start):], "\n")
	// redis-cli takes the last colon for the one before the port, and brackets for a part of the name.
	return strings.Contains(line, "redis-cli") || strings.Contains(text, e.name+"=") ||
		strings.Contains(text, "["+text[e.start:e.end]+"]") && strings.Contains(text, "if ")
}

func withBrackets(text string, bare []expansion) string {
	var b strings.Builder
	done := 0
	for _, e := range bare {
		b.WriteString(text[done:e.start] + "[" + text[e.start:e.end] + "]")
		done = e.end
	}
	b.WriteString(text[done:])
	return b.String()
}

func textPos(text string, offset int) TextPos {
	return TextPos{1 + strings.Count(text[:offset], "\n"), offset - strings.LastIndexByte(text[:offset], '\n')}
}

// lineStart is where the line of an offset starts; of a line longer than 4 KB, somewhere in it.
func lineStart(text string, offset int) int {
	from := max(0, offset-4096)
	return from + strings.LastIndexByte(text[from:offset], '\n') + 1
}

// addressName are names that people give to an address of the pod or node, for where nothing else says what a variable holds.
var addressName = regexp.MustCompile(`(^|_)(POD|HOST|NODE)_?IPS?$`)

// unbracketedInData looks into the files of a ConfigMap. Their variables belong to pods that only the Index knows.
func unbracketedInData(req *Request) []Finding {
	var out []Finding
	data := req.Object.Map("data")
	for _, key := range sortedKeys(data) {
		text, _ := data[key].(string)
		if strings.IndexByte(text, '$') < 0 || strings.Contains(key, "haproxy") { // HAProxy takes the last colon for the one before the port
			continue
		}
		path := Path{"data", key}
		var fixes []expansion
		first := len(out)
		for _, e := range expansions(text) {
			if text[e.start+1] == '(' || isComment(text, e.start) || computes(text, e) {
				continue
			}
			from, sure := req.dataOrigin(e.name)
			if from <= originOther {
				continue
			}
			if sure {
				fixes = append(fixes, e)
			}
			out = append(out, Finding{Path: path, Text: textPos(text, e.start), Subject: key, Value: text[e.start:e.to], Message: e.message(text, from)})
		}
		if len(fixes) < len(out)-first || len(fixes) == 0 {
			continue
		}
		if fixed := bracketFile(text, fixes); fixed != "" {
			for i := first; i < len(out); i++ {
				out[i].Fix = func(o *Object) { o.Set(path, fixed) }
			}
		}
	}
	return out
}

// dataOrigin is what a variable in a file of a ConfigMap holds; sure if the Index knows every pod that has the file, and all
// agree.
func (req *Request) dataOrigin(name string) (from origin, sure bool) {
	var users []mount
	if x := req.others(); x != nil {
		users = x.mounts[req.Namespace+"/"+req.Object.Name()]
	}
	if len(users) == 0 {
		switch {
		case name == "KUBERNETES_SERVICE_HOST":
			return req.Policy.apiServerOrigin(), false
		case addressName.MatchString(name):
			return originPod, false
		}
		return originUnknown, false
	}
	sure = true
	for _, u := range users {
		best := originUnknown
		for _, known := range u.variables {
			best = max(best, known.of(req.Policy, name))
		}
		if best <= originOther || best == originSeveral || best != originPod && req.Policy.Cluster.Nodes != "IPv6" {
			sure = false
		}
		from = max(from, best)
	}
	return from, sure
}

// isComment: the line starts with a comment character.
func isComment(text string, offset int) bool {
	line := strings.TrimLeft(text[lineStart(text, offset):offset], " \t")
	return strings.HasPrefix(line, "#") || strings.HasPrefix(line, "//") || strings.HasPrefix(line, ";")
}

// bracketFile puts brackets around variables. In YAML a value must not start with one, so it is quoted, and the result is read
// again: nothing but the brackets may be new. "" where that cannot be done.
func bracketFile(text string, bare []expansion) string {
	before, ok := yamlValues(text)
	if !ok {
		if slices.ContainsFunc(bare, func(e expansion) bool { from, _ := plainScalar(text, e); return from >= 0 }) {
			return "" // YAML that cannot be read, perhaps for its templates
		}
		return withBrackets(text, bare)
	}
	var b strings.Builder
	done := 0
	for _, e := range bare {
		if e.start < done { // the second of one quoted value
			return ""
		}
		from, to := plainScalar(text, e)
		if from < 0 {
			b.WriteString(text[done:e.start] + "[" + text[e.start:e.end] + "]")
			done = e.end
			continue
		}
		value := withBrackets(text[from:to], []expansion{{start: e.start - from, end: e.end - from}})
		b.WriteString(text[done:from] + `"` + value + `"`)
		done = to
	}
	b.WriteString(text[done:])
	after, ok := yamlValues(b.String())
	if !ok || !reflect.DeepEqual(bracketValues(before, bare, text), after) {
		return ""
	}
	return b.String()
}

// plainScalar returns the unquoted value that starts with a variable; -1 where the value starts elsewhere.
func plainScalar(text string, e expansion) (from, to int) {
	lead := text[lineStart(text, e.start):e.start]
	trimmed := strings.TrimRight(lead, " \t")
	flow := strings.HasSuffix(trimmed, "[") || strings.HasSuffix(trimmed, ",") || strings.HasSuffix(trimmed, "{")
	if !flow && !(len(trimmed) < len(lead) && (strings.HasSuffix(trimmed, ":") || strings.HasSuffix(trimmed, "-"))) {
		return -1, 0
	}
	rest := text[e.end:]
	size := strings.IndexAny(rest, "\r\n")
	if size < 0 {
		size = len(rest)
	}
	if i := strings.Index(rest[:size], " #"); i >= 0 {
		size = i
	}
	if flow || strings.ContainsAny(lead, "[{") {
		if i := strings.IndexAny(rest[:size], ",]}"); i >= 0 && !strings.Contains(rest[:i], "${") {
			size = i
		}
	}
	size = len(strings.TrimRight(rest[:size], " \t"))
	if strings.ContainsAny(rest[:size], `"\`) {
		return -1, 0
	}
	return e.start, e.end + size
}

// yamlValues reads all documents of a text; false if it is not YAML with fields or a list.
func yamlValues(text string) (docs []any, ok bool) {
	if n := quickyaml.Node(text); n != nil { // a mapping
		var doc any
		err := n.Decode(&doc)
		return []any{doc}, err == nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc any
		switch err := decoder.Decode(&doc); {
		case err == io.EOF:
			return docs, len(docs) > 0
		case err != nil:
			return nil, false
		}
		switch doc.(type) {
		case map[string]any, []any, nil:
		default:
			return nil, false
		}
		docs = append(docs, doc)
	}
}

// bracketValues is what the values of a file should become.
func bracketValues(v any, bare []expansion, text string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = bracketValues(e, bare, text)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = bracketValues(e, bare, text)
		}
		return out
	case string:
		var in []expansion
		for _, e := range expansions(v) {
			if slices.ContainsFunc(bare, func(b expansion) bool { return text[b.start:b.to] == v[e.start:e.to] }) {
				in = append(in, e)
			}
		}
		return withBrackets(v, in)
	}
	return v
}

// Of a line the expansions in one pattern: before a port, or alone in a URL.
const (
	celExpansion = `\$(?:\([A-Za-z_][A-Za-z0-9_]*\)|\{(?:env:)?[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_][A-Za-z0-9_]*)`
	celPort      = `:(?:[0-9]{1,5}\b|\$(?:\([A-Za-z0-9_]*(?i:port)[A-Za-z0-9_]*\)|\{(?:env:)?[A-Za-z0-9_]*(?i:port)[A-Za-z0-9_]*\}|[A-Za-z0-9_]*(?i:port)[A-Za-z0-9_]*))`
	celBare      = `(?:^|[ \t\r=,@'"(;|:>\x60[]|//)` + celExpansion + celPort + `|://(?:[^/ \t"'@$]*@)?` + celExpansion + `(?:$|[/?# \t\r'",;|&\x60)\\])`
)

func celIPVariableUnbracketed() *CEL {
	return &CEL{
		Differences: []string{"A variable that is made of another is followed one step, and a password in a URL must not be a variable."},
		Write: func(a *Active, p *Policy) *Expressions {
			api := "false"
			if p.apiServerOrigin() == originService {
				api = "true"
			}
			env := "x.c.?env.orValue([])"
			named := func(test string) string {
				return "dyn(" + env + ".filter(e, " + test + ").map(e, e.?name.orValue('')))"
			}
			const source = "e.?valueFrom.?fieldRef.?fieldPath.orValue('')"
			// The expansions of the lines of a text that a test leaves.
			bare := func(text, test string) string {
				return "string(" + text + ").split('\\n').transformList(n, l, l.contains('$') && !l.contains('redis-cli') && !l.matches('^[ \\t]*(#|//|;)'),\n" +
					"      l.findAll(" + celString(celBare) + ").map(m, m.substring(m.indexOf('$'))).map(m, {'line': string(n + 1), 'now': string(m), 'variable': string(m.find(" + celString(celExpansion) + "))})\n" +
					"      .map(m, {'line': m.line, 'variable': m.variable, 'port': m.now.substring(size(m.variable)), 'name': string(m.variable.replace('$', '').replace('(', '').replace(')', '').replace('{', '').replace('}', '').replace('env:', ''))})\n" +
					"      .filter(m, !" + text + ".contains(m.name + '=') && !(" + text + ".contains('[' + m.variable + ']') && " + text + ".contains('if ')) && (" + test + "))\n" +
					"      .map(m, {'line': m.line, 'name': m.name, 'variable': m.variable, 'port': m.port.startsWith(':') ? m.port : ''})).flatten()"
			}
			const now, fixed = "m.variable + m.port", "'[' + m.variable + ']' + m.port"
			return &Expressions{
				Variables: append(celPodVariables(), []Variable{
					{"known", "request.kind.kind == 'ConfigMap' || !$judged ? [] : $containers.map(x, {'path': dyn(x.path), 'name': dyn(x.name), 'c': dyn(x.c), 'names': " + named("true") + ",\n" +
						"    'one': " + named(source+" in ['status.podIP', 'status.hostIP'] || "+celIPv6("e.?value.orValue('')")) + ",\n" +
						"    'several': " + named(source+" in ['status.podIPs', 'status.hostIPs']") + ",\n" +
						"    'links': dyn(size(x.c.?envFrom.orValue([])) == 0 && $pod.?spec.?enableServiceLinks.orValue(true)),\n" +
						"    'hidden': dyn(x.c.?envFrom.orValue([]).exists(f, " + celList(apiServerVars) + ".exists(n, n.startsWith(f.?prefix.orValue('')))))})\n" +
						"  .map(x, {'x': dyn(x), 'again': " + named("e.?value.orValue('').matches('^[$][(].+[)]$') && e.value.substring(2, size(e.value) - 1) in x.one") + "})"},
					{"texts", "$known.map(k, (['command', 'args'].map(f, k.x.c[?f].orValue([]).transformList(i, w, w.contains('$'),\n" +
						"      {'k': dyn(k), 'path': dyn(k.x.path + '.' + f + '[' + string(i) + ']'), 'v': dyn(w)})).flatten() +\n" +
						"    k.x.c.?env.orValue([]).transformList(i, e, e.?value.orValue('').contains('$'), {'k': dyn(k), 'path': dyn(k.x.path + '.env[' + string(i) + '].value'), 'v': dyn(e.value)}))).flatten()"},
					{"bare", "$texts.map(t, " + bare("t.v", "m.name in t.k.x.one || m.name in t.k.x.several || m.name in t.k.again || !(m.name in t.k.x.names) && (m.name == 'KUBERNETES_SERVICE_HOST' ? "+
						api+" && !t.k.x.hidden : t.k.x.links && m.name.matches(r'"+serviceVariable.String()+"'))") + "\n" +
						"    .transformList(i, m, i == 0, {'path': string(t.path + (t.v.contains('\\n') ? ':' + m.line : '')), 'subject': string(t.k.x.name), 'value': string(t.v),\n" +
						"      'several': m.name in t.k.x.several ? 'yes' : '', 'variable': m.variable, 'port': m.port})).flatten() +\n" +
						"  (request.kind.kind != 'ConfigMap' ? [] : dyn($object).?data.orValue({}).transformList(k, v, v.contains('$') && !k.contains('haproxy'), " +
						bare("v", "!m.variable.contains('(') && (m.name == 'KUBERNETES_SERVICE_HOST' ? "+api+" : m.name.matches(r'"+addressName.String()+"'))") + "\n" +
						"    .map(m, {'path': string('data' + (k.matches('^[A-Za-z_][A-Za-z0-9_]*$') ? '.' + k : '[\"' + k + '\"]') + ':' + m.line), 'subject': string(k), 'value': string(" + now + "), 'several': '', 'variable': m.variable, 'port': m.port})).flatten())"},
				}...),
				Faults: "$bare.map(m, " + celFault(a.ID, "'"+celLevel(a)+"'", "m.path", "m.subject", "m.value", celQuoted("("+now+")")+" + (m.several != '' ? ' is a list of addresses, and IPv6 before a port needs brackets; use status.podIP, and [ ] around it'\n    : "+
					"(m.port != '' ? ' is IPv6 and a port without brackets, which nothing reads; write ' : ' is IPv6 in a URL without brackets, which no client reads; write ') + "+celQuoted("("+fixed+")")+")") + ")",
			}
		},
	}
}
