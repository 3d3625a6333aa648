// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// parseRole takes NAME, clusterrole/NAME and role/NAME.
func parseRole(s string) (v1alpha1.RoleRef, error) {
	kind, name, found := strings.Cut(s, "/")
	if !found {
		kind, name = "clusterrole", s
	}
	ref := v1alpha1.RoleRef{Name: name}
	switch strings.ToLower(kind) {
	case "clusterrole":
		ref.Kind = v1alpha1.ClusterRoleKind
	case "role":
		ref.Kind = v1alpha1.RoleKind
	}
	if ref.Kind == "" || ref.Name == "" {
		return ref, fmt.Errorf("%q is not a role; write NAME for a ClusterRole, or role/NAME for a Role", s)
	}
	return ref, nil
}

// parseSubject takes user:NAME, group:NAME and sa:NAMESPACE/NAME; empty is nobody.
func parseSubject(s string) (*v1alpha1.Subject, error) {
	if s == "" {
		return nil, nil
	}
	kind, name, _ := strings.Cut(s, ":")
	subject := &v1alpha1.Subject{Name: name}
	switch kind {
	case "user":
		subject.Kind = v1alpha1.UserKind
	case "group":
		subject.Kind = v1alpha1.GroupKind
	case "sa":
		subject.Kind = v1alpha1.ServiceAccountKind
		subject.Namespace, subject.Name, _ = strings.Cut(name, "/")
	}
	if subject.Kind == "" || subject.Name == "" {
		return nil, fmt.Errorf("%q is not a subject; write user:NAME, group:NAME or sa:NAMESPACE/NAME", s)
	}
	return subject, nil
}

// parseMoment takes a time, or a duration from now; empty is none.
func parseMoment(flag, s string, now time.Time) (*metav1.Time, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d > 0 {
		return &metav1.Time{Time: now.Add(d).UTC().Truncate(time.Second)}, nil
	}
	t, err := text.ParseTime(s)
	if err != nil || !t.Equal(t.Truncate(time.Second)) {
		return nil, fmt.Errorf("%s %q is neither a time in whole seconds, such as 2026-12-01T18:00:00Z, nor a duration from now, such as 2h", flag, s)
	}
	return &metav1.Time{Time: t.UTC()}, nil
}

// durationFlag is a flag of how long something lasts, which says how that is written.
type durationFlag time.Duration

// String is empty for zero, so that no default is shown.
func (s *durationFlag) String() string {
	if *s == 0 {
		return ""
	}
	return time.Duration(*s).String()
}

// Set takes what Go takes for a duration.
func (s *durationFlag) Set(given string) error {
	d, err := time.ParseDuration(given)
	if err != nil {
		return errors.New("write 24h, 90m or 1h30m")
	}
	*s = durationFlag(d)
	return nil
}

// Type is what help calls it.
func (*durationFlag) Type() string { return "duration" }

// parseTime takes a time, or a date, which begins at midnight in UTC; empty is the zero time.
func parseTime(flag, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		return day, nil
	}
	t, err := text.ParseTime(s)
	if err != nil {
		return t, fmt.Errorf("%s %q is neither a time such as 2026-12-01T18:00:00Z nor a date such as 2026-12-01, which is in UTC", flag, s)
	}
	return t, nil
}

var errNoName = errors.New("which request? kubectl lapse get lists them")

func oneName(_ *cobra.Command, args []string) error {
	switch len(args) {
	case 0:
		return errNoName
	case 1:
		return nil
	default:
		return fmt.Errorf("one request at a time, and not %d", len(args))
	}
}

func someNames(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errNoName
	}
	return nil
}

// requestName takes the kind off, as in what kubectl get -o name prints.
func requestName(arg string) string {
	kind, name, found := strings.Cut(arg, "/")
	if found && slices.Contains([]string{"accessrequest", "accessrequests", "areq", "accessrequest.lapse.dev", "accessrequests.lapse.dev"}, strings.ToLower(kind)) {
		return name
	}
	return arg
}

// allThere says what is wrong with one of several names before anything is done to the
// others: it may be a word of a comment.
func (p *plugin) allThere(ctx context.Context, args []string) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	for _, arg := range args {
		if _, err := p.find(ctx, c, requestName(arg)); err != nil {
			return fmt.Errorf("nothing was done: %s; a reason of several words needs quotes", p.explain(err))
		}
	}
	return nil
}

// each does something to each request, also when it failed for another one.
func (p *plugin) each(ctx context.Context, args []string, do func(name string) error) error {
	if len(args) == 1 {
		return do(requestName(args[0]))
	}
	if err := p.allThere(ctx, args); err != nil {
		return err
	}
	return p.eachOf(ctx, args, do)
}

func (p *plugin) eachOf(ctx context.Context, args []string, do func(name string) error) error {
	failed := 0
	for _, arg := range args {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := do(requestName(arg)); err != nil {
			p.say("error: %s: %s", requestName(arg), p.explain(err))
			failed++
		}
	}
	if failed > 0 {
		return &exitError{exitFailed, fmt.Sprintf("%d of %d failed", failed, len(args))}
	}
	return nil
}

// notInNames is what the name of an object cannot hold.
var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// maxGenerated leaves room for the random end of a name, and for what the operator
// puts around it in the name of the RoleBinding.
const maxGenerated = 40

// generateName turns the name of a role, which may hold almost anything, into the
// beginning of the name of an object.
func generateName(role string) string {
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(role), "-"), "-")
	if len(name) > maxGenerated {
		name = strings.TrimRight(name[:maxGenerated], "-")
	}
	if name == "" {
		name = "access"
	}
	return name + "-"
}
