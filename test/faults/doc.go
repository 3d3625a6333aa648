// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package faults breaks what lies between the operator and the API server, and looks
// at what the API server says of it afterwards.
//
//	manager binary ─► Proxy ─► kube-apiserver ─► audit log ─┐
//	      ▲             │                 └─► what there is ─┴─► Evaluate ─► violations
//	      └─ kill -9 ◄──┴── Fault: at this call, before it or after its commit
//
// The invariants are those of the design; see Evaluate. They are judged from the
// API server's state and its audit log alone, never from what the operator says of
// itself.
package faults
