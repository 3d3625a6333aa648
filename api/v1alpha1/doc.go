// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the API of Lapse: an AccessRequest asks for a role in its
// namespace, for a time and a reason; an AccessPolicy says who gets what.
//
// A request moves through these states and never leaves a right-hand one:
//
//	          ┌─────────► Scheduled ──┐
//	Pending ──┤                       ├──► Active ──► Expired | Returned | Revoked
//	          └──► Failed (retried) ──┘
//	Pending | Scheduled ─────────────────────────────► Denied
//
// Times and durations are checked more strictly by the schema than the formats
// date-time and duration would: those accept spellings that metav1.Time and
// metav1.Duration cannot decode, and one such object in etcd would stop every
// typed informer on the kind.
//
// +kubebuilder:object:generate=true
// +groupName=lapse.dev
package v1alpha1
