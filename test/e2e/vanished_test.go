// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// The guard of managed bindings refuses all of this; here it is gone.
var _ = Describe("A binding that was made to vanish", func() {
	var ns string
	BeforeEach(func(ctx SpecContext) {
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
	})
	held := func(ctx SpecContext, name string) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := builders.Request(name).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		eventually(ctx, req, v1alpha1.ReasonGranted)
		return req
	}
	// change changes the binding of a request as an admin may.
	change := func(ctx SpecContext, req *v1alpha1.AccessRequest, how func(*rbacv1.RoleBinding)) {
		GinkgoHelper()
		b := &rbacv1.RoleBinding{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: ns, Name: req.Status.Grant.Binding}, b)).To(Succeed())
		how(b)
		Expect(admin.Update(ctx, b)).To(Succeed())
	}
	gone := func(ctx SpecContext, what string, within time.Duration) {
		GinkgoHelper()
		begun := time.Now()
		Eventually(func() bool { return aliceReads(ctx, ns) }, within).WithContext(ctx).Should(BeFalse(), what)
		AddReportEntry("gone", fmt.Sprintf("%s: access was gone after %s", what, time.Since(begun).Round(time.Millisecond)))
	}
	stripped := func(b *rbacv1.RoleBinding) { b.Labels, b.Annotations, b.OwnerReferences = nil, nil, nil }

	It("and whose request was deleted, too, is found and gone within 4 s", func(ctx SpecContext) {
		m := startManager(ctx)
		req := held(ctx, "stripped")
		removeAdmission(ctx)
		// It must not see the one before the other: then it would find the binding by the
		// name that the request gave it.
		Expect(m.Signal(syscall.SIGSTOP)).To(Succeed())
		change(ctx, req, stripped)
		Expect(admin.Delete(ctx, req)).To(Succeed())
		Expect(m.Signal(syscall.SIGCONT)).To(Succeed())
		gone(ctx, "stripped of everything", 4*time.Second)
	}, SpecTimeout(time.Minute))

	It("or to last ends by a standby while nobody leads", func(ctx SpecContext) {
		leader := startManager(ctx, "--leader-elect")
		startManager(ctx, "--leader-elect")
		ways := map[string]func(*rbacv1.RoleBinding){
			"everything": stripped,
			"labels":     func(b *rbacv1.RoleBinding) { b.Labels = nil },
			"uid":        func(b *rbacv1.RoleBinding) { delete(b.Labels, v1alpha1.RequestUIDLabel) },
			"notes":      func(b *rbacv1.RoleBinding) { b.Annotations = nil },
			"later": func(b *rbacv1.RoleBinding) {
				b.Annotations[v1alpha1.ExpiresAtAnnotation] = time.Now().Add(23 * time.Hour).UTC().Format(time.RFC3339)
			},
		}
		requests := map[string]*v1alpha1.AccessRequest{}
		for way := range ways {
			requests[way] = held(ctx, way)
		}
		removeAdmission(ctx)
		Expect(leader.Kill()).To(Succeed())
		begun := time.Now()
		for way, how := range ways {
			change(ctx, requests[way], how)
		}
		Expect(admin.Delete(ctx, requests["everything"])).To(Succeed())
		Eventually(func() []string { return holding(ctx, ns) }, 10*time.Second).WithContext(ctx).Should(BeEmpty())
		gone(ctx, "five ways, by a standby", time.Second)
		took := time.Since(begun)
		AddReportEntry("gone", fmt.Sprintf("five ways, by a standby: access was gone %s after the first change", took.Round(time.Millisecond)))
		Expect(took).To(BeNumerically("<", 12*time.Second), "the lease of the leader that was killed runs for 15 s")
	}, SpecTimeout(2*time.Minute))
})

// holding are the bindings under names of Lapse, whatever else they carry, by which
// somebody holds a role.
func holding(ctx context.Context, namespace string) []string {
	GinkgoHelper()
	list := &rbacv1.RoleBindingList{}
	Expect(admin.List(ctx, list, client.InNamespace(namespace))).To(Succeed())
	var out []string
	for i := range list.Items {
		if b := &list.Items[i]; strings.HasPrefix(b.Name, v1alpha1.BindingPrefix) && len(b.Subjects) > 0 {
			out = append(out, b.Name)
		}
	}
	return out
}

// removeAdmission takes all of Lapse's admission policies away for the rest of a spec.
func removeAdmission(ctx context.Context) {
	GinkgoHelper()
	DeferCleanup(func(ctx SpecContext) { Expect(operator.Install(ctx, plane)).To(Succeed()) })
	Expect(operator.RemoveAdmission(ctx, plane)).To(Succeed())
}
