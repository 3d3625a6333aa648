// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package policy answers one question: may this be granted? It is pure: it calls no
// server, reads no clock, and the same input has the same answer.
//
//	AccessPolicy ── Compile, once per generation ──► Compiled
//	                                                    │
//	AccessRequest, Namespace, now, Limits ──► Evaluate ─┴─► Decision
//	                                             │
//	                     refused whatever policies say: no requester, notAfter passed,
//	                     reserved namespace … ──────────────────────────► Denied
//	                                             │
//	                     requester, role, namespace: sets, a few compares
//	                        two of them differ ─────────► not mentioned
//	                        one of them differs ────────► a near miss
//	                                             │ all match
//	                     subject, duration, then CEL, then the roles (looked up last)
//	                        somebody allows ────────────► Allowed, fewest approvals first
//	                        only a role is missing ─────► RoleMissing, to be tried again
//	                        all object ─────────────────► Denied, with every objection
//	                     nothing matched ───────────────► NoMatchingPolicy
//
// Everything fails closed. An empty list matches nothing, a policy that does not
// compile allows nothing, an expression that fails or costs too much is false, and
// an error means that it could not be told, which is never a yes.
//
// Names of time zones in conditions need time/tzdata in images without zoneinfo:
// whoever links this package into a binary imports it.
package policy
