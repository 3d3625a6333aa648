// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strconv"
	"strings"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

const (
	// maxQuoted bounds, in bytes, each piece of somebody else's text in a message.
	maxQuoted = 256
	// maxListed is how many items of a list a message names.
	maxListed = 5
)

// quote makes a name of somebody's choosing safe to print: bounded, and without
// control or invisible characters.
func quote(s string) string {
	var b strings.Builder
	for _, r := range strconv.Quote(text.Cut(s, maxQuoted)) {
		piece := string(r)
		if text.Printable(piece, "") != piece { // such as a letter that looks like nothing
			piece = strings.Trim(strconv.QuoteRuneToASCII(r), "'")
		}
		b.WriteString(piece)
	}
	return b.String()
}

// list names the first items, and how many there are besides; "none" when empty.
func list(items []string) string {
	if len(items) == 0 {
		return "none"
	}
	if len(items) <= maxListed {
		return strings.Join(items, ", ")
	}
	return strings.Join(items[:maxListed], ", ") + " and " + strconv.Itoa(len(items)-maxListed) + " more"
}

func subjectText(s v1alpha1.Subject) string {
	if s.Kind == v1alpha1.ServiceAccountKind {
		return kindText(s.Kind) + quote(s.Namespace+"/"+s.Name)
	}
	return kindText(s.Kind) + quote(s.Name)
}

func roleText(r v1alpha1.RoleRef) string { return kindText(r.Kind) + quote(r.Name) }

// kindText quotes a kind that the schema would have refused.
func kindText(kind string) string {
	switch kind {
	case "":
		return ""
	case v1alpha1.UserKind, v1alpha1.GroupKind, v1alpha1.ServiceAccountKind, v1alpha1.ClusterRoleKind, v1alpha1.RoleKind:
		return kind + " "
	default:
		return quote(kind) + " "
	}
}

// textsOf renders each item for list.
func textsOf[T any](items []T, write func(T) string) []string {
	out := make([]string, 0, len(items))
	for _, item := range items {
		out = append(out, write(item))
	}
	return out
}
