// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package messages has a real Alertmanager and a mail server told by a real manager, and looks at
// what they understood. It is no part of test/monitoring, which breaks its manager on purpose, and
// needs no Prometheus. It needs bin/alertmanager: make test-messages.
package messages

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const (
	cluster  = "prod-eu"
	base     = "https://portal.example.com/lapse"
	password = "the password of lapse"
	// half of the time for approvals by policy hotfix, after which people are told again.
	half = 15 * time.Second
	// patience is the time for approvals by policy patient: of many requests each is told in time.
	patience = 2 * time.Minute
	// risk that approvers are told of.
	risk = "reader: its holder can read secrets, with the passwords and tokens in them"
)

var (
	plane   *controlplane.ControlPlane
	admin   client.Client
	pager   *alertmanager
	mailbox *mailServer
	ns      string
	// clusterUID is how programs know the cluster.
	clusterUID string
	// alice asks, and bob is a lead.
	alice, bob client.Client
)

func TestMessages(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(40 * time.Second)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	RunSpecs(t, "Messages of Lapse")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	ns = operator.NewNamespace(ctx, GinkgoTB(), admin)
	system := &corev1.Namespace{}
	Expect(admin.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, system)).To(Succeed())
	clusterUID = string(system.UID)
	offer(ctx)
	alice, bob = operator.NewUser(GinkgoTB(), plane, "alice", "askers"), operator.NewUser(GinkgoTB(), plane, "bob", "leads")

	dir := GinkgoT().TempDir()
	certificate, key := certified(dir)
	pager, mailbox = startAlertmanager(ctx, dir, certificate, key), startMailServer(certificate, key)
	operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter, "--messages="+receivers(dir, certificate))
	awaitFirst(ctx)
}, NodeTimeout(3*time.Minute))

// offer has a policy for each thing that is tried.
func offer(ctx SpecContext) {
	GinkgoHelper()
	askers, leads := builders.Group("askers"), builders.Group("leads")
	operator.Create(ctx, GinkgoTB(), admin,
		builders.ClusterRole("reader", builders.Rule("", "secrets", "get")), builders.ClusterRole("viewer", builders.Rule("", "pods", "get")),
		builders.Bindable("clusterroles", "reader", "viewer"), builders.ClusterBinding("askers", "lapse-requester", askers),
		builders.Binding(ns, "approvers", "lapse-approver", leads))
	for _, p := range []builders.PolicyBuilder{
		builders.Policy("break-glass").Allowing("viewer"),
		builders.Policy("unnamed").Allowing("viewer"), // by no receiver
		builders.Policy("hotfix").Allowing("reader").ApprovedBy(leads).WithinApprovalTimeout(2 * half),
		builders.Policy("patient").From(askers).Allowing("reader").ApprovedBy(leads).WithinApprovalTimeout(patience),
	} {
		operator.NewPolicy(ctx, GinkgoTB(), admin, p.In(ns))
	}
}

// awaitFirst waits until both receivers are told: one that is new is told of what happens from
// then on.
func awaitFirst(ctx SpecContext) {
	GinkgoHelper()
	n := 0
	Eventually(func(g Gomega) {
		n++
		first := builders.Request(fmt.Sprintf("first-%d", n)).In(ns).UnderPolicy("break-glass").ForClusterRole("viewer")
		g.Expect(alice.Create(ctx, first.Build())).To(Succeed())
		g.Expect(pager.firing(ctx)).NotTo(BeEmpty())
		g.Expect(mailbox.all()).NotTo(BeEmpty())
	}).WithContext(ctx).WithPolling(time.Second).Should(Succeed())
}

// certified are the files of a certificate for this machine, with that of its CA, and its key.
func certified(dir string) (certificate, key string) {
	GinkgoHelper()
	pem, secret, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	Expect(err).NotTo(HaveOccurred())
	return write(dir, "tls.crt", string(pem)), write(dir, "tls.key", string(secret))
}

func write(dir, name, text string) (path string) {
	GinkgoHelper()
	path = filepath.Join(dir, name)
	Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
	return path
}

// receivers is the file of --messages, as docs/messages.md has it.
func receivers(dir, ca string) (path string) {
	GinkgoHelper()
	return write(dir, "messages.yaml", fmt.Sprintf(`
cluster: %s
link: %s
receivers:
- name: pager
  type: alertmanager
  url: https://%s
  caFile: %s
  events: [stillWaiting, granted]
  policies: [break-glass, hotfix, patient]
- name: security
  type: mail
  server: %s
  caFile: %[4]s
  from: lapse@example.com
  to: [security@example.com, sre@example.com]
  username: lapse
  secretFile: %[6]s
  events: [asked, stillWaiting, decided, granted, endedEarly, refused]
  policies: [break-glass, hotfix, patient]
`, cluster, base, pager.address, ca, mailbox.address, write(dir, "mail-password", password+"\n")))
}
