// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

const name = "lapse"

// release is that of the chart on a cluster. Nothing waits for Pods: there are no nodes.
type release struct {
	plane      *controlplane.ControlPlane
	client     client.Client
	kubeconfig string
}

func newRelease(t *testing.T) *release {
	t.Helper()
	plane, err := controlplane.Start(t.Context(), controlplane.Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	r := &release{plane: plane, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := controlplane.WriteKubeconfig(r.kubeconfig, plane.AdminConfig()); err != nil {
		t.Fatal(err)
	}
	r.client = operator.NewClient(t, plane.AdminConfig())
	r.playNode(t)
	return r
}

// helm is a configuration of its own for each command, as the command line has it.
func (r *release) helm(t *testing.T) *action.Configuration {
	t.Helper()
	namespace := home
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace = &r.kubeconfig, &namespace
	config := action.NewConfiguration()
	if err := config.Init(flags, home, "secret"); err != nil {
		t.Fatal(err)
	}
	return config
}

// install returns the notes.
func (r *release) install(t *testing.T, set values) string {
	t.Helper()
	install := action.NewInstall(r.helm(t))
	install.ReleaseName, install.Namespace, install.CreateNamespace = name, home, true
	install.WaitStrategy, install.Timeout = kube.HookOnlyStrategy, time.Minute
	installed, err := install.RunWithContext(t.Context(), load(t), set)
	if err != nil {
		t.Fatal("installing: ", err)
	}
	return installed.(*releasev1.Release).Info.Notes
}

func (r *release) upgrade(t *testing.T, set values) {
	t.Helper()
	upgrade := action.NewUpgrade(r.helm(t))
	upgrade.Namespace, upgrade.WaitStrategy, upgrade.Timeout = home, kube.HookOnlyStrategy, time.Minute
	if _, err := upgrade.RunWithContext(t.Context(), name, load(t), set); err != nil {
		t.Fatal("upgrading: ", err)
	}
}

// rollback to a revision; 0 is the one before.
func (r *release) rollback(t *testing.T, revision int) {
	t.Helper()
	rollback := action.NewRollback(r.helm(t))
	rollback.Version = revision
	rollback.WaitStrategy, rollback.Timeout = kube.HookOnlyStrategy, time.Minute
	if err := rollback.Run(name); err != nil {
		t.Fatal("rolling back: ", err)
	}
}

// remove does what docs/install.md says.
func (r *release) remove(t *testing.T) {
	t.Helper()
	if err := r.uninstall(t); err != nil {
		t.Fatal("uninstalling: ", err)
	}
	if err := r.client.Delete(t.Context(), builders.Namespace(home)); err != nil {
		t.Fatal(err)
	}
}

// leaves fails unless that is all there is of Lapse, soon. If kube-apiserver still sets up the
// storage of a kind that goes, its finalizer tries again; if that meets a conflict, it waits for
// the next resync of CustomResourceDefinitions, which is five minutes.
func (r *release) leaves(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	var left []string
	var failed error
	err := wait.PollUntilContextTimeout(t.Context(), time.Second, 6*time.Minute, true, func(context.Context) (bool, error) {
		left, failed = operator.Left(t.Context(), r.plane.AdminConfig()) // the last look is not cut off
		return failed == nil && slices.Equal(left, want), nil
	})
	if err != nil {
		t.Errorf("what is left is\n%s (%v), not\n%s", strings.Join(left, "\n"), failed, strings.Join(want, "\n"))
	}
}

// get is an object of the cluster; nil if it is not there.
func (r *release) get(ctx context.Context, t *testing.T, like any) *unstructured.Unstructured {
	t.Helper()
	wanted := &unstructured.Unstructured{Object: like.(map[string]any)}
	found := &unstructured.Unstructured{}
	found.SetGroupVersionKind(wanted.GroupVersionKind())
	switch err := r.client.Get(ctx, client.ObjectKeyFromObject(wanted), found); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		t.Fatalf("%s %s: %v", wanted.GetKind(), wanted.GetName(), err)
	}
	return found
}

// has fails if an object of the chart is there and should not be, or the other way round.
func (r *release) has(t *testing.T, all map[string]any, expect func(id string) bool) {
	t.Helper()
	for id, o := range all {
		if there := r.get(t.Context(), t, o) != nil; there != expect(id) {
			t.Errorf("%s: it is there: %t", id, there)
		}
	}
}

// shipped are the objects of the chart for this cluster.
func (r *release) shipped(t *testing.T) map[string]any {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("admissionregistration.k8s.io/v1")
	list.SetKind("MutatingAdmissionPolicyList")
	served := []string{stamp}
	if err := r.client.List(t.Context(), list); err != nil {
		served = nil
	}
	files, err := render(t, home, nil, served...)
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, files)
}

func (r *release) replicas(t *testing.T, all map[string]any) int64 {
	t.Helper()
	n, _, err := unstructured.NestedInt64(r.get(t.Context(), t, all["Deployment lapse-manager"]).Object, "spec", "replicas")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func everything(string) bool { return true }

// kinds are what stays with crds.keep.
var kinds = []string{
	"apiservices v1alpha1.lapse.dev",
	"customresourcedefinitions accessdecisions.lapse.dev",
	"customresourcedefinitions accesspolicies.lapse.dev",
	"customresourcedefinitions accessrequests.lapse.dev",
}

// A cluster is started once for all of it: a test would be a minute each.
func TestARelease(t *testing.T) {
	r := newRelease(t)
	all, _ := apart(r.shipped(t))

	t.Run("installs all that config/ has", func(t *testing.T) {
		r.install(t, nil)
		r.has(t, all, everything)
	})
	t.Run("upgrades, and rolls back", func(t *testing.T) {
		r.upgrade(t, values{"replicaCount": 3, "openKubeNamespaces": true})
		closes := "ValidatingAdmissionPolicy lapse-reserved-namespaces"
		if n := r.replicas(t, all); n != 3 || r.get(t.Context(), t, all[closes]) != nil {
			t.Errorf("after the upgrade there are %d replicas, not 3, or kube-* is still closed", n)
		}
		r.rollback(t, 0)
		if n := r.replicas(t, all); n != 2 {
			t.Errorf("after the rollback there are %d replicas, not 2", n)
		}
		r.has(t, all, everything)
	})
	t.Run("is removed without a trace", func(t *testing.T) {
		r.remove(t)
		r.leaves(t)
	})
	t.Run("leaves the kinds if it is told to, and takes them back", func(t *testing.T) {
		r.install(t, values{"crds": values{"keep": true}})
		r.remove(t)
		r.leaves(t, kinds...)
		r.install(t, nil)
		r.has(t, all, everything)
	})
	t.Run("hands the kinds over", func(t *testing.T) {
		r.upgrade(t, values{"crds": values{"keep": true}})
		r.upgrade(t, values{"crds": values{"enabled": false}})
		r.has(t, all, everything)
		r.remove(t)
		r.leaves(t, kinds...)
	})
}
