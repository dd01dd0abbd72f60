package rules

// rookCeph judges the family of a Ceph cluster that Rook makes.
//
// Source: rook/rook, Documentation/CRDs/Cluster/ceph-cluster-crd.md (ipFamily, dualStack) and pkg/operator/ceph/config (an empty
// ipFamily is IPv4; the operator passes ms-bind-ipv4 and ms-bind-ipv6).
func rookCeph() *Rule {
	return &Rule{
		ID: "rook-ceph", Since: "v0.1.0", Level: Deny,
		Title:   "Ceph cluster of Rook binds IPv4",
		CEL:     &CEL{Never: auditAlone},
		Targets: auditOnly(Target{Group: "ceph.rook.io", Version: "v1", Resource: "cephclusters", Kind: "CephCluster", Operations: both}),
		Check:   checkRookCeph,
	}
}

func checkRookCeph(req *Request) []Finding {
	var out []Finding
	d := own(req, &out)
	if d.Map("spec") == nil || d.Bool("spec", "external", "enable") {
		return nil // its daemons run elsewhere
	}
	family, dual := d.Str("spec", "network", "ipFamily"), d.Bool("spec", "network", "dualStack")
	switch {
	case dual:
		d.report(Path{"spec", "network", "dualStack"}, Warn, "true: the daemons look for IPv4 addresses too; remove it and set ipFamily: IPv6")
	case family == "" && d.Map("spec", "network") == nil && d.Str("spec", "dataDirHostPath") == "" && d.Map("spec", "cephVersion") == nil:
		// a patch
	case family != "IPv6":
		path, value := Path{"spec", "network", "ipFamily"}, quote(family)
		if family == "" {
			value = "empty means IPv4"
		}
		d.report(path, None, value+": the daemons bind IPv4 only; set ipFamily: IPv6 before the cluster is created, it cannot be changed later")
	}
	for _, name := range []string{"public", "cluster"} {
		path := Path{"spec", "network", "addressRanges", name}
		for i, s := range d.Strings(path...) {
			if cidrFamily(s) == "IPv4" {
				d.report(path.With(i), None, quote(s)+" is IPv4, no daemon has an address in it; give the IPv6 range")
			}
		}
	}
	return out
}
