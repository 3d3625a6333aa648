// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package binding knows what a managed RoleBinding says of itself: its name, its owner and
// its end. It is pure: it has no client and reads no clock. It knows no policy, so that
// what ends access cannot wait for one.
package binding
