// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package seats

import (
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
