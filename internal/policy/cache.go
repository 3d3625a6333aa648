// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Cache keeps compiled policies, also those that do not compile, so that a broken
// policy costs no more than a good one. Policies with the same expression share its
// program. It is bounded and safe for concurrent use.
type Cache struct {
	policies *lru.Cache // generationKey to *Compiled
	programs *lru.Cache // expression to *program
}

// generationKey is one generation of one policy. A policy that is deleted and made
// again has another UID.
type generationKey struct {
	uid        types.UID
	generation int64
}

// programsPerPolicy is how many different expressions are kept for each policy that
// is.
const programsPerPolicy = 4

// NewCache holds at most size policies, at least one. With more policies than that
// every one is compiled each time.
func NewCache(size int) *Cache {
	size = max(size, 1) // lru takes zero for no bound
	return &Cache{policies: lru.New(size), programs: lru.New(size * programsPerPolicy)}
}

// Compiled is Compile, remembered by UID and generation. What was never stored, and
// so lacks them, is compiled anew each time.
func (c *Cache) Compiled(p *v1alpha1.AccessPolicy) *Compiled {
	if p == nil || p.UID == "" || p.Generation < 1 {
		return compile(p, c.program)
	}
	key := generationKey{p.UID, p.Generation}
	if known, ok := c.policies.Get(key); ok {
		return known.(*Compiled)
	}
	// Two that miss at once both compile: the same input has the same result.
	compiled := compile(p, c.program)
	c.policies.Add(key, compiled)
	return compiled
}

func (c *Cache) program(expression string) *program {
	if len(expression) > maxExpression {
		return compileExpression(expression) // not worth keeping
	}
	if known, ok := c.programs.Get(expression); ok {
		return known.(*program)
	}
	p := compileExpression(expression)
	c.programs.Add(expression, p)
	return p
}
