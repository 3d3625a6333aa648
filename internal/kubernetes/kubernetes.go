// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubernetes says on which versions of Kubernetes Lapse works.
package kubernetes

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/version"
)

// Versions, as docs/compatibility.md has them.
var (
	oldest = version.MustParseGeneric("1.31")
	stamps = version.MustParseGeneric("1.36")
)

// Supported returns an error that says why Lapse does not work on a server of that
// version, such as v1.30.14; nil if it does. One that cannot be read is not supported.
func Supported(gitVersion string) error {
	v, err := version.ParseGeneric(gitVersion)
	if err != nil {
		return fmt.Errorf("the version %q of the API server cannot be read: %w", gitVersion, err)
	}
	if v.LessThan(oldest) {
		return fmt.Errorf("kubernetes %s is too old: Lapse needs %s or newer, the first to find a custom resource by its fields "+
			"(field label spec.requestRef.uid), as the decisions on a request are found", gitVersion, oldest)
	}
	return nil
}

// Stamps says whether a server of that version has MutatingAdmissionPolicy in v1, by which
// it fills in who asks and who decides.
func Stamps(gitVersion string) bool {
	v, err := version.ParseGeneric(gitVersion)
	return err == nil && v.AtLeast(stamps)
}

// Overlay is the folder that installs all of Lapse on a server of that version.
func Overlay(gitVersion string) string { return Folder(Stamps(gitVersion)) }

// Folder is the same by whether the server has the kinds of the stamps.
func Folder(stamps bool) string {
	if stamps {
		return "config/default"
	}
	return "config/overlays/without-mutating"
}
