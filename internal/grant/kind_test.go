// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package grant

import (
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/binding"
)

// anotherRequest is a second kind of request, without a namespace.
type anotherRequest struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	asked  v1alpha1.AccessRequestSpec
	became v1alpha1.AccessRequestStatus
}

func (*anotherRequest) RequestKind() string                            { return "AnotherRequest" }
func (r *anotherRequest) RequestSpec() *v1alpha1.AccessRequestSpec     { return &r.asked }
func (r *anotherRequest) RequestStatus() *v1alpha1.AccessRequestStatus { return &r.became }
func (r *anotherRequest) DeepCopyObject() runtime.Object {
	out := &anotherRequest{TypeMeta: r.TypeMeta, asked: *r.asked.DeepCopy(), became: *r.became.DeepCopy()}
	r.DeepCopyInto(&out.ObjectMeta)
	return out
}

// A second kind goes the whole way: it is granted, adopted, kept, ended and forgotten.
func TestASecondKindOfRequestIsTakenToItsEnd(t *testing.T) {
	req := &anotherRequest{asked: request().Spec}
	req.Name, req.UID, req.Generation, req.CreationTimestamp = "debug", "6f1c2d3e-0000", 1, metav1.NewTime(noon)
	step := func(now time.Time, b *rbacv1.RoleBinding) Step {
		t.Helper()
		s, err := Next(now, req, judge(allows), Observed{Admission: inForce, Binding: b}, settings)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	record := func(s Step) {
		t.Helper()
		o := s.Outcome
		req.became = v1alpha1.AccessRequestStatus{State: o.State, Policy: o.Policy, Grant: o.Grant, Approvals: o.Approvals}
	}

	given := step(noon, nil)
	check(t, given, Create, v1alpha1.StateActive, v1alpha1.ReasonGranted)
	b := given.Binding
	if owner := b.OwnerReferences[0]; owner.Kind != "AnotherRequest" || owner.Name != "debug" || owner.UID != req.UID {
		t.Errorf("owner = %+v", owner)
	}
	if b.Name != binding.Name(req) || b.Namespace != "" || !binding.Managed(b) {
		t.Errorf("binding = %+v", b.ObjectMeta)
	}

	b.UID, b.CreationTimestamp = "b1", metav1.NewTime(noon)
	adopted := step(noon.Add(time.Second), b)
	check(t, adopted, Nothing, v1alpha1.StateActive, v1alpha1.ReasonGranted)
	record(adopted)
	if kept := step(noon.Add(time.Minute), b); kept.Action != Nothing || kept.Outcome != nil {
		t.Errorf("a grant that goes on: %+v", kept)
	}

	end := req.became.Grant.ExpiresAt.Time
	ended := step(end, b)
	check(t, ended, Delete, v1alpha1.StateExpired, v1alpha1.ReasonExpired)
	record(ended)
	if over := step(end.Add(time.Minute), nil); over.Action != Nothing {
		t.Errorf("over: %+v", over)
	}
	if late := step(end.Add(settings.Retention), nil); late.Action != Forget {
		t.Errorf("after its retention: %+v", late)
	}
}
