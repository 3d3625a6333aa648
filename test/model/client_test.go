// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// errLost is what a caller gets whose request or whose answer was lost: he cannot know
// which.
var errLost = errors.New("the connection to the API server was lost")

// failure is the error for an answer that is none of what was hoped for.
func failure(answer id) error {
	what := rbacv1.Resource("rolebindings") // of no other kind it is asked what is not found
	switch answer {
	case notFound:
		return apierrors.NewNotFound(what, "object")
	case conflict:
		return apierrors.NewConflict(what, "object", errors.New("it was changed"))
	case exists:
		return apierrors.NewAlreadyExists(what, "object")
	case lost:
		return errLost
	case accepted, no:
	}
	return nil
}

// reader gives the reconcilers what they read, past the cache or from it.
type reader struct {
	*operator
	cached bool
	stale  kind // is read from the cache all the same; a mistake
	grants bool // for what grants, rather than for what ends access
}

// get is the call that reads an object.
func (r reader) get(what kind) call {
	return call{verb: get, cached: r.cached || r.stale == what, kind: what}
}

func (r reader) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch into := into.(type) {
	case *corev1.Namespace:
		return r.getNamespace(key.Name, into)
	case *rbacv1.ClusterRole:
		return r.getRole(key.Name, into)
	case *v1alpha1.AccessRequest:
		return r.getRequest(into)
	case *metav1.PartialObjectMetadata:
		req := &v1alpha1.AccessRequest{}
		err := fetch(r, r.get(requests), req)
		into.ObjectMeta = req.ObjectMeta
		return err
	case *v1alpha1.AccessPolicy:
		return fetch(r, r.get(policies), into)
	case *rbacv1.RoleBinding:
		c := r.get(bindings)
		c.slot = slotOf(key.Name)
		if r.leftOut(c.slot) {
			return failure(notFound)
		}
		return fetch(r, c, into)
	}
	return fmt.Errorf("nobody reads a %T", into)
}

func (r reader) getNamespace(name string, into *corev1.Namespace) error {
	changed, err := r.changed(namespaces)
	if *into = *builders.Namespace(name, label, labelled); changed {
		into.Labels = nil
	}
	return err
}

func (r reader) getRole(name string, into *rbacv1.ClusterRole) error {
	changed, err := r.changed(roles)
	if *into = *builders.ClusterRole(name, builders.Rule("", "configmaps", "get")); changed {
		*into = *builders.ClusterRole(name, builders.Rule("*", "*", "*"))
		into.ResourceVersion = "2" // by which its digest is remembered
	}
	return err
}

// changed says whether the role, or the namespace, is not what it was in the beginning.
func (r reader) changed(what kind) (bool, error) {
	if !r.unsteady {
		return false, nil
	}
	answer := r.ask(r.get(what))
	return answer == no, failure(answer)
}

// getRequest is where what is read in between, and what was read too early, has its turn.
func (r reader) getRequest(into *v1alpha1.AccessRequest) error {
	c := r.get(requests)
	if r.cached {
		c.written = r.grants && r.bug == writtenWins
		return fetch(r, c, into)
	}
	if r.beside == inBetween {
		r.readOthers()
	}
	if early := r.tooEarly; early != nil {
		r.tooEarly = nil
		return give(r, *early, into)
	}
	return fetch(r, c, into)
}

// leftOut says whether no binding is looked for; see leavesOut.
func (r reader) leftOut(slot int8) bool {
	if r.bug != leavesOut || r.cached || r.tooEarly == nil || *r.tooEarly <= 0 {
		return false
	}
	known := as[*v1alpha1.AccessRequest](r.objects, *r.tooEarly).Status.State != ""
	return !known && r.ask(call{verb: get, cached: true, kind: bindings, slot: slot}) == notFound
}

func fetch[T any](r reader, c call, into *T) error { return give(r, r.ask(c), into) }

func give[T any](r reader, answer id, into *T) error {
	if answer <= 0 {
		return failure(answer)
	}
	found := as[interface{ DeepCopyInto(*T) }](r.objects, answer)
	found.DeepCopyInto(into)
	return nil
}

func (r reader) List(_ context.Context, into client.ObjectList, opts ...client.ListOption) error {
	switch into := into.(type) {
	case *v1alpha1.AccessDecisionList:
		if r.cached && r.bug == deaf {
			return nil
		}
		options := (&client.ListOptions{}).ApplyOptions(opts)
		uid, _ := options.FieldSelector.RequiresExactMatch("spec.requestRef.uid")
		return fetch(r, call{verb: list, cached: r.cached || r.stale == decisions, kind: decisions, uid: types.UID(uid)}, into)
	case *v1alpha1.AccessPolicyList:
		p := &v1alpha1.AccessPolicy{}
		err := fetch(r, call{verb: list, cached: r.cached, kind: policies}, p)
		if err == nil {
			into.Items = append(into.Items, *p)
		}
		return client.IgnoreNotFound(err)
	}
	return fmt.Errorf("nobody lists a %T", into)
}

// apiClient also writes. What it does not have, nobody asks for.
type apiClient struct {
	client.Client
	reader
}

func (a apiClient) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	return a.reader.Get(ctx, key, into, opts...)
}

func (a apiClient) List(ctx context.Context, into client.ObjectList, opts ...client.ListOption) error {
	return a.reader.List(ctx, into, opts...)
}

func (a apiClient) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	if review, ok := obj.(*authorizationv1.SubjectAccessReview); ok {
		if err := failure(a.ask(call{verb: create, kind: reviews})); err != nil {
			return err
		}
		review.Status.Allowed = review.Spec.User == approver
		return nil
	}
	answer := a.ask(call{verb: create, kind: bindings, slot: slotOf(obj.GetName()), payload: a.put(obj.(*rbacv1.RoleBinding).DeepCopy())})
	if answer == exists && a.bug == existsIsSuccess {
		return nil
	}
	return failure(answer)
}

func (a apiClient) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	return failure(a.ask(call{
		verb: update, kind: bindings, slot: slotOf(obj.GetName()), payload: a.put(obj.(*rbacv1.RoleBinding).DeepCopy()),
	}))
}

func (a apiClient) Delete(_ context.Context, obj client.Object, opts ...client.DeleteOption) error {
	c := call{verb: remove, kind: requests}
	if _, ok := obj.(*rbacv1.RoleBinding); ok {
		c.kind, c.slot = bindings, slotOf(obj.GetName())
	}
	options := (&client.DeleteOptions{}).ApplyOptions(opts)
	if p := options.Preconditions; p != nil && p.UID != nil {
		c.uid = *p.UID
	}
	if p := options.Preconditions; p != nil && p.ResourceVersion != nil {
		c.version = *p.ResourceVersion
	}
	return failure(a.ask(c))
}

func (a apiClient) Status() client.SubResourceWriter { return statusWriter{api: a} }

// statusWriter can only patch.
type statusWriter struct {
	client.SubResourceWriter
	api apiClient
}

func (s statusWriter) Patch(_ context.Context, obj client.Object, p client.Patch, _ ...client.SubResourcePatchOption) error {
	data, err := p.Data(obj)
	if err != nil {
		return err
	}
	return failure(s.api.ask(call{verb: patch, kind: requests, payload: s.api.put(string(data))}))
}

// memory is that of the replica that runs.
type memory struct {
	*operator
	bug bug
}

func (m memory) Add(b *rbacv1.RoleBinding) {
	if m.bug == remembersNothing {
		return
	}
	m.ask(call{verb: remember, slot: slotOf(b.Name), payload: m.put(b.DeepCopy())})
}

func (m memory) Of(request types.UID) *v1alpha1.Grant {
	slot := int8(slices.Index([]types.UID{uidOf(0), uidOf(1)}, request))
	if slot < 0 || m.bug == forgets {
		return nil
	}
	known := m.ask(call{verb: recall, cached: true, slot: slot})
	if known <= 0 {
		return nil
	}
	return as[*v1alpha1.Grant](m.objects, known)
}
