// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/receiver"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

// people are told, and may be away.
type people struct {
	*cluster
	got []message.Message
	// refuse says how a message is refused; nil takes all.
	refuse func(message.Message) error
	behind []string
}

func newPeople(t *testing.T) *people {
	c := newCluster(t)
	c.policy = builders.Policy("hotfix").Allowing("edit").ApprovedBy(builders.Group("leads")).WithinApprovalTimeout(time.Hour).Build()
	c.policy.UID = "uid-of-policy"
	return &people{cluster: c}
}

func (p *people) send(_ context.Context, m message.Message) error {
	if p.away {
		p.stop()
		return errors.New("it is away")
	}
	if p.refuse != nil {
		if err := p.refuse(m); err != nil {
			return err
		}
	}
	p.got = append(p.got, m)
	return nil
}

// told are the IDs of all messages so far, in order.
func (p *people) told() (ids []string) {
	for _, m := range p.got {
		ids = append(ids, m.ID)
	}
	return ids
}

// process is one of the operator, with one receiver of all events.
type process struct {
	*people
	*Messages
	m *messenger
	w *writer
	// due is when a request is to be looked at again.
	due map[reconcile.Request]time.Time
}

func (p *people) process(events ...message.Event) *process {
	p.t.Helper()
	if len(events) == 0 {
		events = message.Events()
	}
	file := "receivers: [{name: sre, type: slack, url: \"https://hooks.example.com\", events: ["
	for _, e := range events {
		file += string(e) + ", "
	}
	receivers, err := receiver.Parse([]byte(file+"]}]"), receiver.Env{Now: p.clock.Now})
	if err != nil {
		p.t.Fatal(err)
	}
	receivers[0].Send = p.send
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	p.t.Cleanup(q.ShutDown)
	ms := newMessages(MessageOptions{
		Cached: p, Live: p, Writer: p, Clock: servertime.New(p.clock), Namespace: "lapse-system",
		Admission: func() string { return p.gap }, Behind: func() []string { return p.behind },
	})
	m := newMessenger(ms.o, receivers[0])
	m.clock = hasty{clocktesting.NewFakeClock(start)} // pauses take no time of the cluster's
	ms.current = []*messenger{m}
	// The steps of a life are shown to the inbox of a writer.
	w := &writer{cluster: p.cluster, Teller: &Teller{inbox: m.inbox}, queue: q}
	for _, req := range p.requests {
		m.inbox.requests().Create(p.t.Context(), event.CreateEvent{Object: req.DeepCopy()}, q)
	}
	for _, d := range p.decisions {
		m.inbox.decisions().Create(p.t.Context(), event.CreateEvent{Object: d}, q)
	}
	if err := m.begin(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
	return &process{people: p, Messages: ms, m: m, w: w, due: map[reconcile.Request]time.Time{}}
}

// work on all that is queued or due. What the receiver does not take stays queued.
func (p *process) work() {
	for key, at := range p.due {
		if !at.After(p.clock.Now()) {
			p.w.queue.Add(key)
		}
	}
	for range p.w.queue.Len() {
		key, _ := p.w.queue.Get()
		var ctx context.Context
		ctx, p.cluster.stop = context.WithCancel(p.t.Context())
		result, err := p.m.Reconcile(ctx, key)
		p.w.queue.Done(key)
		if err != nil && !p.away {
			p.t.Fatal(err)
		}
		delete(p.due, key)
		if err != nil {
			p.w.queue.Add(key)
		} else if result.RequeueAfter > 0 {
			p.due[key] = p.clock.Now().Add(result.RequeueAfter)
		}
		p.stop()
	}
}

// pass time in steps of a minute, working.
func (p *process) pass(d time.Duration) {
	for range int(d / time.Minute) {
		p.clock.Step(time.Minute)
		p.work()
	}
}

// wait has a request wait for approval.
func (p *people) wait(w *writer, name string) *v1alpha1.AccessRequest {
	req := p.ask(w, name)
	p.begins(w, req)
	return req
}

func (p *people) begins(w *writer, req *v1alpha1.AccessRequest) {
	p.change(w, req, "waits", func(s *v1alpha1.AccessRequestStatus) {
		s.State, s.Policy = v1alpha1.StatePending, &v1alpha1.PolicyReference{Name: "hotfix", UID: "uid-of-policy", Generation: 1}
		s.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonPendingApproval, LastTransitionTime: p.now()}}
	})
}

func (p *people) held(w *writer, req *v1alpha1.AccessRequest, length time.Duration) {
	p.heldBy(w, w, req, length)
}

// heldBy an approval that is seen by one writer, and a grant that is by another.
func (p *people) heldBy(approval, w *writer, req *v1alpha1.AccessRequest, length time.Duration) {
	p.approve(approval, req)
	p.decisions[len(p.decisions)-1].Spec.Reviewer = &v1alpha1.Identity{Username: "bob", Groups: []string{"leads"}}
	p.grant(w, req)
	req.Status.Grant.ExpiresAt = metav1.NewTime(p.clock.Now().Add(length))
}

func (p *process) want(ids ...string) {
	p.t.Helper()
	if got := p.told(); !slices.Equal(got, ids) {
		p.t.Errorf("told %q, want %q", got, ids)
	}
}

func TestTheWholeStoryIsToldOnceAndOnTime(t *testing.T) {
	p := newPeople(t).process()
	req := p.wait(p.w, "r")
	p.work()
	p.want("uid-r/asked")
	p.pass(29 * time.Minute)
	p.want("uid-r/asked")
	p.pass(time.Minute)
	p.want("uid-r/asked", "uid-r/waiting")
	p.held(p.w, req, time.Hour)
	p.work()
	p.pass(55 * time.Minute)
	p.end(p.w, req)
	p.work()
	p.pass(10 * time.Minute)
	p.want("uid-r/asked", "uid-r/waiting", "uid-approve-r/approved", "uid-r/granted", "uid-r/ending")
}

func (p *people) refused(w *writer, req *v1alpha1.AccessRequest) {
	p.change(w, req, "refused", func(s *v1alpha1.AccessRequestStatus) {
		s.State = v1alpha1.StateDenied
		s.Conditions[0].Reason, s.Conditions[0].Message = v1alpha1.ReasonApprovalTimedOut, "nobody approved it"
		s.Conditions[0].LastTransitionTime = p.now()
	})
}

func TestARefusedRequestIsToldWithItsOutcomeOnce(t *testing.T) {
	people := newPeople(t)
	p := people.process()
	p.checkpoint(t.Context())
	seen, missed := p.wait(p.w, "seen"), p.wait(p.w, "missed")
	p.work()
	p.refused(p.w, seen)
	p.work()
	p.change(p.w, seen, "refused", func(*v1alpha1.AccessRequestStatus) {}) // its status is written again
	p.pass(time.Minute)
	p.checkpoint(t.Context())
	p.refused(nil, missed) // while no process runs
	p = people.process()
	p.work()
	p.delete(p.w, seen)
	p.work()
	p.want("uid-seen/asked", "uid-missed/asked", "uid-seen/refused", "uid-missed/refused")
	for _, m := range p.got[2:] {
		if !strings.Contains(m.Body(), "\nBecause: ApprovalTimedOut: nobody approved it\n") {
			t.Errorf("told %s", m.Body())
		}
	}
}

func TestWhatHappenedWhileNoProcessRanIsToldAndNothingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		before    func(*process) *v1alpha1.AccessRequest
		meanwhile func(*people, *v1alpha1.AccessRequest)
		want      []string
	}{
		"half of the time for approval went": {
			func(p *process) *v1alpha1.AccessRequest { return p.wait(p.w, "r") },
			func(p *people, _ *v1alpha1.AccessRequest) { p.clock.Step(40 * time.Minute) },
			[]string{"uid-r/asked", "uid-r/waiting"},
		},
		"it ended early": {
			func(p *process) *v1alpha1.AccessRequest {
				req := p.wait(p.w, "r")
				p.held(p.w, req, 2*time.Hour)
				p.work()
				p.pass(time.Hour)
				return req
			},
			func(p *people, req *v1alpha1.AccessRequest) {
				p.change(nil, req, "ended", func(s *v1alpha1.AccessRequestStatus) {
					now := p.now()
					s.State, s.Grant.EndedAt, s.Grant.EndReason = v1alpha1.StateRevoked, &now, v1alpha1.ReasonRevoked
				})
			},
			[]string{"uid-approve-r/approved", "uid-r/granted", "uid-r/ended"},
		},
		"it was recorded that it was granted some minutes before": {
			func(p *process) *v1alpha1.AccessRequest {
				req := p.wait(p.w, "r")
				p.work()
				p.pass(6 * time.Minute)
				return req
			},
			func(p *people, req *v1alpha1.AccessRequest) {
				p.held(nil, req, time.Hour)
				req.Status.Grant.GrantedAt = metav1.NewTime(p.clock.Now().Add(-5 * time.Minute))
			},
			[]string{"uid-r/asked", "uid-r/granted", "uid-approve-r/approved"},
		},
		"it began to wait, long after it was made": {
			func(p *process) *v1alpha1.AccessRequest {
				req := p.ask(p.w, "r")
				p.work()
				p.pass(20 * time.Minute)
				return req
			},
			func(p *people, req *v1alpha1.AccessRequest) { p.begins(nil, req) },
			[]string{"uid-r/asked"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			people := newPeople(t)
			p := people.process()
			req := tc.before(p)
			p.work()
			p.checkpoint(t.Context())
			tc.meanwhile(people, req)
			p = people.process()
			p.work()
			p.want(tc.want...)
		})
	}
}

func TestADecisionIsToldBeforeWhatItLetHappen(t *testing.T) {
	for name, tc := range map[string]struct {
		comes bool // or was deleted
		after time.Duration
		want  []string
	}{
		"the cache does not show it yet": {false, patience - time.Second, nil},
		"the cache shows it":             {true, time.Second, []string{"uid-approve-r/approved", "uid-r/granted"}},
		"the cache never shows it":       {false, patience, []string{"uid-r/granted"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeople(t).process(message.Decided, message.Granted)
			p.heldBy(nil, p.w, p.wait(p.w, "r"), time.Hour)
			made := p.decisions
			p.decisions = nil
			p.work()
			p.want()
			p.clock.Step(tc.after)
			if tc.comes {
				p.decisions = made
			}
			p.work()
			p.want(tc.want...)
		})
	}
}

func TestAPolicyThatOnlyHasTheNameCallsForNoApproval(t *testing.T) {
	p := newPeople(t).process()
	p.policy.UID = "another"
	p.wait(p.w, "r")
	p.work()
	p.want()
}

func TestAccessIsToldToEndWithItsRequest(t *testing.T) {
	p := newPeople(t).process(message.Granted, message.EndedEarly)
	req := p.wait(p.w, "r")
	p.held(p.w, req, time.Hour)
	p.work()
	p.delete(p.w, req)
	p.work()
	p.want("uid-r/granted", "uid-r/ended")
	if len(p.m.told) > 0 {
		t.Errorf("remembered of what is gone: %v", p.m.told)
	}
}

func TestAReceiverIsToldOnlyWhatItWants(t *testing.T) {
	p := newPeople(t).process(message.Granted)
	p.held(p.w, p.wait(p.w, "r"), time.Hour)
	p.work()
	p.pass(55 * time.Minute)
	p.want("uid-r/granted")
}

// A process is killed, or hands over, at each minute of a life. The next one tells what the first
// did not, and nothing twice that is older than the last checkpoint.
func TestARestartAtAnyMomentLosesNothing(t *testing.T) {
	all := []string{"uid-r/asked", "uid-r/waiting", "uid-approve-r/approved", "uid-r/granted", "uid-r/ending", "uid-r/ended"}
	for _, handsOver := range []bool{true, false} {
		for at := range 110 {
			people := newPeople(t)
			p := people.process()
			p.checkpoint(t.Context())
			var req *v1alpha1.AccessRequest
			for minute := range 110 {
				if minute == at {
					if handsOver {
						p.checkpoint(t.Context())
					}
					p = people.process()
					p.work()
				}
				switch minute {
				case 2:
					req = p.wait(p.w, "r")
				case 40:
					p.held(p.w, req, time.Hour)
				case 95:
					p.change(p.w, req, "ended", func(s *v1alpha1.AccessRequestStatus) {
						now := p.now()
						s.State, s.Grant.EndedAt, s.Grant.EndReason = v1alpha1.StateRevoked, &now, v1alpha1.ReasonRevoked
					})
				}
				p.pass(time.Minute)
				p.checkpoint(t.Context())
			}
			once := slices.Compact(slices.Clone(people.told()))
			if !slices.Equal(once, all) {
				t.Fatalf("restarted in minute %d (%v): told %q", at, handsOver, people.told())
			}
			if len(people.told()) != len(all) {
				t.Errorf("restarted in minute %d (%v): told twice: %q", at, handsOver, people.told())
			}
		}
	}
}

func TestAReceiverThatIsNewIsToldFromNowOn(t *testing.T) {
	people := newPeople(t)
	req := people.wait(nil, "r")
	people.clock.Step(31 * time.Minute)
	p := people.process()
	p.work()
	p.want()
	p.held(p.w, req, time.Hour)
	p.work()
	p.want("uid-approve-r/approved", "uid-r/granted")
}

func TestAReceiverThatIsAwayForAnHourGetsAllThatIsStillOfUse(t *testing.T) {
	p := newPeople(t).process()
	p.checkpoint(t.Context())
	p.away = true
	requests := make([]*v1alpha1.AccessRequest, 0, 60)
	for i := range 60 {
		requests = append(requests, p.wait(p.w, fmt.Sprint("r-", i)))
		p.work()
		if i >= 5 && i < 55 {
			p.held(p.w, requests[i-5], 2*time.Hour)
		}
		p.clock.Step(time.Minute)
	}
	if len(p.got) != 0 {
		t.Fatal(p.told())
	}
	p.away = false
	p.work()
	for i, req := range requests {
		name := string(req.UID)
		if granted := slices.Contains(p.told(), name+"/granted"); granted != (i < 50) {
			t.Errorf("%s: granted is told: %v", name, granted)
		}
		// Who was granted access waits for nobody.
		if asked := slices.Contains(p.told(), name+"/asked"); asked != (i >= 50) {
			t.Errorf("%s: asked is told: %v", name, asked)
		}
	}
	if len(p.told()) != 50*2+10 {
		t.Errorf("told %d: %q", len(p.told()), p.told())
	}
}

func TestAReceiverThatIsBackAfterDaysIsNotFlooded(t *testing.T) {
	p := newPeople(t).process()
	p.away = true
	p.held(p.w, p.wait(p.w, "old"), time.Minute)
	p.work()
	p.clock.Step(maxAge + time.Minute)
	p.held(p.w, p.wait(p.w, "new"), time.Hour)
	p.away = false
	p.work()
	p.want("uid-approve-new/approved", "uid-new/granted")
}

func TestWordsThatAReceiverNeverTakesKeepNoMessageFromIt(t *testing.T) {
	p := newPeople(t).process()
	p.refuse = func(m message.Message) error {
		if slices.ContainsFunc(m.Facts, func(f message.Fact) bool { return f.Written }) {
			return fmt.Errorf("%w: 400 Bad Request", receiver.ErrRefused)
		}
		return nil
	}
	p.wait(p.w, "r")
	p.work()
	p.want("uid-r/asked")
	if got := p.got[0]; got.Data.Withheld == "" || got.Data.Request == nil || got.Data.Request.Reason != "" {
		t.Errorf("%+v", got)
	}
}

func TestAReceiverThatAsksToBeLeftAloneIs(t *testing.T) {
	p := newPeople(t).process()
	times := 0
	p.refuse = func(message.Message) error {
		if times++; times < 3 {
			return &receiver.Later{Status: "429 Too Many Requests", After: 5 * time.Minute}
		}
		return nil
	}
	p.wait(p.w, "r")
	p.work()
	if took := p.m.clock.Since(start); took != 10*time.Minute || len(p.got) != 1 {
		t.Errorf("it was tried %d times in %s", times, took)
	}
}

func TestTheGuardAndSinksAreToldOf(t *testing.T) {
	p := newPeople(t).process()
	for _, step := range []struct {
		gap    string
		behind []string
		want   int
	}{
		{"", nil, 0},
		{"x is gone", nil, 1},
		{"y is gone", nil, 1},
		{"", nil, 2},
		{"", []string{"file"}, 3},
		{"", []string{"file"}, 3},
		{"", nil, 4},
	} {
		p.gap, p.behind = step.gap, step.behind
		if err := p.m.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.clock.Step(time.Second)
		if len(p.got) != step.want {
			t.Errorf("%+v: told %q", step, p.told())
		}
	}
}

func TestASinkIsBehindIfItOwesAndTakesNothing(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.ask(w, "r")
	look := func() []string {
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		return w.all.Behind()
	}
	look()
	c.clock.Step(behindAfter)
	if got := look(); got != nil {
		t.Errorf("after five minutes: %v", got)
	}
	c.clock.Step(time.Second)
	if got := look(); !slices.Equal(got, []string{"memory"}) {
		t.Errorf("after more: %v", got)
	}
	w.tellAll()
	if got := look(); got != nil {
		t.Errorf("after all was taken: %v", got)
	}
}

func TestAMessageUnderWayIsGivenUpWhenItIsOfNoUse(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(*process)
		away    time.Duration
		event   message.Event
	}{
		"it is too late to approve": {func(p *process) { p.wait(p.w, "r") }, time.Hour, message.Asked},
		"it is over anyway":         {func(p *process) { p.held(p.w, p.wait(p.w, "r"), 5*time.Minute) }, time.Hour, message.EndingSoon},
		"it is too old":             {func(p *process) { p.held(p.w, p.wait(p.w, "r"), time.Hour) }, maxAge + time.Minute, message.Granted},
	} {
		p := newPeople(t).process(tc.event)
		p.m.to.Options.EndsIn = time.Minute
		times := 0
		p.refuse = func(message.Message) error {
			if times++; times == 1 {
				p.clock.Step(tc.away)
				return errors.New("it is away")
			}
			return nil
		}
		tc.happens(p)
		p.work()
		p.clock.Step(4 * time.Minute)
		p.work()
		if times != 1 || len(p.got) != 0 {
			t.Errorf("%s: tried %d times, and told %q", name, times, p.told())
		}
	}
}

func TestWhoIsToldByANewFileHearsThatSomethingIsMended(t *testing.T) {
	p := newPeople(t).process()
	p.gap = "x is gone"
	if err := p.m.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel() // so that nobody looks at the cluster beside the test
	p.replace(over, []*receiver.Receiver{p.m.to})
	anew := p.current[0]
	anew.since, anew.source = p.m.since, p.m.source
	for _, gap := range []string{"x is gone", ""} {
		p.gap = gap
		if err := anew.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.got) != 2 || p.got[0].Data.Problem == "" || p.got[1].Data.Problem != "" {
		t.Errorf("told %q", p.told())
	}
}
