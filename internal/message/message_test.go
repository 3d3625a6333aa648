// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var start = time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)

func after(d time.Duration) metav1.Time { return metav1.NewTime(start.Add(d)) }

// asked is a request by alice that waits for one of group leads for an hour.
func asked() View {
	req := builders.Request("fix-1").In("payments").By("alice").To(builders.User("alice")).ForClusterRole("edit").
		Lasting(time.Hour).Because("INC-7: stuck").Build()
	req.UID, req.CreationTimestamp = "uid-1", after(0)
	req.Status.State = v1alpha1.StatePending
	req.Status.Policy = &v1alpha1.PolicyReference{Name: "hotfix", UID: "p", Generation: 1}
	req.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonPendingApproval, Message: "waits", LastTransitionTime: after(0),
	}}
	p := builders.Policy("hotfix").Allowing("edit", "admin").In("payments").ApprovedBy(builders.Group("leads")).
		WithinApprovalTimeout(time.Hour).Build()
	p.Status.Risks = []string{"anybody may ask", "edit: its holder can read secrets", "admin: its holder can change roles"}
	return View{Source: "/clusters/c", Request: req, Policy: p, Now: start.Add(time.Minute)}
}

func (v View) req() *v1alpha1.AccessRequest { return v.Request.(*v1alpha1.AccessRequest) }

func (v *View) decide(verdict v1alpha1.Verdict, who string, at time.Duration, groups ...string) {
	d := builders.Decision("d-"+who, v.req(), verdict)
	d.UID, d.CreationTimestamp = types.UID("uid-d-"+who), after(at)
	d.Spec.Reviewer, d.Spec.Comment = &v1alpha1.Identity{Username: who, Groups: groups}, "fine by me"
	v.Decisions = append(v.Decisions, *d)
}

func (v *View) finish(state v1alpha1.RequestState, reason string, at time.Duration) {
	s := v.Request.RequestStatus()
	s.State, s.Conditions[0].Reason, s.Conditions[0].LastTransitionTime = state, reason, after(at)
}

func (v *View) grant(at, length time.Duration) {
	v.finish(v1alpha1.StateActive, v1alpha1.ReasonGranted, at)
	v.Request.RequestStatus().Grant = &v1alpha1.Grant{Binding: "lapse-x", GrantedAt: after(at), ExpiresAt: after(at + length)}
	for _, d := range v.Decisions {
		v.req().Status.Approvals = append(v.req().Status.Approvals,
			v1alpha1.Approval{Decision: d.Name, Reviewer: d.Spec.Reviewer.Username, Time: d.CreationTimestamp})
	}
}

func (v *View) end(reason, by string, at time.Duration) {
	v.finish(v1alpha1.StateRevoked, reason, at)
	g, t := v.Request.RequestStatus().Grant, after(at)
	g.EndedAt, g.EndReason, g.EndedBy = &t, reason, by
}

// told are the events of messages, and what follows the UID in their IDs.
func told(out []Message) (events []string) {
	for _, m := range out {
		events = append(events, string(m.Event)+" "+m.ID[strings.LastIndex(m.ID, "uid-"):])
	}
	return events
}

func TestWhichEventBecomesWhichMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*View)
		want   []string
		next   time.Duration
	}{
		"it waits":                            {func(*View) {}, []string{"asked uid-1/asked"}, 30 * time.Minute},
		"the operator did not look at it yet": {func(v *View) { v.req().Status = v1alpha1.AccessRequestStatus{} }, nil, 0},
		"just before half of the time": {func(v *View) {
			v.Now = start.Add(30*time.Minute - 1)
		}, []string{"asked uid-1/asked"}, 30 * time.Minute},
		"half of the time": {func(v *View) {
			v.Now = start.Add(30 * time.Minute)
		}, []string{"asked uid-1/asked", "stillWaiting uid-1/waiting"}, 0},
		"too late to approve": {func(v *View) { v.Now = start.Add(time.Hour) }, nil, 0},
		"an approval that counts": {func(v *View) {
			v.Policy.Spec.Approvals[0].Count = 2
			v.decide(v1alpha1.VerdictApprove, "bob", time.Second, "leads")
		}, []string{"asked uid-1/asked", "decided uid-d-bob/approved"}, 30 * time.Minute},
		"an approval of a stranger is told to nobody": {func(v *View) {
			v.decide(v1alpha1.VerdictApprove, "mallory", time.Second)
		}, []string{"asked uid-1/asked"}, 30 * time.Minute},
		"a denial of a stranger neither": {func(v *View) {
			v.decide(v1alpha1.VerdictDeny, "mallory", time.Second)
		}, []string{"asked uid-1/asked"}, 30 * time.Minute},
		"denied": {func(v *View) {
			v.decide(v1alpha1.VerdictDeny, "bob", time.Second, "leads")
			v.finish(v1alpha1.StateDenied, v1alpha1.ReasonDenied, 2*time.Second)
		}, []string{"decided uid-d-bob/denied", "refused uid-1/refused"}, 0},
		"refused by no person": {func(v *View) {
			v.finish(v1alpha1.StateDenied, v1alpha1.ReasonNoMatchingPolicy, time.Second)
		}, []string{"refused uid-1/refused"}, 0},
		"refused, and deleted": {func(v *View) {
			v.finish(v1alpha1.StateDenied, v1alpha1.ReasonNoMatchingPolicy, time.Second)
			v.Gone = true
		}, []string{"refused uid-1/refused"}, 0},
		"it cannot be granted, and is tried again": {func(v *View) {
			v.finish(v1alpha1.StateFailed, v1alpha1.ReasonBindFailed, time.Second)
		}, nil, 0},
		"granted": {func(v *View) {
			v.decide(v1alpha1.VerdictApprove, "bob", time.Second, "leads")
			v.grant(2*time.Second, time.Hour)
		}, []string{"decided uid-d-bob/approved", "granted uid-1/granted"}, 2*time.Second + 50*time.Minute},
		"it ends soon": {func(v *View) {
			v.grant(0, time.Hour)
			v.Now = start.Add(50 * time.Minute)
		}, []string{"granted uid-1/granted", "endingSoon uid-1/ending"}, 0},
		"it was as short as that from the beginning": {func(v *View) { v.grant(0, 10*time.Minute) }, []string{"granted uid-1/granted"}, 0},
		"it ended on time": {func(v *View) {
			v.grant(0, time.Minute)
			v.end(v1alpha1.ReasonExpired, "", time.Minute)
		}, []string{"granted uid-1/granted"}, 0},
		"revoked by who may delete it": {func(v *View) {
			v.grant(0, time.Hour)
			v.decide(v1alpha1.VerdictRevoke, "root", time.Minute)
			v.end(v1alpha1.ReasonRevoked, "root", time.Minute)
		}, []string{"granted uid-1/granted", "decided uid-d-root/revoked", "endedEarly uid-1/ended"}, 0},
		"a word about what is over is told to nobody": {func(v *View) {
			v.grant(0, time.Hour)
			v.end(v1alpha1.ReasonExpired, "", time.Minute)
			v.decide(v1alpha1.VerdictRevoke, v.req().Spec.Requester.Username, 2*time.Minute)
		}, []string{"granted uid-1/granted"}, 0},
		"neither is one about what was refused": {func(v *View) {
			v.finish(v1alpha1.StateDenied, v1alpha1.ReasonDenied, 2*time.Second)
			v.decide(v1alpha1.VerdictDeny, v.req().Spec.Requester.Username, 3*time.Second)
		}, []string{"refused uid-1/refused"}, 0},
		"tampered with": {func(v *View) {
			v.grant(0, time.Hour)
			v.end(v1alpha1.ReasonTampered, "", time.Minute)
		}, []string{"granted uid-1/granted", "tampered uid-1/ended"}, 0},
		"deleted while it is held": {func(v *View) {
			v.grant(0, time.Hour)
			v.Gone, v.Now = true, start.Add(2*time.Minute)
		}, []string{"granted uid-1/granted", "endedEarly uid-1/ended"}, 0},
		"deleted while it waits": {func(v *View) { v.Gone = true }, nil, 0},
		"its policy is gone":     {func(v *View) { v.Policy = nil }, nil, 0},
	} {
		v := asked()
		tc.change(&v)
		out, next := Of(v, Options{EndsIn: 10 * time.Minute})
		if got := told(out); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if want := start.Add(tc.next); tc.next == 0 && !next.IsZero() || tc.next > 0 && !next.Equal(want) {
			t.Errorf("%s: next at %s, want %s", name, next, want)
		}
	}
}

const tooLong = "policy hotfix: duration 1h is longer than its maxDuration 30m"

// refusals are requests that were refused after a minute, by the reason.
func refusals() map[string]View {
	out := map[string]View{}
	for reason, state := range map[string]v1alpha1.RequestState{
		v1alpha1.ReasonDenied:           v1alpha1.StateDenied,
		v1alpha1.ReasonNoMatchingPolicy: v1alpha1.StateDenied,
		v1alpha1.ReasonApprovalTimedOut: v1alpha1.StateDenied,
		v1alpha1.ReasonAdmissionGap:     v1alpha1.StateDenied,
		v1alpha1.ReasonReturned:         v1alpha1.StateReturned,
		v1alpha1.ReasonRevoked:          v1alpha1.StateRevoked,
	} {
		v := asked()
		v.Now = start.Add(time.Hour)
		v.finish(state, reason, time.Minute)
		v.req().Status.Conditions[0].Message = tooLong
		out[reason] = v
	}
	return out
}

func TestARefusedRequestIsToldWithItsOutcome(t *testing.T) {
	for reason, v := range refusals() {
		out, _ := Of(v, Options{})
		if !slices.Equal(told(out), []string{"refused uid-1/refused"}) || !out[0].At.Equal(start.Add(time.Minute)) {
			t.Fatalf("%s: %+v", reason, out)
		}
		said := out[0].Subject() + "\n" + out[0].Body()
		for _, line := range []string{"[Lapse] A request in payments was refused\n", "\nBecause: " + reason + ": " + tooLong + "\n"} {
			if !strings.Contains(said, line) {
				t.Errorf("%s: no %q in %s", reason, line, said)
			}
		}
		if got := out[0].Data.Request; got.Outcome != reason || got.Message != tooLong {
			t.Errorf("%s: %+v", reason, got)
		}
	}
}

func TestARefusalSaysItsOutcomeWithoutWhatPeopleWrote(t *testing.T) {
	for reason, v := range refusals() {
		out, _ := Of(v, Options{Redact: true})
		if len(out) != 1 || strings.Contains(out[0].Body(), tooLong) {
			t.Fatalf("%s: %+v", reason, out)
		}
		if got := out[0].Data.Request; got.Outcome != reason || got.Message != "" {
			t.Errorf("%s: %+v", reason, got)
		}
	}
}

func TestAnAlertGoesOnAndIsOver(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*View)
		want   []string
		next   time.Duration
	}{
		"before half of the time": {func(*View) {}, nil, 30 * time.Minute},
		"half of the time": {func(v *View) {
			v.Now = start.Add(30 * time.Minute)
		}, []string{"stillWaiting uid-1/waiting/0"}, 35 * time.Minute},
		"it is said again": {func(v *View) {
			v.Now = start.Add(41 * time.Minute)
		}, []string{"stillWaiting uid-1/waiting/2"}, 45 * time.Minute},
		"granted before that": {func(v *View) { v.grant(time.Minute, time.Hour) }, []string{"granted uid-1/held/0"}, 6 * time.Minute},
		"refused before that": {func(v *View) { v.finish(v1alpha1.StateDenied, v1alpha1.ReasonDenied, time.Minute) }, nil, 0},
		"deleted before that": {func(v *View) { v.Gone = true }, nil, 0},
		"deleted after that": {func(v *View) {
			v.Gone, v.Now = true, start.Add(45*time.Minute)
		}, []string{"stillWaiting uid-1/waiting/over"}, 0},
		"refused after that": {func(v *View) {
			v.finish(v1alpha1.StateDenied, v1alpha1.ReasonDenied, 40*time.Minute)
		}, []string{"stillWaiting uid-1/waiting/over"}, 0},
		"granted and over": {func(v *View) {
			v.grant(40*time.Minute, time.Minute)
			v.end(v1alpha1.ReasonExpired, "", 41*time.Minute)
		}, []string{"stillWaiting uid-1/waiting/over", "granted uid-1/held/over"}, 0},
	} {
		v := asked()
		tc.change(&v)
		out, next := Of(v, Options{Alerts: true})
		out = slices.DeleteFunc(out, func(m Message) bool { return !slices.Contains(Alertable(), m.Event) })
		if got := told(out); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
		if want := start.Add(tc.next); tc.next == 0 && !next.IsZero() || tc.next > 0 && !next.Equal(want) {
			t.Errorf("%s: next at %s, want %s", name, next, want)
		}
	}
}

func TestAMessageSaysWhatAnApproverHasToKnow(t *testing.T) {
	out, _ := Of(asked(), Options{Base: "https://lapse.example.com/look/"})
	want := `Request: payments/fix-1
Who: alice
What: ClusterRole edit
How long: 1h
Why: INC-7: stuck
Policy: hotfix
Risk: anybody may ask
Risk: edit: its holder can read secrets
Approval: waits for 1 of Group "leads"
Until: 2026-11-29 07:00:00 UTC

    kubectl lapse approve fix-1 -n payments

    https://lapse.example.com/look/payments/fix-1
`
	if got := out[0].Body(); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if got := out[0].Subject(); got != "[Lapse] A request in payments waits for approval" {
		t.Error(got)
	}
}

func TestWhoGetsTheAccessIsNamedIfAnotherAsked(t *testing.T) {
	v := asked()
	v.req().Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.GroupKind, Name: "batch"}
	v.req().Spec.Duration = nil
	out, _ := Of(v, Options{})
	if body := out[0].Body(); !strings.Contains(body, "For: Group batch\n") || !strings.Contains(body, "How long: 4h\n") {
		t.Error(body)
	}
}

func TestWhatPeopleWroteCanBeLeftOut(t *testing.T) {
	v := asked()
	v.Policy.Spec.Approvals[0].Count = 2
	v.decide(v1alpha1.VerdictApprove, "bob", time.Second, "leads")
	out, _ := Of(v, Options{Redact: true})
	for _, m := range out {
		event, err := m.CloudEvent()
		if err != nil {
			t.Fatal(err)
		}
		if said := m.Body() + string(event); strings.Contains(said, "INC-7") || strings.Contains(said, "fine by me") {
			t.Error(said)
		}
	}
	whole, _ := Of(v, Options{})
	less := whole[1].Less("403")
	if strings.Contains(less[0].Body(), "fine") || less[1].Facts != nil || less[1].Data.Request != nil || less[1].Title == "" {
		t.Errorf("%+v", less)
	}
}

func TestEachFormSaysWhatTheClusterIsCalled(t *testing.T) {
	out, _ := Of(asked(), Options{})
	whole := out[0]
	whole.Cluster = "prod-eu"
	for _, m := range append(whole.Less("403"), whole) {
		event, err1 := m.CloudEvent()
		slack, err2 := m.Slack()
		teams, err3 := m.Teams()
		alert, err4 := m.Alert()
		if err := errors.Join(err1, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		for said, want := range map[string]string{
			string(event): `"cluster":"prod-eu"`, string(slack): `"Cluster\nprod-eu"`, string(teams): `"text":"Cluster: "`,
			string(alert): `"cluster":"prod-eu"`, m.Body(): "Cluster: prod-eu\n", m.Subject(): "[Lapse prod-eu] A request in payments",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("no %s in %s", want, said)
			}
		}
	}
}

func TestATestMessageSaysThatItIsOneAndWhoSentIt(t *testing.T) {
	m := NewTest("/clusters/c", "sre", "alice", start)
	event, err1 := m.CloudEvent()
	alert, err2 := m.Alert()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string][]string{
		m.Subject():   {"[Lapse] This is a test of Lapse, and nobody has to do anything"},
		m.Body():      {"Receiver: sre\nSent by: alice\nSent with: kubectl lapse doctor --message sre\n"},
		string(event): {`"type":"dev.lapse.message.test.v1"`, `"sentBy":"alice"`, "nobody has to do anything"},
		string(alert): {`"alertname":"LapseTest"`, `"endsAt":"2026-11-29T06:05:00Z"`, "Sent by: alice"},
	} {
		for _, part := range want {
			if !strings.Contains(said, part) {
				t.Errorf("no %s in %s", part, said)
			}
		}
	}
	if m.Command != "" || m.Link != "" || slices.Contains(Events(), m.Event) {
		t.Errorf("it asks for something, or can be asked for: %+v", m)
	}
}

func TestTheGuardAndSinksAreToldOf(t *testing.T) {
	broken, whole := Guard("/clusters/c", "policy x is gone", start), Guard("/clusters/c", "", start.Add(time.Second))
	behind := Records("/clusters/c", "file", true, start)
	if broken.ID == whole.ID || !strings.Contains(broken.Body(), "policy x is gone") || whole.Facts != nil ||
		!strings.Contains(behind.Body(), "Sink: file") {
		t.Errorf("%+v %+v %+v", broken, whole, behind)
	}
}
