// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("An operator that sees the past", func() {
	It("ends access on time, and grants nothing that it should not, while its watches are behind", whole, func(ctx SpecContext) {
		m := run(ctx)
		n, behind := sized(60, 8), sized(60*time.Second, 5*time.Second)
		s := newScene(ctx, 3*time.Second, false)
		first := time.Now().Add(setup(4 * n))
		s.expiring(ctx, n, first, first.Add(behind-time.Second))
		revoked, deleted := make([]*v1alpha1.AccessRequest, n), make([]*v1alpha1.AccessRequest, n)
		each(n, func(i int) {
			revoked[i], deleted[i] = ask(ctx, s.request(fmt.Sprintf("r-%03d", i))), ask(ctx, s.request(fmt.Sprintf("d-%03d", i)))
		})
		s.active(ctx, 3*n)

		m.proxy.HoldWatches()
		each(n, func(i int) {
			decide(ctx, bob, revoked[i], v1alpha1.VerdictRevoke)
			Expect(admin.Delete(ctx, deleted[i])).To(Succeed())
			ask(ctx, s.request(fmt.Sprintf("n-%03d", i)))
		})
		until(ctx, first.Add(behind))
		m.proxy.ReleaseWatches()
		s.active(ctx, n)
		for _, req := range revoked {
			await(ctx, req, v1alpha1.ReasonRevoked)
		}
		s.converge(ctx)
		s.judge(ctx, row{sweep: "watches behind " + behind.String(), runs: 4 * n})
	}, SpecTimeout(5*time.Minute))

	It("grants nothing again when it starts from a list of before the end, and catches up", func(ctx SpecContext) {
		m := run(ctx)
		n := sized(50, 6)
		s, waiting := newScene(ctx, 3*time.Second, false), newScene(ctx, 3*time.Second, true)
		m.stop()
		old := make([]*v1alpha1.AccessRequest, 0, 2*n)
		for i := range n {
			old = append(old, ask(ctx, s.request(fmt.Sprintf("a-%03d", i))), ask(ctx, waiting.request(fmt.Sprintf("b-%03d", i))))
		}
		for _, req := range old {
			if req.Namespace == waiting.ns {
				decide(ctx, bob, req, v1alpha1.VerdictApprove)
			}
		}
		past := recorded(ctx)
		m.resume(ctx)
		for _, req := range old {
			await(ctx, req, v1alpha1.ReasonGranted)
		}
		each(len(old), func(i int) {
			if i%3 == 0 {
				Expect(admin.Delete(ctx, old[i])).To(Succeed())
				return
			}
			decide(ctx, bob, old[i], v1alpha1.VerdictRevoke)
			await(ctx, old[i], v1alpha1.ReasonRevoked)
		})
		m.stop()

		var live atomic.Int64
		m.proxy.Inject(func(c Call) Effect {
			if c.Is("get", "accessrequests") {
				live.Add(1)
			}
			if body := past[c.Resource]; body != nil && c.Verb == "watch" {
				return Effect{Body: body}
			}
			return Effect{}
		})
		m.resume(ctx)
		Eventually(live.Load).WithContext(ctx).Should(BeNumerically(">=", 2*n), "each is looked up before it would be granted")
		m.proxy.Inject(nil)
		m.proxy.CutWatches()
		s.converge(ctx)
		waiting.converge(ctx)
		s.judge(ctx, row{sweep: "an old list at the start", runs: n})
		waiting.judge(ctx, row{sweep: "an old list at the start, approved", runs: n})
	}, SpecTimeout(5*time.Minute))

	It("does not take a policy for withdrawn that it has not seen, and hears its approvers", func(ctx SpecContext) {
		m := run(ctx)
		past := map[string][]byte{"accesspolicies": stream(ctx, &v1alpha1.AccessPolicyList{})}
		s := newScene(ctx, 3*time.Second, false)
		m.stop()
		m.proxy.Inject(func(c Call) Effect {
			if body := past[c.Resource]; body != nil && c.Verb == "watch" {
				return Effect{Body: body}
			}
			return Effect{}
		})
		m.resume(ctx)
		req, revoked := ask(ctx, s.request("a")), ask(ctx, s.request("b"))
		await(ctx, req, v1alpha1.ReasonGranted)
		await(ctx, revoked, v1alpha1.ReasonGranted)
		Consistently(func() string {
			Expect(admin.Get(ctx, keyOf(req), req)).To(Succeed())
			return operator.Reason(req)
		}, time.Second).WithContext(ctx).Should(Equal(v1alpha1.ReasonGranted))
		decide(ctx, bob, revoked, v1alpha1.VerdictRevoke)
		await(ctx, revoked, v1alpha1.ReasonRevoked)
		m.proxy.Inject(nil)
		m.proxy.CutWatches()
		s.converge(ctx)

		Expect(admin.Delete(ctx, builders.Policy("p-"+s.ns).Build())).To(Succeed())
		await(ctx, req, v1alpha1.ReasonPolicyWithdrawn)
		s.judge(ctx, row{sweep: "a policy that was not seen", runs: 2})
	}, SpecTimeout(2*time.Minute))

	It("records why it ended access although the request is edited meanwhile", func(ctx SpecContext) {
		m := run(ctx)
		s := newScene(ctx, 3*time.Second, false)
		req := ask(ctx, s.request("a"))
		await(ctx, req, v1alpha1.ReasonGranted)
		var edited atomic.Int64
		recording := func(c Call) bool { return c.Namespace == s.ns && c.Is("patch", "accessrequests/status") }
		m.proxy.Inject(At(1, 2, recording, Effect{Before: func() {
			edit := req.DeepCopy()
			edit.Labels = map[string]string{"edited": fmt.Sprint(edited.Add(1))}
			_ = admin.Patch(ctx, edit, client.MergeFrom(req)) //nolint:errcheck // the count tells
		}}))
		b := &rbacv1.RoleBinding{}
		Expect(admin.Get(ctx, client.ObjectKey{Namespace: s.ns, Name: req.Status.Grant.Binding}, b)).To(Succeed())
		b.Subjects = nil
		Expect(admin.Update(ctx, b)).To(Succeed())
		await(ctx, req, v1alpha1.ReasonTampered)
		Expect(edited.Load()).To(BeNumerically(">=", 2), "the first write was in conflict")
		s.converge(ctx)
		s.judge(ctx, row{sweep: "a request edited while its end is recorded", runs: 1})
	}, SpecTimeout(time.Minute))

	It("ends access by a no and on time although somebody edits the requests without end", whole, func(ctx SpecContext) {
		run(ctx)
		s := newScene(ctx, 3*time.Second, false)
		editing, stop := context.WithCancel(ctx)
		DeferCleanup(stop)
		end := time.Now().Add(8 * time.Second).Truncate(time.Second)
		revoked, mortal := ask(ctx, s.request("revoked")), ask(ctx, s.request("mortal").NotAfter(end))
		var tries, edits atomic.Int64
		for range 4 {
			for _, req := range []*v1alpha1.AccessRequest{revoked, mortal} {
				go func() {
					for editing.Err() == nil {
						patch := fmt.Sprintf(`{"metadata":{"labels":{"edited":"%d"}}}`, tries.Add(1))
						if admin.Patch(editing, &v1alpha1.AccessRequest{ObjectMeta: metav1.ObjectMeta{Namespace: req.Namespace, Name: req.Name}},
							client.RawPatch(types.MergePatchType, []byte(patch))) == nil {
							edits.Add(1)
						}
					}
				}()
			}
		}
		Eventually(func() int { return len(s.state(ctx).Bindings) }).WithContext(ctx).Should(Equal(2))
		decide(ctx, bob, revoked, v1alpha1.VerdictRevoke)
		Eventually(func() []rbacv1.RoleBinding {
			return slices.DeleteFunc(s.state(ctx).Bindings, func(b rbacv1.RoleBinding) bool { return len(b.Subjects) == 0 })
		}, time.Until(end)-time.Second).WithContext(ctx).Should(HaveLen(1))
		until(ctx, end.Add(3*time.Second))
		Expect(edits.Load()).To(BeNumerically(">", 500))
		stop()
		s.converge(ctx)
		s.judge(ctx, row{sweep: "requests edited without end", runs: 2})
	}, SpecTimeout(2*time.Minute))

	It("ends access on time although a connection swallows everything", whole, func(ctx SpecContext) {
		tunnel, err := newTunnel(operatorConfig)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(tunnel.close)
		m, err := operator.LaunchAs(tunnel.through(operatorConfig), GinkgoWriter)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(m.Kill)
		Expect(m.WaitReady(ctx)).To(Succeed())
		s := newScene(ctx, 15*time.Second, false)
		n := sized(20, 4)
		end := time.Now().Add(setup(n) + 5*time.Second).Truncate(time.Second)
		s.expiring(ctx, n, end, end)
		tunnel.swallow()
		Eventually(func() int { return len(s.state(ctx).Bindings) }, time.Until(end)+time.Minute).WithContext(ctx).Should(BeZero())
		s.converge(ctx)
		s.judge(ctx, row{sweep: "a connection swallows everything", runs: n})
	}, SpecTimeout(2*time.Minute))

	It("catches up when its watches are gone and may not be resumed", func(ctx SpecContext) {
		m := run(ctx)
		n := sized(50, 6)
		s := newScene(ctx, 3*time.Second, false)
		m.proxy.HoldWatches()
		for i := range n {
			ask(ctx, s.request(fmt.Sprintf("a-%03d", i)))
		}
		var gone atomic.Int64
		m.proxy.Inject(func(c Call) Effect {
			if c.Verb == "watch" && gone.Add(1) <= 20 {
				return Effect{Status: 410}
			}
			return Effect{}
		})
		m.proxy.CutWatches() // what was held is lost
		s.active(ctx, n)
		Expect(gone.Load()).To(BeNumerically(">", 0))
		s.converge(ctx)
		s.judge(ctx, row{sweep: "watches lost, 410 Gone", runs: n})
	}, SpecTimeout(5*time.Minute))
})

// recorded is what a watch of requests, decisions and bindings begins with now.
func recorded(ctx context.Context) map[string][]byte {
	GinkgoHelper()
	return map[string][]byte{
		"accessrequests":  stream(ctx, &v1alpha1.AccessRequestList{}),
		"accessdecisions": stream(ctx, &v1alpha1.AccessDecisionList{}),
		"rolebindings":    stream(ctx, &rbacv1.RoleBindingList{}, client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy}),
	}
}

// stream is the beginning of a watch that sends what there is: an event for each
// object, and a bookmark that says that this was all.
func stream(ctx context.Context, list client.ObjectList, opts ...client.ListOption) []byte {
	GinkgoHelper()
	Expect(admin.List(ctx, list, opts...)).To(Succeed())
	var out bytes.Buffer
	events := json.NewEncoder(&out)
	objects, err := extract(list)
	Expect(err).NotTo(HaveOccurred())
	for _, obj := range objects {
		Expect(events.Encode(map[string]any{"type": "ADDED", "object": obj})).To(Succeed())
	}
	gvk, err := apiutil.GVKForObject(list, operator.Scheme())
	Expect(err).NotTo(HaveOccurred())
	end := metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: gvk.GroupVersion().String(), Kind: gvk.Kind[:len(gvk.Kind)-len("List")]},
	}
	end.ResourceVersion = list.GetResourceVersion()
	end.Annotations = map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	Expect(events.Encode(map[string]any{"type": "BOOKMARK", "object": end})).To(Succeed())
	return out.Bytes()
}

// extract returns the items of a list, each with its kind.
func extract(list client.ObjectList) ([]runtime.Object, error) {
	out, err := meta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	for _, obj := range out {
		gvk, err := apiutil.GVKForObject(obj, operator.Scheme())
		if err != nil {
			return nil, err
		}
		obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return out, nil
}
