// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package perf

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/operator"
)

// original is a request, and its RoleBinding while access is held, of which copies are made. It is
// what a person asked for and a manager did. What a copy has of its own is as long as in the
// original, so it is replaced in what etcd has, whatever the encoding.
type original struct {
	req *v1alpha1.AccessRequest
	// rb is nil if access is over.
	rb *rbacv1.RoleBinding
	// request and binding as etcd has them.
	request, binding []byte
}

const (
	// copyName is the name of a request by its number, and copyPerson that of who made it.
	copyName, copyPerson = "copy-%06d", "person-%06d"
	// copyPeople is how many people made all of them.
	copyPeople = 10_000
	// writers is how many copies are written at once.
	writers = 64
	// shownTimeout bounds how long after the last of them the API server shows it: it reads
	// about 1 200 in a second, and 2 000 are written.
	shownTimeout = 10 * time.Minute
)

func requestKey(ns, name string) string {
	return "/registry/lapse.dev/accessrequests/" + ns + "/" + name
}

func bindingKey(ns, name string) string { return "/registry/rolebindings/" + ns + "/" + name }

// original has access given, and waits for a state.
func (l *load) original(ctx context.Context, lasting time.Duration, state v1alpha1.RequestState) *original {
	l.Helper()
	o := &original{req: builders.Request(fmt.Sprintf(copyName, 0)).In(l.namespace(ctx)).ForClusterRole("reader").Lasting(lasting).Build()}
	l.askAs(ctx, operator.NewUser(l.B, l.plane, fmt.Sprintf(copyPerson, 0), "askers"), o.req)
	check(l.B, wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, loadTimeout, true, func(ctx context.Context) (bool, error) {
		err := l.admin.Get(ctx, client.ObjectKeyFromObject(o.req), o.req)
		return o.req.Status.State == state, err
	}))
	var err error
	o.request, err = l.plane.Stored(ctx, requestKey(o.req.Namespace, o.req.Name))
	check(l.B, err)
	if state != v1alpha1.StateActive {
		return o
	}
	o.rb = &rbacv1.RoleBinding{}
	check(l.B, l.admin.Get(ctx, client.ObjectKey{Namespace: o.req.Namespace, Name: binding.Name(o.req)}, o.rb))
	o.binding, err = l.plane.Stored(ctx, bindingKey(o.rb.Namespace, o.rb.Name))
	check(l.B, err)
	return o
}

// uidOf is that of the nth request.
func uidOf(n int) types.UID { return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n, n)) }

// write the nth request, in a namespace, by which access ends at a moment. The request is there
// before its RoleBinding, or the garbage collector would take that away.
func (o *original) write(ctx context.Context, b *testing.B, l *load, n int, ns string, end time.Time) {
	b.Helper()
	uid, name := string(uidOf(n)), fmt.Sprintf(copyName, n)
	pairs := []string{
		string(o.req.UID), uid, string(o.req.UID[:8]), uid[:8], o.req.Name, name, o.req.Namespace, ns,
		fmt.Sprintf(copyPerson, 0), fmt.Sprintf(copyPerson, n%copyPeople),
		text.Time(o.req.Status.Grant.ExpiresAt.Time), text.Time(end),
	}
	if o.rb != nil {
		pairs = append(pairs, string(o.rb.UID), strings.Replace(uid, "-8000-", "-9000-", 1))
	}
	own := strings.NewReplacer(pairs...)
	check(b, l.plane.Store(ctx, requestKey(ns, name), []byte(own.Replace(string(o.request)))))
	if o.rb != nil {
		check(b, l.plane.Store(ctx, bindingKey(ns, own.Replace(o.rb.Name)), []byte(own.Replace(string(o.binding)))))
	}
}

// copies writes those from one number to another, in some namespaces.
func (l *load) copies(ctx context.Context, of *original, in []string, from, to int, end func(n int) time.Time) {
	l.Helper()
	place := func(n int) string { return in[n%len(in)] }
	each(l.B, to-from, writers, func(i int) { of.write(ctx, l.B, l, from+i, place(from+i), end(from+i)) })
	of.shown(ctx, l, to-1, place(to-1))
}

// shown waits until the API server shows the nth request to whoever watches, and that it is what
// it was copied from.
func (o *original) shown(ctx context.Context, l *load, n int, ns string) {
	l.Helper()
	got := &v1alpha1.AccessRequest{}
	cached := &client.GetOptions{Raw: &metav1.GetOptions{ResourceVersion: "0"}}
	check(l.B, wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, shownTimeout, true, func(ctx context.Context) (bool, error) {
		err := l.admin.Get(ctx, client.ObjectKey{Namespace: ns, Name: fmt.Sprintf(copyName, n)}, got, cached)
		return err == nil, client.IgnoreNotFound(err)
	}))
	if got.UID != uidOf(n) || got.Status.State != o.req.Status.State || got.Spec.Requester.Username != fmt.Sprintf(copyPerson, n%copyPeople) {
		l.Fatalf("the copy is another one: %+v", got)
	}
	if o.rb == nil {
		return
	}
	rb := &rbacv1.RoleBinding{}
	check(l.B, wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, shownTimeout, true, func(ctx context.Context) (bool, error) {
		err := l.admin.Get(ctx, client.ObjectKey{Namespace: ns, Name: binding.Name(got)}, rb, cached)
		return err == nil, client.IgnoreNotFound(err)
	}))
	if !binding.MadeFor(rb, got, *got.Spec.Subject) {
		l.Fatalf("the copy of the RoleBinding is not of its request: %+v", rb)
	}
}
