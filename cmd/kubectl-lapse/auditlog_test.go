// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTheDoctorSaysOfTheAuditLogWhatIsSeen(t *testing.T) {
	pod := func(name string, command ...string) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Command: append([]string{"kube-apiserver"}, command...)}}},
		}
	}
	const policy, log = "--audit-policy-file=/etc/kubernetes/audit/policy.yaml", "--audit-log-path=/var/log/audit.log"
	for name, tc := range map[string]struct {
		pods []corev1.Pod
		says string
	}{
		"a file":         {[]corev1.Pod{pod("cp1", policy, log)}, "an audit log is written by cp1 to /var/log/audit.log; whether all"},
		"a webhook":      {[]corev1.Pod{pod("cp1", policy, "--audit-webhook-config-file=/x")}, "by cp1 to a webhook; whether"},
		"its output":     {[]corev1.Pod{pod("cp1", policy, "--audit-log-path", "-")}, "by cp1 to its standard output; whether"},
		"no policy":      {[]corev1.Pod{pod("cp1", log)}, "no audit log is written by cp1, so it is not known"},
		"a policy alone": {[]corev1.Pod{pod("cp1", policy)}, "no audit log is written by cp1, so it is not known"},
		"one of several": {[]corev1.Pod{pod("cp1", policy, log), pod("cp2")}, "no audit log is written by cp2, so it is not known"},
		"none is shown":  {nil, "whether kube-apiserver writes an audit log is not seen from here; docs/audit.md"},
		"hostile":        {[]corev1.Pod{pod("cp1", policy, "--audit-log-path=/x\n\x1b[2Jok    bind")}, "by cp1 to /x �[2Jok bind; whether"},
	} {
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: tc.pods}
		out, _, _ := answers{"version": map[string]string{"gitVersion": "v1.37.2"}, "pods": list}.said(t, "doctor")
		line := lineWith(out, "audit log ")
		if !strings.HasPrefix(line, "-     audit log   ") || !strings.Contains(line, tc.says) || !strings.HasSuffix(line, howToLook) {
			t.Errorf("%s: %q, want in it %q", name, line, tc.says)
		}
	}
}

func TestTheDoctorCountsNothingOfTheAuditLog(t *testing.T) {
	server := answers{"version": map[string]string{"gitVersion": "v1.37.2"}}
	unreadable, _, with := server.said(t, "doctor")
	if line := lineWith(unreadable, "audit log "); !strings.Contains(line, "is not seen from here: you (bob) may not") {
		t.Errorf("of pods that may not be read: %q", line)
	}
	want := fmt.Sprintf("checks that could not be made: %d; the lines marked ? say why", strings.Count(unreadable, "\n?"))
	if got := fmt.Sprint(with); got != want {
		t.Errorf("%s, want %s, of\n%s", got, want, unreadable)
	}
}

// lineWith is the first line that has it.
func lineWith(lines, what string) string {
	for line := range strings.Lines(lines) {
		if strings.Contains(line, what) {
			return strings.TrimSuffix(line, "\n")
		}
	}
	return ""
}
