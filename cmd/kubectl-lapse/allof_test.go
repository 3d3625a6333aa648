// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/test/builders"
)

// incident is an API server, and an operator that acts on decisions at once.
type incident struct {
	mu         sync.Mutex
	t          *testing.T
	me         string
	policies   map[string]*v1alpha1.AccessPolicy
	requests   []*v1alpha1.AccessRequest
	decisions  []v1alpha1.AccessDecision
	bindings   []rbacv1.RoleBinding
	everywhere []rbacv1.ClusterRoleBinding
	deaf       bool // the operator is away
	hidden     bool // nobody may list bindings
}

func (i *incident) add(name, policy string, state v1alpha1.RequestState, b builders.RequestBuilder) *v1alpha1.AccessRequest {
	req := b.In("payments").Build()
	req.Name, req.UID, req.Status.State = name, types.UID("uid-of-"+name), state
	req.Status.Policy = &v1alpha1.PolicyReference{Name: policy}
	i.requests = append(i.requests, req)
	return req
}

func (i *incident) list() *v1alpha1.AccessRequestList {
	list := &v1alpha1.AccessRequestList{}
	for _, req := range i.requests {
		list.Items = append(list.Items, *req.DeepCopy())
	}
	return list
}

// page is the first binding, or those after it.
func (i *incident) page(from string) *rbacv1.RoleBindingList {
	list := &rbacv1.RoleBindingList{Items: i.bindings}
	switch {
	case from == "more":
		list.Items = i.bindings[1:]
	case len(i.bindings) > 1:
		list.Items, list.Continue = i.bindings[:1], "more"
	}
	return list
}

func (i *incident) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	path := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	kind := path[len(path)-1]
	if len(path) > 1 && path[len(path)-2] == "accesspolicies" {
		kind, path = "accesspolicies", path[len(path)-1:]
	}
	lapse, rbac := v1alpha1.GroupVersion.String(), rbacv1.SchemeGroupVersion.String()
	switch {
	case kind == "accesspolicies":
		i.answer(w, http.StatusOK, i.policies[path[0]], lapse, "AccessPolicy")
	case kind == requestResource && r.URL.Query().Get("watch") == "":
		i.answer(w, http.StatusOK, i.list(), lapse, "AccessRequestList")
	case kind == decisionResource && r.Method == http.MethodPost:
		i.answer(w, http.StatusCreated, i.decide(r.Body), lapse, "AccessDecision")
	case i.hidden && strings.HasSuffix(kind, "bindings"):
		i.answer(w, http.StatusForbidden, &metav1.Status{
			Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
			Message: `User "dave" cannot list resource "` + kind + `" in API group "rbac.authorization.k8s.io" at the cluster scope`,
		}, "v1", "Status")
	case kind == "rolebindings":
		i.answer(w, http.StatusOK, i.page(r.URL.Query().Get("continue")), rbac, "RoleBindingList")
	case kind == "clusterrolebindings":
		i.answer(w, http.StatusOK, &rbacv1.ClusterRoleBindingList{Items: i.everywhere}, rbac, "ClusterRoleBindingList")
	default:
		i.review(w, kind)
	}
}

// review says who asks, and that he may not.
func (i *incident) review(w http.ResponseWriter, kind string) {
	switch kind {
	case "selfsubjectreviews":
		review := &authenticationv1.SelfSubjectReview{}
		review.Status.UserInfo.Username = i.me
		i.answer(w, http.StatusCreated, review, authenticationv1.SchemeGroupVersion.String(), "SelfSubjectReview")
	case "selfsubjectaccessreviews":
		no := &authorizationv1.SelfSubjectAccessReview{}
		i.answer(w, http.StatusCreated, no, authorizationv1.SchemeGroupVersion.String(), "SelfSubjectAccessReview")
	default:
		missing := &metav1.Status{Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}
		i.answer(w, http.StatusNotFound, missing, "v1", "Status")
	}
}

// decide keeps a decision, and does what the operator would.
func (i *incident) decide(body io.Reader) *v1alpha1.AccessDecision {
	d := v1alpha1.AccessDecision{}
	if err := json.NewDecoder(body).Decode(&d); err != nil {
		i.t.Error(err)
	}
	i.decisions = append(i.decisions, d)
	for _, req := range i.requests {
		if i.deaf || req.UID != d.Spec.RequestRef.UID {
			continue
		}
		req.Status.State = v1alpha1.StateDenied
		if d.Spec.Verdict == v1alpha1.VerdictRevoke {
			req.Status.State = v1alpha1.StateRevoked
		}
		req.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Message: "by a \x1b[2Jperson"}}
	}
	return &d
}

func (i *incident) answer(w http.ResponseWriter, code int, obj runtime.Object, version, kind string) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		i.t.Error(err)
	}
	content["apiVersion"], content["kind"] = version, kind
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(content); err != nil {
		i.t.Error(err)
	}
}

// revokes runs the plugin in it, and returns what it printed.
func (i *incident) revokes(args ...string) (code int, stdout, stderr string) {
	var out, said bytes.Buffer
	p := against(i.t, i.ServeHTTP)
	p.Out, p.ErrOut = &out, &said
	server := p.config.overrides.ClusterInfo.Server
	root := p.rootCommand()
	root.SetArgs(append([]string{"revoke", "--server", server}, args...))
	err := root.ExecuteContext(i.t.Context())
	if err != nil {
		code = exitFailed
		p.say("error: %s", p.explain(err))
	}
	mustBeHarmless(i.t, out.String()+said.String())
	return code, out.String(), said.String()
}

func (i *incident) words() string {
	words := make([]string, 0, len(i.decisions))
	for _, d := range i.decisions {
		words = append(words, string(d.Spec.Verdict)+" "+d.Spec.RequestRef.Name+": "+d.Spec.Comment)
	}
	return strings.Join(words, "\n")
}

func newIncident(t *testing.T) *incident {
	security := builders.User("dave")
	return &incident{t: t, me: "dave", policies: map[string]*v1alpha1.AccessPolicy{
		"oncall":  builders.Policy("oncall").RevokedBy(security).Build(),
		"planned": builders.Policy("planned").ApprovedBy(builders.User("bob")).RevokedBy(security).Build(),
		"others":  builders.Policy("others").ApprovedBy(builders.User("bob")).Build(),
	}}
}

func mustSay(t *testing.T, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("this is not said: %s\nbut this:\n%s", w, got)
		}
	}
}

func TestAllOfEndsWhatIsHeldFirstAndGoesOnAfterAFailure(t *testing.T) {
	i := newIncident(t)
	alice := builders.Request("").By("alice")
	i.add("waits", "planned", v1alpha1.StatePending, alice)
	i.add("not-ours", "others", v1alpha1.StateActive, alice)
	i.add("held", "oncall", v1alpha1.StateActive, alice)
	i.add("over", "oncall", v1alpha1.StateExpired, alice)
	i.add("alices", "oncall", v1alpha1.StateActive, builders.Request("").By("alice2"))
	i.add("for-her", "oncall", v1alpha1.StateScheduled, builders.Request("").By("gitops").To(builders.User("alice")))
	i.add("through-a-group", "oncall", v1alpha1.StateActive, builders.Request("").By("gitops").To(builders.Group("alice")))
	code, stdout, stderr := i.revokes("--all-of", "alice", "-A", "--reason", "stolen")
	if want := "Revoke held: stolen\nDeny waits: stolen\nDeny for-her: stolen"; i.words() != want {
		t.Errorf("decided\n%s\nand not\n%s", i.words(), want)
	}
	mustSay(t, stdout, "accessrequest.lapse.dev/held in payments: Revoked: by a \ufffd[2Jperson\n",
		"accessrequest.lapse.dev/waits in payments: Denied", "accessrequest.lapse.dev/for-her in payments: Denied")
	mustSay(t, stderr, "error: not-ours in payments: you (dave) are not among the approvers of policy others, who are 1 of bob",
		"1 of 4 failed", `not looked at: what "alice" holds through groups`)
	if code != exitFailed || strings.Count(stdout, "\n") != 3 {
		t.Errorf("code %d, printed\n%s", code, stdout)
	}
}

func TestAllOfGivesBackWhatIsOnesOwn(t *testing.T) {
	i := newIncident(t)
	i.me = "alice"
	i.add("waits", "others", v1alpha1.StatePending, builders.Request("").By("alice"))
	if code, _, stderr := i.revokes("--all-of", "alice", "-A", "--reason", "stolen"); code != exitOK || i.words() != "Revoke waits: stolen" {
		t.Errorf("code %d, decided %s\n%s", code, i.words(), stderr)
	}
}

func TestAllOfSaysWhatDidNotEnd(t *testing.T) {
	i := newIncident(t)
	i.deaf = true
	i.add("held", "oncall", v1alpha1.StateActive, builders.Request("").By("alice"))
	code, stdout, stderr := i.revokes("--all-of", "alice", "-n", "payments", "--reason", "stolen")
	mustSay(t, stderr, "error: held in payments: it was decided, and", "kubectl lapse why held -n payments", "1 of 1 failed",
		"looked at: namespace payments; -A looks at all")
	if code != exitFailed || stdout != "" || i.words() != "Revoke held: stolen" {
		t.Errorf("code %d, printed %s, decided %s", code, stdout, i.words())
	}
}

func TestAllOfListsWhatStandsOutsideLapse(t *testing.T) {
	i := newIncident(t)
	who := "system:serviceaccount:ci:bot"
	req := i.add("held", "oncall", v1alpha1.StateActive, builders.Request("").By(who))
	bind := func(name, namespace string, subjects ...rbacv1.Subject) rbacv1.RoleBinding {
		return rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "reader"},
		}
	}
	bot := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Name: "bot"} // of the namespace of its binding
	asUser := rbacv1.Subject{Kind: rbacv1.UserKind, Name: who}
	lapses := bind("lapse-like", "ci", asUser)
	lapses.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "of-nobody"}
	i.bindings = []rbacv1.RoleBinding{
		bind(binding.Name(req), "payments", asUser), bind("same", "ci", bot), bind("other", "payments", bot),
		bind("group", "ci", rbacv1.Subject{Kind: rbacv1.GroupKind, Name: who}), lapses,
	}
	i.everywhere = []rbacv1.ClusterRoleBinding{{
		ObjectMeta: metav1.ObjectMeta{Name: "all"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "ci", Name: "bot"}},
	}}
	code, stdout, stderr := i.revokes("--all-of", who, "-A", "--reason", "stolen")
	_, rows, _ := strings.Cut(stdout, "\n")
	if want := "rolebinding.rbac.authorization.k8s.io/same in ci: Role reader\n" +
		"rolebinding.rbac.authorization.k8s.io/lapse-like in ci: Role reader\n" +
		"clusterrolebinding.rbac.authorization.k8s.io/all: ClusterRole view\n"; rows != want || code != exitOK {
		t.Errorf("code %d, printed\n%s\nand not\n%s\n%s", code, rows, want, stderr)
	}
}

func TestAllOfSaysThatBindingsCouldNotBeListed(t *testing.T) {
	i := newIncident(t)
	i.hidden = true
	code, stdout, stderr := i.revokes("--all-of", "Alice", "-A", "--reason", "stolen")
	mustSay(t, stderr, `no request by or for "Alice" is held or waits; names are compared letter by letter`,
		`what "Alice" holds outside Lapse could not all be listed: you (dave) may not list rolebindings`)
	if code != exitOK || stdout != "" {
		t.Errorf("code %d, printed %s", code, stdout)
	}
}

func TestAllOfRefusesWhatCannotBeMeant(t *testing.T) {
	for args, want := range map[string]string{
		"--all-of alice":                      "--reason is missing",
		"held --all-of alice --reason x":      "--all-of is about all requests of a user; leave out held, or --all-of",
		"--all-of= --reason x":                "--all-of is empty",
		"held -A --reason x":                  "--all-namespaces goes with --all-of alone",
		"--all-of alice --reason x -o json":   "-o does not go with --all-of",
		"--reason x":                          "which request?",
		"--all-of alice --reason x -A --nope": "unknown flag: --nope",
	} {
		i := newIncident(t)
		i.add("held", "oncall", v1alpha1.StateActive, builders.Request("").By("alice"))
		code, _, stderr := i.revokes(strings.Fields(args)...)
		if mustSay(t, stderr, want); code != exitFailed || len(i.decisions) > 0 {
			t.Errorf("revoke %s: code %d, decided %s", args, code, i.words())
		}
	}
}
