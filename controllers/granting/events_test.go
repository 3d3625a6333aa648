// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/hostile"
)

// recorded are the Events so far: what they are about, besides what, why, and their notes.
type recorded []string

func (r *recorded) Eventf(regarding, related runtime.Object, _, reason, _, note string, args ...any) {
	name := func(obj runtime.Object) string {
		switch o := obj.(type) {
		case *corev1.ObjectReference:
			return o.Kind + " " + o.Name
		case *rbacv1.RoleBinding:
			return "RoleBinding " + o.Name
		case *v1alpha1.AccessRequest:
			return o.Name
		case *v1alpha1.AccessDecision:
			return "AccessDecision " + o.Name
		}
		return "nothing"
	}
	*r = append(*r, fmt.Sprintf("%s of %s and %s: %s", reason, name(regarding), name(related), fmt.Sprintf(note, args...)))
}

const secret = "s3cr3t-that-somebody-pasted"

// packed is a role whose rules are as long as they may be.
func packed() *v1alpha1.GrantedRole {
	return &v1alpha1.GrantedRole{UID: "r", Digest: "d", Rules: bytes.Repeat([]byte("x"), 8192)}
}

// life is what becomes of a request, each outcome as often as the reconciler may see it.
func life(t *testing.T, tell func(before, req *v1alpha1.AccessRequest)) {
	t.Helper()
	now := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	req := builders.Request("debug").In("payments").By("alice").Build()
	req.Spec.Reason = secret
	policy, end := &v1alpha1.PolicyReference{Name: "oncall"}, metav1.NewTime(now)
	held := v1alpha1.Grant{Binding: "lapse-debug-1", GrantedAt: metav1.NewTime(now), ExpiresAt: metav1.NewTime(now), Role: packed()}
	ended := held
	ended.EndedAt, ended.EndedBy = &end, "carol"
	approvals := []v1alpha1.Approval{{Decision: "d", Reviewer: "bob"}}
	for _, o := range []*grant.Outcome{
		{State: v1alpha1.StatePending, Reason: v1alpha1.ReasonPendingApproval, Message: "waits for two", Policy: policy},
		{State: v1alpha1.StatePending, Reason: v1alpha1.ReasonPendingApproval, Message: "waits for one", Policy: policy, Approvals: approvals},
		{State: v1alpha1.StateActive, Reason: v1alpha1.ReasonGranted, Message: "allowed", Policy: policy, Approvals: approvals, Grant: &held},
		{State: v1alpha1.StateRevoked, Reason: v1alpha1.ReasonRevoked, Message: "enough", Policy: policy, Approvals: approvals, Grant: &ended},
	} {
		for range 3 {
			before := req.DeepCopy()
			setStatus(now, req, o)
			tell(before, req)
		}
	}
}

func TestAnEventIsOfEachFactOnceOnTheRequestAndItsBinding(t *testing.T) {
	events := &recorded{}
	r := &RequestReconciler{recorder: events, pinned: binding.NewUIDs()}
	life(t, func(before, req *v1alpha1.AccessRequest) { r.announce(t.Context(), before, req) })
	pinned := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "lapse-debug-1", UID: "1"}}
	for range 2 {
		r.announcePinned(builders.Request("debug").Build(), pinned)
	}
	want := []string{
		"PendingApproval of debug and nothing: waits for two",
		"Granted of debug and RoleBinding lapse-debug-1: allowed",
		"Revoked of debug and RoleBinding lapse-debug-1: enough",
	}
	const last = "BindingPinned of debug and RoleBinding lapse-debug-1: "
	if len(*events) != 4 || !slices.Equal((*events)[:3], want) || !strings.HasPrefix((*events)[3], last) {
		t.Errorf("got %q, want %q, and %s", *events, want, last)
	}
	if strings.Contains(fmt.Sprint(*events), secret) {
		t.Errorf("the reason is in an Event: %q", *events)
	}
}

func TestALogLineNamesWhoAskedAndWhoApproved(t *testing.T) {
	var out bytes.Buffer
	ctx := log.IntoContext(t.Context(), zap.New(zap.WriteTo(&out)))
	r := &RequestReconciler{recorder: &recorded{}}
	life(t, func(before, req *v1alpha1.AccessRequest) { r.announce(ctx, before, req) })
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	for i, want := range []string{
		"request Pending: PendingApproval alice []", "request Active: Granted alice [bob]", "request Revoked: Revoked alice [bob]",
	} {
		var said struct {
			Message   string   `json:"msg"`
			Reason    string   `json:"reason"`
			Requester string   `json:"requester"`
			Why       string   `json:"requestReason"`
			Reviewers []string `json:"reviewers"`
		}
		if err := json.Unmarshal([]byte(lines[i]), &said); err != nil {
			t.Fatalf("%v in %s", err, lines[i])
		}
		if got := fmt.Sprintf("%s: %s %s %v", said.Message, said.Reason, said.Requester, said.Reviewers); got != want {
			t.Errorf("%s\nwant %s\nin %s", got, want, lines[i])
		}
		if said.Why != secret || len(lines[i]) > 2048 {
			t.Errorf("it is said why: %q, in %d bytes: %s", said.Why, len(lines[i]), lines[i])
		}
	}
}

func TestTheLogHasNothingThatPeopleWroteIfThatIsToBeLeftOut(t *testing.T) {
	var out bytes.Buffer
	ctx := log.IntoContext(t.Context(), zap.New(zap.WriteTo(&out)))
	r := &RequestReconciler{recorder: &recorded{}, redact: true}
	life(t, func(before, req *v1alpha1.AccessRequest) { r.announce(ctx, before, req) })
	for _, written := range []string{secret, "enough"} {
		if out.Len() == 0 || strings.Contains(out.String(), written) {
			t.Errorf("%q is in the log: %s", written, out.String())
		}
	}
}

func TestALogLineIsOneShortObjectWhateverPeopleWrote(t *testing.T) {
	for _, s := range hostile.Strings(t) {
		req := builders.Request("debug").In("payments").By(s).Because(s).Build()
		req.Status = v1alpha1.AccessRequestStatus{
			State: v1alpha1.StateActive, Approvals: []v1alpha1.Approval{{Decision: "d", Reviewer: s}},
			Grant: &v1alpha1.Grant{Binding: "lapse-debug-1", Role: packed()},
		}
		var out bytes.Buffer // a logger each: of many lines with one message some are left out
		ctx := log.IntoContext(t.Context(), zap.New(zap.WriteTo(&out)))
		(&RequestReconciler{}).logChange(ctx, req, &metav1.Condition{Reason: v1alpha1.ReasonGranted, Message: s})
		said := map[string]any{}
		if err := json.Unmarshal(out.Bytes(), &said); err != nil || strings.Count(out.String(), "\n") != 1 {
			t.Fatalf("%.60q: %v in %.200q", s, err, out.String())
		}
		as := string([]rune(s)) // what is no UTF-8 is marked
		for key, want := range map[string]any{
			"message": as, "requester": as, "requestReason": text.Cut(text.Line(s), maxWhy), "reviewers": []any{as},
			"role": map[string]any{"kind": "ClusterRole", "name": "view"},
			"grant": map[string]any{
				"binding": "lapse-debug-1", "grantedAt": nil, "expiresAt": nil, "role": map[string]any{"uid": "r", "digest": "d"},
			},
		} {
			if !reflect.DeepEqual(said[key], want) {
				t.Errorf("%.60q: %s is %.200q, want %.200q", s, key, fmt.Sprint(said[key]), fmt.Sprint(want))
			}
		}
	}
}
