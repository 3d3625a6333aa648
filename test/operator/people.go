// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package operator

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/test/controlplane"
)

// Version is that of the API server, such as v1.31.13.
func Version(plane *controlplane.ControlPlane) (string, error) {
	d, err := discovery.NewDiscoveryClientForConfig(plane.AdminConfig())
	if err != nil {
		return "", err
	}
	info, err := d.ServerVersion()
	if err != nil {
		return "", err
	}
	return info.GitVersion, nil
}

// Stamps says whether the API server can fill in who asks, by discovery.
func Stamps(config *rest.Config) (bool, error) {
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return false, err
	}
	served, err := d.ServerResourcesForGroupVersion(admissionregistrationv1.SchemeGroupVersion.String())
	if err != nil {
		return false, err
	}
	for i := range served.APIResources {
		if served.APIResources[i].Kind == "MutatingAdmissionPolicy" {
			return true, nil
		}
	}
	return false, nil
}

// Client is an uncached client for a user who does what the README says for the version:
// where the API server does not stamp, he names himself in what he creates.
func Client(config *rest.Config) (client.Client, error) {
	raw, err := RawClient(config)
	if err != nil {
		return nil, err
	}
	stamps, err := Stamps(config)
	if err != nil || stamps {
		return raw, err
	}
	return selfNaming{raw}, nil
}

// selfNaming writes into requests and decisions what the stamps would. What is there, true
// or not, stays, as with them.
type selfNaming struct{ client.Client }

func (c selfNaming) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	var err error
	switch o := obj.(type) {
	case *v1alpha1.AccessRequest:
		err = c.nameRequester(ctx, &o.Spec)
	case *v1alpha1.AccessDecision:
		err = c.nameReviewer(ctx, o)
	}
	if err != nil {
		return err
	}
	return c.Client.Create(ctx, obj, opts...)
}

func (c selfNaming) nameRequester(ctx context.Context, spec *v1alpha1.AccessRequestSpec) (err error) {
	if spec.Requester == nil {
		if spec.Requester, err = c.me(ctx); err != nil {
			return err
		}
	}
	if spec.Subject == nil {
		// A name that nothing can be granted to is for the API server to refuse.
		if subject, err := policy.GrantSubject(spec); err == nil {
			spec.Subject = &subject
		}
	}
	return nil
}

func (c selfNaming) nameReviewer(ctx context.Context, d *v1alpha1.AccessDecision) (err error) {
	if d.Spec.Reviewer == nil {
		if d.Spec.Reviewer, err = c.me(ctx); err != nil {
			return err
		}
		d.Spec.Reviewer.Extra = nil // a reviewer has none
	}
	if d.OwnerReferences == nil {
		ref := d.Spec.RequestRef
		d.OwnerReferences = []metav1.OwnerReference{
			{APIVersion: v1alpha1.GroupVersion.String(), Kind: "AccessRequest", Name: ref.Name, UID: ref.UID},
		}
	}
	return nil
}

// me asks the API server, as `kubectl auth whoami` does.
func (c selfNaming) me(ctx context.Context) (*v1alpha1.Identity, error) {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Client.Create(ctx, review); err != nil {
		return nil, fmt.Errorf("asking the API server who I am: %w", err)
	}
	who := review.Status.UserInfo
	return &v1alpha1.Identity{Username: who.Username, UID: who.UID, Groups: who.Groups, Extra: policy.Extra(who.Extra)}, nil
}
