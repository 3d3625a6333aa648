// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package telling writes records of what was asked, decided, granted and ended, and tells people. It reads what
// is recorded in requests and decisions already, so nothing that gives or ends access waits
// for it, or knows it:
//
//	informers ──► inbox ──► Teller ──► book, with its chain ──► stdout, a file or a URL
//	                ▲                            │
//	                └─ what is newer is told ◄── checkpoint, once a minute
//	                   again after a start
//
// All of it is there once for each sink, so that none waits for another. A checkpoint says up to
// which resource versions a sink has all. So each record is delivered at least once, also after
// the operator was killed, and none costs a write.
//
// People are told by messengers, one for each receiver, from the same inbox and checkpoint; what
// they say is decided in internal/message. What is due at some moment comes again by the queue.
package telling
