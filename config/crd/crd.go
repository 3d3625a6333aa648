// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package crd has the kinds of Lapse as they are installed.
package crd

import _ "embed"

// CustomResourceDefinitions, in YAML.
var (
	//go:embed bases/lapse.dev_accesspolicies.yaml
	AccessPolicies []byte
	//go:embed bases/lapse.dev_accessrequests.yaml
	AccessRequests []byte
)
