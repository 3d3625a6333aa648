// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// homoglyph is alice with a Cyrillic а.
const homoglyph = "аlice"

func TestEvaluateMatches(t *testing.T) {
	user, group, account := builders.User, builders.Group, builders.ServiceAccount
	bot := "system:serviceaccount:ci:bot"
	emptySelector := func(p *v1alpha1.AccessPolicy) { p.Spec.Namespaces.Selector = &metav1.LabelSelector{} }
	inPreviews := builders.Policy("p").SelectingBy(label(corev1.LabelMetadataName, metav1.LabelSelectorOpExists)).
		If("request.metadata.namespace.startsWith('pr-')", "")
	for name, tc := range map[string]struct {
		request builders.RequestBuilder
		policy  builders.PolicyBuilder
		edit    func(*v1alpha1.AccessPolicy)
		want    Verdict
	}{
		"a requester listed by name is allowed":         {ask(), offer("p"), nil, Allowed},
		"a requester listed by group is allowed":        {ask(), offer("p").From(group("oncall")), nil, Allowed},
		"a requester not listed matches nothing":        {ask(), offer("p").From(user("bob")), nil, NoMatchingPolicy},
		"a homoglyph in the policy is somebody else":    {ask(), offer("p").From(user(homoglyph)), nil, NoMatchingPolicy},
		"a homoglyph in the request is somebody else":   {ask().By(homoglyph), offer("p"), nil, NoMatchingPolicy},
		"a name in capitals is somebody else":           {ask().By("Alice"), offer("p"), nil, NoMatchingPolicy},
		"a name with a space after it is somebody else": {ask().By("alice "), offer("p"), nil, NoMatchingPolicy},
		"a user is not the group of that name":          {ask().By("oncall"), offer("p").From(group("oncall")), nil, NoMatchingPolicy},
		"a group is not the user of that name":          {ask().By("bob", "alice"), offer("p"), nil, NoMatchingPolicy},
		"no requesters match nobody":                    {ask(), offer("p").From(), nil, NoMatchingPolicy},
		"an empty name in a policy matches nobody":      {ask(), offer("p").From(user(""), group("")), nil, NoMatchingPolicy},
		"an empty group matches no empty group":         {ask().By("bob", ""), offer("p").From(group("")), nil, NoMatchingPolicy},
		"all who log in may ask":                        {ask(), offer("p").From(group("system:authenticated")), nil, Allowed},
		"nobody is all who do not log in": {
			ask().By("system:anonymous", "system:unauthenticated").To(user("alice")),
			offer("p").From(group("system:unauthenticated")).To(user("alice")), nil, NoMatchingPolicy,
		},
		"a user of Kubernetes in a policy is ignored": {
			ask().By("system:admin").To(user("alice")), offer("p").From(user("system:admin")).To(user("alice")), nil, NoMatchingPolicy,
		},
		"a ServiceAccount matches by namespace and name": {ask().By(bot), offer("p").From(account("ci", "bot")), nil, Allowed},
		"a ServiceAccount of another namespace does not": {ask().By(bot), offer("p").From(account("cd", "bot")), nil, NoMatchingPolicy},
		"a ServiceAccount is not listed as a User":       {ask().By(bot), offer("p").From(user(bot)), nil, NoMatchingPolicy},
		"a colon cannot move between namespace and name": {
			ask().By("system:serviceaccount:a:b:c"), offer("p").From(account("a:b", "c"), account("a", "b:c")), nil, Denied,
		},
		"a group counts for a ServiceAccount too": {ask().By(bot, "robots"), offer("p").From(group("robots")), nil, Allowed},
		"an unknown kind of requester is ignored": {ask(), offer("p").From(v1alpha1.Subject{Kind: "*", Name: "alice"}), nil, NoMatchingPolicy},

		"another role is not offered":               {ask().ForClusterRole("edit"), offer("p"), nil, NoMatchingPolicy},
		"a Role is not the ClusterRole of its name": {ask().ForRole("view"), offer("p"), nil, NoMatchingPolicy},
		"a Role is offered by its name":             {ask().ForRole("view"), offer("p").AllowingRole("view"), nil, Allowed},
		"no roles match nothing":                    {ask(), offer("p").Allowing(), nil, NoMatchingPolicy},
		"an empty role matches no empty role":       {ask().ForClusterRole(""), offer("p").Allowing(""), nil, NoMatchingPolicy},

		"a namespace is matched by its label":             {ask(), builders.Policy("p").Selecting("team", "payments"), nil, Allowed},
		"another value of the label does not match":       {ask(), builders.Policy("p").Selecting("team", "billing"), nil, NoMatchingPolicy},
		"either names or selector is enough: names":       {ask(), offer("p").Selecting("team", "billing"), nil, Allowed},
		"either names or selector is enough: selector":    {ask(), builders.Policy("p").In("shop").Selecting("team", "payments"), nil, Allowed},
		"no namespaces match nothing":                     {ask(), builders.Policy("p"), nil, NoMatchingPolicy},
		"an empty selector matches nothing, not all":      {ask(), builders.Policy("p"), emptySelector, NoMatchingPolicy},
		"a star is no wildcard":                           {ask(), builders.Policy("p").In("*", "pay*"), nil, NoMatchingPolicy},
		"an invalid selector leaves the names, and fails": {ask(), offer("p").Selecting("-", "-"), nil, Denied},
		"a pattern as of the cookbook, in":                {ask().In("pr-4211"), inPreviews, nil, Allowed},
		"a pattern as of the cookbook, out":               {ask().In("my-pr-1"), inPreviews, nil, Denied},

		"policyName leaves the policy that it names": {ask().UnderPolicy("p"), offer("p"), nil, Allowed},
		"policyName rules another policy out":        {ask().UnderPolicy("q"), offer("p"), nil, NoMatchingPolicy},
		"policyName is compared exactly":             {ask().UnderPolicy("p "), offer("p"), nil, NoMatchingPolicy},
	} {
		t.Run(name, func(t *testing.T) {
			p := stored(tc.policy)
			if tc.edit != nil {
				tc.edit(p)
			}
			d, err := Evaluate(inputOf(tc.request.Build()), []*Compiled{Compile(p)})
			if err != nil || d.Verdict != tc.want {
				t.Errorf("verdict = %s, %v, want %s: %s", d.Verdict, err, tc.want, d.Message())
			}
		})
	}
}

func TestEvaluateJudgesSubjects(t *testing.T) {
	user, group, account := builders.User, builders.Group, builders.ServiceAccount
	bot := "system:serviceaccount:ci:bot"
	for name, tc := range map[string]struct {
		request builders.RequestBuilder
		policy  builders.PolicyBuilder
		want    Verdict
	}{
		"the requester needs not be among the grantees": {ask().To(user("alice")), offer("p"), Allowed},
		"a ServiceAccount may ask for itself": {
			ask().By(bot).To(account("ci", "bot")), offer("p").From(account("ci", "bot")), Allowed,
		},
		"somebody else is refused by default":              {ask().To(user("bob")), offer("p"), Denied},
		"somebody else is allowed as a grantee":            {ask().To(user("bob")), offer("p").To(user("bob")), Allowed},
		"being a requester is not being a grantee":         {ask().To(user("bob")), offer("p").From(user("alice"), user("bob")), Denied},
		"a homoglyph of the requester is somebody else":    {ask().To(user(homoglyph)), offer("p"), Denied},
		"a homoglyph of a grantee is somebody else":        {ask().To(user(homoglyph)), offer("p").To(user("alice")), Denied},
		"the requester's name as a group is somebody else": {ask().To(group("alice")), offer("p"), Denied},
		"the requester's own group is somebody else":       {ask().To(group("oncall")), offer("p").From(group("oncall")), Denied},
		"a group is allowed as a grantee":                  {ask().To(group("oncall")), offer("p").To(group("oncall")), Allowed},
		"a group as grantee says nothing of its members":   {ask().To(user("bob")), offer("p").To(group("oncall")), Denied},
		"a ServiceAccount is a grantee by its namespace":   {ask().To(account("ci", "bot")), offer("p").To(account("ci", "bot")), Allowed},
		"a ServiceAccount elsewhere is not":                {ask().To(account("cd", "bot")), offer("p").To(account("ci", "bot")), Denied},
		"a node may ask for a person that is listed": {
			ask().By("system:node:n1", "nodes").To(user("bob")), offer("p").From(group("nodes")).To(user("bob")), Allowed,
		},
		"a node may not ask for a person that is not": {
			ask().By("system:node:n1", "nodes").To(user("bob")), offer("p").From(group("nodes")), Denied,
		},
		"a node may not ask for itself":                    {ask().By("system:node:n1", "nodes"), offer("p").From(group("nodes")), Denied},
		"a system group is refused though it is a grantee": {ask().To(group("system:masters")), offer("p").To(group("system:masters")), Denied},
		"an empty subject is refused though it is listed":  {ask().To(v1alpha1.Subject{}), offer("p").To(v1alpha1.Subject{}), Denied},
		"an unknown kind of subject is refused when listed": {
			ask().To(v1alpha1.Subject{Kind: "Node", Name: "n"}), offer("p").To(v1alpha1.Subject{Kind: "Node", Name: "n"}), Denied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := judged(t, inputOf(tc.request.Build()), tc.policy); d.Verdict != tc.want {
				t.Errorf("verdict = %s, want %s: %s", d.Verdict, tc.want, d.Message())
			}
		})
	}
}

func TestEvaluateBoundsDuration(t *testing.T) {
	defaulted := func(p *v1alpha1.AccessPolicy) { p.Spec.DefaultDuration = &metav1.Duration{Duration: 30 * time.Minute} }
	tooLong := func(p *v1alpha1.AccessPolicy) { p.Spec.DefaultDuration = &metav1.Duration{Duration: 3 * time.Hour} }
	for name, tc := range map[string]struct {
		asked     time.Duration // zero: the request names none
		limit     time.Duration
		ceiling   time.Duration
		edit      func(*v1alpha1.AccessPolicy)
		want      time.Duration // zero: denied
		objection string
	}{
		"at the policy's limit: allowed": {asked: 2 * time.Hour, limit: 2 * time.Hour, ceiling: 24 * time.Hour, want: 2 * time.Hour},
		"one past the policy's limit": {
			asked: 2*time.Hour + time.Second, limit: 2 * time.Hour, ceiling: 24 * time.Hour,
			objection: "duration 2h0m1s is longer than its maxDuration 2h",
		},
		"at the ceiling: allowed": {asked: time.Hour, limit: 2 * time.Hour, ceiling: time.Hour, want: time.Hour},
		"one past the ceiling": {
			asked: time.Hour + time.Second, limit: 2 * time.Hour, ceiling: time.Hour,
			objection: "duration 1h0m1s is longer than the operator's ceiling 1h",
		},
		"past both: the lower is named": {
			asked: 3 * time.Hour, limit: 2 * time.Hour, ceiling: time.Hour, objection: "duration 3h is longer than the operator's ceiling 1h",
		},
		"not named: the policy's default":  {limit: 2 * time.Hour, ceiling: 24 * time.Hour, edit: defaulted, want: 30 * time.Minute},
		"not named, no default: its limit": {limit: 2 * time.Hour, ceiling: 24 * time.Hour, want: 2 * time.Hour},
		"a default past the policy's limit": {
			limit: 2 * time.Hour, ceiling: 24 * time.Hour, edit: tooLong,
			objection: "the request names no duration, and the policy's default 3h is longer than its maxDuration 2h",
		},
		"a default past the ceiling": {
			limit: 2 * time.Hour, ceiling: time.Hour,
			objection: "the request names no duration, and the policy's default 2h is longer than the operator's ceiling 1h",
		},
		"negative": {
			asked: -time.Second, limit: time.Hour, ceiling: time.Hour, objection: "duration -1s is not longer than 0s",
		},
		"a policy without a limit": {
			ceiling: time.Hour, objection: "the request names no duration, and the policy's default 0s is not longer than 0s",
		},
		"a named one, without a limit": {asked: time.Second, ceiling: time.Hour, objection: "duration 1s is longer than its maxDuration 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			p := stored(offer("p").AtMost(tc.limit))
			if tc.edit != nil {
				tc.edit(p)
			}
			in := inputOf(ask().Lasting(tc.asked).Build())
			in.Limits.MaxDuration = tc.ceiling
			d, err := Evaluate(in, []*Compiled{Compile(p)})
			if err != nil {
				t.Fatal(err)
			}
			if (d.Verdict == Allowed) != (tc.want > 0) || d.Duration != tc.want {
				t.Errorf("verdict = %s for %s, want %s", d.Verdict, d.Duration, tc.want)
			}
			if tc.objection != "" && !reflect.DeepEqual(d.Denials, []Denial{{"p", []string{tc.objection}}}) {
				t.Errorf("denials = %q, want %q", d.Denials, tc.objection)
			}
		})
	}
}

func TestEvaluateRefusesWhateverPoliciesSay(t *testing.T) {
	deleting := func(in *Input) { in.Namespace.DeletionTimestamp = &metav1.Time{Time: noon} }
	ceiling := func(d time.Duration) func(*Input) {
		return func(in *Input) { in.Limits.MaxDuration = d }
	}
	in := func(namespace string) builders.RequestBuilder { return ask().In(namespace) }
	for name, tc := range map[string]struct {
		request builders.RequestBuilder
		edit    func(*Input)
		want    string // the refusal; empty: allowed
	}{
		"nothing is wrong": {request: ask()},
		"no requester": {
			ask(), func(in *Input) { in.Request.RequestSpec().Requester = nil },
			"requester is missing, so it is not known who asks",
		},
		"a requester without a name": {ask().By("", "oncall"), nil, "requester is missing, so it is not known who asks"},
		"a user of Kubernetes": {
			ask().By("system:admin"), nil,
			`requester User "system:admin" cannot be granted anything: users and groups that begin with system: belong to Kubernetes`,
		},
		"a namespace that does not exist": {ask(), func(in *Input) { in.Namespace = nil }, `namespace "payments" does not exist`},
		"a namespace that is deleted":     {ask(), deleting, `namespace "payments" is being deleted`},
		"a reserved namespace": {
			in("lapse-system"), nil, `namespace "lapse-system" is reserved by the operator ("lapse-system"), whatever policies say`,
		},
		"a reserved prefix": {
			in("kube-public"), nil, `namespace "kube-public" is reserved by the operator ("kube-*"), whatever policies say`,
		},
		"not quite a reserved prefix":     {request: in("kube")},
		"not quite a reserved name":       {request: in("lapse-system-2")},
		"an empty entry reserves nothing": {request: ask(), edit: func(in *Input) { in.Limits.ReservedNamespaces = []string{""} }},
		"a ceiling of zero":               {ask(), ceiling(0), "the operator's ceiling for durations is 0s, so nothing is granted"},
		"a negative ceiling":              {ask(), ceiling(-time.Second), "the operator's ceiling for durations is -1s, so nothing is granted"},
		"notAfter a second from now":      {request: ask().NotAfter(noon.Add(time.Second))},
		"notAfter at this moment": {
			ask().NotAfter(noon), nil,
			"notAfter 2026-12-01T12:00:00Z is in the past, it is now 2026-12-01T12:00:00Z; create a request with a later one",
		},
		"notAfter a second ago": {
			ask().NotAfter(noon.Add(-time.Second)), nil,
			"notAfter 2026-12-01T11:59:59Z is in the past, it is now 2026-12-01T12:00:00Z; create a request with a later one",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := tc.request.Build()
			in := inputOf(req)
			if tc.edit != nil {
				tc.edit(&in)
			}
			d := judged(t, in, offer("p").In(req.Namespace))
			want, refusals := Allowed, []string(nil)
			if tc.want != "" {
				want, refusals = Denied, []string{tc.want}
			}
			if d.Verdict != want || !slices.Equal(d.Refusals, refusals) {
				t.Errorf("verdict = %s %q, want %s %q", d.Verdict, d.Refusals, want, refusals)
			}
			if tc.want != "" && d.Message() != tc.want {
				t.Errorf("message = %q", d.Message())
			}
		})
	}
}

func TestEvaluateDoesNotDecideWhatItCannotTell(t *testing.T) {
	for name, edit := range map[string]func(*Input){
		"there is no request":                   func(in *Input) { in.Request = nil },
		"there is no time":                      func(in *Input) { in.Now = time.Time{} },
		"the namespace is that of another":      func(in *Input) { in.Namespace = builders.Namespace("shop") },
		"roles cannot be looked up":             func(in *Input) { in.Roles = failing },
		"there is nowhere to look roles up":     func(in *Input) { in.Roles = nil },
		"a role is found and an error besides":  func(in *Input) { in.Roles = foundButFailing },
		"the namespace has no name, or another": func(in *Input) { in.Namespace = builders.Namespace("") },
	} {
		t.Run(name, func(t *testing.T) {
			in := inputOf(ask().Build())
			edit(&in)
			d, err := Evaluate(in, compileAll(offer("p"), offer("q")))
			if err == nil || !reflect.DeepEqual(d, Decision{}) {
				t.Errorf("decision = %+v, %v, want an error and nothing else", d, err)
			}
		})
	}
	in := inputOf(ask().Build())
	in.Roles = failing
	_, err := Evaluate(in, compileAll(offer("p")))
	if want := `looking up ClusterRole "view": the API server is down`; err == nil || err.Error() != want || !errors.Is(err, errDown) {
		t.Errorf("error = %v, want %s", err, want)
	}
	if (Decision{}).Verdict == Allowed || (Decision{}).Message() != "nothing was decided" {
		t.Error("a zero decision is a yes")
	}
}

func foundButFailing(v1alpha1.RoleRef) (Role, bool, error) {
	return Role{Rules: readPods}, true, errDown
}

func TestZeroCompiledAllowsNothing(t *testing.T) {
	in := inputOf(ask().Build())
	for name, c := range map[string]*Compiled{
		"zero": {}, "of nil": Compile(nil), "of an empty policy": Compile(&v1alpha1.AccessPolicy{}), "nil": nil,
	} {
		if d, err := Evaluate(in, []*Compiled{c}); err != nil || d.Verdict != NoMatchingPolicy {
			t.Errorf("%s: verdict = %s, %v", name, d.Verdict, err)
		}
		if c != nil && len(c.StillAllows(in, time.Second)) == 0 {
			t.Errorf("%s: still allows", name)
		}
	}
	if d, err := Evaluate(in, nil); err != nil || d.Verdict != NoMatchingPolicy {
		t.Errorf("no policies: verdict = %s, %v", d.Verdict, err)
	}
}
