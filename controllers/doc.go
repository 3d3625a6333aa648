// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers is the plumbing between the API server and what
// internal/policy and internal/grant decide.
//
//	AccessRequest ─► RequestReconciler: observe ─► grant.Next ─► act ─► record ─► announce
//	RoleBinding   ─► ExpiryReconciler:  past its deadline, or its request gone? ─► remove
//	AccessPolicy  ─► PolicyReconciler:  compile ─► Ready, risks
//
// ExpiryReconciler runs on every replica and waits for no informer but that of
// RoleBindings. Nothing that can go wrong with requests or policies delays it.
package controllers
