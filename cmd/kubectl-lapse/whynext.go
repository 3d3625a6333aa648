// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// next is what a person could do now.
func (s *story) next() []string {
	name := s.req.Name + " -n " + s.req.Namespace
	back := "as " + s.owners() + ": kubectl lapse return " + name
	switch s.req.Status.State {
	case v1alpha1.StatePending:
		return []string{messageOf(s.req), "to approve it, as one of these: kubectl lapse approve " + name, "to withdraw it, " + back}
	case v1alpha1.StateScheduled, v1alpha1.StateFailed:
		return []string{messageOf(s.req), "to withdraw it, " + back}
	case v1alpha1.StateActive:
		lines := []string{"to give it back, " + back}
		if by := s.enders(); len(by) > 0 {
			lines = append(lines, fmt.Sprintf("to take it away, as %s: kubectl lapse revoke %s --reason \"why\"", subjectsText(by), name))
		}
		return lines
	case v1alpha1.StateExpired, v1alpha1.StateReturned, v1alpha1.StateDenied, v1alpha1.StateRevoked:
		return nil
	default:
		return []string{"kubectl lapse doctor says whether the operator runs"}
	}
}

// owners are who may give back: who asked, and who gets it.
func (s *story) owners() string {
	asked, gets := requesterOf(s.req), grantee(s.req)
	if asked == gets || s.req.Spec.Subject == nil {
		return asked
	}
	return asked + " or " + gets
}

// enders are whose word ends the access, as far as the policy says and may be read.
func (s *story) enders() (by []v1alpha1.Subject) {
	if s.policy == nil {
		return nil
	}
	for _, rule := range s.policy.Spec.Approvals {
		by = append(by, rule.From...)
	}
	return append(by, s.policy.Spec.Revokers...)
}
