// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/test/controlplane"
)

// playNode runs what the Job of a drain would, with the rights that it has, and says of the
// Job what came of it: nothing here runs Pods.
func (r *release) playNode(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	t.Cleanup(func() { stop(); <-stopped })
	kubeconfig := filepath.Join(t.TempDir(), "drain")
	go func() {
		defer close(stopped)
		ran := map[types.UID]bool{}
		for ctx.Err() == nil {
			job := &batchv1.Job{}
			if r.client.Get(ctx, client.ObjectKey{Namespace: home, Name: "lapse-drain"}, job) == nil && !ran[job.UID] {
				ran[job.UID] = true
				if err := r.runJob(ctx, job, kubeconfig); err != nil {
					t.Errorf("playing a node: %v", err)
				}
			}
			_ = wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Second, false, func(context.Context) (bool, error) { return true, nil })
		}
	}()
}

// runJob has a tenth of the time that the Job has.
func (r *release) runJob(ctx context.Context, job *batchv1.Job, kubeconfig string) error {
	pod := job.Spec.Template.Spec
	config, err := r.plane.ServiceAccountConfig(ctx, home, pod.ServiceAccountName)
	if err != nil {
		return err
	}
	if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
		return err
	}
	var log bytes.Buffer
	args := append(pod.Containers[0].Args[1:], "--timeout=20s", "--kubeconfig="+kubeconfig)
	outcome := []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete}
	if err := ending.Drain(ctx, args, &log); err != nil {
		outcome = []batchv1.JobConditionType{batchv1.JobFailureTarget, batchv1.JobFailed}
	}
	before, ended := job.DeepCopy(), job.CreationTimestamp // about then
	job.Status.StartTime = &ended
	if outcome[1] == batchv1.JobComplete {
		job.Status.CompletionTime, job.Status.Succeeded = &ended, 1
	}
	for _, kind := range outcome {
		job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
			Type: kind, Status: corev1.ConditionTrue, Message: log.String(), LastProbeTime: ended, LastTransitionTime: ended,
		})
	}
	return r.client.Status().Patch(ctx, job, client.MergeFrom(before))
}

// grant is access that a release finds: where its policies are, only an operator makes such.
func (r *release) grant(t *testing.T, name string, finalizers ...string) *rbacv1.RoleBinding {
	t.Helper()
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: "lapse-" + name + "-12345678", Finalizers: finalizers,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "lapse", "lapse.dev/request-uid": "12345678-0000"},
		},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "alice"}},
	}
	// Policies of a release that was removed may be in force for a moment.
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
		return r.client.Create(ctx, b) == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (r *release) uninstall(t *testing.T) error {
	t.Helper()
	uninstall := action.NewUninstall(r.helm(t))
	uninstall.WaitStrategy, uninstall.Timeout = kube.HookOnlyStrategy, time.Minute
	_, err := uninstall.Run(name)
	return err
}

// holds says whether a binding gives anything.
func (r *release) holds(t *testing.T, b *rbacv1.RoleBinding) bool {
	t.Helper()
	live := &rbacv1.RoleBinding{}
	err := r.client.Get(t.Context(), client.ObjectKeyFromObject(b), live)
	if client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	return err == nil && len(live.Subjects) > 0
}

func TestARemovalEndsAccessFirst(t *testing.T) {
	r := newRelease(t)
	all, hooks := apart(r.shipped(t))
	everything, nothing := func(string) bool { return true }, func(string) bool { return false }
	for name, tc := range map[string]struct {
		set    values
		remain func(id string) bool
	}{
		"with its kinds":        {nil, nothing},
		"that leaves its kinds": {values{"crds": values{"keep": true}}, isKind},
	} {
		t.Run(name, func(t *testing.T) {
			held := r.grant(t, "held")
			r.install(t, tc.set)
			if !r.holds(t, held) {
				t.Fatal("nothing was held")
			}
			r.remove(t)
			if r.holds(t, held) {
				t.Error("it is still held")
			}
			r.has(t, all, tc.remain)
			r.has(t, hooks, nothing)
		})
	}
	t.Run("fails while somebody holds something, and removes nothing", func(t *testing.T) {
		held := r.grant(t, "pinned", "example.com/pin")
		r.install(t, nil)
		if err := r.uninstall(t); err == nil || !r.holds(t, held) {
			t.Errorf("the answer is %v; it is held: %t", err, r.holds(t, held))
		}
		r.has(t, all, func(id string) bool { return id != "ClusterRoleBinding lapse-granting" })
		before := held.DeepCopy()
		held.Finalizers = nil
		if err := r.client.Patch(t.Context(), held, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		r.rollback(t, 1)          // Helm upgrades nothing whose removal failed
		r.has(t, all, everything) // what was granted by it is granted again
		r.remove(t)
		r.has(t, all, nothing)
		r.has(t, hooks, nothing)
	})
}
