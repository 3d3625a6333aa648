// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package reap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// cluster has RoleBindings.
type cluster struct {
	mu       sync.Mutex
	bindings map[string]*rbacv1.RoleBinding // by namespace and name
	refuses  map[string]error               // deletions, by namespace
	pins     bool                           // whatever is deleted gets a finalizer before
	hangs    string                         // a verb and a namespace, or list: what is never answered
	fails    func(look int) bool            // whether a list fails
	looks    int
	deaf     bool // an operator that does nothing
	mayEmpty bool
	told     []string
	asked    []string
}

func newCluster(names ...string) *cluster {
	c := &cluster{
		bindings: map[string]*rbacv1.RoleBinding{}, refuses: map[string]error{}, fails: func(int) bool { return false },
	}
	for _, name := range names {
		c.add(name)
	}
	return c
}

// add makes a grant that has time left.
func (c *cluster) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	namespace, name, _ := strings.Cut(name, "/")
	c.bindings[namespace+"/"+name] = &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "lapse-" + name, UID: types.UID(namespace + name),
			CreationTimestamp: metav1.NewTime(time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)),
			Labels:            map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "uid"},
			Annotations:       map[string]string{v1alpha1.ExpiresAtAnnotation: "2026-12-01T13:00:00Z"},
		},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}},
	}
}

// begin takes a call, unless it hangs.
func (c *cluster) begin(ctx context.Context, call string) error {
	if call == c.hangs {
		<-ctx.Done()
	}
	c.mu.Lock()
	return ctx.Err()
}

func (c *cluster) List(ctx context.Context, _ int64, _ string) (*rbacv1.RoleBindingList, error) {
	err := c.begin(ctx, "list")
	defer c.mu.Unlock()
	if c.looks++; err == nil && c.fails(c.looks) {
		err = errors.New("etcd is away")
	}
	if err != nil {
		return nil, err
	}
	list := &rbacv1.RoleBindingList{}
	for _, b := range c.bindings {
		list.Items = append(list.Items, *b.DeepCopy())
	}
	return list, nil
}

func (c *cluster) Delete(ctx context.Context, namespace, name string, uid types.UID) error {
	err := c.begin(ctx, "delete "+namespace)
	defer c.mu.Unlock()
	if err != nil {
		return err
	}
	if err := c.refuses[namespace]; err != nil {
		return err
	}
	key := namespace + "/" + strings.TrimPrefix(name, "lapse-")
	b := c.bindings[key]
	switch {
	case b == nil:
		return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), name)
	case b.UID != uid:
		return apierrors.NewConflict(rbacv1.Resource("rolebindings"), name, errAnother)
	case c.pins:
		b.Finalizers = []string{"example.com/pin"}
	case len(b.Finalizers) == 0:
		delete(c.bindings, key)
	}
	return nil
}

// errAnother is how the API server says that another object has the name, and errRace how it does
// if that was made meanwhile.
var (
	errAnother = errors.New("the UID in the precondition (a) does not match the UID in record (b). " +
		"The object might have been deleted and then recreated")
	errRace = fmt.Errorf("%s: UID in precondition: a, UID in object meta: b", "Precondition failed")
)

func (c *cluster) ask(ctx context.Context, b *rbacv1.RoleBinding) error {
	err := c.begin(ctx, "ask "+b.Namespace)
	defer c.mu.Unlock()
	key := b.Namespace + "/" + strings.TrimPrefix(b.Name, "lapse-")
	c.asked = append(c.asked, key)
	if err != nil || b.Namespace == "mute" {
		return errors.New("you may not")
	}
	if !c.deaf {
		delete(c.bindings, key)
	}
	return nil
}

func (c *cluster) empty(ctx context.Context, b *rbacv1.RoleBinding) error {
	err := c.begin(ctx, "empty "+b.Namespace)
	defer c.mu.Unlock()
	if err != nil || !c.mayEmpty {
		return errors.New("you may not bind this role")
	}
	c.bindings[b.Namespace+"/"+strings.TrimPrefix(b.Name, "lapse-")].Subjects = nil
	return nil
}

// drainer drains the cluster, and asks nobody.
func (c *cluster) drainer() Drain {
	return Drain{
		Reaper: Reaper{RoleBindings: c, Now: time.Now, Ceiling: 24 * time.Hour},
		Stop:   func(context.Context) error { return nil },
		Empty:  c.empty,
		Pause: func(ctx context.Context, d time.Duration) {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		},
		Told: func(b Binding) { c.told = append(c.told, b.Namespace+"/"+b.Name) },
	}
}

// drain has two minutes. What is to be different is changed before.
func (c *cluster) drain(t *testing.T, change func(*Drain)) (got Drained, took time.Duration) {
	t.Helper()
	return c.drainIn(t, 2*time.Minute, change)
}

// drainIn has as long as that, by a clock that nobody waits for.
func (c *cluster) drainIn(t *testing.T, limit time.Duration, change func(*Drain)) (got Drained, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		began, d := time.Now(), c.drainer()
		change(&d)
		got = d.Run(ctx)
		took = time.Since(began)
		<-time.After(time.Hour) // whatever still goes on has to end
	})
	return got, took
}

func asItIs(*Drain) {}

func TestDrainEndsWhatHasTimeLeft(t *testing.T) {
	c := newCluster("a/one", "a/two", "b/three")
	c.bindings["a/stranger"] = &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "lapse-photo-app-deadbeef", UID: "s"}, Subjects: []rbacv1.Subject{{Name: "bob"}},
	}
	got, _ := c.drain(t, asItIs)
	if got.Ended != 3 || len(got.Left) > 0 || got.Stopped != nil || len(c.bindings) != 1 || len(c.told) != 3 {
		t.Errorf("%+v, told of %v, %d bindings are there", got, c.told, len(c.bindings))
	}
}

func TestDrainAsksTheOperatorAndDoesItWhereThatIsOfNoUse(t *testing.T) {
	for name, tc := range map[string]struct {
		deaf bool
		want time.Duration // until the first deletion, at the least
	}{
		"an operator that ends it": {false, 0},
		"one that is away":         {true, askedFor},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster("a/one", "mute/two")
			c.deaf = tc.deaf
			got, took := c.drain(t, func(d *Drain) { d.Ask = c.ask })
			if got.Ended != 2 || len(got.Left) > 0 || len(c.asked) != 2 {
				t.Errorf("%+v; asked for %v", got, c.asked)
			}
			if took < tc.want || took > tc.want+settle+3*time.Second {
				t.Errorf("it took %s", took)
			}
			// Nobody could be asked about the second one, so it went in the first round.
			if c.told[0] != "mute/lapse-two" {
				t.Errorf("told of %v", c.told)
			}
		})
	}
}

func TestDrainSaysThatTheOperatorWasAskedWhenTimeIsUp(t *testing.T) {
	c := newCluster("a/one")
	c.deaf = true
	got, _ := c.drainIn(t, askedFor/2, func(d *Drain) { d.Ask = c.ask })
	if got.Ended != 0 || len(got.Left) != 1 || !errors.Is(got.Left[0].Err, errAsked) {
		t.Errorf("%+v", got)
	}
}

func TestDrainGoesOnBesideOneThatHangsOrFails(t *testing.T) {
	names := append(make([]string, 0, 22), "hangs/one", "fails/one")
	for i := range 20 {
		names = append(names, fmt.Sprintf("ns-%02d/one", i))
	}
	c := newCluster(names...)
	c.hangs, c.refuses["fails"] = "delete hangs", errors.New("webhook")
	var got Drained
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		d := c.drainer()
		d.Pause = func(context.Context, time.Duration) { cancel() } // after one round
		got = d.Run(ctx)
	})
	if len(c.told) != 20 || len(got.Left) != 2 {
		t.Fatalf("%d ended, left are %+v", len(c.told), got.Left)
	}
	const failed = "/lapse-one: access goes on, the deletion failed: "
	for i, want := range []string{"fails" + failed + "webhook", "hangs" + failed + "context"} {
		if b := got.Left[i]; !strings.HasPrefix(b.Namespace+"/"+b.Name+": "+b.Err.Error(), want) {
			t.Errorf("left is %s/%s: %v", b.Namespace, b.Name, b.Err)
		}
	}
}

func TestDrainWaitsForNoAnswerForLong(t *testing.T) {
	for hangs, tc := range map[string]struct {
		asks    bool             // the operator
		refuses map[string]error // deletions, in the first second
		ended   int
		unread  error
		took    time.Duration // at the most
	}{
		"ask a":   {true, map[string]error{}, 2, nil, callTimeout + settle + 3*time.Second}, // then it does it itself
		"empty a": {false, map[string]error{"a": errors.New("webhook")}, 2, nil, callTimeout + settle + 3*time.Second},
		"list":    {false, map[string]error{}, 0, context.DeadlineExceeded, 2*time.Minute + lookTimeout},
	} {
		t.Run(hangs, func(t *testing.T) {
			c := newCluster("a/one", "b/two")
			c.hangs, c.refuses = hangs, tc.refuses
			got, took := c.drain(t, func(d *Drain) {
				time.AfterFunc(time.Second, func() { c.mu.Lock(); defer c.mu.Unlock(); clear(c.refuses) })
				if tc.asks {
					d.Ask = c.ask
				}
			})
			if got.Ended != tc.ended || len(got.Left) > 0 || !errors.Is(got.Unread, tc.unread) || took > tc.took {
				t.Errorf("%+v, after %s", got, took)
			}
		})
	}
}

func TestDrainTakesTheSubjectsOffWhatStays(t *testing.T) {
	for name, tc := range map[string]struct {
		mayEmpty bool
		left     string
	}{
		"who may":     {true, ""},
		"who may not": {false, "example.com/pin; take the subjects off with: kubectl patch rolebinding -n a lapse-one"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster("a/one")
			c.mayEmpty, c.bindings["a/one"].Finalizers = tc.mayEmpty, []string{"example.com/pin"}
			got, _ := c.drain(t, asItIs)
			switch {
			case tc.left == "" && (len(got.Left) > 0 || got.Ended != 1):
				t.Errorf("%+v", got)
			case tc.left != "" && (len(got.Left) != 1 || !strings.Contains(got.Left[0].Err.Error(), tc.left) || got.Ended != 0):
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestWhetherABindingIsOver(t *testing.T) {
	bindings, webhook, pin := rbacv1.Resource("rolebindings"), errors.New("webhook"), []string{"example.com/pin"}
	missing := apierrors.NewNotFound(bindings, "lapse-one")
	another, raced := apierrors.NewConflict(bindings, "lapse-one", errAnother), apierrors.NewConflict(bindings, "lapse-one", errRace)
	hooked := apierrors.NewNotFound(corev1.Resource("configmaps"), "rules")
	edited := apierrors.NewConflict(bindings, "lapse-one", errors.New("the object has been modified"))
	ours := []string{metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}
	nobody, noRole := errors.New("nobody may take subjects off"), apierrors.NewNotFound(rbacv1.Resource("clusterroles"), "edit")
	const failed, stays = "access goes on, the deletion failed: ", "access goes on, finalizers keep the object: "
	for name, tc := range map[string]struct {
		deletion   error
		finalizers []string
		emptying   error
		want       string // empty: it is
	}{
		"it is deleted":                         {nil, nil, nobody, ""},
		"it went by itself":                     {missing, nil, nobody, ""},
		"another one has its name":              {another, nil, nobody, ""},
		"another one came to have its name":     {raced, nil, nobody, ""},
		"a webhook does not find what it needs": {hooked, nil, nobody, failed},
		"it was edited meanwhile":               {edited, nil, nobody, failed},
		"it cannot be deleted":                  {webhook, nil, nobody, failed + "webhook"},
		"it is emptied instead":                 {webhook, nil, nil, ""},
		"it went before it was emptied":         {webhook, nil, missing, ""},
		"another one has its name by then":      {webhook, nil, another, ""},
		"it can be neither deleted nor emptied": {webhook, nil, edited, "webhook; and its subjects could not be taken off: "},
		"something keeps it":                    {nil, pin, nobody, stays + pin[0]},
		"something keeps it, and it is emptied": {nil, pin, nil, ""},
		"something keeps it, its role is gone":  {nil, pin, noRole, stays + pin[0]},
		"what the garbage collector waits for":  {nil, ours, nobody, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster("a/one")
			c.refuses["a"], c.bindings["a/one"].Finalizers = tc.deletion, tc.finalizers
			s := &draining{Drain: c.drainer(), known: map[types.UID]*attempt{}}
			s.Reaper.All = true
			if s.Empty = func(context.Context, *rbacv1.RoleBinding) error { return tc.emptying }; errors.Is(tc.emptying, nobody) {
				s.Empty = nil
			}
			held, err := s.look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = s.remove(t.Context(), held[0])
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestDrainCountsNothingThatWasSaidToHaveEndedAndDidNot(t *testing.T) {
	c := newCluster("a/one")
	c.pins = true
	got, _ := c.drain(t, asItIs)
	if got.Ended != 0 || got.Stopped != nil || len(got.Left) != 1 || !strings.Contains(got.Left[0].Err.Error(), "finalizers keep the object") {
		t.Errorf("%+v", got)
	}
}

func TestDrainLooksAgainForAGrantThatWasOnItsWay(t *testing.T) {
	for name, tc := range map[string]struct {
		made    time.Duration
		stopped time.Duration
		fails   int // the look that does
	}{
		"just before the last look":           {400*time.Millisecond + settle, 0, 0},
		"just after grants were stopped":      {time.Minute + settle - time.Millisecond, time.Minute, 0},
		"though nothing was known at first":   {lookEvery + settle + 400*time.Millisecond, 0, 1},
		"though nothing was known at the end": {400*time.Millisecond + settle, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster("a/one")
			c.fails = func(look int) bool { return look == tc.fails }
			got, _ := c.drain(t, func(d *Drain) {
				time.AfterFunc(tc.made, func() { c.add("a/late") })
				d.Stop = func(context.Context) error { <-time.After(tc.stopped); return nil }
			})
			if got.Ended != 2 || len(got.Left) > 0 || len(c.bindings) > 0 {
				t.Errorf("%+v, and %d are there", got, len(c.bindings))
			}
		})
	}
}

func TestDrainSaysThatTimeWasUpBeforeTheLastLook(t *testing.T) {
	for _, tc := range []struct {
		limit time.Duration
		want  string
	}{
		{lookEvery + settle/2, "time was up; a grant may be on its way for 10s"},
		{2*lookEvery + settle, "<nil>"},
	} {
		got, _ := newCluster("a/one").drainIn(t, tc.limit, asItIs)
		if got.Ended != 1 || fmt.Sprint(got.Stopped) != tc.want {
			t.Errorf("in %s: %+v", tc.limit, got)
		}
	}
}

func TestDrainTakesNothingForEndedThatItCannotList(t *testing.T) {
	for name, tc := range map[string]struct {
		deletion error
		fails    func(look int) bool
		ended    int
		unread   bool
	}{
		"at first":                    {nil, func(look int) bool { return look <= 2 }, 1, false},
		"ever":                        {nil, func(int) bool { return true }, 0, true},
		"after it was ended":          {nil, func(look int) bool { return look > 1 }, 1, true},
		"after it could not be ended": {errors.New("webhook"), func(look int) bool { return look > 1 }, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster("a/one")
			c.fails, c.refuses["a"] = tc.fails, tc.deletion
			got, _ := c.drain(t, asItIs)
			if got.Ended != tc.ended || len(c.told) != tc.ended || len(got.Left) > 0 || (got.Unread != nil) != tc.unread {
				t.Errorf("%+v, told of %v", got, c.told)
			}
		})
	}
}

func TestDrainSaysWhyNewGrantsMayBeMade(t *testing.T) {
	for name, tc := range map[string]struct {
		deletion error
		after    time.Duration
		ended    int
		want     string
	}{
		"they cannot be stopped":                   {nil, 0, 1, "you may not"},
		"they cannot be stopped, in all that time": {errors.New("webhook"), 0, 0, "you may not"},
		"nobody knows in time":                     {nil, 3 * time.Minute, 1, "time was up before grants were stopped"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // both may be known at once: that time is up, and what came of it
				c := newCluster("a/one")
				c.refuses["a"] = tc.deletion
				got, _ := c.drain(t, func(d *Drain) {
					d.Stop = func(context.Context) error { <-time.After(tc.after); return errors.New("you may not") }
				})
				if got.Ended != tc.ended || got.Stopped == nil || got.Stopped.Error() != tc.want {
					t.Fatalf("%+v", got)
				}
			}
		})
	}
}

func TestDrainWithoutTimeLeavesAllInOrder(t *testing.T) {
	names := []string{"a/five", "a/four", "a/one", "a/six", "a/three", "a/two", "b/one", "c/one"}
	c := newCluster()
	for _, name := range slices.Backward(names) {
		c.add(name)
	}
	got, _ := c.drainIn(t, 0, asItIs)
	if got.Ended != 0 || got.Unread != nil || len(c.bindings) != len(names) || len(got.Left) != len(names) {
		t.Fatalf("%+v", got)
	}
	for i, b := range got.Left {
		if name := b.Namespace + "/" + strings.TrimPrefix(b.Name, "lapse-"); name != names[i] || b.Err == nil ||
			b.Err.Error() != "time was up before it was ended" {
			t.Errorf("left is %s: %v", name, b.Err)
		}
	}
}
