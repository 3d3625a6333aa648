// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// event is an Event of audit.k8s.io/v1: what the audit log of kube-apiserver says of a call at
// one of its stages. Only what a report needs is read.
type event struct {
	AuditID string    `json:"auditID"`
	Stage   string    `json:"stage"`
	Verb    string    `json:"verb"`
	URI     string    `json:"requestURI"`
	User    caller    `json:"user"`
	As      *caller   `json:"impersonatedUser,omitempty"`
	From    []string  `json:"sourceIPs,omitempty"`
	Agent   string    `json:"userAgent,omitempty"`
	Object  *object   `json:"objectRef,omitempty"`
	Status  *status   `json:"responseStatus,omitempty"`
	Began   time.Time `json:"requestReceivedTimestamp"`
	// Ended is when the stage was reached: when a session was over, in its last stage.
	Ended       time.Time         `json:"stageTimestamp"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type caller struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups,omitempty"`
}

type object struct {
	Resource    string `json:"resource,omitempty"`
	Namespace   string `json:"namespace,omitempty"`
	Name        string `json:"name,omitempty"`
	Group       string `json:"apiGroup,omitempty"`
	Subresource string `json:"subresource,omitempty"`
}

type status struct {
	Code int `json:"code,omitempty"`
}

// Stages of a call, see audit.k8s.io/v1.
const (
	stageStarted  = "ResponseStarted"
	stageComplete = "ResponseComplete"
	stagePanic    = "Panic"
)

// Annotations of the authorizer.
const (
	decisionAnnotation = "authorization.k8s.io/decision"
	reasonAnnotation   = "authorization.k8s.io/reason"
)

// allowedBy is how kube-apiserver names the binding that allowed a call: the first that it
// found, ClusterRoleBindings before RoleBindings. See plugin/pkg/auth/authorizer/rbac.
var allowedBy = regexp.MustCompile(`^RBAC: allowed by RoleBinding "([^/"]+)/([^"]+)" of `)

// binding is namespace and name of the RoleBinding that allowed the call, as "namespace/name";
// empty if something else did.
func (e *event) binding() string {
	found := allowedBy.FindStringSubmatch(e.Annotations[reasonAnnotation])
	if found == nil {
		return ""
	}
	return found[2] + "/" + found[1]
}

// refused says whether the call was refused, by the authorizer or before it was asked, as who
// may not impersonate is.
func (e *event) refused() bool {
	return e.Annotations[decisionAnnotation] == "forbid" || e.Annotations[decisionAnnotation] == "" && e.code() >= 400
}

// impersonator is who acted as somebody else; empty if nobody did.
func (e *event) impersonator() string {
	if e.As == nil {
		return ""
	}
	return e.User.Username
}

// lasts says whether the call may go on after it was allowed: a session into a pod, or a watch.
func (e *event) lasts() bool { return e.session() || e.Verb == "watch" }

// who made the call, as it was authorized.
func (e *event) who() *caller {
	if e.As != nil {
		return e.As
	}
	return &e.User
}

// by says whether somebody who made the call is like that: who it was authorized for, and who
// impersonated him.
func (e *event) by(is func(*caller) bool) bool { return is(e.who()) || e.As != nil && is(&e.User) }

// session says whether the call opened a way into a pod, which stays open after the access has
// ended. Over WebSocket it is audited as get.
func (e *event) session() bool {
	return e.Object != nil && e.Object.Resource == "pods" && slices.Contains([]string{"exec", "attach", "portforward"}, e.Object.Subresource)
}

// code that was answered; 0 if that is not known.
func (e *event) code() int {
	if e.Status == nil {
		return 0
	}
	return e.Status.Code
}

// namespace of the object, empty if it is in none.
func (e *event) namespace() string {
	if e.Object == nil {
		return ""
	}
	return e.Object.Namespace
}

// resource with its subresource and group, such as deployments.apps/scale; the path, if the
// call was for none.
func (e *event) resource() string {
	if e.Object == nil || e.Object.Resource == "" {
		path, _, _ := strings.Cut(e.URI, "?")
		return path
	}
	out := e.Object.Resource
	if e.Object.Group != "" {
		out += "." + e.Object.Group
	}
	if e.Object.Subresource != "" {
		out += "/" + e.Object.Subresource
	}
	return out
}
