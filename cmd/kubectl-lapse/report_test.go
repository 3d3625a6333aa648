// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/audit"
)

// reportFiles writes records of one grant of alice, and a log of what she did.
func reportFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	at := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	end := at.Add(time.Minute)
	chain := audit.NewChain("lapse-manager-1")
	line, err := chain.Append(audit.Record{
		SpecVersion: "1.0", ID: "4602efc0/ended", Type: audit.Ended, Time: end, Data: audit.Data{
			Request: &audit.Request{
				Kind: "AccessRequest", Namespace: "payments", Name: "debug", UID: "4602efc0", AskedAt: at, Reason: "INC-4211",
				Requester: &v1alpha1.Identity{Username: "alice"}, Subject: &v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: "alice"},
				RoleRef: v1alpha1.RoleRef{Kind: v1alpha1.ClusterRoleKind, Name: "edit"},
				Policy:  &v1alpha1.PolicyReference{Name: "oncall", Generation: 3},
			},
			Decision: &audit.Decision{
				Name: "d", UID: "1", Verdict: v1alpha1.VerdictRevoke, Reviewer: &v1alpha1.Identity{Username: "carol"}, Comment: "INC-4211",
			},
			Grant: &audit.Grant{
				Binding: "lapse-debug-4602efc0", GrantedAt: at, ExpiresAt: at.Add(time.Hour), EndedAt: &end, EndReason: "Revoked", EndedBy: "carol",
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := `{"auditID":"a","stage":"ResponseComplete","verb":"delete","user":{"username":"alice"},"sourceIPs":["10.0.0.1"],` +
		`"userAgent":` + quote(t, "INC-4211") + `,"objectRef":{"resource":"pods","namespace":"payments","name":"checkout"},` +
		`"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-11-29T06:00:10Z","annotations":{"authorization.k8s.io/reason":` +
		`"RBAC: allowed by RoleBinding \"lapse-debug-4602efc0/payments\" of ClusterRole \"edit\" to User \"alice\""}}`
	for name, data := range map[string]string{"records.jsonl": string(line) + "\n", "audit.log": log + "\n"} {
		if err := os.WriteFile(name, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func quote(t *testing.T, s string) string {
	t.Helper()
	out, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func report(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	streams, _, o, e := genericiooptions.NewTestIOStreams()
	code = run(t.Context(), append([]string{"report"}, args...), streams)
	return o.String(), e.String(), code
}

func TestReport(t *testing.T) {
	reportFiles(t)
	records, log := []string{"--records", "records.jsonl"}, []string{"--records", "records.jsonl", "--audit-log", "audit.log"}
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"for people": {log, 0, []string{
			"payments/debug: ClusterRole edit for alice from 2026-11-29T06:00:00Z to 2026-11-29T06:01:00Z (1m), Revoked by carol",
			`asked     2026-11-29T06:00:00Z by alice: "INC-4211"`,
			`revoke    2026-11-29T06:01:00Z by carol: "INC-4211"`,
			"policy    oncall, generation 3",
			"calls that it allowed: 1\n    2026-11-29T06:00:10Z alice delete pods checkout (200) from 10.0.0.1",
		}},
		"in CSV": {append(log, "-o", "csv"), 0, []string{
			"payments,debug,4602efc0,alice,alice,ClusterRole edit,INC-4211,oncall,,2026-",
		}},
		"as a page": {append(log, "-o", "html"), 0, []string{
			"<h3>calls that it allowed: 1</h3>", "<td>alice<td>delete pods checkout<td>200<td>10.0.0.1",
		}},
		"in JSON":             {append(log, "-o", "json"), 0, []string{`"binding": "lapse-debug-4602efc0"`, `"auditID": "a"`}},
		"in OCSF":             {append(records, "-o", "ocsf"), 0, []string{`"activity_id":1`, `"type_uid":300502`, `"reason":"INC-4211"`}},
		"of grants alone":     {records, 0, []string{"no --audit-log is given", "Revoked by carol"}},
		"of nobody":           {append(log, "--person", "mallory"), 0, []string{"no request is like that"}},
		"of another place":    {append(log, "-n", "orders"), 0, []string{"no request is like that"}},
		"of another time":     {append(log, "--since", "2026-11-30"), 0, []string{"no request is like that"}},
		"without records":     {nil, 1, []string{"--records is missing"}},
		"of no time":          {append(log, "--since", "yesterday"), 1, []string{`--since "yesterday" is neither`}},
		"of the kubeconfig":   {append(log, "--user", "mallory"), 1, []string{"--person mallory"}},
		"until that day":      {append(log, "--since", "2026-11-29", "--until", "2026-11-29"), 0, []string{"Revoked by carol"}},
		"in no format":        {append(log, "-o", "xml"), 1, []string{"text, json, csv, html or ocsf"}},
		"of a file not there": {[]string{"--records", "none"}, 1, []string{"no such file"}},
	} {
		out, errOut, code := report(t, tc.args...)
		for _, says := range tc.says {
			if code != tc.code || !strings.Contains(out+errOut, says) {
				t.Errorf("%s: exit %d, want %d, and it says:\n%s%s\nwant in it: %s", name, code, tc.code, out, errOut, says)
			}
		}
	}
}

func TestReportSaysThatOnlyTheAuditLogKnowsWhoEndedAccessByHand(t *testing.T) {
	reportFiles(t)
	records, err := os.ReadFile("records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	const alone = "; by whom, only the audit log of kube-apiserver says"
	for reason, more := range map[string]string{"Revoked": alone, "Tampered": alone, "RequestDeleted": alone, "Expired": ""} {
		byNobody := strings.NewReplacer(`"endReason":"Revoked"`, `"endReason":"`+reason+`"`, `"endedBy":"carol"`, `"endedBy":""`)
		if err := os.WriteFile("records.jsonl", []byte(byNobody.Replace(string(records))), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, _, _ := report(t, "--records", "records.jsonl"); !strings.Contains(out, " (1m), "+reason+more+"\n") {
			t.Errorf("%s: %s", reason, out)
		}
	}
}

func TestReportSaysHowAPersonIsConcerned(t *testing.T) {
	reportFiles(t)
	log := []string{"--records", "records.jsonl", "--audit-log", "audit.log", "--person"}
	for who, says := range map[string]string{"alice": "concerns  alice: grantee, requester\n", "carol": "concerns  carol: reviewer\n"} {
		if out, _, _ := report(t, append(log, who)...); !strings.Contains(out, says) {
			t.Errorf("%s: %s\nwant in it: %s", who, out, says)
		}
	}
	for file, change := range map[string][2]string{
		"records.jsonl": {`"subject":{"kind":"User","name":"alice"}`, `"subject":{"kind":"Group","name":"oncall"}`},
		"audit.log":     {`"user":{"username":"alice"}`, `"user":{"username":"bob","groups":["oncall"]}`},
	} {
		data, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(data), change[0]) {
			t.Fatalf("%v in %s", err, data)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(string(data), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for who, says := range map[string][]string{
		"alice":  {"concerns  alice: requester\n", "calls that it allowed: 1\n"},
		"oncall": {"concerns  oncall: grantee\n", "calls that it allowed: 1\n"},
		"bob":    {"concerns  bob: caller under access of group:oncall; calls of others are not told\n", "calls that it allowed: 1\n"},
		"dave":   {"no request is like that"},
	} {
		out, _, _ := report(t, append(log, who)...)
		for _, says := range says {
			if !strings.Contains(out, says) {
				t.Errorf("%s: %s\nwant in it: %s", who, out, says)
			}
		}
	}
	if _, errOut, _ := report(t, "--records", "records.jsonl", "--person", "bob"); !strings.Contains(errOut, "nor is access of groups") {
		t.Errorf("without a log: %s", errOut)
	}
}

func TestAReportSaysWhatItsRecordsDoNotSay(t *testing.T) {
	reportFiles(t)
	records, err := os.OpenFile("records.jsonl", os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer records.Close()
	for _, data := range []audit.Data{{Withheld: "refused: 403 Forbidden"}, {Missed: 3}} {
		line, err := json.Marshal(audit.Record{SpecVersion: "1.0", ID: "x", Data: data})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := records.Write(append(line, '\n')); err != nil {
			t.Fatal(err)
		}
	}
	_, says, code := report(t, "--records", "records.jsonl")
	if code != 0 || !strings.Contains(says, "1 records do not say what happened") ||
		!strings.Contains(says, "of 3 requests not all records are there") {
		t.Errorf("exit %d, %s", code, says)
	}
}
