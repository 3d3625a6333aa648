// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/test/builders"
)

// estate is an incident whose bindings can be ended.
type estate struct {
	*incident
	granting bool   // lapse-granting is there
	older    bool   // another role lets the operator make RoleBindings
	untold   string // why an authorizer could not tell what it may
	refuses  string
	mayNot   bool // revoke
	writes   []string
}

func newEstate(t *testing.T, names ...string) *estate {
	e := &estate{incident: newIncident(t), granting: true}
	for _, name := range names {
		req := e.add(name, "oncall", v1alpha1.StateActive, builders.Request("").By("alice"))
		given := v1alpha1.Grant{Binding: binding.Name(req), GrantedAt: minutes(0), ExpiresAt: minutes(60)}
		e.bindings = append(e.bindings, *binding.New(req, builders.User("alice"), "oncall", given))
		b := &e.bindings[len(e.bindings)-1]
		b.UID, b.CreationTimestamp = "of-"+req.UID, minutes(0)
	}
	return e
}

// ServeHTTP serves what a drain stops and ends, and leaves the rest to the incident.
func (e *estate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const (
		rbac     = "/apis/rbac.authorization.k8s.io/v1"
		granting = rbac + "/clusterrolebindings/" + reap.GrantingBinding
		one      = rbac + "/namespaces/{namespace}/rolebindings/{name}"
	)
	mux := http.NewServeMux()
	mux.Handle("/", e.incident)
	mux.HandleFunc("GET "+granting, e.getGranting)
	mux.HandleFunc("DELETE "+granting, e.deleteGranting)
	mux.HandleFunc("POST /apis/authorization.k8s.io/v1/subjectaccessreviews", e.mayGrant)
	mux.HandleFunc("GET "+rbac+"/rolebindings", e.listAll)
	mux.HandleFunc("DELETE "+one, e.remove)
	mux.HandleFunc("PATCH "+one, e.patch)
	mux.HandleFunc("POST /apis/lapse.dev/v1alpha1/namespaces/{namespace}/"+decisionResource, e.decided)
	mux.ServeHTTP(w, r)
}

func (e *estate) getGranting(w http.ResponseWriter, r *http.Request) {
	if !e.grants() {
		e.incident.ServeHTTP(w, r) // which knows of none
		return
	}
	there := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: reap.GrantingBinding, UID: "g"}}
	e.answer(w, http.StatusOK, there, rbacv1.SchemeGroupVersion.String(), "ClusterRoleBinding")
}

func (e *estate) deleteGranting(w http.ResponseWriter, _ *http.Request) {
	e.change(func() { e.granting = false; e.writes = append(e.writes, "stop") })
	e.gone(w)
}

func (e *estate) mayGrant(w http.ResponseWriter, _ *http.Request) {
	review := &authorizationv1.SubjectAccessReview{}
	review.Status.Allowed, review.Status.EvaluationError = e.grants() || e.older, e.untold
	e.answer(w, http.StatusCreated, review, authorizationv1.SchemeGroupVersion.String(), "SubjectAccessReview")
}

func (e *estate) listAll(w http.ResponseWriter, _ *http.Request) {
	list := &rbacv1.RoleBindingList{}
	e.change(func() { list.Items = slices.Clone(e.bindings) })
	e.answer(w, http.StatusOK, list, rbacv1.SchemeGroupVersion.String(), "RoleBindingList")
}

// decided has the operator do what was decided.
func (e *estate) decided(w http.ResponseWriter, r *http.Request) {
	if e.mayNot {
		e.fails(w, http.StatusForbidden)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	e.incident.ServeHTTP(w, r)
	e.ended(body)
}

func (e *estate) grants() (yes bool) {
	e.change(func() { yes = e.granting })
	return yes
}

func (e *estate) change(do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	do()
}

func (e *estate) fails(w http.ResponseWriter, code int32) {
	e.answer(w, int(code), &metav1.Status{Status: metav1.StatusFailure, Message: "webhook \x1b[2J", Code: code}, "v1", "Status")
}

func (e *estate) gone(w http.ResponseWriter) {
	e.answer(w, http.StatusOK, &metav1.Status{Status: metav1.StatusSuccess}, "v1", "Status")
}

// remove deletes a binding that nothing keeps.
func (e *estate) remove(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if name == e.refuses {
		e.fails(w, http.StatusInternalServerError)
		return
	}
	e.change(func() {
		e.writes = append(e.writes, "delete "+name)
		e.bindings = slices.DeleteFunc(e.bindings, func(b rbacv1.RoleBinding) bool { return b.Name == name && len(b.Finalizers) == 0 })
	})
	e.gone(w)
}

func (e *estate) patch(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	body, _ := io.ReadAll(r.Body)
	if name == e.refuses {
		e.fails(w, http.StatusInternalServerError)
		return
	}
	e.change(func() {
		e.writes = append(e.writes, "patch "+name+" "+string(body))
		for i := range e.bindings {
			if e.bindings[i].Name == name {
				e.bindings[i].Subjects = nil
			}
		}
	})
	patched := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
	e.answer(w, http.StatusOK, patched, rbacv1.SchemeGroupVersion.String(), "RoleBinding")
}

// ended is what the operator does with a decision.
func (e *estate) ended(body []byte) {
	d := v1alpha1.AccessDecision{}
	if err := json.Unmarshal(body, &d); err != nil {
		e.t.Error(err)
	}
	e.change(func() {
		e.bindings = slices.DeleteFunc(e.bindings, func(b rbacv1.RoleBinding) bool {
			return !e.deaf && binding.OwnerOf(&b).UID == d.Spec.RequestRef.UID
		})
	})
}

// plugin talks to it; what is printed goes to out and said.
func (e *estate) plugin(out, said io.Writer) (p *plugin, server string) {
	p = against(e.t, e.ServeHTTP)
	p.Out, p.ErrOut = out, said
	return p, p.config.overrides.ClusterInfo.Server // which flags forget
}

func (e *estate) runs(args ...string) (code int, stdout, stderr string) {
	var out, said bytes.Buffer
	p, server := e.plugin(&out, &said)
	root := p.rootCommand()
	root.SetArgs(append([]string{"drain", "--server", server}, args...))
	if err := root.ExecuteContext(e.t.Context()); err != nil {
		code = exitFailed
		p.say("error: %s", p.explain(err))
	}
	mustBeHarmless(e.t, out.String()+said.String())
	return code, out.String(), said.String()
}

// part runs a part of a drain that has a second.
func (e *estate) part(run func(context.Context, *drain)) (stderr string) {
	var said bytes.Buffer
	p, _ := e.plugin(io.Discard, &said)
	c, err := p.connect()
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(e.t.Context(), time.Second)
	defer cancel()
	run(ctx, &drain{plugin: p, c: c})
	return said.String()
}

func TestDrainStopsGrantsAndRevokesAll(t *testing.T) {
	e := newEstate(t, "one", "two")
	code, stdout, stderr := e.runs("--yes", "--reason", "moving away")
	mustSay(t, stdout, "rolebinding.rbac.authorization.k8s.io/lapse-one-uid-of-o ended in payments: ClusterRole view for User alice until ",
		"lapse-two-uid-of-t ended")
	mustSay(t, stderr, "ended: 2; nobody holds anything by Lapse, and nothing is granted until ClusterRoleBinding lapse-granting is applied")
	mustSay(t, e.words(), "Revoke one: moving away", "Revoke two: moving away")
	if code != exitOK || e.granting || len(e.bindings) > 0 || !slices.Equal(e.writes, []string{"stop"}) {
		t.Errorf("code %d, grants go on: %t, wrote %q\n%s", code, e.granting, e.writes, stderr)
	}
}

func TestDrainDeletesWhatOneMayNotRevoke(t *testing.T) {
	e := newEstate(t, "one")
	e.mayNot, e.requests = true, nil
	code, _, stderr := e.runs("--yes")
	mustSay(t, stderr, "ended: 1; nobody holds anything")
	if code != exitOK || len(e.bindings) > 0 || !slices.Contains(e.writes, "delete lapse-one-uid-of-o") {
		t.Errorf("code %d, wrote %q\n%s", code, e.writes, stderr)
	}
}

func TestDrainSaysWhatIsLeft(t *testing.T) {
	e := newEstate(t, "one", "two")
	e.mayNot, e.refuses = true, "lapse-one-uid-of-o"
	e.bindings[1].Finalizers = []string{"example.com/pin"}
	code, stdout, stderr := e.runs("--yes", "--timeout", "1s")
	mustSay(t, stderr, "left: rolebinding.rbac.authorization.k8s.io/lapse-one-uid-of-o in payments: ClusterRole view for User alice until ",
		"access goes on, the deletion failed", "end it: kubectl delete rolebinding -n payments lapse-one-uid-of-o",
		"ended: 1; 1 RoleBindings still give access")
	mustSay(t, strings.Join(e.writes, "\n"), `patch lapse-two-uid-of-t {"metadata":{"uid":"of-uid-of-two"},"subjects":null}`)
	if code != exitFailed || !strings.Contains(stdout, "lapse-two") || strings.Contains(stdout, "lapse-one") {
		t.Errorf("code %d\n%s\n%s", code, stdout, stderr)
	}
}

func TestDrainNamesWhatStaysAndGivesNothing(t *testing.T) {
	e := newEstate(t, "one", "two")
	e.bindings[0].Finalizers = []string{"example.com/pin"}
	stderr := e.part(func(ctx context.Context, d *drain) { d.kept(ctx) })
	mustSay(t, stderr, "finalizers keep rolebinding lapse-one-uid-of-o in payments: example.com/pin; take them off: kubectl patch rolebinding")
	if strings.Contains(stderr, "lapse-two") {
		t.Errorf("nothing keeps two:\n%s", stderr)
	}
	stderr = e.part(func(ctx context.Context, d *drain) { d.unrecorded(ctx) })
	mustSay(t, stderr, "no operator has recorded that these ended: payments/one, payments/two")
}

func TestDrainSaysThatGrantsMayStillBeMade(t *testing.T) {
	e := newEstate(t)
	e.older = true
	e.part(func(ctx context.Context, d *drain) {
		err := d.stop(ctx)
		if err == nil || e.grants() {
			t.Fatalf("%v; the binding is there: %t", err, e.grants())
		}
		mustSay(t, err.Error(), "the operator may still make RoleBindings, by another role than that of ClusterRoleBinding lapse-granting",
			"stop it: kubectl scale -n lapse-system deployment/lapse-manager --replicas=0")
		err = d.report(ctx, reap.Drained{Ended: 1, Stopped: err})
		mustSay(t, err.Error(), "ended: 1; new grants may be made: the operator may still")
	})
}

func TestDrainSaysThatItCouldNotBeToldWhetherGrantsAreMade(t *testing.T) {
	e := newEstate(t)
	e.granting, e.untold = false, "webhook: connection refused"
	e.part(func(ctx context.Context, d *drain) {
		for name, ask := range map[string]func(context.Context) error{"at first": d.stop, "at the end": d.broughtBack} {
			err := ask(ctx)
			if err == nil {
				t.Errorf("%s: nothing is said", name)
				continue
			}
			mustSay(t, err.Error(), "could not be asked: the authorizer could not tell: webhook: connection refused")
		}
	})
}

func TestDrainSaysThatTheRightToGrantIsBack(t *testing.T) {
	e := newEstate(t)
	e.part(func(ctx context.Context, d *drain) {
		if err := d.broughtBack(ctx); err == nil {
			t.Error("it is there, and nobody says so")
		} else {
			mustSay(t, err.Error(), "something brought ClusterRoleBinding lapse-granting back")
		}
		e.change(func() { e.granting = false })
		if err := d.broughtBack(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestDrainEndsNothingUnlessItIsMeant(t *testing.T) {
	for args, want := range map[string]string{
		"":                   "nothing was ended: this ends all access by Lapse (grants that are held: 1), and has nothing granted",
		"--yes --timeout=0s": "--timeout is 0s, and must be more than 0s",
		"--yes one":          "unknown command",
	} {
		e := newEstate(t, "one")
		code, _, stderr := e.runs(strings.Fields(args)...)
		if mustSay(t, stderr, want); code != exitFailed || len(e.writes)+len(e.decisions) > 0 {
			t.Errorf("drain %s: code %d, wrote %q", args, code, e.writes)
		}
	}
	e := newEstate(t, "one")
	code, stdout, _ := e.runs("--dry-run")
	mustSay(t, stdout, "clusterrolebinding.rbac.authorization.k8s.io/lapse-granting deleted (dry run)",
		"rolebinding.rbac.authorization.k8s.io/lapse-one-uid-of-o ended in payments (dry run): ClusterRole view for User alice until ")
	if code != exitOK || len(e.writes)+len(e.decisions) > 0 || !e.granting {
		t.Errorf("code %d, wrote %q", code, e.writes)
	}
}
