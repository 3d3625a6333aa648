// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package flux

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/controlplane"
	"github.com/lapse-dev/lapse/test/operator"
)

// sourceKind stands in for a kind of source-controller's, of which only status.artifact is read.
const sourceKind = `---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[1]s.source.toolkit.fluxcd.io}
spec:
  group: source.toolkit.fluxcd.io
  scope: Namespaced
  names: {kind: %[2]s, listKind: %[2]sList, plural: %[1]s, singular: %[3]s}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// sources are the kinds that kustomize-controller watches, by their plural.
var sources = map[string]string{
	"gitrepositories": "GitRepository", "ocirepositories": "OCIRepository", "buckets": "Bucket", "externalartifacts": "ExternalArtifact",
}

// installKinds installs Kustomization, which comes with kustomize-controller, and the sources.
func installKinds(ctx context.Context) {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	kustomization := filepath.Join(root, "bin", "kustomize-controller.yaml")
	Expect(kustomization).To(BeARegularFile(), "run make test-flux")
	var text bytes.Buffer
	for plural, kind := range sources {
		fmt.Fprintf(&text, sourceKind, plural, kind, strings.ToLower(kind))
	}
	file := filepath.Join(GinkgoT().TempDir(), "sources.yaml")
	Expect(os.WriteFile(file, text.Bytes(), 0o600)).To(Succeed())
	Expect(operator.Apply(ctx, plane, plane.AdminConfig(), "-f", kustomization, "-f", file)).To(Succeed())
	_, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
	Expect(err).NotTo(HaveOccurred(), stderr)
}

// startFlux runs kustomize-controller for the rest of the spec, with a token of its own account.
func startFlux(ctx context.Context, args ...string) {
	GinkgoHelper()
	root, err := operator.Root()
	Expect(err).NotTo(HaveOccurred())
	config, err := plane.ServiceAccountConfig(ctx, home, account)
	Expect(err).NotTo(HaveOccurred())
	dir := GinkgoT().TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	Expect(controlplane.WriteKubeconfig(kubeconfig, config)).To(Succeed())
	probes, err := operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())
	metrics, err := operator.FreeAddress()
	Expect(err).NotTo(HaveOccurred())

	cmd := exec.Command(filepath.Join(root, "bin", "kustomize-controller"), append([]string{
		"--health-addr=" + probes, "--metrics-addr=" + metrics, "--requeue-dependency=1s",
	}, args...)...)
	cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir, "PATH=" + os.Getenv("PATH"), "KUBECONFIG=" + kubeconfig, "RUNTIME_NAMESPACE=" + home}
	cmd.Stdout, cmd.Stderr = GinkgoWriter, GinkgoWriter
	process, err := controlplane.StartProcess(cmd)
	Expect(err).NotTo(HaveOccurred(), "starting bin/kustomize-controller; run make test-flux")
	DeferCleanup(func() error { return process.Stop(40 * time.Second) })
	Eventually(func(g Gomega) {
		g.Expect(process.Ended()).To(BeFalse(), "kustomize-controller ended")
		res, err := http.Get("http://" + probes + "/readyz")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Body.Close()).To(Succeed())
		g.Expect(res.StatusCode).To(Equal(http.StatusOK))
	}).WithContext(ctx).Should(Succeed())
}

// call is one of Flux to a kind of Lapse's.
type call struct {
	what string
	when time.Time
}

// calls are those since a mark by which Flux compared what is there with Git, and those by which
// it wrote. Whom it impersonates makes no difference.
func calls(since controlplane.AuditMark) (compared, wrote []call) {
	GinkgoHelper()
	events, err := plane.AuditEvents(since)
	Expect(err).NotTo(HaveOccurred())
	for i := range events {
		e := &events[i]
		if e.User.Username != "system:serviceaccount:"+home+":"+account || e.ObjectRef == nil ||
			e.ObjectRef.APIGroup != v1alpha1.GroupVersion.Group || slices.Contains([]string{"get", "list", "watch"}, e.Verb) {
			continue
		}
		c := call{what: e.Verb + " " + e.ObjectRef.Resource + "/" + e.ObjectRef.Name, when: e.RequestReceivedTimestamp.Time}
		if strings.Contains(e.RequestURI, "dryRun=All") {
			compared = append(compared, c)
		} else {
			wrote = append(wrote, c)
		}
	}
	return compared, wrote
}

func texts(calls []call) (out []string) {
	for _, c := range calls {
		out = append(out, c.what)
	}
	return out
}
