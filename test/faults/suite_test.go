// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
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
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/api/v1alpha1"
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
	var err error
	plane, err = controlplane.Start(ctx, controlplane.Options{ControllerManager: true, AuditObjects: true})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() error { return plane.Stop() })
	Expect(operator.Install(ctx, plane)).To(Succeed())
	admin = clientOf(plane.AdminConfig())
	alice, bob = user("alice", "askers"), user("bob", "leads")
	operatorConfig, err = plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
	Expect(err).NotTo(HaveOccurred())
	asOperator = clientOf(operatorConfig)
	createRoles(ctx)
}, NodeTimeout(3*time.Minute))

func createRoles(ctx context.Context) {
	GinkgoHelper()
	for _, name := range []string{"reader", "another"} {
		Expect(admin.Create(ctx, clusterRole(name, nil, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list"}}))).To(Succeed())
	}
	Expect(admin.Create(ctx, clusterRole("bindable", map[string]string{v1alpha1.BindableLabel: "true"}, rbacv1.PolicyRule{
		APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{"reader", "another"}, Verbs: []string{"bind"},
	}))).To(Succeed())
	for name, group := range map[string]string{"lapse-requester": "askers", "lapse-approver": "leads"} {
		Expect(admin.Create(ctx, clusterBinding(group, name, group))).To(Succeed())
	}
	Expect(admin.Create(ctx, clusterBinding("givers-back", "lapse-approver", "askers"))).To(Succeed())
	Expect(admin.Create(ctx, clusterRole("ender", nil, rbacv1.PolicyRule{
		APIGroups: []string{"lapse.dev"}, Resources: []string{"accessrequests"}, Verbs: []string{"delete"},
	}))).To(Succeed())
	Expect(admin.Create(ctx, clusterBinding("enders", "ender", "leads"))).To(Succeed())
}

func clusterRole(name string, labels map[string]string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Rules: rules}
}

func clusterBinding(name, role, group string) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: group}},
	}
}

func clientOf(config *rest.Config) client.Client {
	GinkgoHelper()
	c, err := operator.Client(config)
	Expect(err).NotTo(HaveOccurred())
	return c
}

func user(name string, groups ...string) client.Client {
	GinkgoHelper()
	config, err := plane.User(name, groups...)
	Expect(err).NotTo(HaveOccurred())
	return clientOf(config)
}

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
