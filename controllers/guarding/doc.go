// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guarding proves that the admission policies are in force. Nothing is granted while
// they are not, since then nothing proves what a request says of who asks.
package guarding
