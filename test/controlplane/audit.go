// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
%s- level: Metadata
`

// auditObjects has what is written to a few kinds logged whole, as it was asked for and
// as it was stored. Their resource versions tell the order in which that happened.
const auditObjects = `- level: RequestResponse
  omitManagedFields: true
  verbs: [create, update, patch, delete, deletecollection]
  resources:
  - {group: rbac.authorization.k8s.io, resources: [rolebindings]}
  - {group: lapse.dev}
`

// AuditMark is a point in the audit log; the zero value is its start.
type AuditMark int64

// configureAudit has every request written to the log before its handler
// returns, and so before the client sees the end of the answer.
func (c *ControlPlane) configureAudit(args *envtest.Arguments, opts Options) error {
	policy, rules := opts.AuditPolicy, ""
	if opts.AuditObjects {
		rules = auditObjects
	}
	if policy == "" {
		policy = c.path("audit-policy.yaml")
		if err := os.WriteFile(policy, fmt.Appendf(nil, auditPolicy, rules), 0o600); err != nil {
			return err
		}
	}
	args.Set("audit-policy-file", policy)
	args.Set("audit-log-path", c.AuditLog())
	args.Set("audit-log-mode", "blocking")
	args.Set("audit-log-maxsize", "10000") // MB; a log that is rotated would make marks wrong
	return nil
}

// AuditLog is the path of the API server's audit log: one event per line, also
// for requests that were denied.
func (c *ControlPlane) AuditLog() string { return c.path("audit.log") }

// AuditMark returns the point that the log has reached: the events of all
// requests that have been answered lie before it.
func (c *ControlPlane) AuditMark() (AuditMark, error) {
	info, err := os.Stat(c.AuditLog())
	if err != nil {
		return 0, err
	}
	return AuditMark(info.Size()), nil
}

// AuditEvents returns the events since a mark, in the order of the log.
func (c *ControlPlane) AuditEvents(since AuditMark) ([]auditv1.Event, error) {
	return c.auditEvents(since, func([]byte) bool { return true })
}

// AuditedWrites returns the events since a mark that Options.AuditObjects has logged
// with their objects, and those that found no object, in the order of the log.
func (c *ControlPlane) AuditedWrites(since AuditMark) ([]auditv1.Event, error) {
	return c.auditEvents(since, func(line []byte) bool {
		return bytes.Contains(line, []byte(`"level":"RequestResponse"`)) || bytes.Contains(line, []byte(`"code":404`))
	})
}

func (c *ControlPlane) auditEvents(since AuditMark, wanted func(line []byte) bool) ([]auditv1.Event, error) {
	file, err := os.Open(c.AuditLog())
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Seek(int64(since), io.SeekStart); err != nil {
		return nil, err
	}
	var events []auditv1.Event
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		switch {
		case errors.Is(err, io.EOF):
			return events, nil // a rest without an end is being written
		case err != nil:
			return nil, err
		case !wanted(line):
			continue
		}
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
		events = append(events, event)
	}
}

// Writes returns the requests since a mark by which user meant to change an
// object, whether they succeeded or not: see ResponseStatus for that. A dry run
// is none.
func (c *ControlPlane) Writes(since AuditMark, user string) ([]auditv1.Event, error) {
	events, err := c.AuditEvents(since)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(events, func(e auditv1.Event) bool {
		return e.User.Username != user || !isWrite(e)
	}), nil
}

// isWrite leaves out what is created only in order to be answered, such as a
// SubjectAccessReview or a token.
func isWrite(e auditv1.Event) bool {
	if e.ObjectRef == nil {
		return false
	}
	switch e.ObjectRef.APIGroup {
	case "authentication.k8s.io", "authorization.k8s.io":
		return false
	}
	return e.ObjectRef.Subresource != "token" && !strings.Contains(e.RequestURI, "dryRun=All") &&
		slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, e.Verb)
}
