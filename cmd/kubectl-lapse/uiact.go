// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
)

// doneView leads on from what came of a word, which is said above.
func doneView(_ context.Context, v *visit) (title string, main []ui.Part, err error) {
	form := v.r.Form
	for _, view := range views {
		if view.at == form.Get("back") {
			main = append(main, ui.El("p", ui.Link(view.at, nil, ui.Text("Go on: "+view.title))))
		}
	}
	of := &v1alpha1.AccessRequest{}
	of.Namespace, of.Name = form.Get("namespace"), form.Get("name")
	return "What came of it", append(main, ui.El("p", ui.Link(storyAt, addressOf(of), ui.Text("The story of "), ui.Said(fullName(of))))), nil
}

// meant is the request of which a form is, as it is now, and what is wrong if that is not what
// its reader was shown.
func (v *visit) meant(ctx context.Context) (req *v1alpha1.AccessRequest, wrong string) {
	form, req := v.r.PostForm, &v1alpha1.AccessRequest{}
	err := v.site.c.get(ctx, form.Get("namespace"), form.Get("name"), req)
	if err != nil {
		req.Namespace, req.Name = form.Get("namespace"), form.Get("name")
	}
	switch {
	case apierrors.IsNotFound(err):
		return req, fmt.Sprintf("nothing was done: %s in %s is deleted", req.Name, req.Namespace)
	case err != nil:
		return req, "nothing was done: " + explainedBy(v.plugin, err)
	case string(req.UID) != form.Get("uid"):
		return req, fmt.Sprintf("nothing was done: %s in %s is another request than you were shown; it was deleted, and created again. Look at it anew",
			req.Name, req.Namespace)
	case asShown(req) != form.Get("shown"):
		return req, fmt.Sprintf("nothing was done: %s has changed since you were shown it; it is %s now. Look at it anew", req.Name, stateText(req))
	}
	return req, ""
}

// otherRisks is what is wrong if the risks are not those that who approves was shown: a role that
// allows more now changes them, and neither the request nor its policy. No other word waits for it.
func (v *visit) otherRisks(ctx context.Context, req *v1alpha1.AccessRequest) (wrong string) {
	b := &ballot{plugin: v.plugin, c: v.site.c, req: req, me: v.me}
	switch p, _, err := b.policy(ctx); {
	case err != nil:
		return "nothing was done: " + explainedBy(v.plugin, err)
	case risksAsShown(p) != v.r.PostForm.Get("risks"):
		return fmt.Sprintf("nothing was done: the risks of %s have changed since you were shown it. Look at them anew", req.Name)
	}
	return ""
}

// decide gives the word of who looks, as the verbs approve, deny and revoke do.
func decide(ctx context.Context, v *visit) (req *v1alpha1.AccessRequest, said notice) {
	req, wrong := v.meant(ctx)
	verdict := v1alpha1.Verdict(v.r.PostForm.Get("verdict"))
	if wrong == "" && verdict == v1alpha1.VerdictApprove {
		wrong = v.otherRisks(ctx, req)
	}
	switch {
	case wrong != "":
		return req, notice{wrong, true}
	case !slices.Contains([]v1alpha1.Verdict{v1alpha1.VerdictApprove, v1alpha1.VerdictDeny, v1alpha1.VerdictRevoke}, verdict):
		return req, notice{fmt.Sprintf("nothing was done: %q is no word; Approve, Deny and Revoke are", verdict), true}
	}
	o := &decideOptions{plugin: v.plugin, output: newOutput("created"), verdict: verdict, comment: v.r.PostForm.Get("comment")}
	err := o.checkComment()
	if err == nil {
		err = o.on(ctx, v.site.c, req, v.me)
	}
	return req, v.outcome(ctx, req, err)
}

// giveBack is the verb return.
func giveBack(ctx context.Context, v *visit) (req *v1alpha1.AccessRequest, said notice) {
	req, wrong := v.meant(ctx)
	if wrong != "" {
		return req, notice{wrong, true}
	}
	o := &returnOptions{plugin: v.plugin, output: newOutput("created"), comment: v.legible(v.r.PostForm.Get("comment"))}
	err := o.on(ctx, v.site.c, req, v.me)
	return req, v.outcome(ctx, req, err)
}

// outcome is what a verb said, and how it ended. The list to which that leads must not show the
// request as it was: the watch may come a moment later.
func (v *visit) outcome(ctx context.Context, req *v1alpha1.AccessRequest, err error) notice {
	after := &v1alpha1.AccessRequest{}
	switch gone := v.site.c.get(ctx, req.Namespace, req.Name, after); {
	case apierrors.IsNotFound(gone):
		v.site.live.correct(change{kind: watch.Deleted, req: req})
	case gone == nil:
		v.site.live.correct(change{kind: watch.Modified, req: after})
	}
	lines := []string{strings.TrimSpace(v.heard.String())}
	if err != nil {
		lines = append(lines, explainedBy(v.plugin, err))
	}
	return notice{strings.TrimSpace(strings.Join(lines, "\n")), err != nil}
}
