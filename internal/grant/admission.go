// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Admission is what is known of the admission policies, on which all rests that a
// request or decision says of who made it. The zero value is: nothing, so nothing is
// granted.
type Admission struct {
	// Enforced says that they are in force.
	Enforced bool
	// Problem is why they are not, in words; empty as long as nobody
	// has looked.
	Problem string
	// Remedy is what to do about it.
	Remedy string
	// Gaps are the times in which they were not in force, as far as is known.
	Gaps []Gap
}

// Gap is a time in which anybody may have written anything.
type Gap struct {
	// From is within the gap, Until not any more. Zero is without bound.
	From, Until time.Time
	// Cause is what was found, in words.
	Cause string
}

// PutBack are the commands by which a cluster admin puts the admission policies back. The
// first one leaves what somebody added to them, the second makes none that is missing.
const PutBack = "kubectl apply -k config/admission; kubectl replace --save-config -k config/admission"

// clockError is how far the time here may be ahead of the API server's without being
// noticed.
const clockError = 2 * time.Second

// covers says whether an object of that creation time may have been made in the gap.
// Objects know the second in which they were made.
func (g Gap) covers(created metav1.Time) bool {
	return (g.From.IsZero() || !created.Time.Before(g.From.Add(-clockError).Truncate(time.Second))) && (g.Until.IsZero() || created.Time.Before(g.Until))
}

// gap is the one in which an object may have been made; nil if there is none.
func (a Admission) gap(created metav1.Time) *Gap {
	for i := range a.Gaps {
		if a.Gaps[i].covers(created) {
			return &a.Gaps[i]
		}
	}
	return nil
}

// provenDecisions leaves out the approvals that may have been made in a gap. A no
// counts whoever gave it.
func (a Admission) provenDecisions(decisions []v1alpha1.AccessDecision) []v1alpha1.AccessDecision {
	if len(a.Gaps) == 0 {
		return decisions
	}
	out := make([]v1alpha1.AccessDecision, 0, len(decisions))
	for i := range decisions {
		if decisions[i].Spec.Verdict != v1alpha1.VerdictApprove || a.gap(decisions[i].CreationTimestamp) == nil {
			out = append(out, decisions[i])
		}
	}
	return out
}

// unproven refuses a request that may say of who made it what is not true.
func unproven(gap *Gap) Step {
	when := fmt.Sprintf(" between %s and %s", timestamp(gap.From), timestamp(gap.Until))
	once := ""
	if gap.Until.IsZero() {
		once = " some seconds after a cluster admin has put the policies back: " + PutBack
	}
	switch {
	case gap.From.IsZero() && gap.Until.IsZero():
		when = ""
	case gap.From.IsZero():
		when = " before " + timestamp(gap.Until)
	case gap.Until.IsZero():
		when = " after " + timestamp(gap.From)
	}
	return refuse(v1alpha1.ReasonAdmissionGap, fmt.Sprintf(
		"the request was made%s, when it was not certain that the admission policies were in force (%s), so nothing proves what it says of itself; create it again%s", when, gap.Cause, once), nil)
}

// unenforced holds a grant back until the policies are in force.
func unenforced(now time.Time, a Admission, meant *Outcome) Step {
	if a.Problem == "" {
		return Step{Action: Nothing, After: now.Add(time.Second)} // nobody has looked yet: that takes a moment
	}
	return Step{Action: Nothing, After: now.Add(RetryAfter), Outcome: instead(v1alpha1.ReasonAdmissionNotEnforced,
		"nothing is granted until it is certain that the admission policies are in force: "+a.Problem+"; "+a.Remedy, meant)}
}

// SettleAfter is the usual AdmissionRecord.Settle: kube-apiserver, of which there may be
// several, takes a second or two.
const SettleAfter = 5 * time.Second

// staleAfter is how old a look may be for its answer to count.
const staleAfter = 2 * time.Minute

// maxGaps bounds how many gaps are remembered one by one.
const maxGaps = 32

// Look is one look at the admission policies.
type Look struct {
	// Objects changes with every change of the policies.
	Objects string
	// Newest is when the newest of them was created.
	Newest time.Time
	// Problem is what is wrong with them; empty when all are as they should be and a
	// false requester is refused.
	Problem string
	// Remedy is what to do about the problem.
	Remedy string
	// Unsure says that nothing could be found out; Problem says why.
	Unsure bool
}

// AdmissionRecord makes of looks what is known. It is not safe for concurrent use.
type AdmissionRecord struct {
	// Settle is how long after policies were put in place they count as in force.
	Settle time.Duration

	looked  time.Time // last look
	good    time.Time // the last good look; zero before the first
	objects string    // of the last good look; empty before the first
	broken  string    // what was found wrong since the last good look
	problem string    // why they are not in force now
	remedy  string    // what to do about it

	settling      string // objects that wait for being settled
	settlingSince time.Time

	gaps []Gap
}

// Observe takes a look into account. now is the API server's time.
func (r *AdmissionRecord) Observe(now time.Time, look Look) {
	r.looked = now
	switch {
	case look.Unsure:
		r.problem, r.remedy = look.Problem, look.Remedy
	case look.Problem != "":
		r.broken, r.problem, r.remedy, r.settling = look.Problem, look.Problem, look.Remedy, ""
	case look.Objects == r.objects && r.broken == "":
		r.good, r.problem = now, ""
	default:
		r.settle(now, look)
	}
}

// settle takes policies that are new, or whole again, as in force after a while.
func (r *AdmissionRecord) settle(now time.Time, look Look) {
	first := r.objects == ""
	if r.settling != look.Objects {
		r.settling, r.settlingSince = look.Objects, now
		if first && r.broken == "" {
			r.settlingSince = look.Newest
		}
	}
	if r.broken == "" && !first {
		r.broken = "the admission policies were changed"
	}
	settled := r.settlingSince.Add(r.Settle)
	if now.Before(settled) {
		r.problem, r.remedy = "the admission policies were put in place a moment ago", "they are counted on from "+timestamp(settled)+" on"
		return
	}
	if first {
		r.remember(Gap{Until: look.Newest.Add(r.Settle), Cause: "the admission policies were put in place only then"})
	}
	if r.broken != "" {
		// Before the first good look nobody knows when it began.
		r.remember(Gap{From: r.good, Until: now, Cause: r.broken})
	}
	r.good, r.objects, r.broken, r.problem, r.settling = now, look.Objects, "", "", ""
}

// remember keeps a gap. When there are many, the two oldest become one: more is refused
// then, never less.
func (r *AdmissionRecord) remember(g Gap) {
	r.gaps = append(r.gaps, g)
	if len(r.gaps) > maxGaps {
		r.gaps[1].From = r.gaps[0].From
		r.gaps = r.gaps[1:]
	}
}

// Admission is what is known at a time of the API server.
func (r *AdmissionRecord) Admission(now time.Time) Admission {
	a := Admission{Problem: r.problem, Remedy: r.remedy, Gaps: slices.Clip(r.gaps)}
	if r.broken != "" {
		a.Gaps = append(a.Gaps, Gap{From: r.good, Cause: r.broken})
	}
	if r.problem == "" && !r.looked.IsZero() && now.Sub(r.looked) > staleAfter {
		a.Problem = "nobody has looked at the admission policies since " + timestamp(r.looked)
		a.Remedy = "see whether the operator reaches the API server"
	}
	a.Enforced = a.Problem == "" && r.objects != ""
	return a
}
