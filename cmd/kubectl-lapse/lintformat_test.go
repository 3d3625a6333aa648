// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/internal/build"
)

// offline runs the plugin without a cluster.
func offline(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Setenv("KUBECONFIG", "")
	t.Setenv("HOME", t.TempDir())
	var out, said bytes.Buffer
	code = run(t.Context(), args, genericiooptions.IOStreams{In: strings.NewReader(stdin), Out: &out, ErrOut: &said})
	return code, out.String(), said.String()
}

// policyOf is a manifest: a name, and the fields of spec that are not as usual.
func policyOf(name, spec string) string {
	usual := map[string]string{
		"requesters": "[{kind: Group, name: oncall}]", "roles": "[{kind: ClusterRole, name: edit}]",
		"namespaces": "{names: [payments]}", "maxDuration": "4h",
	}
	out := "---\napiVersion: lapse.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {name: " + name + "}\nspec:\n"
	for field, value := range usual {
		if !strings.Contains(spec, field+":") {
			out += "  " + field + ": " + value + "\n"
		}
	}
	return out + "  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

const (
	ticket = `conditions: [{expression: "request.spec.reason.matches('^INC-[0-9]+')", ` +
		`message: "the reason must begin with an incident number"}]`
	otherTeam = "requesters: [{kind: Group, name: payments-devs}]\nnamespaces: {selector: {matchLabels: {team: payments}}}\nmaxDuration: 8h"
)

func TestLintRefusesWhatItDidNotRead(t *testing.T) {
	for name, tc := range map[string]struct{ in, want string }{
		"no policy":     {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n", "there is no AccessPolicy in -"},
		"an empty list": {"apiVersion: v1\nkind: List\nitems: []\n", "there is no AccessPolicy in -"},
		"a kind that there is not": {
			"apiVersion: lapse.dev/v1alpha1\nkind: accesspolicy\nmetadata: {name: p}\n",
			`kind "accesspolicy" is not known; lapse.dev/v1alpha1 has AccessPolicy`,
		},
		"a version that there is not": {
			"apiVersion: lapse.dev/v1\nkind: AccessPolicy\nmetadata: {name: p}\n",
			`apiVersion "lapse.dev/v1" of kind "AccessPolicy" is not known, only lapse.dev/v1alpha1 is`,
		},
		"no group": {
			"apiVersion: v1\nkind: AccessPolicy\nmetadata: {name: p}\n", `apiVersion "v1" of kind "AccessPolicy" is not known`,
		},
		"a field that there is not": {policyOf("p", "maxDurations: 1h"), "unknown field"},
	} {
		code, out, said := offline(t, tc.in, "policy", "lint", "-f", "-")
		if code != exitFailed || !strings.Contains(said, tc.want) {
			t.Errorf("%s: exit code %d, %q %q", name, code, out, said)
		}
	}
	for name, tc := range map[string]struct{ in, want string }{
		"a role of a kind that there is not": {
			policyOf("p", "roles: [{kind: clusterrole, name: view}]"), `spec.roles[0].kind: Unsupported value: "clusterrole"`,
		},
		"a name that there cannot be": {policyOf("Payments_Edit", ticket), `metadata.name: Invalid value: "Payments_Edit"`},
		"no name":                     {policyOf(`""`, ticket), "metadata.name: Required value"},
		"a pattern of namespaces": {
			policyOf("p", `namespaces: {names: ["pr-*"]}`), `spec.namespaces.names[0]: Invalid value: "pr-*": a name must be that of one namespace`,
		},
		"a namespace in capitals": {
			policyOf("p", `namespaces: {names: ["Payments"]}`), `spec.namespaces.names[0]: Invalid value: "Payments"`,
		},
		"a space before a namespace": {
			policyOf("p", `namespaces: {names: [" payments"]}`), `spec.namespaces.names[0]: Invalid value: " payments"`,
		},
		"two namespaces in one": {
			policyOf("p", `namespaces: {names: ["payments,billing"]}`), `spec.namespaces.names[0]: Invalid value: "payments,billing"`,
		},
		"a blank group": {policyOf("p", `requesters: [{kind: Group, name: " "}]`), "name must not be blank"},
		"a blank approver": {
			policyOf("p", `approvals: [{count: 1, from: [{kind: User, name: " "}]}]`), "name must not be blank",
		},
		"a policy of a list of its kind": {
			"apiVersion: lapse.dev/v1alpha1\nkind: AccessPolicyList\nitems:\n- metadata: {name: p}\n  spec: {}\n", "spec.requesters: Required value",
		},
	} {
		code, out, said := offline(t, tc.in, "policy", "lint", "-f", "-")
		if code != exitFailed || !strings.Contains(out, "the API server would refuse it: ") || !strings.Contains(out, tc.want) {
			t.Errorf("%s: exit code %d, %q %q", name, code, out, said)
		}
	}
}

func TestLintTellsByWhichPolicySomebodyGetsPastAnother(t *testing.T) {
	code, out, said := offline(t, policyOf("oncall-edit", ticket)+policyOf("team-edit", otherTeam), "policy", "lint", "-f", "-")
	const want = `risk     oncall-edit: policy "team-edit" lets whoever is in both (as a requester) past this one for ClusterRole "edit": ` +
		`without conditions[0] ("the reason must begin with an incident number"), for 8h instead of 4h`
	if code != exitOK || !strings.Contains(out, want+"\n") {
		t.Errorf("exit code %d, %q %q", code, out, said)
	}
}

// twoPolicies writes a file with a policy that is fine and one that is broken, and gives the
// line at which that begins.
func twoPolicies(t *testing.T) (file string, line int) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "my policies.yaml")
	in := policyOf("fine", ticket) + policyOf("broken", `conditions: [{expression: "request.nothing \u202e"}]`)
	if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, 1 + strings.Count(in[:strings.LastIndex(in, "apiVersion")], "\n")
}

func TestLintWritesJSON(t *testing.T) {
	file, line := twoPolicies(t)
	code, out, said := offline(t, "", "policy", "lint", "-f", file, "-o", "json")
	var l linted
	if err := json.Unmarshal([]byte(out), &l); err != nil || code != exitFailed || !strings.Contains(said, "mistakes found: 1") {
		t.Fatalf("exit code %d, %v, %q %q", code, err, out, said)
	}
	at := slices.IndexFunc(l.Findings, func(f foundAt) bool { return f.Level == levelMistake })
	if l.Policies != 2 || l.Mistakes != 1 || at < 0 {
		t.Fatalf("got %+v", l)
	}
	if mistake := l.Findings[at]; mistake.Policy != "broken" || mistake.File != file || mistake.Line != line {
		t.Errorf("got %+v, want line %d", mistake, line)
	}

	code, out, _ = offline(t, policyOf("p", ticket), "policy", "lint", "-f", "-", "-o", "json")
	if code != exitOK || !strings.Contains(out, `"mistakes": 0`) {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestLintWritesSARIF(t *testing.T) {
	file, line := twoPolicies(t)
	code, out, _ := offline(t, "", "policy", "lint", "-f", file, "-o", "sarif")
	var log sarifLog
	if err := json.Unmarshal([]byte(out), &log); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if code != exitFailed || log.Version != "2.1.0" || len(log.Runs) != 1 {
		t.Fatalf("exit code %d, %s", code, out)
	}
	if strings.Contains(out, "\u202e") {
		t.Errorf("what a terminal acts upon is in %q", out)
	}
	results := log.Runs[0].Results
	i := slices.IndexFunc(results, func(r sarifResult) bool { return r.Level == "error" })
	if i < 0 {
		t.Fatalf("no error in %s", out)
	}
	checkMistake(t, &results[i], line)
}

// What is read back by the types that wrote it has whatever keys they say.
func TestSARIFHasTheKeysOfTheStandard(t *testing.T) {
	l := &linted{}
	l.add("broken", place{"my policies.yaml", 12}, finding{true, "conditions[0] does not compile"})
	l.add("wide", place{}, finding{false, "whoever logs in may ask"})
	var out bytes.Buffer
	if err := l.write(&lintOptions{plugin: newPlugin(genericiooptions.IOStreams{Out: &out}), format: outputSARIF}); err != nil {
		t.Fatal(err)
	}
	version := `"version": "` + build.Version() + `"`
	golden(t, filepath.Join("testdata", "lint.sarif.golden"), strings.Replace(out.String(), version, `"version": "VERSION"`, 1))
}

// checkMistake fails if what is found is not the condition of the policy "broken".
func checkMistake(t *testing.T, r *sarifResult, line int) {
	t.Helper()
	if r.RuleID != levelMistake || !strings.HasPrefix(r.Message.Text, "broken: conditions[0]") {
		t.Errorf("got %+v", r)
	}
	at := r.Locations[0]
	if at.Logical[0].FullyQualifiedName != "accesspolicy/broken" || at.Physical == nil ||
		!strings.HasSuffix(at.Physical.Artifact.URI, "/my%20policies.yaml") || at.Physical.Region.StartLine != line {
		t.Errorf("got %+v", at)
	}
}

func TestLintRefusesAnotherFormat(t *testing.T) {
	code, _, said := offline(t, "", "policy", "lint", "-o", "yaml")
	if code != exitFailed || !strings.Contains(said, "-o yaml is not known; use one of json, sarif") {
		t.Errorf("exit code %d, %q", code, said)
	}
}

// asking is a manifest of a request.
func asking(name, reason, expected string) string {
	return "---\napiVersion: lapse.dev/v1alpha1\nkind: AccessRequest\nmetadata: {name: " + name +
		", namespace: payments, annotations: {lapse.dev/expect: '" + expected + "'}}\n" +
		"spec: {roleRef: {kind: ClusterRole, name: edit}, duration: 1h, reason: '" + reason + "'}\n"
}

func TestLintTakesNoNameForAPattern(t *testing.T) {
	in := policyOf("p", "requesters: [{kind: Group, name: on*}]\nroles: [{kind: ClusterRole, name: ed*}, {kind: Role, name: \"*\"}]")
	code, out, said := offline(t, in, "policy", "lint", "-f", "-")
	for _, want := range []string{
		`ClusterRole "ed*" does not exist: a name is not a pattern; write one entry for each role`,
		`roles[1] Role "*": a name is not a pattern; write one entry for each role`,
		`requesters[0] Group "on*": a name is not a pattern`,
	} {
		if code != exitFailed || !strings.Contains(out, "mistake  p: "+want) {
			t.Errorf("exit code %d, %q %q, want %q", code, out, said, want)
		}
	}
}

// pastATicket has policy test judge four requests: one gets past the ticket of a policy, one
// is judged otherwise than expected, one is expected to be nothing, and one something unknown.
func pastATicket(t *testing.T, format ...string) (code int, out, said string) {
	t.Helper()
	here := strings.Replace(otherTeam, "selector: {matchLabels: {team: payments}}", "names: [payments]", 1)
	in := policyOf("oncall-edit", ticket) + policyOf("team-edit", here) +
		asking("both", "no <ticket>", "allowed") + asking("wrong", "INC-1: x", "denied") +
		asking("any", "INC-1: x", "") + asking("typo", "INC-1: x", "perhaps")
	args := []string{"policy", "test", "-f", "-", "--requester", "alice", "--requester-group", "oncall", "--requester-group", "payments-devs"}
	return offline(t, in, slices.Concat(args, format)...)
}

const pastTheTicket = "policy oncall-edit: the reason must begin with an incident number"

func TestPolicyTestTellsWhatIsGotPast(t *testing.T) {
	code, out, said := pastATicket(t)
	if code != exitFailed || !strings.Contains(said, "2 of 4 requests are not judged as expected") ||
		!strings.Contains(out, "ok    stdin: payments/both: allowed: policy team-edit allows this for 1h\n      gets past "+pastTheTicket+"\n") {
		t.Errorf("exit code %d, %q %q", code, out, said)
	}
	if strings.Count(out, "gets past") != 1 {
		t.Errorf("with a ticket nothing is got past: %q", out)
	}
}

func TestPolicyTestWritesJSON(t *testing.T) {
	_, out, _ := pastATicket(t, "-o", "json")
	var all tested
	if err := json.Unmarshal([]byte(out), &all); err != nil || all.Different != 2 || len(all.Requests) != 4 || len(all.Requests[0].Past) != 1 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestPolicyTestWritesJUnit(t *testing.T) {
	_, out, _ := pastATicket(t, "-o", "junit")
	var suites junitSuites
	if err := xml.Unmarshal([]byte(out), &suites); err != nil || len(suites.Suites) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	s := suites.Suites[0]
	if s.Tests != 4 || s.Failures != 1 || s.Errors != 1 || s.Skipped != 1 {
		t.Errorf("got %+v", s)
	}
	for _, c := range s.Cases {
		got := [3]bool{c.Failure != nil, c.Error != nil, c.Skipped != nil}
		if want := [3]bool{c.Name == "payments/wrong", c.Name == "payments/typo", c.Name == "payments/any"}; got != want {
			t.Errorf("got %+v", c)
		}
		if past := strings.Contains(c.Out, pastTheTicket); past != (c.Name == "payments/both") {
			t.Errorf("%s says %q", c.Name, c.Out)
		}
	}
}

func TestJUnitHasTheNamesThatCIsRead(t *testing.T) {
	const file, allows = "requests.yaml", "policy p allows this"
	all := &tested{}
	for _, v := range []verdict{
		{Request: "payments/past", Result: resultOK, Expected: expectAllowed, Message: allows, Past: []string{"policy q: no <ticket>"}},
		{Request: "payments/wrong", Result: resultFailed, Expected: expectDenied, Message: allows},
		{Request: "payments/typo", Result: resultError, Message: "perhaps is no verdict"},
		{Request: "payments/any", Result: resultUnchecked, Message: allows},
	} {
		v.File, v.Verdict = file, expectAllowed
		all.add(v)
	}
	var out bytes.Buffer
	if err := all.write(&testOptions{plugin: newPlugin(genericiooptions.IOStreams{Out: &out}), format: outputJUnit}); err != nil {
		t.Fatal(err)
	}
	golden(t, filepath.Join("testdata", "test.junit.golden"), out.String())
}

func TestLintSaysOfNothingThatIsNotInForceThatItLetsPeoplePast(t *testing.T) {
	const longer = "maxDuration: 8h\n"
	for spec, past := range map[string]bool{
		longer: true,
		longer + `conditions: [{expression: "request.nothing"}]`:                            false,
		longer + `roles: [{kind: ClusterRole, name: edit}, {kind: ClusterRole, name: "*"}]`: false,
	} {
		_, out, said := offline(t, policyOf("one", ticket)+policyOf("two", spec), "policy", "lint", "-f", "-")
		if strings.Contains(out, "policy \"two\" lets") != past {
			t.Errorf("%s: %q %q", spec, out, said)
		}
	}
}
