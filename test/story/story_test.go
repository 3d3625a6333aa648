// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package story

import (
	"context"
	"encoding/json"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// mostLate is how late access may end that runs out.
	mostLate = 3 * time.Second
	// mostSlow is how long a revocation may take.
	mostSlow = 2 * time.Second
	// collecting is how long the garbage collector may take.
	collecting = 10 * time.Second

	edits = "create configmaps"
	binds = "create rolebindings"

	applySample = "kubectl apply -f config/samples/lapse_v1alpha1_accessrequest.yaml"
	// applyNamed is what people type where nothing is stamped: the sample, and their names.
	applyNamed = `cat config/samples/lapse_v1alpha1_accessrequest.yaml - <<EOF | kubectl apply -f -
  requester:
    username: $(kubectl auth whoami -o jsonpath={.status.userInfo.username})
    groups: $(kubectl auth whoami -o jsonpath={.status.userInfo.groups})
  subject: {kind: User, name: $(kubectl auth whoami -o jsonpath={.status.userInfo.username})}
EOF`
	askAsBob = `kubectl create -f - <<EOF
apiVersion: lapse.dev/v1alpha1
kind: AccessRequest
metadata: {name: as-bob, namespace: payments}
spec:
  roleRef: {kind: ClusterRole, name: edit}
  duration: 1h
  reason: "INC-3: bob asks, I swear"
  requester: {username: bob, groups: [sre-leads, "system:authenticated"]}
  subject: {kind: User, name: bob}
EOF`

	withUID       = "uid=$(kubectl get accessrequest rotate-accounts -n payments -o jsonpath={.metadata.uid})\n"
	approveSample = withUID + `sed "s/00000000-.*/$uid/" config/samples/lapse_v1alpha1_accessdecision.yaml | kubectl create -f -`
	// approval is the sample with the names that people write where nothing is stamped.
	approval = withUID + `kubectl create -f - <<EOF
apiVersion: lapse.dev/v1alpha1
kind: AccessDecision
metadata:
  generateName: rotate-accounts-
  namespace: payments
  ownerReferences:
  - {apiVersion: lapse.dev/v1alpha1, kind: AccessRequest, name: rotate-accounts, uid: $uid}
spec:
  requestRef: {name: rotate-accounts, uid: $uid}
  verdict: Approve
  comment: go ahead, I watch the dashboards
  reviewer:
`
	approveNamed = approval + `    username: $(kubectl auth whoami -o jsonpath={.status.userInfo.username})
    groups: $(kubectl auth whoami -o jsonpath={.status.userInfo.groups})
EOF`
	approveAsDave = approval + `    username: dave
    groups: [security, "system:authenticated"]
EOF`
	whoDecided = "kubectl get accessdecisions -n payments --field-selector spec.requestRef.name=rotate-accounts " +
		"-o jsonpath='{.items[*].spec.reviewer.username}'"
	whenRevoked = "kubectl get accessdecisions -n payments --field-selector spec.requestRef.name=rotate-accounts " +
		`-o jsonpath='{.items[?(@.spec.verdict=="Revoke")].metadata.creationTimestamp}'`

	withBinding = "binding=$(kubectl get accessrequest rotate-accounts -n payments -o jsonpath={.status.grant.binding})\n"
	readBinding = withBinding + "kubectl get rolebinding $binding -n payments " +
		"-o jsonpath='{.metadata.name} {.subjects} {.metadata.annotations}'"
	prolong = withBinding + "kubectl annotate rolebinding $binding -n payments --overwrite lapse.dev/expires-at=2099-01-01T00:00:00Z"
	passOn  = withBinding + `kubectl patch rolebinding $binding -n payments --type=json \
  -p '[{"op": "replace", "path": "/subjects/0/name", "value": "mallory"}]'`

	managedBindings = "kubectl get rolebindings -A -l app.kubernetes.io/managed-by=lapse"
)

// shows labels what the table of ways to install in docs/compatibility.md has a column of.
func shows(what string) Labels { return Label("shows " + what) }

var _ = Describe("Lapse", Ordered, func() {
	var (
		manager *operator.Manager
		way     operator.Way
	)

	AfterAll(func() {
		if manager != nil {
			Expect(manager.Stop()).To(Succeed())
		}
	})

	It("is installed as README says for the version", shows("installs"), func(ctx SpecContext) {
		version, err := operator.Version(plane)
		Expect(err).NotTo(HaveOccurred())
		way, err = operator.WayFor(version)
		Expect(err).NotTo(HaveOccurred())
		By("1. root installs it, and the samples")
		root.does(ctx, way.Install)
		root.doesSoon(ctx, "kubectl apply -k config/samples")
		By("no node runs the Deployment: the manager runs here, with a token of its ServiceAccount")
		manager, err = operator.Start(ctx, plane, GinkgoWriter, "--leader-elect")
		Expect(err).NotTo(HaveOccurred())
		for _, p := range []*person{alice, bob, dave} {
			p.does(ctx, "kubectl config set-context --current --namespace=payments")
		}
	}, SpecTimeout(3*time.Minute))

	It("is well, as its doctor says", shows("ready"), func(ctx SpecContext) {
		By("2. root sees whether all is well")
		Expect(root.doesSoon(ctx, "kubectl lapse doctor")).To(MatchRegexp(`^(ok +\S.*\n)+- +audit log .* not seen from here.*\n?$`))
	}, SpecTimeout(2*time.Minute))

	It("grants what is asked for in YAML, and ends it by itself", shows("main job"), func(ctx SpecContext) {
		By("3. alice asks by hand")
		Expect(alice.may(ctx, edits)).To(Equal("no"))
		apply := applySample
		if !stamps {
			Expect(alice.failsTo(ctx, applySample)).To(And(ContainSubstring("requester is missing"), ContainSubstring("subject is missing")))
			apply = applyNamed
		}
		alice.does(ctx, apply)
		alice.does(ctx, "kubectl wait -n payments accessrequest/debug-checkout --for=condition=Granted --timeout=10s")
		Expect(alice.may(ctx, edits)).To(Equal("yes"))
		alice.does(ctx, "kubectl create configmap debugging -n payments --from-literal=level=debug")
		Expect(alice.does(ctx, "kubectl get areq -n payments")).
			To(MatchRegexp(`^NAME +SUBJECT +ROLE +REASON .*\ndebug-checkout +alice +edit +Granted .*$`))
		Expect(root.does(ctx, "kubectl get areq -A --field-selector spec.subject.name=alice -o name")).
			To(Equal("accessrequest.lapse.dev/debug-checkout"))
		Expect(root.does(ctx, "kubectl get areq -A --field-selector spec.subject.name=bob -o name")).To(BeEmpty())
		who := alice.identity(ctx)
		if !stamps {
			who.Extra = nil // a manifest leaves it out
		}
		Expect(requesterOf(ctx, "debug-checkout")).To(Equal(who))

		By("it ends by itself, on time")
		lastYes, firstNo := alice.loses(ctx, edits)
		alice.does(ctx, "kubectl wait -n payments accessrequest/debug-checkout --for=jsonpath='{.status.state}'=Expired --timeout=60s")
		Expect(alice.may(ctx, edits)).To(Equal("no"))
		expires, ended := grantTime(ctx, "debug-checkout", "expiresAt"), grantTime(ctx, "debug-checkout", "endedAt")
		Expect(ended).To(And(BeTemporally(">=", expires), BeTemporally("<=", expires.Add(mostLate))))
		Expect(firstNo).To(BeTemporally(">=", expires))
		Expect(lastYes).To(BeTemporally("<=", expires.Add(mostLate)))
		Expect(alice.failsTo(ctx, "kubectl delete configmap debugging -n payments")).To(ContainSubstring("forbidden"))
	}, SpecTimeout(2*time.Minute))

	It("grants what is asked for by the plugin, and takes it back", shows("plugin"), func(ctx SpecContext) {
		By("4. alice asks by the plugin, and gives it back")
		Expect(alice.may(ctx, edits)).To(Equal("no"))
		alice.does(ctx, `kubectl lapse request edit --name by-plugin --for 1h --reason "INC-2: checkout is slow" --wait`)
		Expect(alice.may(ctx, edits)).To(Equal("yes"))
		Expect(requesterOf(ctx, "by-plugin")).To(Equal(alice.identity(ctx)))
		alice.does(ctx, "kubectl lapse return by-plugin")
		Expect(state(ctx, "by-plugin")).To(Equal("Returned"))
		Expect(alice.may(ctx, edits)).To(Equal("no"))
	}, SpecTimeout(time.Minute))

	It("waits for whoever has to approve", shows("approval"), func(ctx SpecContext) {
		By("5. alice asks for what two people have to approve; bob does it by the plugin")
		alice.does(ctx, `kubectl lapse request admin --name rotate-accounts --for 1h --reason "CHG-77: rotate the service accounts" `+
			`|| test $? = 3`)
		Expect(bob.does(ctx, "kubectl get areq -n payments --field-selector status.state=Pending -o name")).
			To(Equal("accessrequest.lapse.dev/rotate-accounts"))
		bob.does(ctx, "kubectl lapse approve rotate-accounts")
		By("alice cannot approve what she asks for")
		Expect(alice.failsTo(ctx, "kubectl lapse approve rotate-accounts")).To(ContainSubstring("nothing was decided"))
	}, SpecTimeout(time.Minute))

	It("lets nobody ask or approve in the name of another", func(ctx SpecContext) {
		By("6. alice asks as bob, and approves as dave, whose word is missing")
		Expect(alice.failsTo(ctx, askAsBob)).To(ContainSubstring(`spec.requester must be left out or name you ("alice"), not "bob"`))
		Expect(alice.failsTo(ctx, approveAsDave)).To(ContainSubstring(`spec.reviewer must be left out or name you ("alice"), not "dave"`))
		Expect(root.failsTo(ctx, "kubectl get areq as-bob -n payments")).To(ContainSubstring("NotFound"))
		Expect(root.does(ctx, whoDecided)).To(Equal("bob"))
		Expect(state(ctx, "rotate-accounts")).To(Equal("Pending"))
		Expect(alice.may(ctx, binds)).To(Equal("no"))
	}, SpecTimeout(time.Minute))

	It("grants what the last one approves in YAML", shows("approval"), func(ctx SpecContext) {
		By("5. dave approves by hand")
		approve := approveSample
		if !stamps {
			Expect(dave.failsTo(ctx, approveSample)).To(ContainSubstring("reviewer is missing"))
			approve = approveNamed
		}
		dave.does(ctx, approve)
		alice.does(ctx, "kubectl wait -n payments accessrequest/rotate-accounts --for=condition=Granted --timeout=10s")
		Expect(root.does(ctx, whoDecided)).To(Or(Equal("bob dave"), Equal("dave bob")))
		Expect(alice.may(ctx, binds)).To(Equal("yes"))
	}, SpecTimeout(time.Minute))

	It("lets the holder make nothing that outlasts the grant, and nobody change it", func(ctx SpecContext) {
		By("7. alice tries to keep what she holds")
		Expect(alice.failsTo(ctx, "kubectl create rolebinding lasting -n payments --clusterrole=admin --user=alice")).To(And(
			ContainSubstring(`while you hold ClusterRole "admin" in namespace "payments"`),
			ContainSubstring("you may not bind roles there, which would outlast it")))
		Expect(alice.failsTo(ctx, "kubectl create serviceaccount lasting -n payments")).
			To(ContainSubstring("you may not create ServiceAccounts there, which would outlast it"))
		root.does(ctx, "kubectl create serviceaccount lasting -n payments --dry-run=server")
		before := root.does(ctx, readBinding)
		Expect(before).To(HavePrefix("lapse-rotate-accounts-"))
		for _, p := range []*person{alice, root} {
			Expect(p.failsTo(ctx, prolong)).To(ContainSubstring("belongs to Lapse"))
			Expect(p.failsTo(ctx, passOn)).To(ContainSubstring("belongs to Lapse"))
		}
		Expect(root.does(ctx, readBinding)).To(Equal(before))
	}, SpecTimeout(time.Minute))

	It("ends at once what an approver revokes", func(ctx SpecContext) {
		By("8. bob revokes, while alice looks whether she has access")
		lost := make(chan time.Time, 1)
		Expect(alice.may(ctx, binds)).To(Equal("yes"))
		go func() {
			defer GinkgoRecover()
			lastYes, _ := alice.loses(ctx, binds)
			lost <- lastYes
		}()
		bob.does(ctx, `kubectl lapse revoke rotate-accounts --reason "seen enough"`)
		var lastYes time.Time
		Eventually(ctx, lost).WithTimeout(soonTimeout).Should(Receive(&lastYes))
		Expect(state(ctx, "rotate-accounts")).To(Equal("Revoked"))
		// Kubernetes cuts off what is less than a second.
		revoked := root.time(ctx, whenRevoked).Add(time.Second)
		Expect(lastYes).To(BeTemporally("<=", revoked.Add(mostSlow)))
		Expect(grantTime(ctx, "rotate-accounts", "endedAt")).To(BeTemporally("<=", revoked.Add(mostSlow)))
	}, SpecTimeout(2*time.Minute))

	It("leaves no access behind when it is uninstalled", shows("removal"), func(ctx SpecContext) {
		By("9. root uninstalls it under a running grant")
		alice.does(ctx, `kubectl lapse request edit --name last --for 1h --reason "INC-4: one more" --wait`)
		Expect(alice.may(ctx, edits)).To(Equal("yes"))
		Expect(root.does(ctx, managedBindings+" -o name")).To(HavePrefix("rolebinding.rbac.authorization.k8s.io/lapse-last-"))
		Expect(left(ctx)).To(ContainElements("namespaces lapse-system", "validatingadmissionpolicies lapse-persistence",
			"customresourcedefinitions accessrequests.lapse.dev", "accessrequests payments/last", HavePrefix("rolebindings payments/lapse-last-"),
			HavePrefix("leases lapse-system/")))

		Expect(root.does(ctx, "kubectl lapse drain --yes")).To(HavePrefix("rolebinding.rbac.authorization.k8s.io/lapse-last-"))
		Expect(alice.may(ctx, edits)).To(Equal("no"))
		Expect(root.does(ctx, "kubectl get accessrequest last -n payments -o jsonpath='{.status.state}'")).To(Equal("Revoked"))
		Eventually(func() string { return root.does(ctx, managedBindings) }).
			WithContext(ctx).WithTimeout(collecting).WithPolling(soonPolling).Should(BeEmpty())
		By("root saves what there was")
		Expect(root.does(ctx, "kubectl get accesspolicies,accessrequests,accessdecisions -A -o yaml")).To(And(
			ContainSubstring("name: oncall-edit"), ContainSubstring("name: last"), ContainSubstring("verdict: Revoke")))
		root.does(ctx, way.Remove)

		Expect(alice.may(ctx, edits)).To(Equal("no"))
		// Helm does not wait until kinds are gone. What stays is of config/samples: the admin's own.
		Eventually(left).WithContext(ctx).WithTimeout(soonTimeout).WithPolling(soonPolling).
			Should(ConsistOf("clusterroles lapse-bindable-samples", "clusterrolebindings lapse-policy-readers"))
		Expect(manager.Stop()).To(Succeed())
	}, SpecTimeout(2*time.Minute))
})

// left is what the API server has of Lapse.
func left(ctx context.Context) ([]string, error) { return operator.Left(ctx, plane.AdminConfig()) }

func state(ctx context.Context, request string) string {
	GinkgoHelper()
	return root.does(ctx, "kubectl get areq "+request+" -n payments -o jsonpath={.status.state}")
}

// grantTime is when a grant expires, or has ended.
func grantTime(ctx context.Context, request, field string) time.Time {
	GinkgoHelper()
	return root.time(ctx, "kubectl get areq "+request+" -n payments -o jsonpath={.status.grant."+field+"}")
}

// requesterOf is who asked, as it is stored.
func requesterOf(ctx context.Context, request string) v1alpha1.Identity {
	GinkgoHelper()
	stored := root.does(ctx, "kubectl get areq "+request+" -n payments -o jsonpath={.spec.requester}")
	var who v1alpha1.Identity
	Expect(json.Unmarshal([]byte(stored), &who)).To(Succeed())
	return who
}

// identity is as whom the API server knows somebody.
func (p *person) identity(ctx context.Context) v1alpha1.Identity {
	GinkgoHelper()
	var review authenticationv1.SelfSubjectReview
	Expect(json.Unmarshal([]byte(p.does(ctx, "kubectl auth whoami -o json")), &review)).To(Succeed())
	who := review.Status.UserInfo
	Expect(who.Username).To(Equal(p.name))
	return v1alpha1.Identity{Username: who.Username, UID: who.UID, Groups: who.Groups, Extra: policy.Extra(who.Extra)}
}

// time types what prints a time.
func (p *person) time(ctx context.Context, line string) time.Time {
	GinkgoHelper()
	at, err := time.Parse(time.RFC3339, p.does(ctx, line))
	Expect(err).NotTo(HaveOccurred())
	return at
}
