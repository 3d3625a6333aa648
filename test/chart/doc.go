// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package chart tests the Helm chart by Helm as a library: what it renders is what
// kustomize builds from config/, values that mean nothing are refused, and a release is
// installed, upgraded, rolled back and removed on a real API server.
package chart
