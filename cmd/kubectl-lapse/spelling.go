// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/internal/text"
)

// maxWords is how many characters a reason or a comment may have; see the schema.
const maxWords = 1024

// misspelt names the character for which a reason or a comment is refused, and its place;
// empty if there is none.
func misspelt(words string) string {
	r, place := text.Unseen(words)
	if place == 0 {
		return ""
	}
	return fmt.Sprintf("character %d is %U, which cannot be seen, or breaks the line", place, r)
}

// legible is what can be stored of the words of somebody who ends access, and says what
// cannot: an end never waits for how its reason is spelt.
func (p *plugin) legible(words string) string {
	if runes := []rune(words); len(runes) > maxWords {
		p.say("note: what you wrote has %d characters; the first %d are kept", len(runes), maxWords)
		words = string(runes[:maxWords])
	}
	cleaned, left := text.Clean(words)
	if len(left) == 0 {
		return words
	}
	var names []string
	for _, r := range left {
		if name := fmt.Sprintf("%U", r); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	const most = 5
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	p.say("note: left out of what you wrote, since it cannot be seen or breaks the line: %s", strings.Join(names, ", "))
	return cleaned
}

// refusesComment says whether the API server does not take a comment as it is.
func refusesComment(err error) bool {
	var status apierrors.APIStatus
	if !apierrors.IsInvalid(err) || !errors.As(err, &status) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "spec.comment" })
}
