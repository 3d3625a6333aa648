// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// against is a plugin whose API server is the handler.
func against(t *testing.T, handler http.HandlerFunc) *plugin {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	p := newPlugin(genericiooptions.IOStreams{Out: io.Discard, ErrOut: io.Discard})
	p.config.overrides.ClusterInfo.Server = server.URL
	return p
}

func TestDeleteIsOfExactlyTheObjectThatWasSeen(t *testing.T) {
	var sent metav1.DeleteOptions
	p := against(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodDelete || r.URL.Path != "/apis/rbac.authorization.k8s.io/v1/namespaces/payments/rolebindings/lapse-x-0a1b2c3d" {
			t.Errorf("%s %s", r.Method, r.URL.Path)
		}
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	})
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "payments", Name: "lapse-x-0a1b2c3d", UID: "the-one"}}
	if err := c.delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if sent.Preconditions == nil || sent.Preconditions.UID == nil || *sent.Preconditions.UID != "the-one" {
		t.Errorf("sent %+v", sent)
	}
}

func TestTimeIsTheServers(t *testing.T) {
	for _, off := range []time.Duration{0, time.Hour, -time.Hour} {
		p := against(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			_, _ = io.WriteString(w, `{"gitVersion":"v1.37.2"}`)
		})
		c, err := p.connect()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.version(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := time.Until(p.clock.now()); (got - off).Abs() > 2*tolerated {
			t.Errorf("a server that is %s off is taken to be %s off", off, got)
		}
	}
}

func TestWarningsOfTheServerAreHarmless(t *testing.T) {
	var said bytes.Buffer
	p := against(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Warning", "299 - \"gnp\u202e.exe\"")
		_, _ = io.WriteString(w, `{}`)
	})
	p.ErrOut = &said
	c, err := p.connect()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.version(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := said.String(); got != "Warning: gnp\ufffd.exe\n" {
		t.Errorf("said %q", got)
	}
}

// Whoever may write Events can write them in the operator's name.
func TestTheStoryOfARequestIsToldWithoutEvents(t *testing.T) {
	const requests, one = "/apis/lapse.dev/v1alpha1/namespaces/default/accessrequests/", "active"
	req := held(under(example(one, v1alpha1.StateActive, v1alpha1.ReasonGranted, "allowed"), "oncall-edit"), 42)
	req.Namespace = "default"
	read := map[string]any{
		requests + one: &req,
		"/apis/lapse.dev/v1alpha1/namespaces/default/accessdecisions": &v1alpha1.AccessDecisionList{},
		"/apis/lapse.dev/v1alpha1/accesspolicies/oncall-edit":         &v1alpha1.AccessPolicy{},
	}
	p := against(t, func(w http.ResponseWriter, r *http.Request) {
		answer, there := read[r.URL.Path]
		if !there {
			t.Errorf("it reads %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	var told bytes.Buffer
	p.Out = &told
	if err := p.why(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(told.String(), "INC-4211") {
		t.Errorf("it tells\n%s", told.String())
	}
}

func TestExplainSaysWhatToDoNext(t *testing.T) {
	p := newPlugin(genericiooptions.IOStreams{})
	requests := schema.GroupResource{Group: "lapse.dev", Resource: "accessrequests"}
	forbidden := func(text string) error { return apierrors.NewForbidden(requests, "x", errors.New(text)) }
	for want, err := range map[string]error{
		"you (a b\"c) may not create accessdecisions.lapse.dev in namespace p; ask a cluster admin " +
			"for a RoleBinding to ClusterRole lapse-approver (to decide) or lapse-requester (to give back)": forbidden(
			`User "a b"c" cannot create resource "accessdecisions" in API group "lapse.dev" in the namespace "p"`),
		"you (eve) may not update accesspolicies.lapse.dev in the whole cluster; " +
			"ask a cluster admin for a ClusterRoleBinding to ClusterRole lapse-policy-admin": forbidden(
			`User "eve" cannot update resource "accesspolicies" in API group "lapse.dev" at the cluster scope`),
		"you (eve) may not list namespaces in the whole cluster; ask a cluster admin for that permission": forbidden(
			`User "eve" cannot list resource "namespaces" in API group "" at the cluster scope`),
		"the API server refused this: you need more": forbidden("ValidatingAdmissionPolicy 'x' with binding 'x' denied request: you need more"),
		"the API server does not accept who you are": apierrors.NewUnauthorized("no"),
		"this cluster does not know Lapse's kinds": apierrors.NewGenericServerResponse(http.StatusNotFound, "get", requests, "",
			"404 page not found", 0, true),
	} {
		if got := p.explain(err); !strings.HasPrefix(got, want) {
			t.Errorf("%v\nis explained as %q\nand not as      %q", err, got, want)
		}
	}
}
