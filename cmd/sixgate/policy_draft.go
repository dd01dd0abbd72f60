package main

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/report"
	"github.com/sixgate/sixgate/pkg/rules"
)

// A drafter writes a policy file. What is true of the cluster becomes a value; what is its owner's choice becomes a line that begins with
// # and no space, to be uncommented.
type drafter struct{ b strings.Builder }

// note writes a comment. Whatever the cluster's objects say stays a comment: no control character ends its line.
func (d *drafter) note(indent, format string, args ...any) {
	text := report.Printable(strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " "))
	d.b.WriteString(indent + "# " + text + "\n")
}

// line writes a value.
func (d *drafter) line(format string, args ...any) { fmt.Fprintf(&d.b, format+"\n", args...) }

// quote makes a text a YAML scalar on one line, with quotes only where they may be needed.
func quote(s string) string {
	for _, r := range s {
		if !(r == '-' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return jsonQuote(s)
		}
	}
	if s == "" || !(s[0] >= 'a' && s[0] <= 'z') || len(s) < 6 { // no number, no date, none of yes, no, on, off, null, true and false
		return jsonQuote(s)
	}
	return s
}

func jsonQuote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(text)
}

func quotes(list []string) string {
	var out []string
	for _, s := range list {
		out = append(out, quote(s))
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// loads reports whether the reader of policies takes these lines: it knows which CNIs have annotations, and their pools.
func loads(lines string) bool {
	_, err := rules.ReadPolicy([]byte("apiVersion: " + rules.PolicyVersion + "\nkind: " + rules.PolicyKind + "\n" + lines + "\n"))
	return err == nil
}

// draft writes the policy of a cluster. It never fails because something is not known; an error is a draft that would not load.
func draft(c *live.Cluster) (string, error) {
	d := &drafter{}
	d.note("", "Drafted by sixgate policy init --cluster from %s (Kubernetes %s).", c.Server, c.Version)
	d.note("", "A line that begins with # and no space is a choice: remove the # to make it. Every field: docs/policy.md")
	d.line("apiVersion: %s\nkind: %s\n", rules.PolicyVersion, rules.PolicyKind)
	d.note("", `What is true of this cluster. "sixgate policy check --cluster FILE" says when it no longer is.`)
	d.line("cluster:")
	d.families(c)
	d.nodes(c)
	d.cni(c)
	d.dns(c)
	d.nat64(c)
	d.line("")
	d.proxy(c)
	d.apiServer(c)
	d.pools(c)
	text := d.b.String()
	if _, err := rules.ReadPolicy([]byte(text)); err != nil {
		return "", fmt.Errorf("draft policy: %w", oneLineError(err))
	}
	return text, nil
}

func (d *drafter) families(c *live.Cluster) {
	f := c.Families
	if f.Err != nil || len(f.Value) == 0 {
		d.note("  ", "Families of Services: not known: %v", f.Err)
		d.line("  #families: [IPv6]")
		return
	}
	d.note("  ", "%s", f.Evidence)
	if len(f.Value) != 1 || f.Value[0] != "IPv6" {
		d.note("  ", "No rule is active on this cluster: it is not IPv6-only.")
	}
	d.line("  families: %s", "["+strings.Join(f.Value, ", ")+"]")
}

func (d *drafter) nodes(c *live.Cluster) {
	if c.Nodes.Err != nil {
		d.note("  ", "Families of nodes: not known: %v", c.Nodes.Err)
		d.line("  #nodes: DualStack")
		return
	}
	d.note("  ", "%s", c.Nodes.Evidence)
	d.line("  nodes: %s", c.Nodes.Value)
}

func (d *drafter) cni(c *live.Cluster) {
	switch v := c.CNI.Value; {
	case c.CNI.Err != nil:
		d.note("  ", "CNI: not known: %v", c.CNI.Err)
	case !loads("cluster: {cni: " + quote(v.Name) + "}"):
		d.note("  ", "CNI: %s (%s); Sixgate knows no annotations of it.", v.Name, c.CNI.Evidence)
	case v.Deaf != "":
		d.note("  ", "CNI: %s (%s), left out: %s", v.Name, c.CNI.Evidence, v.Deaf)
	default:
		d.note("  ", "CNI: %s", c.CNI.Evidence)
		d.line("  cni: %s", quote(v.Name))
	}
	const multus = "multus: true"
	if c.Multus.Err == nil && c.Multus.Value && loads("cluster: {"+multus+"}") {
		d.note("  ", "%s", c.Multus.Evidence)
		d.line("  " + multus)
	}
}

func (d *drafter) dns(c *live.Cluster) {
	v := c.DNS.Value
	if c.DNS.Err != nil {
		d.note("  ", "Cluster DNS Service: not known: %v", c.DNS.Err)
		return
	}
	d.note("  ", "Service %s/%s (%s)", v.Namespace, v.Name, c.DNS.Evidence)
	d.line("  dns:\n    namespace: %s\n    service: %s", quote(v.Namespace), quote(v.Name))
	if v.IPv6 != "" {
		d.line("    address: %s", jsonQuote(v.IPv6))
	} else {
		d.note("    ", "It has no IPv6 address: its cluster IP is %s.", v.IPv4)
	}
}

func (d *drafter) nat64(c *live.Cluster) {
	switch f := c.NAT64; {
	case f.Err != nil:
		d.note("  ", "NAT64: not known: %v", f.Err)
		d.note("  ", "In a pod of the cluster: getent ahostsv6 ipv4only.arpa. The resolver of another machine tells of that machine's network.")
		d.line(`  #nat64: {prefix: "64:ff9b::/96"}`)
	case !f.Value.IsValid():
		d.note("  ", "NAT64: DNS gives no sign of it: %s", f.Evidence)
	case f.Value.Bits() != 96:
		d.note("  ", "NAT64: prefix %s (%s), left out: the policy takes prefixes of 96 bits", f.Value, f.Evidence)
	default:
		d.note("  ", "%s. Whether a NAT64 gateway answers, and whether nodes translate IPv4 literals (clat), is not seen.", f.Evidence)
		d.line("  nat64: {prefix: %s}", jsonQuote(f.Value.String()))
	}
}

func (d *drafter) proxy(c *live.Cluster) {
	switch f := c.Proxy; {
	case f.Err != nil:
		d.note("", "What routes the cluster IPs of Services: not known: %v", f.Err)
	case f.Value == "":
		d.note("", "What routes the cluster IPs of Services: nothing was found (%s).", f.Evidence)
		d.note("", "If that is so, Services must be headless, and pods need another address of the API server (below).")
		d.line("#services: {mode: Headless}")
	default:
		d.note("", "What routes the cluster IPs of Services: %s (%s).", f.Value, f.Evidence)
	}
	d.line("")
}

func (d *drafter) apiServer(c *live.Cluster) {
	if c.Certificate.Err != nil {
		d.note("", "The API server's certificate: not known: %v", c.Certificate.Err)
	}
	if c.Certificate.Value != nil {
		d.note("", "The certificate %s names %s.", c.Certificate.Evidence, some(c.CertificateNames()))
	}
	d.note("", "With apiServer the webhook gives pods this host in place of the cluster IP. Clients accept only what the certificate names.")
	at := c.Host.Value
	if c.Host.Err == nil {
		line := fmt.Sprintf("apiServer: {host: %s, port: %d}", jsonQuote(at.Host), at.Port)
		if loads(line) {
			d.note("", "%s: %s.", net.JoinHostPort(at.Host, strconv.Itoa(at.Port)), c.Host.Evidence)
			d.line("#%s", line)
			return
		}
	} else {
		d.note("", "None to propose: %v.", c.Host.Err)
	}
}

// maxPools is how many pools a draft shows.
const maxPools = 50

func (d *drafter) pools(c *live.Cluster) {
	var pods, services []live.Pool
	for _, p := range c.Pools {
		if p.LoadBalancer {
			services = append(services, p)
		} else {
			pods = append(pods, p)
		}
	}
	if len(c.Pools)+len(c.PoolErrs) == 0 {
		return
	}
	d.line("")
	for _, err := range c.PoolErrs {
		d.note("", "Pools: not read: %v", err.Err)
	}
	d.podPools(c, pods)
	if len(services) > 0 {
		d.note("", "Addresses of LoadBalancer Services:")
	}
	for i, p := range services {
		switch {
		case i == maxPools:
			d.note("", "- and %d more", len(services)-maxPools)
		case i > maxPools:
		case len(p.IPv6) == 0:
			d.note("", "- %s %s: no IPv6 addresses", p.Kind, p.Name)
		default:
			d.note("", "- %s %s: %s", p.Kind, p.Name, some(p.IPv6))
		}
	}
}

// podPools proposes an entry for each pool that pods can be given; which pods, only the cluster's owner knows.
func (d *drafter) podPools(c *live.Cluster, pools []live.Pool) {
	if len(pools) == 0 {
		return
	}
	d.note("", "Pools for pods. An entry gives the pods of its namespaces addresses of one pool; write the namespaces.")
	others := func(p live.Pool) int { // pools of other CNIs come last
		if p.CNI == c.CNI.Value.Name {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(pools, func(a, b live.Pool) int { return others(a) - others(b) })
	head := false
	for i, p := range pools {
		if i == maxPools {
			d.note("", "- and %d more", len(pools)-maxPools)
			break
		}
		value := p.Name
		if prefix, err := p.Prefix(); err == nil && p.CNI == "calico" {
			value = prefix.String() // every version of Calico reads it
		}
		entry := fmt.Sprintf("- {namespaces: [NAMESPACE], ipv6Pools: %s}", quotes([]string{value}))
		switch {
		case len(p.IPv6) == 0:
			d.note("", "- %s %s: no IPv6 addresses", p.Kind, p.Name)
		case p.Unusable != "":
			d.note("", "- %s %s: %s; %s", p.Kind, p.Name, some(p.IPv6), p.Unusable)
		case c.CNI.Err != nil || c.CNI.Value.Name != p.CNI || c.CNI.Value.Deaf != "" || !loads("cluster: {cni: "+quote(p.CNI)+"}\npools:\n"+entry):
			d.note("", "- %s %s: %s", p.Kind, p.Name, some(p.IPv6))
		default:
			if !head {
				d.line("#pools:")
				head = true
			}
			d.note("", "%s %s: %s", p.Kind, p.Name, some(p.IPv6))
			d.line("#%s", entry)
		}
	}
}
