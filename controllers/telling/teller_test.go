// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

var start = time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)

// cluster is an API server with requests, decisions and one Lease.
type cluster struct {
	client.Client
	t         testing.TB
	clock     *clocktesting.FakeClock
	version   int64
	requests  map[types.NamespacedName]*v1alpha1.AccessRequest
	decisions []*v1alpha1.AccessDecision
	lease     *coordinationv1.Lease
	policy    *v1alpha1.AccessPolicy
	// taken are the lines that the sink took, of all writers; away says that it takes none.
	taken [][]byte
	away  bool
	// stop ends the attempts to deliver.
	stop  context.CancelFunc
	names int
	gap   string // of the admission policies
	// happened are the IDs that must have been told.
	happened []string
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, clock: clocktesting.NewFakeClock(start), requests: map[types.NamespacedName]*v1alpha1.AccessRequest{}}
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	switch into := obj.(type) {
	case *v1alpha1.AccessRequest:
		if req, ok := c.requests[key]; ok {
			req.DeepCopyInto(into)
			return nil
		}
	case *v1alpha1.AccessPolicy:
		if c.policy != nil && c.policy.Name == key.Name {
			c.policy.DeepCopyInto(into)
			return nil
		}
	case *corev1.Namespace:
		into.UID = "uid-of-kube-system"
		return nil
	case *coordinationv1.Lease:
		if c.lease != nil {
			c.lease.DeepCopyInto(into)
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{}, key.Name)
}

func (c *cluster) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	o := (&client.ListOptions{}).ApplyOptions(opts)
	out := list.(*v1alpha1.AccessDecisionList)
	for _, d := range c.decisions {
		if want, _ := o.FieldSelector.RequiresExactMatch(requestUIDField); want == string(d.Spec.RequestRef.UID) {
			out.Items = append(out.Items, *d)
		}
	}
	return nil
}

func (c *cluster) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	c.stamp(obj)
	c.lease = obj.(*coordinationv1.Lease).DeepCopy()
	return nil
}

func (c *cluster) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	c.stamp(obj)
	c.lease = obj.(*coordinationv1.Lease).DeepCopy()
	return nil
}

func (c *cluster) stamp(obj client.Object) {
	c.version++
	obj.SetResourceVersion(strconv.FormatInt(c.version, 10))
}

func (c *cluster) now() metav1.Time { return metav1.NewTime(c.clock.Now()) }

func (c *cluster) take(_ context.Context, line []byte) error {
	if c.away {
		c.stop()
		return errors.New("the sink is away")
	}
	c.taken = append(c.taken, bytes.Clone(line))
	return nil
}

// writer is one process of the operator. Its informers show what it is told to look at.
type writer struct {
	*cluster
	*Teller
	all   *Tellers
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// started is a writer whose informers have listed what there is.
func (c *cluster) started() *writer {
	c.names++
	w := &writer{cluster: c, queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())}
	c.t.Cleanup(w.queue.ShutDown)
	w.all = New(Options{
		Cached: c, Live: c, Writer: c, Clock: servertime.New(c.clock), Namespace: "lapse-system", Name: fmt.Sprint("writer-", c.names),
		Admission: func() string { return c.gap }, Sinks: []Sink{{Name: "memory", Write: c.take}},
	})
	w.Teller = w.all.all[0]
	for _, req := range c.requests {
		w.Teller.inbox.requests().Create(c.t.Context(), event.CreateEvent{Object: req.DeepCopy()}, w.queue)
	}
	for _, d := range c.decisions {
		w.Teller.inbox.decisions().Create(c.t.Context(), event.CreateEvent{Object: d}, w.queue)
	}
	return w
}

// tellAll tells all that is queued. What the sink does not take stays queued.
func (w *writer) tellAll() {
	for range w.queue.Len() {
		key, _ := w.queue.Get()
		var ctx context.Context
		ctx, w.stop = context.WithCancel(w.t.Context())
		result, err := w.Reconcile(ctx, key)
		w.queue.Done(key)
		if err != nil && !w.away {
			w.t.Fatal(err)
		}
		if err != nil || result.RequeueAfter > 0 {
			w.queue.Add(key)
		}
		w.stop()
	}
}

// The steps of a life. Each is seen by the writer, unless that is nil.
func (c *cluster) ask(w *writer, name string) *v1alpha1.AccessRequest {
	req := builders.Request(name).In("payments").By("alice").ForClusterRole("edit").Build()
	req.UID, req.CreationTimestamp = types.UID("uid-"+name), c.now()
	c.stamp(req)
	c.requests[client.ObjectKeyFromObject(req)] = req
	c.happened = append(c.happened, string(req.UID)+"/asked")
	if w != nil {
		w.Teller.inbox.requests().Create(c.t.Context(), event.CreateEvent{Object: req.DeepCopy()}, w.queue)
	}
	return req
}

func (c *cluster) change(w *writer, req *v1alpha1.AccessRequest, what string, change func(*v1alpha1.AccessRequestStatus)) {
	old := req.DeepCopy()
	change(&req.Status)
	c.stamp(req)
	c.happened = append(c.happened, string(req.UID)+"/"+what)
	if w != nil {
		w.Teller.inbox.requests().Update(c.t.Context(), event.UpdateEvent{ObjectOld: old, ObjectNew: req.DeepCopy()}, w.queue)
	}
}

func (c *cluster) grant(w *writer, req *v1alpha1.AccessRequest) {
	c.change(w, req, "granted", func(s *v1alpha1.AccessRequestStatus) {
		s.State, s.Grant = v1alpha1.StateActive, &v1alpha1.Grant{Binding: "lapse-" + req.Name, GrantedAt: c.now(), ExpiresAt: c.now()}
		s.Approvals = nil
		for _, d := range c.decisions {
			if d.Spec.RequestRef.UID == req.UID {
				s.Approvals = append(s.Approvals, v1alpha1.Approval{Decision: d.Name, Reviewer: "bob", Time: d.CreationTimestamp})
			}
		}
	})
}

func (c *cluster) end(w *writer, req *v1alpha1.AccessRequest) {
	at := c.now()
	c.change(w, req, "ended", func(s *v1alpha1.AccessRequestStatus) {
		s.State, s.Grant.EndedAt, s.Grant.EndReason = v1alpha1.StateExpired, &at, v1alpha1.ReasonExpired
	})
}

func (c *cluster) approve(w *writer, req *v1alpha1.AccessRequest) {
	d := builders.Decision("approve-"+req.Name, req, v1alpha1.VerdictApprove)
	d.UID, d.CreationTimestamp = types.UID("uid-"+d.Name), c.now()
	c.stamp(d)
	c.decisions = append(c.decisions, d)
	c.happened = append(c.happened, string(d.UID)+"/approved")
	if w != nil {
		w.Teller.inbox.decisions().Create(c.t.Context(), event.CreateEvent{Object: d}, w.queue)
	}
}

func (c *cluster) delete(w *writer, req *v1alpha1.AccessRequest) {
	delete(c.requests, client.ObjectKeyFromObject(req))
	c.stamp(req)
	c.happened = append(c.happened, string(req.UID)+"/forgotten")
	c.decisions = slices.DeleteFunc(c.decisions, func(d *v1alpha1.AccessDecision) bool { return d.Spec.RequestRef.UID == req.UID })
	w.Teller.inbox.requests().Delete(c.t.Context(), event.DeleteEvent{Object: req.DeepCopy()}, w.queue)
}

// toldIDs are the IDs of what the sink took about requests.
func (c *cluster) toldIDs() []string {
	var out []string
	for _, line := range c.taken {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			c.t.Fatal(err)
		}
		if r.Data.Request != nil {
			out = append(out, r.ID)
		}
	}
	return out
}

// check compares what was told with what happened, once each or more.
func (c *cluster) check() {
	c.t.Helper()
	told := c.toldIDs()
	for _, id := range c.happened {
		if !slices.Contains(told, id) {
			c.t.Errorf("%s was never told", id)
		}
	}
	for _, id := range told {
		if !slices.Contains(c.happened, id) {
			c.t.Errorf("%s was told and did not happen", id)
		}
	}
	v := audit.NewVerifier()
	if err := v.Read("sink", bytes.NewReader(bytes.Join(c.taken, []byte("\n")))); err != nil {
		c.t.Fatal(err)
	}
	if findings := v.Result().Findings; len(findings) > 0 {
		c.t.Error(findings)
	}
}

func TestEachThingIsToldOnceAndInOrder(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	req := c.ask(w, "debug")
	w.tellAll()
	c.approve(w, req)
	c.grant(w, req)
	w.tellAll()
	c.end(w, req)
	c.end(w, req) // and says so again
	w.tellAll()
	c.delete(w, req)
	w.tellAll()
	want := []string{"uid-debug/asked", "uid-approve-debug/approved", "uid-debug/granted", "uid-debug/ended", "uid-debug/forgotten"}
	if got := c.toldIDs(); !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	if len(w.told) > 0 {
		t.Errorf("remembered of what is gone: %v", w.told)
	}
}

func TestAnApprovalIsToldBeforeWhatItLetHappen(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	req := c.ask(w, "debug")
	c.grant(w, req)
	req.Status.Approvals = []v1alpha1.Approval{{Decision: "approve-debug", Reviewer: "bob", Time: c.now()}}
	w.tellAll()
	if got := c.toldIDs(); len(got) > 0 {
		t.Errorf("told before the decision was seen: %v", got)
	}
	c.clock.Step(patience + time.Second)
	w.tellAll()
	if got := c.toldIDs(); len(got) != 2 {
		t.Errorf("told of a decision that was deleted: %v", got)
	}
}

func TestWhatWasToldBeforeTheCheckpointIsNotToldAgain(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	req := c.ask(w, "debug")
	c.grant(w, req)
	w.tellAll()
	w.all.checkpoint(t.Context())
	w = c.started()
	w.tellAll()
	c.end(w, req)
	w.tellAll()
	if got := c.toldIDs(); len(got) != 3 {
		t.Errorf("told %v", got)
	}
	c.check()
	// Whoever takes the checkpoint away has all told again.
	c.lease = nil
	w = c.started()
	w.tellAll()
	if got := c.toldIDs(); len(got) != 6 {
		t.Errorf("without a checkpoint told %v", got)
	}
}

func TestACheckpointFromTheFutureSilencesNothing(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.ask(w, "debug")
	w.tellAll()
	w.all.checkpoint(t.Context())
	c.lease.Annotations[checkpointAnnotation+"memory"] = `{"requests":9000000000000000000,"decisions":9000000000000000000}`
	w = c.started()
	c.ask(w, "silenced")
	w.tellAll()
	c.check()
}

func TestACheckpointWaitsForWhatIsNotDelivered(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	done := c.ask(w, "done")
	w.tellAll()
	c.away = true
	c.grant(w, done)
	c.ask(w, "later")
	w.tellAll()
	w.all.checkpoint(t.Context())
	w = c.started() // the one before was killed with what it had not delivered
	c.away = false
	w.tellAll()
	c.check()
}

func TestWhatIsDeletedWhileASinkIsAwayIsKeptForItOrCounted(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	kept, missed := c.ask(w, "kept"), c.ask(w, "missed")
	c.away = true
	w.tellAll()
	c.delete(w, kept)
	w.inbox.kept = maxKept
	c.delete(w, missed)
	c.happened = slices.DeleteFunc(c.happened, func(id string) bool { return id == string(missed.UID)+"/forgotten" })
	c.away = false
	if err := w.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.tellAll()
	c.check()
	var of []int64
	for _, line := range c.taken {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		if r.Type == audit.WriterMissed {
			of = append(of, r.Data.Missed)
		}
	}
	if !slices.Equal(of, []int64{1}) {
		t.Errorf("missed %v, want one", of)
	}
}

func TestAWriterThatWroteNothingLeavesItsPredecessorKnown(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.ask(w, "debug")
	w.tellAll()
	w.all.checkpoint(t.Context())
	c.away = true
	w = c.started()
	w.tellAll()
	w.all.checkpoint(t.Context())
	if got, err := w.checkpoints.read(t.Context(), "memory"); err != nil || got.Head.Writer != "writer-1/memory" {
		t.Errorf("%+v, %v", got, err)
	}
}

// An hour without the sink, and a kill meanwhile.
func TestNothingIsLostWhileASinkIsAway(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.away = true
	for i := range 300 {
		c.clock.Step(12 * time.Second)
		req := c.ask(w, fmt.Sprint("r-", i))
		c.grant(w, req)
		w.tellAll()
		if i%5 == 0 {
			w.all.checkpoint(t.Context())
		}
		if i == 150 {
			w = c.started()
		}
	}
	c.away = false
	w.tellAll()
	c.check()
}

// Kills come between any two steps of the operator, and between the telling and the delivery.
func TestKillsLoseNothing(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same each time
		c := newCluster(t)
		w, kills := c.started(), 0
		// Something happens while nobody sees it, or before who sees it can tell.
		step := func(do func(*writer)) {
			switch random.IntN(8) {
			case 0:
				do(nil)
				w, kills = c.started(), kills+1
			case 1:
				do(w)
				w, kills = c.started(), kills+1
			case 2:
				do(w)
				c.away = true
				w.tellAll()
				w.all.checkpoint(t.Context())
				c.away = false
				w, kills = c.started(), kills+1
			case 3:
				do(w)
				w.tellAll()
				w.all.checkpoint(t.Context())
			default:
				do(w)
				w.tellAll()
			}
		}
		for i := range 10 {
			var req *v1alpha1.AccessRequest
			step(func(w *writer) { req = c.ask(w, fmt.Sprint("r-", i)) })
			step(func(w *writer) { c.approve(w, req) })
			step(func(w *writer) { c.grant(w, req) })
			step(func(w *writer) { c.end(w, req) })
		}
		w.tellAll()
		c.check()
		if kills == 0 {
			t.Error("there were no kills")
		}
	}
}

func TestAGapOfTheAdmissionPoliciesIsTold(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	for _, c.gap = range []string{"", "lapse-decision is missing", "lapse-decision is missing", ""} {
		c.clock.Step(time.Second)
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	w.deliver(t.Context())
	got := make([]string, 0, len(c.taken))
	for _, line := range c.taken {
		var r audit.Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, string(r.Type)+" "+r.Data.Gap)
	}
	want := []string{
		string(audit.WriterBegan) + " ",
		string(audit.GapBegan) + " lapse-decision is missing", string(audit.GapEnded) + " lapse-decision is missing",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAWriterSaysThatItEnds(t *testing.T) {
	c := newCluster(t)
	w := c.started()
	c.ask(w, "debug")
	w.tellAll()
	w.all.close(t.Context())
	next := c.started()
	c.ask(next, "other")
	next.tellAll()
	v := audit.NewVerifier()
	if err := v.Read("sink", bytes.NewReader(bytes.Join(c.taken, []byte("\n")))); err != nil {
		t.Fatal(err)
	}
	if got := v.Result(); len(got.Findings) > 0 || !slices.Equal(got.Open, []string{"writer-2/memory"}) {
		t.Errorf("%+v", got)
	}
	if err := w.book.add(audit.Record{}); !errors.Is(err, errClosed) {
		t.Errorf("written after the end: %v", err)
	}
}
