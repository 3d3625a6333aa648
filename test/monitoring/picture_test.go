// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// valuesFile is where the answers to the queries of the dashboard go, for hack/monitoring/picture
// to draw; empty is nowhere.
var valuesFile = os.Getenv("DASHBOARD_VALUES")

// workFor is how long people work: for a picture there has to be something to see.
func workFor() time.Duration {
	if valuesFile == "" {
		return 30 * time.Second
	}
	return 4 * time.Minute
}

const (
	// pace from one request to the next.
	pace = 4 * time.Second
	// step from one value to the next, and the time over which Grafana would count then.
	step, rateInterval = 5 * time.Second, "15s"
)

// work has alice ask again and again: for what she gets at once, for what bob approves or denies
// after some seconds, and for more than anybody gets.
func work(ctx context.Context, ns string, until time.Time) {
	GinkgoHelper()
	alice, bob := operator.NewUser(GinkgoTB(), plane, "alice", "askers"), operator.NewUser(GinkgoTB(), plane, "bob", "leads")
	for i := 0; time.Now().Before(until); i++ {
		begun := time.Now()
		name, lasting := fmt.Sprintf("work-%03d", i), time.Duration(10+i*7%50)*time.Second
		verdict := []v1alpha1.Verdict{"", v1alpha1.VerdictApprove, "", v1alpha1.VerdictDeny, "", v1alpha1.VerdictApprove}[i%6]
		switch {
		case verdict != "":
			lasting = 20 * time.Minute
		case i%6 == 4:
			lasting = 2 * time.Hour
		}
		req := builders.Request(name).In(ns).Lasting(lasting).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		if verdict != "" {
			decided(ctx, req, v1alpha1.ReasonPendingApproval)
			<-time.After(time.Duration(i%4) * time.Second)
			Expect(bob.Create(ctx, builders.Decision(name, req, verdict))).To(Succeed())
		}
		<-time.After(time.Until(begun.Add(pace)))
	}
}

// valuesOf each query of the dashboard, over a range of time. Each panel has some.
func valuesOf(ctx context.Context, from, until time.Time) map[string][]json.RawMessage {
	GinkgoHelper()
	values := map[string][]json.RawMessage{}
	for _, p := range panels() {
		series := 0
		for _, target := range p.Targets {
			var answer struct{ Result []json.RawMessage }
			Expect(watcher.ask(ctx, "query_range", url.Values{
				"query": {strings.ReplaceAll(target.Expr, "$__rate_interval", rateInterval)},
				"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(until.Unix(), 10)}, "step": {step.String()},
			}, &answer)).To(Succeed(), p.Title)
			values[target.Expr] = answer.Result
			series += len(answer.Result)
		}
		Expect(series).To(BeNumerically(">", 0), "%s shows nothing", p.Title)
	}
	return values
}
