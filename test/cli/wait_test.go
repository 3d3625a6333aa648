// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// transcript collects what a command writes while it runs.
type transcript struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// begin starts a command and returns what it says, and how it ends.
func begin(cmd *exec.Cmd) (said *transcript, ended chan int) {
	GinkgoHelper()
	said, ended = &transcript{}, make(chan int, 1)
	cmd.Stdout, cmd.Stderr = said, said
	Expect(cmd.Start()).To(Succeed())
	go func() {
		defer GinkgoRecover()
		ended <- exitCode(cmd.Wait())
	}()
	return said, ended
}

var _ = Describe("request --wait", func() {
	waits := func(ctx SpecContext, name string, more ...string) (*exec.Cmd, *transcript, chan int) {
		GinkgoHelper()
		cmd := alice.command(ctx,
			append([]string{"request", "admin", "--name", name, "--for", "1h", "--reason", "CHG-1: waits", "--wait"}, more...)...)
		said, ended := begin(cmd)
		DeferCleanup(func(ctx SpecContext) { _ = alice.lapse(ctx, "return", name) })
		Eventually(said.String).WithContext(ctx).Should(ContainSubstring(name + " waits for 1 of Group"))
		return cmd, said, ended
	}

	It("exits with 0 once it is granted, and says until when", func(ctx SpecContext) {
		_, said, ended := waits(ctx, "wait-granted")
		bob.must(ctx, "approve", "wait-granted")
		Eventually(said.String).WithContext(ctx).Should(ContainSubstring(`approved by "bob"`))
		dave.must(ctx, "approve", "wait-granted")
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeOK)))
		Expect(said.String()).To(ContainSubstring("granted: alice holds ClusterRole admin in payments until 2"))
	}, SpecTimeout(30*time.Second))

	It("exits with 2 when a policy refuses it", func(ctx SpecContext) {
		r := alice.lapse(ctx, "request", "edit", "--for", "8h", "--reason", "because", "--wait")
		Expect(r.code).To(Equal(codeRefused))
		Expect(r.stderr).To(ContainSubstring("policy oncall-edit: duration 8h is longer than its maxDuration 4h, " +
			"and the reason must begin with an incident number"))
	}, SpecTimeout(30*time.Second))

	It("exits with 2 when somebody denies it", func(ctx SpecContext) {
		_, said, ended := waits(ctx, "wait-denied")
		bob.must(ctx, "deny", "wait-denied")
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeRefused)))
		Expect(said.String()).To(ContainSubstring(`wait-denied: Denied: denied by "bob"`))
	}, SpecTimeout(30*time.Second))

	It("exits with 2 when it is revoked before it was granted", func(ctx SpecContext) {
		_, said, ended := waits(ctx, "wait-revoked")
		bob.must(ctx, "revoke", "wait-revoked", "--reason", "no need any more")
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeRefused)))
		Expect(said.String()).To(ContainSubstring(`"bob": "no need any more"`))
	}, SpecTimeout(30*time.Second))

	It("exits with 2 when it is withdrawn from another terminal, or deleted", func(ctx SpecContext) {
		_, _, ended := waits(ctx, "wait-withdrawn")
		alice.must(ctx, "return", "wait-withdrawn")
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeRefused)))

		_, said, ended := waits(ctx, "wait-deleted")
		Expect(root.kubectl(ctx, "delete", "accessrequest", "wait-deleted", "-n", namespace).code).To(Equal(codeOK))
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeRefused)))
		Expect(said.String()).To(ContainSubstring("wait-deleted was deleted"))
	}, SpecTimeout(30*time.Second))

	It("exits with 3 at the timeout, and leaves the request", func(ctx SpecContext) {
		_, said, ended := waits(ctx, "wait-timeout", "--timeout", "1s")
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(codeUnknown)))
		Expect(said.String()).To(ContainSubstring("not decided within 1s: waits for 1 of Group"))
		Expect(said.String()).To(ContainSubstring("wait-timeout stays as it is; to withdraw it: kubectl lapse return wait-timeout -n payments"))
		Expect(alice.must(ctx, "get", "wait-timeout")).To(ContainSubstring("Pending"))
	}, SpecTimeout(30*time.Second))

	It("ends at an interrupt with 130, and leaves the request", func(ctx SpecContext) {
		cmd, said, ended := waits(ctx, "wait-interrupted")
		Expect(cmd.Process.Signal(os.Interrupt)).To(Succeed())
		Eventually(ended).WithContext(ctx).Should(Receive(Equal(130)))
		Expect(said.String()).To(ContainSubstring("wait-interrupted stays as it is"))
		Expect(strings.Count(said.String(), "interrupted\n")).To(Equal(1))
	}, SpecTimeout(30*time.Second))
})
