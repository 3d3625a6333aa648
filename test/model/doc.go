// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model explores what may happen to a request: every order, within bounds, of
// API calls, crashes, lost answers, stale caches, edits by people and passing time.
//
// The reconcilers are the real ones, and so is all that they call. What is modelled is
// what is around them: an API server with its rules (world_test.go, server_test.go),
// the caches of two replicas, and people (people_test.go). A reconciler runs until its
// next call to the API server. There it is stopped; what the model keeps of it is
// the answers that it had so far (replica_test.go). To go on, it is run again from its
// beginning and given the same answers. So a state can be stored, compared and left in
// several directions, and a crash may come before or after every call.
//
//	state ──┬── a replica makes its next call: it succeeds, or its request or
//	        │   its answer is lost
//	        ├── a cache catches up · a replica is killed · time passes
//	        └── people decide, edit, delete · the garbage collector deletes
//
// Every state is held against the invariants (oracle_test.go). They are about what is
// on the API server, and use nothing of the code that they check.
//
// What the operator reads at once is read here one after the other, in the order of the
// scenario: a run could not be repeated else.
//
// What is not modelled: clocks that differ, and the lease. Both replicas may believe at
// any time that they lead; see late in oracle_test.go for what follows.
package model
