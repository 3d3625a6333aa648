// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package granting

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/internal/admission"
	"github.com/lapse-dev/lapse/internal/binding"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/servertime"
	"github.com/lapse-dev/lapse/test/builders"
)

const (
	// mostAllocations of a look that changes nothing. The copies that a cache hands out are in it.
	mostAllocations = 85
	// mostBytes of a request by which access is held, in the cache, and of its RoleBinding.
	mostBytes = 1900
)

// sceneUID is of the request in a scene.
const sceneUID = "asked"

var sceneTime = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

// scene has objects, and notes what it is asked past the cache, and what is written.
type scene struct {
	objects map[sceneKey]client.Object
	mu      sync.Mutex // of asked
	asked   []string
	// answers has each answer of the API server before whoever asked; nil does nothing.
	answers func(ctx context.Context, obj client.Object)
}

type sceneKey struct {
	kind reflect.Type
	name string
}

func (s *scene) put(obj client.Object) {
	s.objects[sceneKey{reflect.TypeOf(obj), obj.GetName()}] = obj.DeepCopyObject().(client.Object)
}

func (s *scene) get(name string, into client.Object) error {
	obj := s.objects[sceneKey{reflect.TypeOf(into), name}]
	if obj == nil {
		return apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	reflect.ValueOf(into).Elem().Set(reflect.ValueOf(obj.DeepCopyObject()).Elem())
	return nil
}

func (s *scene) note(verb string, obj any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, verb+" "+reflect.TypeOf(obj).Elem().Name())
}

// sceneCache reads what nobody is asked for.
type sceneCache struct {
	client.Client
	of *scene
}

func (c sceneCache) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	return c.of.get(key.Name, into)
}

func (c sceneCache) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	policies, ok := list.(*v1alpha1.AccessPolicyList)
	if !ok {
		return nil
	}
	policies.Items = make([]v1alpha1.AccessPolicy, 1)
	return c.of.get("oncall", &policies.Items[0])
}

func (c sceneCache) Create(_ context.Context, obj client.Object, _ ...client.CreateOption) error {
	c.of.note("create", obj)
	obj.SetUID("made")
	obj.SetCreationTimestamp(metav1.NewTime(sceneTime))
	c.of.put(obj)
	return nil
}

func (c sceneCache) Status() client.SubResourceWriter { return sceneStatus{of: c.of} }

type sceneStatus struct {
	client.SubResourceWriter
	of *scene
}

func (s sceneStatus) Patch(_ context.Context, obj client.Object, _ client.Patch, _ ...client.SubResourcePatchOption) error {
	s.of.note("patch status of", obj)
	s.of.put(obj)
	return nil
}

// sceneServer is read past the cache.
type sceneServer struct{ of *scene }

func (s sceneServer) Get(ctx context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	s.of.note("get", into)
	err := s.of.get(key.Name, into)
	if s.of.answers != nil {
		s.of.answers(ctx, into)
	}
	return err
}

func (s sceneServer) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	s.of.note("list", list)
	return nil
}

// newScene has a request that a policy allows, and who takes it further.
func newScene() (s *scene, look func(context.Context) error) {
	s = &scene{objects: map[sceneKey]client.Object{}}
	alice := builders.User("alice")
	req := builders.Request("debug").In("payments").By("alice").To(alice).Lasting(time.Hour).Build()
	req.UID, req.Generation, req.CreationTimestamp = sceneUID, 1, metav1.NewTime(sceneTime)
	role := builders.ClusterRole("view", builders.Rule("", "pods", "get"))
	role.UID, role.ResourceVersion = "role", "1"
	oncall := builders.Policy("oncall").From(alice).In("payments").Build()
	for _, obj := range []client.Object{req, role, builders.Namespace("payments"), oncall} {
		s.put(obj)
	}
	r := NewRequestReconciler(Options{
		Client: sceneCache{of: s}, Live: sceneServer{s}, Clock: servertime.New(clocktesting.NewFakeClock(sceneTime)),
		Recorder:  events.NewFakeRecorder(100),
		Admission: func() admission.State { return admission.State{Enforced: true} }, Busy: func() bool { return false },
		Memory: binding.NewMemory(24 * time.Hour), Limits: policy.Limits{MaxDuration: 24 * time.Hour}, Retention: 24 * time.Hour,
	})
	return s, func(ctx context.Context) error {
		_, err := r.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(req)})
		return err
	}
}

// See ADR 13 for each of the reads.
func TestWhatAccessCostsTheAPIServer(t *testing.T) {
	s, look := newScene()
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if slices.Index(s.asked, "get RoleBinding") > slices.Index(s.asked, "get AccessRequest") {
		t.Errorf("%q: the request was read before its binding", s.asked)
	}
	want := []string{
		"get AccessPolicy", "get AccessRequest", "get ClusterRole", "get Namespace", "get RoleBinding",
		"create RoleBinding", "patch status of AccessRequest",
	}
	const reads = 5
	if slices.Sort(s.asked[:min(reads, len(s.asked))]); !slices.Equal(s.asked, want) {
		t.Errorf("it was given by %q, want %q, of which the reads may have any order", s.asked, want)
	}
	s.asked = nil
	if err := look(t.Context()); err != nil || len(s.asked) > 0 {
		t.Errorf("a look that changes nothing asked %q, %v", s.asked, err)
	}
}

func TestWhatALookThatChangesNothingAllocates(t *testing.T) {
	_, look := newScene()
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(100, func() {
		if err := look(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	if t.Logf("%.0f allocations", got); got > mostAllocations {
		t.Errorf("%.0f allocations, want %d at the most", got, mostAllocations)
	}
}

func TestWhatAGrantTakesInTheCache(t *testing.T) {
	for what, tc := range map[string]struct {
		keep toolscache.TransformFunc
		read func(n int) any
	}{
		"its request":     {keeping(t), func(n int) any { return granted(t, n) }},
		"its RoleBinding": {ending.CacheOptions().DefaultTransform, func(n int) any { return boundBy(t, n) }},
	} {
		const many = 1000
		kept, before := make([]any, 0, many), heap()
		for n := range many {
			cached, err := tc.keep(tc.read(n))
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, cached)
		}
		got := (heap() - before) / many
		runtime.KeepAlive(kept)
		if t.Logf("%s: %d bytes", what, got); got > mostBytes {
			t.Errorf("%s: %d bytes, want %d at the most", what, got, mostBytes)
		}
	}
}

func TestTheCacheKeepsWhatWasRead(t *testing.T) {
	keep := keeping(t)
	for n, change := range []func(*v1alpha1.Identity, *v1alpha1.GrantedRole){
		func(*v1alpha1.Identity, *v1alpha1.GrantedRole) {},
		func(*v1alpha1.Identity, *v1alpha1.GrantedRole) {},
		func(_ *v1alpha1.Identity, r *v1alpha1.GrantedRole) { r.UID = "made-anew" },
		func(_ *v1alpha1.Identity, r *v1alpha1.GrantedRole) { r.Rules = nil },
		func(_ *v1alpha1.Identity, r *v1alpha1.GrantedRole) { r.Digest = "other" },
		func(by *v1alpha1.Identity, _ *v1alpha1.GrantedRole) { by.UID = "made-anew" },
		func(by *v1alpha1.Identity, _ *v1alpha1.GrantedRole) { by.Groups = nil },
		func(by *v1alpha1.Identity, _ *v1alpha1.GrantedRole) { by.Extra = nil },
	} {
		read := granted(t, n)
		read.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}"} // conditions of policies see it
		change(read.Spec.Requester, read.Status.Grant.Role)
		want := read.DeepCopy()
		want.ManagedFields = nil
		if got, err := keep(read); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d: it keeps %+v, %v; want %+v", n, got, err, want)
		}
	}
	refused := builders.Request("refused").Build()
	if got, err := keep(refused.DeepCopy()); err != nil || !reflect.DeepEqual(got, refused) {
		t.Errorf("it keeps %+v, %v; want %+v", got, err, refused)
	}
}

func TestWhatIsSharedGoesWithTheLastWhoHasIt(t *testing.T) {
	var people shared[v1alpha1.Identity]
	named := func(name string) *v1alpha1.Identity { return people.instead(name, &v1alpha1.Identity{Username: name}) }
	first := named("alice")
	for n := range 10_000 {
		if named(fmt.Sprintf("somebody-%d", n)); n%100 == 0 {
			runtime.GC()
		}
	}
	if known := len(people.known); known > 5_000 {
		t.Errorf("one of them is kept, and %d are known", known)
	}
	if second := named("alice"); second != first {
		t.Error("two who have it have it twice")
	}
	runtime.KeepAlive(first)
}

// keeping is what is done to requests that a cache keeps.
func keeping(t *testing.T) toolscache.TransformFunc {
	t.Helper()
	for kind, by := range CacheOptions().ByObject {
		if _, is := kind.(*v1alpha1.AccessRequest); is {
			return by.Transform
		}
	}
	t.Fatal("requests are kept as they are read")
	return nil
}

// granted is one of some requests by which access is held, as it is read.
func granted(t *testing.T, n int) *v1alpha1.AccessRequest {
	t.Helper()
	req := &v1alpha1.AccessRequest{}
	given(t, "debug", req)
	if req.Status.State != v1alpha1.StateActive {
		t.Fatalf("state %q", req.Status.State)
	}
	req.Name = fmt.Sprintf("debug-%03d", n)
	req.Spec.Requester.Groups = []string{"sre", "system:authenticated"}
	req.Spec.Requester.Extra = map[string]v1alpha1.ExtraValue{"authentication.kubernetes.io/credential-id": {"X509SHA256=4b5f"}}
	read := &v1alpha1.AccessRequest{}
	readAs(t, n, req, read)
	return read
}

// boundBy is the RoleBinding of one of them, as it is read.
func boundBy(t *testing.T, n int) *rbacv1.RoleBinding {
	t.Helper()
	req := builders.Request("debug").Build()
	req.UID = sceneUID
	b, read := &rbacv1.RoleBinding{}, &rbacv1.RoleBinding{}
	given(t, binding.Name(req), b)
	b.Name = fmt.Sprintf("lapse-debug-%03d", n)
	readAs(t, n, b, read)
	return read
}

// given is what there is once access was given.
func given(t *testing.T, name string, into client.Object) {
	t.Helper()
	s, look := newScene()
	if err := look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.get(name, into); err != nil {
		t.Fatal(err)
	}
}

// readAs has an object read by another name of it.
func readAs(t *testing.T, n int, obj, into client.Object) {
	t.Helper()
	obj.SetUID(types.UID(fmt.Sprintf("6f1c2d3e-0000-4000-8000-%012d", n)))
	written, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	fields := metav1.NewFieldsV1(`{"f:status":` + string(written) + `}`) // the API server names each field of both writes
	obj.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: fields}, {Manager: "manager", FieldsV1: fields}})
	sent, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(sent, into); err != nil {
		t.Fatal(err)
	}
}

func heap() int {
	runtime.GC()
	runtime.GC() // what the first one swept late
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) //nolint:gosec // no machine has that much
}
