// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// desk is an API server that people work at, and an operator that acts at once.
type desk struct {
	t         *testing.T
	mu        sync.Mutex
	me        v1alpha1.Identity
	policies  []v1alpha1.AccessPolicy
	requests  []*v1alpha1.AccessRequest
	decisions []v1alpha1.AccessDecision
	version   int
	calls     int
	refused   []string        // the resources that nobody may read
	unbound   string          // the role that the operator may not bind
	watchers  []chan struct{} // each is closed when something changes
}

// newDesk has a policy by which bob approves.
func newDesk(t *testing.T, me string) *desk {
	t.Helper()
	p := builders.Policy("leads").From(builders.User("alice")).In("payments").Allowing("edit").
		ApprovedBy(builders.User("bob")).RevokedBy(builders.User("bob")).Build()
	p.UID, p.Generation, p.Status.Risks = "policy", 1, []string{"its holder can read secrets"}
	return &desk{t: t, me: v1alpha1.Identity{Username: me}, policies: []v1alpha1.AccessPolicy{*p}, version: 1}
}

// pending adds a request of somebody's.
func (d *desk) pending(name, by string) {
	req := builders.Request(name).In("payments").By(by).To(builders.User(by)).ForClusterRole("edit").Because(name + " reason").Build()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.add(req)
}

func (d *desk) add(req *v1alpha1.AccessRequest) {
	req.UID, req.CreationTimestamp = types.UID(fmt.Sprint("uid-", len(d.requests))), metav1.Now()
	req.Status.State, req.Status.Policy = v1alpha1.StatePending, &v1alpha1.PolicyReference{Name: "leads", UID: "policy", Generation: 1}
	req.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionReady, Reason: v1alpha1.ReasonPendingApproval, Message: "waits for 1 of bob",
	}}
	d.requests = append(d.requests, req)
	d.changed(req)
}

// changed tells those who watch.
func (d *desk) changed(req *v1alpha1.AccessRequest) {
	d.version++
	req.ResourceVersion = fmt.Sprint(d.version)
	for _, w := range d.watchers {
		close(w)
	}
	d.watchers = nil
}

func (d *desk) end(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, req := range d.requests {
		if req.Name == name {
			req.Status.State = v1alpha1.StateDenied
			d.changed(req)
		}
	}
}

func (d *desk) refuse(resources ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = resources
	for _, w := range d.watchers {
		close(w)
	}
	d.watchers = nil
}

func (d *desk) served() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") != "" {
		d.watch(r)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	code, answer := http.StatusOK, runtime.Object(nil)
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	last, before := path[len(path)-1], path[len(path)-2]
	if i := slices.IndexFunc(d.refused, func(refused string) bool { return last == refused || before == refused }); i >= 0 {
		d.answer(w, http.StatusForbidden, &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: fmt.Sprintf(`User "bob" cannot list resource %q in API group "lapse.dev" at the cluster scope`, d.refused[i]),
		})
		return
	}
	switch {
	case r.Method == http.MethodPost:
		code, answer = http.StatusCreated, d.post(last, r)
	case last == "accesspolicies":
		answer = &v1alpha1.AccessPolicyList{Items: d.policies}
	case last == requestResource:
		answer = d.list(r)
	case last == decisionResource:
		answer = &v1alpha1.AccessDecisionList{Items: d.decisions}
	default:
		answer = d.one(before, last)
	}
	if answer == nil {
		code, answer = http.StatusNotFound, &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
			Message: last + " not found", Details: &metav1.StatusDetails{Name: last, Kind: before},
		}
	}
	d.answer(w, code, answer)
}

func (d *desk) list(r *http.Request) runtime.Object {
	where, err := fields.ParseSelector(r.URL.Query().Get("fieldSelector"))
	if err != nil {
		d.t.Error(err)
		return nil
	}
	list := &v1alpha1.AccessRequestList{}
	list.ResourceVersion = fmt.Sprint(d.version)
	for _, req := range d.requests {
		if where.Matches(fields.Set{"metadata.name": req.Name, "status.state": string(req.Status.State)}) {
			list.Items = append(list.Items, *req)
		}
	}
	return list
}

// watch ends when something changes: whoever watches lists anew then.
func (d *desk) watch(r *http.Request) {
	d.mu.Lock()
	if fmt.Sprint(d.version) != r.URL.Query().Get("resourceVersion") {
		d.mu.Unlock()
		return
	}
	over := make(chan struct{})
	d.watchers = append(d.watchers, over)
	d.mu.Unlock()
	select {
	case <-over:
	case <-r.Context().Done():
	}
}

func (d *desk) one(resource, name string) runtime.Object {
	switch resource {
	case requestResource:
		for _, req := range d.requests {
			if req.Name == name {
				return req
			}
		}
	case "accesspolicies":
		for i := range d.policies {
			if d.policies[i].Name == name {
				return &d.policies[i]
			}
		}
	case "namespaces":
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	case "clusterroles":
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "role"}, Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get"},
		}}}
	}
	return nil
}

func (d *desk) post(resource string, r *http.Request) runtime.Object {
	switch resource {
	case "selfsubjectreviews":
		review := &authenticationv1.SelfSubjectReview{}
		review.Status.UserInfo = authenticationv1.UserInfo{Username: d.me.Username, Groups: d.me.Groups}
		return review
	case "selfsubjectaccessreviews":
		return &authorizationv1.SelfSubjectAccessReview{}
	case "subjectaccessreviews":
		review := &authorizationv1.SubjectAccessReview{}
		d.decode(r, review)
		asked := review.Spec.ResourceAttributes
		review.Status.Allowed = asked.Verb == "bind" && asked.Resource == "clusterroles" && asked.Name != d.unbound
		return review
	case requestResource:
		req := &v1alpha1.AccessRequest{}
		d.decode(r, req)
		req.Namespace, req.Spec.Requester, req.CreationTimestamp = "payments", &d.me, metav1.Now()
		if req.Name == "" {
			req.Name = req.GenerateName + fmt.Sprint(len(d.requests))
		}
		if r.URL.Query().Get("dryRun") == "" {
			d.add(req)
		}
		return req
	case decisionResource:
		decision := &v1alpha1.AccessDecision{}
		d.decode(r, decision)
		decision.Name, decision.Namespace, decision.CreationTimestamp = fmt.Sprint("d", len(d.decisions)), "payments", metav1.Now()
		decision.Spec.Reviewer = &d.me
		d.decisions = append(d.decisions, *decision)
		d.act(decision)
		return decision
	}
	return nil
}

func (d *desk) decode(r *http.Request, into runtime.Object) {
	if err := json.NewDecoder(r.Body).Decode(into); err != nil {
		d.t.Error(err)
	}
}

// act is what the operator does.
func (d *desk) act(decision *v1alpha1.AccessDecision) {
	i := slices.IndexFunc(d.requests, func(req *v1alpha1.AccessRequest) bool { return req.UID == decision.Spec.RequestRef.UID })
	if i < 0 {
		return
	}
	req, ready := d.requests[i], metav1.Condition{Type: v1alpha1.ConditionReady, Message: decision.Spec.Comment}
	switch decision.Spec.Verdict {
	case v1alpha1.VerdictApprove:
		start := metav1.Now()
		ready.Reason, req.Status.State = v1alpha1.ReasonGranted, v1alpha1.StateActive
		req.Status.Approvals = append(req.Status.Approvals, v1alpha1.Approval{Decision: decision.Name, Reviewer: d.me.Username, Time: start})
		req.Status.Grant = &v1alpha1.Grant{Binding: "b", GrantedAt: start, ExpiresAt: metav1.NewTime(start.Add(time.Hour))}
	case v1alpha1.VerdictDeny:
		ready.Reason, req.Status.State = v1alpha1.ReasonDenied, v1alpha1.StateDenied
	case v1alpha1.VerdictRevoke:
		ready.Reason, req.Status.State = v1alpha1.ReasonRevoked, v1alpha1.StateRevoked
	}
	req.Status.Conditions = []metav1.Condition{ready}
	d.changed(req)
}

func (d *desk) answer(w http.ResponseWriter, code int, obj runtime.Object) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		d.t.Error(err)
	}
	kindsOf, _, err := deskScheme().ObjectKinds(obj)
	if err != nil {
		d.t.Error(err)
		return
	}
	content["apiVersion"], content["kind"] = kindsOf[0].GroupVersion().String(), kindsOf[0].Kind
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(content)
}

var deskScheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	_ = kinds.AddToScheme(scheme)
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &metav1.Status{})
	return scheme
})

// eventually waits for what comes by itself.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 100 {
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // a watch goes on beside the test
	}
	t.Errorf("it does not come to pass that %s", what)
}
