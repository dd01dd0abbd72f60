package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/coredns/caddy/caddyfile"
)

// dnsCorefile reports a CoreDNS that cannot answer the pods of an IPv6-only cluster for the rest of the world. What it binds is
// listen-dns' business.
//
// Source: CoreDNS plugin/dns64/README.md and setup.go, plugin/forward/README.md; RFC 6147.
func dnsCorefile() *Rule {
	return &Rule{
		ID: "dns-corefile", Since: "v0.1.0", Level: Warn, System: true,
		Title:   "CoreDNS has no DNS64, or asks IPv4 resolvers",
		CEL:     &CEL{Never: noParser},
		Targets: []Target{targetConfigMap},
		Check:   checkDNSCorefile,
	}
}

// maxCorefile bounds what is read: bytes, and zones and directives, which are compared with each other.
const (
	maxCorefile   = 1 << 20
	maxDirectives = 2000
)

func checkDNSCorefile(req *Request) []Finding {
	o := req.Object
	var out []Finding
	data := o.Map("data")
	for _, key := range sortedKeys(data) {
		override := strings.HasSuffix(key, ".override")
		text, _ := data[key].(string)
		if !strings.Contains(text, "forward") || !override && !strings.HasSuffix(key, ".server") && !strings.Contains(strings.ToLower(key), "corefile") {
			continue
		}
		path := Path{"data", key}
		blocks, lines := readCorefile(text, override), strings.SplitAfter(text, "\n")
		for _, b := range blocks {
			if fwd, ok := b.without64(req.Policy, blocks); ok {
				f := Finding{Path: path, Text: fwd.pos(lines), Subject: key, Value: "dns64 " + strings.Join(b.zones, " ")}
				directive := "dns64 " + req.Policy.Cluster.NAT64.Prefix
				f.Message = fmt.Sprintf(`%s has no dns64: IPv4-only hosts have no address, unless the resolvers synthesise one; add %q`, quote(strings.Join(b.zones, " ")), directive)
				if b.imports(blocks) {
					f.Message += " if no imported file does"
				} else if fwd.leads(lines) {
					f.Fix = func(o *Object) {
						if o.Str(path...) == text { // else the first of them has repaired all
							o.Set(path, addDNS64(text, override, req.Policy))
						}
					}
				}
				out = append(out, f)
			}
			for _, d := range b.directives {
				if f, ok := d.onlyIPv4(req.Policy); ok {
					f.Path, f.Text, f.Subject = path, d.pos(lines), key
					out = append(out, f)
				}
			}
		}
	}
	return out
}

// addDNS64 puts the directive before the forward of each block that needs it.
func addDNS64(text string, inside bool, p *Policy) string {
	lines := strings.SplitAfter(text, "\n")
	blocks := readCorefile(text, inside)
	at := map[int]bool{}
	for _, b := range blocks {
		if fwd, ok := b.without64(p, blocks); ok && !b.imports(blocks) && fwd.leads(lines) {
			at[fwd.line-1] = true
		}
	}
	var out strings.Builder
	for i, line := range lines {
		if at[i] {
			out.WriteString(line[:len(line)-len(strings.TrimLeft(line, " \t"))] + "dns64 " + p.Cluster.NAT64.Prefix)
			if strings.HasSuffix(line, "\r\n") {
				out.WriteByte('\r')
			}
			out.WriteByte('\n')
		}
		out.WriteString(line)
	}
	return out.String()
}

// A corefileBlock is one server block, or one snippet: "(name)".
type corefileBlock struct {
	zones      []string
	directives []corefileDirective
}

type corefileDirective struct {
	name string
	args []string
	line int
}

// readCorefile splits a Corefile into tokens; inside says that the text is the inside of a block. The parser is not used: it would
// read the files that a Corefile imports.
func readCorefile(text string, inside bool) []corefileBlock {
	if len(text) > maxCorefile || strings.Contains(text, "{{") {
		return nil
	}
	d := caddyfile.NewDispenser("Corefile", strings.NewReader(text))
	var out []corefileBlock
	var block corefileBlock
	depth, line, count := 0, 0, 0
	if inside {
		depth = 1
	}
	for d.Next() {
		first := d.Line() != line
		line = d.Line()
		switch t := d.Val(); {
		case t == "{":
			depth++
		case t == "}":
			if depth--; depth == 0 && !inside {
				out = append(out, block)
				block = corefileBlock{}
			} else if depth <= 0 {
				return nil
			}
		case depth == 0:
			for zone := range strings.SplitSeq(t, ",") {
				if zone != "" {
					block.zones = append(block.zones, zone)
				}
			}
			if count++; count > maxDirectives {
				return nil
			}
		case depth == 1 && first:
			block.directives = append(block.directives, corefileDirective{name: t, line: line})
			if count++; count > maxDirectives {
				return nil
			}
		case depth == 1 && len(block.directives) > 0:
			last := &block.directives[len(block.directives)-1]
			last.args = append(last.args, t)
		}
	}
	if inside {
		out = append(out, block)
	}
	return out
}

// without64 returns the directive by which a block asks resolvers for all names, where nothing synthesises AAAA records.
func (b *corefileBlock) without64(p *Policy, all []corefileBlock) (corefileDirective, bool) {
	if p.Cluster.NAT64.Prefix == "" || !slices.ContainsFunc(b.zones, isRootZone) {
		return corefileDirective{}, false
	}
	i := slices.IndexFunc(b.directives, func(d corefileDirective) bool { return d.name == "forward" && len(d.args) > 1 && d.args[0] == "." })
	if i < 0 || b.has64(all) {
		return corefileDirective{}, false
	}
	// A node-local cache asks CoreDNS, and a resolver with DNS64 has done it already.
	upstream := b.directives[i].args[1:]
	known := func(u string) bool {
		u = upstreamHost(u)
		return slices.Contains(p.Cluster.DNS.Resolvers, u) || slices.Contains(public64(), u) || u != "" && u == p.Cluster.DNS.Address
	}
	if !slices.ContainsFunc(upstream, func(u string) bool { return !known(u) }) || strings.HasPrefix(upstream[0], "__PILLAR__") {
		return corefileDirective{}, false
	}
	return b.directives[i], true
}

// public64 are the public resolvers that synthesise AAAA records with 64:ff9b::/96: Google's and Cloudflare's.
func public64() []string {
	return []string{"2001:4860:4860::6464", "2001:4860:4860::64", "2606:4700:4700::64", "2606:4700:4700::6400"}
}

func isRootZone(zone string) bool {
	_, rest, ok := strings.Cut(zone, "://")
	if !ok {
		rest = zone
	}
	return rest == "." || strings.HasPrefix(rest, ".:")
}

// has64 reports whether the block, or a snippet that it imports, has a dns64.
func (b *corefileBlock) has64(all []corefileBlock) bool {
	return slices.ContainsFunc(b.directives, func(d corefileDirective) bool {
		if d.name == "import" && len(d.args) > 0 {
			s := snippet(all, d.args[0])
			return s != nil && slices.ContainsFunc(s.directives, func(d corefileDirective) bool { return d.name == "dns64" })
		}
		return d.name == "dns64"
	})
}

// imports reports whether the block has parts in other files.
func (b *corefileBlock) imports(all []corefileBlock) bool {
	return slices.ContainsFunc(b.directives, func(d corefileDirective) bool {
		return d.name == "import" && (len(d.args) == 0 || snippet(all, d.args[0]) == nil)
	})
}

func snippet(all []corefileBlock, name string) *corefileBlock {
	for i := range all {
		if len(all[i].zones) == 1 && all[i].zones[0] == "("+name+")" {
			return &all[i]
		}
	}
	return nil
}

// onlyIPv4: all resolvers of a forward are IPv4 addresses.
func (d corefileDirective) onlyIPv4(p *Policy) (Finding, bool) {
	if d.name != "forward" || len(d.args) < 2 {
		return Finding{}, false
	}
	var hosts []string
	for _, u := range d.args[1:] {
		host := upstreamHost(u)
		if ipFamily(host) != "IPv4" || isLoopback(host) {
			return Finding{}, false
		}
		hosts = append(hosts, host)
	}
	if len(hosts) == 0 {
		return Finding{}, false
	}
	text := strings.Join(append([]string{"forward"}, d.args...), " ")
	f := Finding{Value: text, Message: quote(text) + " asks IPv4 addresses only, no pod reaches them; give IPv6 resolvers"}
	if r := p.Cluster.DNS.Resolvers; len(r) > 0 {
		f.Message = fmt.Sprintf("%s asks IPv4 addresses only, no pod reaches them; forward to %s", quote(text), r[0])
	} else if v6 := translated(p, hosts[0]); v6 != "" {
		f.Message = fmt.Sprintf("%s asks IPv4 addresses only, no pod reaches them; give IPv6 resolvers, or %s through NAT64", quote(text), v6)
	}
	return f, true
}

// upstreamHost is the address of an upstream: tls://9.9.9.9%dns.quad9.net, [2001:db8::1]:53.
func upstreamHost(u string) string {
	if _, rest, ok := strings.Cut(u, "://"); ok {
		u = rest
	}
	u, _, _ = strings.Cut(u, "%")
	return hostOf(u)
}

// leads reports whether the directive is the first word of its line.
func (d corefileDirective) leads(lines []string) bool {
	return d.line <= len(lines) && strings.HasPrefix(strings.TrimLeft(lines[d.line-1], " \t"), d.name)
}

func (d corefileDirective) pos(lines []string) TextPos {
	if d.line > len(lines) {
		return TextPos{d.line, 1}
	}
	return TextPos{d.line, 1 + max(0, strings.Index(lines[d.line-1], d.name))}
}
