// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
)

// FuzzText: what somebody wrote comes out bounded and such that a terminal shows it as
// it is.
func FuzzText(f *testing.F) {
	f.Add("oncall", 10)
	f.Add("\x1b]0;title\x07\u202e\u200b\xff\r\n", 12)
	f.Add(strings.Repeat("ä", maxQuoted), 3)
	f.Add("", 0)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit = len("…") + max(limit, 0)%1024
		for what, got := range map[string]string{
			"quote": quote(s), "oneLine": text.Line(s), "kind": kindText(s), "short": short(s),
			"subject": subjectText(v1alpha1.Subject{Kind: s, Name: s, Namespace: s}), "account": subjectText(builders.ServiceAccount(s, s)),
			"role": roleText(v1alpha1.RoleRef{Kind: s, Name: s}), "list": list([]string{quote(s), quote(s), quote(s), quote(s), quote(s), quote(s)}),
		} {
			if !printable(got) {
				t.Errorf("%s(%q) = %q", what, s, got)
			}
		}
		if text, err := strconv.Unquote(quote(s)); err != nil || len(text) > maxQuoted+utf8.UTFMax || len(s) <= maxQuoted && text != s {
			t.Errorf("quote(%q) means %q, %v", s, text, err)
		}
		if got := text.Cut(s, limit); len(got) > limit || len(s) <= limit && got != s || utf8.ValidString(s) && !utf8.ValidString(got) {
			t.Errorf("text.Cut(%q, %d) = %q", s, limit, got)
		}
	})
}

func printable(s string) bool {
	return utf8.ValidString(s) && text.Printable(s, "") == s
}

// FuzzDanger: whatever a role allows, what is told of it is bounded and readable, more
// rules are never less dangerous, and what gives everything is always dangerous.
func FuzzDanger(f *testing.F) {
	f.Add("ClusterRole", "view", "", "pods", "get", "")
	f.Add("ClusterRole", "x", "*", "*", "*", "")
	f.Add("Role", "system:x", "rbac.authorization.k8s.io", "roles", "escalate,bind", "\x1b[2J")
	f.Add("ClusterRole", "cluster-admin", "", "pods/exec,*/exec,serviceaccounts/token", "create", "")
	f.Add("ClusterRole", "x", "", "users,groups,uids,userextras/x", "impersonate,impersonate:user-info", strings.Repeat("n", 300))
	f.Fuzz(func(t *testing.T, kind, name, groups, resources, verbs, names string) {
		ref := v1alpha1.RoleRef{Kind: kind, Name: name}
		one := rbacv1.PolicyRule{
			APIGroups: strings.Split(groups, ","), Resources: strings.Split(resources, ","), Verbs: strings.Split(verbs, ","),
			ResourceNames: strings.FieldsFunc(names, func(r rune) bool { return r == ',' }),
		}
		dangers, risks := Dangers(ref, []rbacv1.PolicyRule{one}), Risks(ref, []rbacv1.PolicyRule{one})
		for _, text := range append(slices.Clone(dangers), risks...) {
			// Five quoted words, each byte of them written as \x00 at worst.
			if !printable(text) || len(text) > 3*maxListed*4*maxQuoted {
				t.Errorf("%d bytes: %q", len(text), text)
			}
		}
		more := Dangers(ref, append([]rbacv1.PolicyRule{one}, readPods...))
		if len(more) < len(dangers) {
			t.Errorf("with one rule more it is less dangerous: %q, then %q", dangers, more)
		}
		takesOver := slices.ContainsFunc(one.Verbs, func(verb string) bool { return verb == "*" || verb == "bind" || verb == "escalate" })
		if all := slices.Contains(one.Resources, "*"); (all || takesOver) && len(dangers) == 0 {
			t.Errorf("%v on %v is not dangerous", one.Verbs, one.Resources)
		}
	})
}

// FuzzTimes: whatever durations and times say, what is allowed lasts longer than nothing
// and no longer than the request, the policy and the operator say.
func FuzzTimes(f *testing.F) {
	hour := int64(time.Hour)
	f.Add(hour, hour, hour, 24*hour, int64(0), hour)
	f.Add(int64(0), 4*hour, hour, 24*hour, hour, 2*hour)
	f.Add(int64(0), 4*hour, 5*hour, 24*hour, int64(0), -hour)
	f.Add(-hour, -hour, -hour, int64(0), int64(0), int64(0))
	f.Add(int64(1<<63-1), int64(1<<63-1), int64(1<<63-1), int64(1<<63-1), int64(1<<62), int64(1<<62))
	f.Fuzz(func(t *testing.T, asks, most, usually, ceiling, after, before int64) {
		request := ask().Lasting(time.Duration(asks)).NotBefore(noon.Add(time.Duration(after))).NotAfter(noon.Add(time.Duration(before)))
		p := stored(offer("p").AtMost(time.Duration(most)))
		p.Spec.DefaultDuration = &metav1.Duration{Duration: time.Duration(usually)}
		in := inputOf(request.Build())
		in.Limits.MaxDuration = time.Duration(ceiling)
		d, err := Evaluate(in, []*Compiled{Compile(p)})
		if err != nil {
			t.Fatal(err)
		}
		if !printable(d.Message()) || len(d.Message()) > maxMessage {
			t.Errorf("message = %q", d.Message())
		}
		if d.Verdict != Allowed {
			return
		}
		wants := asks
		if asks == 0 {
			wants = usually
		}
		if got := int64(d.Duration); got != wants || got <= 0 || got > min(most, ceiling) || before <= 0 {
			t.Errorf("allowed for %s: asks %d, at most %d, usually %d, ceiling %d, not after %d", d.Duration, asks, most, usually, ceiling, before)
		}
		if again, err := time.ParseDuration(text.Duration(d.Duration)); err != nil || again != d.Duration {
			t.Errorf("%s is written %s", d.Duration, text.Duration(d.Duration))
		}
	})
}

// FuzzTally: whoever votes, and however often, requester and grantee count for nothing
// and nobody counts twice; it is met only by as many people as are asked for, and by
// all orders of votes alike.
func FuzzTally(f *testing.F) {
	f.Add("alice", "bob", "bob,carol", "leads,security", "leads", uint8(1), uint8(1))
	f.Add("alice", "", "bob,bob,bob", "leads", "leads", uint8(3), uint8(0))
	f.Add("system:serviceaccount:ci:bot", "", "system:serviceaccount:ci:bot,carol", "leads", "leads", uint8(1), uint8(1))
	f.Add("", "", "", "", "", uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, asks, gets, voters, groups, listed string, first, second uint8) {
		req := askedBy(asks)
		if gets != "" {
			req.Spec.Subject = &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: gets}
		}
		d := rules(from(int32(first%8), builders.Group(listed), builders.User(gets)),
			from(int32(second%8), builders.Group("leads"), builders.User(asks)))
		votes := votesOf(strings.Split(voters, ","), strings.Split(groups, ","))
		tally := d.Count(req, votes, asked.Add(time.Hour))
		people := map[string]bool{}
		for _, a := range tally.Counted {
			if people[a.Reviewer] || slices.Contains([]string{"", asks, gets}, a.Reviewer) {
				t.Errorf("%q counts: %+v", a.Reviewer, tally)
			}
			people[a.Reviewer] = true
		}
		if wanted := int(first%8) + int(second%8); len(people) > wanted || tally.Met() != (len(people) == wanted) {
			t.Errorf("met = %v by %d of %d", tally.Met(), len(people), wanted)
		}
		slices.Reverse(votes)
		if again := d.Count(req, votes, asked.Add(time.Hour)); again.Met() != tally.Met() || len(again.Counted) != len(tally.Counted) {
			t.Errorf("another order counts otherwise: %+v, then %+v", tally, again)
		}
		if !printable(tally.Text()) {
			t.Errorf("text = %q", tally.Text())
		}
	})
}

// votesOf are an approval of each voter, all in the same groups.
func votesOf(voters, groups []string) []v1alpha1.AccessDecision {
	out := make([]v1alpha1.AccessDecision, 0, len(voters))
	for i, voter := range voters {
		v := vote(voter, groups...)
		v.Name = strconv.Itoa(i)
		out = append(out, v)
	}
	return out
}
