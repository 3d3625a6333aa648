// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/policy"
)

// storyView tells all of a request, and has what can be done about it.
func storyView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	revision := v.site.live.at()
	req := &v1alpha1.AccessRequest{}
	if err := v.site.c.get(ctx, v.namespace(), v.r.Form.Get("name"), req); err != nil {
		return "", nil, err
	}
	s, err := v.storyOf(ctx, v.site.c, req)
	if err != nil {
		return "", nil, err
	}
	todo, err := v.todo(ctx, s)
	if err != nil {
		return "", nil, err
	}
	t := table{now: s.now, policies: map[string]*v1alpha1.AccessPolicy{}}
	if s.policy != nil {
		t.policies[s.policy.Name] = s.policy
	}
	facts := []fact{{"State", stateText(req)}, {endsTitle(req), endsText(t, req)}, {"Approvals", t.votes(req)}, {"Says", messageOf(req)}}
	parts := []ui.Part{timeLeft(t, req), factList(facts), todo, ui.El("h2", ui.Text("Story")), chapters(s), v.callsLink(req)}
	return fullName(req), []ui.Part{v.liveList(revision, nil, parts...)}, nil
}

func chapters(s *story) ui.Part {
	var out []ui.Part
	for _, c := range append(s.chapters(), chapter{"not read", s.unread}) {
		var lines []ui.Part
		for _, line := range c.lines {
			lines = append(lines, ui.El("dd", ui.Said(line)))
		}
		if len(lines) > 0 {
			out = append(out, ui.El("dt", ui.Text(strings.ToUpper(c.title[:1])+c.title[1:])), ui.All(lines...))
		}
	}
	return ui.El("dl", ui.Class("story"), ui.All(out...))
}

// todo is what who looks can do about a request, and why he cannot do the rest.
func (v *visit) todo(ctx context.Context, s *story) (ui.Part, error) {
	req := s.req
	if req.Status.State.Final() {
		return ui.All(), nil
	}
	var parts []ui.Part
	if policy.Involved(req, v.me) {
		parts = append(parts, v.returnForm(storyAt, req))
	}
	b := &ballot{plugin: v.plugin, c: v.site.c, req: req, me: v.me}
	ends, verdicts := v1alpha1.VerdictRevoke, []v1alpha1.Verdict{}
	if pending(req) {
		ends = v1alpha1.VerdictDeny
		counts, why, err := counts(ctx, b, v1alpha1.VerdictApprove)
		if err != nil {
			return nil, err
		}
		if counts {
			verdicts = append(verdicts, v1alpha1.VerdictApprove)
		}
		parts = append(parts, why)
	}
	counts, why, err := counts(ctx, b, ends)
	switch {
	case err != nil:
		return nil, err
	case counts && ends == v1alpha1.VerdictDeny:
		verdicts = append(verdicts, ends)
	case counts && !policy.Involved(req, v.me): // who is gives it back
		parts = append(parts, v.revokeForm(storyAt, req))
	}
	if len(verdicts) > 0 {
		parts = append(parts, v.decideForm(storyAt, req, s.policy, verdicts...))
	}
	return ui.All(append(parts, why)...), nil
}

// counts says whether a word would count, as far as that can be told, and why not.
func counts(ctx context.Context, b *ballot, verdict v1alpha1.Verdict) (counts bool, why ui.Part, err error) {
	objection, doubt, err := b.objection(ctx, verdict)
	said := ""
	switch {
	case objection != "":
		said = string(verdict) + " is not for you: " + objection
	case doubt != "":
		said = "Whether your word counts cannot be told: " + doubt
	}
	return objection == "", ui.If(said != "", ui.El("p", ui.Class("soft"), ui.Said(said))), err
}
