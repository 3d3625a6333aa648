// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("An operator whose cache lacks the newest policies", func() {
	It("refuses nothing for good that they allow", func(ctx SpecContext) {
		ns, alice := newNamespace(ctx), user("alice")
		p := newPolicy(ctx, policyFor(ns).ApprovedBy(builders.User("bob")).WithinApprovalTimeout(10*time.Second))
		h := newHarnessWith(stalePolicies{asOperator, p.DeepCopy()}, asOperator)
		req := requestIn(ns)
		Expect(alice.Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonPendingApproval))

		p.Spec.ApprovalTimeout = &metav1.Duration{Duration: time.Hour}
		Expect(admin.Update(ctx, p)).To(Succeed())
		h.clock.SetTime(req.CreationTimestamp.Add(11 * time.Second))
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionUnknown, v1alpha1.ReasonPendingApproval))
	})

	It("keeps a grant that was made by one of them, and not recorded", func(ctx SpecContext) {
		ns, alice := newNamespace(ctx), user("alice")
		known := newPolicy(ctx, policyFor(ns))
		first := newPolicy(ctx, builders.Policy("a-"+ns).Allowing("reader").In(ns))
		req := requestIn(ns)
		Expect(alice.Create(ctx, req)).To(Succeed())
		_, err := newHarnessWith(statusFails{asOperator}, asOperator).requests.Reconcile(ctx, requestFor(req))
		Expect(err).To(MatchError(ContainSubstring("killed")))
		Expect(bindingOf(ctx, req).Annotations).To(HaveKeyWithValue(v1alpha1.PolicyAnnotation, first.Name))

		h := newHarnessWith(stalePolicies{asOperator, known}, asOperator)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonGranted))
		Expect(req.Status.Policy.Name).To(Equal(first.Name))
		expectAccess(ctx, alice, ns, true)
	})
})

// stalePolicies is a cache that knows one policy, as it was.
type stalePolicies struct {
	client.Client
	known *v1alpha1.AccessPolicy
}

func (c stalePolicies) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	p, ok := obj.(*v1alpha1.AccessPolicy)
	switch {
	case !ok:
		return c.Client.Get(ctx, key, obj, opts...)
	case key.Name != c.known.Name:
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("accesspolicies").GroupResource(), key.Name)
	}
	c.known.DeepCopyInto(p)
	return nil
}

func (c stalePolicies) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	policies, ok := list.(*v1alpha1.AccessPolicyList)
	if !ok {
		return c.Client.List(ctx, list, opts...)
	}
	policies.Items = []v1alpha1.AccessPolicy{*c.known.DeepCopy()}
	return nil
}

// statusFails is killed before it writes status.
type statusFails struct{ client.Client }

func (c statusFails) Status() client.SubResourceWriter { return killed{c.Client.Status()} }

type killed struct{ client.SubResourceWriter }

func (killed) Patch(context.Context, client.Object, client.Patch, ...client.SubResourcePatchOption) error {
	return errors.New("killed")
}
