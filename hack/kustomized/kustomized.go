// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kustomized builds folders of config/ as kubectl apply -k does.
package kustomized

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kustomize/api/filters/imagetag"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// image is what config/ names.
const image = "ghcr.io/lapse-dev/lapse"

// Build has the objects of a folder with another image in them; with none, that of the
// folder stays.
func Build(folder, reference string) (resmap.ResMap, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // as kubectl does: a namespace before what is in it
	objects, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", folder, err)
	}
	if reference == "" {
		return objects, nil
	}
	to := types.Image{Name: image}
	to.NewName, to.NewTag, to.Digest = Split(reference)
	if to.NewTag == "" && to.Digest == "" {
		return nil, fmt.Errorf("the image %q has no tag and no digest; name it as %s:v0.1.0, or as %[2]s@sha256:…", reference, image)
	}
	return objects, objects.ApplyFilter(imagetag.LegacyFilter{ImageTag: to})
}

// Split takes a reference to an image apart. A colon in the name of the registry is a port.
func Split(reference string) (name, tag, digest string) {
	name, digest, _ = strings.Cut(reference, "@")
	if at := strings.LastIndex(name, ":"); at > strings.LastIndex(name, "/") {
		name, tag = name[:at], name[at+1:]
	}
	return name, tag, digest
}
