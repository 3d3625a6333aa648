// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// RequestGVK is the kind of the requests that RoleBindings belong to.
var RequestGVK = v1alpha1.GroupVersion.WithKind("AccessRequest")

// Owner is one request, and not another one of its name.
type Owner struct {
	Key types.NamespacedName
	UID types.UID
}

// OwnerOf is the request that a binding names as its own.
func OwnerOf(b metav1.Object) Owner {
	return Owner{
		Key: types.NamespacedName{Namespace: b.GetNamespace(), Name: b.GetAnnotations()[v1alpha1.RequestAnnotation]},
		UID: types.UID(b.GetLabels()[v1alpha1.RequestUIDLabel]),
	}
}

// OwnedBy says whether a binding carries the UID of a request as its own.
func OwnedBy(b metav1.Object, uid types.UID) bool {
	l := b.GetLabels()
	return l[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy && l[v1alpha1.RequestUIDLabel] == string(uid) && uid != ""
}

// Managed says whether a RoleBinding is one of Lapse's, by its own metadata.
func Managed(b metav1.Object) bool {
	l := b.GetLabels()
	return strings.HasPrefix(b.GetName(), v1alpha1.BindingPrefix) &&
		l[v1alpha1.ManagedByLabel] == v1alpha1.ManagedBy && l[v1alpha1.RequestUIDLabel] != ""
}

// Selector selects managed RoleBindings. Admission lets nobody else use the label of a
// request's UID, so nobody fills the operator's memory with others.
func Selector() labels.Selector {
	selector := labels.SelectorFromSet(labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy})
	ofRequest, err := labels.NewRequirement(v1alpha1.RequestUIDLabel, selection.Exists, nil)
	if err != nil {
		panic(err) // the label is a constant
	}
	return selector.Add(*ofRequest)
}

// RequestIs is what is known of the request of a binding.
type RequestIs int

const (
	// Unknown: it cannot be told.
	Unknown RequestIs = iota
	// Missing: the cache shows no such request. Ask the API server before you believe it.
	Missing
	// Unaware: it is there, and its status does not know of the grant.
	Unaware
	// Aware: it is there, and its status knows of the grant or is final.
	Aware
)
