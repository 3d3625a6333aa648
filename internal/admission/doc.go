// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package admission says when the admission policies were in force. It is told what was
// seen: it has no client and no clock.
//
//	Shipped ─► Compare with what is installed ─► Look ─► Record ─► State
//
// The policies prove who asks and who decides. Stamps (MutatingAdmissionPolicies) only
// write it for people; they may be missing, and prove nothing.
package admission
