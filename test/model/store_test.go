// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"sync"
)

// id stands for something that is stored once; 0 is nothing.
type id int32

const (
	chunkSize = 1 << 12
	maxChunks = 1 << 12
	shards    = 64
)

// arena gives numbers to values. What a number stands for never moves, so it is read
// without a lock by whoever was given the number.
type arena[T any] struct {
	mu     sync.Mutex
	n      id
	chunks [maxChunks]*[chunkSize]T
}

func (a *arena[T]) add(v T) id {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.n++
	chunk, i := a.n/chunkSize, a.n%chunkSize
	if chunk == maxChunks {
		panic("the arena is full: explore less")
	}
	if a.chunks[chunk] == nil {
		a.chunks[chunk] = new([chunkSize]T)
	}
	a.chunks[chunk][i] = v
	return a.n
}

func (a *arena[T]) at(n id) *T { return &a.chunks[n/chunkSize][n%chunkSize] }

// memo remembers what was worked out, for several workers at once.
type memo[K comparable, V any] struct {
	seed   maphash.Seed
	shards [shards]struct {
		mu sync.Mutex
		m  map[K]V
	}
}

func newMemo[K comparable, V any]() *memo[K, V] {
	m := &memo[K, V]{seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].m = map[K]V{}
	}
	return m
}

// get works out what is not known; work must not ask the same memo.
func (m *memo[K, V]) get(key K, work func() V) V {
	s := &m.shards[maphash.Comparable(m.seed, key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	v, known := s.m[key]
	if !known {
		v = work()
		s.m[key] = v
	}
	return v
}

// objects are versions of API objects, each stored once by what is in it.
type objects struct {
	ids   *memo[string, id]
	store arena[any]
}

func newObjects() *objects { return &objects{ids: newMemo[string, id]()} }

func (o *objects) put(v any) id {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return o.ids.get(fmt.Sprintf("%T%s", v, text), func() id { return o.store.add(v) })
}

// as is the object of an id; it must not be changed.
func as[T any](o *objects, n id) T { return (*o.store.at(n)).(T) }
