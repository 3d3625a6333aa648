// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"maps"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/lapse-dev/lapse/test/builders"
)

func init() {
	maps.Copy(manifests, map[string]string{
		"statefulset": `{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: db}, spec: {serviceName: db, ` +
			`selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: registry.example/db}]}}}}`,
		"daemonset": `{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: agent}, spec: {selector: {matchLabels: {a: b}}, ` +
			`template: {metadata: {labels: {a: b}}, spec: {serviceAccountName: app, containers: [{name: c, image: registry.example/agent}]}}}}`,
		"networkpolicy": `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed}, spec: {podSelector: {}}}`,
		"claim": `{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], ` +
			`resources: {requests: {storage: 1Gi}}}}`,
		"lease": `{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: lock}, spec: {holderIdentity: me}}`,
		"login": `{apiVersion: v1, kind: Secret, metadata: {name: login}, ` +
			`type: kubernetes.io/basic-auth, stringData: {username: u, password: p}}`,
		"less-role": `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: app}, rules: [{apiGroups: [""], ` +
			`resources: [pods], verbs: [get]}]}`,
	})
}

// everyday is what people do in a namespace, in this order.
var everyday = []string{
	"create deployment web --image=registry.example/web:1",
	"scale deployment web --replicas=3",
	"set image deployment/web web=registry.example/web:2",
	"set env deployment/web LEVEL=debug",
	"set serviceaccount deployment web app",
	"rollout restart deployment/web",
	"rollout pause deployment/web",
	"rollout resume deployment/web",
	"autoscale deployment web --max=5",
	"expose deployment web --port=80",
	"patch service web -p {\"spec\":{\"sessionAffinity\":\"ClientIP\"}}",
	"create service externalname elsewhere --external-name=example.com",
	"create ingress web --rule=web.example/*=web:80",
	"create configmap settings --from-literal=a=b",
	"patch configmap settings --type=merge -p {\"data\":{\"a\":\"c\"}}",
	"label configmap settings tier=web",
	"annotate configmap settings note=x",
	"delete configmap settings",
	"create secret generic password --from-literal=a=b",
	"patch secret password --type=merge -p {\"stringData\":{\"a\":\"c\"}}",
	"create secret docker-registry pull --docker-username=u --docker-password=p",
	"apply -f @login",
	"delete secret password",
	"create job once --image=registry.example/job",
	"create cronjob nightly --image=registry.example/job --schedule=@daily",
	"patch cronjob nightly -p {\"spec\":{\"suspend\":true}}",
	"create job by-hand --from=cronjob/nightly",
	"create poddisruptionbudget web --selector=app=web --min-available=1",
	"run shell --image=registry.example/shell",
	"label pod shell owner=me",
	"delete pod shell --now",
	"apply -f @statefulset",
	"apply --server-side -f @daemonset",
	"apply -f @networkpolicy",
	"apply -f @claim",
	"apply -f @lease",
	"apply -f @application",
	"apply --server-side --force-conflicts -f @application",
	"apply --server-side --force-conflicts -f @application",
	"label role app tier=web",
	"label rolebinding app tier=web",
	"annotate serviceaccount app note=x",
	"label secret app-token tier=web",
	"apply --server-side --force-conflicts -f @less-role",
	`patch rolebinding app --type=json -p [{"op":"remove","path":"/subjects/0"}]`,
	`patch rolebinding app --type=json -p [{"op":"remove","path":"/subjects"}]`,
	"delete rolebinding app",
	"delete role app",
	"delete secret app-token",
	"delete serviceaccount other",
	"delete deployment web",
	"auth can-i list pods",
}

var _ = Describe("Everyday work", func() {
	It("passes while a grant lasts", func(ctx SpecContext) {
		startManager(ctx)
		t := newTenant(ctx)
		t.standing(ctx, builders.User("alice"))
		t.grant(ctx, builders.User("alice"))
		for _, line := range everyday {
			_, stderr, err := t.kubectl(ctx, asAlice, line)
			Expect(err).NotTo(HaveOccurred(), "%s: %s", line, stderr)
		}
	}, SpecTimeout(2*time.Minute))
})
