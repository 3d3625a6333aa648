// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// court is a request of alice that needs one of the group leads and one of the group
// security, and the people around it. All of them may do everything with decisions:
// whatever is refused is refused by schema, admission or the operator.
type court struct {
	h                         *harness
	ns                        string
	policy                    *v1alpha1.AccessPolicy
	req                       *v1alpha1.AccessRequest
	alice, bob, dave, carol   client.Client // bob: leads; dave: security; carol: both
	eve, aliceInLeads         client.Client
	aliceInSecurity, operator client.Client
}

func newCourt(ctx SpecContext) *court {
	GinkgoHelper()
	ns := newNamespace(ctx)
	mayDecide(ctx, ns)
	c := &court{
		h: newHarness(), ns: ns, operator: asOperator,
		alice: user("alice"), bob: user("bob", "leads"), dave: user("dave", "security"), carol: user("carol", "leads", "security"),
		eve: user("eve"), aliceInLeads: user("alice", "leads"), aliceInSecurity: user("alice", "security"),
	}
	c.policy = newPolicy(ctx, builders.Policy("court-"+c.ns).Allowing("reader").In(c.ns).
		From(builders.User("alice"), builders.User("gitops"), builders.ServiceAccount(c.ns, "ci")).
		To(builders.User("bob"), builders.Group("leads")).
		ApprovedBy(builders.Group("leads")).ApprovedBy(builders.Group("security")))
	c.req = c.ask(ctx, c.alice, requestIn(c.ns))
	return c
}

// mayDecide lets the group askers do everything with decisions and requests, and in a
// namespace all ServiceAccounts, the operator's among them.
func mayDecide(ctx SpecContext, ns string) {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "deciders"}, Rules: []rbacv1.PolicyRule{
		{
			APIGroups: []string{"lapse.dev"}, Resources: []string{"accessdecisions", "accessrequests", "accessrequests/status"},
			Verbs: []string{"*"},
		},
	}}
	if err := admin.Create(ctx, role); !apierrors.IsAlreadyExists(err) {
		Expect(err).NotTo(HaveOccurred())
		bindCluster(ctx, role.Name, role.Name, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "askers"})
	}
	Expect(admin.Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: "system:serviceaccounts"}},
	})).To(Succeed())
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "anybody", Groups: []string{"system:serviceaccounts"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: ns, Verb: "create", Group: "lapse.dev", Resource: "accessdecisions"},
	}}
	Eventually(func(g Gomega) {
		g.Expect(admin.Create(ctx, review)).To(Succeed())
		g.Expect(review.Status.Allowed).To(BeTrue())
	}).WithContext(ctx).WithPolling(5 * time.Millisecond).Should(Succeed())
}

func (c *court) ask(ctx SpecContext, as client.Client, req *v1alpha1.AccessRequest) *v1alpha1.AccessRequest {
	GinkgoHelper()
	Eventually(func() error { return client.IgnoreAlreadyExists(as.Create(ctx, req)) }).WithContext(ctx).Should(Succeed())
	return req
}

// vote casts one, which must be accepted; whether it counts is the question.
func (c *court) vote(ctx SpecContext, as client.Client, name string, verdict v1alpha1.Verdict) *v1alpha1.AccessDecision {
	GinkgoHelper()
	d := builders.Decision(name, c.req, verdict)
	Expect(as.Create(ctx, d)).To(Succeed())
	return d
}

func (c *court) approve(ctx SpecContext, as client.Client, name string) *v1alpha1.AccessDecision {
	GinkgoHelper()
	return c.vote(ctx, as, name, v1alpha1.VerdictApprove)
}

// refused tries to create a decision that has to be refused with the message.
func (c *court) refused(ctx SpecContext, as client.Client, message string, change func(*v1alpha1.AccessDecision)) {
	GinkgoHelper()
	d := builders.Decision("refused", c.req, v1alpha1.VerdictApprove)
	change(d)
	Expect(as.Create(ctx, d)).To(MatchError(ContainSubstring(message)))
}

// frozen tries to change a decision in every way of writing.
func (c *court) frozen(ctx SpecContext, as client.Client, d *v1alpha1.AccessDecision, change func(*v1alpha1.AccessDecision), patch string) {
	GinkgoHelper()
	changed := d.DeepCopy()
	change(changed)
	immutable := MatchError(Or(ContainSubstring("spec is immutable; create a new AccessDecision"),
		ContainSubstring("never changes; create a new AccessDecision")))
	Expect(as.Update(ctx, changed.DeepCopy())).To(immutable)
	Expect(as.Patch(ctx, changed.DeepCopy(), client.MergeFrom(d))).To(immutable)
	Expect(as.Patch(ctx, d.DeepCopy(), client.RawPatch(types.JSONPatchType, []byte(patch)))).To(immutable)
	applied := changed.DeepCopy()
	applied.ManagedFields, applied.ResourceVersion = nil, ""
	applied.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessDecision"))
	// What an apply leaves out stays.
	Expect(as.Patch(ctx, applied, client.Apply, client.FieldOwner("attack"), client.ForceOwnership)). //nolint:staticcheck // as kubectl does
														To(Or(Succeed(), immutable))
	now := &v1alpha1.AccessDecision{}
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(d), now)).To(Succeed())
	Expect(now.Spec).To(Equal(d.Spec))
	Expect(now.OwnerReferences).To(Equal(d.OwnerReferences))
}

var other = v1alpha1.Identity{Username: "bob", Groups: []string{"leads", "askers", "system:authenticated"}}

// attacks never lead to a grant. Where one approval is genuine, the other is not.
var attacks = map[string]func(SpecContext, *court){
	"nobody approves":        func(SpecContext, *court) {},
	"one of two approves":    func(ctx SpecContext, c *court) { c.approve(ctx, c.bob, "a") },
	"somebody else approves": func(ctx SpecContext, c *court) { c.approve(ctx, c.bob, "a"); c.approve(ctx, c.eve, "b") },
	"a revocation is no yes": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.vote(ctx, c.eve, "b", v1alpha1.VerdictRevoke)
	},
	"a revoker": func(ctx SpecContext, c *court) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Revokers = []v1alpha1.Subject{builders.User("eve")} })
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.eve, "b")
	},
	"a stranger's deny is none": func(ctx SpecContext, c *court) { c.vote(ctx, c.eve, "b", v1alpha1.VerdictDeny) },

	"forged reviewer": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		c.refused(ctx, c.eve, `spec.reviewer must be left out or name you ("eve"), not "bob"`,
			func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = &other })
	},
	"forged reviewer, by system:masters": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		c.refused(ctx, admin, `spec.reviewer must be left out or name you ("admin"), not "bob"`,
			func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = &other })
	},
	"forged reviewer, by the operator": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		c.refused(ctx, c.operator, `spec.reviewer must be left out or name you ("system:serviceaccount:lapse-system:lapse-manager"), not "bob"`,
			func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = &other })
	},
	"forged groups": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		c.refused(ctx, c.eve, `be exactly you: your groups are`, func(d *v1alpha1.AccessDecision) {
			d.Spec.Reviewer = &v1alpha1.Identity{Username: "eve", Groups: []string{"leads", "askers", "system:authenticated"}}
		})
	},
	"forged uid": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.eve, `be exactly you: your uid is "", not "7"`, func(d *v1alpha1.AccessDecision) {
			d.Spec.Reviewer = &v1alpha1.Identity{Username: "eve", UID: "7", Groups: []string{"askers", "system:authenticated"}}
		})
	},
	"forged reviewer by generateName": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		c.refused(ctx, c.eve, "spec.reviewer must be left out or name you", func(d *v1alpha1.AccessDecision) {
			d.Name, d.GenerateName, d.Spec.Reviewer = "", "x-", &other
		})
	},
	"forged reviewer by server-side apply": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		d := builders.Decision("applied", c.req, v1alpha1.VerdictApprove)
		d.Spec.Reviewer = &other
		d.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessDecision"))
		Expect(c.eve.Patch(ctx, d, client.Apply, client.FieldOwner("attack"))). //nolint:staticcheck // as kubectl does
											To(MatchError(ContainSubstring("spec.reviewer must be left out or name you")))
	},
	"forged reviewer by updating what is not there": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		d := builders.Decision("updated", c.req, v1alpha1.VerdictApprove)
		d.Spec.Reviewer, d.ResourceVersion = &other, "1"
		Expect(c.eve.Update(ctx, d)).To(MatchError(apierrors.IsNotFound, "not found"))
	},
	"impersonation without the right to": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		config, err := plane.User("eve", "askers")
		Expect(err).NotTo(HaveOccurred())
		config.Impersonate.UserName, config.Impersonate.Groups = "bob", []string{"leads"}
		asBob, err := operator.RawClient(config) // he may not even ask who he is
		Expect(err).NotTo(HaveOccurred())
		Expect(asBob.Create(ctx, builders.Decision("as-bob", c.req, v1alpha1.VerdictApprove))).To(MatchError(apierrors.IsForbidden, "forbidden"))
	},

	"edited reviewer": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		d := c.approve(ctx, c.eve, "b")
		c.frozen(ctx, c.eve, d, func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = &other },
			`[{"op":"replace","path":"/spec/reviewer/username","value":"bob"}]`)
	},
	"edited verdict": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.dave, "a")
		d := c.vote(ctx, c.carol, "b", v1alpha1.VerdictDeny)
		c.frozen(ctx, c.eve, d, func(d *v1alpha1.AccessDecision) { d.Spec.Verdict = v1alpha1.VerdictApprove },
			`[{"op":"replace","path":"/spec/verdict","value":"Approve"}]`)
	},
	"edited request": func(ctx SpecContext, c *court) {
		otherReq := c.ask(ctx, c.alice, builders.Request("other").In(c.ns).ForClusterRole("reader").Build())
		d := builders.Decision("b", otherReq, v1alpha1.VerdictApprove)
		Expect(c.bob.Create(ctx, d)).To(Succeed())
		c.approve(ctx, c.dave, "a")
		c.frozen(ctx, c.bob, d, func(d *v1alpha1.AccessDecision) { d.Spec.RequestRef.UID = c.req.UID },
			fmt.Sprintf(`[{"op":"replace","path":"/spec/requestRef/uid","value":%q}]`, c.req.UID))
	},
	"edited comment": func(ctx SpecContext, c *court) {
		d := c.approve(ctx, c.bob, "a")
		c.frozen(ctx, c.eve, d, func(d *v1alpha1.AccessDecision) { d.Spec.Comment = "added later" },
			`[{"op":"add","path":"/spec/comment","value":"added later"}]`)
	},
	"edited owner": func(ctx SpecContext, c *court) {
		d := c.approve(ctx, c.bob, "a")
		c.frozen(ctx, c.eve, d, func(d *v1alpha1.AccessDecision) { d.OwnerReferences = nil },
			`[{"op":"remove","path":"/metadata/ownerReferences"}]`)
	},

	"another request's uid": func(ctx SpecContext, c *court) {
		otherReq := c.ask(ctx, c.alice, builders.Request("other").In(c.ns).ForClusterRole("reader").Build())
		for name, as := range map[string]client.Client{"a": c.bob, "b": c.dave} {
			d := builders.Decision(name, c.req, v1alpha1.VerdictApprove)
			d.Spec.RequestRef.UID = otherReq.UID
			Expect(as.Create(ctx, d)).To(Succeed())
		}
	},
	"another request's name": func(ctx SpecContext, c *court) {
		for name, as := range map[string]client.Client{"a": c.bob, "b": c.dave} {
			d := builders.Decision(name, c.req, v1alpha1.VerdictApprove)
			d.Spec.RequestRef.Name = "other"
			Expect(as.Create(ctx, d)).To(Succeed())
		}
	},
	"another namespace": func(ctx SpecContext, c *court) {
		ns := newNamespace(ctx)
		for name, as := range map[string]client.Client{"a": c.bob, "b": c.dave} {
			d := builders.Decision(name, c.req, v1alpha1.VerdictApprove)
			d.Namespace = ns
			Expect(as.Create(ctx, d)).To(Succeed())
		}
	},
	"no uid": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, "spec.requestRef.uid", func(d *v1alpha1.AccessDecision) { d.Spec.RequestRef.UID = "" })
	},
	"an unknown verdict": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, `Unsupported value: "approve"`, func(d *v1alpha1.AccessDecision) { d.Spec.Verdict = "approve" })
	},
	"an owner that is not the request": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, fmt.Sprintf(`metadata.ownerReferences must be left out or name the request of spec.requestRef alone; `+
			`where the API server does not fill it in, `+
			`write: ownerReferences: [{apiVersion: lapse.dev/v1alpha1, kind: AccessRequest, name: "%s", uid: "%s"}]`, c.req.Name, c.req.UID),
			func(d *v1alpha1.AccessDecision) {
				d.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
			})
	},
	// Garbage collection would never find it gone.
	"the owner in a version that nobody serves": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, "metadata.ownerReferences must be left out", func(d *v1alpha1.AccessDecision) {
			d.OwnerReferences = []metav1.OwnerReference{{APIVersion: "lapse.dev/v9", Kind: "AccessRequest", Name: c.req.Name, UID: c.req.UID}}
		})
	},
	"the owner and another one": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, "metadata.ownerReferences must be left out", func(d *v1alpha1.AccessDecision) {
			own := metav1.OwnerReference{APIVersion: "lapse.dev/v1alpha1", Kind: "AccessRequest", Name: c.req.Name, UID: c.req.UID}
			d.OwnerReferences = []metav1.OwnerReference{own, {APIVersion: "v1", Kind: "ConfigMap", Name: "x", UID: "x"}}
		})
	},

	"old decisions on a request that was created again": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		Expect(c.alice.Delete(ctx, c.req)).To(Succeed())
		c.req = c.ask(ctx, c.alice, requestIn(c.ns))
	},
	"old decisions restored with the new uid by somebody else": func(ctx SpecContext, c *court) {
		Expect(c.alice.Delete(ctx, c.req)).To(Succeed())
		c.req = c.ask(ctx, c.alice, requestIn(c.ns))
		c.approve(ctx, c.dave, "b")
		c.refused(ctx, admin, "spec.reviewer must be left out or name you", func(d *v1alpha1.AccessDecision) { d.Spec.Reviewer = &other })
	},
	"decisions before the request": func(ctx SpecContext, c *court) {
		Expect(c.alice.Delete(ctx, c.req)).To(Succeed())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		c.req = c.ask(ctx, c.alice, requestIn(c.ns))
	},

	"the same person twice":    func(ctx SpecContext, c *court) { c.approve(ctx, c.bob, "a"); c.approve(ctx, c.bob, "b") },
	"one person for two rules": func(ctx SpecContext, c *court) { c.approve(ctx, c.carol, "a") },
	"one person twice, through two groups": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.carol, "a")
		c.approve(ctx, c.carol, "b")
	},
	"one person with two certificates": func(ctx SpecContext, c *court) {
		c.approve(ctx, user("dana", "leads"), "a")
		c.approve(ctx, user("dana", "security"), "b")
	},
	"a ServiceAccount twice, though it is listed": func(ctx SpecContext, c *court) {
		robot := serviceAccount(ctx, c.ns, "robot")
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) {
			for i := range s.Approvals {
				s.Approvals[i].From = append(s.Approvals[i].From, builders.ServiceAccount(c.ns, "robot"))
			}
		})
		c.approve(ctx, robot, "a")
		c.approve(ctx, robot, "b")
	},
	"a ServiceAccount that is not listed": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, serviceAccount(ctx, c.ns, "robot"), "b")
	},
	"a ServiceAccount of the same name elsewhere": func(ctx SpecContext, c *court) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) {
			s.Approvals[1].From = []v1alpha1.Subject{builders.ServiceAccount("elsewhere", "robot")}
		})
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, serviceAccount(ctx, c.ns, "robot"), "b")
	},
	"a homoglyph of an approver": func(ctx SpecContext, c *court) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[1].From = []v1alpha1.Subject{builders.User("dave")} })
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, user("dаve"), "b") // Cyrillic а
	},

	"the requester": func(ctx SpecContext, c *court) { c.approve(ctx, c.bob, "a"); c.approve(ctx, c.alice, "b") },
	"the requester by name": func(ctx SpecContext, c *court) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[1].From = []v1alpha1.Subject{builders.User("alice")} })
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.alice, "b")
	},
	"the requester through a group": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.aliceInSecurity, "b")
	},
	"the requester through the other group": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.aliceInLeads, "a")
		c.approve(ctx, c.dave, "b")
	},
	"the grantee": func(ctx SpecContext, c *court) {
		c.req = c.ask(ctx, user("gitops"),
			builders.Request("for-bob").In(c.ns).ForClusterRole("reader").To(builders.User("bob")).NotAfter(soon()).Build())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"the requester for somebody else": func(ctx SpecContext, c *court) {
		gitops := user("gitops", "leads")
		c.req = c.ask(ctx, gitops,
			builders.Request("for-bob").In(c.ns).ForClusterRole("reader").To(builders.User("bob")).NotAfter(soon()).Build())
		c.approve(ctx, gitops, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a member of the group that gets it": func(ctx SpecContext, c *court) {
		c.req = c.ask(ctx, user("gitops"),
			builders.Request("for-leads").In(c.ns).ForClusterRole("reader").To(builders.Group("leads")).NotAfter(soon()).Build())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a ServiceAccount for itself, though it is listed": func(ctx SpecContext, c *court) {
		ci := serviceAccount(ctx, c.ns, "ci")
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) {
			s.Approvals[1].From = []v1alpha1.Subject{builders.ServiceAccount(c.ns, "ci")}
		})
		c.req = c.ask(ctx, ci, builders.Request("ci").In(c.ns).ForClusterRole("reader").Build())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, ci, "b")
	},

	"an approver who is no longer in the policy": func(ctx SpecContext, c *court) {
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[0].From = []v1alpha1.Subject{builders.User("bob")} })
		c.approve(ctx, c.bob, "a")
		c.h.settle(ctx, c.req)
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[0].From = []v1alpha1.Subject{builders.User("zoe")} })
		c.approve(ctx, c.dave, "b")
	},
	"a group that the policy lost between vote and grant": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.h.settle(ctx, c.req)
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[0].From = []v1alpha1.Subject{builders.Group("others")} })
		c.approve(ctx, c.dave, "b")
	},
	"a policy that came to ask for more": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.h.settle(ctx, c.req)
		c.change(ctx, func(s *v1alpha1.AccessPolicySpec) { s.Approvals[1].Count = 2 })
		c.approve(ctx, c.dave, "b")
	},
	"a policy that was deleted": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.h.settle(ctx, c.req)
		Expect(admin.Delete(ctx, c.policy)).To(Succeed())
		c.approve(ctx, c.dave, "b")
	},
	"status written by hand": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		forged := c.req.DeepCopy()
		forged.Status.Approvals = []v1alpha1.Approval{{Decision: "x", Reviewer: "dave", Time: metav1.Now()}}
		Expect(c.eve.Status().Update(ctx, forged)).To(MatchError(ContainSubstring("only the operator writes status")))
	},
	"a request that is being deleted": func(ctx SpecContext, c *court) {
		// Nothing collects garbage here, so it stays like this.
		Expect(c.alice.Delete(ctx, c.req, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		DeferCleanup(func(ctx SpecContext) {
			Expect(admin.Patch(ctx, c.req, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))).To(Succeed())
		})
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a decision that nobody can delete": func(ctx SpecContext, c *court) {
		c.refused(ctx, c.bob, "an AccessDecision may not have finalizers when it is created", func(d *v1alpha1.AccessDecision) {
			d.Finalizers = []string{"example.com/pin"}
		})
	},
	"an approval that is being deleted": func(ctx SpecContext, c *court) {
		d := c.approve(ctx, c.bob, "a")
		pinned := []byte(`{"metadata":{"finalizers":["example.com/pin"]}}`)
		Expect(admin.Patch(ctx, d, client.RawPatch(types.MergePatchType, pinned))).
			To(MatchError(ContainSubstring("an AccessDecision may only lose finalizers")))
		// Nothing collects garbage here, so it stays like this.
		Expect(c.bob.Delete(ctx, d, client.PropagationPolicy(metav1.DeletePropagationForeground))).To(Succeed())
		c.approve(ctx, c.dave, "b")
	},
	"a request that timed out": func(ctx SpecContext, c *court) {
		c.h.clock.SetTime(c.req.CreationTimestamp.Add(time.Hour))
		c.h.settle(ctx, c.req)
		Expect(c.req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonApprovalTimedOut))
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a deny before": func(ctx SpecContext, c *court) {
		c.vote(ctx, c.carol, "no", v1alpha1.VerdictDeny)
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a deny after": func(ctx SpecContext, c *court) {
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
		c.vote(ctx, c.carol, "no", v1alpha1.VerdictDeny)
	},
	"a deny that was given and deleted": func(ctx SpecContext, c *court) {
		d := c.vote(ctx, c.carol, "no", v1alpha1.VerdictDeny)
		c.h.settle(ctx, c.req)
		Expect(c.carol.Delete(ctx, d)).To(Succeed())
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
	"a request that was taken back": func(ctx SpecContext, c *court) {
		c.vote(ctx, c.alice, "never-mind", v1alpha1.VerdictRevoke)
		c.approve(ctx, c.bob, "a")
		c.approve(ctx, c.dave, "b")
	},
}

// change changes the policy.
func (c *court) change(ctx SpecContext, change func(*v1alpha1.AccessPolicySpec)) {
	GinkgoHelper()
	change(&c.policy.Spec)
	Expect(admin.Update(ctx, c.policy)).To(Succeed())
}

func soon() time.Time { return time.Now().Add(time.Hour).Truncate(time.Second) }

// serviceAccount creates one, and acts as it with a token of its own.
func serviceAccount(ctx SpecContext, ns, name string) client.Client {
	GinkgoHelper()
	Expect(admin.Create(ctx, account(ns, name))).To(Succeed())
	config, err := plane.ServiceAccountConfig(ctx, ns, name)
	Expect(err).NotTo(HaveOccurred())
	return clientOf(config)
}

var _ = Describe("Approval", func() {
	for name, attack := range attacks {
		It("is not had by: "+name, func(ctx SpecContext) {
			c := newCourt(ctx)
			attack(ctx, c)
			for range 3 {
				c.h.settle(ctx, c.req)
				Expect(c.req.Status.Grant).To(BeNil())
				Expect(c.req.Status.State).NotTo(Equal(v1alpha1.StateActive))
				Expect(bindingOf(ctx, c.req)).To(BeNil())
				c.h.clock.Step(time.Second)
			}
			Expect(mayReadConfigMaps(ctx, c.alice, c.ns)).To(BeFalse())
		})
	}

	It("is attacked in at least forty ways", func() { Expect(len(attacks)).To(BeNumerically(">=", 40)) })
})
