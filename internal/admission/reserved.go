// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// ReservedPolicy is the policy, and its binding, that keeps grants out of the namespaces
	// of Kubernetes itself.
	ReservedPolicy = "lapse-reserved-namespaces"
	// kubePrefix is how the names of these namespaces begin, as that policy has it.
	kubePrefix = "kube-"

	// StillClosed is what is wrong when the operator may grant there and that policy refuses it.
	StillClosed = "--reserved-namespaces does not reserve all of kube-*, and ValidatingAdmissionPolicy " + ReservedPolicy +
		" refuses every grant there"
	// OpenKube is the command by which a cluster admin opens these namespaces.
	OpenKube = "kubectl delete validatingadmissionpolicybinding,validatingadmissionpolicy " + ReservedPolicy
	// StayOpen is what keeps them open when Lapse is applied again.
	StayOpen = "config/overlays/open-kube-namespaces"
)

// Required parts what ships by the namespaces that the operator reserves. required has to be
// in force. optional is what keeps grants out of kube-*, for an operator that does not
// reserve all of that: whether it is there is then up to the cluster admin.
func Required(shipped []*unstructured.Unstructured, reserved []string) (required, optional []*unstructured.Unstructured) {
	if reservesKube(reserved) {
		return shipped, nil
	}
	for _, obj := range shipped {
		if obj.GetName() == ReservedPolicy {
			optional = append(optional, obj)
		} else {
			required = append(required, obj)
		}
	}
	return required, optional
}

// reservesKube says whether every namespace is reserved whose name begins with kube-. An
// entry that ends in * is a prefix.
func reservesKube(reserved []string) bool {
	return slices.ContainsFunc(reserved, func(entry string) bool {
		prefix, wild := strings.CutSuffix(entry, "*")
		return wild && strings.HasPrefix(kubePrefix, prefix)
	})
}
