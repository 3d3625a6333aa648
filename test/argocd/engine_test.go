// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package argocd

import (
	"context"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// fieldManager is the name by which Argo CD owns fields.
	fieldManager = "argocd-controller"
	// tracking is the annotation by which Argo CD knows what it applied.
	tracking = "argocd.argoproj.io/tracking-id"
	// byServer is the option with which the API server compares, by a server-side apply as a dry run.
	byServer = "ServerSideDiff=true"
)

// engine has gitops-engine do what the controller of Argo CD has it do for an Application.
type engine struct {
	kubectl *kube.KubectlCmd
	// own is the account that compares, and syncer the one that writes; Argo CD may impersonate it.
	own, syncer *rest.Config
	// serverSide is the sync option ServerSideApply=true.
	serverSide bool
	// ways are those in which Argo CD compares, by the options that choose them.
	ways map[string][]diff.Option
}

func newEngine(ctx context.Context, asker string, serverSide bool) *engine {
	GinkgoHelper()
	own, err := plane.ServiceAccountConfig(ctx, home, account)
	Expect(err).NotTo(HaveOccurred())
	e := &engine{
		kubectl: &kube.KubectlCmd{Log: log.Log, Tracer: tracing.NopTracer{}},
		own:     own, syncer: own, serverSide: serverSide,
	}
	if asker != account {
		e.syncer = rest.CopyConfig(own)
		e.syncer.Impersonate.UserName = username(asker)
	}
	options := []diff.Option{diff.WithLogr(log.Log), diff.WithManager(fieldManager), diff.WithNormalizer(withoutStatus{})}
	Eventually(func(g Gomega) { // the API server publishes the schema of a new kind a little later
		_, parser, err := e.kubectl.LoadOpenAPISchema(own)
		g.Expect(err).NotTo(HaveOccurred())
		for _, kind := range []string{"AccessPolicy", "AccessRequest"} {
			g.Expect(parser.Type(v1alpha1.GroupVersion.WithKind(kind))).NotTo(BeNil(), kind)
		}
		options = append(options, diff.WithGVKParser(parser))
	}).WithContext(ctx).Should(Succeed())
	dryRuns, cleanup, err := e.kubectl.ManageServerSideDiffDryRuns(own)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(cleanup)
	with := func(more ...diff.Option) []diff.Option { return append(more, options...) }
	dryRun := diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(dryRuns))
	e.ways = map[string][]diff.Option{
		"no option":            with(),
		"ServerSideApply=true": with(diff.WithStructuredMergeDiff(true)),
		byServer:               with(diff.WithServerSideDiff(true), dryRun),
		byServer + ",IncludeMutationWebhook=true": with(diff.WithServerSideDiff(true), dryRun,
			diff.WithIgnoreMutationWebhook(false)),
	}
	return e
}

// withoutStatus is what Argo CD ignores by itself.
type withoutStatus struct{}

func (withoutStatus) Normalize(o *unstructured.Unstructured) error {
	unstructured.RemoveNestedField(o.Object, "status")
	return nil
}

// manifest is what Argo CD makes of a file in Git.
func manifest(text string) *unstructured.Unstructured {
	GinkgoHelper()
	o := &unstructured.Unstructured{}
	Expect(yaml.Unmarshal([]byte(text), &o.Object)).To(Succeed())
	id := "access:" + o.GroupVersionKind().Group + "/" + o.GetKind() + ":" + o.GetNamespace() + "/" + o.GetName()
	o.SetAnnotations(map[string]string{tracking: id})
	return o
}

func (e *engine) apply(ctx context.Context, as *rest.Config, git *unstructured.Unstructured) {
	GinkgoHelper()
	resources, cleanup, err := e.kubectl.ManageResources(as)
	Expect(err).NotTo(HaveOccurred())
	defer cleanup()
	const force, validate = false, true
	_, err = resources.ApplyResource(ctx, git, cmdutil.DryRunNone, force, validate, e.serverSide, fieldManager)
	Expect(err).NotTo(HaveOccurred())
}

func (e *engine) live(ctx context.Context, git *unstructured.Unstructured) *unstructured.Unstructured {
	GinkgoHelper()
	live, err := e.kubectl.GetResource(ctx, e.own, git.GroupVersionKind(), git.GetName(), git.GetNamespace())
	Expect(err).NotTo(HaveOccurred())
	return live
}

// prune deletes what is no longer in Git, in the foreground, as Argo CD does by default.
func (e *engine) prune(ctx context.Context, git *unstructured.Unstructured) {
	GinkgoHelper()
	err := e.kubectl.DeleteResource(ctx, e.syncer, git.GroupVersionKind(), git.GetName(), git.GetNamespace(), metav1.DeleteOptions{})
	Expect(err).NotTo(HaveOccurred())
}

// inSync fails if Argo CD, whichever way it compares, sees a difference between Git and what is there.
func (e *engine) inSync(ctx context.Context, objects ...*unstructured.Unstructured) {
	GinkgoHelper()
	for _, git := range objects {
		live := e.live(ctx, git)
		for way, options := range e.ways {
			found, err := diff.Diff(git.DeepCopy(), live.DeepCopy(), options...)
			Expect(err).NotTo(HaveOccurred(), "%s by %s", git.GetName(), way)
			Expect(found.PredictedLive).To(MatchJSON(found.NormalizedLive), "%s by %s", git.GetName(), way)
			Expect(found.Modified).To(BeFalse(), "%s by %s", git.GetName(), way)
		}
	}
}
