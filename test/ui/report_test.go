// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// hostileRecords are those of a grant, and a log with a call that it allowed, for each string in
// all that people write.
func hostileRecords() (records, calls []byte, grants int) {
	GinkgoHelper()
	at := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	end := at.Add(time.Minute)
	chain := audit.NewChain("lapse-manager-1")
	for i, s := range hostileReasons() {
		ns := fmt.Sprint("ns-", i)
		record, err := chain.Append(audit.Record{SpecVersion: "1.0", ID: ns + "/ended", Type: audit.Ended, Time: end, Data: audit.Data{
			Request: &audit.Request{
				Kind: "AccessRequest", Namespace: ns, Name: "debug", UID: types.UID(ns), AskedAt: at, Reason: s,
				Requester: &v1alpha1.Identity{Username: s}, Subject: &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: s},
				RoleRef: v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: s},
			},
			Grant: &audit.Grant{
				Binding: "lapse-debug", GrantedAt: at, ExpiresAt: at.Add(time.Hour), EndedAt: &end, EndReason: v1alpha1.ReasonRevoked, EndedBy: s,
			},
		}})
		Expect(err).NotTo(HaveOccurred())
		call, err := json.Marshal(map[string]any{
			"auditID": ns, "stage": "ResponseComplete", "verb": s, "user": map[string]any{"username": s}, "userAgent": s, "sourceIPs": []string{s},
			"objectRef":                map[string]string{"resource": "pods", "namespace": ns, "name": s},
			"responseStatus":           map[string]int{"code": 200},
			"requestReceivedTimestamp": at.Add(time.Second), "stageTimestamp": end,
			"annotations": map[string]string{"authorization.k8s.io/reason": `RBAC: allowed by RoleBinding "lapse-debug/` + ns + `" of ClusterRole`},
		})
		Expect(err).NotTo(HaveOccurred())
		records, calls, grants = append(append(records, record...), '\n'), append(append(calls, call...), '\n'), grants+1
	}
	return records, calls, grants
}

// saysNothing has it be wrong that the page has something on the console.
func (b *browser) saysNothing() {
	GinkgoHelper()
	Expect(chromedp.Listen(b.ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventConsoleAPICalled:
			b.wrong = append(b.wrong, "the console has: "+string(e.Type))
		case *log.EventEntryAdded:
			b.wrong = append(b.wrong, "the console has: "+e.Entry.Text)
		}
	})).To(Succeed())
}

var _ = Describe("A report as a page", func() {
	It("asks nobody, runs nothing and has nothing on the console, whatever people wrote", func(ctx SpecContext) {
		dir := GinkgoT().TempDir()
		records, calls, grants := hostileRecords()
		Expect(os.WriteFile(filepath.Join(dir, "records.jsonl"), records, 0o600)).To(Succeed())
		Expect(os.WriteFile(filepath.Join(dir, "audit.log"), calls, 0o600)).To(Succeed())
		cmd := exec.CommandContext(ctx, filepath.Join(folder, "bin", "kubectl-lapse"),
			"report", "--records", "records.jsonl", "--audit-log", "audit.log", "-o", "html")
		cmd.Dir, cmd.Stderr = dir, GinkgoWriter
		report, err := cmd.Output()
		Expect(err).NotTo(HaveOccurred())
		path := filepath.Join(dir, "report.html")
		Expect(os.WriteFile(path, report, 0o600)).To(Succeed())

		b := chromium()
		b.saysNothing()
		b.base = "file://" + path
		b.isWatched(true)
		b.open("")
		b.reads("Who had what, and what they did with it", fmt.Sprintf("Requests: %d.", grants))
		Expect(value[int](b, `document.querySelectorAll("section").length`)).To(Equal(grants))
		Expect(value[int](b, `document.querySelectorAll("section table").length`)).To(Equal(grants), "each has its call")
		Expect(value[int](b, `document.querySelectorAll("script, img, iframe, object, embed, base, [onerror], [onload]").length`)).To(BeZero())
		b.picturedBy("report", chromedp.CaptureScreenshot())
		b.mu.Lock()
		defer b.mu.Unlock()
		Expect(b.wrong).To(BeEmpty())
	}, SpecTimeout(time.Minute))
})
