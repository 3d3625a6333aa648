// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// forMe keeps, of the requests, those whose approval waits for the word of whoever asks; the
// one that gives up first is the first. The operator counts by the same code.
func (o *getOptions) forMe(ctx context.Context, c *cluster, requests []v1alpha1.AccessRequest) ([]v1alpha1.AccessRequest, error) {
	if o.policies == nil {
		policies, err := policiesByName(ctx, c)
		if err != nil {
			return nil, o.unreadable(err)
		}
		o.policies = policies
	}
	requests = slices.DeleteFunc(requests, func(req v1alpha1.AccessRequest) bool { return !o.mayWaitForMe(&req) })
	on, err := o.decisionsOnAll(ctx, c, requests)
	if err != nil {
		return nil, o.unreadable(err)
	}
	requests = slices.DeleteFunc(requests, func(req v1alpha1.AccessRequest) bool {
		b := &ballot{plugin: o.plugin, req: &req, me: o.me}
		return b.count(o.policies[req.Status.Policy.Name], on[req.UID]) != ""
	})
	slices.SortFunc(requests, o.urgency)
	return requests, nil
}

// urgency orders by when an approval comes too late; what has no policy any more comes first.
func (o *getOptions) urgency(a, b v1alpha1.AccessRequest) int {
	tooLate := func(req *v1alpha1.AccessRequest) time.Time {
		if p := o.policies[req.Status.Policy.Name]; p != nil {
			return givesUp(req, p)
		}
		return time.Time{}
	}
	return cmp.Or(tooLate(&a).Compare(tooLate(&b)), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// mayWaitForMe says whether an approval could count, whoever has decided already.
func (o *getOptions) mayWaitForMe(req *v1alpha1.AccessRequest) bool {
	if req.Status.State.Final() || req.Status.Policy == nil {
		return false
	}
	p := o.policies[req.Status.Policy.Name]
	if p == nil {
		return false // it is gone, and the request will be judged anew
	}
	b := &ballot{plugin: o.plugin, req: req, me: o.me}
	return o.clock.now().Before(givesUp(req, p)) && b.barred(p) == ""
}

// fewWaiting is up to how many requests the decisions on each are asked for. A selector of
// fields names one request and no more: for many of them that would be many calls, and there is one
// for all decisions instead, though most are on what is over.
const fewWaiting = 16

// decisionsOnAll are the decisions on the requests, by the UID of each.
func (o *getOptions) decisionsOnAll(ctx context.Context, c *cluster, requests []v1alpha1.AccessRequest) (map[types.UID][]v1alpha1.AccessDecision, error) {
	on := make(map[types.UID][]v1alpha1.AccessDecision, len(requests))
	if len(requests) <= fewWaiting {
		for i := range requests {
			var err error
			if on[requests[i].UID], err = decisionsOn(ctx, c, &requests[i]); err != nil {
				return nil, err
			}
		}
		return on, nil
	}
	all := &v1alpha1.AccessDecisionList{}
	if err := c.list(ctx, o.where(), all); err != nil {
		return nil, err
	}
	for i := range all.Items {
		uid := all.Items[i].Spec.RequestRef.UID
		on[uid] = append(on[uid], all.Items[i])
	}
	for i := range requests {
		on[requests[i].UID] = onlyOn(&requests[i], on[requests[i].UID])
	}
	return on, nil
}

// unreadable says in one line what it takes, when something may not be read.
func (o *getOptions) unreadable(err error) error {
	if !apierrors.IsForbidden(err) {
		return err
	}
	if o.terminal != nil { // who looks at a page typed no flag
		return &exitError{exitFailed, "This page has to read requests, decisions and policies: " + o.explain(err) +
			". Meanwhile Now lists what waits, and the story of a request has the buttons"}
	}
	return &exitError{exitFailed, "error: --for-me reads requests, decisions and policies: " + o.explain(err)}
}
