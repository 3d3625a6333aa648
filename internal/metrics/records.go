// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	recordsTold = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_records_total", Help: "Records that a sink took.",
	}, []string{"sink"})
	recordsFailed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_records_failed_total", Help: "Attempts to deliver a record that failed; each is made again.",
	}, []string{"sink"})
	recordsDropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_records_dropped_total", Help: "Records that a sink never gets, since it owes too many; alert on any.",
	}, []string{"sink"})
	recordsBehind = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lapse_records_behind", Help: "Records that a sink has yet to take.",
	}, []string{"sink"})
)

func init() {
	metrics.Registry.MustRegister(recordsTold, recordsFailed, recordsDropped, recordsBehind)
}

// RecordSink has the series of a sink be there before anything happens to it: an increase is
// seen of no other.
func RecordSink(sink string) {
	for _, c := range []*prometheus.CounterVec{recordsTold, recordsFailed, recordsDropped} {
		c.WithLabelValues(sink)
	}
	recordsBehind.WithLabelValues(sink)
}

// RecordTold counts a record that a sink took.
func RecordTold(sink string) { recordsTold.WithLabelValues(sink).Inc() }

// RecordFailed counts an attempt that failed.
func RecordFailed(sink string) { recordsFailed.WithLabelValues(sink).Inc() }

// RecordDropped counts a record that a sink never gets.
func RecordDropped(sink string) { recordsDropped.WithLabelValues(sink).Inc() }

// RecordsBehind is how many a sink has yet to take.
func RecordsBehind(sink string, n int) { recordsBehind.WithLabelValues(sink).Set(float64(n)) }
