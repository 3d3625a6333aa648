// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/hostile"
)

// said are the verdicts and comments so far, and on what.
func (d *desk) said() (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.decisions {
		spec := &d.decisions[i].Spec
		all = append(all, strings.Join([]string{string(spec.Verdict), spec.RequestRef.Name, string(spec.RequestRef.UID), spec.Comment}, " "))
	}
	return all
}

func (d *desk) mustHaveSaid(want ...string) {
	d.t.Helper()
	if got := d.said(); !slices.Equal(got, want) {
		d.t.Errorf("what was decided is %q, want %q", got, want)
	}
}

func TestAWordOnThePageIsOnTheRequestThatIsShown(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	d.pending("second", "alice")
	b := browse(t, d.ServeHTTP)
	page := b.send(b.open("for-me"), "decide", "second", "verdict", "Approve", "comment", "go ahead")
	d.mustHaveSaid("Approve second uid-1 go ahead")
	mustShow(t, page, "granted: alice holds ClusterRole edit in payments until")
	page = b.send(b.open("for-me"), "decide", "first", "verdict", "Deny")
	d.mustHaveSaid("Approve second uid-1 go ahead", "Deny first uid-0 ")
	mustShow(t, page, "first: Denied")
	page = b.send(b.open("now"), "decide", "second", "verdict", "Revoke", "comment", "the incident is over")
	mustShow(t, page, "second: Revoked: the incident is over")
}

func TestAWordLeadsToAPageThatNamesTheRequestAndHasNoButton(t *testing.T) {
	for _, tc := range []struct{ who, on, action, verdict, leads string }{
		{"bob", "for-me", "decide", "Approve", "Go on: To approve"},
		{"bob", "for-me", "decide", "Bless", "Go on: To approve"},
		{"bob", "now", "decide", "Revoke", "Go on: Now"},
		{"alice", "mine", "return", "", "Go on: Mine"},
		{"bob", "story?namespace=payments&name=first", "decide", "Deny", ""},
	} {
		d := newDesk(t, tc.who)
		d.pending("first", "alice")
		d.pending("second", "alice")
		b := browse(t, d.ServeHTTP)
		page := b.send(b.open(tc.on), tc.action, "first", "verdict", tc.verdict)
		mustShow(t, page, "payments/first: edit for alice", tc.leads, "The story of payments/first")
		_, banner, found := strings.Cut(page, `tabindex="-1" autofocus=""`)
		if !found || !strings.HasPrefix(banner, "><p><bdi>payments/first: ") {
			t.Errorf("what came of %s on %s does not have the focus: %.80s", tc.verdict, tc.on, banner)
		}
		if strings.Contains(page, "<button") {
			t.Errorf("a second click on %s may do something", tc.on)
		}
	}
}

func TestNobodyAddsALineToWhatCameOfAWord(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice\ngranted: bob holds all")
	b := browse(t, d.ServeHTTP)
	page := b.send(b.open("now"), "decide", "first", "verdict", "Revoke", "comment", "whoever that is")
	mustShow(t, page, "payments/first: edit for alice")
	if strings.Contains(page, "<p><bdi>granted") {
		t.Error("somebody's name is a line of its own")
	}
}

func TestAWordIsNotGivenOnAnythingElse(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(*desk)
		more      []string
		want      string
	}{
		"it was deleted": {func(d *desk) { d.requests = nil }, nil, "first in payments is deleted"},
		"another one has its name": {func(d *desk) {
			other := *d.requests[0]
			other.UID, other.Spec.RoleRef.Name = "another", "cluster-admin"
			d.requests[0] = &other
		}, nil, "first in payments is another request than you were shown"},
		"it was granted": {func(d *desk) {
			d.requests[0].Status.State = v1alpha1.StateActive
		}, nil, "has changed since you were shown it; it is Active now"},
		"it is under another policy": {func(d *desk) {
			d.requests[0].Status.Policy = &v1alpha1.PolicyReference{Name: "lax", UID: "lax", Generation: 1}
		}, nil, "has changed since"},
		"its policy was edited": {func(d *desk) { d.requests[0].Status.Policy.Generation = 2 }, nil, "has changed since"},
		"its role allows more": {func(d *desk) {
			d.policies[0].Status.Risks = []string{"its holder can read secrets", "its holder can run pods"}
		}, nil, "the risks of first have changed since you were shown it. Look at them anew"},
		"its risks are left out": {func(*desk) {}, []string{"risks", ""}, "the risks of first have changed"},
		"its risks could be read, and cannot now": {func(d *desk) {
			d.refused = []string{"accesspolicies"}
		}, nil, "the risks of first have changed"},
		"its UID is left out":   {func(*desk) {}, []string{"uid", ""}, "is another request than you were shown"},
		"its word is none":      {func(*desk) {}, []string{"verdict", "Bless"}, `"Bless" is no word`},
		"no reason is given":    {func(*desk) {}, []string{"verdict", "Revoke"}, "--reason is missing"},
		"its comment is hidden": {func(*desk) {}, []string{"comment", "a\u202eb"}, "nothing was decided: --comment"},
		"he may not":            {func(d *desk) { d.me.Username = "carol" }, nil, "you (carol) are not among the approvers"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t, "bob")
			d.pending("first", "alice")
			b := browse(t, d.ServeHTTP)
			page := b.open("for-me")
			d.mu.Lock()
			tc.meanwhile(d)
			d.mu.Unlock()
			form := formsOf(t, page, "decide")[0].fields
			form.Set("verdict", "Approve")
			for i := 0; i < len(tc.more); i += 2 {
				form.Set(tc.more[i], tc.more[i+1])
			}
			page, _ = b.do(http.MethodPost, b.at+"decide", form)
			d.mustHaveSaid()
			mustShow(t, page, tc.want)
		})
	}
}

func TestADenialDoesNotWaitForWhatRisksThereAre(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	b := browse(t, d.ServeHTTP)
	page := b.open("for-me")
	d.mu.Lock()
	d.policies[0].Status.Risks = nil
	d.mu.Unlock()
	b.send(page, "decide", "first", "verdict", "Deny")
	d.mustHaveSaid("Deny first uid-0 ")
}

func TestWhoMayNotReadThePolicyMayApprove(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	d.refuse("accesspolicies")
	b := browse(t, d.ServeHTTP)
	b.send(b.open("story?namespace=payments&name=first"), "decide", "first", "verdict", "Approve")
	d.mustHaveSaid("Approve first uid-0 ")
}

func TestWhatIsMineIsGivenBack(t *testing.T) {
	d := newDesk(t, "alice")
	d.pending("mine", "alice")
	d.pending("hers", "carol")
	b := browse(t, d.ServeHTTP)
	page := b.open("mine")
	if forms := formsOf(t, page, "return"); len(forms) != 1 {
		t.Fatalf("%d can be given back", len(forms))
	}
	if forms := formsOf(t, b.open("for-me"), "decide"); len(forms) != 0 {
		t.Errorf("%d wait for her", len(forms))
	}
	theirs := formsOf(t, page, "return")[0].fields
	theirs.Set("name", "hers")
	theirs.Set("uid", "uid-1")
	page, _ = b.do(http.MethodPost, b.at+"return", theirs)
	d.mustHaveSaid()
	mustShow(t, page, "hers is not yours (alice) to give back")
	b.send(b.open("mine"), "return", "mine")
	d.mustHaveSaid("Revoke mine uid-0 ")
}

func TestTheStoryHasWhatMayBeDone(t *testing.T) {
	for who, want := range map[string][]string{
		"bob":   {"Approve", "Deny"},
		"alice": {"Withdraw", "Approve is not for you: you (alice) are not among the approvers"},
		"carol": {"Deny is not for you: you (carol) are not among the approvers"},
	} {
		d := newDesk(t, who)
		d.pending("first", "alice")
		page := browse(t, d.ServeHTTP).open("story?namespace=payments&name=first")
		mustShow(t, page, append(want, "first reason", "its holder can read secrets", "by policy leads", "waits for 1 of bob")...)
		if buttons := strings.Count(page, `name="verdict"`); (who == "bob") != (buttons == 2) {
			t.Errorf("%s has %d buttons", who, buttons)
		}
	}
	b := browse(t, newDesk(t, "bob").ServeHTTP)
	page, code := b.do(http.MethodGet, b.at+"story?namespace=payments&name=none", nil)
	if code != http.StatusNotFound {
		t.Errorf("what is not there is answered with %d", code)
	}
	mustShow(t, page, "none not found in namespace payments")
}

func TestAskingOnThePageIsCheckedTriedAndSent(t *testing.T) {
	d := newDesk(t, "alice")
	free := builders.Policy("free").From(builders.User("alice")).In("payments").Allowing("view").AtMost(time.Hour).Build()
	d.policies = append(d.policies, *free)
	b := browse(t, d.ServeHTTP)
	page := b.open("ask?namespace=payments")
	mustShow(t, page, "1 of bob", "free", "leads")
	for _, tc := range []struct{ do, role, lasting, reason, want string }{
		{"check", "view", "30m", "", "yes: alice may have ClusterRole view in payments for 30m, at once, by policy free"},
		{"check", "view", "2h", "", "longer than its maxDuration 1h"},
		{"check", "edit", "30m", "", "with approval: alice may have ClusterRole edit"},
		{"check", "admin", "30m", "", "no: no policy"},
		{"check", "view", "soon", "", `"soon" is no duration`},
		{"check", "", "1h", "", "Which role?"},
		{"check", "view", "1h", "a\u202eb", "reason must be one line of printable characters"},
		{"try", "view", "30m", "INC-1", "The API server would take it. What would become of it: policy free allows this for 30m"},
		{"try", "view", "30m", " ", "a request needs --reason"},
		{"ask", "view", "30m", "", "a request needs --reason"},
		{"ask", "group/x", "30m", "INC-1", `"group/x" is not a role`},
	} {
		page = b.send(page, "ask", "", "do", tc.do, "role", tc.role, "for", tc.lasting, "reason", tc.reason)
		mustShow(t, page, tc.want)
		if got := formsOf(t, page, "ask")[0].fields.Get("for"); got != tc.lasting {
			t.Errorf("what was filled in is lost: %q", got)
		}
	}
	if len(d.requests) > 0 {
		t.Fatalf("%d requests were made by looking", len(d.requests))
	}
	page = b.send(page, "ask", "", "do", "ask", "role", "edit", "for", "30m", "reason", "INC-4211: checkout")
	mustShow(t, page, "It is asked for.", "INC-4211: checkout", "Withdraw")
	spec := d.requests[0].Spec
	if spec.RoleRef.Name != "edit" || spec.Duration.Duration != 30*time.Minute || spec.Reason != "INC-4211: checkout" {
		t.Errorf("asked for %+v", spec)
	}
}

func TestWhatIsTypedIsCheckedWithoutALookAtAllThatIsOffered(t *testing.T) {
	d := newDesk(t, "alice")
	d.policies = nil
	for _, role := range []string{"role-1", "role-2", "role-3"} { // a policy has all its roles looked up
		d.policies = append(d.policies, *builders.Policy(role).From(builders.User("alice")).In("payments").Allowing(role).Build())
	}
	var mu sync.Mutex
	var read []string
	b := browse(t, func(w http.ResponseWriter, r *http.Request) {
		if _, role, found := strings.Cut(r.URL.Path, "/clusterroles/"); found {
			mu.Lock()
			read = append(read, role)
			mu.Unlock()
		}
		d.ServeHTTP(w, r)
	})
	page := b.open("ask?namespace=payments")
	mu.Lock()
	read = nil
	mu.Unlock()
	page = b.send(page, "ask", "", "do", whileTyped, "role", "role-2", "for", "30m")
	mustShow(t, page, "yes: alice may have ClusterRole role-2 in payments for 30m")
	mu.Lock()
	defer mu.Unlock()
	if slices.Sort(read); !slices.Equal(slices.Compact(read), []string{"role-2"}) || strings.Contains(page, "<table>") {
		t.Errorf("it reads %q", read)
	}
}

// hostileDesk has, for each string, a policy and a request under it with the string in all that people write.
func hostileDesk(t *testing.T, written []string, mine bool) *desk {
	t.Helper()
	d := newDesk(t, "bob")
	d.policies = nil
	for i, s := range written {
		role := "edit"
		if len(content.IsPathSegmentName(s)) == 0 && s != "" {
			role = s
		}
		p := builders.Policy(fmt.Sprintf("p%03d", i)).ApprovedBy(builders.User("bob"), builders.User(s)).
			From(builders.User("bob"), builders.User(s)).In("payments").Allowing(role).Build()
		p.Status.Risks = []string{s, s}
		req, decisions := requestOf(s)
		if mine {
			d.me.Groups = append(d.me.Groups, s)
			req.Spec.Subject.Kind = v1alpha1.GroupKind
		}
		req.Name = fmt.Sprintf("evil%03d", i)
		d.add(&req)
		req.Status.Conditions[0].Message, req.Status.Grant, req.Status.Policy.Name = s, nil, p.Name
		decisions[0].Namespace, decisions[0].Spec.RequestRef = req.Namespace, v1alpha1.RequestReference{Name: req.Name, UID: req.UID}
		d.policies, d.decisions = append(d.policies, *p), append(d.decisions, decisions...)
	}
	return d
}

func TestAPageHasNoMarkupOfTheirs(t *testing.T) {
	for written := range slices.Chunk(hostile.Strings(t), perPage) {
		paths := []string{"mine", "now", "for-me", "ask?namespace=payments"}
		for i := range written {
			paths = append(paths, fmt.Sprintf("story?namespace=payments&name=evil%03d", i))
		}
		var evil, good *browser
		for i, path := range paths {
			if i < 2 {
				evil = browse(t, hostileDesk(t, written, path == "mine").ServeHTTP)
				good = browse(t, hostileDesk(t, harmless(written), path == "mine").ServeHTTP)
			}
			page, want := evil.open(path), skeleton(t, good.open(path))
			mustBeHarmless(t, page)
			if at := firstDifference(skeleton(t, page), want); at >= 0 {
				t.Fatalf("%s has other elements, from the %dth on, than %q: %.5000s", path, at, want, page)
			}
			if shown := shownBy(t, page); path == "mine" || path == "now" || path == "for-me" {
				for _, s := range written {
					if !strings.Contains(shown, text.Line(s)) {
						t.Errorf("%s does not show %.60q", path, s)
					}
				}
			}
		}
	}
}

// skeleton is what a page is made of: its elements, and their attributes without what they say.
func skeleton(t *testing.T, page string) (elements []string) {
	t.Helper()
	all, _ := outline(t, page)
	for _, element := range all {
		name, attributes, _ := strings.Cut(element, " ")
		for attributes != "" {
			key, rest, found := strings.Cut(attributes, `="`)
			if !found {
				break
			}
			name += " " + key
			attributes = after(rest)
		}
		elements = append(elements, name)
	}
	return elements
}

// after is what follows a value in quotes.
func after(rest string) string {
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return strings.TrimPrefix(rest[i+1:], " ")
		}
	}
	return ""
}
