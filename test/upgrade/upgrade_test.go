// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package upgrade has the control plane upgraded under running grants, with nothing of
// Lapse changed in between.
package upgrade

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	namespace = "payments"
	// onTime is what docs/operations.md promises while the API server answers, and back
	// what it promises for what ran out while it did not.
	onTime = 3 * time.Second
	back   = 10 * time.Second
	// seen is when a request is seen by then, after an API server that went away again and
	// again: the watch of client-go comes back up to 60 s later (reflector.go).
	seen = 70 * time.Second
)

func TestUpgrade(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(40 * time.Second)
	SetDefaultEventuallyPollingInterval(100 * time.Millisecond)
	RunSpecs(t, "Upgrades of the control plane")
}

// outage is a time until the API server and its controllers were back.
type outage struct{ from, until time.Time }

// cluster is what is upgraded, and what is asked for on it.
type cluster struct {
	plane   *controlplane.ControlPlane
	admin   client.Client
	alice   client.Client
	asked   []*v1alpha1.AccessRequest
	outages []outage

	mu   sync.Mutex
	held map[string]time.Time // when somebody last held a role by a binding
}

// steps are the versions from the last without stamps on.
func steps() []string {
	GinkgoHelper()
	versions, err := controlplane.Versions()
	Expect(err).NotTo(HaveOccurred())
	versions = slices.DeleteFunc(versions, func(v string) bool {
		return version.MustParseGeneric(v).LessThan(version.MustParseGeneric("1.35"))
	})
	return versions
}

func assets(v string) string {
	GinkgoHelper()
	dir, err := controlplane.AssetsOf(v)
	Expect(err).NotTo(HaveOccurred())
	return dir
}

var _ = Describe("An upgrade of the control plane", func() {
	It("ends nothing late, refuses nothing, and stamps once the stamps are applied", func(ctx SpecContext) {
		versions := steps()
		Expect(len(versions)).To(BeNumerically(">=", 3))
		s := begin(ctx, versions[0])
		for i := range 10 {
			s.ask(ctx, time.Duration(20+10*i)*time.Second)
		}
		for _, v := range versions[1:] {
			By("upgrading to " + v)
			s.upgrade(ctx, v)
			s.ask(ctx, 15*time.Second)
			s.ask(ctx, time.Hour)
			s.doctor(ctx, "not installed, so people name themselves in YAML; to have the API server do it: "+
				"kubectl apply -k config/admission/stamps, or helm upgrade")
		}
		By("applying config/default")
		Expect(operator.Install(ctx, s.plane)).To(Succeed())
		s.ask(ctx, 10*time.Second)
		s.stamped(ctx)
		s.doctor(ctx, "6 stamps and bindings are what this version ships")
		s.endsOnTime(ctx)
	}, SpecTimeout(12*time.Minute))
})

// begin installs Lapse on the first version, with two replicas and a policy.
func begin(ctx context.Context, v string) *cluster {
	GinkgoHelper()
	plane := operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{Assets: assets(v), ControllerManager: true})
	s := &cluster{
		plane: plane, admin: operator.NewUser(GinkgoTB(), plane, "admin", "system:masters"),
		alice: operator.NewUser(GinkgoTB(), plane, "alice", "askers"), held: map[string]time.Time{},
	}
	operator.Create(ctx, GinkgoTB(), s.admin,
		builders.Namespace(namespace), builders.Policy("payments-view").Allowing("view").In(namespace).Build(),
		builders.Bindable("clusterroles", "view"), builders.ClusterBinding("askers", "lapse-requester", builders.Group("askers")))
	for range 2 {
		operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, "--leader-elect")
	}
	watching, stop := context.WithCancel(ctx)
	DeferCleanup(stop)
	go s.watch(watching)
	return s
}

// watch notes what is held, past caches. When status says that it ended depends on when the
// watches of the operator are back.
func (s *cluster) watch(ctx context.Context) {
	for ctx.Err() == nil {
		list, asked := &rbacv1.RoleBindingList{}, time.Now()
		err := s.admin.List(ctx, list, client.InNamespace(namespace))
		s.mu.Lock()
		for i := range list.Items {
			if b := &list.Items[i]; err == nil && len(b.Subjects) > 0 {
				s.held[b.Name] = asked
			}
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *cluster) lastHeld(binding string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held[binding]
}

// ask has alice ask, naming herself, and waits until she is granted it.
func (s *cluster) ask(ctx context.Context, lasting time.Duration) {
	GinkgoHelper()
	req := builders.Request(fmt.Sprintf("request-%d", len(s.asked))).In(namespace).Lasting(lasting).
		By("alice", "askers", "system:authenticated").To(builders.User("alice")).Build()
	Expect(s.alice.Create(ctx, req)).To(Succeed())
	s.asked = append(s.asked, req)
	Eventually(func(g Gomega) {
		g.Expect(s.admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(req.Status.State).NotTo(Equal(v1alpha1.StateDenied), "%v", req.Status.Conditions)
		g.Expect(req.Status.Grant).NotTo(BeNil(), "%v", req.Status.Conditions)
	}).WithContext(ctx).WithTimeout(seen).Should(Succeed())
}

// upgrade replaces the control plane, and checks that no grant ended early.
func (s *cluster) upgrade(ctx context.Context, v string) {
	GinkgoHelper()
	o := outage{from: time.Now()}
	Expect(s.plane.Upgrade(ctx, assets(v))).To(Succeed())
	o.until = time.Now()
	s.outages = append(s.outages, o)
	is, err := operator.Version(s.plane)
	Expect(err).NotTo(HaveOccurred())
	Expect(is).To(Equal("v" + v))
	for _, req := range s.asked {
		Expect(s.admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		if left := time.Until(req.Status.Grant.ExpiresAt.Time); left > time.Second {
			Expect(req.Status.State).To(Equal(v1alpha1.StateActive), "%s has %s left", req.Name, left)
		}
	}
}

// doctor is content, and says this of the stamps.
func (s *cluster) doctor(ctx context.Context, stamps string) {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	GinkgoT().Setenv("PATH", filepath.Join(root, "bin")+":/usr/bin:/bin")
	Eventually(func(g Gomega) {
		stdout, stderr, err := s.plane.Kubectl(ctx, s.plane.AdminConfig(), "lapse", "doctor")
		g.Expect(err).NotTo(HaveOccurred(), stdout+stderr)
		g.Expect(stdout).To(ContainSubstring("ok    stamps      " + stamps))
	}).WithContext(ctx).Should(Succeed())
}

// stamped has somebody ask who names nobody.
func (s *cluster) stamped(ctx context.Context) {
	GinkgoHelper()
	config, err := s.plane.User("alice", "askers")
	Expect(err).NotTo(HaveOccurred())
	raw, err := operator.RawClient(config)
	Expect(err).NotTo(HaveOccurred())
	req := builders.Request("stamped").In(namespace).Lasting(10 * time.Second).Build()
	Expect(raw.Create(ctx, req)).To(Succeed())
	Expect(req.Spec.Requester.Username).To(Equal("alice"))
	s.asked = append(s.asked, req)
}

// endsOnTime waits for all that is due soon, and reads how late each end was.
func (s *cluster) endsOnTime(ctx context.Context) {
	GinkgoHelper()
	var worst time.Duration
	ended := 0
	for _, req := range s.asked {
		if req.Spec.Duration.Duration >= time.Hour {
			Expect(s.admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			Expect(req.Status.State).To(Equal(v1alpha1.StateActive))
			continue
		}
		Eventually(func(g Gomega) {
			g.Expect(s.admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req.Status.State).To(Equal(v1alpha1.StateExpired), "%v", req.Status.Conditions)
		}).WithContext(ctx).WithTimeout(5 * time.Minute).Should(Succeed())
		due, held := req.Status.Grant.ExpiresAt.Time, s.lastHeld(req.Status.Grant.Binding)
		Expect(req.Status.Grant.EndedAt.Time).To(BeTemporally(">=", due), "%s ended early", req.Name)
		Expect(held).NotTo(BeZero(), "%s was not seen to be held", req.Name)
		Expect(held).To(BeTemporally("<=", s.latest(due)), "%s was due at %s; outages: %v", req.Name, due, s.outages)
		worst, ended = max(worst, held.Sub(due)), ended+1
	}
	AddReportEntry("ends", fmt.Sprintf("%d, the latest %s after its time; the API server was away %v", ended, worst, s.outages))
}

// latest is when access that was due has to have ended.
func (s *cluster) latest(due time.Time) time.Time {
	for _, o := range s.outages {
		// What is due just before may be cut off.
		if due.After(o.from.Add(-onTime)) && due.Before(o.until) {
			return o.until.Add(back)
		}
	}
	return due.Add(onTime)
}
