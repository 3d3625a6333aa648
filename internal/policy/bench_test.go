// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

const benchPolicies = 1000

// BenchmarkEvaluate decides one request among 1000 policies of 3 conditions each. The
// aim is one millisecond.
func BenchmarkEvaluate(b *testing.B) {
	req := ask().By("alice", benchGroups()...).Because("INC-4211: checkout returns 500").Build()
	for _, tc := range []struct {
		name    string
		policy  func(i int) buildable
		request *v1alpha1.AccessRequest
		want    Verdict
	}{
		// Teams with a policy each, and one condition of three in common.
		{"realistic, allowed by the last", func(i int) buildable {
			p := builders.Policy(fmt.Sprintf("p%04d", i)).From(builders.Group(fmt.Sprint("team-", i%50)), builders.Group(fmt.Sprint("leads-", i))).
				In(fmt.Sprint("ns-", i)).Allowing("view", "edit")
			if i == benchPolicies-1 {
				p = p.From(builders.User("alice")).In("payments").Selecting("team", "payments")
			}
			return conditions(p, i)
		}, req, Allowed},
		{"realistic, refused", func(i int) buildable {
			return conditions(builders.Policy(fmt.Sprintf("p%04d", i)).From(builders.Group(fmt.Sprint("team-", i%50))).
				Selecting("team", fmt.Sprint("team-", i%200)).Allowing("view", "edit"), i)
		}, req, NoMatchingPolicy},
		// Every policy is for the request, and the last by name allows.
		{"all match, all refuse but the last, same expressions", func(i int) buildable {
			p := offer(fmt.Sprintf("p%04d", i)).If("request.spec.reason.matches('^INC-[0-9]+')", "").If("now.getHours('Europe/Berlin') < 20", "")
			if i == benchPolicies-1 {
				return p.If("true", "")
			}
			return p.If("request.metadata.name == 'other'", "")
		}, req, Allowed},
		{"all match, all refuse, same expressions", func(i int) buildable {
			return offer(fmt.Sprintf("p%04d", i)).If("request.spec.reason.matches('^CHG-[0-9]+')", "the reason must begin with a change number").
				If("now.getHours('Europe/Berlin') < 9", "").If("request.metadata.name == 'other'", "")
		}, req, Denied},
		{"all match, all refuse, all expressions differ", func(i int) buildable {
			return offer(fmt.Sprintf("p%04d", i)).If(fmt.Sprintf("request.spec.reason.matches('^CHG-[0-9]+-%d')", i),
				"the reason must begin with a change number").
				If(fmt.Sprintf("now.getHours() < 9 - %d", i), "").If(fmt.Sprintf("request.metadata.name == 'other-%d'", i), "")
		}, req, Denied},
		{"all match, all refuse at the third, all expressions differ", func(i int) buildable {
			return offer(fmt.Sprintf("p%04d", i)).If(fmt.Sprintf("request.spec.reason.matches('^INC-[0-9]+') || %d < 0", i), "").
				If(fmt.Sprintf("now.getHours() < 20 + %d", i), "").If(fmt.Sprintf("request.metadata.name == 'other-%d'", i), "")
		}, req, Denied},
		{"all match, all too long", func(i int) buildable {
			return conditions(offer(fmt.Sprintf("p%04d", i)).AtMost(time.Minute), i)
		}, req, Denied},
		{"all near misses", func(i int) buildable {
			return conditions(offer(fmt.Sprintf("p%04d", i)).From(builders.Group("others")), i)
		}, req, NoMatchingPolicy},
	} {
		b.Run(tc.name, func(b *testing.B) {
			cache := NewCache(2 * benchPolicies)
			policies := make([]*Compiled, 0, benchPolicies)
			for i := range benchPolicies {
				policies = append(policies, cache.Compiled(stored(tc.policy(i))))
			}
			in := inputOf(tc.request)
			b.ReportAllocs()
			for b.Loop() {
				if d, err := Evaluate(in, policies); err != nil || d.Verdict != tc.want {
					b.Fatalf("verdict = %s, %v: %s", d.Verdict, err, d.Message())
				}
			}
		})
	}
}

func benchGroups() []string {
	groups := append(make([]string, 0, 21), "system:authenticated")
	for i := range 20 {
		groups = append(groups, fmt.Sprint("team-", i*100))
	}
	return groups
}

func conditions(p builders.PolicyBuilder, i int) buildable {
	return p.If("request.spec.reason.matches('^INC-[0-9]+')", "the reason must begin with an incident number").
		If(fmt.Sprintf("request.spec.duration <= duration('%dm')", 60+i), "").
		If("now.getHours('Europe/Berlin') >= 9 && now.getHours('Europe/Berlin') < 20", "only in working hours")
}

// BenchmarkCompile compiles one policy of 3 conditions.
func BenchmarkCompile(b *testing.B) {
	p := stored(conditions(offer("p"), 0))
	b.ReportAllocs()
	for b.Loop() {
		if c := Compile(p); len(c.problems) > 0 {
			b.Fatal(c.problems)
		}
	}
}

// BenchmarkCache finds 1000 policies compiled.
func BenchmarkCache(b *testing.B) {
	cache := NewCache(2 * benchPolicies)
	policies := make([]*v1alpha1.AccessPolicy, 0, benchPolicies)
	for i := range benchPolicies {
		policies = append(policies, stored(conditions(offer(fmt.Sprint(i)), i)))
		cache.Compiled(policies[i])
	}
	b.ReportAllocs()
	for b.Loop() {
		for _, p := range policies {
			cache.Compiled(p)
		}
	}
}
