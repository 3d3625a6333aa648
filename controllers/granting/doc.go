// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package granting takes requests from asking to their record, and says of policies whether
// they are in force. It is the plumbing between the API server and what internal/policy and
// internal/grant decide.
//
//	AccessRequest ─► RequestReconciler: look ─► grant.Next ─► act ─► record ─► tell
//	AccessPolicy  ─► PolicyReconciler:  compile ─► Ready, risks
//
// It also ends what people or policies end. What ends at its time is up to
// controllers/ending, which waits for nothing here.
package granting
