// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/hostile"
)

// unusedFiles are those of reportFiles, with the rules of the role, and a log that begins before
// the grant and ends after it.
func unusedFiles(t *testing.T) []string {
	t.Helper()
	reportFiles(t)
	change := func(file, old, by string) {
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), old) {
			t.Fatalf("%v in %s", err, data)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(data), old, by, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change("records.jsonl", `"binding":`, `"roleDigest":"3fa1","roleRules":[`+
		`{"verbs":["get","delete"],"apiGroups":[""],"resources":["pods","pods/log"]},`+
		`{"verbs":["*"],"apiGroups":["apps"],"resources":["*/scale"]},`+
		`{"verbs":["bind"],"apiGroups":["rbac.authorization.k8s.io"],"resources":["roles"]}],"binding":`)
	ofNobody := `{"auditID":"%[1]s","stage":"ResponseComplete","verb":"get","user":{"username":"mallory"},` +
		`"requestReceivedTimestamp":"2026-11-29T%[1]s:00:00Z"}`
	change("audit.log", "\n", "\n"+fmt.Sprintf(ofNobody, "05")+"\n"+fmt.Sprintf(ofNobody, "08")+"\n")
	for name, rule := range map[string]string{
		"all":     "{level: Metadata}",
		"scales":  "{level: None, resources: [{group: apps, resources: ['deployments/scale']}], verbs: [update]}\n- {level: Metadata}",
		"no-logs": "{level: None, userGroups: ['system:authenticated'], resources: [{group: '', resources: ['pods/log']}]}\n- {level: Metadata}",
		"begun":   "{level: Metadata, omitStages: [ResponseComplete]}",
		"others":  "{level: None, users: [mallory]}\n- {level: None, namespaces: [orders]}\n- {level: Metadata}",
	} {
		policy := "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- " + rule + "\n"
		if err := os.WriteFile(name+".yaml", []byte(policy), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"--unused", "--records", "records.jsonl", "--audit-log", "audit.log"}
}

func TestWhatWasNotUsedIsTold(t *testing.T) {
	args := unusedFiles(t)
	with := func(policy string) []string { return slices.Concat(args, []string{"--audit-policy", policy}) }
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"for people": {args, 0, []string{
			"# ClusterRole edit, as it was given to alice\n# grants: 1: payments/debug\n",
			"# held from 2026-11-29T06:00:00Z to 2026-11-29T06:01:00Z, for 1m in all\n# seen: 1 calls that it allowed; 0 of its holders",
			"# rules that no call used: 2 of 3\n#   * */scale of apps\n#   bind roles of rbac.authorization.k8s.io\n",
			"#   delete, get pods, pods/log; not used: get; pods/log\n",
			"# kept, since no audit log tells of such verbs:\n#   bind roles of rbac",
			"# not looked at: whether the audit policy",
			"kind: ClusterRole\nmetadata:\n  name: edit-as-used\nrules:\n",
		}},
		"of a policy that logs all":      {with("all.yaml"), 0, []string{"name: edit-as-used"}},
		"of one that leaves out others":  {with("others.yaml"), 0, []string{"name: edit-as-used"}},
		"of one that leaves out a scale": {with("scales.yaml"), 4, []string{"NO SMALLER ROLE", ": update deployments.apps/scale\n", "1 of 1"}},
		"of one without logs":            {with("no-logs.yaml"), 4, []string{": delete pods/log, get pods/log\n"}},
		"of one that logs no ends":       {with("begun.yaml"), 4, []string{"delete pods, delete pods/log, deletecollection *.apps/scale, "}},
		"of one that is not there":       {with("none.yaml"), 1, []string{"--audit-policy: ", "no such file"}},
		"in JSON":                        {append(with("all.yaml"), "-o", "json"), 0, []string{`"auditPolicyRead": true`, `"heldSeconds": 60`}},
		"in CSV":                         {append(with("all.yaml"), "-o", "csv"), 1, []string{"text or json with --unused"}},
		"without a log":                  {args[:3], 4, []string{"#   there is no audit log\n", "no --audit-log is given"}},
		"of nobody":                      {append(args[:5:5], "--person", "mallory"), 0, []string{"# no access is like that"}},
		"of the policy":                  {append(args[:5:5], "--policy", "oncall"), 0, []string{"name: edit-as-used"}},
		"of an audit policy alone":       {append(with("all.yaml")[1:], "-o", "text"), 1, []string{"--audit-policy is for --unused"}},
	} {
		out, errOut, code := report(t, tc.args...)
		for _, says := range tc.says {
			if code != tc.code || !strings.Contains(out+errOut, says) {
				t.Errorf("%s: exit %d, want %d, and it says:\n%s%s\nwant in it: %s", name, code, tc.code, out, errOut, says)
			}
		}
	}
}

func TestWhatWasUsedIsAManifest(t *testing.T) {
	args := unusedFiles(t)
	out, _, _ := report(t, args...)
	var printed rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict([]byte(out), &printed); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	out, _, _ = report(t, append(args, "-o", "json")...)
	var told []struct{ Suggestion rbacv1.ClusterRole }
	if err := json.Unmarshal([]byte(out), &told); err != nil || len(told) != 1 {
		t.Fatalf("%v in %s", err, out)
	}
	for _, role := range []rbacv1.ClusterRole{printed, told[0].Suggestion} {
		want := []rbacv1.PolicyRule{builders.Rule("", "pods", "delete"), builders.Rule(rbacv1.GroupName, "roles", "bind")}
		if !equality.Semantic.DeepEqual(role.Rules, want) || role.Kind != "ClusterRole" {
			t.Errorf("%+v", role)
		}
	}
}

func TestARuleOverSeveralLinesIsOnOne(t *testing.T) {
	args := unusedFiles(t)
	records, err := os.ReadFile("records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	longer := strings.Replace(string(records), `"resources":["roles"]`, `"resources":["roles\nkind: Role"]`, 1)
	if err := os.WriteFile("records.jsonl", []byte(longer), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, _ := report(t, args...)
	if !strings.Contains(out, "#   bind roles kind: Role of rbac") || strings.Contains(out, "\nkind: Role") {
		t.Errorf("%s", out)
	}
}

func TestWhatWasNotUsedHasNoLineOfTheirs(t *testing.T) {
	written := hostile.Strings(t)
	hostileFiles(t, written)
	out, _, code := report(t, "--unused", "--records", "records.jsonl", "--audit-log", "audit.log")
	if code != exitNoSuggestion { // no record has rules
		t.Fatalf("exit %d: %s", code, out)
	}
	mustBeHarmless(t, out)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "# ") && line != "---\n" {
			t.Errorf("a line is theirs: %q", line)
		}
	}
}
