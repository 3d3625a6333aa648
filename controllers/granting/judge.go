// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"fmt"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// judges fetches what policies are judged by, when grant.Next asks for it.
type judges struct {
	cached client.Reader
	// live reads past the cache.
	live client.Reader
	// authorizer is asked by writing reviews.
	authorizer client.Writer
	compiled   *policy.Cache
	limits     policy.Limits
	repeats    *repeats
	// digests are those of roles by UID and resource version.
	digests *lru.Cache
}

const (
	// compiledPolicies bounds how many policies are kept compiled.
	compiledPolicies = 4096
	// liveTimeout bounds a second look where access goes on until it is answered.
	liveTimeout = 2 * time.Second
)

func newJudges(c client.Client, live client.Reader, limits policy.Limits) judges {
	return judges{cached: c, live: live, authorizer: c, compiled: policy.NewCache(compiledPolicies), limits: limits, repeats: newRepeats(), digests: lru.New(knownDigests)}
}

// reading are the same, and read past the cache by what is given.
func (j judges) reading(live client.Reader) judges {
	j.live = live
	return j
}

// of is the judge of one request, by the policies that one reader has and by the rest that
// the other one has.
func (j judges) of(ctx context.Context, policies, rest client.Reader, now time.Time, req *v1alpha1.AccessRequest) grant.Judge {
	return grant.Judge{
		Decide: func() (policy.Decision, error) {
			// Access that begins later is judged as of its beginning, and again then.
			if start := req.Spec.NotBefore; start != nil && start.After(now) {
				now = start.Time
			}
			in, err := j.input(ctx, rest, now, req)
			if err != nil {
				return policy.Decision{}, err
			}
			all, err := j.policies(ctx, policies)
			if err != nil {
				return policy.Decision{}, err
			}
			if req.Status.State != "" {
				done, err := j.repeats.take(ctx)
				if err != nil {
					return policy.Decision{}, err
				}
				defer done()
			}
			return policy.Evaluate(in, all)
		},
		Objections: func(g v1alpha1.Grant) ([]string, error) { return j.objections(ctx, policies, rest, req, g) },
		MayEnd:     j.mayEnd(ctx, policies, req),
		RoleChange: func(g v1alpha1.Grant) (policy.RoleChange, error) { return j.roleChange(ctx, req, g) },
	}
}

// objections of the policy that allowed a grant, if it changed since.
func (j judges) objections(ctx context.Context, policies, rest client.Reader, req *v1alpha1.AccessRequest, g v1alpha1.Grant) ([]string, error) {
	ref := req.Status.Policy
	if ref == nil {
		return []string{"the request names no policy"}, nil
	}
	p, err := named(ctx, policies, ref.Name)
	switch {
	case err != nil:
		return nil, err
	case p == nil || p.UID != ref.UID || p.DeletionTimestamp != nil:
		return []string{"it was deleted"}, nil
	case p.Generation == ref.Generation:
		return nil, nil
	}
	in, err := j.input(ctx, rest, g.GrantedAt.Time, req)
	if err != nil {
		return nil, err
	}
	return j.compiled.Compiled(p).StillAllows(in, g.ExpiresAt.Sub(g.GrantedAt.Time)), nil
}

// mayEnd says whether somebody may deny or revoke under a policy. That he may not is
// believed only of the API server: the policy may be newer than those.
func (j judges) mayEnd(ctx context.Context, policies client.Reader, req *v1alpha1.AccessRequest) func(string, *v1alpha1.Identity) (bool, error) {
	type answer struct {
		policy *v1alpha1.AccessPolicy
		err    error
	}
	asked := map[string]answer{} // each once, however many decisions there are
	return func(name string, who *v1alpha1.Identity) (bool, error) {
		known, err := named(ctx, policies, name)
		if err != nil {
			return false, err
		}
		if may, err := j.mayEndBy(ctx, known, req, who); may || err != nil {
			return may, err
		}
		said, told := asked[name]
		if !told {
			ctx, cancel := context.WithTimeout(ctx, liveTimeout)
			defer cancel()
			said.policy, said.err = named(ctx, j.live, name)
			asked[name] = said
		}
		live := said.policy
		if said.err != nil || known != nil && live != nil && known.UID == live.UID && known.Generation == live.Generation {
			return false, said.err
		}
		return j.mayEndBy(ctx, live, req, who)
	}
}

// named is the policy of that name, nil if there is none.
func named(ctx context.Context, reader client.Reader, name string) (*v1alpha1.AccessPolicy, error) {
	p := &v1alpha1.AccessPolicy{}
	err := reader.Get(ctx, client.ObjectKey{Name: name}, p)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading policy %s: %w", name, err)
	}
	return p, nil
}

// mayEndBy says whether somebody is an approver or a revoker of a policy or, if it asks
// for no approval, may delete the request. A policy that is not there lets nobody.
func (j judges) mayEndBy(ctx context.Context, p *v1alpha1.AccessPolicy, req *v1alpha1.AccessRequest, who *v1alpha1.Identity) (bool, error) {
	switch {
	case p == nil:
		return false, nil
	case policy.MayEnd(&p.Spec, who):
		return true, nil
	case len(p.Spec.Approvals) > 0:
		return false, nil
	}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: who.Username, UID: who.UID, Groups: who.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: req.Namespace, Name: req.Name, Verb: "delete",
			Group: v1alpha1.GroupVersion.Group, Version: v1alpha1.GroupVersion.Version, Resource: "accessrequests",
		},
	}}
	ctx, cancel := context.WithTimeout(ctx, liveTimeout)
	defer cancel()
	if err := j.authorizer.Create(ctx, review); err != nil {
		return false, err
	}
	s := review.Status
	if !s.Allowed && !s.Denied && s.EvaluationError != "" { // an authorizer that could not tell might have allowed it
		return false, fmt.Errorf("the authorizer could not tell: %s", text.Line(s.EvaluationError))
	}
	return s.Allowed && !s.Denied, nil
}

// confirm says whether a policy is still, on the API server, what it was judged by.
func (j judges) confirm(ctx context.Context, ref *v1alpha1.PolicyReference) error {
	p, err := named(ctx, j.live, ref.Name)
	if err != nil {
		return err
	}
	if !isStill(p, ref) {
		return fmt.Errorf("policy %s changed while it was judged by; the request is judged again", ref.Name)
	}
	return nil
}

// isStill says whether a policy, nil if there is none, is what it was referred to as.
func isStill(p *v1alpha1.AccessPolicy, ref *v1alpha1.PolicyReference) bool {
	return p != nil && p.UID == ref.UID && p.Generation == ref.Generation && p.DeletionTimestamp == nil
}

func (j judges) policies(ctx context.Context, reader client.Reader) ([]*policy.Compiled, error) {
	list := &v1alpha1.AccessPolicyList{}
	// Nothing here changes a policy, and there may be many.
	if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	compiled := make([]*policy.Compiled, 0, len(list.Items))
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp == nil {
			compiled = append(compiled, j.compiled.Compiled(&list.Items[i]))
		}
	}
	return compiled, nil
}

func (j judges) input(ctx context.Context, reader client.Reader, now time.Time, req *v1alpha1.AccessRequest) (policy.Input, error) {
	in := policy.Input{Request: req, Now: now, Limits: j.limits, Roles: j.roles(ctx, reader, req.Namespace)}
	ns := &corev1.Namespace{}
	err := reader.Get(ctx, client.ObjectKey{Name: req.Namespace}, ns)
	switch {
	case apierrors.IsNotFound(err):
		return in, nil
	case err != nil:
		return in, fmt.Errorf("reading namespace %s: %w", req.Namespace, err)
	}
	in.Namespace = ns
	return in, nil
}

// roles looks roles up for a request in the namespace.
func (j judges) roles(ctx context.Context, reader client.Reader, namespace string) policy.RoleLookup {
	return func(ref v1alpha1.RoleRef) (policy.Role, bool, error) {
		if ref.Kind == v1alpha1.ClusterRoleKind {
			role := &rbacv1.ClusterRole{}
			err := reader.Get(ctx, client.ObjectKey{Name: ref.Name}, role)
			return policy.Role{UID: role.UID, Rules: role.Rules}, err == nil, client.IgnoreNotFound(err)
		}
		role := &rbacv1.Role{}
		err := j.live.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, role)
		if err == nil {
			j.digest(role, role.Rules) // its rules are in no cache
		}
		return policy.Role{UID: role.UID, Rules: role.Rules}, err == nil, client.IgnoreNotFound(err)
	}
}
