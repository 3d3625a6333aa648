// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// login is a credential plugin, which gives the token that is in a file next to it.
const login = `#!/bin/sh
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"'"$(cat "$0.token")"'"}}'
`

var _ = Describe("Somebody whose token runs out", func() {
	It("is told to log in again, and sees the page go on when he did", func(ctx SpecContext) {
		asAlice := operator.NewUser(GinkgoTB(), plane, "alice", "oncall")
		binding := builders.Binding(namespace, "robot-looks", "lapse-approver", builders.ServiceAccount(namespace, "robot"))
		Expect(admin.Create(ctx, binding)).To(Succeed())
		DeferCleanup(func(ctx SpecContext) { Expect(admin.Delete(ctx, binding)).To(Succeed()) })
		p := withLogin("robot")
		p.logsIn(ctx)
		b := p.browses()
		b.open("now")
		b.reads("as system:serviceaccount:payments:robot")
		asks(ctx, asAlice, "before", "admin", "CHG-87: before")
		b.reads("CHG-87: before")

		// With the account goes its token. The API server knows one that it has seen for 10 s more, and the
		// page is loaded anew after 30 s.
		Expect(admin.Delete(ctx, p.account())).To(Succeed())
		Eventually(b.text).WithTimeout(time.Minute).Should(ContainSubstring("log in again"))
		b.reads("CHG-87: before", "What is shown may be old")

		p.logsIn(ctx)
		Eventually(b.text).ShouldNot(ContainSubstring("log in again"))
		asks(ctx, asAlice, "after", "admin", "CHG-88: after")
		b.reads("CHG-88: after")
		Expect(admin.Delete(ctx, p.account())).To(Succeed())
	}, SpecTimeout(2*time.Minute))
})

// robot is somebody with a credential plugin, for a ServiceAccount.
type robot struct {
	*person
	login string
}

func withLogin(name string) *robot {
	GinkgoHelper()
	home := GinkgoT().TempDir()
	config, err := plane.User(name) // for the address of the API server
	Expect(err).NotTo(HaveOccurred())
	env, err := operator.Home(plane, home, config)
	Expect(err).NotTo(HaveOccurred())
	r := &robot{&person{name: name, env: env}, filepath.Join(home, "login")}
	Expect(os.WriteFile(r.login, []byte(login), 0o700)).To(Succeed()) //nolint:gosec // it is run
	kubeconfig := filepath.Join(home, "kubeconfig")
	file, err := clientcmd.LoadFromFile(kubeconfig)
	Expect(err).NotTo(HaveOccurred())
	for user := range file.AuthInfos {
		file.AuthInfos[user] = &clientcmdapi.AuthInfo{Exec: &clientcmdapi.ExecConfig{
			APIVersion: "client.authentication.k8s.io/v1", Command: r.login, InteractiveMode: clientcmdapi.NeverExecInteractiveMode,
		}}
	}
	Expect(clientcmd.WriteToFile(*file, kubeconfig)).To(Succeed())
	return r
}

func (r *robot) account() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: r.name}}
}

// logsIn has the account created, and a token of it in the file.
func (r *robot) logsIn(ctx SpecContext) {
	GinkgoHelper()
	Expect(admin.Create(ctx, r.account())).To(Succeed())
	config, err := plane.ServiceAccountConfig(ctx, namespace, r.name)
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(r.login+".token", []byte(config.BearerToken), 0o600)).To(Succeed())
}
