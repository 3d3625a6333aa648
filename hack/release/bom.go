// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"maps"
	"os"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// writeBOM lists in CycloneDX what one program is made of, on any of its platforms, by what its
// binaries say themselves.
func (r release) writeBOM(binaries []binary, path string) error {
	program := binaries[0].Path
	itself := component(cdx.ComponentTypeApplication, program, r.version)
	// A part of a module comes last.
	itself.PackageURL = purl(manager, r.version)
	if part, ok := strings.CutPrefix(program, manager+"/"); ok {
		itself.PackageURL += "#" + part
	}
	modules := map[string]cdx.Component{}
	for _, b := range binaries {
		std := component(cdx.ComponentTypeLibrary, "stdlib", strings.TrimPrefix(b.GoVersion, "go"))
		modules[std.BOMRef] = std
		for _, m := range b.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			c := component(cdx.ComponentTypeLibrary, m.Path, m.Version)
			modules[c.BOMRef] = c
		}
	}
	refs := slices.Sorted(maps.Keys(modules))
	parts := make([]cdx.Component, 0, len(refs))
	for _, ref := range refs {
		parts = append(parts, modules[ref])
	}
	bom := cdx.NewBOM()
	// Attesting asks for a number. This one follows from the release, and is no other's.
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceURL, []byte(itself.PackageURL+"@"+r.commit)).URN()
	bom.Metadata = &cdx.Metadata{Component: &itself}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{{Ref: itself.BOMRef, Dependencies: &refs}}
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func component(kind cdx.ComponentType, name, version string) cdx.Component {
	return cdx.Component{BOMRef: purl(name, version), Type: kind, Name: name, Version: version, PackageURL: purl(name, version)}
}

func purl(name, version string) string {
	return "pkg:golang/" + name + "@" + strings.ReplaceAll(version, "+", "%2B")
}
