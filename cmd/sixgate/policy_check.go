package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sixgate/sixgate/cmd/internal/live"
	"github.com/sixgate/sixgate/pkg/rules"
)

// A comparison is how a policy and a cluster differ. Only what the policy says is compared: what it leaves out is no difference.
type comparison struct {
	differences []string
	unknown     []string // what this cluster does not tell, whoever asks
	unread      []string // what the API server refused to tell, or failed to
}

func (c *comparison) differ(path, format string, args ...any) {
	c.differences = append(c.differences, path+": "+fmt.Sprintf(format, args...))
}

// known reports whether a fact is there to be compared with; f is of any Fact.
func known[T any](c *comparison, path string, f live.Fact[T]) bool {
	switch {
	case f.Err == nil:
		return true
	case f.Unread():
		c.unread = append(c.unread, path+": "+f.Err.Error())
	default:
		c.unknown = append(c.unknown, path+": "+f.Err.Error())
	}
	return false
}

func (c *comparison) compare(ctx context.Context, p *rules.Policy, cluster *live.Cluster) {
	if given := p.Cluster.Families; given != nil && known(c, "cluster.families", cluster.Families) && !slices.Equal(given, cluster.Families.Value) {
		c.differ("cluster.families", "%v; the cluster has %v (%s)", given, cluster.Families.Value, cluster.Families.Evidence)
	}
	if known(c, "cluster.nodes", cluster.Nodes) && p.Cluster.Nodes != cluster.Nodes.Value {
		c.differ("cluster.nodes", "%s; the cluster has %s (%s)", p.Cluster.Nodes, cluster.Nodes.Value, cluster.Nodes.Evidence)
	}
	if given := p.Cluster.CNI; given != "" && known(c, "cluster.cni", cluster.CNI) {
		switch found := cluster.CNI; {
		case found.Value.Name != given:
			c.differ("cluster.cni", "%s; the cluster has %s (%s)", given, found.Value.Name, found.Evidence)
		case found.Value.Deaf != "":
			c.differ("cluster.cni", "%s; its annotations have no effect: %s", given, found.Value.Deaf)
		}
	}
	if d := p.Cluster.DNS; d.Address != "" || d.Namespace != "kube-system" || d.Service != "kube-dns" {
		c.dns(cluster.DNSServiceAt(ctx, d.Namespace, d.Service), d)
	}
	if given, err := netip.ParsePrefix(p.Cluster.NAT64.Prefix); err == nil && known(c, "cluster.nat64.prefix", cluster.NAT64) {
		switch found := cluster.NAT64; {
		case !found.Value.IsValid(): // NAT64 works without DNS64 too
			c.unknown = append(c.unknown, "cluster.nat64.prefix: "+found.Evidence)
		case found.Value != given.Masked():
			c.differ("cluster.nat64.prefix", "%s; the cluster has %s (%s)", given, found.Value, found.Evidence)
		}
	}
	c.apiServer(ctx, p.APIServer, cluster)
	c.pools(p, cluster)
}

func (c *comparison) dns(found live.Fact[live.DNSService], d rules.DNS) {
	switch v := found.Value; {
	case found.Unread():
		known(c, "cluster.dns", found)
	case found.Err != nil:
		c.differ("cluster.dns.service", "%s", found.Err)
	case d.Address == "":
	case v.IPv6 == "":
		c.differ("cluster.dns.address", "%s; Service %s/%s has no IPv6 address", d.Address, v.Namespace, v.Name)
	case !sameAddress(d.Address, v.IPv6):
		c.differ("cluster.dns.address", "%s; Service %s/%s has %s", d.Address, v.Namespace, v.Name, v.IPv6)
	}
}

func sameAddress(a, b string) bool {
	x, errA := netip.ParseAddr(a)
	y, errB := netip.ParseAddr(b)
	return errA == nil && errB == nil && x == y
}

func (c *comparison) apiServer(ctx context.Context, given rules.APIServer, cluster *live.Cluster) {
	if given.Host == "" {
		return
	}
	if known(c, "apiServer.host", cluster.Certificate) && !cluster.CertificateCovers(ctx, given.Host) {
		c.differ("apiServer.host", "%s is not in the API server's certificate, which names %s", given.Host, some(cluster.CertificateNames()))
	}
	// Of other hosts the port is not known: a load balancer may stand before it.
	if at, err := live.ServerHost(cluster.Server); err == nil && strings.EqualFold(at.Host, given.Host) && at.Port != given.Port {
		c.differ("apiServer.port", "%d; the kubeconfig dials %d on this host", given.Port, at.Port)
	}
}

func (c *comparison) pools(p *rules.Policy, cluster *live.Cluster) {
	var pools []live.Pool
	for _, pool := range cluster.Pools {
		if pool.CNI == p.Cluster.CNI && !pool.LoadBalancer {
			pools = append(pools, pool)
		}
	}
	for i, entry := range p.Pools {
		at := fmt.Sprintf("pools[%d]", i)
		if len(entry.IPv6Pools)+len(entry.Addresses) == 0 {
			continue
		}
		if i := slices.IndexFunc(cluster.PoolErrs, func(e live.PoolError) bool { return e.CNI == p.Cluster.CNI || e.CNI == "*" }); i >= 0 {
			c.unread = append(c.unread, at+": "+cluster.PoolErrs[i].Err.Error())
			continue
		}
		for j, value := range entry.IPv6Pools {
			c.pool(fmt.Sprintf("%s.ipv6Pools[%d]", at, j), value, pools)
		}
		for j, value := range entry.Addresses {
			if a, err := netip.ParseAddr(value); err == nil && p.Cluster.CNI == "calico" && !slices.ContainsFunc(pools, func(pool live.Pool) bool {
				prefix, err := pool.Prefix()
				return err == nil && prefix.Contains(a)
			}) {
				c.differ(fmt.Sprintf("%s.addresses[%d]", at, j), "%s is in no IPv6 pool of the cluster; it has %s", value, poolNames(pools))
			}
		}
	}
}

// pool holds one pool of the policy, a name or a whole CIDR, against those of the cluster.
func (c *comparison) pool(path, value string, pools []live.Pool) {
	i := slices.IndexFunc(pools, func(p live.Pool) bool {
		given, err := netip.ParsePrefix(value)
		prefix, e := p.Prefix()
		return p.Name == value || err == nil && e == nil && prefix == given.Masked()
	})
	switch {
	case i < 0:
		c.differ(path, "there is no pool %s in the cluster; it has %s", value, poolNames(pools))
	case len(pools[i].IPv6) == 0:
		c.differ(path, "%s %s has no IPv6 addresses", pools[i].Kind, pools[i].Name)
	case pools[i].Unusable != "":
		c.differ(path, "%s %s: %s", pools[i].Kind, pools[i].Name, pools[i].Unusable)
	}
}

func poolNames(pools []live.Pool) string {
	var names []string
	for _, p := range pools {
		if len(p.IPv6) > 0 {
			names = append(names, fmt.Sprintf("%s (%s)", p.Name, some(p.IPv6)))
		}
	}
	return some(names)
}

// someLimit is how many elements of a list a line shows.
const someLimit = 8

// some writes the beginning of a list.
func some(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return few(list, someLimit)
}

// few names so many words and counts the others.
func few(words []string, limit int) string {
	if n := len(words) - limit; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(words[:limit], ", "), n)
	}
	return strings.Join(words, ", ")
}
