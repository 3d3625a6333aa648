// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// answers is an API server that bob asks; what it has no answer for, he may not read.
type answers map[string]any

func (a answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, known := a[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	w.Header().Set("Content-Type", "application/json")
	if !known {
		resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		refusal := apierrors.NewForbidden(schema.GroupResource{Group: "lapse.dev", Resource: resource}, "", nil)
		refusal.ErrStatus.Message = `User "bob" cannot list resource "` + resource + `" in API group "lapse.dev" at the cluster scope`
		refusal.ErrStatus.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
		w.WriteHeader(http.StatusForbidden)
		answer = refusal.ErrStatus
	}
	_ = json.NewEncoder(w).Encode(answer)
}

// said runs a command against them.
func (a answers) said(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	p := against(t, a.ServeHTTP)
	server := p.config.overrides.ClusterInfo.Server
	p.Out, p.ErrOut = &out, &errOut
	root := p.rootCommand()
	p.config.overrides.ClusterInfo.Server = server
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), errOut.String(), err
}

func kindOf(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind}
}

// queue has requests that wait for bob, and others.
func queue() answers {
	now := time.Now().Truncate(time.Second)
	leads := builders.Policy("leads").ApprovedBy(builders.Group("leads")).WithinApprovalTimeout(time.Hour)
	alone := leads.Build()
	alone.Name, alone.Spec.AllowSelfApproval = "alone", true
	policies := &v1alpha1.AccessPolicyList{TypeMeta: kindOf("AccessPolicyList"), Items: []v1alpha1.AccessPolicy{
		*leads.Build(), *alone, *builders.Policy("others").ApprovedBy(builders.Group("security")).Build(), *builders.Policy("free").Build(),
		*leads.ApprovedBy(builders.Group("leads")).WithinApprovalTimeout(2 * time.Hour).Build(),
	}}
	policies.Items[len(policies.Items)-1].Name = "two"
	requests := &v1alpha1.AccessRequestList{TypeMeta: kindOf("AccessRequestList")}
	decisions := &v1alpha1.AccessDecisionList{TypeMeta: kindOf("AccessDecisionList")}
	ask := func(name, policy string, state v1alpha1.RequestState, ago time.Duration, by string, approvers ...string) *v1alpha1.AccessRequest {
		req := builders.Request(name).In("payments").By(by).To(builders.User(by)).Build()
		req.UID, req.CreationTimestamp = types.UID(name), metav1.NewTime(now.Add(-ago))
		req.Status.State, req.Status.Policy = state, &v1alpha1.PolicyReference{Name: policy}
		req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonPendingApproval}}
		for _, who := range approvers {
			d := builders.Decision(name+"-"+who, req, v1alpha1.VerdictApprove)
			d.CreationTimestamp = req.CreationTimestamp
			d.Spec.Reviewer = &v1alpha1.Identity{Username: who, Groups: []string{"leads"}}
			decisions.Items = append(decisions.Items, *d)
		}
		requests.Items = append(requests.Items, *req)
		return &requests.Items[len(requests.Items)-1]
	}
	const pending = v1alpha1.StatePending
	ask("fresh", "leads", pending, time.Minute, "alice")
	ask("urgent", "leads", pending, 50*time.Minute, "alice")
	ask("half", "two", pending, 10*time.Minute, "alice", "carol")
	ask("own-allowed", "alone", pending, 30*time.Minute, "bob")
	soon := metav1.NewTime(now.Add(5 * time.Minute))
	ask("over-soon", "leads", pending, time.Minute, "alice").Spec.NotAfter = &soon
	// None of these does.
	ask("own", "leads", pending, time.Minute, "bob")
	ask("not-mine", "others", pending, time.Minute, "alice")
	ask("approved", "two", pending, time.Minute, "alice", "bob")
	ask("enough", "leads", pending, time.Minute, "alice", "carol")
	ask("late", "leads", pending, time.Hour, "alice")
	ask("nobody-asked", "free", pending, time.Minute, "alice")
	ask("granted", "leads", v1alpha1.StateActive, time.Minute, "alice")
	ask("denied", "leads", v1alpha1.StateDenied, time.Minute, "alice")
	ask("orphan", "gone", pending, time.Minute, "alice")
	ask("new", "leads", "", time.Minute, "alice").Status.Policy = nil
	past := metav1.NewTime(now.Add(-time.Second))
	ask("over", "leads", pending, time.Minute, "alice").Spec.NotAfter = &past
	return answers{
		"accesspolicies": policies, "accessrequests": requests, "accessdecisions": decisions,
		"selfsubjectreviews": &authenticationv1.SelfSubjectReview{
			TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
			Status:   authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: "bob", Groups: []string{"leads"}}},
		},
	}
}

func TestForMeIsWhatWaitsForMyWordTheMostUrgentFirst(t *testing.T) {
	out, _, err := queue().said(t, "get", "-A", "--for-me")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`^NAMESPACE .*
payments +over-soon .* Pending +in (5m|4m\d+s) +0/1 .*
payments +urgent .* Pending +in (10m|9m\d+s) +0/1 .*
payments +own-allowed .* Pending +in (30|29)m +0/1 .*
payments +fresh .* Pending +in (59|58)m +0/1 .*
payments +half .* Pending +in 1(10|09)m +0/2 .*
$`)
	if !want.MatchString(out) {
		t.Errorf("got\n%s", out)
	}
	out, _, err = queue().said(t, "get", "-A", "--for-me", "-o", "name")
	if first, _, _ := strings.Cut(out, "\n"); err != nil || first != "accessrequest.lapse.dev/over-soon" {
		t.Errorf("the first name is %q (%v)", first, err)
	}
}

func TestForMeSaysInOneLineWhatItTakesToRead(t *testing.T) {
	for resource, role := range map[string]string{
		"accesspolicies":  "lapse-policy-reader",
		"accessdecisions": "lapse-requester, lapse-approver or lapse-auditor",
	} {
		some := queue()
		delete(some, resource)
		out, _, err := some.said(t, "get", "-A", "--for-me")
		want := "error: --for-me reads requests, decisions and policies: you (bob) may not list " + resource +
			".lapse.dev in the whole cluster; ask a cluster admin for a ClusterRoleBinding to ClusterRole " + role
		if out != "" || err == nil || err.Error() != want {
			t.Errorf("got %q and %v", out, err)
		}
	}
}

func TestForMeSaysSoWhenNothingWaits(t *testing.T) {
	none := queue()
	none["accessrequests"] = &v1alpha1.AccessRequestList{TypeMeta: kindOf("AccessRequestList")}
	out, said, err := none.said(t, "get", "-n", "payments", "--for-me")
	if err != nil || out != "" || said != "no requests that wait for your approval in namespace payments\n" {
		t.Errorf("got %q, said %q (%v)", out, said, err)
	}
}

// reader counts the lines that are written to him.
type reader struct {
	bytes.Buffer
	lines int
	read  func(lines int)
}

func (r *reader) Write(b []byte) (int, error) {
	n, err := r.Buffer.Write(b)
	if lines := bytes.Count(r.Bytes(), []byte("\n")); lines > r.lines {
		r.lines = lines
		r.read(lines)
	}
	return n, err
}

func TestForMeGoesOnWithWatch(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("own", "bob") // on which his word would not count
	d.pending("first", "alice")
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	p := against(t, d.ServeHTTP)
	server := p.config.overrides.ClusterInfo.Server
	out := &reader{read: func(lines int) {
		switch lines {
		case 2:
			d.end("first")
		case 3:
			stop()
		}
	}}
	p.Out = out
	root := p.rootCommand()
	p.config.overrides.ClusterInfo.Server = server
	root.SetArgs([]string{"get", "-n", "payments", "--for-me", "--watch"})
	err := root.ExecuteContext(ctx)
	want := regexp.MustCompile(`^NAME .*\nfirst +alice .* Pending .*\nfirst +alice .* Denied .*\n$`)
	if err != nil || !want.MatchString(out.String()) {
		t.Errorf("it ended with %v, and showed\n%s", err, out)
	}
}

func TestForMeReadsTheDecisionsOnWhatMayWaitForMe(t *testing.T) {
	const on = "/apis/lapse.dev/v1alpha1/namespaces/payments/accessdecisions?spec.requestRef.uid=uid-"
	for waiting, want := range map[int][]string{
		0:              nil,
		2:              {on + "1", on + "2"},
		fewWaiting + 1: {"/apis/lapse.dev/v1alpha1/accessdecisions?"},
	} {
		d := newDesk(t, "bob")
		d.pending("own", "bob") // on which his word would not count
		for i := range waiting {
			d.pending(fmt.Sprint("waits-", i), "alice")
		}
		var mu sync.Mutex
		var asked []string
		page := browse(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/"+decisionResource) {
				mu.Lock()
				asked = append(asked, r.URL.Path+"?"+r.URL.Query().Get("fieldSelector"))
				mu.Unlock()
			}
			d.ServeHTTP(w, r)
		}).open(forMeAt)
		if forms := formsOf(t, page, "decide"); len(forms) != waiting {
			t.Errorf("%d of %d wait for him", len(forms), waiting)
		}
		mu.Lock()
		if slices.Sort(asked); !slices.Equal(asked, want) {
			t.Errorf("where %d wait for him it asks for %q", waiting, asked)
		}
		mu.Unlock()
	}
}
