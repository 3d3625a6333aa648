// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

func (l *load) ask(ctx context.Context, ns string, i int) *v1alpha1.AccessRequest {
	req := builders.Request(fmt.Sprintf("load-%05d", i)).In(ns).ForClusterRole("reader").Lasting(time.Hour).Build()
	l.askAs(ctx, l.askers[i%len(l.askers)], req)
	return req
}

// askAs stores a request of somebody's.
func (l *load) askAs(ctx context.Context, who client.Client, req *v1alpha1.AccessRequest) {
	check(l.B, wait.PollUntilContextTimeout(ctx, 10*time.Millisecond, timeout, true, func(ctx context.Context) (bool, error) {
		err := who.Create(ctx, req)
		if apierrors.IsForbidden(err) {
			return false, nil // the first ones come before RBAC knows of them
		}
		return err == nil, err
	}))
}

// yes asks one after the other, back to back and with a pause, and waits for two things: that
// access is held, which is the yes, and that status says so.
func (l *load) yes(ctx context.Context) {
	for i, name := range []string{"back to back", "with gaps"} {
		pause := time.Duration(i) * 150 * time.Millisecond
		ns := l.namespace(ctx)
		yes, said := make([]time.Duration, 0, singles), make([]time.Duration, 0, singles)
		ctx, stop := context.WithCancel(ctx)
		access := l.watch(ctx, &rbacv1.RoleBindingList{}, held)
		given := l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
		for i := range singles {
			<-time.After(pause)
			begun := time.Now()
			uid := l.ask(ctx, ns, i).UID
			yes = append(yes, access.of(ctx, l.B, uid).Sub(begun))
			said = append(said, given.of(ctx, l.B, uid).Sub(begun))
		}
		stop()
		l.note("yes, p50, L_yes, "+name, milliseconds(quantile(yes, 0.5))/l.last(createShown))
		l.note("yes, p99, L_yes, "+name, milliseconds(quantile(yes, 0.99))/l.last(createShown))
		l.note("status says so, p50, L_yes, "+name, milliseconds(quantile(said, 0.5))/l.last(createShown))
		l.note("status says so, p99, L_yes, "+name, milliseconds(quantile(said, 0.99))/l.last(createShown))
	}
}

// lives has access given and, as soon as it is, ended, one after the other. It returns how
// long each end took.
func (l *load) lives(ctx context.Context) (ends []time.Duration) {
	ns := l.namespace(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	given := l.watch(ctx, &v1alpha1.AccessRequestList{}, active)
	ended := l.watch(ctx, &rbacv1.RoleBindingList{}, released)
	for i := range singles {
		req := l.ask(ctx, ns, i)
		given.await(ctx, l.B, i+1)
		ends = append(ends, timed(func() {
			check(l.B, l.owner.Create(ctx, builders.Decision(req.Name, req, v1alpha1.VerdictRevoke)))
			ended.await(ctx, l.B, i+1)
		}))
	}
	return ends
}

// revoke measures ends, and what the operator asks the API server in a life.
func (l *load) revoke(ctx context.Context) {
	mark, err := l.plane.AuditMark()
	check(l.B, err)
	ends := l.lives(ctx)
	l.note("revoked right after the grant, p50, L_del", milliseconds(quantile(ends, 0.5))/l.last(deleteTakes))
	l.note("revoked right after the grant, p99, ms", milliseconds(quantile(ends, 0.99)))
	<-time.After(time.Second) // what comes after it
	events, err := l.plane.AuditEvents(mark)
	check(l.B, err)
	reads, writes := map[string]float64{}, 0.0
	for i := range events {
		e := &events[i]
		switch {
		case e.User.Username != operator.Username || e.ObjectRef == nil:
		case e.Verb == "get" || e.Verb == "list":
			reads[e.Verb+" "+e.ObjectRef.Resource]++
		case e.ObjectRef.Resource == "rolebindings" || e.ObjectRef.Resource == "accessrequests":
			writes++
		}
	}
	sum := 0.0
	for _, what := range slices.Sorted(maps.Keys(reads)) {
		l.note("reads in a life: "+what, reads[what]/singles)
		sum += reads[what]
	}
	l.note("reads in a life, all", sum/singles)
	l.note("writes in a life", writes/singles)
}
