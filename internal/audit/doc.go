// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit knows what is a record and what is a chain of them. It is pure: it has no
// client and reads no clock.
//
// What a request and its decisions say tells all that happened to it:
//
//	asked ──► approved, denied, revoked (each decision) ──► refused
//	                                                    └─► granted ──► role changed ──► ended
//
// and each of that is one Record, with an ID that is the same whoever tells it, and however
// often. A Chain links the records of one writer, and Verify finds what was changed in them.
package audit
