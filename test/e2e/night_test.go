// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/faults"
	"github.com/lapse-dev/lapse/test/operator"
)

// The namespaces of the night, and the requests in it.
const (
	payments, orders, stock = "payments", "orders", "stock"

	tooMuch    = "too-much"
	debugging  = "debugging"
	inspecting = "inspecting"
	looking    = "looking"
	fixing     = "fixing"
	counting   = "counting"
)

// night is a control plane of its own, with an operator that is killed now and then, and five
// people of whom each call is in a ledger.
type night struct {
	*ledger
	dir   string
	plane *controlplane.ControlPlane
	admin client.Client

	alice, bob, carol, dave, erin *person

	own     *rest.Config
	proxy   *faults.Proxy
	sink    *receiver
	manager *operator.Manager
	kills   int

	// requests as they were last, by name.
	requests map[string]*v1alpha1.AccessRequest
}

var _ = Describe("A night in which five people work, one tampers and the operator is killed three times", func() {
	It("is told from files alone as it was, call by call, and no change of its records is missed", func(ctx SpecContext) {
		n := newNight(ctx)
		n.start(ctx)
		n.refusals(ctx)
		n.approvalAndKills(ctx)
		n.tampering(ctx)
		short, long := n.overlap(ctx)
		n.standing(ctx)
		n.ends(ctx, short, long)
		Expect(n.kills).To(Equal(3))
		n.stop(ctx)

		n.checkRecords(ctx)
		n.checkReport(ctx)
		n.checkUnused(ctx)
	}, SpecTimeout(5*time.Minute))
})

func newNight(ctx context.Context) *night {
	GinkgoHelper()
	n := &night{ledger: &ledger{}, dir: GinkgoT().TempDir(), requests: map[string]*v1alpha1.AccessRequest{}}
	n.plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true, Dir: filepath.Join(n.dir, "plane")})
	n.admin = operator.NewClient(GinkgoTB(), n.plane.AdminConfig())
	n.alice, n.bob, n.carol = n.person(n.plane, "alice", "askers"), n.person(n.plane, "bob", "askers"), n.person(n.plane, "carol", "askers")
	n.dave, n.erin = n.person(n.plane, "dave", "leads"), n.person(n.plane, "erin", "leads", "askers")

	debug := []rbacv1.PolicyRule{
		builders.Rule("", "configmaps", "get", "list", "create", "patch", "delete"), builders.Rule("", "pods/exec", "get", "create"),
	}
	leads := builders.Group("leads")
	operator.Create(ctx, GinkgoTB(), n.admin,
		builders.Namespace(payments), builders.Namespace(orders), builders.Namespace(stock),
		builders.ClusterRole("debugger", debug...),
		builders.ClusterRole("inspector", builders.Rule("", "configmaps", "get", "list"), builders.Rule("", "events", "list")),
		builders.ClusterRole("lister", builders.Rule("", "services", "list"), builders.Rule("", "configmaps", "get")),
		builders.Bindable("clusterroles", "debugger", "inspector", "admin"),
		builders.ClusterBinding("askers", "lapse-requester", builders.Group("askers")),
		builders.ClusterBinding("leads", "lapse-approver", leads),
		builders.ClusterBinding("givers-back", "lapse-approver", builders.Group("askers")),
		builders.Binding(payments, "standing", "lister", builders.User("bob")),
		builders.Binding(stock, "standing", "admin", builders.User("erin")),
		builders.Policy("debugging").Allowing("debugger").In(payments).Build(),
		builders.Policy("inspecting").Allowing("inspector").In(payments).From(builders.User("alice"), builders.User("bob")).Build(),
		builders.Policy("fixing").Allowing("debugger").In(orders).From(builders.User("carol")).ApprovedBy(leads).Build(),
		builders.Policy("counting").Allowing("admin").In(stock).From(builders.User("bob")).ApprovedBy(leads).Build())
	newNode(ctx, n.admin, "stub")
	newPod(ctx, n.admin, payments, "checkout", "stub")

	n.own = operator.OwnConfig(ctx, GinkgoTB(), n.plane)
	var err error
	n.proxy, err = faults.NewProxy(n.own)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(n.proxy.Close)
	n.sink = newReceiver()
	DeferCleanup(func() error {
		if n.manager == nil {
			return nil
		}
		return n.manager.Stop()
	})
	return n
}

// start an operator, whose records go to a file and to the receiver.
func (n *night) start(ctx context.Context) {
	GinkgoHelper()
	m, err := operator.LaunchAs(n.proxy.Through(n.own), GinkgoWriter, "--record-to=file:"+n.records(), "--record-to="+n.sink.server.URL)
	Expect(err).NotTo(HaveOccurred())
	n.manager = m
	Expect(m.WaitReady(ctx)).To(Succeed())
}

// kill it with SIGKILL.
func (n *night) kill() {
	defer GinkgoRecover()
	n.kills++
	Expect(n.manager.Kill()).To(Succeed())
}

// killedAfter does something that has the operator make a call in a namespace. It is killed
// when the API server has done that, and before the operator learns so.
func (n *night) killedAfter(ctx context.Context, verb, resource, namespace string, do func()) {
	GinkgoHelper()
	over := make(chan struct{})
	kill := faults.Effect{Mute: true, After: func() {
		defer close(over)
		n.kill()
	}}
	n.proxy.Inject(faults.At(1, 1, func(c faults.Call) bool { return c.Namespace == namespace && c.Is(verb, resource) }, kill))
	do()
	Eventually(over).WithContext(ctx).Should(BeClosed())
	n.proxy.Inject(nil)
}

// refusals of a call before any grant, and of a request that no policy allows.
func (n *night) refusals(ctx context.Context) {
	GinkgoHelper()
	forbidden(n.alice.Get(under(ctx), keyIn(payments, "rates"), &corev1.ConfigMap{}))
	Expect(n.bob.List(ctx, &corev1.ServiceList{}, client.InNamespace(payments))).To(Succeed())
	n.ask(ctx, n.erin, builders.Request(tooMuch).In(payments).ForClusterRole("admin"))
	state := func() v1alpha1.RequestState { return n.request(ctx, tooMuch).Status.State }
	Eventually(state).WithContext(ctx).Should(Equal(v1alpha1.StateDenied))
}

// approvalAndKills is a grant after approval, in the middle of which the operator is killed,
// and its revocation, in the middle of which it is killed again.
func (n *night) approvalAndKills(ctx context.Context) {
	GinkgoHelper()
	req := n.ask(ctx, n.carol, builders.Request(fixing).In(orders).ForClusterRole("debugger").Lasting(time.Hour))
	n.await(ctx, fixing, v1alpha1.ReasonPendingApproval)
	n.killedAfter(ctx, "create", "rolebindings", orders, func() { n.decide(ctx, n.dave, req, v1alpha1.VerdictApprove) })
	Expect(n.bindings(ctx, orders)).To(HaveLen(1), "it is there")
	Expect(n.request(ctx, fixing).Status.State).To(Equal(v1alpha1.StatePending), "and nobody wrote that down")
	n.start(ctx)
	n.await(ctx, fixing, v1alpha1.ReasonGranted)

	n.may(ctx, n.carol, "create", "configmaps", orders, true)
	Expect(n.carol.Create(under(ctx, fixing), configMapIn(orders, "retries"))).To(Succeed())
	Expect(n.carol.Delete(under(ctx, fixing), configMapIn(orders, "retries"))).To(Succeed())
	forbidden(n.carol.Get(under(ctx), keyIn(payments, "rates"), &corev1.ConfigMap{})) // elsewhere than granted
	forbidden(n.carol.List(under(ctx), &corev1.SecretList{}, client.InNamespace(orders)))

	n.killedAfter(ctx, "delete", "rolebindings", orders, func() { n.decide(ctx, n.erin, req, v1alpha1.VerdictRevoke) })
	Expect(n.bindings(ctx, orders)).To(BeEmpty(), "it is gone")
	Expect(n.request(ctx, fixing).Status.State).To(Equal(v1alpha1.StateActive), "and nobody wrote that down")
	n.may(ctx, n.carol, "create", "configmaps", orders, false)
	forbidden(n.carol.Get(under(ctx), keyIn(orders, "retries"), &corev1.ConfigMap{}))
	n.start(ctx)
	n.await(ctx, fixing, v1alpha1.ReasonRevoked)
}

// tampering with a RoleBinding of Lapse: its holder may not prolong it, and who administers the
// namespace for good empties it.
func (n *night) tampering(ctx context.Context) {
	GinkgoHelper()
	req := n.ask(ctx, n.bob, builders.Request(counting).In(stock).ForClusterRole("admin").Lasting(time.Hour))
	n.await(ctx, counting, v1alpha1.ReasonPendingApproval)
	n.decide(ctx, n.erin, req, v1alpha1.VerdictApprove)
	n.await(ctx, counting, v1alpha1.ReasonGranted)
	n.may(ctx, n.bob, "create", "configmaps", stock, true)
	Expect(n.bob.Create(under(ctx, counting), configMapIn(stock, "count"))).To(Succeed())
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: stock, Name: "none"}}
	forbidden(n.bob.Create(under(ctx), quota)) // admin does not include it

	b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: stock, Name: n.request(ctx, counting).Status.Grant.Binding}}
	longer := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"lapse.dev/expires-at":"2099-01-01T00:00:00Z"}}}`))
	Expect(n.bob.Patch(under(ctx, counting), b.DeepCopy(), longer)).To(MatchError(ContainSubstring("may only lose subjects and finalizers")))
	Expect(n.erin.Patch(ctx, b, client.RawPatch(types.MergePatchType, []byte(`{"subjects":null}`)))).To(Succeed())
	n.await(ctx, counting, v1alpha1.ReasonTampered)
	n.may(ctx, n.bob, "create", "configmaps", stock, false)
	forbidden(n.bob.Create(under(ctx), configMapIn(stock, "more")))
}

// overlap of two grants of one person, with an exec that ends in time and one that does not.
func (n *night) overlap(ctx context.Context) (short, long *session) {
	GinkgoHelper()
	n.ask(ctx, n.alice, builders.Request(debugging).In(payments).ForClusterRole("debugger").Lasting(time.Hour))
	n.await(ctx, debugging, v1alpha1.ReasonGranted)
	n.may(ctx, n.alice, "create", "configmaps", payments, true)
	Expect(n.alice.Create(under(ctx, debugging), configMapIn(payments, "rates"))).To(Succeed())
	forbidden(n.alice.List(under(ctx), &corev1.EventList{}, client.InNamespace(payments)))
	short, long = n.exec(under(ctx, debugging), n.alice, payments, "checkout"), n.exec(under(ctx, debugging), n.alice, payments, "checkout")
	short.talk()
	n.hangUp(ctx, short)

	n.ask(ctx, n.alice, builders.Request(inspecting).In(payments).ForClusterRole("inspector").Lasting(15*time.Second))
	n.await(ctx, inspecting, v1alpha1.ReasonGranted)
	n.may(ctx, n.alice, "list", "events", payments, true)
	Expect(n.alice.List(under(ctx, inspecting), &corev1.EventList{}, client.InNamespace(payments))).To(Succeed())
	more := client.RawPatch(types.MergePatchType, []byte(`{"data":{"eur":"1.17"}}`))
	Expect(n.alice.Patch(under(ctx, debugging), configMapIn(payments, "rates"), more)).To(Succeed())
	for range 6 { // the API server names either
		Expect(n.alice.Get(under(ctx, debugging, inspecting), keyIn(payments, "rates"), &corev1.ConfigMap{})).To(Succeed())
	}
	forbidden(n.alice.List(under(ctx), &corev1.SecretList{}, client.InNamespace(payments)))
	return short, long
}

// standing is a right of one person beside his grant. The operator is killed when it has
// granted that, and before anybody took the record of it.
func (n *night) standing(ctx context.Context) {
	GinkgoHelper()
	hung := n.sink.hangAt(audit.Granted, looking)
	n.ask(ctx, n.bob, builders.Request(looking).In(payments).ForClusterRole("inspector").Lasting(time.Hour))
	n.await(ctx, looking, v1alpha1.ReasonGranted)
	Eventually(hung).WithContext(ctx).Should(BeClosed())
	n.kill()
	Expect(typesOf(n.sink.all(), looking)).To(Equal([]audit.Type{audit.Asked}))
	n.start(ctx)
	Eventually(func() []audit.Type { return typesOf(n.sink.all(), looking) }).WithContext(ctx).
		Should(Equal([]audit.Type{audit.Asked, audit.Granted}))

	n.may(ctx, n.bob, "list", "events", payments, true)
	Expect(n.bob.List(under(ctx, looking), &corev1.EventList{}, client.InNamespace(payments))).To(Succeed())
	Expect(n.bob.List(ctx, &corev1.ServiceList{}, client.InNamespace(payments))).To(Succeed())
	for range 6 { // his standing right allows it, too
		Expect(n.bob.Get(under(ctx, looking, elsewhere), keyIn(payments, "rates"), &corev1.ConfigMap{})).To(Succeed())
	}
	forbidden(n.bob.Create(under(ctx), configMapIn(payments, "more")))
}

// ends of what alice held: one by time, whose request is deleted then, and one that she gives
// back while she is in a pod still.
func (n *night) ends(ctx context.Context, short, long *session) {
	GinkgoHelper()
	n.await(ctx, inspecting, v1alpha1.ReasonExpired)
	n.decide(ctx, n.alice, n.request(ctx, debugging), v1alpha1.VerdictRevoke)
	n.await(ctx, debugging, v1alpha1.ReasonReturned)
	n.may(ctx, n.alice, "create", "configmaps", payments, false)
	end := n.requests[debugging].Status.Grant.EndedAt.Time
	Eventually(time.Now).WithContext(ctx).Should(BeTemporally(">", end.Add(2*time.Second)))
	forbidden(n.alice.Get(under(ctx), keyIn(payments, "rates"), &corev1.ConfigMap{}))
	long.talk()
	n.hangUp(ctx, long)
	Expect(short.call.closed).To(BeTemporally("<", end))
	for name := range n.requests {
		n.request(ctx, name)
	}
	Expect(n.admin.Delete(ctx, n.requests[inspecting])).To(Succeed())
}

// transitions of each request that have to be told.
var transitions = map[string][]audit.Type{
	tooMuch:    {audit.Asked, audit.Refused},
	fixing:     {audit.Asked, audit.Approved, audit.Granted, audit.Revoked, audit.Ended},
	counting:   {audit.Asked, audit.Approved, audit.Granted, audit.Ended},
	debugging:  {audit.Asked, audit.Granted, audit.Revoked, audit.Ended},
	inspecting: {audit.Asked, audit.Granted, audit.Ended, audit.Forgotten},
	looking:    {audit.Asked, audit.Granted},
}

// stop all, once all is told.
func (n *night) stop(ctx context.Context) {
	GinkgoHelper()
	for name, want := range transitions {
		Eventually(func() []audit.Type { return typesOf(n.file(n.records()), name) }).WithContext(ctx).Should(Equal(want), name)
		Eventually(func() []audit.Type { return typesOf(n.sink.all(), name) }).WithContext(ctx).Should(Equal(want), name)
	}
	Expect(n.manager.Stop()).To(Succeed())
	Expect(n.plane.Stop()).To(Succeed())
	Expect(os.WriteFile(filepath.Join(n.dir, "receiver.jsonl"), n.sink.all(), 0o600)).To(Succeed())
}

// checkRecords verifies what both sinks have. Operators were killed, so it is unclear.
func (n *night) checkRecords(ctx context.Context) {
	GinkgoHelper()
	for _, file := range []string{"receiver.jsonl", "records.jsonl"} {
		typed := n.typed(ctx, "kubectl-lapse audit verify --json "+file)
		Expect(typed.Code).To(Equal(3), typed.Stdout+typed.Stderr)
		var verdict struct {
			Findings []audit.Finding
			Open     []string
			Heads    []audit.Head
		}
		Expect(json.Unmarshal([]byte(typed.Stdout), &verdict)).To(Succeed())
		Expect(verdict.Findings).To(BeEmpty(), file)
		Expect(verdict.Heads).To(HaveLen(1+n.kills), file)
		Expect(verdict.Open).To(HaveLen(n.kills), file)
		heads := filepath.Join(n.dir, "heads.json")
		Expect(os.WriteFile(heads, []byte(typed.Stdout), 0o600)).To(Succeed())
		typed = n.typed(ctx, "kubectl-lapse audit verify --head heads.json "+file)
		Expect(typed.Code).To(BeElementOf(0, 3), "no chain was cut off: "+typed.Stdout+typed.Stderr)

		seed := uint64(GinkgoRandomSeed())
		const changes = 1000
		AddReportEntry("changes", fmt.Sprintf("%d at random in %s, seed %d", changes, file, seed))
		random := rand.New(rand.NewPCG(seed, 19)) //nolint:gosec // the same for the same seed
		Expect(missed(random, n.file(filepath.Join(n.dir, file)), verdict.Heads, changes)).To(BeEmpty(), "seed %d", seed)
	}
}

// checkReport compares it with the ledger.
func (n *night) checkReport(ctx context.Context) {
	GinkgoHelper()
	log, err := n.plane.AuditEvents(0)
	Expect(err).NotTo(HaveOccurred())
	n.compare(log, []string{"alice", "bob", "carol", "dave", "erin"})

	histories := n.histories(ctx, n.plane.AuditLog())
	Expect(histories).To(HaveLen(len(n.requests)))
	named, refusals := n.checkNames(histories), 0
	for i := range histories {
		h := &histories[i]
		req := n.requests[h.Request.Name]
		Expect(req).NotTo(BeNil(), h.Request.Name)
		By("the history of " + req.Name)
		checkHistory(h, req)
		if h.Grant == nil {
			Expect(h.Calls).To(BeEmpty())
			continue
		}
		calls, others, refused := n.expected(grantOf(req), named)
		Expect(h.Calls).To(ConsistOf(calls), "allowed by it")
		Expect(h.Others).To(ConsistOf(others), "allowed by something else")
		Expect(h.Refused).To(ConsistOf(refused))
		Expect(calls).NotTo(BeEmpty())
		refusals += len(refused)
	}
	Expect(refusals).To(BeNumerically(">", 0))
	// Both ways in which something else allows a call did occur, and a session that went on.
	calls, _, _ := n.expected(grantOf(n.requests[debugging]), named)
	Expect(calls).To(ContainElement(And(HaveField("Session", true), HaveField("Outlived", true))))
	Expect(calls).To(ContainElement(And(HaveField("Session", true), HaveField("Outlived", false))))
	_, others, _ := n.expected(grantOf(n.requests[inspecting]), named)
	Expect(others).To(ContainElement(HaveField("AllowedByGrant", payments+"/"+debugging)))
	_, others, _ = n.expected(grantOf(n.requests[looking]), named)
	Expect(others).To(ContainElement(And(HaveField("Resource", "services"), HaveField("AllowedByGrant", elsewhere))))
	n.checkClouds(ctx, histories)
}

// histories that a report tells by the records and a log, all of which it has to understand.
func (n *night) histories(ctx context.Context, log string) (told []history) {
	GinkgoHelper()
	typed := n.typed(ctx, "kubectl-lapse report --records records.jsonl -o json --audit-log "+log)
	Expect(typed.Code).To(Equal(0), typed.Stderr)
	Expect(typed.Stderr).To(BeEmpty(), "all of the log was understood")
	Expect(json.Unmarshal([]byte(typed.Stdout), &told)).To(Succeed())
	return told
}

// checkUnused has what carol did not need of her role: all but two verbs.
func (n *night) checkUnused(ctx context.Context) {
	GinkgoHelper()
	command := "kubectl-lapse report --records records.jsonl --unused -o json --audit-log " + n.plane.AuditLog()
	typed := n.typed(ctx, command+" --request "+fixing)
	Expect(typed.Code).To(Equal(0), typed.Stdout+typed.Stderr)
	var told []struct {
		Calls      int
		Suggestion rbacv1.ClusterRole
	}
	Expect(json.Unmarshal([]byte(typed.Stdout), &told)).To(Succeed())
	Expect(told).To(HaveLen(1))
	Expect(told[0].Calls).To(Equal(2))
	Expect(told[0].Suggestion.Rules).To(Equal([]rbacv1.PolicyRule{builders.Rule("", "configmaps", "create", "delete")}))

	typed = n.typed(ctx, "kubectl-lapse report --records records.jsonl --unused --request "+fixing)
	Expect(typed.Code).To(Equal(4), "without a log: "+typed.Stdout+typed.Stderr)
}

// checkHistory holds what is told of a request against what it was in the cluster.
func checkHistory(h *history, req *v1alpha1.AccessRequest) {
	GinkgoHelper()
	Expect(h.Request.UID).To(Equal(req.UID))
	Expect(h.Request.Reason).To(Equal(req.Spec.Reason))
	Expect(h.Request.Requester).To(Equal(req.Spec.Requester))
	Expect(h.Request.Subject).To(Equal(req.Spec.Subject))
	Expect(h.Request.Approvals).To(HaveLen(len(req.Status.Approvals)))
	Expect(h.Decisions).To(HaveLen(map[string]int{fixing: 2, counting: 1, debugging: 1}[req.Name]))
	Expect(h.Forgotten != nil).To(Equal(req.Name == inspecting))
	if req.Status.Grant == nil {
		Expect(h.Grant).To(BeNil())
		return
	}
	Expect(h.Grant.Binding).To(Equal(req.Status.Grant.Binding))
	Expect(h.Grant.GrantedAt).To(BeTemporally("==", req.Status.Grant.GrantedAt.Time))
	Expect(h.Grant.EndReason).To(Equal(map[string]string{
		fixing: v1alpha1.ReasonRevoked, counting: v1alpha1.ReasonTampered, debugging: v1alpha1.ReasonReturned, inspecting: v1alpha1.ReasonExpired,
	}[req.Name]))
}

// grantOf a request, up to its end or, while that has not come, to when it will.
func grantOf(req *v1alpha1.AccessRequest) *held {
	g := req.Status.Grant
	out := &held{request: req.Name, namespace: req.Namespace, holder: req.Spec.Subject.Name, from: g.GrantedAt.Time, until: g.ExpiresAt.Time}
	if g.EndedAt != nil {
		out.until = g.EndedAt.Time
	}
	return out
}

func (n *night) records() string { return filepath.Join(n.dir, "records.jsonl") }

func (n *night) file(path string) []byte {
	GinkgoHelper()
	data, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	return data
}

// typed is what a command prints in the folder of the files.
func (n *night) typed(ctx context.Context, command string) operator.Typed {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	path := "PATH=" + filepath.Join(root, "bin") + string(os.PathListSeparator) + os.Getenv("PATH")
	typed, err := operator.Type(ctx, n.dir, []string{"HOME=" + n.dir, path}, command)
	Expect(err).NotTo(HaveOccurred())
	return typed
}

func (n *night) ask(ctx context.Context, who *person, b builders.RequestBuilder) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := b.Build()
	Expect(who.Create(ctx, req)).To(Succeed())
	n.requests[req.Name] = req
	return req
}

func (n *night) decide(ctx context.Context, who *person, req *v1alpha1.AccessRequest, verdict v1alpha1.Verdict) {
	GinkgoHelper()
	Expect(who.Create(ctx, builders.Decision(req.Name+"-by-"+who.name, req, verdict))).To(Succeed())
}

// request as it is now.
func (n *night) request(ctx context.Context, name string) *v1alpha1.AccessRequest {
	GinkgoHelper()
	req := n.requests[name]
	Expect(n.admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
	return req
}

func (n *night) await(ctx context.Context, name, reason string) {
	GinkgoHelper()
	Eventually(func() string { return operator.Reason(n.request(ctx, name)) }).WithContext(ctx).Should(Equal(reason), name)
}

// may waits until the API server says so, or that somebody may not. It does a moment after a
// RoleBinding came or went.
func (n *night) may(ctx context.Context, who *person, verb, resource, namespace string, want bool) {
	GinkgoHelper()
	Eventually(operator.Allowed).WithContext(ctx).WithArguments(n.admin, who.name, verb, resource, namespace).Should(Equal(want))
}

func (n *night) bindings(ctx context.Context, namespace string) []rbacv1.RoleBinding {
	GinkgoHelper()
	list := &rbacv1.RoleBindingList{}
	Expect(n.admin.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})).
		To(Succeed())
	return list.Items
}

// hangUp closes a session, and waits until the log has its end.
func (n *night) hangUp(ctx context.Context, s *session) {
	GinkgoHelper()
	mark, err := n.plane.AuditMark()
	Expect(err).NotTo(HaveOccurred())
	s.close()
	Eventually(func(g Gomega) {
		log, err := n.plane.AuditEvents(mark)
		g.Expect(err).NotTo(HaveOccurred())
		over := And(HaveField("AuditID", types.UID(s.call.id)), HaveField("Stage", auditv1.StageResponseComplete))
		g.Expect(log).To(ContainElement(over))
	}).WithContext(ctx).Should(Succeed())
}

func forbidden(err error) {
	GinkgoHelper()
	Expect(err).To(MatchError(apierrors.IsForbidden, "forbidden"))
}

func keyIn(namespace, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: name}
}

func configMapIn(namespace, name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}
