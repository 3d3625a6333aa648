// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package messages

import (
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// stamp is a moment as messages have it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// labels of an alert about a request.
func labels(name, severity, request, policy string) map[string]string {
	return map[string]string{
		"alertname": name, "severity": severity, "namespace": ns, "request": request, "policy": policy,
		"cluster": cluster, "cluster_uid": clusterUID,
	}
}

// ask has alice create a request, and waits until it has a reason.
func ask(ctx SpecContext, b builders.RequestBuilder, reason string) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := b.In(ns).Build()
	Expect(alice.Create(ctx, req)).To(Succeed())
	becomes(ctx, req, reason)
	return req
}

func becomes(ctx SpecContext, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason), req.Name)
	}).WithContext(ctx).Should(Succeed())
}

// say creates a decision with a comment, as somebody.
func say(ctx SpecContext, as client.Client, req *v1alpha1.AccessRequest, verdict v1alpha1.Verdict, comment string) {
	GinkgoHelper()
	d := builders.Decision(strings.ToLower(string(verdict))+"-"+req.Name, req, verdict)
	d.Spec.Comment = comment
	Expect(as.Create(ctx, d)).To(Succeed())
}

var _ = Describe("Alertmanager", func() {
	It("has an alert while a request waits too long, and none when it is approved", func(ctx SpecContext) {
		b := builders.Request("slow").UnderPolicy("hotfix").ForClusterRole("reader").Because("INC-7: stuck")
		req := ask(ctx, b, v1alpha1.ReasonPendingApproval)
		want := labels("LapseRequestWaits", "warning", req.Name, "hotfix")
		Expect(pager.firing(ctx)).NotTo(ContainElement(HaveField("Labels", want)))
		asked := req.CreationTimestamp.Time

		got := pager.fires(ctx, want)
		Expect(got.Annotations).To(Equal(map[string]string{
			"summary": "A request in " + ns + " still waits for approval; half of its time is gone",
			"command": "kubectl lapse approve slow -n " + ns,
			"description": "Cluster: prod-eu\nRequest: " + ns + "/slow\nWho: alice\nWhat: ClusterRole reader\nHow long: 1m\nPolicy: hotfix\n" +
				"Risk: " + risk + "\nApproval: waits for 1 of Group \"leads\"\nUntil: " + stamp(asked.Add(2*half)),
		}))
		Expect(got.GeneratorURL).To(Equal(base + "/" + ns + "/slow"))
		Expect(got.StartsAt).To(BeTemporally("==", asked.Add(half)))
		Expect(got.EndsAt).To(BeTemporally("==", asked.Add(2*half)))

		say(ctx, bob, req, v1alpha1.VerdictApprove, "")
		pager.ends(ctx, got)
	}, SpecTimeout(2*time.Minute))

	It("has an alert while a grant of a policy that is named is held, and none when it was given back", func(ctx SpecContext) {
		b := builders.Request("unnamed").UnderPolicy("unnamed").ForClusterRole("viewer").Lasting(10 * time.Minute)
		ask(ctx, b, v1alpha1.ReasonGranted)
		b = builders.Request("held").UnderPolicy("break-glass").ForClusterRole("viewer").Lasting(10 * time.Minute)
		req := ask(ctx, b, v1alpha1.ReasonGranted)
		grant := req.Status.Grant

		got := pager.fires(ctx, labels("LapseGrantHeld", "info", req.Name, "break-glass"))
		Expect(got.Annotations).To(Equal(map[string]string{
			"summary": "Access was granted in " + ns,
			"command": "kubectl lapse why held -n " + ns,
			"description": "Cluster: prod-eu\nRequest: " + ns + "/held\nWho: alice\nWhat: ClusterRole viewer\nHow long: 10m\nPolicy: break-glass\n" +
				"From: " + stamp(grant.GrantedAt.Time) + "\nUntil: " + stamp(grant.ExpiresAt.Time),
		}))
		Expect(got.StartsAt).To(BeTemporally("==", grant.GrantedAt.Time))
		Expect(got.EndsAt).To(BeTemporally("==", grant.ExpiresAt.Time))

		say(ctx, alice, req, v1alpha1.VerdictRevoke, "done")
		pager.ends(ctx, got)
		mailbox.comes(ctx, req.Name, "Access in "+ns+" ended early")
		Expect(pager.toldOf(labels("LapseGrantHeld", "info", "unnamed", "unnamed"))).To(BeEmpty())
		Expect(mailbox.about("unnamed")).To(BeEmpty())
	}, SpecTimeout(2*time.Minute))
})

var _ = Describe("A mail server", func() {
	It("takes a mail for each thing that happens to a request", func(ctx SpecContext) {
		b := builders.Request("mailed").UnderPolicy("hotfix").ForClusterRole("reader").Because("INC-7: 5 < 6, é")
		req := ask(ctx, b, v1alpha1.ReasonPendingApproval)
		who := "Cluster: prod-eu\nRequest: " + ns + "/mailed\nWho: alice\nWhat: ClusterRole reader\nHow long: 1m\n" +
			"Why: INC-7: 5 < 6, é\nPolicy: hotfix\n"
		link := "\n    " + base + "/" + ns + "/mailed\n"

		asked := mailbox.comes(ctx, req.Name, "A request in "+ns+" waits for approval")
		Expect(asked.Body).To(Equal(who + "Risk: " + risk + "\nApproval: waits for 1 of Group \"leads\"\nUntil: " +
			stamp(req.CreationTimestamp.Add(2*half)) + "\n\n    kubectl lapse approve mailed -n " + ns + "\n" + link))
		mailbox.comes(ctx, req.Name, "A request in "+ns+" still waits for approval; half of its time is gone")

		say(ctx, bob, req, v1alpha1.VerdictApprove, "be quick")
		approved := mailbox.comes(ctx, req.Name, "Somebody approved a request in "+ns)
		Expect(approved.Body).To(HavePrefix(who + "Decision: approved by bob\nComment: be quick\n"))
		mailbox.comes(ctx, req.Name, "Access was granted in "+ns)

		say(ctx, alice, req, v1alpha1.VerdictRevoke, "")
		mailbox.comes(ctx, req.Name, "Somebody revoked a request in "+ns)
		ended := mailbox.comes(ctx, req.Name, "Access in "+ns+" ended early")
		Expect(ended.Body).To(HaveSuffix("\nBecause: Returned\nBy: alice\n\n    kubectl lapse why mailed -n " + ns + "\n" + link))
		Expect(mailbox.about(req.Name)).To(HaveLen(6))
	}, SpecTimeout(2*time.Minute))
})
