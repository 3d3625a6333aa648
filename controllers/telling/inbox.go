// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package telling

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// mark is a place in the history of requests and in that of decisions: a resource version of
// each.
type mark struct {
	Requests  int64 `json:"requests"`
	Decisions int64 `json:"decisions"`
}

// covers says whether all that a request and its decisions say is as old as the mark.
func (m mark) covers(other mark) bool {
	return other.Requests > 0 && other.Requests <= m.Requests && other.Decisions <= m.Decisions
}

// before is the mark before which nothing of another one is; zero stands for none.
func (m mark) before(other mark) mark {
	if other.Requests > 0 {
		m.Requests = min(m.Requests, other.Requests-1)
	}
	if other.Decisions > 0 {
		m.Decisions = min(m.Decisions, other.Decisions-1)
	}
	return m
}

// newest is the later of both.
func (m mark) newest(other mark) mark {
	return mark{max(m.Requests, other.Requests), max(m.Decisions, other.Decisions)}
}

// oldest is the earlier of both; zero stands for none.
func (m mark) oldest(other mark) mark {
	return mark{earlier(m.Requests, other.Requests), earlier(m.Decisions, other.Decisions)}
}

func earlier(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// version is 0 for what is no number, which no mark covers.
func version(obj client.Object) int64 {
	n, err := strconv.ParseInt(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// maxKept bounds what is kept of deleted requests and of decisions, in bytes of their JSON. Only a
// sink that is away lets it grow.
const maxKept = 32 << 20

// inbox are requests of which something is to be told.
type inbox struct {
	now func() time.Time
	mu  sync.Mutex
	// kept is the size of all requests that were deleted and of decisions, and missed how many
	// of these requests were more than may be kept.
	kept, missed int
	// seen is the newest that informers showed.
	seen mark
	// waiting and taken have, for each request, the oldest that is not told. They are made anew
	// when they are empty: after a start they had all requests, and a map never shrinks.
	waiting, taken map[types.NamespacedName]mail
}

// mail is what is to be told of one request.
type mail struct {
	at mark
	// gone are requests of that name that were deleted.
	gone []gone
	// words are decisions. They may go before they are told, with their request.
	words []*v1alpha1.AccessDecision
	// size of what is gone and of words.
	size int
}

// gone is a request that was deleted, as it was last, and when that was seen.
type gone struct {
	req *v1alpha1.AccessRequest
	at  time.Time
}

func (m mail) and(later mail) mail {
	return mail{m.at.oldest(later.at), append(m.gone, later.gone...), append(m.words, later.words...), m.size + later.size}
}

// decisionsOn are the decisions on a request: those that the cache has, and those that it has no
// more. They are to be read only: they are no copies, since whoever may decide may make very many.
func (m mail) decisionsOn(ctx context.Context, cached client.Reader, req *v1alpha1.AccessRequest) ([]v1alpha1.AccessDecision, error) {
	list := &v1alpha1.AccessDecisionList{}
	onIt := client.MatchingFields{requestUIDField: string(req.UID)}
	if err := cached.List(ctx, list, client.InNamespace(req.Namespace), onIt, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing decisions: %w", err)
	}
	there := sets.New[types.UID]()
	for i := range list.Items {
		there.Insert(list.Items[i].UID)
	}
	for _, d := range m.words {
		if d.Spec.RequestRef.UID == req.UID && !there.Has(d.UID) {
			there.Insert(d.UID)
			list.Items = append(list.Items, *d)
		}
	}
	return list.Items, nil
}

func newInbox(now func() time.Time) *inbox {
	return &inbox{now: now, waiting: map[types.NamespacedName]mail{}, taken: map[types.NamespacedName]mail{}}
}

func (i *inbox) add(key types.NamespacedName, m mail) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.seen = i.seen.newest(m.at)
	room := maxKept
	if len(m.gone) == 0 {
		room /= 2 // whoever makes many decisions keeps none from being told of what is gone
	}
	if i.kept+m.size > room { // a decision is told all the same while it is there
		i.missed += len(m.gone)
		m.gone, m.words, m.size = nil, nil, 0
	}
	i.kept += m.size
	i.waiting[key] = i.waiting[key].and(m)
}

// take what is to be told of a request. It is owed until done.
func (i *inbox) take(key types.NamespacedName) mail {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.taken[key] = i.taken[key].and(i.waiting[key])
	if delete(i.waiting, key); len(i.waiting) == 0 {
		i.waiting = map[types.NamespacedName]mail{}
	}
	return i.taken[key]
}

// done forgets what was taken. What was added since still waits.
func (i *inbox) done(key types.NamespacedName) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept -= i.taken[key].size
	if delete(i.taken, key); len(i.taken) == 0 {
		i.taken = map[types.NamespacedName]mail{}
	}
}

// owed is of how many requests there is something to be told.
func (i *inbox) owed() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.taken)
	for key := range i.waiting {
		if _, ok := i.taken[key]; !ok {
			n++
		}
	}
	return n
}

// lost is how many deleted requests were not kept since it was asked last.
func (i *inbox) lost() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := i.missed
	i.missed = 0
	return n
}

// newest is the newest that informers showed.
func (i *inbox) newest() mark {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.seen
}

// told is up to where all was told.
func (i *inbox) told() mark {
	i.mu.Lock()
	defer i.mu.Unlock()
	m := i.seen
	for _, owed := range []map[types.NamespacedName]mail{i.waiting, i.taken} {
		for _, mail := range owed {
			m = m.before(mail.at)
		}
	}
	return m
}

// requests queues requests that changed.
func (i *inbox) requests() handler.EventHandler {
	add := func(obj client.Object, q queue) {
		key := client.ObjectKeyFromObject(obj)
		i.add(key, mail{at: mark{Requests: version(obj)}})
		q.Add(reconcile.Request{NamespacedName: key})
	}
	went := func(obj client.Object, q queue) {
		req := obj.(*v1alpha1.AccessRequest)
		key := client.ObjectKeyFromObject(req)
		i.add(key, mail{at: mark{Requests: version(req)}, gone: []gone{{req, i.now()}}, size: sizeOf(req)})
		q.Add(reconcile.Request{NamespacedName: key})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() { // deleted and created anew while the watch was down
				went(e.ObjectOld, q)
			}
			add(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { went(e.Object, q) },
	}
}

// sizeOf an object, in bytes of its JSON.
func sizeOf(obj client.Object) int {
	text, err := json.Marshal(obj)
	if err != nil {
		return maxKept + 1 // it cannot be told either
	}
	return len(text)
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// decisions queues the requests of decisions that were made. That one is deleted says nothing.
func (i *inbox) decisions() handler.EventHandler {
	add := func(obj client.Object, q queue) {
		d := obj.(*v1alpha1.AccessDecision)
		key := types.NamespacedName{Namespace: d.Namespace, Name: d.Spec.RequestRef.Name}
		i.add(key, mail{at: mark{Decisions: version(d)}, words: []*v1alpha1.AccessDecision{d}, size: sizeOf(d)})
		q.Add(reconcile.Request{NamespacedName: key})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { add(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				add(e.ObjectNew, q)
			}
		},
	}
}
