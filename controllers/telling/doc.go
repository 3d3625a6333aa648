// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package telling writes records of what was asked, decided, granted and ended. It reads what
// is recorded in requests and decisions already, so nothing that gives or ends access waits
// for it, or knows it:
//
//	informers ──► inbox ──► Teller ──► chain ──► a queue for each sink ──► stdout, file, HTTP
//	                ▲                                    │
//	                └── what is newer is told again ◄── checkpoint, once a minute
//
// A checkpoint says up to which resource versions all is delivered. So each record is
// delivered at least once, also after the operator was killed, and none costs a write.
package telling
