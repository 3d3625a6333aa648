// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring has a real Prometheus scrape a real manager by what config/monitoring
// says, and looks by each alert and each query of the dashboard. It needs bin/prometheus: make
// test-monitoring.
package monitoring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/test/builders"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// job is what the Prometheus operator calls it: the name of the Service.
const job = "lapse-manager-metrics"

var (
	plane *controlplane.ControlPlane
	admin client.Client
	// shipped is config/monitoring, by kind and name.
	shipped map[string]map[string]any
	// address is where the manager has its metrics.
	address string
	manager *operator.Manager
	watcher *prometheus
)

func TestMonitoring(t *testing.T) {
	RegisterFailHandler(Fail)
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(40 * time.Second)
	SetDefaultEventuallyPollingInterval(200 * time.Millisecond)
	RunSpecs(t, "Monitoring of Lapse")
}

var _ = BeforeSuite(func(ctx SpecContext) {
	log.SetLogger(zap.New(zap.WriteTo(GinkgoWriter)))
	plane = operator.NewPlane(ctx, GinkgoTB(), controlplane.Options{ControllerManager: true})
	admin = operator.NewClient(GinkgoTB(), plane.AdminConfig())
	operator.Create(ctx, GinkgoTB(), admin,
		builders.Bindable("clusterroles", "view"), builders.ClusterBinding("askers", "lapse-requester", builders.Group("askers")))
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	shipped = rendered(ctx, filepath.Join(root, "config/monitoring"))
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-f", "config/monitoring/scraper.yaml")).To(Succeed())

	address, err = operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())
	// A receiver of which nothing happens here, so that its series are there.
	messages := filepath.Join(GinkgoT().TempDir(), "messages.yaml")
	receivers := []byte(`receivers: [{name: nobody, type: teams, url: "https://127.0.0.1:9", events: [tampered]}]`)
	Expect(os.WriteFile(messages, receivers, 0o600)).To(Succeed())
	GinkgoT().Setenv("GOMEMLIMIT", "450MiB") // of the manager, as in config/manager: a panel shows it
	manager = operator.NewManager(ctx, GinkgoTB(), plane, GinkgoWriter,
		"--leader-elect", "--metrics-bind-address="+address, "--messages="+messages)
	watcher = startPrometheus(ctx, root, scrapeConfig(ctx), shipped["PrometheusRule lapse"]["spec"])
}, NodeTimeout(3*time.Minute))

// rendered are the objects of a kustomization.
func rendered(ctx context.Context, folder string) map[string]map[string]any {
	GinkgoHelper()
	out, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "kustomize", folder)
	Expect(err).NotTo(HaveOccurred(), stderr)
	objects := map[string]map[string]any{}
	for docs := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(out)), 4096); ; {
		var obj unstructured.Unstructured
		err := docs.Decode(&obj.Object)
		if errors.Is(err, io.EOF) {
			return objects
		}
		Expect(err).NotTo(HaveOccurred())
		objects[obj.GetKind()+" "+obj.GetName()] = obj.Object
	}
}

// convert reads something as what it is.
func convert(from, into any) {
	GinkgoHelper()
	data, err := json.Marshal(from)
	Expect(err).NotTo(HaveOccurred())
	Expect(json.Unmarshal(data, into)).To(Succeed())
}

// scrapeConfig is what the Prometheus operator makes of the ServiceMonitor, with the one
// address of the manager, and each second.
func scrapeConfig(ctx context.Context) map[string]any {
	GinkgoHelper()
	var monitor struct {
		Spec struct {
			Endpoints []struct {
				Scheme, Path string
				TLSConfig    struct{ InsecureSkipVerify bool }
				// Authorization is read as far as it is used.
				Authorization struct {
					Type        string
					Credentials corev1.SecretKeySelector
				}
			}
		}
	}
	convert(shipped["ServiceMonitor lapse-manager"], &monitor)
	Expect(monitor.Spec.Endpoints).To(HaveLen(1))
	end := monitor.Spec.Endpoints[0]
	secret := &corev1.Secret{}
	Eventually(func(g Gomega) { // the controller of tokens fills it
		key := client.ObjectKey{Namespace: operator.Namespace, Name: end.Authorization.Credentials.Name}
		g.Expect(admin.Get(ctx, key, secret)).To(Succeed())
		g.Expect(secret.Data).To(HaveKey(end.Authorization.Credentials.Key))
	}).WithContext(ctx).Should(Succeed())
	return map[string]any{
		"job_name": job, "scheme": end.Scheme, "metrics_path": end.Path,
		"tls_config": map[string]any{"insecure_skip_verify": end.TLSConfig.InsecureSkipVerify},
		"authorization": map[string]any{
			"type": end.Authorization.Type, "credentials": string(secret.Data[end.Authorization.Credentials.Key]),
		},
		"static_configs": []any{map[string]any{
			"targets": []string{address}, "labels": map[string]string{"namespace": operator.Namespace, "service": job, "pod": "lapse-manager-0"},
		}},
	}
}
