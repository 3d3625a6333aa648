// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package receiver reads from a file who is told of what, and sends one message in one attempt.
// It keeps nothing and tries nothing again.
package receiver
