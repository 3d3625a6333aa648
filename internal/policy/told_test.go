// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// lookupOf finds ClusterRoles with the rules of rulesOf.
func lookupOf(roles map[string][]string) RoleLookup {
	return func(ref v1alpha1.RoleRef) (Role, bool, error) {
		rules, found := roles[ref.Name]
		return Role{Rules: rulesOf(rules)}, found, nil
	}
}

func offering(roles ...v1alpha1.RoleRef) *v1alpha1.AccessPolicy {
	return &v1alpha1.AccessPolicy{Spec: v1alpha1.AccessPolicySpec{Roles: roles}}
}

func TestToldAreTheWorstOfAllRolesFirstAndEqualOnesOnce(t *testing.T) {
	roles := lookupOf(map[string][]string{
		"view": {"create core events"}, "edit": {"list core secrets", "create core pods/exec"},
		"root": {"escalate core pods", "list core secrets"},
	})
	offered := []v1alpha1.RoleRef{
		clusterRole("view"), clusterRole("edit"), clusterRole("root"), clusterRole("edit"), clusterRole("none"),
		{Kind: v1alpha1.RoleKind, Name: "edit"},
	}
	got, err := Told(offering(offered...), nil, roles)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"root: it allows escalate on pods", "edit: its holder can run commands", "edit: its holder can read secrets",
		"root: its holder can read secrets", "view: its holder can write Events",
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("told %q, want %q", got, want)
	}
}

func TestWhatIsNotToldIsCounted(t *testing.T) {
	for _, verbs := range []int{maxTold - 1, maxTold, maxTold + 1, 3 * maxTold} {
		rules := make([]string, 0, verbs)
		for i := range verbs - 1 {
			rules = append(rules, fmt.Sprintf("bind core thing%d", i))
		}
		rules = append(rules, "create core pods/exec")
		got, err := Told(offering(clusterRole("much")), nil, lookupOf(map[string][]string{"much": rules}))
		if err != nil {
			t.Fatal(err)
		}
		last := "much: its holder can run commands in running pods, with all that those pods may do"
		if verbs > maxTold {
			last = fmt.Sprintf("and %d more", verbs-maxTold+1)
		}
		if len(got) != min(verbs, maxTold) || got[len(got)-1] != last {
			t.Errorf("of %d there are %d told, the last of which is %q, not %q", verbs, len(got), got[len(got)-1], last)
		}
	}
}

func TestToldFitsTheStatusAndNothingIsToldThatCouldNotBeRead(t *testing.T) {
	long := strings.Repeat("ä", 300)
	got, err := Told(offering(clusterRole(long)), nil, lookupOf(map[string][]string{long: {"create core pods/exec"}}))
	if err != nil || len(got) != 1 || len(got[0]) > maxToldText {
		t.Errorf("told %q (%v)", got, err)
	}
	failing := func(v1alpha1.RoleRef) (Role, bool, error) { return Role{}, false, errors.New("no answer") }
	if got, err := Told(offering(clusterRole("view")), nil, failing); err == nil || got != nil {
		t.Errorf("told %q, although no role could be read", got)
	}
}

func TestBothPoliciesAreToldWhoGetsPastWhat(t *testing.T) {
	strict := builders.Policy("strict").From(builders.Group("oncall")).In("payments").ApprovedBy(builders.Group("leads"))
	lax := builders.Policy("lax").From(builders.Group("devs")).In("payments")
	roles := lookupOf(map[string][]string{"view": {"get core configmaps"}})
	for _, tc := range []struct {
		of   buildable
		want string
	}{
		{strict, `policy "lax" lets whoever is in both (as a requester) past this one for ClusterRole "view": without an approval`},
		{lax, `this policy lets whoever is in both (as a requester) past policy "strict" for ClusterRole "view": without an approval`},
	} {
		got, err := Told(tc.of.Build(), policies(strict, lax), roles)
		if err != nil || !slices.Equal(got, []string{tc.want}) {
			t.Errorf("told %q (%v), want %q", got, err, tc.want)
		}
	}
}

func TestWhatAHolderCouldDoIsToldBeforeWhoGetsPastWhat(t *testing.T) {
	p := builders.Policy("p").From(builders.Group("oncall")).In("payments").Allowing("much").If("1 < 2", strings.Repeat("ä", 500))
	all := policies(p)
	for i := range 4 * maxRivals {
		q := builders.Policy(fmt.Sprint("q", i)).From(builders.Group("devs")).In("payments").Allowing("much").If("2 < 3", "")
		all = append(all, *q.Build())
	}
	rules := make([]string, 0, 1+2*maxTold)
	rules = append(rules, "create core pods/exec")
	for i := range 2 * maxTold {
		rules = append(rules, fmt.Sprintf("bind core thing%d", i))
	}
	got, err := Told(p.Build(), all, lookupOf(map[string][]string{"much": rules}))
	if err != nil || len(got) != maxTold || !strings.HasPrefix(got[0], "much: it allows bind") {
		t.Fatalf("%d told, the first is %q (%v)", len(got), got[0], err)
	}
	past, once := 0, map[string]bool{}
	for _, line := range got {
		if once[line] {
			t.Errorf("told twice: %s", line)
		}
		once[line] = true
		if len(line) > maxToldText {
			t.Errorf("%d bytes: %s", len(line), line)
		}
		if strings.Contains(line, " past ") {
			past++
		}
	}
	if past != 2*(maxPassed+1) {
		t.Errorf("%d lines tell who gets past what: %q", past, got)
	}
}
