// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package quickstart holds the garbage collector back while a short-lived program
// starts. What Kubernetes' packages allocate before main, to register their types, is
// just enough to start a first collection, which frees nothing and takes a fifth of
// the time that the program runs.
//
// Go initializes packages in the order of their import paths, after those that they
// import (the Go specification, "Program initialization"; as of Go 1.21). This one
// imports next to nothing, and its path is before those of google.golang.org and k8s.io.
package quickstart

import "runtime/debug"

// percent of the usual 4 MiB may be allocated until the first collection; and later,
// percent of what is live until the next.
const percent = 400

func init() { debug.SetGCPercent(percent) }
