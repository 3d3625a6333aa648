// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/controllers/granting"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

// harness is an operator whose clock and steps are the test's.
type harness struct {
	clock      *clocktesting.FakeClock
	serverTime *servertime.Clock
	admission  admission.State
	events     *events.FakeRecorder
	requests   *granting.RequestReconciler
	ending     reconcile.Reconciler
	policies   *granting.PolicyReconciler
}

// newHarness runs as the operator. Its clock begins at the real time: the API
// server stamps objects with its own.
func newHarness() *harness {
	return newHarnessWith(asOperator, asOperator)
}

func newHarnessWith(c client.Client, live client.Reader) *harness {
	h := &harness{
		clock: clocktesting.NewFakeClock(time.Now()), events: events.NewFakeRecorder(1000),
		admission: admission.State{Enforced: true},
	}
	h.serverTime = servertime.New(h.clock)
	limits := policy.Limits{MaxDuration: 24 * time.Hour, ReservedNamespaces: []string{"lapse-system", policy.DefaultReserved}}
	memory := binding.NewMemory(limits.MaxDuration)
	o := granting.Options{
		Client: c, Live: live, Clock: h.serverTime, Recorder: h.events, Memory: memory,
		Admission: func() admission.State { return h.admission }, Busy: func() bool { return false },
		Limits: limits, Retention: 30 * 24 * time.Hour,
	}
	h.requests, h.policies = granting.NewRequestReconciler(o), granting.NewPolicyReconciler(o)
	h.ending = ending.NewReconciler(ending.Options{
		Client: c, Live: live, Clock: h.serverTime, MaxDuration: limits.MaxDuration, Memory: memory,
		RequestOf: granting.Known(c, func() bool { return true }), Leading: func() bool { return true },
	})
	return h
}

// setSkew puts the clock here ahead of the API server's, as two answers show it.
func (h *harness) setSkew(ahead time.Duration) {
	now := h.clock.Now()
	h.serverTime.Observe(now, now, now.Add(-ahead-time.Second))
	h.serverTime.Observe(now, now, now.Add(-ahead))
}

// end has what ends access look at a binding.
func (h *harness) end(ctx context.Context, key client.ObjectKey) error {
	_, err := h.ending.Reconcile(ctx, ctrl.Request{NamespacedName: key})
	return err
}

// step reconciles a request and its binding once. The clock never falls behind the API
// server's, by which a binding must not have been decided too long ago.
func (h *harness) step(ctx context.Context, req *v1alpha1.AccessRequest) error {
	if now := time.Now(); h.serverTime.Ahead() == 0 && h.clock.Now().Before(now) {
		h.clock.SetTime(now)
	}
	if err := h.end(ctx, client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}); err != nil {
		return err
	}
	_, err := h.requests.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(req)})
	return err
}

// settle reconciles until nothing changes, and reads the request again.
func (h *harness) settle(ctx context.Context, req *v1alpha1.AccessRequest) {
	GinkgoHelper()
	for last, now := "", "start"; last != now; {
		Expect(h.step(ctx, req)).To(Succeed())
		last, now = now, h.versions(ctx, req)
	}
}

// versions changes with every write to the request or its binding.
func (h *harness) versions(ctx context.Context, req *v1alpha1.AccessRequest) string {
	GinkgoHelper()
	Expect(client.IgnoreNotFound(admin.Get(ctx, client.ObjectKeyFromObject(req), req))).To(Succeed())
	if b := bindingOf(ctx, req); b != nil {
		return req.ResourceVersion + "/" + b.ResourceVersion
	}
	return req.ResourceVersion + "/none"
}

// bindingOf is the RoleBinding with the name of the request's, or nil.
func bindingOf(ctx context.Context, req *v1alpha1.AccessRequest) *rbacv1.RoleBinding {
	GinkgoHelper()
	b := &rbacv1.RoleBinding{}
	err := admin.Get(ctx, client.ObjectKey{Namespace: req.Namespace, Name: binding.Name(req)}, b)
	if apierrors.IsNotFound(err) {
		return nil
	}
	Expect(err).NotTo(HaveOccurred())
	return b
}

// granted creates a request as its requester and takes it until it is granted.
func (h *harness) granted(ctx context.Context, as client.Client, req *v1alpha1.AccessRequest) *v1alpha1.AccessRequest {
	GinkgoHelper()
	Expect(as.Create(ctx, req)).To(Succeed())
	h.settle(ctx, req)
	Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
	return req
}

// beReady matches the condition Ready of a request or policy.
func beReady(status metav1.ConditionStatus, reason string) types.GomegaMatcher {
	return haveCondition(v1alpha1.ConditionReady, status, reason)
}

func haveCondition(kind string, status metav1.ConditionStatus, reason string) types.GomegaMatcher {
	return WithTransform(func(obj any) string {
		var conditions []metav1.Condition
		switch o := obj.(type) {
		case *v1alpha1.AccessRequest:
			conditions = o.Status.Conditions
		case *v1alpha1.AccessPolicy:
			conditions = o.Status.Conditions
		}
		c := meta.FindStatusCondition(conditions, kind)
		if c == nil {
			return "no condition " + kind
		}
		return kind + "=" + string(c.Status) + "/" + c.Reason
	}, Equal(kind+"="+string(status)+"/"+reason))
}

// message is what the condition Ready says.
func message(req *v1alpha1.AccessRequest) string {
	if c := meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReady); c != nil {
		return c.Message
	}
	return ""
}

// expectAccess waits for the API server to see a binding come or go: its RBAC
// authorizer lags a few milliseconds behind.
func expectAccess(ctx context.Context, as client.Client, namespace string, want bool) {
	GinkgoHelper()
	Eventually(func() bool { return mayReadConfigMaps(ctx, as, namespace) }).WithContext(ctx).
		WithPolling(5 * time.Millisecond).Should(Equal(want))
}

// mayReadConfigMaps asks the API server as the user, by doing it.
func mayReadConfigMaps(ctx context.Context, as client.Client, namespace string) bool {
	GinkgoHelper()
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(configMaps)
	err := as.List(ctx, list, client.InNamespace(namespace))
	if apierrors.IsForbidden(err) {
		return false
	}
	Expect(err).NotTo(HaveOccurred())
	return true
}

func requestFor(obj client.Object) ctrl.Request {
	return ctrl.Request{NamespacedName: client.ObjectKeyFromObject(obj)}
}

// policyFor lets alice have reader in a namespace.
func policyFor(ns string) builders.PolicyBuilder {
	return builders.Policy("p-" + ns).Allowing("reader").In(ns)
}

// requestIn asks for reader for a minute.
func requestIn(ns string) *v1alpha1.AccessRequest {
	return builders.Request("request").In(ns).ForClusterRole("reader").Build()
}
