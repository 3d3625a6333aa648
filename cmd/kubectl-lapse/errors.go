// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// Exit codes, which scripts rely on.
const (
	exitOK           = 0
	exitFailed       = 1
	exitRefused      = 2
	exitUnknown      = 3 // still waiting, or something could not be checked
	exitNoSuggestion = 4 // report --unused cannot tell what of some role was not needed
	exitInterrupted  = 130
)

// exitError ends the program with a code of its own.
type exitError struct {
	code    int
	message string // said before; may be empty
}

func (e *exitError) Error() string { return e.message }

func refused(format string, args ...any) error {
	return &exitError{exitRefused, fmt.Sprintf(format, args...)}
}

func waits(format string, args ...any) error {
	return &exitError{exitUnknown, fmt.Sprintf(format, args...)}
}

// explain says in one sentence what is wrong and what to do next.
func (p *plugin) explain(err error) string {
	var unreachable net.Error
	var file *fs.PathError
	var location *url.Error
	switch {
	case errors.Is(err, context.Canceled): // of a page, too: whoever looked at it went on
		return "interrupted"
	case p.terminal != nil && ofConnection(err):
		return p.elsewhere(err)
	case clientcmd.IsEmptyConfig(err):
		return "there is no kubeconfig; set KUBECONFIG, or name one with --kubeconfig"
	case unauthenticated(err):
		return p.loginText(err)
	case apierrors.IsForbidden(err):
		return forbiddenText(err)
	case meta.IsNoMatchError(err), apierrors.IsNotFound(err):
		return p.notFoundText(err)
	case errors.As(err, &location):
		return fmt.Sprintf("the API server at %s cannot be reached (%s); see that it runs, and that --context or --kubeconfig names the right cluster", hostOf(location), rootOf(location))
	case errors.As(err, &file):
		return file.Error() + "; name files or folders of manifests with -f"
	case errors.As(err, &unreachable):
		return fmt.Sprintf("the API server cannot be reached (%s); see that it runs, and that --context or --kubeconfig names the right cluster", rootOf(unreachable))
	default:
		return deniedText(err.Error())
	}
}

// ofConnection says whether an error is about how the API server is reached, and as whom.
func ofConnection(err error) bool {
	var network net.Error // as a url.Error is
	var file *fs.PathError
	return clientcmd.IsEmptyConfig(err) || clientcmd.IsConfigurationInvalid(err) || unauthenticated(err) || errors.As(err, &network) || errors.As(err, &file)
}

// elsewhere says on the terminal what is wrong, and on a page that it does, and what to do.
func (p *plugin) elsewhere(err error) string {
	there := *p
	there.terminal, there.ErrOut = nil, p.terminal
	there.say("error: %s", there.explain(err))
	switch {
	case !unauthenticated(err):
		return "the API server cannot be asked; the terminal in which kubectl lapse ui runs says why"
	case p.credentials != "": // it is asked again each time
		return "the API server does not accept who you are, or not any more: log in again, as the terminal says in which kubectl lapse ui runs; " +
			"this page goes on by itself then"
	default:
		return "the API server does not accept who you are, or not any more: log in again; then end kubectl lapse ui with Ctrl-C in its terminal, " +
			"which says more, and start it anew"
	}
}

func hostOf(e *url.Error) string {
	if u, err := url.Parse(e.URL); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return e.URL
}

// rootOf is the cause, without the layers of the HTTP client around it.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		if op := (*net.OpError)(nil); errors.As(err, &op) && errors.Is(err, op) {
			return fmt.Errorf("%s: %w", op.Op, op.Err)
		}
		err = inner
	}
}

// cannot is how kube-apiserver says that RBAC does not allow a call.
var cannot = regexp.MustCompile(`User "(.*)" cannot (\S+) resource "([^"]+)" in API group "([^"]*)"(?: in the namespace "([^"]+)"| at the cluster scope)`)

// forbiddenText names the permission that is missing and who gives it.
func forbiddenText(err error) string {
	m := cannot.FindStringSubmatch(err.Error())
	if m == nil {
		return deniedText(err.Error())
	}
	who, verb, resource, group, namespace := m[1], m[2], m[3], m[4], m[5]
	where, binding := "in the whole cluster", "ClusterRoleBinding"
	if namespace != "" {
		where, binding = "in namespace "+namespace, "RoleBinding"
	}
	name := resource
	if group != "" {
		name += "." + group
	}
	text := fmt.Sprintf("you (%s) may not %s %s %s", who, verb, name, where)
	if role := roleFor(verb, resource, group); role != "" {
		return fmt.Sprintf("%s; ask a cluster admin for a %s to ClusterRole %s", text, binding, role)
	}
	return text + "; ask a cluster admin for that permission"
}

// roleFor is the ClusterRole of config/rbac that gives a permission; empty if none
// does.
func roleFor(verb, resource, group string) string {
	if group != v1alpha1.GroupVersion.Group {
		return ""
	}
	reads := verb == "get" || verb == "list" || verb == "watch"
	switch {
	case resource == "accesspolicies" && !reads:
		return "lapse-policy-admin"
	case resource == "accesspolicies":
		return "lapse-policy-reader"
	case resource == "accessrequests" && verb == "create":
		return "lapse-requester"
	case resource == "accessdecisions" && verb == "create":
		return "lapse-approver (to decide) or lapse-requester (to give back)"
	case reads:
		return "lapse-requester, lapse-approver or lapse-auditor"
	default:
		return ""
	}
}

func (p *plugin) notFoundText(err error) string {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		if d := status.Status().Details; d != nil && d.Name != "" && !unknownKind(status.Status()) {
			return err.Error() + p.notFoundHint(d.Kind, err)
		}
	}
	return "this cluster does not know Lapse's kinds (" + v1alpha1.GroupVersion.String() +
		"); a cluster admin installs it, as kubectl lapse doctor says, or --context names the wrong cluster"
}

func (p *plugin) notFoundHint(kind string, err error) string {
	var misplaced *misplacedError
	switch {
	case kind != requestResource:
		return ""
	case errors.As(err, &misplaced):
		return fmt.Sprintf(" in namespace %s; one of that name is in %s", p.namespace(), lookIn(misplaced.where))
	}
	return fmt.Sprintf(" in namespace %s; kubectl lapse get -n %[1]s lists those that there are", p.namespace())
}

// unknownKind tells a path that is not served from an object that is not there.
func unknownKind(s metav1.Status) bool {
	return s.Details != nil && len(s.Details.Causes) > 0 && s.Details.Causes[0].Type == metav1.CauseTypeUnexpectedServerResponse
}

// deniedText keeps, of an admission policy's refusal, what it says.
func deniedText(message string) string {
	if _, said, found := strings.Cut(message, " denied request: "); found {
		return "the API server refused this: " + said
	}
	return message
}

// ignoreNotFound is for what may as well be gone.
func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
