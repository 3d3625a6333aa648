// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/policy"
)

// listed are the requests that a list is of, with what their rows need.
func (v *visit) listed(ctx context.Context, keep func(*v1alpha1.AccessRequest) bool) (kept []v1alpha1.AccessRequest, revision int, trouble, err error) {
	all, revision, trouble := v.site.live.look(ctx)
	if ctx.Err() != nil {
		return nil, 0, nil, ctx.Err()
	}
	kept = slices.DeleteFunc(all, func(req v1alpha1.AccessRequest) bool { return !keep(&req) })
	slices.SortFunc(kept, soonest)
	return kept, revision, trouble, nil
}

// soonest is the order of lists: what is held comes first, and of that what ends first; then
// what was asked for last.
func soonest(a, b v1alpha1.AccessRequest) int {
	by := cmp.Compare(turn(&a), turn(&b))
	if a.Status.Grant != nil && b.Status.Grant != nil {
		by = cmp.Or(by, a.Status.Grant.ExpiresAt.Compare(b.Status.Grant.ExpiresAt.Time))
	}
	return cmp.Or(by, b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// getOptions are those of `kubectl lapse get` for what this site shows.
func (v *visit) getOptions() *getOptions {
	return &getOptions{plugin: v.plugin, output: newOutput(""), all: v.site.namespace == "", me: v.me}
}

// shownOn makes cards of the requests of one page.
func (v *visit) shownOn(ctx context.Context, at, none string, requests []v1alpha1.AccessRequest, do func(*v1alpha1.AccessRequest) ui.Part) ui.Part {
	from, to, links := v.pageOf(at, len(requests))
	t := v.getOptions().table(ctx, v.site.c, requests[from:to])
	all := make([]ui.Part, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, v.card(t, &requests[i], do(&requests[i])))
	}
	return ui.All(cards(none, all), links)
}

// first is the page that opens: what waits for the word of who looks, if anything does. Where a lot
// may, that is not looked at here: the page does it.
func (v *visit) first(ctx context.Context) (at string) {
	requests, _, _, err := v.listed(ctx, pending)
	if err != nil || len(requests) == 0 {
		return mineAt
	}
	o := v.getOptions()
	if o.policies, err = policiesByName(ctx, v.site.c); err != nil {
		return mineAt
	}
	requests = slices.DeleteFunc(requests, func(req v1alpha1.AccessRequest) bool { return !o.mayWaitForMe(&req) })
	if len(requests) <= fewWaiting {
		requests, err = o.forMe(ctx, v.site.c, requests)
	}
	if err != nil || len(requests) == 0 {
		return mineAt
	}
	return forMeAt
}

// mineView is what who looks holds, and what of his waits.
func mineView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	requests, revision, trouble, err := v.listed(ctx, func(req *v1alpha1.AccessRequest) bool { return policy.Involved(req, v.me) })
	if err != nil {
		return "", nil, err
	}
	none := "You hold nothing, and nothing that you asked for waits. What waits for your approval is on the page To approve."
	list := v.shownOn(ctx, mineAt, none, requests, func(req *v1alpha1.AccessRequest) ui.Part {
		return v.returnForm(mineAt, req)
	})
	return "What I hold, and what of mine waits", []ui.Part{v.liveList(revision, trouble, list)}, nil
}

// forMeView is what waits for the word of who looks, the most urgent first.
func forMeView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	requests, revision, trouble, err := v.listed(ctx, pending)
	if err != nil {
		return "", nil, err
	}
	o := v.getOptions()
	if len(requests) > 0 {
		if requests, err = o.forMe(ctx, v.site.c, requests); err != nil {
			return "", nil, err
		}
	}
	list := v.shownOn(ctx, forMeAt, "Nothing waits for your approval.", requests, func(req *v1alpha1.AccessRequest) ui.Part {
		s := &story{now: v.clock.now(), req: req, policy: o.policies[req.Status.Policy.Name]}
		return ui.All(risks(s.risks()), v.decideForm(forMeAt, req, s.policy, v1alpha1.VerdictApprove, v1alpha1.VerdictDeny))
	})
	return "What waits for my approval", []ui.Part{v.liveList(revision, trouble, list)}, nil
}

// risks are those of a role, in words.
func risks(lines []string) ui.Part {
	if len(lines) == 0 {
		return ui.All()
	}
	all := make([]ui.Part, 0, len(lines))
	for _, line := range lines {
		all = append(all, ui.El("li", ui.Said(line)))
	}
	return ui.El("div", ui.Class("risk"), ui.El("p", ui.Text("Risks")), ui.El("ul", all...))
}

// filters of who has what. A request is shown that has, for each that is set, what it says in
// it.
var filters = []struct {
	name, label string
	of          func(*v1alpha1.AccessRequest) []string
}{
	{"person", "Person", func(req *v1alpha1.AccessRequest) []string { return []string{grantee(req), requesterOf(req)} }},
	{"where", "Namespace", func(req *v1alpha1.AccessRequest) []string { return []string{req.Namespace} }},
	{"role", "Role", func(req *v1alpha1.AccessRequest) []string { return []string{policy.RoleArgument(req.Spec.RoleRef)} }},
	{"policy", "Policy", func(req *v1alpha1.AccessRequest) []string {
		if ref := req.Status.Policy; ref != nil {
			return []string{ref.Name}
		}
		return nil
	}},
}

// passes says whether the filters let a request through.
func (v *visit) passes(req *v1alpha1.AccessRequest) bool {
	for _, filter := range filters {
		wanted := strings.ToLower(strings.TrimSpace(v.r.Form.Get(filter.name)))
		if !slices.ContainsFunc(filter.of(req), func(value string) bool { return strings.Contains(strings.ToLower(value), wanted) }) && wanted != "" {
			return false
		}
	}
	return true
}

// nowView is who has what at this moment, and what waits.
func nowView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	requests, revision, trouble, err := v.listed(ctx, v.passes)
	if err != nil {
		return "", nil, err
	}
	fields := make([]ui.Part, 0, len(filters))
	for _, filter := range filters {
		fields = append(fields, textField(filter.name, filter.label, "filter", v.r.Form.Get(filter.name)))
	}
	list := v.shownOn(ctx, nowAt, "Nobody holds anything, or waits for it.", requests, func(req *v1alpha1.AccessRequest) ui.Part {
		if policy.Involved(req, v.me) {
			return v.returnForm(nowAt, req)
		}
		return ui.El("details", ui.El("summary", ui.Text("Take away")), v.revokeForm(nowAt, req))
	})
	return "Who has what now", []ui.Part{
		ui.El("form", ui.Attr("method", "get"), ui.Attr("action", nowAt), ui.Attr("role", "search"), ui.All(fields...), button("plain", "", "", "Filter", "")),
		v.liveList(revision, trouble, list),
	}, nil
}
