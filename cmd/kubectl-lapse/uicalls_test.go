// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// logged is a call that somebody made at a time, in the form of the audit log.
func logged(t *testing.T, user, pod, reason string, at time.Time) string {
	t.Helper()
	line, err := json.Marshal(map[string]any{
		"auditID": user + reason, "stage": "ResponseComplete", "verb": "delete", "user": map[string]any{"username": user},
		"objectRef":      map[string]any{"resource": "pods", "namespace": "payments", "name": pod},
		"responseStatus": map[string]any{"code": http.StatusOK}, "requestReceivedTimestamp": at,
		"annotations": map[string]any{"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": reason},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

func TestAStoryLeadsToItsCallsWhereAnAuditLogIsGiven(t *testing.T) {
	d := newDesk(t, "bob")
	d.pending("first", "alice")
	began := time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)
	d.requests[0].Status.State = v1alpha1.StateActive
	d.requests[0].Status.Grant = &v1alpha1.Grant{
		Binding: "lapse-first-0", GrantedAt: metav1.NewTime(began), ExpiresAt: metav1.NewTime(began.Add(time.Hour)),
	}
	const evil = "checkout</li><script>alert(1)</script>"
	const granted = `RBAC: allowed by RoleBinding "lapse-first-0/payments" of ClusterRole "edit" to User "alice"`
	const other = `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to User "alice"`
	log, within := filepath.Join(t.TempDir(), "audit.log"), began.Add(time.Minute)
	lines := logged(t, "alice", evil, granted, within) + logged(t, "alice", "cart", other, within) +
		logged(t, "alice", "late", other, began.Add(2*time.Hour)) + logged(t, "carol", "hers", other, within)
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	const about = "?namespace=payments&name=first"
	b := browse(t, d.ServeHTTP)
	if strings.Contains(b.open(storyAt+about), `href="calls?`) {
		t.Error("there is a link, and no log")
	}
	page, code := b.do(http.MethodGet, b.at+callsAt+about, nil)
	if mustShow(t, page, "no audit log is given"); code == http.StatusOK {
		t.Error("without a log there are calls")
	}
	b.site.logs = []string{log}
	if !strings.Contains(b.open(storyAt+about), `href="calls?`) {
		t.Error("there is no link")
	}
	page = b.open(callsAt + about)
	mustShow(t, page, "Calls that it allowed: 1", "alice delete pods "+evil+" (200)",
		"Calls of its holder that something else allowed: 1", "pods cart", "Calls of its holder that were refused: 0")
	if strings.Contains(page, "<script>") || strings.Contains(page, "pods late") || strings.Contains(page, "carol") {
		t.Errorf("it has more: %s", page)
	}
	b.site.logs = []string{log + ".gone"}
	page, _ = b.do(http.MethodGet, b.at+callsAt+about, nil)
	mustShow(t, page, "the audit log: ", "no such file")
}

func TestALogThatIsReadAnewIsAFile(t *testing.T) {
	for path, want := range map[string]string{
		"-": "has to be a file or a folder", filepath.Join(t.TempDir(), "none"): "--audit-log: stat ", t.TempDir(): "",
	} {
		err := (&uiOptions{logs: []string{path}}).checkLogs()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
