// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"github.com/google/cel-go/checker"
	"k8s.io/apiserver/pkg/cel/library"
)

// sizes are the longest strings and lists of a request of usual size. The schema allows
// longer ones. A condition that would cost too much for such a request is for none.
var sizes = &library.CostEstimator{SizeEstimator: bounds{
	"request.metadata.name": 253, "request.metadata.namespace": 63, "request.metadata.uid": 36,
	"request.metadata.labels": 32, "request.metadata.labels.@keys": 64, "request.metadata.labels.@values": 63,
	"request.metadata.annotations": 32, "request.metadata.annotations.@keys": 64, "request.metadata.annotations.@values": 256,
	"request.spec.roleRef.kind": 11, "request.spec.roleRef.name": 253, "request.spec.reason": 256, "request.spec.policyName": 253,
	"request.spec.subject.kind": 14, "request.spec.subject.name": 253, "request.spec.subject.namespace": 63,
	"request.spec.requester.username": 128, "request.spec.requester.uid": 64,
	"request.spec.requester.groups": 128, "request.spec.requester.groups.@items": 64,
	"request.spec.requester.extra": 8, "request.spec.requester.extra.@keys": 64,
	"request.spec.requester.extra.@values": 32, "request.spec.requester.extra.@values.@items": 128,
	"namespaceObject.metadata.name":   63,
	"namespaceObject.metadata.labels": 32, "namespaceObject.metadata.labels.@keys": 64, "namespaceObject.metadata.labels.@values": 63,
	"namespaceObject.metadata.annotations": 32, "namespaceObject.metadata.annotations.@keys": 64, "namespaceObject.metadata.annotations.@values": 256,
	"policy.name": 253,
}}

type bounds map[string]uint64

// EstimateSize is nil for what has no bound here.
func (b bounds) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	most, known := b[strings.Join(element.Path(), ".")]
	if !known {
		return nil
	}
	return &checker.SizeEstimate{Max: most}
}

// EstimateCallCost leaves it to Kubernetes.
func (bounds) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}
