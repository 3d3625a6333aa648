// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// singles is how many are asked for one after the other.
	singles = 100
	// burst is how many are asked for at once.
	burst = 1000
	// atOnce is how many ask or write at once.
	atOnce = 16
	// loadTimeout bounds what is waited for.
	loadTimeout = 3 * time.Minute
)

// BenchmarkLoad measures what many people feel, next to plain writes of RoleBindings on the
// same API server. Each round has all measurements; -benchtime 5x gives five of each, of
// which the table has the median and the range. It prints Markdown.
func BenchmarkLoad(b *testing.B) {
	ctx := b.Context()
	l := newLoad(ctx, b)
	for b.Loop() {
		l.round++
		l.baseline(ctx)
		l.yes(ctx)
		l.revoke(ctx)
		l.burst(ctx, 20)
		l.burst(ctx, 1)
	}
	b.ReportMetric(0, "ns/op")
	fmt.Println(l)
}

// load is a scene and what was measured in it.
type load struct {
	*testing.B
	plane   *controlplane.ControlPlane
	manager *operator.Manager
	watches client.WithWatch
	admin   client.Client
	askers  []client.Client
	owner   client.Client
	carol   client.Client // who may write and holds nothing
	round   int

	names   []string // of the measurements, in order
	figures map[string][]float64
}

func newLoad(ctx context.Context, b *testing.B) *load {
	b.Helper()
	l := &load{B: b, plane: operator.NewPlane(ctx, b, controlplane.Options{ControllerManager: true}), figures: map[string][]float64{}}
	l.manager = operator.NewManager(ctx, b, l.plane, io.Discard)
	l.admin = operator.NewClient(b, l.plane.AdminConfig())
	watches, err := client.NewWithWatch(l.plane.AdminConfig(), client.Options{Scheme: operator.Scheme()})
	check(b, err)
	l.watches, l.owner = watches, operator.NewUser(b, l.plane, "owner", "owners")
	l.carol = operator.NewUser(b, l.plane, "carol", "owners")
	for i := range atOnce {
		l.askers = append(l.askers, operator.NewUser(b, l.plane, fmt.Sprint("asker-", i), "askers"))
	}
	asks, rbac := []string{"create", "get", "delete"}, "rbac.authorization.k8s.io"
	operator.Create(ctx, b, l.admin,
		builders.ClusterRole("reader", builders.Rule("", "configmaps", "get")), builders.Bindable("clusterroles", "reader"),
		builders.ClusterRole("asker",
			builders.Rule("lapse.dev", "accessrequests", asks...), builders.Rule("lapse.dev", "accessdecisions", asks...),
			builders.Rule("", "secrets", "create"), builders.Rule("", "serviceaccounts", "create"),
			builders.Rule(rbac, "rolebindings", "create"), builders.Rule(rbac, "clusterroles", "bind")),
		builders.ClusterBinding("askers", "asker", builders.Group("askers")),
		builders.ClusterBinding("owners", "asker", builders.Group("owners")),
		builders.Policy("load").From(builders.Group("askers")).Allowing("reader").Selecting("load", "yes").Build())
	l.memory("RSS, empty, MiB")
	return l
}

// namespace is a new one that the policy is for.
func (l *load) namespace(ctx context.Context) string {
	l.Helper()
	return operator.NewNamespace(ctx, l.B, l.admin, "load", "yes")
}

func (l *load) note(name string, value float64) {
	if _, there := l.figures[name]; !there {
		l.names = append(l.names, name)
	}
	l.figures[name] = append(l.figures[name], value)
}

func (l *load) memory(name string) {
	l.Helper()
	rss, err := l.manager.Memory()
	check(l.B, err)
	l.note(name, float64(rss)/(1<<20))
}

// String is the table.
func (l *load) String() string {
	var s strings.Builder
	s.WriteString("| measure | median | range |\n|---|---|---|\n")
	for _, name := range l.names {
		all := slices.Sorted(slices.Values(l.figures[name]))
		fmt.Fprintf(&s, "| %s | %.4g | %.4g to %.4g |\n", name, all[len(all)/2], all[0], all[len(all)-1])
	}
	return s.String()
}

// last is the newest figure of a name.
func (l *load) last(name string) float64 {
	all := l.figures[name]
	return all[len(all)-1]
}

// The plain writes that all else is compared with, and plain reads.
const (
	creates     = "R: RoleBindings created in a second, 16 at once"
	deletes     = "D: RoleBindings deleted in a second, 16 at once"
	createTakes = "L: one created, p50, ms"
	createShown = "L_yes: one created, until a watch shows it, p50, ms"
	deleteTakes = "L_del: one deleted, p50, ms"
)

// baseline writes RoleBindings as an admin, to nobody's rights.
func (l *load) baseline(ctx context.Context) {
	ns := l.namespace(ctx)
	named := func(i int) client.Object {
		return builders.Binding(ns, fmt.Sprintf("plain-%04d", i), "reader", builders.User("nobody"))
	}
	created, shown := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	deleted, got := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
	watched, stop := context.WithCancel(ctx)
	made := l.watch(watched, &rbacv1.RoleBindingList{}, added)
	for i := range singles {
		one, begun := named(i), time.Now()
		created = append(created, timed(func() { check(l.B, l.admin.Create(ctx, one)) }))
		shown = append(shown, made.of(ctx, l.B, one.GetUID()).Sub(begun))
		deleted = append(deleted, timed(func() { check(l.B, l.admin.Delete(ctx, named(i))) }))
	}
	stop()
	l.note(createTakes, milliseconds(quantile(created, 0.5)))
	l.note(createShown, milliseconds(quantile(shown, 0.5)))
	l.note(deleteTakes, milliseconds(quantile(deleted, 0.5)))
	l.note(creates, burst/timed(func() { l.each(func(i int) { check(l.B, l.admin.Create(ctx, named(i))) }) }).Seconds())
	read := func(i int) { check(l.B, l.admin.Get(ctx, client.ObjectKeyFromObject(named(i)), &rbacv1.RoleBinding{})) }
	for i := range singles {
		got = append(got, timed(func() { read(i) }))
	}
	l.note("one read, p50, L", milliseconds(quantile(got, 0.5))/l.last(createTakes))
	l.note("reads in a second, 16 at once, of R", burst/timed(func() { l.each(read) }).Seconds()/l.last(creates))
	l.note(deletes, burst/timed(func() { l.each(func(i int) { check(l.B, l.admin.Delete(ctx, named(i))) }) }).Seconds())
}

func timed(do func()) time.Duration {
	begun := time.Now()
	do()
	return time.Since(begun)
}

// each does something for 0 to burst-1, some at once.
func (l *load) each(do func(i int)) {
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < burst; i += atOnce {
				do(i)
			}
		})
	}
	all.Wait()
}

func (l *load) ask(ctx context.Context, ns string, i int) *v1alpha1.AccessRequest {
	req := builders.Request(fmt.Sprintf("load-%05d", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
	check(l.B, wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		err := l.askers[i%len(l.askers)].Create(ctx, req)
		if apierrors.IsForbidden(err) {
			return false, nil // the first ones come before RBAC knows of them
		}
		return err == nil, err
	}))
	return req
}

// seen is when something was seen first of each object, by its UID.
type seen struct {
	mu   sync.Mutex
	at   map[types.UID]time.Time
	more chan struct{}
}

// watch notes when the objects of a list are first as they are wanted, from now on.
func (l *load) watch(ctx context.Context, list client.ObjectList, wanted func(watch.Event) (types.UID, bool)) *seen {
	l.Helper()
	check(l.B, l.watches.List(ctx, list, client.Limit(1)))
	from := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}
	w, err := l.watches.Watch(ctx, list, from)
	check(l.B, err)
	s := &seen{at: map[types.UID]time.Time{}, more: make(chan struct{}, 1)}
	go func() {
		for event := range w.ResultChan() {
			if uid, is := wanted(event); is {
				s.add(uid)
			}
		}
	}()
	return s
}

func (s *seen) add(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.at[uid]; !there {
		s.at[uid] = time.Now()
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// await returns when n were seen, and the latest.
func (s *seen) await(ctx context.Context, b *testing.B, n int) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		count, latest := len(s.at), time.Time{}
		for _, at := range s.at {
			if at.After(latest) {
				latest = at
			}
		}
		s.mu.Unlock()
		if count >= n {
			return latest
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			b.Fatalf("%d of %d after %s", count, n, loadTimeout)
		}
	}
}

// of is when an object was seen.
func (s *seen) of(ctx context.Context, b *testing.B, uid types.UID) time.Time {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	for {
		s.mu.Lock()
		at, there := s.at[uid]
		s.mu.Unlock()
		if there {
			return at
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			b.Fatalf("%s was not seen after %s", uid, loadTimeout)
		}
	}
}

// added are the RoleBindings that are made.
func added(e watch.Event) (types.UID, bool) {
	rb, ok := e.Object.(*rbacv1.RoleBinding)
	if !ok {
		return "", false
	}
	return rb.UID, e.Type == watch.Added
}

// held are the requests by which access is held, as RBAC hears of it: by a watch of RoleBindings.
func held(e watch.Event) (types.UID, bool) {
	rb, ok := e.Object.(*rbacv1.RoleBinding)
	if !ok {
		return "", false
	}
	return types.UID(rb.Labels[v1alpha1.RequestUIDLabel]), e.Type == watch.Added
}

// active are the requests by which access is held, as their status says.
func active(e watch.Event) (types.UID, bool) {
	req, ok := e.Object.(*v1alpha1.AccessRequest)
	if !ok {
		return "", false
	}
	return req.UID, req.Status.State == v1alpha1.StateActive
}

// released are the requests by whose RoleBindings nobody holds a role any more.
func released(e watch.Event) (types.UID, bool) {
	rb, ok := e.Object.(*rbacv1.RoleBinding)
	if !ok {
		return "", false
	}
	return types.UID(rb.Labels[v1alpha1.RequestUIDLabel]), e.Type == watch.Deleted || len(rb.Subjects) == 0
}

// yes asks one after the other, back to back and with a pause, and waits for two things: that
// access is held, which is the yes, and that status says so.
func (l *load) yes(ctx context.Context) {
	for i, name := range []string{"back to back", "with gaps"} {
		pause := time.Duration(i) * 150 * time.Millisecond
		ns := l.namespace(ctx)
		yes, said := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
		ctx, stop := context.WithCancel(ctx)
		access := l.watch(ctx, &rbacv1.RoleBindingList{}, held)
		given := l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
		for i := range singles {
			<-time.After(pause)
			begun := time.Now()
			uid := l.ask(ctx, ns, i).UID
			yes = append(yes, access.of(ctx, l.B, uid).Sub(begun))
			said = append(said, given.of(ctx, l.B, uid).Sub(begun))
		}
		stop()
		l.note("yes, p50, L_yes, "+name, milliseconds(quantile(yes, 0.5))/l.last(createShown))
		l.note("yes, p99, L_yes, "+name, milliseconds(quantile(yes, 0.99))/l.last(createShown))
		l.note("status says so, p50, L_yes, "+name, milliseconds(quantile(said, 0.5))/l.last(createShown))
		l.note("status says so, p99, L_yes, "+name, milliseconds(quantile(said, 0.99))/l.last(createShown))
	}
}

// lives has access given and, as soon as it is, ended, one after the other. It returns how
// long each end took.
func (l *load) lives(ctx context.Context) (ends []time.Duration) {
	ns := l.namespace(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	given := l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
	ended := l.watch(ctx, &rbacv1.RoleBindingList{}, released)
	for i := range singles {
		req := l.ask(ctx, ns, i)
		given.await(ctx, l.B, i+1)
		ends = append(ends, timed(func() {
			check(l.B, l.owner.Create(ctx, builders.Decision(req.Name, req, v1alpha1.VerdictRevoke)))
			ended.await(ctx, l.B, i+1)
		}))
	}
	return ends
}

// revoke measures ends, and what the operator asks the API server in a life.
func (l *load) revoke(ctx context.Context) {
	mark, err := l.plane.AuditMark()
	check(l.B, err)
	ends := l.lives(ctx)
	l.note("revoked right after the grant, p50, L_del", milliseconds(quantile(ends, 0.5))/l.last(deleteTakes))
	l.note("revoked right after the grant, p99, ms", milliseconds(quantile(ends, 0.99)))
	<-time.After(time.Second) // what comes after it
	events, err := l.plane.AuditEvents(mark)
	check(l.B, err)
	reads, writes := map[string]float64{}, 0.0
	for i := range events {
		e := &events[i]
		switch {
		case e.User.Username != operator.Username || e.ObjectRef == nil:
		case e.Verb == "get" || e.Verb == "list":
			reads[e.Verb+" "+e.ObjectRef.Resource]++
		case e.ObjectRef.Resource == "rolebindings" || e.ObjectRef.Resource == "accessrequests":
			writes++
		}
	}
	sum := 0.0
	for _, what := range slices.Sorted(maps.Keys(reads)) {
		l.note("reads in a life: "+what, reads[what]/singles)
		sum += reads[what]
	}
	l.note("reads in a life, all", sum/singles)
	l.note("writes in a life", writes/singles)
}

// burst has many ask at once.
func (l *load) burst(ctx context.Context, namespaces int) {
	in := make([]string, namespaces)
	for i := range in {
		in[i] = l.namespace(ctx)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	given := l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
	begun := time.Now()
	requests := make([]*v1alpha1.AccessRequest, burst)
	l.each(func(i int) { requests[i] = l.ask(ctx, in[i%namespaces], i) })
	rate := burst / given.await(ctx, l.B, burst).Sub(begun).Seconds()
	where := fmt.Sprintf("%d in %d namespaces", burst, namespaces)
	l.note("granted in a second, "+where, rate)
	l.note("the same, of R, "+where, rate/l.last(creates))
	l.memory("RSS after " + where + ", MiB")
	if namespaces == 1 {
		l.strangers(ctx, in[0])
	}
	ended := l.watch(ctx, &rbacv1.RoleBindingList{}, released)
	l.each(func(i int) { check(l.B, l.admin.Delete(ctx, requests[i])) })
	ended.await(ctx, l.B, burst)
}

// strangers measures what others feel who write where there are as many grants.
func (l *load) strangers(ctx context.Context, crowded string) {
	empty := l.namespace(ctx)
	binding := builders.Binding("", "", "reader", builders.User("nobody"))
	for _, kind := range []client.Object{&corev1.Secret{}, &corev1.ServiceAccount{}, binding} {
		object := func(ns, name string) client.Object {
			o := kind.DeepCopyObject().(client.Object)
			o.SetNamespace(ns)
			o.SetName(name)
			return o
		}
		with, without := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
		for i := range singles {
			name := fmt.Sprint("strangers-", i)
			with = append(with, timed(func() { check(l.B, l.carol.Create(ctx, object(crowded, name))) }))
			without = append(without, timed(func() { check(l.B, l.carol.Create(ctx, object(empty, name))) }))
		}
		what := strings.TrimPrefix(fmt.Sprintf("%T", kind), "*v1.")
		l.note(fmt.Sprintf("a stranger's %s beside %d grants, times what it takes beside none, p50", what, burst),
			float64(quantile(with, 0.5))/float64(quantile(without, 0.5)))
	}
}
