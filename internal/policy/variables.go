// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// variables are what a condition sees. They are made once for a request; only policy
// changes from one policy to the next. They are CEL values all through: the cost
// tracker looks at every step of a path such as request.spec.reason, and would wrap a
// plain map anew each time.
type variables struct{ request, namespace, now, policy ref.Val }

var _ cel.Activation = (*variables)(nil)

// ResolveName gives the variable of that name.
func (v *variables) ResolveName(name string) (any, bool) {
	switch name {
	case requestVariable:
		return v.request, true
	case policyVariable:
		return v.policy, true
	case namespaceVariable:
		return v.namespace, true
	case nowVariable:
		return v.now, true
	default:
		return nil, false
	}
}

// Parent is nil: nothing else is seen.
func (v *variables) Parent() cel.Activation { return nil }

func variablesOf(in Input) *variables {
	return &variables{
		request:   objectValue(map[string]any{"metadata": metadataValue(in.Request), "spec": specValue(in.Request.RequestSpec())}),
		namespace: namespaceValue(in.Namespace),
		now:       types.Timestamp{Time: in.Now.UTC()},
	}
}

func policyValue(name string) ref.Val { return objectValue(map[string]any{"name": types.String(name)}) }

func namespaceValue(ns *corev1.Namespace) ref.Val {
	return objectValue(map[string]any{"metadata": objectValue(map[string]any{
		"name":        types.String(ns.Name),
		"labels":      stringMapValue(ns.Labels),
		"annotations": stringMapValue(ns.Annotations),
	})})
}

func metadataValue(req v1alpha1.Request) ref.Val {
	m := map[string]any{
		"name":        types.String(req.GetName()),
		"namespace":   types.String(req.GetNamespace()),
		"labels":      stringMapValue(req.GetLabels()),
		"annotations": stringMapValue(req.GetAnnotations()),
	}
	putString(m, "uid", string(req.GetUID()))
	created := req.GetCreationTimestamp()
	putTime(m, "creationTimestamp", &created)
	return objectValue(m)
}

// specValue leaves out what the request leaves out, so that has() tells.
func specValue(spec *v1alpha1.AccessRequestSpec) ref.Val {
	m := map[string]any{
		"roleRef": objectValue(map[string]any{"kind": types.String(spec.RoleRef.Kind), "name": types.String(spec.RoleRef.Name)}),
		"reason":  types.String(spec.Reason),
	}
	if s := spec.Subject; s != nil {
		subject := map[string]any{"kind": types.String(s.Kind), "name": types.String(s.Name)}
		putString(subject, "namespace", s.Namespace)
		m["subject"] = objectValue(subject)
	}
	if d := spec.Duration; d != nil {
		m["duration"] = types.Duration{Duration: d.Duration}
	}
	putTime(m, "notBefore", spec.NotBefore)
	putTime(m, "notAfter", spec.NotAfter)
	putString(m, "policyName", spec.PolicyName)
	if r := spec.Requester; r != nil {
		requester := map[string]any{
			"username": types.String(r.Username),
			"groups":   types.NewStringList(types.DefaultTypeAdapter, r.Groups),
		}
		putString(requester, "uid", r.UID)
		putExtra(requester, r.Extra)
		m["requester"] = objectValue(requester)
	}
	return objectValue(m)
}

func objectValue(fields map[string]any) ref.Val {
	return types.NewStringInterfaceMap(types.DefaultTypeAdapter, fields)
}

func putString(m map[string]any, field, value string) {
	if value != "" {
		m[field] = types.String(value)
	}
}

// putExtra puts nothing rather than an empty map. The requester may have left out what speaks
// against him: a condition that reads it then fails, also one that asks whether a key is absent.
func putExtra(m map[string]any, extra map[string]v1alpha1.ExtraValue) {
	if len(extra) == 0 {
		return
	}
	lists := make(map[string]any, len(extra))
	for key, values := range extra {
		lists[key] = types.NewStringList(types.DefaultTypeAdapter, values)
	}
	m["extra"] = objectValue(lists)
}

func putTime(m map[string]any, field string, value *metav1.Time) {
	if value != nil && !value.IsZero() {
		m[field] = types.Timestamp{Time: value.In(time.UTC)}
	}
}

func stringMapValue(m map[string]string) ref.Val {
	return types.NewStringStringMap(types.DefaultTypeAdapter, m)
}
