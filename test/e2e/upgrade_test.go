// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// release is another version of Lapse: its admission policies all differ from those here, and
// there is one more.
type release struct{ policies, manager string }

// nextRelease is built from this source, with other policies inside.
func nextRelease(ctx context.Context) release {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	folder := GinkgoT().TempDir()
	next := release{policies: filepath.Join(folder, "policies"), manager: filepath.Join(folder, "manager")}
	Expect(os.Mkdir(next.policies, 0o755)).To(Succeed())
	replaced := map[string]string{filepath.Join(root, "config", "admission", "added.yaml"): filepath.Join(next.policies, "added.yaml")}
	files, err := filepath.Glob(filepath.Join(root, "config", "admission", "*.yaml"))
	Expect(err).NotTo(HaveOccurred())
	for _, file := range files {
		data, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		to := filepath.Join(next.policies, filepath.Base(file))
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		Expect(os.WriteFile(to, changed(data), 0o600)).To(Succeed())
		replaced[file] = to
	}
	Expect(os.WriteFile(filepath.Join(next.policies, "added.yaml"), []byte(added), 0o600)).To(Succeed())

	overlay := filepath.Join(folder, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": replaced})
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(overlay, text, 0o600)).To(Succeed())
	build := exec.CommandContext(ctx, "go", "build", "-overlay", overlay, "-o", next.manager, ".")
	build.Dir = root
	out, err := build.CombinedOutput()
	Expect(err).NotTo(HaveOccurred(), string(out))
	return next
}

// changed gives each policy a variable more.
func changed(data []byte) []byte {
	GinkgoHelper()
	var out bytes.Buffer
	for text := range strings.SplitSeq(string(data), "\n---\n") {
		obj := &unstructured.Unstructured{}
		Expect(yaml.Unmarshal([]byte(text), &obj.Object)).To(Succeed())
		if obj.GetKind() == "ValidatingAdmissionPolicy" {
			variables, _, err := unstructured.NestedSlice(obj.Object, "spec", "variables")
			Expect(err).NotTo(HaveOccurred())
			variables = append(variables, map[string]any{"name": "version", "expression": "2"})
			Expect(unstructured.SetNestedSlice(obj.Object, variables, "spec", "variables")).To(Succeed())
		}
		text, err := yaml.Marshal(obj.Object)
		Expect(err).NotTo(HaveOccurred())
		fmt.Fprintf(&out, "---\n%s", text)
	}
	return out.Bytes()
}

// onTime is what docs/operations.md promises while replicas are replaced.
const onTime = 3 * time.Second

// added is a policy that only the next version ships.
const added = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: lapse-added
spec:
  failurePolicy: Fail
  matchConstraints:
    matchPolicy: Equivalent
    resourceRules:
    - {apiGroups: [lapse.dev], apiVersions: ["*"], operations: [CREATE], resources: [accesspolicies], scope: "*"}
  validations:
  - {expression: "object.metadata.name != 'never'"}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: lapse-added
spec:
  policyName: lapse-added
  validationActions: [Deny]
`

var _ = Describe("Another version of Lapse", Ordered, func() {
	var (
		next release
		ns   string
		bob  client.Client
	)
	// By kubectl, which applied the next: Helm would leave what it did not write.
	applyThis := func(ctx context.Context) {
		GinkgoHelper()
		Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-k", "config/admission")).To(Succeed())
	}
	BeforeAll(func(ctx SpecContext) {
		next = nextRelease(ctx)
		DeferCleanup(func(ctx SpecContext) {
			applyThis(ctx)
			added := filepath.Join(next.policies, "added.yaml")
			_, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "delete", "--ignore-not-found", "-f", added)
			Expect(err).NotTo(HaveOccurred(), stderr)
		})
		ns = newNamespace(ctx)
		create(ctx, builders.Binding(ns, "approvers", "lapse-approver", builders.User("bob")))
		bob = operator.NewUser(GinkgoTB(), plane, "bob")
		newPolicy(ctx, builders.Policy("soon-"+ns).From(builders.Group("askers")).Allowing("reader").In(ns))
		newPolicy(ctx, builders.Policy("approved-"+ns).From(builders.Group("askers")).Allowing("edit").In(ns).ApprovedBy(builders.User("bob")))
	}, NodeTimeout(3*time.Minute))

	applyNext := func(ctx context.Context) {
		GinkgoHelper()
		Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-f", next.policies)).To(Succeed())
	}
	launchNext := func(ctx context.Context) *operator.Manager {
		GinkgoHelper()
		config, err := plane.ServiceAccountConfig(ctx, operator.Namespace, operator.ServiceAccount)
		Expect(err).NotTo(HaveOccurred())
		m, err := operator.LaunchBinary(next.manager, config, GinkgoWriter, "--leader-elect")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(m.Stop)
		return m
	}

	It("takes over, and gives back, while a hundred grants run: no request is refused, and none ends late", func(ctx SpecContext) {
		const grants = 100
		this := startManager(ctx, "--leader-elect")
		begun := time.Now()
		askMany(ctx, alice, grants, func(i int) builders.RequestBuilder {
			end := begun.Add(20*time.Second + time.Duration(i)*400*time.Millisecond)
			return builders.Request(fmt.Sprintf("held-%03d", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour).NotAfter(end)
		})
		Eventually(func() int { return len(bindings(ctx, ns)) }).WithContext(ctx).Should(Equal(grants))
		ended := watchEnds(ctx, ns)
		asked := askOn(ctx, ns)

		By("applying the policies of the next version, and then its operator")
		waits := builders.Request("waits").In(ns).ForClusterRole("edit").Lasting(30 * time.Second).Build()
		Expect(alice.Create(ctx, waits)).To(Succeed())
		eventually(ctx, waits, v1alpha1.ReasonPendingApproval)
		applyNext(ctx)
		Eventually(func() int { return len(asked.with(ctx, v1alpha1.ReasonAdmissionNotEnforced)) }).WithContext(ctx).Should(BeNumerically(">", 2))
		Expect(bob.Create(ctx, builders.Decision("yes", waits, v1alpha1.VerdictApprove))).To(Succeed())
		newer := launchNext(ctx)
		Expect(newer.WaitReady(ctx)).To(Succeed())
		Expect(this.Stop()).To(Succeed())
		asked.allGranted(ctx)
		eventually(ctx, waits, v1alpha1.ReasonGranted)

		By("going back")
		applyThis(ctx)
		Eventually(func() int { return len(asked.with(ctx, v1alpha1.ReasonAdmissionNotEnforced)) }).WithContext(ctx).Should(BeNumerically(">", 2))
		startManager(ctx, "--leader-elect")
		Expect(newer.Stop()).To(Succeed())
		asked.allGranted(ctx)
		asked.stop()

		By("looking how late they ended")
		Eventually(func() int { return len(bindings(ctx, ns)) }).WithContext(ctx).WithTimeout(time.Minute).Should(BeZero())
		var latest time.Duration
		for range grants + len(asked.all) + 1 {
			var late time.Duration
			Eventually(ended).WithContext(ctx).Should(Receive(&late))
			Expect(late).To(BeNumerically(">=", 0), "early")
			latest = max(latest, late)
		}
		AddReportEntry("two versions", fmt.Sprintf("the last of %d ended %s after its deadline", grants+len(asked.all)+1, latest))
		Expect(latest).To(BeNumerically("<=", onTime))
	}, SpecTimeout(4*time.Minute))

	It("counts on no request from before it, if a policy was weakened on the way", func(ctx SpecContext) {
		By("having an operator note what is good")
		this := startManager(ctx, "--leader-elect")
		Expect(this.Stop()).To(Succeed())
		By("weakening the policy that proves who asks, and asking in the name of alice")
		_, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "patch", "validatingadmissionpolicy", "lapse-requester", "--type=json",
			`-p=[{"op": "replace", "path": "/spec/validations", "value": [{"expression": "true"}]}]`)
		Expect(err).NotTo(HaveOccurred(), stderr)
		mallory := operator.NewUser(GinkgoTB(), plane, "mallory", "askers")
		forged := builders.Request("forged").In(ns).ForClusterRole("reader").Lasting(time.Minute).
			By("alice", "askers", "system:authenticated").To(builders.User("alice")).Build()
		Eventually(func() error { return mallory.Create(ctx, forged) }).WithContext(ctx).Should(Succeed())

		By("upgrading")
		applyNext(ctx)
		newer := launchNext(ctx)
		Expect(newer.WaitReady(ctx)).To(Succeed())
		eventually(ctx, forged, v1alpha1.ReasonAdmissionGap)
		Expect(newer.Stop()).To(Succeed())
	}, SpecTimeout(2*time.Minute))
})

// Where a kind has one more field, lapse-policy-author has another digest of all of them:
// config/crd holds that.
var _ = Describe("A version that does not know a field which narrows a policy", func() {
	It("grants nothing beside the admission policies of one that does, and ends on time what is held", func(ctx SpecContext) {
		startManager(ctx)
		ns := newNamespace(ctx)
		newPolicy(ctx, builders.Policy("narrow-"+ns).From(builders.Group("askers")).Allowing("reader").In(ns))
		held := builders.Request("held").In(ns).ForClusterRole("reader").Lasting(15 * time.Second).Build()
		Expect(alice.Create(ctx, held)).To(Succeed())
		eventually(ctx, held, v1alpha1.ReasonGranted)
		ended := watchEnds(ctx, ns)
		patch := func(ctx context.Context, args ...string) string {
			GinkgoHelper()
			stdout, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), append([]string{"patch"}, args...)...)
			Expect(err).NotTo(HaveOccurred(), stderr)
			return stdout
		}
		const at = `"/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/nobodyElse"`
		DeferCleanup(func(ctx SpecContext) {
			patch(ctx, "crd", "accesspolicies.lapse.dev", "--type=json", `-p=[{"op": "remove", "path": `+at+`}]`)
			Expect(operator.Install(ctx, plane)).To(Succeed())
		})

		By("applying what of the next version differs, and then a policy with the field")
		patch(ctx, "crd", "accesspolicies.lapse.dev", "--type=json", `-p=[{"op": "add", "path": `+at+`, "value": {"type": "boolean"}}]`)
		patch(ctx, "validatingadmissionpolicy", "lapse-policy-author",
			`-p={"spec": {"variables": [{"name": "knownFields", "expression": "'those of the next version'"}]}}`)
		Eventually(func() string { // it drops the field until it serves the schema
			return patch(ctx, "accesspolicy", "narrow-"+ns, "--type=merge", `-p={"spec": {"nobodyElse": true}}`, "-o=jsonpath={.spec.nobodyElse}")
		}).WithContext(ctx).Should(Equal("true"))

		asked := builders.Request("asked").In(ns).ForClusterRole("reader").Lasting(time.Minute).Build()
		Expect(alice.Create(ctx, asked)).To(Succeed())
		eventually(ctx, asked, v1alpha1.ReasonAdmissionNotEnforced)
		Eventually(ended).WithContext(ctx).Should(Receive(And(BeNumerically(">=", 0), BeNumerically("<=", onTime))))
		Expect(bindings(ctx, ns)).To(BeEmpty())
		eventually(ctx, asked, v1alpha1.ReasonAdmissionNotEnforced)
	}, SpecTimeout(time.Minute))
})

// stream is somebody who asks on and on.
type stream struct {
	ns   string
	stop func()
	mu   sync.Mutex
	all  []*v1alpha1.AccessRequest
}

// askOn has alice ask for access five times a second until she is stopped.
func askOn(ctx context.Context, ns string) *stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &stream{ns: ns}
	var asking sync.WaitGroup
	s.stop = func() { cancel(); asking.Wait() }
	DeferCleanup(s.stop)
	asking.Go(func() {
		defer GinkgoRecover()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
			req := builders.Request(fmt.Sprintf("asked-%04d", i)).In(ns).ForClusterRole("reader").Lasting(10 * time.Second).Build()
			err := alice.Create(ctx, req)
			if ctx.Err() != nil {
				return
			}
			Expect(err).NotTo(HaveOccurred())
			s.mu.Lock()
			s.all = append(s.all, req)
			s.mu.Unlock()
		}
	})
	return s
}

// with are those that have a reason now.
func (s *stream) with(ctx context.Context, reason string) (names []string) {
	GinkgoHelper()
	list := &v1alpha1.AccessRequestList{}
	Expect(admin.List(ctx, list, client.InNamespace(s.ns))).To(Succeed())
	for i := range list.Items {
		Expect(&list.Items[i]).NotTo(haveReason(v1alpha1.ReasonAdmissionGap), list.Items[i].Name)
		if operator.Reason(&list.Items[i]) == reason {
			names = append(names, list.Items[i].Name)
		}
	}
	return names
}

// allGranted waits until all that was asked for until now was granted.
func (s *stream) allGranted(ctx context.Context) {
	GinkgoHelper()
	s.mu.Lock()
	until := len(s.all)
	s.mu.Unlock()
	Eventually(func(g Gomega) {
		for _, req := range s.all[:until] {
			g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(req), req)).To(Succeed())
			g.Expect(req.Status.Grant).NotTo(BeNil(), req.Name+" "+operator.Reason(req))
		}
	}).WithContext(ctx).WithTimeout(time.Minute).WithPolling(time.Second).Should(Succeed())
}
