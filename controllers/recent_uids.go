// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// maxRecentUIDs is how many are remembered.
const maxRecentUIDs = 32768

// recentUIDs remembers the UIDs that were added last. The zero value is empty; it is
// safe for concurrent use.
type recentUIDs struct {
	mutex sync.Mutex
	known *lru.Cache
}

// add says whether the UID was not known.
func (r *recentUIDs) add(uid types.UID) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.known == nil {
		r.known = lru.New(maxRecentUIDs)
	}
	_, known := r.known.Get(uid)
	r.known.Add(uid, nil)
	return !known
}

func (r *recentUIDs) has(uid types.UID) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if r.known == nil {
		return false
	}
	_, known := r.known.Get(uid)
	return known
}
