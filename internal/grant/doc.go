// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package grant knows what happens next to an AccessRequest. It is pure: it has
// no client and reads no clock.
//
// Next asks its questions in the order of what must never wait:
//
//	final?      ──► nothing is granted again; a binding that is left goes
//	given?      ──► being deleted? over? binding gone or changed? policy
//	                withdrawn? ──► end it; otherwise keep it
//	not given?  ──► proven who asks? allowed? approved? is it time? are the policies
//	                in force, and do the clocks agree? ──► grant
//
// A RoleBinding carries its own end (v1alpha1.ExpiresAtAnnotation), and is the
// first trace of a grant: status follows it. Between the two an operator can be
// killed. So a grant that status does not know yet ends in three steps: the
// subjects are taken off the binding, status records the grant and its end, and
// only then does the binding go. Otherwise a second kill, after the deletion,
// would leave a request that looks as if it had never been granted, and it would
// be granted again.
package grant
