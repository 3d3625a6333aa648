// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

func TestRoleChange(t *testing.T) {
	var (
		grew    = policy.RoleChange{Reason: v1alpha1.ReasonRoleGrew, Message: "it grew"}
		revokes = policy.RoleChange{Reason: v1alpha1.ReasonRoleGrew, Message: "it grew", Revokes: true}
		down    = errors.New("no answer")
	)
	for name, tc := range map[string]struct {
		change          policy.RoleChange
		roleErr, objErr error
		objections      []string
		now             time.Time
		bindingGone     bool
		action          Action
		reason          string // of an end
		says            string // of the role, "-" when nothing
		fails           bool
	}{
		"none: nothing is to be said of it":            {action: Nothing, says: ""},
		"grew, reported: goes on":                      {change: grew, action: Nothing, says: v1alpha1.ReasonRoleGrew},
		"grew, and it revokes: ended":                  {change: revokes, action: Delete, reason: v1alpha1.ReasonRoleChanged, says: "-"},
		"cannot be read: goes on, and said is nothing": {roleErr: down, action: Nothing, says: "-", fails: true},
		"cannot be read, at the deadline: ended": {
			roleErr: down, now: noon.Add(10 * time.Minute), action: Delete, reason: v1alpha1.ReasonExpired, says: "-",
		},
		"the policy cannot be asked: ended by the role": {
			change: revokes, objErr: down, action: Delete, reason: v1alpha1.ReasonRoleChanged, says: "-",
		},
		"the policy cannot be asked: said of the role all the same": {
			change: grew, objErr: down, action: Nothing, says: v1alpha1.ReasonRoleGrew, fails: true,
		},
		"the policy objects, too: that comes first": {
			change: revokes, objections: []string{"no"}, action: Delete, reason: v1alpha1.ReasonPolicyWithdrawn, says: "-",
		},
		"the deadline comes first": {
			change: revokes, now: noon.Add(10 * time.Minute), action: Delete, reason: v1alpha1.ReasonExpired, says: "-",
		},
		"nobody is blamed for a binding that is gone by the role": {
			change: revokes, bindingGone: true, action: Delete, reason: v1alpha1.ReasonRoleChanged, says: "-",
		},
		"the role cannot be read, and the binding is gone: nobody": {roleErr: down, bindingGone: true, action: Nothing, says: "-", fails: true},
		"the policy cannot be, and the binding is gone: nobody":    {objErr: down, bindingGone: true, action: Nothing, says: "", fails: true},
		"it is gone, and that is past its end: expired": {
			roleErr: down, bindingGone: true, now: noon.Add(10 * time.Minute), action: Delete, reason: v1alpha1.ReasonExpired, says: "-",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req, b := active(t)
			j := judge(allows)
			j.Objections = func(v1alpha1.Grant) ([]string, error) { return tc.objections, tc.objErr }
			j.RoleChange = func(v1alpha1.Grant) (policy.RoleChange, error) { return tc.change, tc.roleErr }
			seen := Observed{Admission: inForce, Binding: b}
			if tc.bindingGone {
				seen.Binding = nil
			}
			if tc.now.IsZero() {
				tc.now = noon
			}
			step, err := Next(tc.now, req, j, seen, settings)
			if (err != nil) != tc.fails {
				t.Fatalf("err = %v", err)
			}
			state := v1alpha1.RequestState("")
			switch tc.reason {
			case "":
			case v1alpha1.ReasonExpired:
				state = v1alpha1.StateExpired
			default:
				state = v1alpha1.StateRevoked
			}
			check(t, step, tc.action, state, tc.reason)
			if says := saidOfRole(step); says != tc.says {
				t.Errorf("says of the role %q, want %q", says, tc.says)
			}
		})
	}
}

func saidOfRole(step Step) string {
	if step.Role == nil {
		return "-"
	}
	return step.Role.Reason
}

func TestARevocationByRoleNamesWhatIsNewAndThePolicy(t *testing.T) {
	req, b := active(t)
	j := judge(allows)
	j.RoleChange = func(v1alpha1.Grant) (policy.RoleChange, error) {
		return policy.RoleChange{Reason: v1alpha1.ReasonRoleGrew, Message: "it allows more: get on secrets", Revokes: true}, nil
	}
	step, err := Next(noon, req, j, Observed{Admission: inForce, Binding: b}, settings)
	if err != nil {
		t.Fatal(err)
	}
	if want := "it allows more: get on secrets; policy oncall says onRoleChange: Revoke"; step.Outcome.Message != want {
		t.Errorf("message = %q, want %q", step.Outcome.Message, want)
	}
}

func TestAGrantKeepsTheRoleThatItWasDecidedBy(t *testing.T) {
	role := policy.Role{UID: "r1", Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}
	d := allows
	d.Role = role
	step := next(t, noon, request(), d, Observed{Admission: inForce})
	if got := step.Outcome.Grant.Role; got == nil || got.UID != "r1" || got.Digest != role.Digest() || len(got.Rules) == 0 {
		t.Errorf("role = %+v", got)
	}
	req, b := active(t)
	req.Status = v1alpha1.AccessRequestStatus{}
	adopted := next(t, noon, req, d, Observed{Admission: inForce, Binding: b})
	check(t, adopted, Nothing, v1alpha1.StateActive, v1alpha1.ReasonGranted)
	if got := adopted.Outcome.Grant.Role; got == nil || got.Digest != role.Digest() {
		t.Errorf("role of a grant found after a kill = %+v", got)
	}
}
