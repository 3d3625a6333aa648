// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ending ends access at its deadline, on every replica. It needs the RoleBinding
// alone: it can import nothing that knows requests, policies or admission, so that nothing
// that goes wrong with those delays an end.
//
//	RoleBinding ─► Reconciler: past its deadline, or its request gone? ─► internal/unbind
//	     │
//	     ├─► seats:   attempts that hang have seats of their own
//	     ├─► sweeper: what timers missed, every 15 s
//	     └─► escaped: what lost its labels or was made to last
package ending
