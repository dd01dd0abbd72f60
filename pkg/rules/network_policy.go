package rules

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	netutils "k8s.io/utils/net"
)

// networkPolicyIPv4 reports rules of network policies whose peers are IPv4 blocks only: no packet of the cluster matches them.
//
// Source: kubernetes.io/docs/concepts/services-networking/network-policies, "ipBlock"; projectcalico/calico,
// libcalico-go/lib/validator/v3/validator.go, validateRule (the nets of one rule have one family); docs.cilium.io, "Layer 3
// policies", CIDR.
func networkPolicyIPv4() *Rule {
	return &Rule{
		ID: "network-policy-ipv4", Since: "v0.1.0", Level: Warn,
		Title:   "Network policy names IPv4 blocks only",
		Targets: networkPolicies(),
		Check:   checkNetworkPolicyIPv4,
		CEL:     celNetworkPolicyIPv4(),
	}
}

// A peerBlock is one CIDR by which a policy selects peers.
type peerBlock struct {
	list   Path // the list that holds it
	i      int
	field  Path // of the CIDR below the element
	cidr   string
	except bool // not all of it is meant
}

func (b peerBlock) path() Path { return b.list.With(b.i).With(b.field...) }

// A peerRule is one rule of a policy, with the blocks of its peers.
type peerRule struct {
	path   Path
	blocks []peerBlock
	peers  []string // fields that hold peers, dotted; the rest of the rule is what it allows
	egress bool
	denies bool
	set    bool // not a rule, a named set of blocks
	single bool // may hold one family only
	// anyPeer: without a list of peers it matches all.
	anyPeer bool
	// open makes the rule match IPv6 as its block 0.0.0.0/0 matches IPv4; nil where that is not what was meant.
	open func(*Object)
}

func checkNetworkPolicyIPv4(req *Request) []Finding {
	var out []Finding
	found := ipv4Peers(req.Object)
	for _, r := range found {
		first := r.four()
		f := Finding{Path: first.path(), Subject: r.path.String(), Value: first.cidr}
		f.Message = r.message(req.Policy, first)
		if r.open != nil && len(found) <= maxOpened {
			f.Fix = openPeers
		}
		out = append(out, f)
	}
	return out
}

// maxOpened bounds the work: each repair reads the policy again.
const maxOpened = 50

// openPeers repairs all rules of a policy at once: a rule that is added moves those after it.
func openPeers(o *Object) {
	for _, r := range slices.Backward(ipv4Peers(o)) {
		if r.open != nil {
			r.open(o)
		}
	}
}

func (r *peerRule) message(p *Policy, first peerBlock) string {
	said, verb := quote(first.cidr), "matches"
	if n := len(r.blocks) - 1; n > 0 {
		said, verb = fmt.Sprintf("%s and %d more", said, n), "match"
	}
	prefix := cidrOf(first.cidr)
	switch {
	case r.denies:
		return said + " denies IPv4 only, IPv6 stays open; deny the IPv6 range too, or remove the rule"
	case isZero(first) && !r.set && first.except:
		return said + ` with exceptions matches no IPv6 address; add "::/0" with the IPv6 ranges to except`
	case isZero(first) && r.single:
		return said + ` ` + verb + ` no IPv6 address; add a rule for "::/0"`
	case isZero(first):
		return said + ` ` + verb + ` no IPv6 address; add "::/0" beside it`
	case r.egress:
		if v6 := translated(p, prefix.Addr().String()); v6 != "" {
			return fmt.Sprintf("%s %s no IPv6 address; add the IPv6 range of the peers, through NAT64 %q", said, verb, fmt.Sprintf("%s/%d", v6, 96+prefix.Bits()))
		}
	}
	return said + " " + verb + " no IPv6 address; add the IPv6 range of the same peers"
}

// four is the block that stands for the IPv4 ones: 0.0.0.0/0, else the first.
func (r *peerRule) four() peerBlock {
	if i := slices.IndexFunc(r.blocks, func(b peerBlock) bool { return isZero(b) && !b.except }); i >= 0 {
		return r.blocks[i]
	}
	return r.blocks[max(0, slices.IndexFunc(r.blocks, isZero))]
}

func isZero(b peerBlock) bool { return cidrOf(b.cidr) == netip.PrefixFrom(netip.IPv4Unspecified(), 0) }

// cidrOf reads a CIDR, or an address as a CIDR of one, as a masked prefix; the zero Prefix if it is none.
func cidrOf(s string) netip.Prefix {
	if addr, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen())
	}
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err == nil && prefix.Addr().Is4In6() && prefix.Bits() >= 96:
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	case err != nil: // leading zeros
		_, n, err := netutils.ParseCIDRSloppy(s)
		if err != nil || n.IP.To4() == nil {
			return netip.Prefix{}
		}
		bits, _ := n.Mask.Size()
		prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(n.IP.To4())), bits)
	}
	return prefix.Masked()
}

// ipv4Peers returns the rules of a policy that name peers by IPv4 blocks and by no IPv6 block, nor does another rule of the same
// direction that says the same.
func ipv4Peers(o *Object) []peerRule {
	var out []peerRule
	all := peerRules(o)
	var six map[string]bool
	for _, r := range all {
		if len(r.blocks) == 0 || slices.ContainsFunc(r.blocks, func(b peerBlock) bool { return !cidrOf(b.cidr).Addr().Is4() }) {
			continue
		}
		if six == nil {
			six = map[string]bool{}
			for _, s := range all {
				if s.anyPeer || slices.ContainsFunc(s.blocks, func(b peerBlock) bool { return cidrOf(b.cidr).Addr().Is6() }) {
					six[s.key(o)] = true
				}
			}
		}
		if len(six) == 0 || !six[r.key(o)] {
			if strings.Contains(r.four().cidr, ":") {
				r.open = nil // nothing makes a policy valid that has IPv4 in IPv6 form
			}
			out = append(out, r)
		}
	}
	return out
}

// key is all that a rule says but its peers, and where it stands.
func (r *peerRule) key(o *Object) string {
	rule := NewObject(o.Map(r.path...)).Copy()
	for _, field := range r.peers {
		var at Path
		for part := range strings.SplitSeq(field, ".") {
			at = append(at, part)
		}
		rule.Remove(at)
	}
	b, err := json.Marshal(rule.Root())
	if err != nil {
		return ""
	}
	return r.path[:max(len(r.path)-1, 0)].String() + string(b)
}

func peerRules(o *Object) []peerRule {
	switch o.Group() + "/" + o.Kind() {
	case "networking.k8s.io/NetworkPolicy":
		return append(kubernetesPeers(o, "ingress", "from"), kubernetesPeers(o, "egress", "to")...)
	case "crd.projectcalico.org/NetworkPolicy", "projectcalico.org/NetworkPolicy", "crd.projectcalico.org/GlobalNetworkPolicy", "projectcalico.org/GlobalNetworkPolicy":
		return append(calicoPeers(o, "ingress"), calicoPeers(o, "egress")...)
	case "crd.projectcalico.org/NetworkSet", "projectcalico.org/NetworkSet", "crd.projectcalico.org/GlobalNetworkSet", "projectcalico.org/GlobalNetworkSet":
		r := peerRule{path: Path{"spec"}, set: true, peers: []string{"nets"}, blocks: texts(o, Path{"spec", "nets"}, false)}
		if len(r.blocks) > 0 && isZero(r.four()) {
			r.open = beside(r.four(), "::/0")
		}
		return []peerRule{r}
	case "cilium.io/CiliumNetworkPolicy", "cilium.io/CiliumClusterwideNetworkPolicy":
		out := ciliumPeers(o, Path{"spec"})
		for i := range o.List("specs") {
			out = append(out, ciliumPeers(o, Path{"specs", i})...)
		}
		return out
	}
	return nil
}

func kubernetesPeers(o *Object, direction, peers string) []peerRule {
	var out []peerRule
	for i := range o.List("spec", direction) {
		r := peerRule{path: Path{"spec", direction, i}, peers: []string{peers}, egress: direction == "egress"}
		list := r.path.With(peers)
		r.anyPeer = o.Map(r.path...) != nil && len(o.List(list...)) == 0
		for j := range o.List(list...) {
			r.add(list, j, Path{"ipBlock", "cidr"}, o.Str(list.With(j, "ipBlock", "cidr")...), len(o.List(list.With(j, "ipBlock", "except")...)) > 0)
		}
		r.openBeside(map[string]any{"ipBlock": map[string]any{"cidr": "::/0"}})
		out = append(out, r)
	}
	return out
}

// calicoPeers: one rule cannot hold both families, so a rule that is opened gets a neighbour.
func calicoPeers(o *Object, direction string) []peerRule {
	var out []peerRule
	for i := range o.List("spec", direction) {
		r := peerRule{path: Path{"spec", direction, i}, egress: direction == "egress", single: true, peers: []string{"source.nets", "destination.nets", "ipVersion", "metadata"}}
		action := o.Str(r.path.With("action")...)
		r.denies = action == "Deny"
		plain := action == "Allow"
		for _, side := range []string{"source", "destination"} {
			not := len(o.List(r.path.With(side, "notNets")...)) > 0
			r.blocks = append(r.blocks, texts(o, r.path.With(side, "nets"), not)...)
			plain = plain && !not
		}
		// ICMP is IPv4 only, IPv6 has ICMPv6.
		protocol, _ := o.Get(r.path.With("protocol")...)
		if _, ok := o.Get(r.path.With("ipVersion")...); plain && !ok && protocol != "ICMP" && protocol != int64(1) && len(r.blocks) == 1 && isZero(r.blocks[0]) {
			block := r.blocks[0]
			r.open = func(o *Object) {
				six := NewObject(o.Map(r.path...)).Copy()
				six.Set(block.path()[len(r.path):], "::/0")
				o.Insert(r.path[:len(r.path)-1], i+1, six.Root())
			}
		}
		out = append(out, r)
	}
	return out
}

func ciliumPeers(o *Object, spec Path) []peerRule {
	var out []peerRule
	for _, d := range []struct{ list, field string }{
		{"ingress", "fromCIDR"}, {"ingressDeny", "fromCIDR"}, {"egress", "toCIDR"}, {"egressDeny", "toCIDR"},
	} {
		for i := range o.List(spec.With(d.list)...) {
			r := peerRule{path: spec.With(d.list, i), peers: []string{d.field, d.field + "Set"}, egress: d.field == "toCIDR", denies: strings.HasSuffix(d.list, "Deny")}
			r.blocks = texts(o, r.path.With(d.field), false)
			r.openBeside("::/0")
			set, group := r.path.With(d.field+"Set"), false
			for j := range o.List(set...) {
				if o.Str(set.With(j, "cidrGroupRef")...) != "" || o.Map(set.With(j, "cidrGroupSelector")...) != nil {
					group = true
				}
				r.add(set, j, Path{"cidr"}, o.Str(set.With(j, "cidr")...), len(o.List(set.With(j, "except")...)) > 0)
			}
			if r.open == nil {
				r.openBeside(map[string]any{"cidr": "::/0"})
			}
			if !group || len(r.blocks) > 0 && isZero(r.four()) { // else the group may hold the IPv6 ones
				out = append(out, r)
			}
		}
	}
	return out
}

// texts are the blocks of a list of strings.
func texts(o *Object, list Path, except bool) []peerBlock {
	var r peerRule
	for i, e := range o.List(list...) {
		if s, ok := e.(string); ok {
			r.add(list, i, nil, s, except)
		}
	}
	return r.blocks
}

func (r *peerRule) add(list Path, i int, field Path, cidr string, except bool) {
	if prefix := cidrOf(cidr); prefix.IsValid() && !(prefix.Addr().Is4() && prefix.Addr().IsLoopback()) {
		r.blocks = append(r.blocks, peerBlock{list, i, field, cidr, except})
	}
}

// openBeside adds an element beside 0.0.0.0/0, if all of it is allowed.
func (r *peerRule) openBeside(element any) {
	if len(r.blocks) > 0 && isZero(r.four()) && !r.four().except && !r.denies {
		r.open = beside(r.four(), element)
	}
}

func beside(b peerBlock, element any) func(*Object) {
	return func(o *Object) { o.Insert(b.list, b.i+1, element) }
}

func celNetworkPolicyIPv4() *CEL {
	return &CEL{
		Targets:     []Target{targetNetworkPolicy},
		Differences: []string{"Network policies of Kubernetes are judged, those of Calico and Cilium are not."},
		Write: func(a *Active, p *Policy) *Expressions {
			beyond := "''"
			if p.Cluster.NAT64.Prefix != "" {
				beyond = "r.direction == 'egress' && isCIDR(r.four.cidr) ?\n      [" + celTranslated(p, "string(cidr(r.four.cidr).masked().ip())") +
					"].map(t, t != '' ? ', through NAT64 \"' + t + '/' + string(96 + cidr(r.four.cidr).prefixLength()) + '\"' : '')[0] : ''"
			}
			return &Expressions{
				Variables: []Variable{
					{"rules", "['ingress', 'egress'].map(d, dyn($object).?spec[?d].orValue([]).transformList(i, r, {\n" +
						"    'path': dyn('spec.' + d + '[' + string(i) + ']'), 'direction': dyn(d), 'ports': dyn(r.?ports.orValue([])),\n" +
						"    'any': dyn(size(r[?(d == 'ingress' ? 'from' : 'to')].orValue([])) == 0),\n" +
						"    'blocks': dyn(r[?(d == 'ingress' ? 'from' : 'to')].orValue([]).transformList(j, b, {\n" +
						"        'path': dyn('spec.' + d + '[' + string(i) + (d == 'ingress' ? '].from[' : '].to[') + string(j) + '].ipBlock.cidr'),\n" +
						"        'cidr': dyn(b.?ipBlock.?cidr.orValue('')), 'except': dyn(size(b.?ipBlock.?except.orValue([])) > 0),\n" +
						"        'family': dyn([string(b.?ipBlock.?cidr.orValue(''))].map(v, v.matches('^0*127\\\\.') ? '' : " + celRangeFamily("v") + ")[0])}).filter(b, b.family != ''))})).flatten()"},
					// 0.0.0.0/0 stands for the others. A rule of the same direction and ports with IPv6 peers is the other half of a pair.
					{"four", "$rules.filter(r, size(r.blocks) > 0 && r.blocks.all(b, b.family == 'IPv4') &&\n" +
						"    !$rules.exists(s, s.direction == r.direction && s.ports == r.ports && (s.any || s.blocks.exists(b, b.family == 'IPv6'))))\n" +
						"  .map(r, {'path': dyn(r.path), 'direction': dyn(r.direction), 'more': dyn(size(r.blocks) - 1),\n" +
						"    'four': dyn((r.blocks.filter(b, b.cidr.endsWith('/0') && !b.except) + r.blocks.filter(b, b.cidr.endsWith('/0')) + r.blocks)[0])})"},
				},
				Faults: "$four.map(r, " + celFault(a.ID, "'"+celLevel(a)+"'", "r.four.path", "r.path", "r.four.cidr",
					celQuoted("string(r.four.cidr)")+" + (r.more > 0 ? ' and ' + string(r.more) + ' more' : '') +\n    "+
						"(r.four.cidr.endsWith('/0') && r.four.except ? ' with exceptions matches no IPv6 address; add \"::/0\" with the IPv6 ranges to except'\n    : "+
						"(r.more > 0 ? ' match' : ' matches') + ' no IPv6 address; add ' + (r.four.cidr.endsWith('/0') ? '\"::/0\" beside it'\n    : "+
						"["+beyond+"].map(t, t != '' ? 'the IPv6 range of the peers' + t : 'the IPv6 range of the same peers')[0]))") + ")",
			}
		},
	}
}
