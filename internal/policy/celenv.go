// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"sync"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/util/version"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Names of the variables that a condition sees.
const (
	requestVariable   = "request"
	policyVariable    = "policy"
	namespaceVariable = "namespaceObject"
	nowVariable       = "now"
)

// celEnvironment is what conditions are compiled in: the functions that Kubernetes
// offers in a ValidatingAdmissionPolicy, and typed variables, so that a misspelt
// field does not compile. The environment for stored expressions is taken, because a
// policy in etcd has to mean the same to every version of the operator.
var celEnvironment = sync.OnceValues(func() (*cel.Env, error) {
	request, policy, namespace := requestType(), policyType(), namespaceType()
	set, err := environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(
		environment.VersionedOptions{
			IntroducedVersion: version.MajorMinor(1, 0), // always
			EnvOptions: []cel.EnvOption{
				cel.Variable(requestVariable, request.CelType()),
				cel.Variable(policyVariable, policy.CelType()),
				cel.Variable(namespaceVariable, namespace.CelType()),
				cel.Variable(nowVariable, cel.TimestampType),
			},
			DeclTypes: []*apiservercel.DeclType{request, policy, namespace},
		},
		environment.StrictCostOpt,
	)
	if err != nil {
		return nil, err
	}
	return set.StoredExpressionsEnv(), nil
})

func requestType() *apiservercel.DeclType {
	role := object("lapse.RoleRef",
		required("kind", apiservercel.StringType),
		required("name", apiservercel.StringType))
	subject := object("lapse.Subject",
		required("kind", apiservercel.StringType),
		required("name", apiservercel.StringType),
		optional("namespace", apiservercel.StringType))
	identity := object("lapse.Identity",
		required("username", apiservercel.StringType),
		optional("uid", apiservercel.StringType),
		required("groups", apiservercel.NewListType(apiservercel.StringType, -1)),
		optional("extra", apiservercel.NewMapType(apiservercel.StringType, apiservercel.NewListType(apiservercel.StringType, -1), -1)))
	metadata := object("lapse.RequestMetadata",
		required("name", apiservercel.StringType),
		required("namespace", apiservercel.StringType),
		optional("uid", apiservercel.StringType),
		required("labels", stringMap()),
		required("annotations", stringMap()),
		optional("creationTimestamp", apiservercel.TimestampType))
	spec := object("lapse.AccessRequestSpec",
		required("roleRef", role),
		optional("subject", subject),
		optional("duration", apiservercel.DurationType),
		optional("notBefore", apiservercel.TimestampType),
		optional("notAfter", apiservercel.TimestampType),
		required("reason", apiservercel.StringType),
		optional("policyName", apiservercel.StringType),
		optional("requester", identity))
	return object("lapse.AccessRequest", required("metadata", metadata), required("spec", spec))
}

func policyType() *apiservercel.DeclType {
	return object("lapse.AccessPolicy", required("name", apiservercel.StringType))
}

func namespaceType() *apiservercel.DeclType {
	return object("lapse.Namespace", required("metadata", object("lapse.NamespaceMetadata",
		required("name", apiservercel.StringType),
		required("labels", stringMap()),
		required("annotations", stringMap()))))
}

func object(name string, fields ...*apiservercel.DeclField) *apiservercel.DeclType {
	byName := make(map[string]*apiservercel.DeclField, len(fields))
	for _, f := range fields {
		byName[f.Name] = f
	}
	return apiservercel.NewObjectType(name, byName)
}

func required(name string, t *apiservercel.DeclType) *apiservercel.DeclField {
	return apiservercel.NewDeclField(name, t, true, nil, nil)
}

func optional(name string, t *apiservercel.DeclType) *apiservercel.DeclField {
	return apiservercel.NewDeclField(name, t, false, nil, nil)
}

func stringMap() *apiservercel.DeclType {
	return apiservercel.NewMapType(apiservercel.StringType, apiservercel.StringType, -1)
}
