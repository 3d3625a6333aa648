// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// newPod runs one that can be executed into.
func newPod(ctx context.Context, name string) {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "localhost/pause:1"}}},
	}
	// The namespace gets its ServiceAccount a moment after it was made.
	Eventually(func() error { return admin.Create(ctx, pod) }).WithContext(ctx).Should(Succeed())
	Eventually(func(g Gomega) {
		g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(pod), pod)).To(Succeed())
		g.Expect(pod.Status.Phase).To(Equal(corev1.PodRunning))
	}).WithContext(ctx).Should(Succeed())
}

// session is a kubectl exec into something that says again what it hears.
type session struct {
	stdin io.WriteCloser
	heard chan string
	ended chan error
}

func open(env []string, pod string) *session {
	GinkgoHelper()
	cmd := exec.Command(plane.KubectlPath(), "exec", "-i", "-n", namespace, pod, "--", "/pause", "echo")
	cmd.Env, cmd.Stderr = env, GinkgoWriter
	stdin, err := cmd.StdinPipe()
	Expect(err).NotTo(HaveOccurred())
	stdout, err := cmd.StdoutPipe()
	Expect(err).NotTo(HaveOccurred())
	Expect(cmd.Start()).To(Succeed())
	s := &session{stdin: stdin, heard: make(chan string, 10), ended: make(chan error, 1)}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			s.heard <- lines.Text()
		}
		s.ended <- cmd.Wait() // after all is read
	}()
	DeferCleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
	return s
}

// talk shows that it is open.
func (s *session) talk(ctx context.Context, words string) {
	GinkgoHelper()
	_, err := fmt.Fprintln(s.stdin, words)
	Expect(err).NotTo(HaveOccurred())
	Eventually(s.heard, 20*time.Second).WithContext(ctx).Should(Receive(Equal(words)))
}

var _ = Describe("A session that was opened by a grant", func() {
	BeforeEach(func(ctx SpecContext) { ready(ctx) }, NodeTimeout(2*time.Minute))

	It("goes on when access ends, as docs/security-model.md says, and none is opened after it", func(ctx SpecContext) {
		const pod = "checkout"
		newPod(ctx, pod)
		env, err := operator.Home(plane, GinkgoT().TempDir(), asAlice)
		Expect(err).NotTo(HaveOccurred())
		// What she had before would let her in, too.
		Expect(admin.DeleteAllOf(ctx, &v1alpha1.AccessRequest{}, client.InNamespace(namespace))).To(Succeed())
		Eventually(func() (bool, error) { return operator.Allowed(ctx, admin, "alice", "get", "pods", namespace) }).
			WithContext(ctx).Should(BeFalse())

		req := grant(ctx, builders.Request("session").Lasting(30*time.Second))
		s := open(env, pod)
		s.talk(ctx, "while access is held")
		Expect(time.Now()).To(BeTemporally("<", req.Status.Grant.ExpiresAt.Time))
		becomes(ctx, req, v1alpha1.ReasonExpired)
		s.talk(ctx, "after its end")

		_, stderr, err := plane.Kubectl(ctx, asAlice, "exec", "-n", namespace, pod, "--", "/pause", "echo")
		Expect(err).To(HaveOccurred(), "another one is opened")
		Expect(stderr).To(ContainSubstring("(Forbidden)"))
		s.talk(ctx, "and after that was refused")
		Expect(s.stdin.Close()).To(Succeed())
		Eventually(s.ended).WithContext(ctx).Should(Receive(BeNil()))
	}, SpecTimeout(4*time.Minute))
})
