package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
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
}

// Cluster is what is true of the target cluster.
type Cluster struct {
	// Families of its Services, primary first. The webhook reads them from the cluster where they are not given.
	Families []string `yaml:"families"`
	Nodes    string   `yaml:"nodes"` // IPv6 (default) or DualStack
	DNS      DNS      `yaml:"dns"`
	CNI      string   `yaml:"cni"` // calico; annotations are written and judged for this CNI only
}

// IPv6Only reports whether the cluster's Services are IPv6 single-stack. On any other cluster no rule is active.
func (c Cluster) IPv6Only() bool { return len(c.Families) == 1 && c.Families[0] == "IPv6" }

// DNS names the cluster DNS Service, which keeps a fixed address because every kubelet has it in its configuration.
type DNS struct {
	Namespace string `yaml:"namespace"` // default kube-system
	Service   string `yaml:"service"`   // default kube-dns
	Address   string `yaml:"address"`   // IPv6
}

// Services says how Services are made to fit.
type Services struct {
	Mode string `yaml:"mode"` // SingleStack (default), Headless or Unchanged
	// Headless lists "namespace/name" patterns that become headless, or is "all": every Service, NodePort and LoadBalancer too.
	Headless           HeadlessList `yaml:"headless"`
	WhenHeadlessUnsafe string       `yaml:"whenHeadlessUnsafe"` // off, warn (default) or deny
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
	IPv6Pools  []string          `yaml:"ipv6Pools"`  // CIDRs or pool names
	Addresses  []string          `yaml:"addresses"`  // one fixed IPv6 address: the entry must match one pod at a time
	IPFamilies []string          `yaml:"ipFamilies"` // for Calico v3.30 and later: [IPv6]
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
}

// ForbidOptOut names rules, or namespaces, where the opt-out annotations of objects are not honoured.
type ForbidOptOut struct {
	Rules      []string `yaml:"rules"`      // none: all
	Namespaces []string `yaml:"namespaces"` // name patterns; none: all
}

// DefaultPolicy is what an empty policy file means, for a cluster of these Service families.
func DefaultPolicy(families ...string) *Policy {
	p := &Policy{APIVersion: PolicyVersion, Kind: PolicyKind}
	p.Cluster.Families = families
	p.setDefaults()
	return p
}

func (p *Policy) setDefaults() {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&p.Cluster.Nodes, "IPv6")
	def(&p.Cluster.DNS.Namespace, "kube-system")
	def(&p.Cluster.DNS.Service, "kube-dns")
	def(&p.Services.Mode, "SingleStack")
	def(&p.Services.WhenHeadlessUnsafe, "warn")
	def(&p.APIServer.EnvFrom, "skip")
	if p.Exclude.Namespaces == nil {
		p.Exclude.Namespaces = []string{"kube-node-lease"}
	}
	if p.Exclude.Objects == nil {
		p.Exclude.Objects = []string{"kube-system/Pod/*", "kube-system/ConfigMap/*"}
	}
}

// ReadPolicy decodes a policy file strictly: an unknown field, rule or value is an error that names its line. All errors
// of a file are returned together, joined.
func ReadPolicy(data []byte) (*Policy, error) {
	p := &Policy{}
	var root yaml.Node
	switch err := yaml.Unmarshal(data, &root); {
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	case root.Kind == 0:
		return nil, fmt.Errorf("empty: write at least apiVersion: %s and kind: %s", PolicyVersion, PolicyKind)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(p); err != nil {
		return nil, fieldErrors(err)
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document: a policy file holds one")
	}
	if err := p.check(root.Content[0]); err != nil {
		return nil, err
	}
	p.setDefaults()
	return p, nil
}

var unknownField = regexp.MustCompile(`^line (\d+): field (\S+) not found in type `)

// fieldErrors rewrites the decoder's errors: it names Go types, which mean nothing to the reader.
func fieldErrors(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return errors.New(strings.TrimPrefix(err.Error(), "yaml: "))
	}
	var out []error
	for _, e := range te.Errors {
		if m := unknownField.FindStringSubmatch(e); m != nil {
			e = fmt.Sprintf("line %s: unknown field %q%s", m[1], m[2], Suggest(m[2], yamlFields(reflect.TypeFor[Policy]())))
		} else {
			e = goTypes.ReplaceAllString(e, "")
		}
		out = append(out, errors.New(e))
	}
	return errors.Join(out...)
}

var goTypes = regexp.MustCompile(`!!\w+ | into .*`)

func yamlFields(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer:
		return yamlFields(t.Elem())
	case reflect.Struct:
		var names []string
		for f := range t.Fields() {
			if tag := f.Tag.Get("yaml"); tag != "" {
				names = append(append(names, tag), yamlFields(f.Type)...)
			}
		}
		return names
	}
	return nil
}

// UnmarshalYAML reads "all" or a list of patterns.
func (h *HeadlessList) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if n.Value != "all" {
			return fmt.Errorf("line %d: services.headless %q must be a list of \"namespace/name\" patterns, or all", n.Line, n.Value)
		}
		h.All = true
		return nil
	}
	return n.Decode(&h.Patterns)
}

// UnmarshalYAML reads a level, or an object with level and mutate.
func (s *Setting) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return s.setLevel(n)
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: a rule's setting must be off, warn, deny, or {level: …, mutate: …}", n.Line)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch key.Value {
		case "level":
			if err := s.setLevel(value); err != nil {
				return err
			}
		case "mutate":
			b, err := strconv.ParseBool(value.Value)
			if err != nil {
				return fmt.Errorf("line %d: mutate %q must be true or false", value.Line, value.Value)
			}
			s.Mutate = &b
		default:
			return fmt.Errorf("line %d: unknown field %q%s", key.Line, key.Value, Suggest(key.Value, []string{"level", "mutate"}))
		}
	}
	return nil
}

func (s *Setting) setLevel(n *yaml.Node) (err error) {
	if s.Level, err = ParseLevel(n.Value); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	return nil
}

// check finds what decoding alone does not: wrong values, unknown rules.
func (p *Policy) check(root *yaml.Node) error {
	var errs []error
	bad := func(path Path, format string, args ...any) {
		errs = append(errs, fmt.Errorf("line %d: %s: %s", lineOf(root, path), path, fmt.Sprintf(format, args...)))
	}
	oneOf := func(path Path, v string, allowed ...string) {
		if v != "" && !slices.Contains(allowed, v) {
			bad(path, "%q must be one of %s%s", v, strings.Join(allowed, ", "), Suggest(v, allowed))
		}
	}
	if p.APIVersion != PolicyVersion {
		bad(Path{"apiVersion"}, "%q must be %s", p.APIVersion, PolicyVersion)
	}
	if p.Kind != PolicyKind {
		bad(Path{"kind"}, "%q must be %s", p.Kind, PolicyKind)
	}
	for i, f := range p.Cluster.Families {
		oneOf(Path{"cluster", "families", i}, f, "IPv4", "IPv6")
	}
	oneOf(Path{"cluster", "nodes"}, p.Cluster.Nodes, "IPv6", "DualStack")
	if a := p.Cluster.DNS.Address; a != "" && ipFamily(a) != "IPv6" {
		bad(Path{"cluster", "dns", "address"}, "%q is not an IPv6 address; give the clusterIP of the cluster DNS Service", a)
	}
	oneOf(Path{"services", "mode"}, p.Services.Mode, "SingleStack", "Headless", "Unchanged")
	oneOf(Path{"services", "whenHeadlessUnsafe"}, p.Services.WhenHeadlessUnsafe, "off", "warn", "deny")
	for i, g := range p.Services.Headless.Patterns {
		if strings.Count(g, "/") != 1 {
			bad(Path{"services", "headless", i}, "%q must be \"namespace/name\"; * stands for any characters", g)
		}
	}
	p.checkAPIServer(bad)
	oneOf(Path{"apiServer", "envFrom"}, p.APIServer.EnvFrom, "skip", "inject")
	oneOf(Path{"cluster", "cni"}, p.Cluster.CNI, "calico")
	for i := range p.Pools {
		p.checkPool(i, bad)
	}
	for id := range p.Rules {
		p.checkRule(Path{"rules", id}, id, bad)
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
		p.checkRule(at.With("rule"), e.Rule, bad)
		objects(at.With("objects"), e.Objects)
		if e.Owner == "" || e.Reason == "" || len(e.Objects) == 0 {
			bad(at, "an exception needs rule, objects, owner and reason")
		}
		if _, err := time.Parse(time.DateOnly, e.Until); e.Until != "" && err != nil {
			bad(at.With("until"), "%q must be a date like 2027-03-01", e.Until)
		}
	}
	for i, f := range p.ForbidOptOut {
		for j, id := range f.Rules {
			p.checkRule(Path{"forbidOptOut", i, "rules", j}, id, bad)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

type complain func(path Path, format string, args ...any)

func (p *Policy) checkRule(path Path, id string, bad complain) {
	ids := IDs()
	if !slices.Contains(ids, id) {
		bad(path, "unknown rule %q%s", id, Suggest(id, ids))
	}
}

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
	case ipFamily(host) == "" && !dnsName.MatchString(host):
		bad(at, "%q is neither a DNS name nor an IPv6 address; leave out scheme and port", host)
	}
	if host != "" && (p.APIServer.Port < 1 || p.APIServer.Port > 65535) {
		bad(Path{"apiServer", "port"}, "%d must be a port from 1 to 65535", p.APIServer.Port)
	}
}

func (p *Policy) checkPool(i int, bad complain) {
	pool, at := p.Pools[i], Path{"pools", i}
	if p.Cluster.CNI == "" {
		bad(at, "each CNI has annotations of its own; set cluster.cni: calico")
	}
	if len(pool.IPv6Pools)+len(pool.Addresses)+len(pool.IPFamilies) == 0 {
		bad(at, "gives nothing; set ipv6Pools, addresses or ipFamilies")
	}
	for j, v := range pool.IPv6Pools {
		if msg := calicoPool(v, "IPv6"); msg != "" {
			bad(at.With("ipv6Pools", j), "%q %s", v, msg)
		}
	}
	if len(pool.Addresses) > 1 {
		bad(at.With("addresses"), "%d addresses: a pod takes one IPv6 address; write one entry for each", len(pool.Addresses))
	}
	for j, v := range pool.Addresses {
		if a, err := netip.ParseAddr(v); err != nil || a.Zone() != "" || ipFamily(v) != "IPv6" {
			bad(at.With("addresses", j), "%q is not an IPv6 address", v)
		}
	}
	for j, v := range pool.IPFamilies {
		if v != "IPv6" {
			bad(at.With("ipFamilies", j), "%q must be IPv6", v)
		}
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
