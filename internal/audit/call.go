// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// Call is what kube-apiserver's audit log says of one request to it. Only what a report needs
// is read of an Event of audit.k8s.io/v1.
type Call struct {
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

// Binding is namespace and name of the RoleBinding that allowed the call, as "namespace/name";
// empty if something else did.
func (c *Call) Binding() string {
	found := allowedBy.FindStringSubmatch(c.Annotations[reasonAnnotation])
	if found == nil {
		return ""
	}
	return found[2] + "/" + found[1]
}

// Refused says whether the call was refused, by the authorizer or before it was asked, as who
// may not impersonate is.
func (c *Call) Refused() bool {
	return c.Annotations[decisionAnnotation] == "forbid" || c.Annotations[decisionAnnotation] == "" && c.Code() >= 400
}

// Impersonator is who acted as somebody else; empty if nobody did.
func (c *Call) Impersonator() string {
	if c.As == nil {
		return ""
	}
	return c.User.Username
}

// Lasts says whether the call may go on after it was allowed: a session into a pod, or a watch.
func (c *Call) Lasts() bool { return c.Session() || c.Verb == "watch" }

// Who made the call, as it was authorized.
func (c *Call) Who() *caller {
	if c.As != nil {
		return c.As
	}
	return &c.User
}

// Session says whether the call opened a way into a pod, which stays open after the access has
// ended. Over WebSocket it is audited as get.
func (c *Call) Session() bool {
	return c.Object != nil && c.Object.Resource == "pods" && slices.Contains([]string{"exec", "attach", "portforward"}, c.Object.Subresource)
}

// Code that was answered; 0 if that is not known.
func (c *Call) Code() int {
	if c.Status == nil {
		return 0
	}
	return c.Status.Code
}

// Namespace of the object, empty if it is in none.
func (c *Call) Namespace() string {
	if c.Object == nil {
		return ""
	}
	return c.Object.Namespace
}

// Resource with its subresource and group, such as deployments.apps/scale; the path, if the
// call was for none.
func (c *Call) Resource() string {
	if c.Object == nil || c.Object.Resource == "" {
		path, _, _ := strings.Cut(c.URI, "?")
		return path
	}
	out := c.Object.Resource
	if c.Object.Group != "" {
		out += "." + c.Object.Group
	}
	if c.Object.Subresource != "" {
		out += "/" + c.Object.Subresource
	}
	return out
}
