// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// howToLook is where it is said what the audit log has to have, and how to see that.
const howToLook = "docs/audit.md says how to look"

// auditLog says what can be told from here of kube-apiserver's audit log, without which nobody
// knows what was done with access. Its flags show only where it runs as a pod that one may
// read: this is neither well nor wrong, whatever is seen.
func (d *doctor) auditLog(ctx context.Context) []diagnosis {
	pods := &corev1.PodList{}
	err := d.c.listBy(ctx, metav1.NamespaceSystem, &metav1.ListOptions{LabelSelector: "component=kube-apiserver"}, pods)
	if err != nil {
		return notSeen("whether kube-apiserver writes an audit log is not seen from here: %s; %s", d.explain(err), howToLook)
	}
	var to, without []string
	for i := range pods.Items {
		target := auditTarget(pods.Items[i].Spec.Containers)
		if target == "" {
			without = append(without, pods.Items[i].Name)
			continue
		}
		to = append(to, pods.Items[i].Name+" to "+target)
	}
	switch {
	case len(without) > 0:
		return notSeen("no audit log is written by %s, so it is not known what is done with access there; %s", strings.Join(without, ", "), howToLook)
	case len(to) == 0:
		return notSeen("whether kube-apiserver writes an audit log is not seen from here; %s", howToLook)
	}
	return notSeen("an audit log is written by %s; whether all that a report needs is in it is not seen from here; %s", strings.Join(to, ", "), howToLook)
}

// auditTarget is where a kube-apiserver writes its audit log to, empty if it writes none:
// without a policy nothing is written.
func auditTarget(containers []corev1.Container) string {
	for i := range containers {
		args := append(containers[i].Command, containers[i].Args...)
		if flagOf(args, "audit-policy-file", "") == "" {
			continue
		}
		file, webhook := flagOf(args, "audit-log-path", ""), flagOf(args, "audit-webhook-config-file", "")
		if file == "-" {
			file = "its standard output"
		}
		if webhook != "" {
			webhook = "a webhook"
		}
		return cmp.Or(file, webhook)
	}
	return ""
}

func notSeen(format string, args ...any) []diagnosis {
	return []diagnosis{{health: noted, text: fmt.Sprintf(format, args...)}}
}
