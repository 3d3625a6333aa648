// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// History is what happened, by the API server's audit log. Every object is known by its
// own UID.
type History struct {
	Requests  map[types.UID]*RequestLife
	Bindings  map[types.UID]*BindingLife
	Decisions map[types.UID]*v1alpha1.AccessDecision
	// Policies by name, each in all forms that were stored.
	Policies map[string][]*v1alpha1.AccessPolicy

	unanswered map[types.NamespacedName]*unanswered
}

// RequestLife is one AccessRequest from its creation on.
type RequestLife struct {
	// Created is nil if that was before the history begins. CreatedAt is when it was answered.
	Created   *v1alpha1.AccessRequest
	CreatedAt time.Time
	// Writes of status, in the order in which they were stored.
	Writes []*v1alpha1.AccessRequest
	// FinalAsked is when the first write of a final state was asked for; zero if none was.
	FinalAsked time.Time
	// Deleted is zero while it exists.
	Deleted time.Time
}

// BindingLife is one RoleBinding with the prefix of Lapse.
type BindingLife struct {
	Created *rbacv1.RoleBinding
	// By whom, and when that was asked and answered.
	By               string
	Asked, CreatedAt time.Time
	// Updates in the order in which they were stored.
	Updates []*rbacv1.RoleBinding
	// Ended is when nobody held a role by it any more: it was deleted or emptied. Zero
	// while somebody does.
	Ended time.Time
	// EndAsked is when that was asked for.
	EndAsked time.Time
	// Gone is when the object was.
	Gone time.Time
}

// NewHistory reads the events of the namespaces in scope. Policies are of every scope.
func NewHistory(events []auditv1.Event, scope func(namespace string) bool) (*History, error) {
	h := &History{
		Requests: map[types.UID]*RequestLife{}, Bindings: map[types.UID]*BindingLife{},
		Decisions: map[types.UID]*v1alpha1.AccessDecision{}, Policies: map[string][]*v1alpha1.AccessPolicy{},
		unanswered: map[types.NamespacedName]*unanswered{},
	}
	for i := range events {
		e := &events[i]
		if e.ObjectRef == nil || e.ResponseStatus == nil || e.ObjectRef.Resource != "accesspolicies" && !scope(e.ObjectRef.Namespace) {
			continue
		}
		if e.ObjectRef.Resource == "rolebindings" {
			h.noteUnanswered(e)
		}
		if e.ResponseStatus.Code >= 300 || e.ResponseObject == nil || strings.Contains(e.RequestURI, "dryRun=") {
			continue
		}
		if err := h.add(e); err != nil {
			return nil, fmt.Errorf("audit event %s: %w", e.AuditID, err)
		}
	}
	h.order()
	return h, nil
}

func (h *History) add(e *auditv1.Event) error {
	uids, gone, err := deleted(e)
	if err != nil {
		return err
	}
	for _, uid := range uids {
		h.end(e, uid)
	}
	if gone {
		return nil
	}
	switch e.ObjectRef.Resource {
	case "rolebindings":
		return h.addBinding(e)
	case "accessrequests":
		return h.addRequest(e)
	case "accessdecisions":
		d := &v1alpha1.AccessDecision{}
		err := json.Unmarshal(e.ResponseObject.Raw, d)
		h.Decisions[d.UID] = d
		return err
	case "accesspolicies":
		p := &v1alpha1.AccessPolicy{}
		err := json.Unmarshal(e.ResponseObject.Raw, p)
		h.Policies[p.Name] = append(h.Policies[p.Name], p)
		return err
	default:
		return nil
	}
}

// deleted are the UIDs of what an event took away; gone is false if the event left its
// object there, such as one that a finalizer keeps.
func deleted(e *auditv1.Event) (uids []types.UID, gone bool, err error) {
	if e.Verb != "delete" && e.Verb != "deletecollection" {
		return nil, false, nil
	}
	answer := struct {
		Kind    string
		Details struct{ UID types.UID }
		Items   []metav1.PartialObjectMetadata
	}{}
	if err := json.Unmarshal(e.ResponseObject.Raw, &answer); err != nil {
		return nil, false, err
	}
	switch {
	case answer.Kind == "Status":
		return []types.UID{answer.Details.UID}, true, nil
	case strings.HasSuffix(answer.Kind, "List"):
		for _, item := range answer.Items {
			if len(item.Finalizers) == 0 {
				uids = append(uids, item.UID)
			}
		}
		return uids, true, nil
	default:
		return nil, false, nil
	}
}

func (h *History) end(e *auditv1.Event, uid types.UID) {
	at := e.StageTimestamp.Time
	switch e.ObjectRef.Resource {
	case "rolebindings":
		b := h.binding(uid)
		b.Gone = at
		b.end(e)
	case "accessrequests":
		h.request(uid).Deleted = at
	}
}

// end notes an event by which nobody holds a role any more; the first one counts.
func (b *BindingLife) end(e *auditv1.Event) {
	if at := e.StageTimestamp.Time; b.Ended.IsZero() || at.Before(b.Ended) {
		b.Ended, b.EndAsked = at, e.RequestReceivedTimestamp.Time
	}
}

func (h *History) addBinding(e *auditv1.Event) error {
	obj := &rbacv1.RoleBinding{}
	if err := json.Unmarshal(e.ResponseObject.Raw, obj); err != nil {
		return err
	}
	if !strings.HasPrefix(obj.Name, v1alpha1.BindingPrefix) {
		return nil
	}
	b, at := h.binding(obj.UID), e.StageTimestamp.Time
	if e.Verb == "create" {
		b.Created, b.By, b.Asked, b.CreatedAt = obj, e.User.Username, e.RequestReceivedTimestamp.Time, at
		return nil
	}
	b.Updates = append(b.Updates, obj)
	if len(obj.Subjects) == 0 {
		b.end(e)
	}
	if obj.DeletionTimestamp != nil && len(obj.Finalizers) == 0 {
		h.end(e, obj.UID)
	}
	return nil
}

func (h *History) addRequest(e *auditv1.Event) error {
	obj := &v1alpha1.AccessRequest{}
	if err := json.Unmarshal(e.ResponseObject.Raw, obj); err != nil {
		return err
	}
	r := h.request(obj.UID)
	switch {
	case e.Verb == "create":
		r.Created, r.CreatedAt = obj, e.StageTimestamp.Time
	case e.ObjectRef.Subresource == "status":
		r.Writes = append(r.Writes, obj)
		if asked := e.RequestReceivedTimestamp.Time; obj.Status.State.Final() && (r.FinalAsked.IsZero() || asked.Before(r.FinalAsked)) {
			r.FinalAsked = asked
		}
	}
	return nil
}

func (h *History) request(uid types.UID) *RequestLife {
	if h.Requests[uid] == nil {
		h.Requests[uid] = &RequestLife{}
	}
	return h.Requests[uid]
}

func (h *History) binding(uid types.UID) *BindingLife {
	if h.Bindings[uid] == nil {
		h.Bindings[uid] = &BindingLife{}
	}
	return h.Bindings[uid]
}

// order sorts by resource version: the log has events in the order in which they were
// answered, and nothing else. What it has only the end of is left out.
func (h *History) order() {
	for uid, b := range h.Bindings {
		if b.Created == nil {
			delete(h.Bindings, uid)
			continue
		}
		slices.SortFunc(b.Updates, byVersion[*rbacv1.RoleBinding])
		h.endUnanswered(b)
	}
	for _, r := range h.Requests {
		slices.SortFunc(r.Writes, byVersion[*v1alpha1.AccessRequest])
	}
}

func byVersion[T metav1.Object](a, b T) int {
	if version(a) < version(b) {
		return -1
	}
	return 1
}

// version is a resource version as a number, which etcd's are.
func version(obj metav1.Object) uint64 {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Expires is when a binding has to end; false if it does not say.
func (b *BindingLife) Expires() (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, b.Created.Annotations[v1alpha1.ExpiresAtAnnotation])
	return at, err == nil
}

// RequestUID is whose a binding says it is.
func (b *BindingLife) RequestUID() types.UID {
	return types.UID(b.Created.Labels[v1alpha1.RequestUIDLabel])
}

// Final is the first write of a final state; nil if there is none.
func (r *RequestLife) Final() *v1alpha1.AccessRequest {
	for _, w := range r.Writes {
		if w.Status.State.Final() {
			return w
		}
	}
	return nil
}
