// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package build says what this binary was built from.
package build

import "runtime/debug"

// These are set by the linker; see the Makefile.
var (
	version string
	commit  string
)

// Version is that of the release, else of the module; "unknown" if it has neither.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Commit is the commit of the source, with "-dirty" after it if the source was not as
// committed; "unknown" if make did not build this.
func Commit() string {
	if commit == "" {
		return "unknown"
	}
	return commit
}
