// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ui has people look at kubectl lapse ui in headless Chromium, each with his own
// browser and kubeconfig, against a real API server and the built manager and plugin.
package ui
