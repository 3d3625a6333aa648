// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

const namespace = corev1.NamespaceDefault

func TestControlPlane(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	c, err := Start(t.Context(), Options{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() }) // should a subtest end the test
	if got := len(children(t)); got != 3 {
		t.Errorf("%d processes run, want etcd, kube-apiserver and kube-controller-manager", got)
	}

	t.Run("a user with a certificate is known by name and may do nothing", func(t *testing.T) {
		_, err := client(t, user(t, c, "alice")).CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"alice"`) {
			t.Errorf("err = %v, want that alice is forbidden to", err)
		}
	})
	t.Run("a token speaks for its ServiceAccount", func(t *testing.T) { testToken(t, c) })
	t.Run("a dependent goes when its owner does not exist", func(t *testing.T) { testGarbageCollection(t, c) })
	t.Run("a request is in the audit log as soon as it is answered", func(t *testing.T) { testAudit(t, c) })
	t.Run("a copy of what is stored is an object like others", func(t *testing.T) { testStored(t, c) })
	t.Run("what the API server and etcd do takes processor time", func(t *testing.T) { testCPU(t, c) })
	t.Run("kubectl acts as the given user", func(t *testing.T) { testKubectl(t, c) })
	t.Run("a restarted API server has kept address, users and objects", func(t *testing.T) { testRestart(t, c) })

	if err := c.Stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func TestStartSaysHowToGetTheBinaries(t *testing.T) {
	_, err := Start(t.Context(), Options{Assets: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "run `make controlplane`") {
		t.Errorf("err = %v", err)
	}
}

func TestStartLeavesNothingWhenItIsCancelled(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if c, err := Start(ctx, Options{}); err == nil {
		t.Error("Start succeeded", c.Stop())
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func testToken(t *testing.T, c *ControlPlane) {
	config, err := c.ServiceAccountConfig(t.Context(), namespace, "default")
	if err != nil {
		t.Fatal(err)
	}
	_, err = client(t, config).CoreV1().ConfigMaps(namespace).List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"system:serviceaccount:default:default"`) {
		t.Errorf("err = %v, want that the ServiceAccount is forbidden to", err)
	}
}

func testGarbageCollection(t *testing.T, c *ControlPlane) {
	maps := client(t, c.AdminConfig()).CoreV1().ConfigMaps(namespace)
	orphan := configMap("orphan")
	orphan.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: "v1", Kind: "ConfigMap", Name: "gone", UID: types.UID("d0d5a1e0-0000-4000-8000-000000000000")},
	}
	if _, err := maps.Create(t.Context(), orphan, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := maps.Get(ctx, orphan.Name, metav1.GetOptions{})
		return apierrors.IsNotFound(err), ignoreNotFound(err)
	})
	if err != nil {
		t.Errorf("waiting for its end: %v", err)
	}
}

func testAudit(t *testing.T, c *ControlPlane) {
	bob := client(t, user(t, c, "bob", "system:masters"))
	for i := range 20 { // once would prove little about "as soon as"
		mark, err := c.AuditMark()
		if err != nil {
			t.Fatal(err)
		}
		name := "audited-" + strconv.Itoa(i)
		if _, err := bob.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := bob.CoreV1().ConfigMaps(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		writes, err := c.Writes(mark, "bob")
		if err != nil {
			t.Fatal(err)
		}
		if len(writes) != 1 || writes[0].Verb != "create" || writes[0].ObjectRef.Name != name || writes[0].ResponseStatus.Code != 201 {
			t.Fatalf("writes = %+v, want the one create", writes)
		}
	}
}

func testStored(t *testing.T, c *ControlPlane) {
	maps := client(t, c.AdminConfig()).CoreV1().ConfigMaps(namespace)
	if _, err := maps.Create(t.Context(), configMap("copy-0"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	const key = "/registry/configmaps/" + namespace + "/copy-"
	stored, err := c.Stored(t.Context(), key+"0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Store(t.Context(), key+"1", bytes.ReplaceAll(stored, []byte("copy-0"), []byte("copy-1"))); err != nil {
		t.Fatal(err)
	}
	if made, err := maps.Get(t.Context(), "copy-1", metav1.GetOptions{}); err != nil || made.Name != "copy-1" {
		t.Errorf("it is %v, %v", made, err)
	}
	if _, err := c.Stored(t.Context(), key+"2"); err == nil {
		t.Error("what is not there was found")
	}
	var many sync.WaitGroup // at once: etcd has to stop later, although not all of their connections were used
	for range 64 {
		many.Go(func() {
			for range 10 {
				if err := c.Store(t.Context(), key+"1", stored); err != nil {
					t.Error(err)
				}
			}
		})
	}
	many.Wait()
}

func testCPU(t *testing.T, c *ControlPlane) {
	maps := client(t, c.AdminConfig()).CoreV1().ConfigMaps(namespace)
	before, err := c.CPU()
	if err != nil || before <= 0 {
		t.Fatalf("%s, %v", before, err)
	}
	err = wait.PollUntilContextTimeout(t.Context(), time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, listErr := maps.List(ctx, metav1.ListOptions{})
		now, err := c.CPU()
		return now > before, errors.Join(listErr, err)
	})
	if err != nil {
		t.Errorf("waiting until work shows: %v", err)
	}
}

func testKubectl(t *testing.T, c *ControlPlane) {
	stdout, stderr, err := c.Kubectl(t.Context(), user(t, c, "carol", "testers"), "auth", "whoami",
		"-o", "jsonpath={.status.userInfo.username}")
	if err != nil || stdout != "carol" {
		t.Errorf("stdout = %q, stderr = %q, err = %v", stdout, stderr, err)
	}
	if left, _ := filepath.Glob(c.path("kubectl-*")); len(left) > 0 {
		t.Errorf("files are left: %v", left)
	}
}

func testRestart(t *testing.T, c *ControlPlane) {
	admin := client(t, c.AdminConfig())
	if _, err := admin.CoreV1().ConfigMaps(namespace).Create(t.Context(), configMap("kept"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.StopAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "kept", metav1.GetOptions{}); err == nil {
		t.Error("the API server still answers")
	}
	if cpu, err := c.CPU(); err == nil {
		t.Errorf("without an API server the processor time of both is %s", cpu)
	}
	if err := c.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CoreV1().ConfigMaps(namespace).Get(t.Context(), "kept", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients
}

func user(t *testing.T, c *ControlPlane, name string, groups ...string) *rest.Config {
	t.Helper()
	config, err := c.User(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// children returns the processes that this one has started and not yet waited
// for, as Linux tells them.
func children(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		t.Fatalf("no /proc/self/task/*/children (%v): the test needs Linux", err)
	}
	pids := make([]string, 0, len(lists))
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil && !os.IsNotExist(err) { // a thread may have ended meanwhile
			t.Fatal(err)
		}
		pids = append(pids, strings.Fields(string(data))...)
	}
	return pids
}
