// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/controllers/telling"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/policy"
)

type flags struct {
	namespace   string
	leaderElect bool
	metrics     string
	probes      string
	maxDuration time.Duration
	retention   time.Duration
	reserved    string
	records     telling.Targets
	redact      bool
	labels      []string
	annotations []string
	messages    string
	logging     zap.Options
}

func parse() *flags {
	f := &flags{}
	flag.StringVar(&f.namespace, "namespace", "lapse-system", "The operator's own namespace: its lease is there, and nothing is granted in it.")
	flag.BoolVar(&f.leaderElect, "leader-elect", false, "Run as one of several replicas: one grants, all of them end access.")
	flag.StringVar(&f.metrics, "metrics-bind-address", "0", "Where metrics are served, with TLS and only to those who may get /metrics; 0 is nowhere.")
	flag.StringVar(&f.probes, "health-probe-bind-address", ":8081", "Where /healthz and /readyz are served; 0 is nowhere.")
	flag.DurationVar(&f.maxDuration, "max-duration", 24*time.Hour, "The longest grant, whatever policies allow; 10s to 24h.")
	flag.DurationVar(&f.retention, "retention", 30*24*time.Hour, "How long a request that is over stays as a record; 0 keeps it. What Argo CD or Flux tracks is kept, but for what is more than 100 of one requester by which nobody held anything. "+
		"One by which nobody ever held anything stays for a day at the most, unless this is 0.")
	flag.StringVar(&f.reserved, "reserved-namespaces", policy.DefaultReserved, "Namespaces in which nothing is granted, separated by commas; kube-* names all that begin with kube-. "+
		"The operator's own is always one. Admission keeps grants out of kube-*, too; to open it, see "+admission.StayOpen+".")
	flag.Func("record-to", "Where records go of who had what, why and by whose word: stdout, file:/PATH or an https URL, which gets CloudEvents. May be given again; stdout, if it is not; none is nowhere.",
		func(to string) error { f.records.To = append(f.records.To, to); return nil })
	flag.StringVar(&f.records.CAFile, "record-ca-file", "", "Certificates by which https URLs of --record-to are trusted, in place of those of the system.")
	flag.Func("record-token-file", "File with the bearer token for the URL of --record-to, or URL=FILE, with the URL as it is there, if several URLs get one. It is read for each record. May be given again.",
		func(file string) error { f.records.TokenFiles = append(f.records.TokenFiles, file); return nil })
	flag.StringVar(&f.records.KeyFile, "record-key-file", "", "File with the key by which the last record is signed once a minute, as kubectl lapse audit key makes it.")
	flag.Func("binding-label", "A label, KEY=VALUE, that each new RoleBinding gets besides Lapse's own, as where another policy of the cluster demands one. May be given again.",
		func(pair string) error { f.labels = append(f.labels, pair); return nil })
	flag.Func("binding-annotation", "The same for an annotation.",
		func(pair string) error { f.annotations = append(f.annotations, pair); return nil })
	flag.BoolVar(&f.redact, "redact-reasons", false, "Leave out of records, messages and the log what people wrote: reasons, comments and texts that may repeat them.")
	flag.StringVar(&f.messages, "messages", "", "File that says who is told of what, by a webhook, Slack, Teams, Alertmanager or mail. It is read anew when it changes. Empty tells nobody.")
	f.logging.BindFlags(flag.CommandLine)
	flag.Parse()
	if f.records.To == nil {
		f.records.To = []string{"stdout"}
	}
	f.records.To = slices.DeleteFunc(f.records.To, func(to string) bool { return to == "none" })
	return f
}

func (f *flags) limits() (policy.Limits, error) {
	if f.maxDuration < 10*time.Second || f.maxDuration > 24*time.Hour {
		return policy.Limits{}, fmt.Errorf("--max-duration is %s, and must be between 10s and 24h", f.maxDuration)
	}
	if f.retention < 0 {
		return policy.Limits{}, fmt.Errorf("--retention is %s, and must not be negative; 0 keeps requests for ever", f.retention)
	}
	reserved := append([]string{f.namespace}, policy.ReservedNamespaces(f.reserved)...)
	return policy.Limits{MaxDuration: f.maxDuration, ReservedNamespaces: reserved}, nil
}
