// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/test/builders"
)

var _ = Describe("Records", func() {
	var ns, file string
	var kills int // of who writes, each of which may break off a line
	BeforeEach(func(ctx SpecContext) {
		kills = 0
		ns = newNamespace(ctx)
		newPolicy(ctx, builders.Policy("p-"+ns).Allowing("reader").In(ns))
		file = filepath.Join(GinkgoT().TempDir(), "records.jsonl")
	})

	// told are the records about the namespace, each once.
	told := func() []audit.Record {
		GinkgoHelper()
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		Expect(err).NotTo(HaveOccurred())
		var out []audit.Record
		brokenOff := 0
		whole := data[:bytes.LastIndexByte(data, '\n')+1] // the last line may be being written
		for line := range strings.Lines(string(whole)) {
			var r audit.Record
			if json.Unmarshal([]byte(line), &r) != nil {
				brokenOff++ // it is told again on a line of its own
				continue
			}
			again := slices.ContainsFunc(out, func(known audit.Record) bool { return known.ID == r.ID })
			if !again && r.Data.Request != nil && r.Data.Request.Namespace == ns {
				out = append(out, r)
			}
		}
		Expect(brokenOff).To(BeNumerically("<=", kills), string(whole))
		return out
	}
	types := func(of *v1alpha1.AccessRequest) []audit.Type {
		GinkgoHelper()
		var out []audit.Type
		for _, r := range told() {
			if r.Data.Request.UID == of.UID {
				out = append(out, r.Type)
			}
		}
		return out
	}
	verify := func() audit.Verification {
		GinkgoHelper()
		v := audit.NewVerifier()
		f, err := os.Open(file)
		Expect(err).NotTo(HaveOccurred())
		defer f.Close()
		Expect(v.Read(file, f)).To(Succeed())
		return v.Result()
	}
	ask := func(ctx SpecContext, name string, lasting time.Duration) *v1alpha1.AccessRequest {
		GinkgoHelper()
		req := builders.Request(name).In(ns).ForClusterRole("reader").Lasting(lasting).Build()
		Expect(alice.Create(ctx, req)).To(Succeed())
		return req
	}

	It("tell who had what, why, until when and who ended it, and write nothing for it", func(ctx SpecContext) {
		m := startManager(ctx, "--record-to=file:"+file)
		refused := builders.Request("refused").In(ns).ForClusterRole("writer").Build()
		Expect(alice.Create(ctx, refused)).To(Succeed())
		revoked := ask(ctx, "revoked", time.Hour)
		eventually(ctx, revoked, v1alpha1.ReasonGranted)
		Expect(admin.Create(ctx, builders.Decision("no", revoked, v1alpha1.VerdictRevoke))).To(Succeed())
		eventually(ctx, revoked, v1alpha1.ReasonRevoked)
		deleted := ask(ctx, "deleted", time.Hour)
		eventually(ctx, deleted, v1alpha1.ReasonGranted)
		Expect(admin.Delete(ctx, deleted)).To(Succeed())
		for req, want := range map[*v1alpha1.AccessRequest][]audit.Type{
			refused: {audit.Asked, audit.Refused},
			revoked: {audit.Asked, audit.Granted, audit.Revoked, audit.Ended},
			deleted: {audit.Asked, audit.Granted, audit.Ended, audit.Forgotten},
		} {
			Eventually(types).WithArguments(req).WithContext(ctx).Should(Equal(want), req.Name)
		}
		all := told()
		granted := all[slices.IndexFunc(all, func(r audit.Record) bool { return r.ID == string(revoked.UID)+"/granted" })]
		Expect(granted.Data.Request.Requester.Username).To(Equal("alice"))
		Expect(granted.Data.Request.Reason).To(Equal(revoked.Spec.Reason))
		Expect(granted.Data.Grant.Binding).To(Equal(revoked.Status.Grant.Binding))
		Expect(granted.Data.Grant.RoleRules.All()).NotTo(BeEmpty())
		Expect(granted.Source).To(HavePrefix("/clusters/"))
		Expect(m.Stop()).To(Succeed())
		verdict := verify()
		Expect(verdict.Findings).To(BeEmpty())
		Expect(verdict.Open).To(BeEmpty(), "it says that it ends")
	}, SpecTimeout(time.Minute))

	It("lose nothing when the operator is killed", func(ctx SpecContext) {
		m := startManager(ctx, "--record-to=file:"+file)
		over := ask(ctx, "over", 10*time.Second)
		held := ask(ctx, "held", time.Hour)
		eventually(ctx, held, v1alpha1.ReasonGranted)
		Expect(m.Kill()).To(Succeed())
		kills++
		late := ask(ctx, "late", time.Hour)
		startManager(ctx, "--record-to=file:"+file)
		eventually(ctx, late, v1alpha1.ReasonGranted)
		eventually(ctx, over, v1alpha1.ReasonExpired)
		Eventually(types).WithArguments(over).WithContext(ctx).Should(Equal([]audit.Type{audit.Asked, audit.Granted, audit.Ended}))
		Eventually(types).WithArguments(held).WithContext(ctx).Should(Equal([]audit.Type{audit.Asked, audit.Granted}))
		Eventually(types).WithArguments(late).WithContext(ctx).Should(Equal([]audit.Type{audit.Asked, audit.Granted}))
		Expect(verify().Open).To(HaveLen(2), "who was killed, and who writes")
	}, SpecTimeout(time.Minute))

	It("do not say what people wrote, if that is not to leave the cluster", func(ctx SpecContext) {
		startManager(ctx, "--record-to=file:"+file, "--redact-reasons")
		req := ask(ctx, "secret", time.Hour)
		Eventually(types).WithArguments(req).WithContext(ctx).Should(ContainElement(audit.Granted))
		for _, r := range told() {
			Expect(r.Data.Request.Reason).To(BeEmpty())
		}
	}, SpecTimeout(time.Minute))
})
