// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"bytes"
	"context"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
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

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/controllers/ending"
	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
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

// pin is access that a release finds, and that somebody else's finalizer keeps: where the
// policies of Lapse are, only an operator makes a binding like that.
func (r *release) pin(t *testing.T) *rbacv1.RoleBinding {
	t.Helper()
	b := builders.Binding(metav1.NamespaceDefault, "lapse-pinned-12345678", "view", builders.User("alice"))
	b.Finalizers = []string{"example.com/pin"}
	b.Labels = map[string]string{v1alpha1.ManagedByLabel: v1alpha1.ManagedBy, v1alpha1.RequestUIDLabel: "12345678-0000"}
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

// types has somebody type what works some seconds after an installation, and again until then.
func (r *release) types(t *testing.T, env []string, line string) {
	t.Helper()
	said := ""
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, time.Minute, true, func(ctx context.Context) (bool, error) {
		typed, err := operator.Type(ctx, ".", env, line)
		if !strings.Contains(said, typed.Stderr) {
			said += typed.Stderr
		}
		return typed.Code == 0, err
	})
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, line, said)
	}
}

// What the notes have to paste, and a request by the plugin. The last is indented.
var (
	pasted   = regexp.MustCompile(`(?ms)^kubectl .+?^EOF$`)
	byPlugin = regexp.MustCompile(`(?m)^  kubectl lapse request .+$`)
)

// fromNotes are a policy and requests, as the notes have them. Not every API server stamps who
// asks: then there is only that of the plugin.
func fromNotes(t *testing.T, notes string) (policy string, requests []string) {
	t.Helper()
	documents := pasted.FindAllString(notes, -1)
	if len(documents) == 0 {
		t.Fatalf("there is nothing to paste in\n%s", notes)
	}
	return documents[0], append(documents[1:], byPlugin.FindString(notes))
}

// asks has alice get what she asks for by such requests, and wait for an approval.
func (r *release) asks(t *testing.T, requests []string, waits string) {
	t.Helper()
	env := operator.NewHome(t, r.plane, "alice", "oncall")
	for _, line := range requests {
		r.types(t, env, line)
	}
	alice := operator.NewUser(t, r.plane, "alice", "oncall")
	operator.Create(t.Context(), t, alice, builders.Request(waits).In("demo").UnderPolicy("approved").Build())
	var of map[string][]string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		of = r.requests(t)
		return len(of[v1alpha1.ReasonGranted]) == len(requests) && slices.Contains(of[v1alpha1.ReasonPendingApproval], waits), nil
	})
	if err != nil || !r.may(t) {
		t.Fatalf("%v; alice may: %t; the requests are %v", err, r.may(t), of)
	}
}

// requests are the names of all, by their reason.
func (r *release) requests(t *testing.T) map[string][]string {
	t.Helper()
	list := &v1alpha1.AccessRequestList{}
	if err := r.client.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	of := map[string][]string{}
	for i := range list.Items {
		req := &list.Items[i]
		of[operator.Reason(req)] = append(of[operator.Reason(req)], req.Name)
	}
	return of
}

// may says whether alice has what the notes let her ask for.
func (r *release) may(t *testing.T) bool {
	t.Helper()
	may, err := operator.Allowed(t.Context(), r.client, "alice", "list", "configmaps", "demo")
	if err != nil {
		t.Fatal(err)
	}
	return may
}

func TestARemovalEndsAccessFirst(t *testing.T) {
	r := newRelease(t)
	all, _ := apart(r.shipped(t))
	const own = "clusterroles bindable-view" // of the notes: whoever pasted it deletes it

	t.Run("and leaves the kinds, and all records, if it is told to", func(t *testing.T) {
		policy, requests := fromNotes(t, r.install(t, values{"crds": values{"keep": true}}))
		operator.NewManager(t.Context(), t, r.plane, io.Discard, "--leader-elect")
		r.types(t, operator.NewHome(t, r.plane, "root", "system:masters"), policy)
		operator.Create(t.Context(), t, r.client, builders.Policy("approved").In("demo").ApprovedBy(builders.Group("leads")).Build())
		r.asks(t, requests, "waits")
		r.remove(t)
		if r.may(t) {
			t.Error("alice still has access")
		}
		of := r.requests(t)
		if len(of[v1alpha1.ReasonGranted]) > 0 || !slices.Equal(of[v1alpha1.ReasonPendingApproval], []string{"waits"}) {
			t.Errorf("the records are %v", of)
		}
		want := append([]string{own, "accesspolicies approved", "accesspolicies oncall-view"}, kinds...)
		for _, name := range slices.Concat(slices.Collect(maps.Values(of))...) {
			want = append(want, "accessrequests demo/"+name)
		}
		r.leaves(t, want...)
	})
	t.Run("and takes all of it along otherwise", func(t *testing.T) {
		_, requests := fromNotes(t, r.install(t, nil))
		operator.NewManager(t.Context(), t, r.plane, io.Discard, "--leader-elect")
		r.asks(t, requests, "waits-too")
		r.remove(t)
		if r.may(t) {
			t.Error("alice still has access")
		}
		r.leaves(t, own)
	})
	t.Run("fails while somebody holds something, and removes nothing", func(t *testing.T) {
		held := r.pin(t)
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
		r.leaves(t, own)
	})
}
