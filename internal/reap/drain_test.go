// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package reap

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// cluster has RoleBindings, and a clock that goes on when somebody pauses.
type cluster struct {
	mu       sync.Mutex
	now      time.Time
	bindings map[string]*rbacv1.RoleBinding // by namespace and name
	refuses  map[string]error               // deletions, by namespace
	hangs    string                         // deletions there are never answered
	deaf     bool                           // an operator that does nothing
	mayEmpty bool
	late     string // a grant that is made when everything was seen to be ended
	told     []string
	asked    []string
	stops    error
}

func newCluster(names ...string) *cluster {
	c := &cluster{now: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), bindings: map[string]*rbacv1.RoleBinding{}, refuses: map[string]error{}}
	for _, name := range names {
		c.add(name)
	}
	return c
}

// add makes a grant that has an hour left.
func (c *cluster) add(name string) {
	namespace, name, _ := strings.Cut(name, "/")
	c.bindings[namespace+"/"+name] = &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "lapse-" + name, UID: types.UID(namespace + name), CreationTimestamp: metav1.NewTime(c.now),
			Labels:      map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "uid"},
			Annotations: map[string]string{v1alpha1.ExpiresAtAnnotation: "2026-12-01T13:00:00Z"},
		},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: "alice"}},
	}
}

func (c *cluster) List(context.Context, int64, string) (*rbacv1.RoleBindingList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := &rbacv1.RoleBindingList{}
	for _, b := range c.bindings {
		list.Items = append(list.Items, *b.DeepCopy())
	}
	return list, nil
}

func (c *cluster) Delete(ctx context.Context, namespace, name string, _ types.UID) error {
	if namespace == c.hangs {
		<-ctx.Done()
		return ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuses[namespace]; err != nil {
		return err
	}
	key := namespace + "/" + strings.TrimPrefix(name, "lapse-")
	if b := c.bindings[key]; b == nil {
		return apierrors.NewNotFound(rbacv1.Resource("rolebindings"), name)
	} else if len(b.Finalizers) == 0 {
		delete(c.bindings, key)
	}
	return nil
}

func (c *cluster) ask(_ context.Context, b *rbacv1.RoleBinding) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := b.Namespace + "/" + strings.TrimPrefix(b.Name, "lapse-")
	c.asked = append(c.asked, key)
	if b.Namespace == "mute" {
		return errors.New("you may not")
	}
	if !c.deaf {
		delete(c.bindings, key)
	}
	return nil
}

func (c *cluster) empty(_ context.Context, b *rbacv1.RoleBinding) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mayEmpty {
		return errors.New("you may not bind this role")
	}
	c.bindings[b.Namespace+"/"+strings.TrimPrefix(b.Name, "lapse-")].Subjects = nil
	return nil
}

func (c *cluster) pause(_ context.Context, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now = c.now.Add(d); len(c.bindings) == 0 && c.late != "" {
		c.add(c.late)
		c.late = ""
	}
}

// drain has two minutes by that clock, and a second by that of the test.
func (c *cluster) drain(t *testing.T, asks bool) Drained {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	until := c.now.Add(2 * time.Minute)
	d := Drain{
		Reaper: Reaper{RoleBindings: c, Now: func() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }, Ceiling: 24 * time.Hour},
		Stop:   func(context.Context) error { return c.stops },
		Empty:  c.empty,
		Pause: func(ctx context.Context, d time.Duration) {
			if c.pause(ctx, d); c.now.After(until) {
				cancel()
			}
		},
		Told: func(b Binding) { c.told = append(c.told, b.Namespace+"/"+b.Name) },
	}
	if asks {
		d.Ask = c.ask
	}
	return d.Run(ctx)
}

func TestDrainEndsWhatHasTimeLeft(t *testing.T) {
	c := newCluster("a/one", "a/two", "b/three")
	c.bindings["a/stranger"] = &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "lapse-photo-app-deadbeef", UID: "s"}, Subjects: []rbacv1.Subject{{Name: "bob"}},
	}
	got := c.drain(t, false)
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
			began := c.now
			got := c.drain(t, true)
			if got.Ended != 2 || len(got.Left) > 0 || len(c.asked) != 2 {
				t.Errorf("%+v; asked for %v", got, c.asked)
			}
			if took := c.now.Sub(began); took < tc.want || took > tc.want+settle+3*time.Second {
				t.Errorf("it took %s", took)
			}
			// Nobody could be asked about the second one, so it went in the first round.
			if c.told[0] != "mute/lapse-two" {
				t.Errorf("told of %v", c.told)
			}
		})
	}
}

func TestDrainGoesOnBesideOneThatHangsOrFails(t *testing.T) {
	names := append(make([]string, 0, 22), "hangs/one", "fails/one")
	for i := range 20 {
		names = append(names, fmt.Sprintf("ns-%02d/one", i))
	}
	c := newCluster(names...)
	c.hangs, c.refuses["fails"] = "hangs", errors.New("webhook")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := 0
	d := Drain{
		Reaper: Reaper{RoleBindings: c, Now: func() time.Time { return c.now }, Ceiling: 24 * time.Hour},
		Stop:   func(context.Context) error { return nil },
		Pause:  func(context.Context, time.Duration) { cancel() },
		Told:   func(Binding) { ended++ },
	}
	got := d.Run(ctx)
	if ended != 20 || len(got.Left) != 2 {
		t.Fatalf("%d ended, left are %+v", ended, got.Left)
	}
	const failed = "/lapse-one: access goes on, the deletion failed: "
	for i, want := range []string{"fails" + failed + "webhook", "hangs" + failed + "context"} {
		if b := got.Left[i]; !strings.HasPrefix(b.Namespace+"/"+b.Name+": "+b.Err.Error(), want) {
			t.Errorf("left is %s/%s: %v", b.Namespace, b.Name, b.Err)
		}
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
			got := c.drain(t, false)
			switch {
			case tc.left == "" && (len(got.Left) > 0 || got.Ended != 1):
				t.Errorf("%+v", got)
			case tc.left != "" && (len(got.Left) != 1 || !strings.Contains(got.Left[0].Err.Error(), tc.left) || got.Ended != 0):
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestDrainLooksAgainForAGrantThatWasOnItsWay(t *testing.T) {
	c := newCluster("a/one")
	c.late = "a/late"
	if got := c.drain(t, false); got.Ended != 2 || len(c.bindings) > 0 {
		t.Errorf("%+v, and %d are there", got, len(c.bindings))
	}
}

func TestDrainEndsAccessThoughNewGrantsCannotBeStopped(t *testing.T) {
	c := newCluster("a/one")
	c.stops = errors.New("you may not")
	if got := c.drain(t, false); got.Ended != 1 || got.Stopped == nil || got.Stopped.Error() != "you may not" {
		t.Errorf("%+v", got)
	}
}

func TestDrainSaysThatTimeWasUpBeforeTheLastLook(t *testing.T) {
	c := newCluster("a/one")
	ctx, cancel := context.WithCancel(t.Context())
	d := Drain{
		Reaper: Reaper{RoleBindings: c, Now: func() time.Time { return c.now }, Ceiling: 24 * time.Hour},
		Stop:   func(context.Context) error { return nil },
		Pause: func(_ context.Context, d time.Duration) {
			if d == settle {
				cancel()
			}
		},
		Told: func(Binding) {},
	}
	if got := d.Run(ctx); got.Ended != 1 || got.Stopped == nil || !strings.Contains(got.Stopped.Error(), "on its way") {
		t.Errorf("%+v", got)
	}
}
