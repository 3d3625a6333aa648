// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// expressions are those of all alerts and panels, by where they are. A variable of the
// dashboard has a value.
func expressions() map[string]string {
	GinkgoHelper()
	var rules struct {
		Spec struct {
			Groups []struct {
				Rules []struct{ Alert, Expr string }
			}
		}
	}
	convert(shipped["PrometheusRule lapse"], &rules)
	all := map[string]string{}
	for _, g := range rules.Spec.Groups {
		for _, r := range g.Rules {
			all["alert "+r.Alert] = r.Expr
		}
	}
	Expect(len(all)).To(BeNumerically(">", 15))
	for i, p := range panels() {
		for _, target := range p.Targets {
			all[fmt.Sprintf("panel %d %s %s", i, p.Title, target.RefID)] = strings.ReplaceAll(target.Expr, "$__rate_interval", "1m")
		}
	}
	Expect(len(all)).To(BeNumerically(">", 40))
	return all
}

// panel of the dashboard, as far as it is read.
type panel struct {
	Title   string
	Targets []struct{ RefID, Expr string }
}

// panels of the dashboard.
func panels() []panel {
	GinkgoHelper()
	var board struct{ Panels []panel }
	var files struct{ Data map[string]string }
	convert(shipped["ConfigMap lapse-dashboard"], &files)
	Expect(files.Data).To(HaveLen(1))
	for _, text := range files.Data {
		Expect(json.Unmarshal([]byte(text), &board)).To(Succeed())
	}
	return board.Panels
}

// becomes waits until an expression has a value.
func becomes(ctx context.Context, expr string, want float64) {
	GinkgoHelper()
	Eventually(func() (float64, error) { return watcher.number(ctx, expr) }).WithContext(ctx).Should(Equal(want), expr)
}

// decided waits until a request has a reason.
func decided(ctx context.Context, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason), req.Name)
	}).WithContext(ctx).Should(Succeed())
}

// live has a grant that expires, one that bob approves, and a policy that allows nothing.
func live(ctx context.Context, ns string) {
	GinkgoHelper()
	leads := builders.Group("leads")
	operator.NewPolicy(ctx, GinkgoTB(), admin, builders.Policy("free").Allowing("view").In(ns).AtMost(time.Minute))
	operator.NewPolicy(ctx, GinkgoTB(), admin, builders.Policy("approved").Allowing("view").In(ns).AtMost(time.Hour).ApprovedBy(leads))
	operator.NewPolicy(ctx, GinkgoTB(), admin, builders.Policy("broken").Allowing("no-such-role").In(ns))
	operator.Create(ctx, GinkgoTB(), admin, builders.Binding(ns, "approvers", "lapse-approver", leads))
	alice, bob := operator.NewUser(GinkgoTB(), plane, "alice", "askers"), operator.NewUser(GinkgoTB(), plane, "bob", "leads")

	brief := builders.Request("brief").In(ns).Lasting(10 * time.Second).Build()
	Expect(alice.Create(ctx, brief)).To(Succeed())
	long := builders.Request("long").In(ns).Lasting(30 * time.Minute).Build()
	Expect(alice.Create(ctx, long)).To(Succeed())
	decided(ctx, long, v1alpha1.ReasonPendingApproval)
	yes := builders.Decision("yes", long, v1alpha1.VerdictApprove)
	Eventually(func() error { return bob.Create(ctx, yes) }).WithContext(ctx).Should(Succeed())
	decided(ctx, long, v1alpha1.ReasonGranted)
	decided(ctx, brief, v1alpha1.ReasonExpired)
}

var _ = Describe("What config/monitoring ships", Ordered, func() {
	var ns string
	BeforeAll(func(ctx SpecContext) {
		ns = operator.NewNamespace(ctx, GinkgoTB(), admin)
		becomes(ctx, `up{job="`+job+`"}`, 1.0)
		live(ctx, ns)
	}, NodeTimeout(2*time.Minute))

	It("counts what happened", func(ctx SpecContext) {
		becomes(ctx, `sum(lapse_approval_wait_seconds_count)`, 1.0)
		becomes(ctx, `sum(lapse_revocation_lateness_seconds_count)`, 1.0)
		becomes(ctx, `sum(lapse_bindings)`, 1.0)
		becomes(ctx, `sum(lapse_policies_not_ready)`, 1.0)
		becomes(ctx, `sum(lapse_admission_enforced)`, 1.0)
		becomes(ctx, `sum(lapse_records_behind{sink="stdout"})`, 0.0)
	}, SpecTimeout(2*time.Minute))

	It("has each alert evaluated, and only those fire that should", func(ctx SpecContext) {
		var answer struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError, LastEvaluation string }
			}
		}
		Eventually(func(g Gomega) {
			g.Expect(watcher.ask(ctx, "rules", nil, &answer)).To(Succeed())
			n := 0
			for _, group := range answer.Groups {
				for _, r := range group.Rules {
					n++
					g.Expect(r.Health).To(Equal("ok"), "%s: %s", r.Name, r.LastError)
				}
			}
			g.Expect(n).To(BeNumerically(">", 15))
		}).WithContext(ctx).Should(Succeed())
		Eventually(func() (map[string]string, error) { return watcher.alerts(ctx) }).WithContext(ctx).
			Should(Equal(map[string]string{"LapsePolicyNotReady": "pending"}))
	}, SpecTimeout(time.Minute))

	It("finds series by each selector of each alert and panel", func(ctx SpecContext) {
		for where, expr := range expressions() {
			_, err := watcher.query(ctx, expr)
			Expect(err).NotTo(HaveOccurred(), where)
			selectors, err := watcher.selectors(ctx, expr)
			Expect(err).NotTo(HaveOccurred(), where)
			Expect(selectors).NotTo(BeEmpty(), where)
			for _, s := range selectors {
				if strings.Contains(s, `__name__="kube_`) { // kube-state-metrics has those
					continue
				}
				var series []map[string]string
				Expect(watcher.ask(ctx, "series", url.Values{"match[]": {s}}, &series)).To(Succeed(), where)
				Expect(series).NotTo(BeEmpty(), "%s: nothing has series %s", where, s)
			}
		}
	}, SpecTimeout(time.Minute))

	It("has as many series with a hundred users as with one", func(ctx SpecContext) {
		const all = `count({__name__=~"lapse_.+"})`
		before, err := watcher.number(ctx, all)
		Expect(err).NotTo(HaveOccurred())
		const refused = `sum(lapse_request_outcomes_total{reason="NoMatchingPolicy"})`
		becomes(ctx, refused, 0.0)
		for i := range 100 {
			name := fmt.Sprintf("user-%d", i)
			user := operator.NewUser(GinkgoTB(), plane, name, "askers")
			Expect(user.Create(ctx, builders.Request(name).In(ns).Lasting(2*time.Hour).Build())).To(Succeed())
		}
		becomes(ctx, refused, 100.0)
		becomes(ctx, all, before)
	}, SpecTimeout(2*time.Minute))

	It("has values for each panel of the dashboard, after some work", func(ctx SpecContext) {
		begun := time.Now()
		work(ctx, ns, begun.Add(workFor()))
		values, err := json.Marshal(valuesOf(ctx, begun, time.Now()))
		Expect(err).NotTo(HaveOccurred())
		if valuesFile != "" {
			Expect(os.WriteFile(valuesFile, values, 0o600)).To(Succeed())
		}
	}, SpecTimeout(6*time.Minute))

	It("tells of a missing admission policy, and of an operator that is gone", func(ctx SpecContext) {
		state := func(alert string) func() (string, error) {
			return func() (string, error) {
				states, err := watcher.alerts(ctx)
				return states[alert], err
			}
		}
		operator.WithoutGuard(ctx, GinkgoTB(), plane, operator.ReservedGuard)
		Eventually(state("LapseAdmissionGap"), time.Minute).WithContext(ctx).Should(Equal("pending"))
		Expect(manager.Kill()).To(Succeed())
		Eventually(state("LapseOperatorDown")).WithContext(ctx).Should(Equal("pending"))
		Eventually(state("LapseReplicaNotScraped")).WithContext(ctx).Should(Equal("pending"))
	}, SpecTimeout(3*time.Minute))
})
