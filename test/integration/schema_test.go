// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// object is a valid object of a kind, as raw as a user may send it. A request is alice's,
// who names herself where nothing is stamped.
func object(kind, namespace string) *unstructured.Unstructured {
	spec := map[string]any{
		"roleRef": map[string]any{"kind": "ClusterRole", "name": "reader"},
		"reason":  "INC-1: a test",
	}
	if kind == "AccessRequest" && !stamps {
		spec["requester"] = map[string]any{"username": "alice", "groups": []any{"askers", "system:authenticated"}}
		spec["subject"] = map[string]any{"kind": "User", "name": "alice"}
	}
	if kind == "AccessPolicy" {
		spec = map[string]any{
			"requesters":  []any{map[string]any{"kind": "Group", "name": "oncall"}},
			"roles":       []any{map[string]any{"kind": "ClusterRole", "name": "reader"}},
			"namespaces":  map[string]any{"names": []any{"payments"}},
			"maxDuration": "1h",
		}
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetAPIVersion(v1alpha1.GroupVersion.String())
	u.SetKind(kind)
	u.SetNamespace(namespace)
	u.SetGenerateName("schema-")
	return u
}

// set changes a field of spec, given as a path of names with dots.
func set(u *unstructured.Unstructured, path string, value any) {
	GinkgoHelper()
	Expect(unstructured.SetNestedField(u.Object, value, append([]string{"spec"}, strings.Split(path, ".")...)...)).To(Succeed())
}

// says matches a message of the API server in the words of any version: older ones have
// the type of a value, such as "string", in place of the value or of nothing.
func says(message string) types.GomegaMatcher {
	older := regexp.QuoteMeta(invalidValue.ReplaceAllString(message, "Invalid value: "))
	older = strings.Replace(older, "Invalid value: ", `Invalid value: "(string|object)": `, 1)
	older = strings.Replace(older, "may not be more than", "may not be longer than", 1)
	return Or(ContainSubstring(message), MatchRegexp(older))
}

var invalidValue = regexp.MustCompile(`Invalid value: ("[^"]*": )?`)

var _ = Describe("The schema", func() {
	const (
		durationRule = "in whole hours, minutes and seconds, such as 1h30m"
		printable    = "name must be printable: no control, formatting or invisible characters"
		oneLine      = "reason must be one line of printable characters and not blank"
		systemNames  = "a User or Group must not begin with system:; name a ServiceAccount by kind, name and namespace"

		namespaceName = "a name must be that of one namespace: a-z, 0-9 and -; nothing is a wildcard"

		wideRequesters = "a User must not begin with system:, nor must a Group be system:unauthenticated; " +
			"name a ServiceAccount by kind, name and namespace"
	)
	tooMany := func(n int) (out []any) {
		for i := range n {
			out = append(out, map[string]any{"kind": "User", "name": fmt.Sprint("user-", i)})
		}
		return out
	}
	subject := func(kind, name string) map[string]any { return map[string]any{"kind": kind, "name": name} }

	DescribeTable("refuses a request, and names the field, the value and the limit",
		func(ctx SpecContext, path string, value any, message string) {
			u := object("AccessRequest", "default")
			set(u, "notAfter", "2099-01-01T00:00:00Z") // so that nothing else is wrong
			set(u, path, value)
			Expect(user("alice").Create(ctx, u, client.DryRunAll)).To(MatchError(says(message)))
		},
		Entry("duration in words", "duration", "1 day",
			`spec.duration: Invalid value: "1 day": duration must be between 10s and 24h, `+durationRule),
		Entry("duration of days, which a Go client cannot read", "duration", "1d", "spec.duration"),
		Entry("duration negative", "duration", "-5m", `spec.duration: Invalid value: "-5m": duration must be between 10s and 24h, `+durationRule),
		Entry("duration of a second less than the least", "duration", "9s", "duration must be between 10s and 24h"),
		Entry("duration of a second more than the most", "duration", "24h0m1s", "duration must be between 10s and 24h"),
		Entry("duration huge", "duration", "9999999999h", "duration must be between 10s and 24h"),
		Entry("duration empty", "duration", "", "duration must be between 10s and 24h"),
		Entry("duration a number", "duration", int64(3600), "spec.duration"),
		Entry("notAfter impossible", "notAfter", "2026-13-45T99:99:99Z", "spec.notAfter"),
		Entry("notAfter on February 30", "notAfter", "2026-02-30T10:00:00Z", "spec.notAfter"),
		Entry("notAfter in a leap second, which a Go client cannot read", "notAfter", "2026-12-31T23:59:60Z", "spec.notAfter"),
		Entry("notAfter in lower case, which a Go client cannot read", "notAfter", "2026-12-01t18:00:00z", "spec.notAfter"),
		Entry("notAfter in the year 1, which a Go client takes for none", "notAfter", "0001-01-01T00:00:00Z", "spec.notAfter"),
		Entry("notAfter before notBefore", "notBefore", "2099-01-01T00:00:01Z",
			"spec.notAfter: Invalid value: notAfter must be later than notBefore"),
		Entry("notAfter equal to notBefore", "notBefore", "2099-01-01T00:00:00Z", "notAfter must be later than notBefore"),
		Entry("subject system:masters", "subject", subject("Group", "system:masters"), "spec.subject.name: Invalid value: "+systemNames),
		Entry("subject system:authenticated", "subject", subject("Group", "system:authenticated"), systemNames),
		Entry("subject a ServiceAccount as a User", "subject", subject("User", "system:serviceaccount:kube-system:default"), systemNames),
		Entry("subject without a name", "subject", subject("User", ""), "spec.subject.name"),
		Entry("subject with a newline", "subject", subject("User", "a\nb"), printable),
		Entry("subject with a zero-width space", "subject", subject("User", "alice\u200b"), printable),
		Entry("subject with a right-to-left override", "subject", subject("User", "alice\u202e"), printable),
		Entry("subject of a letter that looks like nothing", "subject", subject("User", "\u3164"), printable),
		Entry("subject with a symbol that looks like a space", "subject", subject("User", "alice\u2800carol"), printable),
		Entry("subject with another form of a letter", "subject", subject("User", "alice\ufe00"), printable),
		Entry("subject of a blank of Egyptian", "subject", subject("User", "\U00013441"), printable),
		Entry("subject that forges a column", "subject", subject("User", "alice   Active"), "name must not have two spaces in a row"),
		Entry("subject blank", "subject", subject("User", " "), "name must not be blank"),
		Entry("subject of another kind", "subject", subject("Robot", "r2"),
			`Unsupported value: "Robot": supported values: "User", "Group", "ServiceAccount"`),
		Entry("ServiceAccount without a namespace", "subject", subject("ServiceAccount", "ci"), "a ServiceAccount needs a namespace"),
		Entry("ServiceAccount that is none", "subject", map[string]any{"kind": "ServiceAccount", "namespace": "x", "name": "a:b"},
			"name must be the name of a ServiceAccount"),
		Entry("role without a name", "roleRef", map[string]any{"kind": "ClusterRole", "name": ""}, "spec.roleRef.name"),
		Entry("role with a slash", "roleRef", map[string]any{"kind": "ClusterRole", "name": "a/b"}, "name must be the name of a role"),
		Entry("role of a letter that looks like nothing", "roleRef", map[string]any{"kind": "ClusterRole", "name": "view\u3164"},
			"name must be the name of a role: printable, without invisible characters"),
		Entry("reason empty", "reason", "", "spec.reason"),
		Entry("reason blank", "reason", "   ", "reason must be one line of printable characters and not blank"),
		Entry("reason blank, in another script", "reason", "\u3000\u00a0", "reason must be one line of printable characters and not blank"),
		Entry("reason of two lines", "reason", "INC-1\nand more", oneLine),
		Entry("reason of two lines and an empty one", "reason", "INC-1\n\n", oneLine),
		Entry("reason with a terminal escape", "reason", "INC-1 \x1b[31m", oneLine),
		Entry("reason with a soft hyphen", "reason", "INC-1: Daten\u00adbank", oneLine),
		Entry("reason with an override of direction", "reason", "INC-1: \u202egnp.exe",
			`spec.reason: Invalid value: "INC-1: \u202egnp.exe": `+oneLine),
		Entry("reason with an isolate", "reason", "INC-1: a\u2066b\u2069", oneLine),
		Entry("reason with a byte order mark", "reason", "\ufeffINC-1: x", oneLine),
		Entry("reason with a zero-width space", "reason", "INC-1: a\u200bb", oneLine),
		Entry("reason of a letter that looks like nothing", "reason", "\u3164", oneLine),
		Entry("reason with another one", "reason", "INC-1 \u115f", oneLine),
		Entry("reason with a narrow one", "reason", "INC-1 \uffa0", oneLine),
		Entry("reason of a note without a head", "reason", "\U0001d159", oneLine),
		Entry("reason that fills a line with nothing", "reason", "ok"+strings.Repeat("\u2800", 70)+"decided by carol", oneLine),
		Entry("reason with a mark that joins nothing", "reason", "a\u034fb", oneLine),
		Entry("reason with a joiner of nothing", "reason", "INC-1: \u200d", oneLine),
		Entry("reason with a form of a letter", "reason", "INC-1: a\ufe0f", oneLine),
		Entry("reason too long", "reason", strings.Repeat("x", 1025), "Too long: may not be more than 1024"),
		Entry("policyName with a newline", "policyName", "a\nb", "policyName must be the name of an AccessPolicy"),
	)

	DescribeTable("takes a reason as people's keyboards write it", func(ctx SpecContext, reason string) {
		u := object("AccessRequest", "default")
		set(u, "reason", reason)
		Expect(user("alice").Create(ctx, u, client.DryRunAll)).To(Succeed())
	},
		Entry("with a space that does not break", "INC-1:\u00a0checkout"),
		Entry("with an ideographic space", "INC-1: 检查完成\u3000完了"),
		Entry("with a narrow space", "INC-1 : 10\u202f000 erreurs"),
		Entry("in Persian, with a non-joiner", "INC-1: رفع مشکل می\u200cخواهم"),
		Entry("in Sinhala, with a joiner", "INC-1: ශ්\u200dරී ලංකා"),
		Entry("with an emoji of two", "INC-1: fix 👨\u200d💻"),
		Entry("with an emoji by its form", "INC-1: 🇩🇪 ✔\ufe0f ❤\ufe0f\u200d🔥 1\ufe0f\u20e3"),
		Entry("with quotes and a dash", "INC-1: “quotes” – dash…"),
		Entry("as a block of YAML, with its final newline", "INC-4211: checkout returns 500\n"),
	)

	It("refuses a grant to somebody else without notAfter", func(ctx SpecContext) {
		u := object("AccessRequest", "default")
		set(u, "subject", subject("User", "bob"))
		Expect(user("alice").Create(ctx, u, client.DryRunAll)).
			To(MatchError(ContainSubstring("notAfter is required when the subject is not the requester")))
		set(u, "subject", subject("User", "alice"))
		Expect(user("alice").Create(ctx, u, client.DryRunAll)).To(Succeed())
	})

	DescribeTable("refuses a policy, and names the field, the value and the limit",
		func(ctx SpecContext, path string, value any, message string) {
			u := object("AccessPolicy", "")
			set(u, path, value)
			Expect(admin.Create(ctx, u, client.DryRunAll)).To(MatchError(says(message)))
		},
		Entry("300 requesters", "requesters", tooMany(300), "spec.requesters: Too many: 300: must have at most 64 items"),
		Entry("no requesters", "requesters", []any{}, "spec.requesters"),
		Entry("requester system:unauthenticated", "requesters", []any{subject("Group", "system:unauthenticated")}, wideRequesters),
		Entry("requester a User of Kubernetes", "requesters", []any{subject("User", "system:admin")}, wideRequesters),
		Entry("grantee system:authenticated", "grantees", []any{subject("Group", "system:authenticated")}, systemNames),
		Entry("approver system:authenticated", "approvals", []any{
			map[string]any{"count": int64(1), "from": []any{subject("Group", "system:authenticated")}},
		}, systemNames),
		Entry("17 roles", "roles", func() (out []any) {
			for i := range 17 {
				out = append(out, map[string]any{"kind": "ClusterRole", "name": fmt.Sprint("r", i)})
			}
			return out
		}(), "spec.roles: Too many: 17: must have at most 16 items"),
		Entry("no roles", "roles", []any{}, "spec.roles"),
		Entry("maxDuration too short", "maxDuration", "9s",
			`spec.maxDuration: Invalid value: "9s": maxDuration must be between 10s and 24h, `+durationRule),
		Entry("maxDuration too long", "maxDuration", "25h",
			`spec.maxDuration: Invalid value: "25h": maxDuration must be between 10s and 24h, `+durationRule),
		Entry("maxDuration in words", "maxDuration", "1 week", "maxDuration must be between 10s and 24h"),
		Entry("defaultDuration longer than maxDuration", "defaultDuration", "1h1s",
			"spec.defaultDuration: Invalid value: defaultDuration must not be longer than maxDuration"),
		Entry("approvalTimeout too long", "approvalTimeout", "168h1s", "approvalTimeout must be between 10s and 168h, "+durationRule),
		Entry("a pattern of namespaces", "namespaces.names", []any{"payments", "pr-*"},
			`spec.namespaces.names[1]: Invalid value: "pr-*": `+namespaceName),
		Entry("a namespace in capitals", "namespaces.names", []any{"Payments"}, namespaceName),
		Entry("a space before a namespace", "namespaces.names", []any{" payments"}, namespaceName),
		Entry("two namespaces in one", "namespaces.names", []any{"payments,billing"}, namespaceName),
		Entry("a namespace that begins with a hyphen", "namespaces.names", []any{"-x"}, namespaceName),
		Entry("a blank requester", "requesters", []any{subject("Group", " ")}, "name must not be blank"),
		Entry("a blank revoker", "revokers", []any{subject("User", " ")}, "name must not be blank"),
		Entry("empty selector", "namespaces.selector", map[string]any{}, "selector must not be empty; leave it out, or name the labels"),
		Entry("name of a letter that looks like nothing", "requesters", []any{subject("User", "\u3164")}, printable),
		Entry("message of a letter that looks like nothing", "conditions",
			[]any{map[string]any{"expression": "true", "message": "no\u3164"}}, "message must be one line of printable characters"),
		Entry("empty expression", "conditions", []any{map[string]any{"expression": ""}}, "spec.conditions[0].expression"),
		Entry("17 conditions", "conditions", func() (out []any) {
			for range 17 {
				out = append(out, map[string]any{"expression": "true"})
			}
			return out
		}(), "spec.conditions: Too many: 17: must have at most 16 items"),
		Entry("approval by nobody", "approvals", []any{map[string]any{"from": []any{}, "count": int64(1)}}, "spec.approvals[0].from"),
		Entry("65 revokers", "revokers", tooMany(65), "spec.revokers: Too many: 65: must have at most 64 items"),
		Entry("revoker system:authenticated", "revokers", []any{subject("Group", "system:authenticated")}, systemNames),
		Entry("whileHeld that there is not", "whileHeld", "NoPower",
			`spec.whileHeld: Unsupported value: "NoPower": supported values: "Strict", "NoNewPower"`),
		Entry("approval count 0", "approvals", []any{map[string]any{"from": []any{subject("User", "bob")}, "count": int64(0)}},
			"spec.approvals[0].count"),
	)

	DescribeTable("refuses a decision, and says why", func(ctx SpecContext, comment string) {
		d := builders.Decision("schema", requestIn(newNamespace(ctx)), v1alpha1.VerdictApprove)
		d.Spec.RequestRef.UID, d.Spec.Comment = "some", comment
		Expect(admin.Create(ctx, d, client.DryRunAll)).To(MatchError(ContainSubstring("comment must be one line of printable characters")))
	},
		Entry("with a comment that looks like nothing", "ok\u3164"),
		Entry("with a comment of two lines", "ok\nnot"),
		Entry("with a comment that turns around", "\u202eok"),
	)

	It("lets all who log in ask", func(ctx SpecContext) {
		for _, group := range []string{"system:authenticated", "system:cattle:authenticated"} {
			u := object("AccessPolicy", "")
			set(u, "requesters", []any{subject("Group", group)})
			Expect(admin.Create(ctx, u, client.DryRunAll)).To(Succeed())
		}
	})

	It("fills in what a policy leaves out", func(ctx SpecContext) {
		u := object("AccessPolicy", "")
		Expect(admin.Create(ctx, u, client.DryRunAll)).To(Succeed())
		timeout, _, _ := unstructured.NestedString(u.Object, "spec", "approvalTimeout")
		Expect(timeout).To(Equal("1h"))
	})

	// A typed informer stops at the first object that it cannot decode, and with it
	// everything that the operator does for requests.
	It("lets through no duration or time that a Go client cannot read", func(ctx SpecContext) {
		as := map[string]client.Client{"AccessRequest": user("alice"), "AccessPolicy": admin}
		accepted := map[string]int{}
		try := func(kind, namespace, value string, read func(string) error, fields ...string) {
			GinkgoHelper()
			for _, field := range fields {
				u := object(kind, namespace)
				if kind == "AccessPolicy" {
					set(u, "maxDuration", "24h") // so that no defaultDuration is longer
				}
				set(u, field, value)
				if as[kind].Create(ctx, u, client.DryRunAll) == nil {
					accepted[field]++
					Expect(read(value)).To(Succeed(), "%s: %q was accepted", field, value)
				}
			}
		}
		duration := func(s string) error { _, err := time.ParseDuration(s); return err }
		moment := func(s string) error { _, err := time.Parse(time.RFC3339, s); return err }
		for _, value := range []string{
			"1h", "90m", "86400s", "1h30m", "1h0m0s", "24h", "10s", "0h10s", "00h00010m", "1h 30m", " 1h", "1h ", "1H", "1.5h",
			"1e1s", "１h", "1h1h", "1m1h", "1hour", "1 hour", "2 days", "1w", "1h30", "+1h", "--1h", "1µs", "10000ms", "999h",
			"1d2h", "P1D", "PT1H", "null", "h", "1", "10", "∞", "10s\n", "010s",
		} {
			try("AccessRequest", "default", value, duration, "duration")
			try("AccessPolicy", "", value, duration, "maxDuration", "defaultDuration", "approvalTimeout")
		}
		for _, value := range []string{
			"2026-12-01T18:00:00Z", "2026-12-01T18:00:00z", "2026-12-01t18:00:00Z", "2026-12-01T18:00:00", "2026-12-01",
			"2026-12-01T18:00:00+01:00", "2026-12-01T18:00:00.5Z", "2026-12-01T24:00:00Z", "2026-12-01T18:60:00Z",
			"2026-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2026-00-01T00:00:00Z",
			"2026-12-00T00:00:00Z", "2026-12-01T18:00:00ZZ", "2026-12-01T18:00:00Z\n", "20261201T180000Z",
			"12026-12-01T18:00:00Z", "-2026-12-01T18:00:00Z", "2026-12-01 18:00:00Z", "2999-12-31T23:59:59Z", "",
		} {
			try("AccessRequest", "default", value, moment, "notAfter", "notBefore")
		}
		Expect(accepted).To(And(HaveLen(6), HaveEach(BeNumerically(">=", 2))), "the check must be seen to accept something")
	}, SpecTimeout(time.Minute))
})

var _ = Describe("A request", func() {
	It("is in progress until the operator has looked at it, whatever status it was created with", func(ctx SpecContext) {
		u := object("AccessRequest", newNamespace(ctx))
		u.Object["status"] = map[string]any{"state": "Active", "observedGeneration": int64(7), "grant": map[string]any{
			"binding": "x", "grantedAt": "2026-01-01T00:00:00Z", "expiresAt": "2099-01-01T00:00:00Z",
		}}
		Expect(user("alice").Create(ctx, u)).To(Succeed())
		req := &v1alpha1.AccessRequest{}
		Expect(admin.Get(ctx, client.ObjectKeyFromObject(u), req)).To(Succeed())
		Expect(req.Status).To(Equal(v1alpha1.AccessRequestStatus{ObservedGeneration: -1}))
	})

	It("can be selected by state, subject and role, and shows its end as it is written", func(ctx SpecContext) {
		h, ns, alice := newHarness(), newNamespace(ctx), user("alice")
		newPolicy(ctx, policyFor(ns))
		req := h.granted(ctx, alice, requestIn(ns))
		for field, value := range map[string]string{"status.state": "Active", "spec.subject.name": "alice", "spec.roleRef.name": "reader"} {
			list := &v1alpha1.AccessRequestList{}
			Expect(alice.List(ctx, list, client.InNamespace(ns), client.MatchingFields{field: value})).To(Succeed())
			Expect(list.Items).To(HaveLen(1), field)
			Expect(alice.List(ctx, list, client.InNamespace(ns), client.MatchingFields{field: "other"})).To(Succeed())
			Expect(list.Items).To(BeEmpty(), field)
		}
		config, err := plane.User("alice", "askers")
		Expect(err).NotTo(HaveOccurred())
		stdout, stderr, err := plane.Kubectl(ctx, config, "get", "areq", "-n", ns, "-o", "wide")
		Expect(err).NotTo(HaveOccurred(), stderr)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		Expect(strings.Fields(lines[0])).To(Equal(strings.Fields("NAME SUBJECT ROLE REASON EXPIRES AGE READY BEGAN POLICY APPROVED-BY BINDING")))
		Expect(strings.Fields(lines[1])).To(ContainElements("alice", "reader", "True", "Granted",
			req.Status.Grant.GrantedAt.UTC().Format(time.RFC3339), req.Status.Grant.ExpiresAt.UTC().Format(time.RFC3339),
			req.Status.Policy.Name, req.Status.Grant.Binding))
		stdout, stderr, err = plane.Kubectl(ctx, config, "get", "lapse", "-n", ns)
		Expect(err).NotTo(HaveOccurred(), stderr)
		Expect(stdout).To(ContainSubstring(req.Name))
	})

	It("sums up in conditions that kstatus understands", func(ctx SpecContext) {
		h, ns := newHarness(), newNamespace(ctx)
		req := requestIn(ns)
		Expect(user("alice").Create(ctx, req)).To(Succeed())
		h.settle(ctx, req)
		Expect(req).To(beReady(metav1.ConditionFalse, v1alpha1.ReasonNoMatchingPolicy))
		Expect(req).To(haveCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNoMatchingPolicy))
		Expect(req).To(haveCondition(v1alpha1.ConditionApproved, metav1.ConditionFalse, v1alpha1.ReasonNoMatchingPolicy))
		Expect(req).To(haveCondition(v1alpha1.ConditionGranted, metav1.ConditionFalse, v1alpha1.ReasonNotGranted))
		Expect(meta.FindStatusCondition(req.Status.Conditions, v1alpha1.ConditionReconciling)).To(BeNil())
		Expect(req.Status.ObservedGeneration).To(Equal(req.Generation))
	})
})
