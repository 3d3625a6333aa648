// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// CreateWindow is how long after the decision the API server accepts the binding.
const CreateWindow = 10 * time.Second

// maxBindingName keeps the names of bindings within what a label could hold and a
// table shows, in characters.
const maxBindingName = 63

// BindingName is the name of the RoleBinding of a request: lapse-, the name of the
// request as far as it fits, and the first eight characters of its UID.
func BindingName(req *v1alpha1.AccessRequest) string {
	uid := string(req.UID)
	if len(uid) > 8 {
		uid = uid[:8]
	}
	name := req.Name
	if room := maxBindingName - len(v1alpha1.BindingPrefix) - 1 - len(uid); len(name) > room {
		name = strings.TrimRight(name[:room], "-.")
	}
	return v1alpha1.BindingPrefix + name + "-" + uid
}

// newBinding is the RoleBinding that gives the grant to the subject.
func newBinding(req *v1alpha1.AccessRequest, subject v1alpha1.Subject, policyName string, g v1alpha1.Grant) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Name:      g.Binding,
			Namespace: req.Namespace,
			Labels: map[string]string{
				v1alpha1.ManagedByLabel:  v1alpha1.ManagedBy,
				v1alpha1.RequestUIDLabel: string(req.UID),
			},
			Annotations: map[string]string{
				v1alpha1.ExpiresAtAnnotation: text.Time(g.ExpiresAt.Time),
				v1alpha1.CreateByAnnotation:  text.Time(g.GrantedAt.Add(CreateWindow)),
				v1alpha1.RequestAnnotation:   req.Name,
				v1alpha1.PolicyAnnotation:    policyName,
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha1.GroupVersion.String(),
				Kind:       "AccessRequest",
				Name:       req.Name,
				UID:        req.UID,
			}},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: req.Spec.RoleRef.Kind, Name: req.Spec.RoleRef.Name},
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

// differences names the fields in which a binding is not what it should be. What
// the API server adds by itself, and labels and annotations of others, do not count.
func differences(got, want *rbacv1.RoleBinding) []string {
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

// ownedBy says whether the binding carries the request's UID as its own.
func ownedBy(b *rbacv1.RoleBinding, uid types.UID) bool {
	return b.Labels[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy && b.Labels[v1alpha1.RequestUIDLabel] == string(uid) && uid != ""
}

// madeFor says whether a binding is what the operator would make for the request, but
// for its times, or that with its subjects taken off. Anything else is a stranger's.
func madeFor(b *rbacv1.RoleBinding, req *v1alpha1.AccessRequest) bool {
	subject, err := policy.GrantSubject(&req.Spec)
	if err != nil || !ownedBy(b, req.UID) {
		return false
	}
	got := b.DeepCopy()
	got.Finalizers = nil
	want := newBinding(req, subject, b.Annotations[v1alpha1.PolicyAnnotation], v1alpha1.Grant{Binding: b.Name})
	for _, key := range []string{v1alpha1.ExpiresAtAnnotation, v1alpha1.CreateByAnnotation} {
		want.Annotations[key] = b.Annotations[key]
	}
	if len(got.Subjects) == 0 {
		got.Subjects = want.Subjects
	}
	return len(differences(got, want)) == 0
}

// Of reads the grant that a binding stands for; false if it is not readable.
func Of(b *rbacv1.RoleBinding) (v1alpha1.Grant, bool) {
	expiresAt, expires := parseTimestamp(b.Annotations[v1alpha1.ExpiresAtAnnotation])
	createBy, creates := parseTimestamp(b.Annotations[v1alpha1.CreateByAnnotation])
	if !expires || !creates {
		return v1alpha1.Grant{}, false
	}
	return v1alpha1.Grant{
		Binding:   b.Name,
		GrantedAt: metav1.NewTime(createBy.Add(-CreateWindow)),
		ExpiresAt: metav1.NewTime(expiresAt),
	}, true
}
