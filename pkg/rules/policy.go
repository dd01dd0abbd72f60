package rules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// PolicyVersion and PolicyKind head every policy file.
const (
	PolicyVersion = "sixgate.io/v1alpha1"
	PolicyKind    = "Policy"
)

// A Policy says what is true of a cluster and what its owners want. Both commands read the same file.
type Policy struct {
	APIVersion   string             `yaml:"apiVersion"`
	Kind         string             `yaml:"kind"`
	Cluster      Cluster            `yaml:"cluster"`
	Services     Services           `yaml:"services"`
	APIServer    APIServer          `yaml:"apiServer"`
	Pools        []Pool             `yaml:"pools"`
	Rules        map[string]Setting `yaml:"rules"`
	Exclude      Exclude            `yaml:"exclude"`
	Exceptions   []Exception        `yaml:"exceptions"`
	ForbidOptOut []ForbidOptOut     `yaml:"forbidOptOut"`
	Secrets      bool               `yaml:"secrets"` // look for configuration of servers in Secrets too
	// Mode is what the webhook does: enforce (default), or audit: it warns and records, and changes and refuses nothing. The
	// command line judges the same in both.
	Mode string `yaml:"mode"`
	// EnforceNamespaces and AuditNamespaces are name patterns of namespaces that have the other mode.
	EnforceNamespaces []string `yaml:"enforceNamespaces"`
	AuditNamespaces   []string `yaml:"auditNamespaces"`

	excludeDefault bool // Exclude.Objects is the default
}

// Cluster is what is true of the target cluster.
type Cluster struct {
	// Families of its Services, primary first. The webhook reads them from the cluster where they are not given.
	Families []string `yaml:"families"`
	Nodes    string   `yaml:"nodes"` // IPv6 (default) or DualStack

	nodesAreIPv6 bool   // said so, and not only by default: a denial must be certain
	DNS          DNS    `yaml:"dns"`
	CNI          string `yaml:"cni"`    // one of cnis; annotations are written and judged for this CNI only
	Multus       bool   `yaml:"multus"` // network selections are judged; OVN-Kubernetes reads them without it
	NAT64        NAT64  `yaml:"nat64"`
	// RegistriesWithoutIPv6 are host names of image registries that no IPv6-only node reaches; nil: the list of the rule.
	RegistriesWithoutIPv6 []string `yaml:"registriesWithoutIPv6"`
}

// NAT64 is how pods reach IPv4 addresses outside.
type NAT64 struct {
	Prefix string `yaml:"prefix"` // IPv6 CIDR of 96 bits, such as 64:ff9b::/96 (RFC 6052); "": there is none
	CLAT   bool   `yaml:"clat"`   // nodes translate IPv4 literals too (RFC 6877)
}

// IPv6Only reports whether the cluster's Services are IPv6 single-stack. On any other cluster no rule is active.
func (c Cluster) IPv6Only() bool { return len(c.Families) == 1 && c.Families[0] == "IPv6" }

// DNS names the cluster DNS Service, which keeps a fixed address because every kubelet has it in its configuration.
type DNS struct {
	Namespace string `yaml:"namespace"` // default kube-system
	Service   string `yaml:"service"`   // default kube-dns
	Address   string `yaml:"address"`   // IPv6
	// Resolvers outside the cluster that pods may ask, IPv6; with NAT64 they should synthesise AAAA records.
	Resolvers []string `yaml:"resolvers"`
}

// Services says how Services are made to fit.
type Services struct {
	Mode string `yaml:"mode"` // SingleStack (default), Headless or Unchanged
	// Headless lists "namespace/name" patterns that become headless, or is "all": every Service, NodePort and LoadBalancer too.
	Headless           HeadlessList `yaml:"headless"`
	WhenHeadlessUnsafe string       `yaml:"whenHeadlessUnsafe"` // off, warn (default) or deny
	// LoadBalancer is the system that gives LoadBalancer Services their addresses, one of loadBalancers.
	LoadBalancer string        `yaml:"loadBalancer"`
	Pools        []ServicePool `yaml:"pools"`
}

// A ServicePool gives the LoadBalancer Services that it selects an address or a pool. The first entry that matches is used, alone.
type ServicePool struct {
	Namespaces []string          `yaml:"namespaces"` // name patterns; none: all
	Services   map[string]string `yaml:"services"`   // labels that a Service must have; none: all
	IPv6Pools  []string          `yaml:"ipv6Pools"`  // names; for Calico CIDRs too
	Addresses  []string          `yaml:"addresses"`  // one IPv6 address: the entry must match one Service
}

// HeadlessList is a list of "namespace/name" patterns, or All.
type HeadlessList struct {
	All      bool
	Patterns []string
}

// APIServer is the address that pods are given for the API server.
type APIServer struct {
	Host    string `yaml:"host"` // a DNS name inside the API server's certificate, or an IPv6 literal without brackets
	Port    int    `yaml:"port"`
	EnvFrom string `yaml:"envFrom"` // skip (default) or inject: what to do where an envFrom may hold the same names
}

// A Pool gives the pods that it selects addresses or pools. The first entry that matches a pod is used, alone.
type Pool struct {
	Namespaces []string          `yaml:"namespaces"` // name patterns; none: all
	Pods       map[string]string `yaml:"pods"`       // labels that a pod must have; none: all
	Annotate   string            `yaml:"annotate"`   // Pod (default), or Namespace: as the default of all its pods
	IPv6Pools  []string          `yaml:"ipv6Pools"`  // pool names; for Calico CIDRs too
	Addresses  []string          `yaml:"addresses"`  // one fixed IPv6 address: the entry must match one pod at a time
	IPFamilies []string          `yaml:"ipFamilies"` // for Calico v3.30 and later, and Kube-OVN: [IPv6]
	Network    string            `yaml:"network"`    // for OVN-Kubernetes: "namespace/name" of its default network
}

// A Setting changes one rule.
type Setting struct {
	Level  Level // None: the rule's own
	Mutate *bool // nil: the rule's own
}

// Exclude says what is not looked at. A list that is given replaces the default.
type Exclude struct {
	Namespaces []string `yaml:"namespaces"`
	// Objects are "namespace/Kind/name" patterns. Kind Pod covers the workloads that make Pods too.
	Objects []string `yaml:"objects"`
}

// An Exception silences one rule on some objects until a date.
type Exception struct {
	Rule    string   `yaml:"rule"`
	Objects []string `yaml:"objects"` // "namespace/Kind/name" patterns
	Owner   string   `yaml:"owner"`
	Reason  string   `yaml:"reason"`
	Until   string   `yaml:"until"` // 2027-03-01: the last day on which it holds; empty: for ever

	line int
}

// Line is where in its file the exception stands, from 1; 0 if it was not read from one.
func (e *Exception) Line() int { return e.line }

// Covers reports whether an object in a namespace is one that the exception names.
func (e *Exception) Covers(namespace string, o *Object) bool {
	return matchesObject(e.Objects, namespace, o)
}

// ForbidOptOut names rules, or namespaces, where the opt-out annotations of objects are not honoured.
type ForbidOptOut struct {
	Rules      []string `yaml:"rules"`      // none: all
	Namespaces []string `yaml:"namespaces"` // name patterns; none: all
}

// Modes of the webhook.
const (
	ModeEnforce = "enforce"
	ModeAudit   = "audit"
)

// OnlyAudits reports whether the webhook only warns and records in this namespace; "" is that of cluster-scoped objects, which
// have the mode of the policy.
func (p *Policy) OnlyAudits(namespace string) bool {
	if p.Mode == ModeAudit {
		return namespace == "" || !globAny(p.EnforceNamespaces, namespace)
	}
	return namespace != "" && globAny(p.AuditNamespaces, namespace)
}

// DefaultPolicy is what an empty policy file means, for a cluster of these Service families.
func DefaultPolicy(families ...string) *Policy {
	p := &Policy{APIVersion: PolicyVersion, Kind: PolicyKind}
	p.Cluster.Families = families
	p.setDefaults()
	return p
}

// SetLevel sets the level of the rules that a pattern names, where * stands for any characters. It is an error if that is none.
func (p *Policy) SetLevel(pattern string, level Level) error {
	known := false
	for _, id := range IDs() {
		if !globMatch(pattern, id) {
			continue
		}
		if known = true; p.Rules == nil {
			p.Rules = map[string]Setting{}
		}
		setting := p.Rules[id]
		setting.Level = level
		p.Rules[id] = setting
	}
	if !known {
		return fmt.Errorf("unknown rule %q%s", pattern, Suggest(pattern, IDs()))
	}
	return nil
}

func (p *Policy) setDefaults() {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	p.Cluster.nodesAreIPv6 = p.Cluster.Nodes == "IPv6"
	def(&p.Cluster.Nodes, "IPv6")
	def(&p.Cluster.DNS.Namespace, "kube-system")
	def(&p.Cluster.DNS.Service, "kube-dns")
	def(&p.Services.Mode, "SingleStack")
	def(&p.Services.WhenHeadlessUnsafe, "warn")
	def(&p.APIServer.EnvFrom, "skip")
	def(&p.Mode, ModeEnforce)
	if p.Exclude.Namespaces == nil {
		p.Exclude.Namespaces = []string{"kube-node-lease"}
	}
	if p.Exclude.Objects == nil {
		p.excludeDefault = true
		p.Exclude.Objects = defaultExcludedObjects()
	}
}

// defaultExcludedObjects are left to those who run the cluster, but for rules with System.
func defaultExcludedObjects() []string {
	return []string{"kube-system/Pod/*", "kube-system/ConfigMap/*"}
}

// ReadPolicy decodes a policy file strictly: an unknown field, rule or value is an error that names its line. All errors
// of a file are returned together, joined, one line each; what is wrong inside a value of the wrong type comes after that.
func ReadPolicy(data []byte) (*Policy, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF), err == nil && isNull(doc.Content[0]):
		return nil, fmt.Errorf("empty: write at least apiVersion: %s and kind: %s", PolicyVersion, PolicyKind)
	case err != nil:
		return nil, yamlError(err)
	}
	switch err := dec.Decode(&yaml.Node{}); {
	case err == nil:
		return nil, errors.New("more than one document: a policy file holds one")
	case !errors.Is(err, io.EOF):
		return nil, yamlError(err)
	}
	root, found, p := doc.Content[0], &problems{}, &Policy{}
	found.shape(root, reflect.TypeFor[Policy](), nil)
	if !found.undecodable {
		if err := root.Decode(p); err != nil {
			return nil, yamlError(err)
		}
		p.check(root, found)
	}
	if err := found.err(); err != nil {
		return nil, err
	}
	p.setDefaults()
	return p, nil
}

func yamlError(err error) error { return errors.New(clean(strings.TrimPrefix(err.Error(), "yaml: "))) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// problems are what is wrong with one file.
type problems struct {
	lines       []problem
	undecodable bool // a value has the wrong type
}

type problem struct {
	line int
	text string
}

func (ps *problems) add(line int, path Path, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if len(path) > 0 {
		text = path.String() + ": " + text
	}
	ps.lines = append(ps.lines, problem{line, clean(text)})
}

// wrong adds a value that cannot be decoded.
func (ps *problems) wrong(n *yaml.Node, path Path, must string) {
	ps.undecodable = true
	if n.Kind == yaml.AliasNode {
		must = "aliases are not followed; write the value out"
	} else if n.Kind == yaml.ScalarNode && !isNull(n) {
		must = fmt.Sprintf("%q %s", n.Value, must)
	}
	ps.add(n.Line, path, "%s", must)
}

// err returns the problems in the order of the file.
func (ps *problems) err() error {
	slices.SortStableFunc(ps.lines, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var errs []error
	for _, p := range ps.lines {
		errs = append(errs, fmt.Errorf("line %d: %s", p.line, p.text))
	}
	return errors.Join(errs...)
}

// shape holds a node against the type that it is decoded into. The decoder could do it, but names Go types, not fields.
func (ps *problems) shape(n *yaml.Node, t reflect.Type, path Path) {
	scalar := n.Kind == yaml.ScalarNode && !isNull(n)
	switch {
	case t == reflect.TypeFor[HeadlessList]():
		switch {
		case n.Kind == yaml.SequenceNode:
			ps.shape(n, reflect.TypeFor[[]string](), path)
		case !scalar || n.Value != "all":
			ps.wrong(n, path, `must be a list of "namespace/name" patterns, or all`)
		}
	case t == reflect.TypeFor[Setting]():
		ps.setting(n, path)
	case t.Kind() == reflect.Struct:
		fields := map[string]reflect.Type{}
		var names []string
		for f := range t.Fields() {
			if f.IsExported() {
				names = append(names, f.Tag.Get("yaml"))
				fields[f.Tag.Get("yaml")] = f.Type
			}
		}
		ps.mapping(n, path, func(key, value *yaml.Node) {
			switch field, ok := fields[key.Value]; {
			case !ok:
				ps.add(key.Line, path, "unknown field %q%s", key.Value, Suggest(key.Value, names))
			case !isNull(value): // null is the same as leaving it out
				ps.shape(value, field, path.With(key.Value))
			}
		})
	case t.Kind() == reflect.Map:
		ps.mapping(n, path, func(key, value *yaml.Node) { ps.shape(value, t.Elem(), path.With(key.Value)) })
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			ps.wrong(n, path, "must be a list")
			return
		}
		for i, e := range n.Content {
			ps.shape(e, t.Elem(), path.With(i))
		}
	case t.Kind() == reflect.Int:
		var i int
		if !scalar || n.ShortTag() != "!!int" || n.Decode(&i) != nil {
			ps.wrong(n, path, "must be a number without quotes")
		}
	case t.Kind() == reflect.Bool:
		if !scalar || n.ShortTag() != "!!bool" {
			ps.wrong(n, path, "must be true or false")
		}
	case n.Kind == yaml.MappingNode:
		ps.wrong(n, path, "must be a text; quote what holds a colon")
	case !scalar:
		ps.wrong(n, path, "must be a text")
	}
}

// mapping calls visit for each field of a mapping.
func (ps *problems) mapping(n *yaml.Node, path Path, visit func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		ps.wrong(n, path, "must be a mapping of names to values")
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			ps.wrong(key, path, "a name must be a text")
		case seen[key.Value]:
			ps.undecodable = true
			ps.add(key.Line, path, "%q is there twice", key.Value)
		default:
			seen[key.Value] = true
			visit(key, value)
		}
	}
}

func (ps *problems) setting(n *yaml.Node, path Path) {
	level := func(n *yaml.Node, path Path) {
		if _, err := ParseLevel(n.Value); err != nil || n.Kind != yaml.ScalarNode {
			ps.wrong(n, path, "must be off, warn or deny")
		}
	}
	if n.Kind == yaml.ScalarNode && !isNull(n) {
		level(n, path)
		return
	}
	if n.Kind != yaml.MappingNode {
		ps.wrong(n, path, "must be off, warn, deny, or {level: …, mutate: …}")
		return
	}
	ps.mapping(n, path, func(key, value *yaml.Node) {
		at := path.With(key.Value)
		switch {
		case key.Value == "level":
			level(value, at)
		case key.Value != "mutate":
			ps.add(key.Line, path, "unknown field %q%s", key.Value, Suggest(key.Value, []string{"level", "mutate"}))
		case value.Kind != yaml.ScalarNode || value.ShortTag() != "!!bool":
			ps.wrong(value, at, "must be true or false")
		}
	})
}

// UnmarshalYAML reads "all" or a list of patterns.
func (h *HeadlessList) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		h.All = true
		return nil
	}
	return n.Decode(&h.Patterns)
}

// UnmarshalYAML reads a level, or an object with level and mutate.
func (s *Setting) UnmarshalYAML(n *yaml.Node) error {
	v := struct {
		Level  string
		Mutate *bool
	}{Level: n.Value}
	if n.Kind != yaml.ScalarNode {
		if err := n.Decode(&v); err != nil {
			return err
		}
	}
	s.Level, _ = ParseLevel(v.Level) // none is given where only mutate is
	s.Mutate = v.Mutate
	return nil
}

// check finds what the shape alone does not: wrong values, unknown rules.
func (p *Policy) check(root *yaml.Node, found *problems) {
	bad := func(path Path, format string, args ...any) { found.add(lineOf(root, path), path, format, args...) }
	oneOf := func(path Path, v string, allowed ...string) {
		if v != "" && !slices.Contains(allowed, v) {
			bad(path, "%q must be one of %s%s", v, strings.Join(allowed, ", "), Suggest(v, allowed))
		}
	}
	rule := func(path Path, id string) {
		if ids := IDs(); !slices.Contains(ids, id) {
			found.add(lineOf(root, path), nil, "unknown rule %q%s", id, Suggest(id, ids))
		}
	}
	if p.APIVersion != PolicyVersion {
		bad(Path{"apiVersion"}, "%q must be %s", p.APIVersion, PolicyVersion)
	}
	if p.Kind != PolicyKind {
		bad(Path{"kind"}, "%q must be %s", p.Kind, PolicyKind)
	}
	p.checkCluster(bad)
	oneOf(Path{"cluster", "nodes"}, p.Cluster.Nodes, "IPv6", "DualStack")
	if cni := p.Cluster.CNI; cni != "" && cniNamed(cni) == nil {
		bad(Path{"cluster", "cni"}, "%q must be one of %s; leave it out for another CNI%s", cni, strings.Join(cniNames(), ", "), Suggest(cni, cniNames()))
	}
	oneOf(Path{"services", "mode"}, p.Services.Mode, "SingleStack", "Headless", "Unchanged")
	oneOf(Path{"services", "whenHeadlessUnsafe"}, p.Services.WhenHeadlessUnsafe, "off", "warn", "deny")
	for i, g := range p.Services.Headless.Patterns {
		if strings.Count(g, "/") != 1 {
			bad(Path{"services", "headless", i}, "%q must be \"namespace/name\"; * stands for any characters", g)
		}
	}
	p.checkServicePools(bad)
	p.checkAPIServer(bad)
	oneOf(Path{"apiServer", "envFrom"}, p.APIServer.EnvFrom, "skip", "inject")
	for i := range p.Pools {
		oneOf(Path{"pools", i, "annotate"}, p.Pools[i].Annotate, "Pod", "Namespace")
		p.checkPool(i, bad)
	}
	for _, id := range slices.Sorted(maps.Keys(p.Rules)) {
		set, path := p.Rules[id], Path{"rules", id}
		rule(path, id)
		if i := slices.IndexFunc(All(), func(r *Rule) bool { return r.ID == id }); i >= 0 && set.Mutate != nil && *set.Mutate && !All()[i].Mutate && !All()[i].MayMutate {
			bad(path.With("mutate"), "the webhook has no repair for this rule; leave it out")
		}
	}
	objects := func(path Path, patterns []string) {
		for i, g := range patterns {
			if strings.Count(g, "/") != 2 {
				bad(path.With(i), "%q must be \"namespace/Kind/name\"; * stands for any characters", g)
			}
		}
	}
	objects(Path{"exclude", "objects"}, p.Exclude.Objects)
	for i, e := range p.Exceptions {
		at := Path{"exceptions", i}
		p.Exceptions[i].line = lineOf(root, at)
		if e.Rule != "" {
			rule(at.With("rule"), e.Rule)
		}
		objects(at.With("objects"), e.Objects)
		if e.Rule == "" || e.Owner == "" || e.Reason == "" || len(e.Objects) == 0 {
			bad(at, "an exception needs rule, objects, owner and reason")
		}
		if _, err := time.Parse(time.DateOnly, e.Until); e.Until != "" && err != nil {
			bad(at.With("until"), "%q must be a date like 2027-03-01", e.Until)
		}
	}
	oneOf(Path{"mode"}, p.Mode, ModeAudit, ModeEnforce)
	if len(p.EnforceNamespaces) > 0 && p.Mode != ModeAudit {
		bad(Path{"enforceNamespaces"}, "has no meaning without mode: audit")
	}
	if len(p.AuditNamespaces) > 0 && p.Mode == ModeAudit {
		bad(Path{"auditNamespaces"}, "has no meaning with mode: audit")
	}
	for i, f := range p.ForbidOptOut {
		for j, id := range f.Rules {
			rule(Path{"forbidOptOut", i, "rules", j}, id)
		}
	}
}

func (p *Policy) checkCluster(bad complain) {
	at := Path{"cluster", "families"}
	families := p.Cluster.Families
	if families != nil && len(families) == 0 {
		bad(at, "is empty, so no rule would be active; leave it out to have it read from the cluster")
	}
	for i, f := range families {
		if known := []string{"IPv4", "IPv6"}; !slices.Contains(known, f) {
			bad(at.With(i), "%q must be one of %s%s", f, strings.Join(known, ", "), Suggest(f, known))
		} else if slices.Contains(families[:i], f) {
			bad(at.With(i), "%q is there twice", f)
		}
	}
	for i, r := range p.Cluster.DNS.Resolvers {
		if !isIPv6Address(r) {
			bad(Path{"cluster", "dns", "resolvers", i}, "%q is not an IPv6 address", r)
		}
	}
	if prefix, err := netip.ParsePrefix(p.Cluster.NAT64.Prefix); p.Cluster.NAT64.Prefix != "" &&
		(err != nil || !prefix.Addr().Is6() || prefix.Bits() != 96 || prefix != prefix.Masked()) {
		bad(Path{"cluster", "nat64", "prefix"}, "%q is not an IPv6 prefix of 96 bits, such as 64:ff9b::/96", p.Cluster.NAT64.Prefix)
	}
	for i, r := range p.Cluster.RegistriesWithoutIPv6 {
		if r == "" || strings.ContainsAny(r, "/: ") {
			bad(Path{"cluster", "registriesWithoutIPv6", i}, "%q must be a host name", r)
		}
	}
	if a := p.Cluster.DNS.Address; a != "" && !isIPv6Address(a) {
		bad(Path{"cluster", "dns", "address"}, "%q is not an IPv6 address; give the clusterIP of the cluster DNS Service", a)
	}
}

// isIPv6Address: a pod can dial it, so no zone, and no IPv4 in IPv6 form.
func isIPv6Address(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == "" && !a.IsUnspecified() && ipFamily(s) == "IPv6"
}

type complain func(path Path, format string, args ...any)

var dnsName = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.?$`)

func (p *Policy) checkAPIServer(bad complain) {
	host, at := p.APIServer.Host, Path{"apiServer", "host"}
	switch {
	case host == "" && p.APIServer.Port != 0:
		bad(Path{"apiServer"}, "port without host; give host too")
	case host == "":
	case strings.ContainsAny(host, "[]"):
		bad(at, "%q: clients add the brackets themselves; give the address without them", host)
	case ipFamily(host) == "IPv4":
		bad(at, "%q is IPv4; give a DNS name of the API server's certificate or an IPv6 address", host)
	case !isIPv6Address(host) && !dnsName.MatchString(host):
		bad(at, "%q is neither a DNS name nor an IPv6 address; leave out scheme and port", host)
	}
	if host != "" && (p.APIServer.Port < 1 || p.APIServer.Port > 65535) {
		bad(Path{"apiServer", "port"}, "%d must be a port from 1 to 65535", p.APIServer.Port)
	}
}

func (p *Policy) checkPool(i int, bad complain) {
	pool, at := &p.Pools[i], Path{"pools", i}
	if p.Cluster.CNI == "" {
		bad(at, "each CNI has annotations of its own; set cluster.cni")
	}
	if len(pool.IPv6Pools)+len(pool.Addresses)+len(pool.IPFamilies) == 0 {
		bad(at, "gives nothing; set ipv6Pools, addresses or ipFamilies")
	}
	if c := cniNamed(p.Cluster.CNI); c != nil {
		c.checkPool(pool, at, bad)
	}
}

// lineOf is the line of a field in a decoded file, or of the nearest field above it.
func lineOf(n *yaml.Node, path Path) int {
	line := n.Line
	for _, e := range path {
		next := (*yaml.Node)(nil)
		switch key := e.(type) {
		case string:
			for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == key {
					line, next = n.Content[i].Line, n.Content[i+1]
				}
			}
		case int:
			if n.Kind == yaml.SequenceNode && key < len(n.Content) {
				next = n.Content[key]
				line = next.Line
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

// Suggest returns `; did you mean "x"?` for the nearest of names, if one is near enough.
func Suggest(word string, names []string) string {
	best, near := "", 1+len(word)/3
	for _, n := range names {
		if max(len(word)-len(n), len(n)-len(word)) > near {
			continue // which is the least distance; a word of megabytes has none near
		}
		if d := distance(strings.ToLower(word), strings.ToLower(n)); d <= near {
			best, near = n, d-1
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the number of single-character edits between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diag, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diag+cost)
		}
	}
	return row[len(b)]
}
