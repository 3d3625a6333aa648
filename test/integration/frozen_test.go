// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/test/builders"
)

// frozen is a kind whose spec never changes.
type frozen struct {
	crd  string
	spec reflect.Type
	// changes are merge patches of spec, one for each field of it, with all that has to
	// change along for the schema to take it.
	changes map[string]string
	// never are fields that the schema lets nobody set.
	never []string
	// schema and admission are what each of them says when it refuses.
	schema, admission string
	create            func(ctx SpecContext, ns string, as client.Client) client.Object
}

func newFrozenRequest(ctx SpecContext, ns string, as client.Client) client.Object {
	GinkgoHelper()
	from := time.Date(2098, 1, 1, 0, 0, 0, 0, time.UTC)
	req := builders.Request("frozen").In(ns).ForClusterRole("reader").To(builders.ServiceAccount(ns, "app")).
		NotBefore(from).NotAfter(from.AddDate(1, 0, 0)).UnderPolicy("mine").Build()
	Expect(as.Create(ctx, req)).To(Succeed())
	return req
}

func newFrozenDecision(ctx SpecContext, ns string, as client.Client) client.Object {
	GinkgoHelper()
	d := builders.Decision("frozen", newFrozenRequest(ctx, ns, as).(*v1alpha1.AccessRequest), v1alpha1.VerdictApprove)
	d.Spec.Comment = "fine"
	Expect(as.Create(ctx, d)).To(Succeed())
	return d
}

// fields are the paths of all that a type holds, as JSON names it, also in structs.
func fields(of reflect.Type, under string) (paths []string) {
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		holds := f.Type
		if holds.Kind() == reflect.Pointer {
			holds = holds.Elem()
		}
		if holds.Kind() == reflect.Struct && !holds.Implements(reflect.TypeFor[json.Marshaler]()) {
			paths = append(paths, fields(holds, under+name+".")...)
			continue
		}
		paths = append(paths, under+name)
	}
	return paths
}

// Serial, since it changes the schema for all.
var _ = Describe("What somebody asked or decided", Serial, func() {
	DescribeTable("changes in no field of spec, by the schema alone and by admission alone", func(ctx SpecContext, k frozen) {
		Expect(fields(k.spec, "")).To(ConsistOf(slices.AppendSeq(slices.Clone(k.never), maps.Keys(k.changes))),
			"say of each field how somebody would change it")
		mallory := mayEverything(ctx)
		obj := k.create(ctx, newNamespace(ctx), mallory)
		// A dry run is refused as a write is, and leaves the object as it is.
		change := func(patch string) error {
			raw := client.RawPatch(types.MergePatchType, []byte(`{"spec":`+patch+`}`))
			return mallory.Patch(ctx, obj.DeepCopyObject().(client.Object), raw, client.DryRunAll)
		}
		each := func(answer gomegatypes.GomegaMatcher) {
			GinkgoHelper()
			for field, patch := range k.changes { // the API server heeds another schema after a moment
				Eventually(change).WithContext(ctx).WithArguments(patch).Should(answer, field)
			}
		}
		By("having admission alone refuse it")
		restore := dropRule(ctx, k.crd, k.schema)
		each(MatchError(ContainSubstring(k.admission)))

		By("having nothing refuse it: nothing else is wrong with these changes")
		removeAdmission(ctx)
		each(Succeed())

		By("having the schema alone refuse it")
		restore(ctx)
		each(MatchError(ContainSubstring(k.schema)))
	},
		Entry("in a request", SpecTimeout(time.Minute), frozen{
			crd: "accessrequests.lapse.dev", spec: reflect.TypeFor[v1alpha1.AccessRequestSpec](), create: newFrozenRequest,
			schema:    "spec is immutable; create a new AccessRequest",
			admission: "the spec of an AccessRequest never changes; create a new AccessRequest",
			changes: map[string]string{
				"roleRef.kind":       `{"roleRef":{"kind":"Role"}}`,
				"roleRef.name":       `{"roleRef":{"name":"writer"}}`,
				"subject.kind":       `{"subject":{"kind":"User","namespace":null}}`,
				"subject.name":       `{"subject":{"name":"other"}}`,
				"subject.namespace":  `{"subject":{"namespace":"other"}}`,
				"duration":           `{"duration":"2m"}`,
				"notBefore":          `{"notBefore":"2098-06-01T00:00:00Z"}`,
				"notAfter":           `{"notAfter":"2099-06-01T00:00:00Z"}`,
				"reason":             `{"reason":"INC-2: another"}`,
				"policyName":         `{"policyName":"other"}`,
				"requester.username": `{"requester":{"username":"alice"}}`,
				"requester.uid":      `{"requester":{"uid":"7"}}`,
				"requester.groups":   `{"requester":{"groups":["others"]}}`,
				"requester.extra":    `{"requester":{"extra":{"example.com/tier":["gold"]}}}`,
			},
		}),
		Entry("in a decision", SpecTimeout(time.Minute), frozen{
			crd: "accessdecisions.lapse.dev", spec: reflect.TypeFor[v1alpha1.AccessDecisionSpec](), create: newFrozenDecision,
			schema:    "spec is immutable; create a new AccessDecision",
			admission: "the spec of an AccessDecision never changes; create a new AccessDecision",
			changes: map[string]string{
				"requestRef.name":   `{"requestRef":{"name":"other"}}`,
				"requestRef.uid":    `{"requestRef":{"uid":"other"}}`,
				"verdict":           `{"verdict":"Deny"}`,
				"comment":           `{"comment":"not so fine"}`,
				"reviewer.username": `{"reviewer":{"username":"bob"}}`,
				"reviewer.uid":      `{"reviewer":{"uid":"7"}}`,
				"reviewer.groups":   `{"reviewer":{"groups":["others"]}}`,
			},
			never: []string{"reviewer.extra"},
		}),
	)

	It("changes in no field of metadata by which something acts", func(ctx SpecContext) {
		acting := map[string]string{
			"name": `"other"`, "namespace": `"default"`, "uid": `"other"`, "creationTimestamp": `"2020-01-01T00:00:00Z"`,
			"deletionTimestamp": `"2020-01-01T00:00:00Z"`, "deletionGracePeriodSeconds": `0`, "finalizers": `["example.com/pin"]`,
			"ownerReferences": `[{"apiVersion":"v1","kind":"ConfigMap","name":"mine","uid":"00000000-0000"}]`,
		}
		// By marks of GitOps among labels and annotations a record is kept for longer, and nothing else.
		others := []string{"generateName", "selfLink", "resourceVersion", "generation", "labels", "annotations", "managedFields"}
		Expect(fields(reflect.TypeFor[metav1.ObjectMeta](), "")).To(ConsistOf(slices.AppendSeq(others, maps.Keys(acting))),
			"say of each field whether something acts by it")
		mallory := mayEverything(ctx)
		for _, create := range []func(SpecContext, string, client.Client) client.Object{newFrozenRequest, newFrozenDecision} {
			obj := create(ctx, newNamespace(ctx), mallory)
			now := func() client.Object {
				GinkgoHelper()
				read := obj.DeepCopyObject().(client.Object)
				Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), read)).To(Succeed())
				read.SetManagedFields(nil)
				read.SetResourceVersion("")
				return read
			}
			before := now()
			for field, value := range acting {
				raw := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"`+field+`":`+value+`}}`))
				for _, as := range []client.Client{mallory, admin} {
					_ = as.Patch(ctx, obj.DeepCopyObject().(client.Object), raw) // some are refused, and some do nothing
					Expect(now()).To(Equal(before), field)
				}
			}
		}
	})
})
