// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// mostLateAfterDrain is for the end of all grants after somebody typed what ends them:
	// the operator is given ten seconds for each, before they are ended without it.
	mostLateAfterDrain = 30 * time.Second
	// mostLateAfterUninstall is the same where a Pod has to start first.
	mostLateAfterUninstall = time.Minute
	// long is for grants that somebody has to end.
	long = 30 * time.Minute
)

// shell has an admin type commands in bash at the root of the module, with what make builds
// on PATH.
func shell() func(ctx context.Context, line string) {
	GinkgoHelper()
	folder, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	env, err := operator.Home(plane, GinkgoT().TempDir(), plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	return func(ctx context.Context, line string) {
		GinkgoHelper()
		typed, err := operator.Type(ctx, folder, env, line)
		Expect(err).NotTo(HaveOccurred())
		Expect(typed.Code).To(BeZero(), "%s\n%s%s", line, typed.Stdout, typed.Stderr)
	}
}

// samplesAreLeft waits until there is nothing of Lapse but what docs/install.md leaves to the
// admin: what config/samples has of that.
func samplesAreLeft(ctx context.Context) {
	GinkgoHelper()
	Eventually(func() ([]string, error) { return operator.Left(ctx, plane.AdminConfig()) }).WithContext(ctx).
		Should(ConsistOf("clusterroles lapse-bindable-samples", "clusterrolebindings lapse-policy-readers"))
}

// A removal takes Lapse from the other specs, so each of these goes on from the one before.
var _ = Describe("A hundred grants", Ordered, func() {
	var (
		admins func(ctx context.Context, line string)
		chart  string
	)
	BeforeAll(func(ctx SpecContext) {
		ready(ctx)
		admins = shell()
		charts, err := filepath.Glob(filepath.Join(host.logs, "lapse-*.tgz"))
		Expect(err).NotTo(HaveOccurred())
		Expect(charts).To(HaveLen(1), "run make test-node")
		chart = charts[0]
	}, NodeTimeout(3*time.Minute))
	AfterAll(func(ctx SpecContext) {
		apply(ctx)
		ready(ctx)
		samples(ctx)
	}, NodeTimeout(5*time.Minute))

	It("end before what was applied is deleted", func(ctx SpecContext) {
		ends := holdFor(ctx, "applied", long)
		begun := time.Now()
		admins(ctx, "kubectl lapse drain --yes")
		ends.over(ctx, begun, mostLateAfterDrain)
		admins(ctx, "kubectl delete --ignore-not-found -f "+manifest())
		samplesAreLeft(ctx)
	}, SpecTimeout(6*time.Minute))

	It("need Lapse again: Helm installs it, and access is granted, within two minutes", func(ctx SpecContext) {
		toReady, toGrant := first(ctx, "first-by-helm", func() {
			admins(ctx, "helm install lapse "+chart+" --namespace lapse-system --create-namespace")
			admins(ctx, "kubectl label namespace lapse-system "+
				"pod-security.kubernetes.io/enforce=restricted pod-security.kubernetes.io/warn=restricted")
		})
		AddReportEntry("from helm install", fmt.Sprintf("two replicas ready after %s, the first grant after %s",
			toReady.Round(time.Second/10), toGrant.Round(time.Second/10)))
		Expect(toGrant).To(BeNumerically("<", 2*time.Minute))
	}, SpecTimeout(5*time.Minute))

	DescribeTable("end on time, and one more is granted, while Helm", func(ctx SpecContext, name, line string) {
		mustBeNew := newReplicas(ctx)
		ends := hold(ctx, name)
		ends.due(ctx, 0)
		begun := time.Now()
		admins(ctx, "chart="+chart+"\n"+line)
		grant(ctx, builders.Request("while-it-"+name))
		ready(ctx)
		AddReportEntry("all replaced", time.Since(begun).Round(time.Second))
		mustBeNew(ctx)
		ends.come(ctx, mostLate, ends.first)
		becomes(ctx, grant(ctx, builders.Request("after-it-"+name).Lasting(10*time.Second)), v1alpha1.ReasonExpired)
	},
		// There is no other release yet: the Pods are made anew, by all that an upgrade does.
		Entry("upgrades", SpecTimeout(6*time.Minute), "upgrades",
			"helm upgrade lapse $chart --namespace lapse-system --reset-then-reuse-values --set podAnnotations.release=second"),
		Entry("rolls back", SpecTimeout(6*time.Minute), "rolls-back", "helm rollback lapse 1 --namespace lapse-system"),
	)

	It("end on time, and more are granted, while Helm upgrades to an image that is not there, and then to one that is", func(ctx SpecContext) {
		mustBeNew := newReplicas(ctx)
		upgrade := func(tag string) {
			GinkgoHelper()
			admins(ctx, "helm upgrade lapse "+chart+" --namespace lapse-system --reset-then-reuse-values "+
				"--set podAnnotations.release=third --set image.tag="+tag)
		}
		ends := hold(ctx, "mended")
		ends.due(ctx, 0)
		upgrade("none")
		Eventually(func() string {
			return kubectl(ctx, "get", "pods", "-n", operator.Namespace, "-l", "app.kubernetes.io/component=manager")
		}).WithContext(ctx).Should(And(
			MatchRegexp(` 0/1 +(ErrImagePull|ImagePullBackOff) `), MatchRegexp(`(?s)( 1/1 +Running .*){2}`)), "the old ones stay")
		grant(ctx, builders.Request("before-it-is-mended"))
		ends.due(ctx, 20*time.Second)
		upgrade("node") // the tag that make node-image gives it
		ready(ctx)
		mustBeNew(ctx)
		ends.come(ctx, mostLate, ends.first)
		becomes(ctx, grant(ctx, builders.Request("after-it-is-mended").Lasting(10*time.Second)), v1alpha1.ReasonExpired)
	}, SpecTimeout(6*time.Minute))

	It("end before Helm uninstalls", func(ctx SpecContext) {
		ends := holdFor(ctx, "uninstalled", long)
		begun := time.Now()
		admins(ctx, "helm uninstall lapse --namespace lapse-system && kubectl delete namespace lapse-system")
		ends.over(ctx, begun, mostLateAfterUninstall)
		samplesAreLeft(ctx)
	}, SpecTimeout(6*time.Minute))
})
