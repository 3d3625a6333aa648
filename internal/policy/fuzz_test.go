// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/cel-go/common/types"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// FuzzCondition: whatever the expression, nothing panics, what is said is bounded, and
// the request is allowed only if CEL itself says true.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{
		"true", "false", "", "request.spec.reason.matches('^INC-[0-9]+')", "now.getHours('Europe/Berlin') >= 9",
		"!has(request.spec.duration) || request.spec.duration <= duration('1h')", "policy.name == 'p'", "1/0 == 0 || true",
		"request.spec.requester.groups.exists(g, g.startsWith('on'))", "[1,2,3].map(x, [1,2,3].map(y, x*y)).size() == 3",
		"request.spec.?subject.orValue({}) == {}", "namespaceObject.metadata.labels['team'] == 'payments'", "dyn(1) == 1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		in := inputOf(ask().Because("INC-4211: checkout returns 500").Build())
		c := Compile(stored(offer("p").If(expression, "")))
		d, err := Evaluate(in, []*Compiled{c})
		if err != nil {
			t.Fatal(err)
		}
		if d.Verdict != Allowed && d.Verdict != Denied {
			t.Errorf("verdict = %s", d.Verdict)
		}
		if message := d.Message(); len(message) > maxMessage || !utf8.ValidString(message) || strings.ContainsAny(message, "\n\r") {
			t.Errorf("message of %d bytes: %q", len(message), message)
		}
		if (d.Verdict == Allowed) != saysTrue(t, expression, in) {
			t.Errorf("verdict = %s: %s", d.Verdict, d.Message())
		}
	})
}

// saysTrue asks CEL directly.
func saysTrue(t *testing.T, expression string, in Input) bool {
	env, err := celEnvironment()
	if err != nil {
		t.Fatal(err)
	}
	if len(expression) > maxExpression {
		return false
	}
	ast, issues := env.Compile(expression)
	if issues.Err() != nil || ast.OutputType() != types.BoolType {
		return false
	}
	program, err := env.Program(ast)
	if err != nil {
		return false
	}
	vars := variablesOf(in)
	vars.policy = policyValue("p")
	out, details, err := program.Eval(vars)
	if cost := details.ActualCost(); err == nil && (cost == nil || *cost > celconfig.PerCallLimit) {
		t.Errorf("the cost is not bounded: %v", cost)
	}
	return err == nil && out == types.True
}

// FuzzMatch: whatever the names, a request is allowed only if the requester is listed,
// byte by byte, and the subject is the requester or listed too.
func FuzzMatch(f *testing.F) {
	f.Add("alice", "oncall", "User", "alice", "", "User", "alice", "", "User", "alice", "")
	f.Add("alice", "oncall", "Group", "oncall", "", "", "", "", "", "", "")
	f.Add(homoglyph, "", "User", "alice", "", "", "", "", "", "", "")
	f.Add("system:serviceaccount:ci:bot", "system:serviceaccounts", "ServiceAccount", "bot", "ci", "ServiceAccount", "bot", "ci", "", "", "")
	f.Add("system:serviceaccount:ci:bot", "", "User", "system:serviceaccount:ci:bot", "", "User", "system:serviceaccount:ci:bot", "", "",
		"", "")
	f.Add("system:serviceaccount:a:b:c", "", "ServiceAccount", "c", "a:b", "ServiceAccount", "b:c", "a", "ServiceAccount", "b:c", "a")
	f.Add("alice", "system:masters", "Group", "system:masters", "", "Group", "system:masters", "", "Group", "system:masters", "")
	f.Add("alice", "system:authenticated", "Group", "system:authenticated", "", "", "", "", "", "", "")
	f.Add("alice", "system:unauthenticated", "Group", "system:unauthenticated", "", "", "", "", "", "", "")
	f.Add("alice", "oncall", "Group", "oncall", "", "User", "bob", "", "User", "bob", "")
	f.Add("alice", "", "User", "alice", "", "User", "bоb", "", "User", "bob", "")
	f.Add("", "", "", "", "", "", "", "", "", "", "")
	f.Fuzz(func(t *testing.T, user, group, requesterKind, requesterName, requesterNamespace,
		subjectKind, subjectName, subjectNamespace, granteeKind, granteeName, granteeNamespace string,
	) {
		requester := v1alpha1.Subject{Kind: requesterKind, Name: requesterName, Namespace: requesterNamespace}
		subject := v1alpha1.Subject{Kind: subjectKind, Name: subjectName, Namespace: subjectNamespace}
		grantee := v1alpha1.Subject{Kind: granteeKind, Name: granteeName, Namespace: granteeNamespace}
		request := ask().By(user, group)
		if subject != (v1alpha1.Subject{}) {
			request = request.To(subject)
		}
		in := inputOf(request.Build())
		d, err := Evaluate(in, compileAll(offer("p").From(requester).To(grantee)))
		if err != nil {
			t.Fatal(err)
		}
		if want := mayAsk(user, group, requester, subject, grantee); (d.Verdict == Allowed) != want {
			t.Errorf("verdict = %s, want allowed = %v: %s", d.Verdict, want, d.Message())
		}
		if message := d.Message(); len(message) > maxMessage || !utf8.ValidString(message) || strings.ContainsAny(message, "\n\r") {
			t.Errorf("message of %d bytes: %q", len(message), message)
		}
		granted, err := GrantSubject(in.Request.RequestSpec())
		if err == nil && granted.Kind != v1alpha1.ServiceAccountKind && strings.HasPrefix(granted.Name, "system:") {
			t.Errorf("%+v would be granted access", granted)
		}
		policy := Compile(stored(offer("p").From(requester).To(grantee)))
		if still := len(policy.StillAllows(in, time.Hour)) == 0; still != (d.Verdict == Allowed) {
			t.Errorf("still allows = %v, verdict = %s", still, d.Verdict)
		}
	})
}

// mayAsk is the rule again, written to be read and not to be fast.
func mayAsk(user, group string, requester, subject, grantee v1alpha1.Subject) bool {
	if user == "" || !isListed(user, group, requester) {
		return false
	}
	asker, target := plain(v1alpha1.Subject{Kind: "User", Name: user}), plain(subject)
	if subject == (v1alpha1.Subject{}) {
		return asker != ""
	}
	return target != "" && (target == asker || target == plain(grantee) && !strings.HasPrefix(grantee.Name, "system:"))
}

func isListed(user, group string, requester v1alpha1.Subject) bool {
	wide := requester.Kind == "Group" && strings.HasPrefix(requester.Name, "system:") && requester.Name != "system:unauthenticated"
	if plain(requester) == "" && (!wide || requester.Namespace != "") {
		return false
	}
	switch requester.Kind {
	case "User":
		return user == requester.Name && !strings.HasPrefix(user, "system:")
	case "Group":
		return group == requester.Name
	default:
		return user == "system:serviceaccount:"+requester.Namespace+":"+requester.Name
	}
}

// plain writes a subject as kind/namespace/name, and as nothing if it is not one that
// can be granted anything.
func plain(s v1alpha1.Subject) string {
	if s.Kind == "User" && s.Namespace == "" && strings.HasPrefix(s.Name, "system:serviceaccount:") {
		parts := strings.Split(s.Name, ":")
		if len(parts) != 4 {
			return ""
		}
		s = builders.ServiceAccount(parts[2], parts[3])
	}
	whole := s.Kind + "\x00" + s.Namespace + "\x00" + s.Name
	switch {
	case s.Kind == "ServiceAccount" && lowercase(s.Namespace, "-", 63) && lowercase(s.Name, "-.", 253) && tidyDots(s.Name):
		return whole
	case s.Kind != "User" && s.Kind != "Group":
		return ""
	case s.Name == "", s.Namespace != "", strings.HasPrefix(s.Name, "system:"):
		return ""
	}
	return whole
}

func tidyDots(s string) bool {
	return !strings.Contains(s, "..") && !strings.Contains(s, "-.") && !strings.Contains(s, ".-")
}

// lowercase says whether s is the name of an object: small letters and digits, and
// inside also those of also.
func lowercase(s, also string, longest int) bool {
	for i := range len(s) {
		inner := i > 0 && i < len(s)-1
		letter := s[i] >= 'a' && s[i] <= 'z' || s[i] >= '0' && s[i] <= '9'
		if !letter && (!inner || !strings.ContainsRune(also, rune(s[i])) || s[i] >= utf8.RuneSelf) {
			return false
		}
	}
	return s != "" && len(s) <= longest
}
