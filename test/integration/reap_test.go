// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/reap"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const reaperAccount = "lapse-reaper"

var _ = Describe("The reaper, on a cluster without the kinds of Lapse", Ordered, func() {
	const ceiling = 24 * time.Hour
	var (
		cluster *controlplane.ControlPlane
		bare    client.Client
		config  *rest.Config
		ns      string
	)
	BeforeAll(func(ctx SpecContext) {
		var err error
		cluster, err = controlplane.Start(ctx, controlplane.Options{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(func() error { return cluster.Stop() })
		for _, what := range [][]string{{"-f", "config/manager/namespace.yaml"}, {"-k", "config/reaper"}} {
			Expect(operator.Apply(ctx, cluster, cluster.AdminConfig(), what...)).To(Succeed())
		}
		bare = clientOf(cluster.AdminConfig())
		config, err = cluster.ServiceAccountConfig(ctx, operator.Namespace, reaperAccount)
		Expect(err).NotTo(HaveOccurred())
	}, NodeTimeout(2*time.Minute))
	BeforeEach(func(ctx SpecContext) {
		space := builders.Namespace("")
		space.GenerateName = "reap-"
		Expect(bare.Create(ctx, space)).To(Succeed())
		ns = space.Name
	})
	AfterEach(func(ctx SpecContext) {
		Expect(bare.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(ns))).To(Succeed())
	})

	names := func(ctx context.Context) []string {
		GinkgoHelper()
		list := &rbacv1.RoleBindingList{}
		Expect(bare.List(ctx, list, client.InNamespace(ns))).To(Succeed())
		out := make([]string, 0, len(list.Items))
		for _, b := range list.Items {
			out = append(out, b.Name)
		}
		return out
	}
	run := func(ctx context.Context, args ...string) (string, error) {
		GinkgoHelper()
		kubeconfig := filepath.Join(GinkgoT().TempDir(), "kubeconfig")
		Expect(controlplane.WriteKubeconfig(kubeconfig, config)).To(Succeed())
		var out bytes.Buffer
		err := ending.Reap(ctx, append([]string{"--kubeconfig=" + kubeconfig}, args...), &out)
		return out.String(), err
	}
	reaperAt := func(c clock.WithTickerAndDelayedExecution) reap.Reaper {
		GinkgoHelper()
		r, err := ending.NewReaper(config, c, ceiling)
		Expect(err).NotTo(HaveOccurred())
		return r
	}

	It("deletes what is past its end, whatever was taken off it, and nothing else, among many", func(ctx SpecContext) {
		now := time.Now()
		ago, ahead := now.Add(-time.Minute), now.Add(time.Hour)
		plain, empty := managed(ns, "lapse-bare-00000002", ago), managed(ns, "lapse-empty-00000003", ago)
		plain.Labels, empty.Subjects = nil, nil
		endless, slack := managed(ns, "lapse-endless-00000004", ago), managed(ns, "lapse-slack-00000005", now.Add(-5*time.Second))
		endless.Annotations = nil
		for _, b := range []*rbacv1.RoleBinding{
			managed(ns, "lapse-due-00000001", ago), plain, empty, endless, slack,
			managed(ns, "lapse-active-00000006", ahead), managed(ns, "team-due-00000007", ago),
		} {
			Expect(bare.Create(ctx, b)).To(Succeed())
		}
		const others = 600 // more than a page
		inParallel(16, others, func(i int) {
			Expect(bare.Create(ctx, managed(ns, fmt.Sprintf("a-%04d", i), ago))).To(Succeed())
		})
		out, err := run(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(And(ContainSubstring("ended RoleBinding "+ns+"/lapse-due-00000001, due at "),
			ContainSubstring("ended RoleBinding "+ns+"/lapse-bare-00000002"), ContainSubstring("2 past their end, 0 of them failed")))
		Expect(names(ctx)).To(And(HaveLen(others+5), ContainElements(
			"lapse-empty-00000003", "lapse-endless-00000004", "lapse-slack-00000005", "lapse-active-00000006", "team-due-00000007")))
	}, SpecTimeout(time.Minute))

	It("deletes what has no readable end, or one too far ahead, at the ceiling", func(ctx SpecContext) {
		endless, far := managed(ns, "lapse-endless-00000001", time.Time{}), managed(ns, "lapse-far-00000002", time.Now().Add(100*ceiling))
		endless.Annotations[v1alpha1.ExpiresAtAnnotation] = "whenever"
		strangers := managed(ns, "lapse-photo-app-deadbeef", time.Time{})
		strangers.Labels, strangers.Annotations = nil, nil
		Expect(bare.Create(ctx, strangers)).To(Succeed())
		Expect(bare.Create(ctx, endless)).To(Succeed())
		Expect(bare.Create(ctx, far)).To(Succeed())
		r := reaperAt(clock.RealClock{})
		at := endless.CreationTimestamp.Add(ceiling + binding.ReapSlack)
		r.Now = func() time.Time { return at.Add(-time.Second) }
		Expect(r.Run(ctx)).To(BeEmpty())
		r.Now = func() time.Time { return at.Add(time.Second) }
		Expect(r.Run(ctx)).To(HaveEach(HaveField("Name", Not(Equal(strangers.Name)))))
		Expect(names(ctx)).To(ConsistOf(strangers.Name), "which has no mark of Lapse but the form of its name")
	}, SpecTimeout(time.Minute))

	It("deletes nothing in a dry run, and says what it would", func(ctx SpecContext) {
		Expect(bare.Create(ctx, managed(ns, "lapse-due-00000001", time.Now().Add(-time.Minute)))).To(Succeed())
		out, err := run(ctx, "--dry-run")
		Expect(err).NotTo(HaveOccurred())
		Expect(out).To(ContainSubstring("would end RoleBinding " + ns + "/lapse-due-00000001"))
		Expect(names(ctx)).To(HaveLen(1))
	}, SpecTimeout(time.Minute))

	It("fails, and says what to do, when a finalizer keeps one; and ends the others", func(ctx SpecContext) {
		pinned := managed(ns, "lapse-pinned-00000001", time.Now().Add(-time.Minute))
		pinned.Finalizers = []string{"example.com/keep"}
		Expect(bare.Create(ctx, pinned)).To(Succeed())
		Expect(bare.Create(ctx, managed(ns, "lapse-zdue-00000002", time.Now().Add(-time.Minute)))).To(Succeed())
		out, err := run(ctx)
		Expect(err).To(MatchError(ContainSubstring("1 of 2 RoleBindings past their end could not be ended")))
		Expect(out).To(And(ContainSubstring("FAILED RoleBinding "+ns+"/lapse-pinned-00000001"),
			ContainSubstring("finalizers keep the object: example.com/keep"), ContainSubstring("kubectl patch rolebinding -n "+ns)))
		Expect(names(ctx)).To(ConsistOf("lapse-pinned-00000001"))
		pinned.Finalizers = nil
		Expect(bare.Update(ctx, pinned)).NotTo(Succeed(), "it changed: it is being deleted")
		Expect(bare.Get(ctx, client.ObjectKeyFromObject(pinned), pinned)).To(Succeed())
		pinned.Finalizers = nil
		Expect(bare.Update(ctx, pinned)).To(Succeed())
	}, SpecTimeout(time.Minute))

	It("ends access at once beside a namespace whose webhook answers no deletion", func(ctx SpecContext) {
		const there = 12
		ago, other := time.Now().Add(-time.Minute), builders.Namespace("")
		other.GenerateName = "z-" + ns // listed last
		Expect(bare.Create(ctx, other)).To(Succeed())
		inParallel(4, there, func(i int) {
			Expect(bare.Create(ctx, managed(ns, fmt.Sprintf("lapse-slow-%08d", i), ago))).To(Succeed())
		})
		Expect(bare.Create(ctx, managed(other.Name, "lapse-due-00000001", ago))).To(Succeed())
		answerNothing(ctx, bare, ns, 3*time.Second)

		var order []string
		r := reaperAt(clock.RealClock{})
		r.Done = func(b reap.Binding) { order = append(order, b.Namespace) }
		begun := time.Now()
		ended, err := r.Run(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(ended).To(And(HaveLen(there+1), HaveEach(HaveField("Err", BeNil()))))
		Expect(order[0]).To(Equal(other.Name))
		Expect(time.Since(begun)).To(BeNumerically("<", 15*time.Second), "one by one it is 36 s")
		Expect(names(ctx)).To(BeEmpty())
	}, SpecTimeout(time.Minute))

	It("goes by the API server's clock, not by its own", func(ctx SpecContext) {
		now := time.Now()
		Expect(bare.Create(ctx, managed(ns, "lapse-active-00000001", now.Add(5*time.Minute)))).To(Succeed())
		Expect(reaperAt(clocktesting.NewFakeClock(now.Add(10 * time.Minute))).Run(ctx)).To(BeEmpty())
		Expect(bare.Create(ctx, managed(ns, "lapse-due-00000002", now.Add(-time.Minute)))).To(Succeed())
		Expect(reaperAt(clocktesting.NewFakeClock(now.Add(-10 * time.Minute))).Run(ctx)).To(HaveLen(1))
		Expect(names(ctx)).To(ConsistOf("lapse-active-00000001"))
	}, SpecTimeout(time.Minute))

	It("spares a RoleBinding that took the name of one that it saw", func(ctx SpecContext) {
		seen := managed(ns, "lapse-due-00000001", time.Now().Add(-time.Minute))
		Expect(bare.Create(ctx, seen)).To(Succeed())
		r := reaperAt(clock.RealClock{})
		r.Now = func() time.Time {
			Expect(bare.Delete(ctx, seen)).To(Succeed())
			Expect(bare.Create(ctx, managed(ns, seen.Name, time.Now().Add(time.Hour)))).To(Succeed())
			return time.Now()
		}
		Expect(r.Run(ctx)).To(HaveLen(1))
		Expect(names(ctx)).To(ConsistOf(seen.Name))
	}, SpecTimeout(time.Minute))

	It("may list and delete RoleBindings, and nothing else", func(ctx SpecContext) {
		as := clientOf(config)
		nobody := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "nobody"}}
		Expect(bare.Create(ctx, nobody)).To(Succeed())
		asNobody, err := cluster.ServiceAccountConfig(ctx, ns, nobody.Name)
		Expect(err).NotTo(HaveOccurred())
		rules := func(c client.Client) []authorizationv1.ResourceRule {
			review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: ns}}
			Expect(c.Create(ctx, review)).To(Succeed())
			return review.Status.ResourceRules
		}
		everybody := rules(clientOf(asNobody))
		own := slices.DeleteFunc(rules(as), func(r authorizationv1.ResourceRule) bool {
			return slices.ContainsFunc(everybody, func(e authorizationv1.ResourceRule) bool { return equality.Semantic.DeepEqual(e, r) })
		})
		Expect(own).To(Equal([]authorizationv1.ResourceRule{{
			APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"}, Verbs: []string{"list", "delete"},
		}}))
		b := managed(ns, "lapse-mine-00000001", time.Now())
		for what, err := range map[string]error{
			"create":           as.Create(ctx, b.DeepCopy()),
			"get":              as.Get(ctx, client.ObjectKeyFromObject(b), b.DeepCopy()),
			"update":           as.Update(ctx, b.DeepCopy()),
			"patch":            as.Patch(ctx, b.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(`{"subjects":null}`))),
			"deletecollection": as.DeleteAllOf(ctx, &rbacv1.RoleBinding{}, client.InNamespace(ns)),
		} {
			Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%s: %v", what, err)
		}
	}, SpecTimeout(time.Minute))
})

var _ = Describe("What the reaper ended", func() {
	It("is recorded by the operator when it comes back", func(ctx SpecContext) {
		ns := newNamespace(ctx)
		newPolicy(ctx, policyFor(ns))
		h := newHarness()
		req := h.granted(ctx, user("alice"), requestIn(ns))
		// No collector runs here, and in a cluster it may have to wait for what somebody made.
		Expect(admin.Delete(ctx, bindingOf(ctx, req), client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		Expect(bindingOf(ctx, req).Finalizers).To(Equal([]string{metav1.FinalizerDeleteDependents}))
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, reaperAccount)
		Expect(err).NotTo(HaveOccurred())
		r, err := ending.NewReaper(config, clock.RealClock{}, 24*time.Hour)
		Expect(err).NotTo(HaveOccurred())
		later := req.Status.Grant.ExpiresAt.Add(binding.ReapSlack)
		r.Now = func() time.Time { return later }
		ended, err := r.Run(ctx)
		Expect(err).NotTo(HaveOccurred())
		Expect(ended).To(ContainElement(HaveField("Name", req.Status.Grant.Binding)))
		Expect(bindingOf(ctx, req)).To(BeNil())

		h.clock.SetTime(later)
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionTrue, v1alpha1.ReasonExpired))
	}, SpecTimeout(time.Minute))
})

// managed is what the operator would make, with an end.
func managed(ns, name string, end time.Time) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name,
			Labels:      map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "00000000-1111"},
			Annotations: map[string]string{v1alpha1.ExpiresAtAnnotation: end.UTC().Format(time.RFC3339)},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "alice"}},
	}
}
