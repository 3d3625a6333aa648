// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission holds the admission policies as they ship, so that the operator
// can hold those that are installed against them.
package admission

import "embed"

// Files are the manifests; each kustomization.yaml is among them.
//
//go:embed *.yaml stamps/*.yaml
var Files embed.FS
