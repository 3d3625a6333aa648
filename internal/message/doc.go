// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package message decides of what people are told, and in which words. It is pure:
//
//	request, decisions, policy, now ──► Of ──► messages ──► CloudEvent, Slack, Teams, alert, mail
//
// A message says how to decide, and carries no way to. What people wrote is text in it: of it no
// address, header or markup is made.
package message
