// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics is what Lapse counts. No label holds a name that a user chose.
package metrics

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

var (
	outcomes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_request_outcomes_total",
		Help: "Changes of the condition Ready of AccessRequests, by its new reason.",
	}, []string{"reason"})

	lateness = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "lapse_revocation_lateness_seconds",
		Help:    "Time from the deadline of a grant to its end on the API server.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
	})

	approvalWait = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "lapse_approval_wait_seconds",
		Help:    "Time from the asking of a request that was granted to the last approval that it needed.",
		Buckets: []float64{10, 30, 60, 120, 300, 600, 900, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600},
	})
)

// reasons are those that Ready of a request may have. An increase is seen only of a series
// that was there before, and there are never more of them.
var reasons = []string{
	v1alpha1.ReasonPendingApproval, v1alpha1.ReasonScheduled, v1alpha1.ReasonGranted, v1alpha1.ReasonExpired, v1alpha1.ReasonReturned,
	v1alpha1.ReasonDenied, v1alpha1.ReasonNoMatchingPolicy, v1alpha1.ReasonApprovalTimedOut, v1alpha1.ReasonRevoked,
	v1alpha1.ReasonPolicyWithdrawn, v1alpha1.ReasonTampered, v1alpha1.ReasonRoleChanged, v1alpha1.ReasonBindForbidden,
	v1alpha1.ReasonBindFailed, v1alpha1.ReasonRoleNotFound, v1alpha1.ReasonRoleEmpty, v1alpha1.ReasonConditionsTooCostly,
	v1alpha1.ReasonBindingConflict, v1alpha1.ReasonClockSkew, v1alpha1.ReasonAdmissionNotEnforced, v1alpha1.ReasonAdmissionGap,
}

func init() {
	metrics.Registry.MustRegister(outcomes, lateness, approvalWait)
	for _, reason := range reasons {
		outcomes.WithLabelValues(reason)
	}
}

// maxScrapes is how many answers are written at once.
const maxScrapes = 4

// Handler serves what is counted, also by libraries.
func Handler() http.Handler {
	return promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError, MaxRequestsInFlight: maxScrapes})
}

// Outcome counts a request that reached a reason.
func Outcome(reason string) { outcomes.WithLabelValues(reason).Inc() }

// Lateness observes how long after its deadline access ended.
func Lateness(d time.Duration) { lateness.Observe(d.Seconds()) }

// ApprovalWait observes how long a request that was granted had waited for approvals.
func ApprovalWait(d time.Duration) { approvalWait.Observe(d.Seconds()) }

// Gauges registers what is computed when it is asked for: how many managed
// bindings there are, how many are past their deadline, how many finalizers keep, and
// how far the clock here is ahead of the API server's.
func Gauges(active, overdue, pinned func() float64, skew func() time.Duration) error {
	return replace(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings", Help: "Managed RoleBindings."}, active),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings_overdue", Help: "Managed RoleBindings past their deadline; alert when it is not 0."}, overdue),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings_pinned", Help: "Managed RoleBindings past their deadline or being deleted that finalizers keep; nobody holds a role by those that are not overdue."}, pinned),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_clock_skew_seconds", Help: "How far the operator's clock is ahead of the API server's."},
			func() float64 { return skew().Seconds() }),
	)
}

// PoliciesNotReady registers how many AccessPolicies are not known to be in force.
func PoliciesNotReady(count func() float64) error {
	return replace(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lapse_policies_not_ready", Help: "AccessPolicies that are not known to be in force, and allow nothing; -1: cannot be told.",
	}, count))
}

// replace registers collectors in place of those of a manager before this one in the same
// process.
func replace(collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		metrics.Registry.Unregister(c)
		if err := metrics.Registry.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// AdmissionEnforced registers whether the admission policies are in force, as far as
// this replica knows.
func AdmissionEnforced(enforced func() bool) error {
	return metrics.Registry.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lapse_admission_enforced", Help: "1 while the admission policies are known to be in force; otherwise 0, and nothing is granted.",
	}, func() float64 {
		if enforced() {
			return 1
		}
		return 0
	}))
}
