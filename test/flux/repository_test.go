// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package flux

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// repository is what lies in Git for a namespace, and the two Kustomizations by which Flux applies
// it, as docs/gitops.md says: policies first.
type repository struct {
	ns       string
	server   *httptest.Server
	archives sync.Map // by path
}

// newRepository lasts for the rest of the spec. Requests are applied by the account that is
// named, or by whom Flux takes by itself.
func newRepository(ctx context.Context, ns, named string, files map[string]string) *repository {
	GinkgoHelper()
	r := &repository{ns: ns}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		archive, found := r.archives.Load(req.URL.Path)
		if !found {
			http.NotFound(w, req)
			return
		}
		_, _ = w.Write(archive.([]byte)) // Flux tells what it did not get
	}))
	DeferCleanup(r.server.Close)
	source := r.source()
	source.Object["spec"] = map[string]any{"interval": "1m", "url": "https://git.example.com/" + ns}
	create(ctx, source)
	r.push(ctx, files)

	policies := r.kustomization("policies")
	policies.Object["spec"] = r.spec("./policies", map[string]any{"serviceAccountName": platform, "wait": true})
	requests := r.kustomization("requests")
	more := map[string]any{"dependsOn": []any{map[string]any{"name": policies.GetName()}}}
	if named != "" {
		more["serviceAccountName"] = named
	}
	requests.Object["spec"] = r.spec("./requests", more)
	create(ctx, policies, requests)
	DeferCleanup(func(ctx SpecContext) { // while Flux runs: it has a finalizer
		for _, k := range []client.Object{requests, policies} {
			Expect(admin.Delete(ctx, k)).To(Succeed())
			Eventually(func() bool { return apierrors.IsNotFound(admin.Get(ctx, client.ObjectKeyFromObject(k), k)) }).
				WithContext(ctx).Should(BeTrue())
		}
	}, NodeTimeout(2*time.Minute))
	return r
}

func object(apiVersion, kind, ns, name string) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(apiVersion)
	o.SetKind(kind)
	o.SetNamespace(ns)
	o.SetName(name)
	return o
}

func (r *repository) source() *unstructured.Unstructured {
	return object("source.toolkit.fluxcd.io/v1", "GitRepository", home, r.ns)
}

func (r *repository) kustomization(folder string) *unstructured.Unstructured {
	return object("kustomize.toolkit.fluxcd.io/v1", "Kustomization", home, folder+"-"+r.ns)
}

// spec is that of a Kustomization. Flux looks again only when it is asked to.
func (r *repository) spec(path string, more map[string]any) map[string]any {
	spec := map[string]any{
		"interval": "1h", "retryInterval": "1s", "timeout": "1m", "path": path, "prune": true,
		"sourceRef": map[string]any{"kind": "GitRepository", "name": r.ns},
	}
	maps.Copy(spec, more)
	return spec
}

// push replaces what lies in Git, and says so as source-controller does.
func (r *repository) push(ctx context.Context, files map[string]string) {
	GinkgoHelper()
	archive := packed(files)
	digest := fmt.Sprintf("%x", sha256.Sum256(archive))
	path := "/" + digest + ".tar.gz"
	r.archives.Store(path, archive)
	source := r.source()
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(source), source)).To(Succeed())
	before, now := source.DeepCopy(), time.Now().UTC().Format(time.RFC3339)
	source.Object["status"] = map[string]any{
		"observedGeneration": source.GetGeneration(),
		"artifact": map[string]any{
			"path": r.ns + path, "url": r.server.URL + path, "revision": "main@sha1:" + digest[:40], "digest": "sha256:" + digest,
			"lastUpdateTime": now, "size": int64(len(archive)),
		},
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact", "lastTransitionTime": now,
		}},
	}
	Expect(admin.Status().Patch(ctx, source, client.MergeFrom(before))).To(Succeed())
}

func packed(files map[string]string) []byte {
	GinkgoHelper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		Expect(archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})).To(Succeed())
		_, err := archive.Write([]byte(text))
		Expect(err).NotTo(HaveOccurred())
	}
	Expect(archive.Close()).To(Succeed())
	Expect(zipped.Close()).To(Succeed())
	return out.Bytes()
}

// health reads an object, and says what kstatus makes of it.
func health(ctx context.Context, o *unstructured.Unstructured) (status.Status, error) {
	if err := admin.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return status.UnknownStatus, err
	}
	result, err := status.Compute(o)
	if err != nil {
		return status.UnknownStatus, err
	}
	return result.Status, nil
}

// reconciled has Flux look again at policies and at requests, and waits until it is content.
func (r *repository) reconciled(ctx context.Context) {
	GinkgoHelper()
	for _, folder := range []string{"policies", "requests"} {
		k, asked := r.kustomization(folder), rand.String(8)
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":%q}}}`, asked)
		Expect(admin.Patch(ctx, k, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(health(ctx, k)).To(Equal(status.CurrentStatus), "%v", k.Object["status"])
			handled, _, err := unstructured.NestedString(k.Object, "status", "lastHandledReconcileAt")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(handled).To(Equal(asked))
		}).WithContext(ctx).Should(Succeed())
	}
}

// inventory is what Flux says that it applied of the requests.
func (r *repository) inventory(ctx context.Context) []any {
	GinkgoHelper()
	k := r.kustomization("requests")
	Expect(admin.Get(ctx, client.ObjectKeyFromObject(k), k)).To(Succeed())
	entries, found, err := unstructured.NestedSlice(k.Object, "status", "inventory", "entries")
	Expect(err).NotTo(HaveOccurred())
	Expect(found).To(BeTrue())
	return entries
}

// staysAs has Flux look again, and fails if Flux wrote anything, or if kstatus makes something
// else of alice's request.
func (r *repository) staysAs(ctx context.Context, want status.Status) {
	GinkgoHelper()
	req := object(v1alpha1.GroupVersion.String(), "AccessRequest", r.ns, "alice")
	Expect(health(ctx, req)).To(Equal(want))
	generation, inventory := req.GetGeneration(), r.inventory(ctx)
	mark, err := plane.AuditMark()
	Expect(err).NotTo(HaveOccurred())

	r.reconciled(ctx)
	compared, wrote := calls(mark)
	Expect(texts(compared)).To(ContainElements("patch accesspolicies/p-"+r.ns, "patch accessrequests/alice"))
	Expect(wrote).To(BeEmpty())
	Expect(health(ctx, req)).To(Equal(want))
	Expect(req.GetGeneration()).To(Equal(generation))
	Expect(r.inventory(ctx)).To(Equal(inventory))
}
