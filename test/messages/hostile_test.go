// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package messages

import (
	"context"
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/hostile"
	"github.com/lapse-dev/lapse/test/operator"
)

// nameSize is how long a name in a certificate may be.
const nameSize = 64

// more is what chats and mail act upon.
var more = []string{
	"<!channel> <@U024BE7LH>", "{{ .CommonLabels }}{{ template \"x\" }}", "[approve](https://evil.example)", "x\r\nBcc: all@example.com",
}

// askAll asks with each string as the reason, as somebody of that name if there can be one. asked
// is what the API server took, by the name of the request, and named how many have such a name.
func askAll(ctx context.Context) (asked map[string]string, named int) {
	GinkgoHelper()
	asked = map[string]string{}
	for i, s := range append(hostile.Strings(GinkgoTB()), more...) {
		b := builders.Request(fmt.Sprintf("hostile-%d", i)).In(ns).UnderPolicy("patient").ForClusterRole("reader").Because(s)
		req := b.Build()
		if c := called(s); c != nil && c.Create(ctx, req) == nil {
			asked[req.Name] = s
			named++
		} else if req = b.Build(); alice.Create(ctx, req) == nil {
			asked[req.Name] = s
		}
	}
	return asked, named
}

// called is the client of somebody of that name, or nil if nobody can be called so.
func called(name string) client.Client {
	GinkgoHelper()
	if len(name) > nameSize {
		return nil
	}
	config, err := plane.User(name, "askers")
	if err != nil {
		return nil
	}
	// To ask the API server anew what there is would take longer than all else.
	c, err := client.New(config, client.Options{Scheme: operator.Scheme(), Mapper: admin.RESTMapper()})
	Expect(err).NotTo(HaveOccurred())
	return c
}

// facts are what the lines of a text begin with, up to an empty one.
func facts(text string) (begin []string) {
	text, _, _ = strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(text, "\n") {
		label, _, _ := strings.Cut(line, ": ")
		begin = append(begin, label)
	}
	return begin
}

var _ = Describe("What a requester writes, and is called", func() {
	It("is inert in what Alertmanager and a mail server make of it", func(ctx SpecContext) {
		asked, named := askAll(ctx)
		AddReportEntry("strings", fmt.Sprintf("%d requests, %d by somebody of that name", len(asked), named))
		Expect(len(asked)).To(BeNumerically(">", 100))
		Expect(named).To(BeNumerically(">", 50))

		for request, s := range asked {
			approve, link := "kubectl lapse approve "+request+" -n "+ns, base+"/"+ns+"/"+request
			m := mailbox.comes(ctx, request, "A request in "+ns+" waits for approval")
			Expect(facts(m.Body)).To(HaveExactElements(
				"Cluster", "Request", "Who", "What", "How long", "Why", "Policy", "Risk", "Approval", "Until"), "%q", s)
			Expect(m.Body).To(HaveSuffix("\n\n    "+approve+"\n\n    "+link+"\n"), "%q", s)

			like := labels("LapseRequestWaits", "warning", request, "patient")
			Eventually(pager.toldOf).WithContext(ctx).WithTimeout(patience).WithArguments(like).ShouldNot(BeEmpty(), "%q", s)
			got := pager.toldOf(like)[0]
			Expect(got.Status).To(Equal("firing"), "%q", s)
			said := got.Annotations["description"]
			Expect(facts(said)).To(HaveExactElements(
				"Cluster", "Request", "Who", "What", "How long", "Policy", "Risk", "Approval", "Until"), "%q", s)
			Expect(strings.ContainsAny(said, "<>&*_~`[]|@{}\r\x1b")).To(BeFalse(), "%q is told as %q", s, said)
			Expect(got.Annotations).To(HaveLen(3), "%q", s)
			Expect(got.Annotations["command"]).To(Equal(approve), "%q", s)
			Expect(got.GeneratorURL).To(Equal(link), "%q", s)
		}
	}, SpecTimeout(5*time.Minute))
})
