// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package guarding

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	shipped "github.com/lapse-dev/lapse/config/admission"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// lookInterval is how often the admission policies are tried though nobody changed them.
	lookInterval = 30 * time.Second
	// lookSoon is how often they are tried while they are not in force.
	lookSoon = time.Second
	// tryTimeout bounds one try of an admission policy.
	tryTimeout = 5 * time.Second
	// maxQuote bounds what is quoted of an answer of the API server, in bytes.
	maxQuote = 1000
)

// Guard proves that the admission policies are in force: those that are installed are
// those that ship, and a request or decision in a false name is refused. It looks when
// one of them changes, and every 30 s. It outlives the managers that it is set up on,
// so that a gap is not forgotten; another process reads of it in a Lease.
type Guard struct {
	clock *servertime.Clock
	// namespace is the operator's own, in which the policies are tried.
	namespace string
	shipped   []*unstructured.Unstructured // what has to be in force
	optional  []*unstructured.Unstructured // what refuses grants that the operator's flags allow
	changed   chan struct{}
	inForce   chan event.GenericEvent

	mu     sync.Mutex
	record admission.Record
	// noteRead says that what an operator before this one noted is known, and late that it could
	// not be read at first.
	noteRead, late bool
}

// NewGuard guards the policies of this version that an operator with these reserved namespaces
// needs. They count as in force some time after they were put in place: see
// admission.SettleAfter.
func NewGuard(clock *servertime.Clock, namespace string, reserved []string, settle time.Duration) (*Guard, error) {
	policies, err := admission.Shipped(shipped.Files)
	if err != nil {
		return nil, fmt.Errorf("the admission policies that ship cannot be read: %w", err)
	}
	required, optional := admission.Required(policies, reserved)
	return &Guard{
		clock: clock, namespace: namespace, shipped: required, optional: optional, record: admission.Record{Settle: settle},
		changed: make(chan struct{}, 1), inForce: make(chan event.GenericEvent, 1),
	}, nil
}

// Admission is what is known at this moment.
func (g *Guard) Admission() admission.State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.record.State(g.clock.Now())
}

// InForce has an event, of an empty request, when the policies are in force again.
func (g *Guard) InForce() <-chan event.GenericEvent { return g.inForce }

// Ready says whether the policies are in force.
func (g *Guard) Ready(*http.Request) error {
	a := g.Admission()
	switch {
	case a.Enforced:
		return nil
	case a.Problem == "":
		return errors.New("nobody has looked at the admission policies yet")
	default:
		return errors.New(a.Problem + "; nothing is granted, and access goes on ending; " + a.Remedy)
	}
}

// Setup adds the guard to a manager.
func (g *Guard) Setup(mgr ctrl.Manager) error {
	shipped, err := served(mgr.GetRESTMapper(), g.shipped)
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, obj := range shipped {
		if seen[obj.GetKind()] {
			continue
		}
		seen[obj.GetKind()] = true
		kind := &unstructured.Unstructured{}
		kind.SetGroupVersionKind(obj.GroupVersionKind())
		informer, err := mgr.GetCache().GetInformer(context.Background(), kind, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %s: %w", obj.GetKind(), err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { g.wake() }, UpdateFunc: func(any, any) { g.wake() }, DeleteFunc: func(any) { g.wake() },
		}); err != nil {
			return fmt.Errorf("watching %s: %w", obj.GetKind(), err)
		}
	}
	return mgr.Add(watcher{guard: g, installed: mgr.GetCache(), shipped: shipped, writer: mgr.GetClient(), live: mgr.GetAPIReader()})
}

// served leaves out the stamps where the API server does not have their kinds, which
// came with Kubernetes 1.36.
func served(mapper meta.RESTMapper, shipped []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	for _, obj := range shipped {
		gvk := obj.GroupVersionKind()
		_, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
		switch {
		case err == nil:
			out = append(out, obj)
		case !meta.IsNoMatchError(err) || !admission.IsStamp(obj):
			return nil, fmt.Errorf("looking for %s: %w", gvk.Kind, err)
		}
	}
	return out, nil
}

// wake has the policies looked at now.
func (g *Guard) wake() {
	select {
	case g.changed <- struct{}{}:
	default: // it will be
	}
}

// watcher is a guard on a manager.
type watcher struct {
	guard     *Guard
	installed client.Reader
	shipped   []*unstructured.Unstructured
	writer    client.Writer
	live      client.Reader
}

// NeedLeaderElection is false: every replica may become the leader, and a gap has been
// seen then.
func (watcher) NeedLeaderElection() bool { return false }

// Start looks until the context ends.
func (w watcher) Start(ctx context.Context) error {
	w.warn(ctx)
	for {
		pause := lookInterval
		if !w.observe(ctx).Enforced {
			pause = lookSoon
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.guard.changed:
		case <-w.guard.clock.Here.After(pause):
		}
	}
}

// observe looks, notes what the next operator has to know, and tells who waits.
func (w watcher) observe(ctx context.Context) admission.State {
	g, before, began := w.guard, w.guard.Admission(), w.guard.clock.Now()
	look := w.look(ctx)
	g.mu.Lock()
	g.record.Observe(began, g.clock.Now(), look)
	g.mu.Unlock()
	w.note(ctx)
	after := g.Admission()
	if after.Enforced && !before.Enforced {
		log.FromContext(ctx).Info("the admission policies are in force")
		select {
		case g.inForce <- event.GenericEvent{Object: &v1alpha1.AccessRequest{}}:
		default: // it has not been read since
		}
	}
	if !after.Enforced && after.Problem != before.Problem {
		log.FromContext(ctx).Error(errors.New(after.Problem), "nothing is granted until it is certain that the admission policies are in force; access goes on ending", "remedy", after.Remedy)
	}
	return after
}

// warn says so when admission refuses grants that the operator's flags allow. It keeps no
// other grant back, and a request that it refuses says the same.
func (w watcher) warn(ctx context.Context) {
	for _, obj := range w.guard.optional {
		if _, err := w.get(ctx, obj); err != nil {
			return // without one of the two, nothing is refused
		}
	}
	if len(w.guard.optional) > 0 {
		log.FromContext(ctx).Error(errors.New(admission.StillClosed), "nothing is granted in kube-* until this is mended",
			"remedy", "reserve kube-*, or open it with: "+admission.OpenKube+"; "+admission.StayOpen+" keeps it open")
	}
}

// get reads what is installed of the kind and name of an object.
func (w watcher) get(ctx context.Context, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	got := &unstructured.Unstructured{}
	got.SetGroupVersionKind(want.GroupVersionKind())
	return got, w.installed.Get(ctx, client.ObjectKeyFromObject(want), got)
}

// look compares, and tries.
func (w watcher) look(ctx context.Context) admission.Look {
	if err := w.recall(ctx); err != nil {
		return admission.Look{Unsure: true, Problem: err.Error(), Remedy: admission.NoteRemedy}
	}
	look := admission.Compare(w.shipped, func(want *unstructured.Unstructured) (*unstructured.Unstructured, error) { return w.get(ctx, want) })
	if look.Problem != "" {
		return look
	}
	request, decision := admission.Probes(w.guard.namespace)
	for name, probe := range map[string]client.Object{admission.RequesterPolicy: request, admission.ReviewerPolicy: decision} {
		if problem, unsure := w.try(ctx, name, probe); problem != "" {
			look.Problem, look.Unsure, look.LetIn = problem, unsure, !unsure
			if unsure {
				look.Remedy = "let ServiceAccount lapse-manager create requests and decisions in " + w.guard.namespace +
					" with dryRun=All (config/rbac), and exempt them there from webhooks and policies of your own"
			}
			return look
		}
	}
	return look
}

// try says what is wrong if the policy does not refuse the probe; unsure if it could
// not be tried. Only a refusal by that very policy is one: RBAC refuses, too.
func (w watcher) try(ctx context.Context, policy string, probe client.Object) (problem string, unsure bool) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	switch err := w.writer.Create(ctx, probe, client.DryRunAll); {
	case err == nil:
		return fmt.Sprintf("ValidatingAdmissionPolicy %s lets false names in: kube-apiserver does not enforce it", policy), false
	case admission.RefusedName(err, policy):
		return "", false
	default:
		return fmt.Sprintf("whether ValidatingAdmissionPolicy %s refuses false names could not be tried: %s", policy, text.Cut(err.Error(), maxQuote)), true
	}
}
