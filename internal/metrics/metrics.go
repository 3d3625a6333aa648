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
)

// alerting are the reasons that docs/operations.md alerts on. An increase is seen only
// of a series that was there before.
var alerting = []string{
	v1alpha1.ReasonTampered, v1alpha1.ReasonBindForbidden, v1alpha1.ReasonBindFailed,
	v1alpha1.ReasonBindingConflict, v1alpha1.ReasonClockSkew, v1alpha1.ReasonAdmissionNotEnforced,
}

func init() {
	metrics.Registry.MustRegister(outcomes, lateness)
	for _, reason := range alerting {
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

// Gauges registers what is computed when it is asked for: how many managed
// bindings there are, how many are past their deadline, how many finalizers keep, and
// how far the clock here is ahead of the API server's.
func Gauges(active, overdue, pinned func() float64, skew func() time.Duration) error {
	for _, c := range []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings", Help: "Managed RoleBindings."}, active),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings_overdue", Help: "Managed RoleBindings past their deadline; alert when it is not 0."}, overdue),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_bindings_pinned", Help: "Managed RoleBindings past their deadline or being deleted that finalizers keep; nobody holds a role by those that are not overdue."}, pinned),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "lapse_clock_skew_seconds", Help: "How far the operator's clock is ahead of the API server's."},
			func() float64 { return skew().Seconds() }),
	} {
		metrics.Registry.Unregister(c) // of a manager before this one in the same process
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
