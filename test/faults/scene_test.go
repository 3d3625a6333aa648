// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// running is a manager that is started again whenever it ends, behind a proxy.
type running struct {
	proxy   *Proxy
	args    []string
	current atomic.Pointer[operator.Manager]
	// down is set while it must not be started again.
	down    atomic.Bool
	starts  atomic.Int64
	since   controlplane.AuditMark
	stopped chan struct{}
}

// run starts a manager for the rest of the spec.
func run(ctx context.Context, args ...string) *running {
	GinkgoHelper()
	proxy, err := NewProxy(operatorConfig)
	Expect(err).NotTo(HaveOccurred())
	r := &running{proxy: proxy, args: args, stopped: make(chan struct{})}
	r.since, err = plane.AuditMark()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(r.close)
	Expect(r.start()).To(Succeed())
	go r.supervise()
	Expect(r.current.Load().WaitReady(ctx)).To(Succeed())
	return r
}

func (r *running) start() error {
	m, err := operator.LaunchAs(r.proxy.Through(operatorConfig), GinkgoWriter, r.args...)
	if err == nil {
		r.current.Store(m)
		r.starts.Add(1)
	}
	return err
}

func (r *running) supervise() {
	defer GinkgoRecover()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-r.stopped:
			tick.Stop()
			return
		case <-tick.C:
		}
		select {
		case <-r.current.Load().Done():
			if !r.down.Load() {
				Expect(r.start()).To(Succeed())
			}
		default:
		}
	}
}

func (r *running) close() error {
	close(r.stopped)
	r.proxy.Inject(nil)
	err := r.current.Load().Kill()
	r.proxy.Close()
	return err
}

// writes is how often it changed something in a namespace, by the API server's audit log.
func (r *running) writes(ns string) int64 {
	GinkgoHelper()
	events, err := plane.Writes(r.since, operator.Username)
	Expect(err).NotTo(HaveOccurred())
	n := int64(0)
	for _, e := range events {
		if e.ObjectRef.Namespace == ns && e.ResponseStatus.Code < 300 && !strings.Contains(e.RequestURI, "dryRun=All") {
			n++
		}
	}
	return n
}

// kill is kill -9. It comes back by itself.
func (r *running) kill() { _ = r.current.Load().Kill() } //nolint:errcheck // it may have ended

// stop kills the manager for good, until resume.
func (r *running) stop() {
	r.down.Store(true)
	r.kill()
}

// resume starts it again and waits until it is ready.
func (r *running) resume(ctx context.Context) {
	GinkgoHelper()
	Expect(r.start()).To(Succeed())
	r.down.Store(false)
	Expect(r.current.Load().WaitReady(ctx)).To(Succeed())
}

// scene is some namespaces with a policy of their own, and what happens in them.
type scene struct {
	ns     string
	others []string
	mark   controlplane.AuditMark
	bounds Bounds
	// undisturbed says that nothing fails: each write comes, and can be waited for before
	// a namespace takes no more.
	undisturbed bool
}

// newScene is a namespace in which alice may have reader, after bob's approval if it
// is wanted.
func newScene(ctx context.Context, late time.Duration, approved bool) *scene {
	GinkgoHelper()
	mark, err := plane.AuditMark()
	Expect(err).NotTo(HaveOccurred())
	s := &scene{mark: mark, bounds: Bounds{Operator: operator.Username, Late: late}}
	s.ns = newNamespace(ctx)
	p := builders.Policy("p-" + s.ns).Allowing("reader").In(s.ns)
	if approved {
		p = p.ApprovedBy(builders.Group("leads"))
	}
	Expect(admin.Create(ctx, p.Build())).To(Succeed())
	DeferCleanup(func(ctx SpecContext) {
		// Or the next manager would begin with revoking all that is left.
		for _, ns := range s.namespaces() {
			Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(ns))).To(Succeed())
		}
		Expect(client.IgnoreNotFound(admin.Delete(ctx, p.Build()))).To(Succeed())
	})
	return s
}

func newNamespace(ctx context.Context) string {
	GinkgoHelper()
	return operator.NewNamespace(ctx, GinkgoTB(), admin)
}

func (s *scene) namespaces() []string { return append([]string{s.ns}, s.others...) }

func (s *scene) has(namespace string) bool { return slices.Contains(s.namespaces(), namespace) }

// request is one for reader.
func (s *scene) request(name string) builders.RequestBuilder {
	return builders.Request(name).In(s.ns).ForClusterRole("reader").Lasting(time.Hour)
}

// ask creates a request as alice. An API server that was started a moment ago does not
// know its kinds yet.
func ask(ctx context.Context, b builders.RequestBuilder) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := b.Build()
	Eventually(func() error { return alice.Create(ctx, req) }).WithContext(ctx).Should(Succeed())
	return req
}

// state is what there is in the scene.
func (s *scene) state(ctx context.Context) State {
	GinkgoHelper()
	out := State{}
	requests, bindings, decisions := &v1alpha1.AccessRequestList{}, &rbacv1.RoleBindingList{}, &v1alpha1.AccessDecisionList{}
	for _, ns := range s.namespaces() {
		// Bindings first: what is granted in between has a request by then.
		Expect(admin.List(ctx, bindings, client.InNamespace(ns))).To(Succeed())
		Expect(admin.List(ctx, decisions, client.InNamespace(ns))).To(Succeed())
		out.Decisions = append(out.Decisions, decisions.Items...)
		Expect(admin.List(ctx, requests, client.InNamespace(ns))).To(Succeed())
		out.Requests = append(out.Requests, requests.Items...)
		for _, b := range bindings.Items {
			if strings.HasPrefix(b.Name, v1alpha1.BindingPrefix) {
				out.Bindings = append(out.Bindings, b)
			}
		}
	}
	out.Now = time.Now()
	return out
}

func (s *scene) history() *History {
	GinkgoHelper()
	events, err := plane.AuditedWrites(s.mark)
	Expect(err).NotTo(HaveOccurred())
	h, err := NewHistory(events, s.has)
	Expect(err).NotTo(HaveOccurred())
	return h
}

// statePolling is for what reads all of a scene: hundreds of objects, read without a pause,
// take the time of the API server from the operator. When access ended is in the audit log.
const statePolling = 100 * time.Millisecond

// converge is I5: it waits until nothing is unsettled.
func (s *scene) converge(ctx context.Context) time.Duration {
	GinkgoHelper()
	begun := time.Now()
	Eventually(func() []Violation { return Unsettled(s.state(ctx)) }, 30*time.Second, statePolling).WithContext(ctx).Should(BeEmpty())
	return time.Since(begun)
}

// judge evaluates all invariants of what happened, and adds a line to the table.
func (s *scene) judge(ctx context.Context, r row) {
	GinkgoHelper()
	h, now := s.history(), s.state(ctx)
	found := append(Evaluate(h, now, s.bounds), Unrecorded(h)...)
	r.judged, r.violations, r.late, r.bound = true, len(found), Lateness(h, now, s.bounds), s.bounds.Late
	if n := Misnamed(h); n > 0 {
		r.note = strings.Trim(fmt.Sprintf("%s; %d revoked, recorded as Expired", r.note, n), "; ")
	}
	report(r)
	Expect(found).To(BeEmpty())
	Expect(h.Requests).NotTo(BeEmpty(), "nothing was judged")
}

// await reads the request until it has the reason.
func await(ctx context.Context, req *v1alpha1.AccessRequest, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
		g.Expect(operator.Reason(req)).To(Equal(reason))
	}).WithContext(ctx).Should(Succeed())
}

// decide creates a decision.
func decide(ctx context.Context, as client.Client, req *v1alpha1.AccessRequest, verdict v1alpha1.Verdict) {
	GinkgoHelper()
	d := builders.Decision(req.Name+"-"+strings.ToLower(string(verdict)), req, verdict)
	Expect(as.Create(ctx, d)).To(Succeed())
}

// workers is how many clients a test uses at once, as many as the operator has.
const workers = 16

// each calls do for 0 to n-1 from several goroutines.
func each(n int, do func(int)) {
	GinkgoHelper()
	next := make(chan int)
	done := make(chan struct{})
	for range workers {
		go func() {
			defer func() { done <- struct{}{} }()
			for i := range next {
				func() {
					defer GinkgoRecover()
					do(i)
				}()
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	for range workers {
		<-done
	}
}

// active waits until n requests of the scene are.
func (s *scene) active(ctx context.Context, n int) {
	GinkgoHelper()
	s.activeWithin(ctx, n, 8*time.Minute)
}

func (s *scene) activeWithin(ctx context.Context, n int, limit time.Duration, why ...any) {
	GinkgoHelper()
	Eventually(func() (active int) {
		list := &metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequestList"},
		}
		Expect(admin.List(ctx, list, client.MatchingFields{"status.state": string(v1alpha1.StateActive)})).To(Succeed())
		for i := range list.Items {
			if s.has(list.Items[i].Namespace) {
				active++
			}
		}
		return active
	}, limit, 100*time.Millisecond+time.Duration(n)*300*time.Microsecond).WithContext(ctx).Should(Equal(n), why...)
}

// until waits for a moment.
func until(ctx context.Context, t time.Time) {
	GinkgoHelper()
	Eventually(func() bool { return !time.Now().Before(t) }, time.Until(t)+time.Minute).WithContext(ctx).Should(BeTrue())
}

// down notes a time in which nothing could end access.
func (s *scene) down(from, to time.Time) {
	s.bounds.Down = append(s.bounds.Down, Interval{from, to})
}

// revocation is a decision that gives access back.
func revocation(req *v1alpha1.AccessRequest) *v1alpha1.AccessDecision {
	return builders.Decision(req.Name+"-back", req, v1alpha1.VerdictRevoke)
}

func keyOf(obj client.Object) client.ObjectKey { return client.ObjectKeyFromObject(obj) }
