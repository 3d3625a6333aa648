// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	// namespace is where config/samples lets those on call have edit.
	namespace = "payments"
	replicas  = 2
)

var (
	host  *Node
	plane *controlplane.ControlPlane
	// admin sets things up and looks; what it may do proves nothing.
	admin client.Client
	alice client.Client
	// asAlice is alice's config, for kubectl.
	asAlice *rest.Config
	// firstReady and firstGrant are how long it took from the first kubectl apply.
	firstReady, firstGrant time.Duration
)

func TestNode(t *testing.T) {
	// A proxy that this machine goes out by is not asked for the node. Kubelet and others
	// are started with the same environment.
	t.Setenv("NO_PROXY", "127.0.0.1,localhost,"+services+","+pods)
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(2 * time.Minute)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	RunSpecs(t, "Lapse on a node")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	var err error
	host, err = New()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(host.Stop)
	plane, err = controlplane.Start(ctx, host.Options())
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	Expect(host.Start(ctx, plane, filepath.Join(host.logs, "pause.tar"), filepath.Join(host.logs, "lapse.tar"))).To(Succeed())

	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	asAlice, err = plane.User("alice", "oncall")
	Expect(err).NotTo(HaveOccurred())
	alice = operator.NewClient(GinkgoTB(), asAlice)
	Eventually(func(g Gomega) {
		node := &corev1.Node{}
		g.Expect(admin.Get(ctx, client.ObjectKey{Name: nodeName}, node)).To(Succeed())
		g.Expect(node.Status.Conditions).To(ContainElement(And(
			HaveField("Type", corev1.NodeReady), HaveField("Status", corev1.ConditionTrue))), "see %s", host.logs)
	}).WithContext(ctx).Should(Succeed())
	firstReady, firstGrant = first(ctx, "first", func() { apply(ctx) })
}, NodeTimeout(10*time.Minute))

// manifest is what docs/install.md names for the version.
func manifest() string {
	GinkgoHelper()
	stamps, err := operator.Stamps(plane.AdminConfig())
	Expect(err).NotTo(HaveOccurred())
	name := "install-without-mutating.yaml"
	if stamps {
		name = "install-default.yaml"
	}
	return filepath.Join(host.logs, name)
}

func apply(ctx context.Context) {
	GinkgoHelper()
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-f", manifest())).To(Succeed())
}

// samples are the policies, and the rights to ask.
func samples(ctx context.Context) {
	GinkgoHelper()
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-k", "config/samples")).To(Succeed())
}

// first installs Lapse as docs/install.md says, has alice ask, and says how long it took until
// it was ready, and until she had access.
func first(ctx context.Context, name string, install func()) (toReady, toGrant time.Duration) {
	GinkgoHelper()
	begun := time.Now()
	install()
	ready(ctx)
	toReady = time.Since(begun)
	samples(ctx)
	grant(ctx, builders.Request(name).Lasting(time.Hour))
	return toReady, time.Since(begun)
}

// kubectl has an admin type something.
func kubectl(ctx context.Context, args ...string) string {
	GinkgoHelper()
	stdout, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), args...)
	Expect(err).NotTo(HaveOccurred(), "kubectl %s: %s", strings.Join(args, " "), stderr)
	return stdout
}

// ready waits until all replicas are of the newest kind, and ready.
func ready(ctx context.Context) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		d := &appsv1.Deployment{}
		g.Expect(admin.Get(ctx, client.ObjectKey{Namespace: operator.Namespace, Name: "lapse-manager"}, d)).To(Succeed())
		s := d.Status
		g.Expect(s.ObservedGeneration).To(Equal(d.Generation))
		g.Expect([]int32{s.Replicas, s.UpdatedReplicas, s.AvailableReplicas}).To(Equal([]int32{replicas, replicas, replicas}))
	}).WithContext(ctx).Should(Succeed())
}

// managers are the Pods of the operator that are not told to end.
func managers(ctx context.Context) []corev1.Pod {
	GinkgoHelper()
	list := &corev1.PodList{}
	Expect(admin.List(ctx, list, client.InNamespace(operator.Namespace),
		client.MatchingLabels{"app.kubernetes.io/component": "manager"})).To(Succeed())
	var running []corev1.Pod
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			running = append(running, list.Items[i])
		}
	}
	return running
}

// request is one of alice for edit.
func request(b builders.RequestBuilder) *v1alpha1.AccessRequest {
	return b.In(namespace).ForClusterRole("edit").Build()
}

// grant has alice ask, and waits until she has it.
func grant(ctx context.Context, b builders.RequestBuilder) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := request(b)
	// kube-apiserver may not know a new kind yet.
	Eventually(func() error { return alice.Create(ctx, req) }).WithContext(ctx).Should(Succeed())
	becomes(ctx, req, v1alpha1.ReasonGranted)
	return req
}

// becomes waits until a request has a reason.
func becomes(ctx context.Context, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason), fmt.Sprint(req.Status.Conditions))
	}).WithContext(ctx).Should(Succeed())
}
