// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/controllers/granting"
	"github.com/lapse-dev/lapse/controllers/guarding"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// idleGrants is how many grants an idle manager looks after.
const idleGrants = 1000

var _ = Describe("A manager with a clock of its own", func() {
	It("writes nothing in ten idle minutes with 1000 grants", func(ctx SpecContext) {
		const grants, workers = idleGrants, 16
		const polling = 200 * time.Millisecond // to read 1000 requests without a pause would take the time of the API server
		// Grants get slow with hundreds in one namespace.
		namespaces := make([]string, 50)
		for i := range namespaces {
			namespaces[i] = newNamespace(ctx)
		}
		newPolicy(ctx, policyFor(namespaces[0]).In(namespaces...))
		clock := clocktesting.NewFakeClock(time.Now())
		runManager(ctx, clock)

		alice := user("alice")
		inParallel(workers, grants, func(i int) {
			req := builders.Request(fmt.Sprintf("idle-%04d", i)).In(namespaces[i%len(namespaces)]).ForClusterRole("reader").Lasting(4 * time.Hour).
				Build()
			Expect(alice.Create(ctx, req)).To(Succeed())
		})
		active := func() (n int) {
			list := &metav1.PartialObjectMetadataList{}
			list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AccessRequestList"))
			Expect(admin.List(ctx, list, client.MatchingFields{"status.state": string(v1alpha1.StateActive)})).To(Succeed())
			for i := range list.Items {
				if slices.Contains(namespaces, list.Items[i].Namespace) {
					n++
				}
			}
			return n
		}
		Eventually(func() int {
			clock.SetTime(time.Now()) // else the API server finds that all is decided too long ago
			return active()
		}).WithContext(ctx).WithTimeout(3 * time.Minute).WithPolling(polling).Should(Equal(grants))

		mark, err := plane.AuditMark()
		Expect(err).NotTo(HaveOccurred())
		sweeps := 0
		for range 10 * time.Minute / (15 * time.Second) {
			Eventually(clock.HasWaiters).WithContext(ctx).Should(BeTrue(), "the sweep waits for the clock")
			clock.Step(15 * time.Second)
			sweeps++
		}
		Eventually(clock.HasWaiters).WithContext(ctx).Should(BeTrue())
		Consistently(func(g Gomega) {
			writes, err := plane.Writes(mark, operator.Username)
			g.Expect(err).NotTo(HaveOccurred())
			// What other specs left behind may have to end in these minutes.
			writes = slices.DeleteFunc(writes, func(e auditv1.Event) bool {
				return strings.HasPrefix(e.ObjectRef.Namespace, "spec-") && !slices.Contains(namespaces, e.ObjectRef.Namespace)
			})
			g.Expect(writes).To(BeEmpty())
		}, "2s").WithContext(ctx).Should(Succeed())
		Expect(sweeps).To(Equal(40))
		Expect(active()).To(Equal(grants))

		By("stepping beyond their end")
		clock.Step(4 * time.Hour)
		Eventually(active).WithContext(ctx).WithTimeout(time.Minute).WithPolling(polling).Should(BeZero())
	}, SpecTimeout(6*time.Minute))
})

// runManager runs all controllers as they are set up in the binary, for one spec.
func runManager(ctx context.Context, clock *clocktesting.FakeClock) {
	GinkgoHelper()
	config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	Expect(err).NotTo(HaveOccurred())
	guard := startManager(ctx, config, clock, admission.SettleAfter)
	Eventually(func() error {
		clock.SetTime(time.Now()) // what was put in place a moment ago settles by it
		return guard.Ready(nil)
	}).WithContext(ctx).Should(Succeed())
}

// startManager starts the same, as somebody.
func startManager(_ context.Context, config *rest.Config, here clock.WithTickerAndDelayedExecution, settle time.Duration) *guarding.Guard {
	GinkgoHelper()
	again := true // there was another one in an earlier spec
	newManager := func(o cache.Options, newCache cache.NewCacheFunc) ctrl.Manager {
		mgr, err := ctrl.NewManager(config, ctrl.Options{
			Scheme: operator.Scheme(), Cache: o, NewCache: newCache,
			Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
			Controller: ctrlconfig.Controller{SkipNameValidation: &again},
		})
		Expect(err).NotTo(HaveOccurred())
		return mgr
	}
	ends := newManager(ending.CacheOptions(), nil)
	grants := newManager(granting.CacheOptions(), granting.NewCache(ends.GetCache()))
	now := servertime.New(here)
	limits := policy.Limits{MaxDuration: 24 * time.Hour, ReservedNamespaces: []string{operator.Namespace, policy.DefaultReserved}}
	memory := binding.NewMemory(limits.MaxDuration)
	guard, err := guarding.NewGuard(now, operator.Namespace, limits.ReservedNamespaces, settle)
	Expect(err).NotTo(HaveOccurred())
	Expect(guard.Setup(grants)).To(Succeed())
	e, err := ending.Setup(ends, now, limits.MaxDuration, memory)
	Expect(err).NotTo(HaveOccurred())
	Expect(granting.Setup(grants, granting.Options{
		Client: grants.GetClient(), Live: grants.GetAPIReader(), Clock: now, Recorder: events.NewFakeRecorder(10 * idleGrants),
		Admission: guard.Admission, Busy: e.Busy, Memory: memory, Limits: limits,
	}, guard.InForce())).To(Succeed())
	known, err := granting.WatchRequests(grants, e.Look)
	Expect(err).NotTo(HaveOccurred())
	e.Follow(ending.Others{RequestOf: known, Elected: grants.Elected(), Ready: healthz.Ping})
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, mgr := range []ctrl.Manager{ends, grants} {
		go func() { done <- mgr.Start(running) }()
	}
	DeferCleanup(func(ctx SpecContext) {
		stop()
		Eventually(done).WithContext(ctx).Should(Receive(BeNil()))
		Eventually(done).WithContext(ctx).Should(Receive(BeNil()))
	})
	return guard
}

// inParallel calls do for 0 to n-1 from several goroutines.
func inParallel(workers, n int, do func(int)) {
	GinkgoHelper()
	next := make(chan int)
	done := make(chan struct{})
	for range workers {
		go func() {
			defer GinkgoRecover()
			defer func() { done <- struct{}{} }()
			for i := range next {
				do(i)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		<-done
	}
}
