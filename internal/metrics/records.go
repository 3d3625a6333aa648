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
		Name: "lapse_records_dropped_total", Help: "Deleted requests of which a sink never gets all records, since it was away for too long; alert on any.",
	}, []string{"sink"})
	recordsWithheld = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_records_withheld_total", Help: "Records that a sink refused, and got without what they say; alert on any.",
	}, []string{"sink"})
	recordsBehind = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lapse_records_behind", Help: "Requests of which a sink has yet to take a record.",
	}, []string{"sink"})
)

func init() {
	metrics.Registry.MustRegister(recordsTold, recordsFailed, recordsDropped, recordsWithheld, recordsBehind)
}

// RecordSink has the series of a sink be there before anything happens to it: an increase is
// seen of no other. Whoever does not lead owes a sink nothing, also if he led before.
func RecordSink(sink string) {
	for _, c := range []*prometheus.CounterVec{recordsTold, recordsFailed, recordsDropped, recordsWithheld} {
		c.WithLabelValues(sink)
	}
	recordsBehind.WithLabelValues(sink).Set(0)
}

// RecordTold counts a record that a sink took.
func RecordTold(sink string) { recordsTold.WithLabelValues(sink).Inc() }

// RecordFailed counts an attempt that failed.
func RecordFailed(sink string) { recordsFailed.WithLabelValues(sink).Inc() }

// RecordWithheld counts a record that a sink got without what it says.
func RecordWithheld(sink string) { recordsWithheld.WithLabelValues(sink).Inc() }

// RecordsDropped counts deleted requests of which a sink never gets all records.
func RecordsDropped(sink string, n int) { recordsDropped.WithLabelValues(sink).Add(float64(n)) }

// RecordsBehind is of how many requests a sink has yet to take a record.
func RecordsBehind(sink string, n int) { recordsBehind.WithLabelValues(sink).Set(float64(n)) }
