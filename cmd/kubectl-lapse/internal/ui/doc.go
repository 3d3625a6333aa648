// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ui serves pages to one person on this machine, and keeps everybody else out: other
// machines, other users of this one, and what else is open in the browser. It knows nothing of
// Lapse.
//
// A page is a tree of nodes, which golang.org/x/net/html writes: text and values of attributes
// are escaped because nothing else can be written. html/template escapes as well, but a template
// may name any method, so that the linker would have to keep all there are: the plugin would
// grow by 7.7 MB, more than a quarter.
package ui
