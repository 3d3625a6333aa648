// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	messagesSent = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_messages_total", Help: "Messages that a receiver took.",
	}, []string{"receiver"})
	messagesFailed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_messages_failed_total", Help: "Attempts to deliver a message that failed; each is made again.",
	}, []string{"receiver"})
	messagesDropped = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_messages_dropped_total", Help: "Messages that a receiver never gets, since it was away for too long; alert on any.",
	}, []string{"receiver"})
	messagesWithheld = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "lapse_messages_withheld_total", Help: "Messages that a receiver refused, and got with less in them.",
	}, []string{"receiver"})
	messagesBehind = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "lapse_messages_behind", Help: "Requests of which a receiver may have yet to be told something.",
	}, []string{"receiver"})
	messagesFileBad = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lapse_messages_file_bad", Help: "1 while the file of receivers is wrong, so that those of before are told, or nobody.",
	})
)

func init() {
	metrics.Registry.MustRegister(messagesSent, messagesFailed, messagesDropped, messagesWithheld, messagesBehind, messagesFileBad)
}

// MessageReceiver has the series of a receiver be there before anything happens to it.
func MessageReceiver(receiver string) {
	for _, c := range []*prometheus.CounterVec{messagesSent, messagesFailed, messagesDropped, messagesWithheld} {
		c.WithLabelValues(receiver)
	}
	messagesBehind.WithLabelValues(receiver).Set(0)
}

// MessageSent counts a message that a receiver took.
func MessageSent(receiver string) { messagesSent.WithLabelValues(receiver).Inc() }

// MessageFailed counts an attempt that failed.
func MessageFailed(receiver string) { messagesFailed.WithLabelValues(receiver).Inc() }

// MessageDropped counts a message that a receiver never gets.
func MessageDropped(receiver string) { messagesDropped.WithLabelValues(receiver).Inc() }

// MessageWithheld counts a message that a receiver got with less in it.
func MessageWithheld(receiver string) { messagesWithheld.WithLabelValues(receiver).Inc() }

// MessagesBehind is of how many requests a receiver may have yet to be told something.
func MessagesBehind(receiver string, n int) { messagesBehind.WithLabelValues(receiver).Set(float64(n)) }

// MessagesFileBad says whether the file of receivers is wrong.
func MessagesFileBad(bad bool) {
	messagesFileBad.Set(0)
	if bad {
		messagesFileBad.Set(1)
	}
}
