// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// CreateWindow is how long after the decision the API server accepts the binding.
const CreateWindow = 10 * time.Second

// New is the RoleBinding by which a subject gets what a request asks for, under a policy.
func New(req v1alpha1.Request, subject v1alpha1.Subject, policy string, g v1alpha1.Grant) *rbacv1.RoleBinding {
	role := req.RequestSpec().RoleRef
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name:      g.Binding,
			Namespace: req.GetNamespace(),
			Labels: map[string]string{
				v1alpha1.ManagedByLabel:  v1alpha1.ManagedBy,
				v1alpha1.RequestUIDLabel: string(req.GetUID()),
			},
			Annotations: map[string]string{
				v1alpha1.ExpiresAtAnnotation: text.Time(g.ExpiresAt.Time),
				v1alpha1.CreateByAnnotation:  text.Time(g.GrantedAt.Add(CreateWindow)),
				v1alpha1.RequestAnnotation:   req.GetName(),
				v1alpha1.PolicyAnnotation:    policy,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(),
				Kind:       req.RequestKind(),
				Name:       req.GetName(),
				UID:        req.GetUID(),
			}},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: role.Kind, Name: role.Name},
		Subjects: []rbacv1.Subject{rbacSubject(subject)},
	}
}

func rbacSubject(s v1alpha1.Subject) rbacv1.Subject {
	out := rbacv1.Subject{Kind: s.Kind, Name: s.Name, Namespace: s.Namespace}
	if s.Kind != v1alpha1.ServiceAccountKind {
		out.APIGroup = rbacv1.GroupName // the API server's default, so that what is read compares equal
	}
	return out
}

// Of reads the grant that a binding stands for; false if it is not readable.
func Of(b metav1.Object) (v1alpha1.Grant, bool) {
	expiresAt, err := text.ParseTime(b.GetAnnotations()[v1alpha1.ExpiresAtAnnotation])
	createBy, createErr := text.ParseTime(b.GetAnnotations()[v1alpha1.CreateByAnnotation])
	if err != nil || createErr != nil {
		return v1alpha1.Grant{}, false
	}
	return v1alpha1.Grant{
		Binding:   b.GetName(),
		GrantedAt: metav1.NewTime(createBy.Add(-CreateWindow)),
		ExpiresAt: metav1.NewTime(expiresAt),
	}, true
}

// Differences names the fields in which a binding is not what it should be. What the API
// server adds by itself, and labels and annotations of others, do not count.
func Differences(got, want *rbacv1.RoleBinding) []string {
	var out []string
	if got.RoleRef != want.RoleRef {
		out = append(out, "roleRef")
	}
	if len(got.Subjects) != 1 || got.Subjects[0] != want.Subjects[0] {
		out = append(out, "subjects")
	}
	for _, key := range []string{v1alpha1.ExpiresAtAnnotation, v1alpha1.CreateByAnnotation, v1alpha1.RequestAnnotation, v1alpha1.PolicyAnnotation} {
		if got.Annotations[key] != want.Annotations[key] {
			out = append(out, "annotation "+key)
		}
	}
	for _, key := range []string{v1alpha1.ManagedByLabel, v1alpha1.RequestUIDLabel} {
		if got.Labels[key] != want.Labels[key] {
			out = append(out, "label "+key)
		}
	}
	if len(got.OwnerReferences) != 1 || got.OwnerReferences[0].UID != want.OwnerReferences[0].UID {
		out = append(out, "ownerReferences")
	}
	if len(got.Finalizers) > 0 {
		out = append(out, "finalizers")
	}
	return out
}

// MadeFor says whether a binding is what the operator makes for a request and a subject,
// whatever its times, its policy and its finalizers. Its subjects may have been taken off.
// Anything else is a stranger's.
func MadeFor(b *rbacv1.RoleBinding, req v1alpha1.Request, subject v1alpha1.Subject) bool {
	if !OwnedBy(b, req.GetUID()) {
		return false
	}
	got := b.DeepCopy()
	got.Finalizers = nil
	want := New(req, subject, b.Annotations[v1alpha1.PolicyAnnotation], v1alpha1.Grant{Binding: b.Name})
	CopyTimes(want, b)
	if len(got.Subjects) == 0 {
		got.Subjects = want.Subjects
	}
	return len(Differences(got, want)) == 0
}

// CopyTimes gives a binding the times of another one.
func CopyTimes(to, from *rbacv1.RoleBinding) {
	for _, key := range []string{v1alpha1.ExpiresAtAnnotation, v1alpha1.CreateByAnnotation} {
		to.Annotations[key] = from.Annotations[key]
	}
}
