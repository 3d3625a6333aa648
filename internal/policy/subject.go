// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	systemPrefix         = "system:"
	serviceAccountPrefix = "system:serviceaccount:"
)

// errNoRequester is why a request without a requester is granted nothing.
var errNoRequester = errors.New("requester is missing, so it is not known who asks")

// GrantSubject is who gets the access, in its exact RBAC form: spec.subject, or the
// requester when there is none. The user system:serviceaccount:<namespace>:<name>
// becomes the ServiceAccount that it is.
//
// It is an error when nothing can be granted to that identity: there is no
// requester, the name is empty or malformed, or it is a user or group of Kubernetes
// itself (system:…). The error is a sentence for the person who asked.
func GrantSubject(spec *v1alpha1.AccessRequestSpec) (v1alpha1.Subject, error) {
	if spec == nil || spec.Requester == nil || spec.Requester.Username == "" {
		return v1alpha1.Subject{}, errNoRequester
	}
	if spec.Subject != nil {
		return exactSubject("subject", *spec.Subject)
	}
	return exactSubject("requester", v1alpha1.Subject{Kind: v1alpha1.UserKind, Name: spec.Requester.Username})
}

// exactSubject is s in the one form in which it is compared and bound. field is
// named in errors.
func exactSubject(field string, s v1alpha1.Subject) (v1alpha1.Subject, error) {
	if s.Kind == v1alpha1.UserKind && s.Namespace == "" && strings.HasPrefix(s.Name, serviceAccountPrefix) {
		// With a third colon in it, the name is no name of a ServiceAccount.
		namespace, name, _ := strings.Cut(strings.TrimPrefix(s.Name, serviceAccountPrefix), ":")
		s = v1alpha1.Subject{Kind: v1alpha1.ServiceAccountKind, Namespace: namespace, Name: name}
	}
	if problem := malformed(s); problem != "" {
		return v1alpha1.Subject{}, fmt.Errorf("%s %s cannot be granted anything: %s", field, subjectText(s), problem)
	}
	return s, nil
}

// malformed says why s can be neither granted anything nor listed in a policy, and
// is empty if it can. The schema says the same; this holds without it.
func malformed(s v1alpha1.Subject) string {
	switch s.Kind {
	case v1alpha1.UserKind, v1alpha1.GroupKind:
		switch {
		case s.Name == "":
			return "the name is empty"
		case s.Namespace != "":
			return "only a ServiceAccount has a namespace"
		case strings.HasPrefix(s.Name, systemPrefix):
			return "users and groups that begin with system: belong to Kubernetes"
		}
		return ""
	case v1alpha1.ServiceAccountKind:
		if len(validation.IsDNS1123Label(s.Namespace)) > 0 || len(validation.IsDNS1123Subdomain(s.Name)) > 0 {
			return "that is not the name of a ServiceAccount"
		}
		return ""
	default:
		return "kind must be User, Group or ServiceAccount"
	}
}

// Account is the name with which a user or ServiceAccount is authenticated; of a group, its name.
func Account(s v1alpha1.Subject) string {
	if s.Kind == v1alpha1.ServiceAccountKind {
		return serviceAccountPrefix + s.Namespace + ":" + s.Name
	}
	return s.Name
}
