// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package seats

import (
	"sync"

	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Queue is what a controller's workers take from.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Enqueue with options that only a priority queue knows, which all of ours are.
func Enqueue(q Queue, o priorityqueue.AddOpts, key reconcile.Request) {
	if pq, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		pq.AddWithOpts(o, key)
		return
	}
	q.AddAfter(key, o.After)
}

// NewQueue is for controller.Options. A worker takes an object only when there is a quick
// seat for it: one that took it before would keep what is more urgent waiting by then.
func (s *Seated) NewQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) Queue {
	q := priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = &seatedQueue{PriorityQueue: q, seated: s, closed: make(chan struct{})}
	return s.queue
}

// Busy says whether objects wait for a seat. Those that wait for their time do not count.
func (s *Seated) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue != nil && s.queue.Len() > 0
}

type seatedQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	seated *Seated
	once   sync.Once
	closed chan struct{}
}

// GetWithPriority waits for a quick seat and then for an object. One of a namespace that
// drags goes back into the queue, behind the others, the first time.
func (q *seatedQueue) GetWithPriority() (key reconcile.Request, priority int, shutdown bool) {
	select {
	case q.seated.quick <- struct{}{}:
	case <-q.closed:
		return key, 0, true
	}
	for {
		if key, priority, shutdown = q.PriorityQueue.GetWithPriority(); shutdown {
			<-q.seated.quick
			return key, priority, true
		}
		behind := q.seated.Behind
		if _, drags := q.seated.drags.Get(key.Namespace); !drags || priority <= behind {
			return key, priority, false
		}
		q.Done(key)
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &behind}, key)
	}
}

// Get is the same.
func (q *seatedQueue) Get() (key reconcile.Request, shutdown bool) {
	key, _, shutdown = q.GetWithPriority()
	return key, shutdown
}

// ShutDown ends all waiting.
func (q *seatedQueue) ShutDown() {
	q.once.Do(func() { close(q.closed) })
	q.PriorityQueue.ShutDown()
}

// ShutDownWithDrain is the same.
func (q *seatedQueue) ShutDownWithDrain() { q.ShutDown() }
