// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/builders"
)

// refusedAt is a request that was refused.
func refusedAt(at time.Time) *v1alpha1.AccessRequest {
	req := request()
	req.Status.State = v1alpha1.StateDenied
	req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, LastTransitionTime: metav1.NewTime(at)}}
	return req
}

func TestWhatNeverHeldAnythingStaysForADay(t *testing.T) {
	seen := Observed{Admission: inForce}
	check(t, next(t, noon.Add(refusedRetention-time.Second), refusedAt(noon), allows, seen), Nothing, "", "")
	check(t, next(t, noon.Add(refusedRetention), refusedAt(noon), allows, seen), Forget, "", "")
	tracked := refusedAt(noon)
	tracked.Labels = map[string]string{gitOpsMarks[0]: "x"}
	check(t, next(t, noon.Add(refusedRetention), tracked, allows, seen), Nothing, "", "")
	for _, tc := range []struct {
		retention time.Duration
		want      Action
	}{{0, Nothing}, {time.Hour, Forget}} {
		set := Settings{MaxDuration: time.Hour, Retention: tc.retention}
		step, err := Next(noon.Add(time.Hour), refusedAt(noon), judge(allows), seen, set)
		if err != nil || step.Action != tc.want {
			t.Errorf("retention %s: %s, %v, want %s", tc.retention, step.Action, err, tc.want)
		}
	}
}

func TestARefusedRequestGoesWhenItsAuthorGivesItBack(t *testing.T) {
	by := func(who string) Observed {
		d := decided(who, v1alpha1.VerdictRevoke)
		return Observed{Admission: inForce, Decisions: []v1alpha1.AccessDecision{d}}
	}
	check(t, next(t, noon, refusedAt(noon), allows, by("alice")), Forget, "", "")
	check(t, next(t, noon, refusedAt(noon), allows, by("bob")), Nothing, "", "")
	tracked := refusedAt(noon)
	tracked.Labels = map[string]string{gitOpsMarks[0]: "x"}
	check(t, next(t, noon, tracked, allows, by("alice")), Forget, "", "")
	check(t, next(t, noon, tracked, allows, by("bob")), Nothing, "", "")
	denied := refusedAt(noon)
	denied.Status.Conditions[0].Message = deniedBy + `"carol"`
	check(t, next(t, noon, denied, allows, by("alice")), Nothing, "", "")
	check(t, next(t, noon.Add(refusedRetention), denied, allows, by("alice")), Nothing, "", "")
	check(t, next(t, noon.Add(settings.Retention), denied, allows, by("alice")), Forget, "", "")
	denies := decided("alice", v1alpha1.VerdictDeny)
	himself := next(t, noon, request(), allows, Observed{Admission: inForce, Decisions: []v1alpha1.AccessDecision{denies}})
	check(t, himself, Nothing, v1alpha1.StateReturned, v1alpha1.ReasonReturned)
	held, _ := active(t)
	held.Status.State, held.Status.Grant.EndedAt = v1alpha1.StateExpired, &metav1.Time{Time: noon}
	check(t, next(t, noon, held, allows, by("alice")), Nothing, "", "")
	returned := refusedAt(noon)
	returned.Status.State = v1alpha1.StateReturned
	check(t, next(t, noon, returned, allows, by("alice")), Nothing, "", "")
}

// By the first word of theirs it was taken back.
func TestWhatWasTakenBackGoesWhenWhoAskedGivesItBackAgain(t *testing.T) {
	zoe := builders.User("zoe")
	for name, tc := range map[string]struct {
		by     []string
		change func(*v1alpha1.AccessRequest)
		want   Action
	}{
		"once":                      {[]string{"alice"}, nil, Nothing},
		"again":                     {[]string{"alice", "alice"}, nil, Forget},
		"after its grantee":         {[]string{"zoe", "alice"}, nil, Forget},
		"again, but by its grantee": {[]string{"alice", "zoe"}, nil, Nothing},
		"again, but by somebody":    {[]string{"alice", "bob"}, nil, Nothing},
		"again, and a tool has it": {[]string{"alice", "alice"}, func(r *v1alpha1.AccessRequest) {
			r.Labels = map[string]string{gitOpsMarks[0]: "x"}
		}, Nothing},
		"again, and it was held": {[]string{"alice", "alice"}, func(r *v1alpha1.AccessRequest) {
			r.Status.Grant = &v1alpha1.Grant{EndedAt: &metav1.Time{Time: noon}}
		}, Nothing},
	} {
		t.Run(name, func(t *testing.T) {
			req := refusedAt(noon)
			req.Spec.Subject, req.Status.State = &zoe, v1alpha1.StateReturned
			if tc.change != nil {
				tc.change(req)
			}
			seen := Observed{Admission: inForce}
			for i, who := range tc.by {
				d := decided(who, v1alpha1.VerdictRevoke)
				d.Name = fmt.Sprint("word-", i)
				seen.Decisions = append(seen.Decisions, d)
			}
			check(t, next(t, noon, req, allows, seen), tc.want, "", "")
		})
	}
}

func TestSurplusAreTheOldest(t *testing.T) {
	all := make([]*v1alpha1.AccessRequest, 0, MaxRefused+2)
	for i := range MaxRefused + 2 {
		req := refusedAt(noon.Add(time.Duration((i*7)%(MaxRefused+2)) * time.Second))
		req.Name = fmt.Sprint((i * 7) % (MaxRefused + 2))
		all = append(all, req)
	}
	if few := Surplus(all[:MaxRefused]); len(few) > 0 {
		t.Errorf("of as many as stay, %d go", len(few))
	}
	if got := Surplus(all); len(got) != 2 || got[0].Name != "0" || got[1].Name != "1" {
		t.Errorf("%d go, want those of the first two seconds", len(got))
	}
}

func TestNobodyHasMoreRequestsWaitingThanMay(t *testing.T) {
	missing := policy.Decision{Verdict: policy.RoleMissing}
	seen := Observed{Admission: inForce, Waiting: MaxWaiting}
	step := next(t, noon, request(), missing, seen)
	check(t, step, Nothing, v1alpha1.StateDenied, v1alpha1.ReasonDenied)
	if !strings.Contains(step.Outcome.Message, "100 requests of this requester wait") {
		t.Errorf("the message is %q", step.Outcome.Message)
	}
	known := request()
	known.Status.State = v1alpha1.StateFailed
	check(t, next(t, noon, known, missing, seen), Nothing, v1alpha1.StateFailed, v1alpha1.ReasonRoleNotFound)
	granted := next(t, noon, request(), allows, seen)
	check(t, granted, Create, v1alpha1.StateActive, v1alpha1.ReasonGranted)
	for name, instead := range map[string]*Outcome{
		"forbidden": BindForbidden(request(), granted.Outcome), "failed": BindFailed(granted.Outcome, errors.New("no")),
	} {
		if got := OneTooMany(request(), seen, instead); got.State != v1alpha1.StateDenied || got.Grant != nil {
			t.Errorf("%s: %+v", name, got)
		}
		if got := OneTooMany(known, seen, instead); got != instead {
			t.Errorf("%s, known: %+v", name, got)
		}
	}
	seen.Waiting--
	check(t, next(t, noon, request(), missing, seen), Nothing, v1alpha1.StateFailed, v1alpha1.ReasonRoleNotFound)
}
