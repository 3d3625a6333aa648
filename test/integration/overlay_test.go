// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/lapse-dev/lapse/test/operator"
)

var _ = Describe("The overlay open-kube-namespaces", func() {
	DescribeTable("leaves out what keeps grants out of kube-*, and nothing else", func(ctx SpecContext, base string) {
		root, err := operator.Root()
		Expect(err).NotTo(HaveOccurred())
		whole := rendered(ctx, filepath.Join(root, base))
		open := rendered(ctx, opened(root, base))
		const deployment = "Deployment lapse-system/lapse-manager"
		Expect(argsOf(open[deployment])).To(Equal(append(argsOf(whole[deployment]), "--reserved-namespaces=")))
		delete(open, deployment)
		delete(whole, deployment)
		for _, name := range []string{
			"ValidatingAdmissionPolicy lapse-reserved-namespaces", "ValidatingAdmissionPolicyBinding lapse-reserved-namespaces",
		} {
			Expect(whole).To(HaveKey(name))
			delete(whole, name)
		}
		Expect(open).To(Equal(whole))
	},
		Entry(nil, "config/default"),
		Entry(nil, "config/overlays/without-mutating"),
	)
})

// argsOf are those of the manager.
func argsOf(deployment map[string]any) []string {
	GinkgoHelper()
	containers, _, err := unstructured.NestedSlice(deployment, "spec", "template", "spec", "containers")
	Expect(err).NotTo(HaveOccurred())
	Expect(containers).To(HaveLen(1))
	args, _, err := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
	Expect(err).NotTo(HaveOccurred())
	return args
}

// opened is a kustomization with the overlay, as docs/operations.md has it.
func opened(root, base string) (dir string) {
	GinkgoHelper()
	dir, err := filepath.EvalSymlinks(GinkgoT().TempDir())
	Expect(err).NotTo(HaveOccurred())
	root, err = filepath.EvalSymlinks(root)
	Expect(err).NotTo(HaveOccurred())
	up, err := filepath.Rel(dir, root) // kustomize takes no absolute path
	Expect(err).NotTo(HaveOccurred())
	text := strings.ReplaceAll(`apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ROOT/`+base+`
components:
- ROOT/config/overlays/open-kube-namespaces
patches:
- target: {kind: Deployment, name: lapse-manager}
  patch: |-
    - op: add
      path: /spec/template/spec/containers/0/args/-
      value: --reserved-namespaces=
`, "ROOT", filepath.ToSlash(up))
	Expect(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)).To(Succeed())
	return dir
}

// rendered are the objects that kustomize makes of a folder, by kind and name; those of a
// namespace have it before their name.
func rendered(ctx context.Context, dir string) map[string]map[string]any {
	GinkgoHelper()
	stdout, stderr, err := plane.Kubectl(ctx, plane.AdminConfig(), "kustomize", dir)
	Expect(err).NotTo(HaveOccurred(), stderr)
	out := map[string]map[string]any{}
	for decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(stdout), 1024); ; {
		obj := &unstructured.Unstructured{}
		err := decoder.Decode(obj)
		if errors.Is(err, io.EOF) {
			return out
		}
		Expect(err).NotTo(HaveOccurred())
		name := obj.GetKind() + " " + strings.TrimPrefix(obj.GetNamespace()+"/"+obj.GetName(), "/")
		Expect(out).NotTo(HaveKey(name))
		out[name] = obj.Object
	}
}
