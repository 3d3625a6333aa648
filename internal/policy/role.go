// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

const (
	// maxStoredRules bounds GrantedRole.Rules, in bytes.
	maxStoredRules = 8192
	// maxRulesText bounds the JSON of rules that is stored and read, in bytes.
	maxRulesText = 1 << 20
)

// Role is a Role or ClusterRole at one moment.
type Role struct {
	UID types.UID
	// Rules are the effective ones: of an aggregated ClusterRole, all of it.
	Rules []rbacv1.PolicyRule
	// Unread says that its rules are not known. It is taken to be harmless, and of use.
	Unread bool
}

// Digest tells one set of rules from another, whatever the order in which they and
// their words are written: SHA-256 in hexadecimal.
func (r Role) Digest() string { return digestOf(rulesText(Canonical(r.Rules))) }

// Record is what a grant keeps of its role.
func (r Role) Record() *v1alpha1.GrantedRole {
	text := rulesText(Canonical(r.Rules))
	return &v1alpha1.GrantedRole{UID: r.UID, Digest: digestOf(text), Rules: packed(text)}
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Canonical rules are in one order, each with its words in one order, none twice.
func Canonical(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	sorted := func(words []string) []string {
		if len(words) == 0 {
			return nil // as what is read back
		}
		words = slices.Clone(words)
		slices.Sort(words)
		return slices.Compact(words)
	}
	out := make([]rbacv1.PolicyRule, 0, len(rules))
	for _, rule := range rules {
		out = append(out, rbacv1.PolicyRule{
			Verbs: sorted(rule.Verbs), APIGroups: sorted(rule.APIGroups), Resources: sorted(rule.Resources),
			ResourceNames: sorted(rule.ResourceNames), NonResourceURLs: sorted(rule.NonResourceURLs),
		})
	}
	slices.SortFunc(out, compareRules)
	return slices.CompactFunc(out, func(a, b rbacv1.PolicyRule) bool { return compareRules(a, b) == 0 })
}

func compareRules(a, b rbacv1.PolicyRule) int {
	for _, c := range [...]int{
		slices.Compare(a.APIGroups, b.APIGroups), slices.Compare(a.Resources, b.Resources), slices.Compare(a.ResourceNames, b.ResourceNames),
		slices.Compare(a.NonResourceURLs, b.NonResourceURLs), slices.Compare(a.Verbs, b.Verbs),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

func rulesText(rules []rbacv1.PolicyRule) []byte {
	text, err := json.Marshal(rules)
	if err != nil {
		panic(err) // they are nothing but strings
	}
	return text
}

// writers of gzip, each of which is most of a megabyte.
var writers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// packed is the text compressed, or nil if it is too large to be kept.
func packed(text []byte) []byte {
	if len(text) > maxRulesText {
		return nil
	}
	var out bytes.Buffer
	w := writers.Get().(*gzip.Writer)
	defer writers.Put(w)
	w.Reset(&out)
	_, err := w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil || out.Len() > maxStoredRules {
		return nil
	}
	return out.Bytes()
}

// GrantedRules are the rules of a record. An error means that it has none that belong to
// its digest.
func GrantedRules(record *v1alpha1.GrantedRole) ([]rbacv1.PolicyRule, error) {
	r, err := gzip.NewReader(bytes.NewReader(record.Rules))
	if err != nil {
		return nil, fmt.Errorf("reading the rules of the grant: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxRulesText+1))
	if err != nil {
		return nil, fmt.Errorf("reading the rules of the grant: %w", err)
	}
	if digestOf(text) != record.Digest {
		return nil, errors.New("the rules of the grant do not belong to its digest")
	}
	var rules []rbacv1.PolicyRule
	if err := json.Unmarshal(text, &rules); err != nil {
		return nil, fmt.Errorf("reading the rules of the grant: %w", err)
	}
	return rules, nil
}

// RoleArgument is a role as the plugin takes it; a ClusterRole stands for itself.
func RoleArgument(ref v1alpha1.RoleRef) string {
	if ref.Kind == v1alpha1.RoleKind {
		return "role/" + ref.Name
	}
	return ref.Name
}
