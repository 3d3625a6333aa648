// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// unanswered is a deletion of a RoleBinding that may have been done and was not answered so,
// as when the caller gave up meanwhile. It was done if the object was missing afterwards.
type unanswered struct {
	asked   time.Time
	missing []time.Time
}

func (h *History) noteUnanswered(e *auditv1.Event) {
	key, code := types.NamespacedName{Namespace: e.ObjectRef.Namespace, Name: e.ObjectRef.Name}, e.ResponseStatus.Code
	u := h.unanswered[key]
	switch {
	case u == nil && e.Verb == "delete" && code >= http.StatusInternalServerError:
		h.unanswered[key] = &unanswered{asked: e.RequestReceivedTimestamp.Time}
	case u != nil && code == http.StatusNotFound:
		u.missing = append(u.missing, e.StageTimestamp.Time)
	}
}

// endUnanswered gives a binding the end that nobody was told of.
func (h *History) endUnanswered(b *BindingLife) {
	u := h.unanswered[types.NamespacedName{Namespace: b.Created.Namespace, Name: b.Created.Name}]
	if u == nil || !b.Ended.IsZero() || u.asked.Before(b.CreatedAt) || len(u.missing) == 0 {
		return
	}
	b.EndAsked, b.Ended, b.Gone = u.asked, u.missing[0], u.missing[0]
}
