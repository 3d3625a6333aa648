// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"flag"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// full explores as deep as two minutes allow on two cores.
var full = flag.Bool("full", false, "explore all of what make model promises")

var (
	tampering = []edit{addSubject, pin, putOff, putOffFar, strip, deleteBinding, occupyName}
	deleting  = []edit{deleteRequest, deleteRequestInForeground, createAgain}
	deciding  = []edit{
		narrowPolicy, deletePolicy, decide(v1alpha1.VerdictRevoke, requester), decide(v1alpha1.VerdictRevoke, approver),
		decide(v1alpha1.VerdictDeny, approver),
	}
	approving = []edit{
		decide(v1alpha1.VerdictApprove, approver), decide(v1alpha1.VerdictApprove, requester), withdraw,
	}
)

// scenarios are explored to a depth each: a short one, and a full one.
var scenarios = []struct {
	scenario
	short, full int
}{
	{scenario{name: "nobody disturbs it", budget: budget{ticks: 3}}, 17, 21},
	{scenario{name: "replicas are killed", budget: budget{ticks: 3, crashes: 2}}, 16, 20},
	{scenario{name: "requests and answers are lost", budget: budget{ticks: 3, faults: 2}}, 15, 19},
	{scenario{name: "killed, and lost", budget: budget{ticks: 3, crashes: 1, faults: 1}}, 15, 18},
	{scenario{name: "the binding is tampered with", budget: budget{ticks: 4, edits: 2}, edits: tampering}, 13, 16},
	{scenario{name: "tampered with, killed and lost", budget: budget{ticks: 3, edits: 1, crashes: 1, faults: 1}, edits: tampering}, 13, 16},
	{scenario{name: "the request is deleted and created again", budget: budget{ticks: 3, edits: 2, faults: 1}, edits: deleting}, 13, 16},
	{
		scenario{name: "people and policies end it", budget: budget{ticks: 3, edits: 2, crashes: 1}, edits: slices.Concat(deciding, deleting)},
		9, 12,
	},
	{
		scenario{
			name: "people and policies end it, and policies are read late", budget: budget{ticks: 2, edits: 2}, edits: deciding,
			beside: afterBoth,
		},
		9, 12,
	},
	{
		scenario{
			name: "people and policies end it, and policies are read in between", budget: budget{ticks: 2, edits: 2}, edits: deciding,
			beside: inBetween,
		},
		9, 12,
	},
	{scenario{name: "approvals", budget: budget{ticks: 2, edits: 2}, edits: slices.Concat(approving, deciding), approval: true}, 10, 12},
	{
		scenario{
			name: "what it is judged by changes", budget: budget{edits: 2}, unsteady: true,
			edits: []edit{askApproval, growRole, relabel, decide(v1alpha1.VerdictApprove, approver)},
		},
		13, 20,
	},
	{scenario{
		name: "what is over is forgotten", budget: budget{ticks: 4, edits: 1}, edits: slices.Concat(deleting, deciding),
		retention: tick,
	}, 13, 16},
}

func TestNoOrderOfEventsBreaksAPromise(t *testing.T) {
	states, began := 0, time.Now()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			s.depth = s.short
			if *full {
				s.depth = s.full
			}
			e := explore(s.scenario)
			states += e.states
			t.Logf("%9d states, %9d steps, depth %2d, %6s; excused %d", e.states, e.paths, e.depth, e.took.Round(time.Millisecond), e.excused.Load())
			if e.wrong != nil {
				t.Errorf("a promise is broken:\n%s", e.trace())
			}
		})
	}
	t.Logf("%d states in %s", states, time.Since(began).Round(time.Second))
	if *full && states < 1_000_000 {
		t.Errorf("%d states, want a million at least", states)
	}
}

// What is excused is there, and found when it is not excused.
func TestTwoReplicasThatBothLeadMayGrantLate(t *testing.T) {
	s := scenario{name: "two lead", budget: budget{ticks: 2, edits: 1}, edits: []edit{decide(v1alpha1.VerdictRevoke, requester)}, strict: true}
	finds(t, s, "^I3")
}

func TestTheModelFindsMistakes(t *testing.T) {
	for name, s := range map[string]struct {
		scenario
		problem string
	}{
		// See the table of ADR 13 for these.
		"granting by the request of the cache": {
			scenario{stale: requests, budget: budget{edits: 1}, edits: []edit{deleteBinding}}, "^I[13]",
		},
		"granting by the RoleBinding of the cache": {
			scenario{stale: bindings, budget: budget{ticks: 1, edits: 1}, edits: []edit{strip}}, "^I5",
		},
		"granting by the policy of the cache": {
			scenario{stale: policies, budget: budget{edits: 1}, edits: []edit{askApproval}}, "^I4",
		},
		"granting by the role of the cache": {
			scenario{stale: roles, unsteady: true, budget: budget{edits: 1}, edits: []edit{growRole}}, "^I1",
		},
		"granting by the namespace of the cache": {
			scenario{stale: namespaces, unsteady: true, budget: budget{edits: 1}, edits: []edit{relabel}}, "^I1",
		},
		"granting by the approvals of the cache": {
			scenario{stale: decisions, approval: true, budget: budget{edits: 2}, edits: approving}, "^I1",
		},
		"reading a request as it was written, though the cache has a newer one": {
			scenario{
				bug: writtenWins, approval: true, budget: budget{edits: 2},
				edits: []edit{decide(v1alpha1.VerdictApprove, approver), decide(v1alpha1.VerdictRevoke, requester)},
			}, "^I5",
		},
		"writing status without the lock": {
			scenario{bug: noLock, budget: budget{ticks: 2, edits: 1}, edits: deciding}, "^I[13]",
		},
		"deleting a binding that status does not know": {
			scenario{bug: deleteUnrecorded, budget: budget{ticks: 3, crashes: 1}}, "^I3",
		},
		"forgetting a grant of which memory is the only trace": {
			scenario{bug: forgets, budget: budget{ticks: 3, faults: 1}}, "^I3",
		},
		"not remembering what was made": {
			scenario{bug: remembersNothing, budget: budget{ticks: 3, faults: 1}}, "^I3",
		},
		// See ADR 13 for these.
		"reading the request before its binding": {
			scenario{bug: requestFirst, budget: budget{edits: 1}, edits: []edit{deleteBinding}}, "^I3",
		},
		"looking for no binding where status knows of none": {
			scenario{bug: leavesOut, budget: budget{ticks: 2, faults: 1}}, "^I3",
		},
		"ending nothing by a no that was not seen before the grant": {
			scenario{bug: deaf, budget: budget{edits: 1}, edits: deciding}, "^I1",
		},
		"taking a binding that exists for one's own": {
			scenario{bug: existsIsSuccess, budget: budget{edits: 1}, edits: []edit{occupyName}}, "^I2",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s.name = name
			finds(t, s.scenario, s.problem)
		})
	}
}

// finds expects an exploration to end with a problem, and shows how it comes about.
func finds(t *testing.T, s scenario, problem string) {
	t.Helper()
	s.depth = 40
	e := explore(s)
	if e.wrong == nil {
		t.Fatalf("nothing was found in %d states, to depth %d", e.states, e.depth)
	}
	t.Logf("found after %d states, at depth %d, in %s:\n%s", e.states, e.depth, e.took.Round(time.Millisecond), e.trace())
	if !regexp.MustCompile(problem).MatchString(e.wrong.problem) {
		t.Errorf("found %q, want a breach of %s", e.wrong.problem, problem)
	}
}
