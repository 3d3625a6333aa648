// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"net/http"
	"strings"
)

// gkePayload is an AuditLog of Google Cloud, as GKE fills it in.
type gkePayload struct {
	// MethodName is such as io.k8s.core.v1.pods.list; its last word is the verb.
	MethodName string `json:"methodName"`
	// ResourceName is such as core/v1/namespaces/payments/pods/checkout/exec.
	ResourceName string `json:"resourceName"`
	Auth         struct {
		Email string `json:"principalEmail"`
	} `json:"authenticationInfo"`
	Request struct {
		IP    string `json:"callerIp"`
		Agent string `json:"callerSuppliedUserAgent"`
	} `json:"requestMetadata"`
	// Status has a code of gRPC; absent and 0 are success.
	Status struct {
		Code int `json:"code"`
	} `json:"status"`
}

// grpcCodes are the answers of HTTP that stand for codes of gRPC, see google.rpc.Code.
var grpcCodes = map[int]int{
	0: http.StatusOK, 3: http.StatusBadRequest, 5: http.StatusNotFound, 6: http.StatusConflict, 7: http.StatusForbidden,
	8: http.StatusTooManyRequests, 9: http.StatusConflict, 10: http.StatusConflict, 16: http.StatusUnauthorized,
}

func (p *gkePayload) event(entry *anyShape) event {
	e := event{
		AuditID: entry.ID, Stage: stageComplete, Verb: p.MethodName[strings.LastIndex(p.MethodName, ".")+1:], URI: "/" + p.ResourceName,
		User: caller{Username: p.Auth.Email}, From: []string{p.Request.IP}, Agent: p.Request.Agent,
		Began: entry.Time, Ended: entry.Time, Annotations: entry.Labels, Status: &status{grpcCodes[p.Status.Code]},
	}
	path := strings.Split(p.ResourceName, "/")
	if len(path) < 3 {
		return e
	}
	e.Object = &object{Group: path[0]}
	if e.Object.Group == "core" {
		e.Object.Group = ""
	}
	rest := path[2:]
	if rest[0] == "namespaces" && len(rest) > 2 {
		e.Object.Namespace, rest = rest[1], rest[2:]
	}
	for i, into := range []*string{&e.Object.Resource, &e.Object.Name, &e.Object.Subresource} {
		if i < len(rest) {
			*into = rest[i]
		}
	}
	return e
}
