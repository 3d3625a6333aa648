// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// forMe keeps, of the requests, those whose approval waits for the word of whoever asks; the
// one that gives up first is the first. The operator counts by the same code.
func (o *getOptions) forMe(ctx context.Context, c *cluster, requests []v1alpha1.AccessRequest) ([]v1alpha1.AccessRequest, error) {
	var err error
	if o.policies, err = policiesByName(ctx, c); err != nil {
		return nil, o.unreadable(err)
	}
	decisions := &v1alpha1.AccessDecisionList{}
	if err := c.list(ctx, o.where(), decisions); err != nil {
		return nil, o.unreadable(err)
	}
	on := map[types.UID][]v1alpha1.AccessDecision{}
	for i := range decisions.Items {
		uid := decisions.Items[i].Spec.RequestRef.UID
		on[uid] = append(on[uid], decisions.Items[i])
	}
	requests = slices.DeleteFunc(requests, func(req v1alpha1.AccessRequest) bool {
		return !o.waitsForMe(&req, on[req.UID])
	})
	slices.SortStableFunc(requests, func(a, b v1alpha1.AccessRequest) int {
		left := givesUp(&a, o.policies[a.Status.Policy.Name]).Compare(givesUp(&b, o.policies[b.Status.Policy.Name]))
		return cmp.Or(left, cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return requests, nil
}

// waitsForMe says whether an approval would count.
func (o *getOptions) waitsForMe(req *v1alpha1.AccessRequest, decisions []v1alpha1.AccessDecision) bool {
	if req.Status.State.Final() || req.Status.Policy == nil {
		return false
	}
	p := o.policies[req.Status.Policy.Name]
	if p == nil {
		return false // it is gone, and the request will be judged anew
	}
	b := &ballot{plugin: o.plugin, req: req, me: o.me}
	return o.clock.now().Before(givesUp(req, p)) && b.barred(p) == "" && b.count(p, onlyOn(req, decisions)) == ""
}

// unreadable says in one line what it takes, when something may not be read.
func (o *getOptions) unreadable(err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	if o.terminal != nil { // who looks at a page typed no flag
		return &exitError{exitFailed, "For me has to read requests, decisions and policies: " + o.explain(err) +
			". Meanwhile Now lists what waits, and the story of a request has the buttons"}
	}
	return &exitError{exitFailed, "error: --for-me reads requests, decisions and policies: " + o.explain(err)}
}
