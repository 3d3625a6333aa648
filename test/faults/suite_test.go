// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// full runs every sweep at its full size; else it is a short sample of some.
var full = os.Getenv("FAULTS") == "full"

// sized is a size in a full run, and in a sample.
func sized[T int | time.Duration](whole, sample T) T {
	if full {
		return whole
	}
	return sample
}

// whole marks what is left out of a sample.
var whole = Label("whole")

var (
	plane *controlplane.ControlPlane
	// admin sets things up and looks.
	admin client.Client
	// alice asks; bob approves; asOperator is who the operator is.
	alice, bob, asOperator client.Client
	operatorConfig         *rest.Config
)

func TestFaults(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(30 * time.Second)
	SetDefaultEventuallyPollingInterval(20 * time.Millisecond)
	suite, reporter := GinkgoConfiguration()
	suite.Timeout = 3 * time.Hour
	if !full && suite.LabelFilter == "" {
		suite.LabelFilter = "!whole"
	}
	RunSpecs(t, "Lapse under faults", suite, reporter)
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true, AuditObjects: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	alice, bob = operator.NewUser(GinkgoTB(), plane, "alice", "askers"), operator.NewUser(GinkgoTB(), plane, "bob", "leads")
	operatorConfig = operator.OwnConfig(ctx, GinkgoTB(), plane)
	asOperator = operator.NewClient(GinkgoTB(), operatorConfig)

	read := builders.Rule("", "configmaps", "get", "list")
	operator.Create(ctx, GinkgoTB(), admin,
		builders.ClusterRole("reader", read), builders.ClusterRole("another", read),
		builders.Bindable("clusterroles", "reader", "another"),
		builders.ClusterBinding("askers", "lapse-requester", builders.Group("askers")),
		builders.ClusterBinding("givers-back", "lapse-approver", builders.Group("askers")),
		builders.ClusterBinding("leads", "lapse-approver", builders.Group("leads")),
		builders.ClusterRole("ender", builders.Rule("lapse.dev", "accessrequests", "delete")),
		builders.ClusterBinding("enders", "ender", builders.Group("leads")))
}, NodeTimeout(3*time.Minute))

// row is one line of the table that a run prints.
type row struct {
	sweep      string
	runs       int
	violations int
	// judged says whether the invariants were evaluated.
	judged bool
	// late are how long after their deadline bindings were held.
	late  []time.Duration
	bound time.Duration
	note  string
}

var table []row

var reporting sync.Mutex

// report adds to the line of the sweep.
func report(r row) {
	reporting.Lock()
	defer reporting.Unlock()
	for i := range table {
		if t := &table[i]; t.sweep == r.sweep {
			t.runs, t.violations, t.bound = t.runs+r.runs, t.violations+r.violations, max(t.bound, r.bound)
			t.judged = t.judged && r.judged
			t.late = slices.Sorted(slices.Values(append(t.late, r.late...)))
			t.note = strings.Trim(t.note+"; "+r.note, "; ")
			return
		}
	}
	table = append(table, r)
}

var _ = ReportAfterSuite("the table", func(Report) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSWEEP\tRUNS\tVIOLATIONS\tENDED\tP50 LATE\tWORST LATE\tBOUND\tNOTE")
	for _, r := range table {
		p50, worst, bound, violations := "-", "-", "-", "-"
		if r.judged {
			violations = strconv.Itoa(r.violations)
		}
		if n := len(r.late); n > 0 {
			p50, worst = r.late[n/2].Round(time.Millisecond).String(), r.late[n-1].Round(time.Millisecond).String()
		}
		if r.bound > 0 {
			bound = r.bound.String()
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%s\t%s\t%s\t%s\n", r.sweep, r.runs, violations, len(r.late), p50, worst, bound, r.note)
	}
	_ = w.Flush() //nolint:errcheck // to the terminal
})
