// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"fmt"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// tell says in words what a step does.
func (o *operator) tell(w *world, a action, names []string) string {
	replica := "replica " + names[a.who]
	switch a.what {
	case begins:
		return replica + ", " + jobText(job(a.arg)) + ": begins, with what its caches know"
	case calls:
		t := w.replicas[a.who].granting
		if a.arg%2 == 1 {
			t = w.replicas[a.who].ending
		}
		return replica + ", " + jobText(job(a.arg%2)) + ": " + o.tellCall(w.server, o.callAt(t), a.arg/2)
	case catchesUp:
		cache := []kind{requests, bindings, decisions, policies, "role and namespace"}[a.arg]
		return fmt.Sprintf("%s: its cache of %ss catches up", replica, cache)
	case dies:
		return replica + ": is killed and started again"
	case ticks:
		return fmt.Sprintf("it is %s later", tick)
	case edits:
		return o.edits[a.arg].text
	case collects:
		return "the garbage collector deletes what has lost its owner"
	}
	return "?"
}

func jobText(j job) string {
	if j == toGrant {
		return "request controller"
	}
	return "expiry controller"
}

func (o *operator) tellCall(s server, c call, fate uint8) string {
	text := string(c.verb) + " " + string(c.kind)
	switch {
	case c.verb == patch:
		text += " status " + o.tellStatus(c)
	case c.verb == create && c.kind == bindings:
		text += " that expires at " + expiryOf(as[*rbacv1.RoleBinding](o.objects, c.payload)).Format("15:04:05")
	case c.verb == update && len(as[*rbacv1.RoleBinding](o.objects, c.payload).Subjects) == 0:
		text += " without subjects"
	}
	if fate == requestLost {
		return text + " → lost on the way"
	}
	text += " → " + o.tellAnswer(o.serve(&s, c))
	if fate == answerLost {
		text += ", but the answer is lost"
	}
	return text
}

// tellStatus shows the state that a patch writes, if it writes one.
func (o *operator) tellStatus(c call) string {
	var sent struct {
		Status struct{ State v1alpha1.RequestState }
	}
	mustUnmarshal([]byte(as[string](o.objects, c.payload)), &sent)
	return string(sent.Status.State)
}

func (o *operator) tellAnswer(answer id) string {
	switch answer {
	case notFound:
		return "not found"
	case accepted:
		return "done"
	case conflict:
		return "conflict"
	case exists:
		return "exists already"
	case no:
		return "found, changed"
	case lost:
		return "?"
	}
	switch found := (*o.objects.store.at(answer)).(type) {
	case *v1alpha1.AccessRequest:
		if found.Status.State == "" {
			return "found, without status"
		}
		return "found, " + string(found.Status.State)
	case *rbacv1.RoleBinding:
		subjects := make([]string, 0, len(found.Subjects))
		for _, s := range found.Subjects {
			subjects = append(subjects, s.Name)
		}
		return fmt.Sprintf("found, for [%s]", strings.Join(subjects, " "))
	case *v1alpha1.AccessDecisionList:
		return fmt.Sprintf("found %d", len(found.Items))
	}
	return "found"
}
