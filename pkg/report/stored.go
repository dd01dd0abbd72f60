package report

import (
	"github.com/sixgate/sixgate/pkg/manifest"
	"github.com/sixgate/sixgate/pkg/rules"
)

// RepairsAgain is what the webhook does about a finding in an object that is stored already.
const RepairsAgain Repair = "the webhook repairs this when it is created again"

// NewStored returns an empty report on the objects of a cluster.
func NewStored() *Report {
	r := New()
	r.Summary.cluster = true
	return r
}

// Stored is the document of an object of a cluster. Its file is "namespace/Kind/name", as a policy names objects; it has no lines.
func Stored(o *rules.Object) *manifest.Document {
	file := o.Kind() + "/" + o.Name()
	if ns := o.Namespace(); ns != "" {
		file = ns + "/" + file
	}
	return &manifest.Document{File: file, Object: o}
}

// stored names an object of a cluster as the arguments of kubectl and of sixgate explain do.
func (a At) stored() string {
	who := a.Kind + "/" + a.Name
	if a.Namespace != "" {
		who += " -n " + a.Namespace
	}
	return Printable(who)
}
