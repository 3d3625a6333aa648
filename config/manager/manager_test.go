// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package manager_test holds the manifests of the operator to what they promise.
package manager_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

func manifest[T any](t *testing.T, file string) (object T) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, &object); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return object
}

func TestGoKeepsBelowTheLimitOfMemory(t *testing.T) {
	container := manifest[appsv1.Deployment](t, "manager.yaml").Spec.Template.Spec.Containers[0]
	i := slices.IndexFunc(container.Env, func(v corev1.EnvVar) bool { return v.Name == "GOMEMLIMIT" })
	if i < 0 {
		t.Fatal("GOMEMLIMIT is not set")
	}
	// Go writes MiB for what Kubernetes calls Mi.
	soft, err := resource.ParseQuantity(strings.TrimSuffix(container.Env[i].Value, "B"))
	if hard := container.Resources.Limits.Memory(); err != nil || soft.Value() <= 0 || soft.Value() > hard.Value()*9/10 {
		t.Errorf("GOMEMLIMIT %s (%v) is not nine tenths of the limit %s, or less", container.Env[i].Value, err, hard)
	}
}

func TestTheNetworkLetsInOnlyWhoScrapes(t *testing.T) {
	operator := manifest[appsv1.Deployment](t, "manager.yaml")
	policy := manifest[networkingv1.NetworkPolicy](t, "network_policy.yaml")
	pods, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
	if err != nil || policy.Namespace != operator.Namespace || !pods.Matches(labels.Set(operator.Spec.Template.Labels)) {
		t.Errorf("it is not for the operator: namespace %s, %v, %v", policy.Namespace, pods, err)
	}
	if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) {
		t.Error("it lets in everybody")
	}
	for _, rule := range policy.Spec.Ingress {
		if len(rule.From) == 0 || len(rule.Ports) != 1 || rule.Ports[0].Port.String() != "metrics" {
			t.Errorf("it lets in %+v", rule)
		}
		for _, from := range rule.From {
			if from.NamespaceSelector == nil || from.NamespaceSelector.MatchLabels["metrics"] != "enabled" {
				t.Errorf("it lets in %+v", from)
			}
		}
	}
}

func TestThePodsHaveTheStrictestSecurityContext(t *testing.T) {
	wantPod := &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	want := &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
		Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	for name, pod := range map[string]corev1.PodSpec{
		"operator": manifest[appsv1.Deployment](t, "manager.yaml").Spec.Template.Spec,
		"reaper":   manifest[batchv1.CronJob](t, "../reaper/cron_job.yaml").Spec.JobTemplate.Spec.Template.Spec,
		"drain":    manifest[batchv1.Job](t, "../drain/job.yaml").Spec.Template.Spec,
	} {
		if !reflect.DeepEqual(pod.SecurityContext, wantPod) || len(pod.Containers) != 1 || len(pod.InitContainers) != 0 {
			t.Errorf("%s: %v, with %d containers and %d before", name, pod.SecurityContext, len(pod.Containers), len(pod.InitContainers))
		}
		for _, container := range pod.Containers {
			if !reflect.DeepEqual(container.SecurityContext, want) {
				t.Errorf("%s: %v", name, container.SecurityContext)
			}
		}
	}
}
