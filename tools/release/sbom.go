package main

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// sbom writes the CycloneDX bill of materials of binaries: the modules that the linker recorded in each.
func (r release) sbom(name string, p platform, binaries ...*binary) error {
	components, dependencies := map[string]cdx.Component{}, []cdx.Dependency{}
	bom := cdx.NewBOM()
	bom.Components = &[]cdx.Component{}
	var on []string
	add := func(m *debug.Module) string {
		if m.Replace != nil {
			m = m.Replace
		}
		ref := "pkg:golang/" + m.Path + "@" + m.Version
		if _, ok := components[ref]; !ok {
			c := cdx.Component{BOMRef: ref, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: ref}
			if m.Sum != "" {
				c.Properties = &[]cdx.Property{{Name: "go.sum", Value: m.Sum}}
			}
			components[ref] = c
			*bom.Components = append(*bom.Components, c)
		}
		return ref
	}
	for _, b := range binaries {
		self := "pkg:golang/" + b.info.Path + "@" + r.source.version + "?goarch=" + p.arch + "&goos=" + p.os
		deps := []string{add(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(b.info.GoVersion, "go")})}
		for _, m := range b.info.Deps {
			deps = append(deps, add(m))
		}
		*bom.Components = append(*bom.Components, cdx.Component{
			BOMRef: self, Type: cdx.ComponentTypeApplication, Name: b.name, Version: r.source.version, PackageURL: self,
			Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		})
		dependencies = append(dependencies, cdx.Dependency{Ref: self, Dependencies: &deps})
		on = append(on, self)
	}
	whole := "sixgate:" + name + "@" + r.source.version
	dependencies = append([]cdx.Dependency{{Ref: whole, Dependencies: &on}}, dependencies...)
	bom.Dependencies = &dependencies
	bom.Metadata = &cdx.Metadata{
		Timestamp: r.source.time.Format("2006-01-02T15:04:05Z"),
		Component: &cdx.Component{BOMRef: whole, Type: cdx.ComponentTypeApplication, Name: name, Version: r.source.version},
	}
	// Not random: the same binaries have the same bill.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/sixgate/sixgate/"+whole)).URN()
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return fmt.Errorf("encode SBOM: %w", err)
	}
	return r.write(name+".cdx.json", out.Bytes())
}
