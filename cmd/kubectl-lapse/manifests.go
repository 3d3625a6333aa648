// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// manifests is what files say, without a cluster.
type manifests struct {
	policies     []v1alpha1.AccessPolicy
	places       []place // of the policies
	refused      []refusedPolicy
	requests     []located
	namespaces   map[string]*corev1.Namespace
	clusterRoles map[string]policy.Role
	roles        map[string]policy.Role // by namespace/name
	lasting      []lasting
}

// refusedPolicy is one that the API server would not take, and why.
type refusedPolicy struct {
	name, reason string
	at           place
}

// place is where a document begins. A line of 0 is not known.
type place struct {
	file string
	line int
}

// located is a request and the file that it is from.
type located struct {
	request v1alpha1.AccessRequest
	file    string
}

// readManifests reads files, and all .yaml, .yml and .json in folders; - is in.
func readManifests(in io.Reader, paths []string) (*manifests, error) {
	m := &manifests{
		namespaces: map[string]*corev1.Namespace{}, clusterRoles: map[string]policy.Role{}, roles: map[string]policy.Role{},
	}
	for _, path := range paths {
		if path == "-" {
			data, err := io.ReadAll(in)
			if err == nil {
				err = m.read("stdin", data)
			}
			if err != nil {
				return nil, err
			}
			continue
		}
		files, err := filesIn(path)
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			if err := m.read(file, data); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// filesIn is path, or the manifests below it.
func filesIn(path string) (files []string, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	err = filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
			files = append(files, file)
		}
		return err
	})
	return files, err
}

// read takes the documents of one file. Kinds that say nothing here are passed over:
// a GitOps repository is full of them.
func (m *manifests) read(file string, data []byte) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n, read := 1, 0; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		at := place{file: file}
		// What the reader normalized, such as ends of lines of Windows, is not found.
		if i := bytes.Index(data[read:], document); i >= 0 {
			begin := read + i
			at.line, read = 1+bytes.Count(data[:begin], []byte("\n")), begin+len(document)
		}
		if err == nil {
			err = m.add(at, document)
		}
		if err != nil {
			return fmt.Errorf("%s, document %d: %w", file, n, err)
		}
	}
}

func (m *manifests) add(at place, document []byte) error {
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal(document, &kind); err != nil {
		return err
	}
	if strings.HasSuffix(kind.Kind, "List") {
		return m.addAll(at, kind, document)
	}
	if err := m.addLasting(at, kind, document); err != nil {
		return err
	}
	version := v1alpha1.GroupVersion.String()
	switch kind {
	case metav1.TypeMeta{APIVersion: version, Kind: "AccessPolicy"}:
		return m.addPolicy(at, document)
	case metav1.TypeMeta{APIVersion: version, Kind: "AccessRequest"}:
		r, err := parse[v1alpha1.AccessRequest](document)
		m.requests = append(m.requests, located{r, at.file})
		return err
	case metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}:
		ns, err := parse[corev1.Namespace](document)
		m.namespaces[ns.Name] = &ns
		return err
	case metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: v1alpha1.ClusterRoleKind}:
		role, err := parse[rbacv1.ClusterRole](document)
		// The cluster fills in the rules of an aggregated one.
		m.clusterRoles[role.Name] = policy.Role{Rules: role.Rules, Unread: role.AggregationRule != nil}
		return err
	case metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: v1alpha1.RoleKind}:
		role, err := parse[rbacv1.Role](document)
		m.roles[role.Namespace+"/"+role.Name] = policy.Role{Rules: role.Rules}
		return err
	}
	return misnamed(kind)
}

// ownKinds are those that the API server has of Lapse.
var ownKinds = []string{"AccessPolicy", "AccessRequest", "AccessDecision"}

// misnamed says what is wrong with a kind that is meant to be one of Lapse. What is passed over
// would pass for a policy without mistakes.
func misnamed(kind metav1.TypeMeta) error {
	group, _, grouped := strings.Cut(kind.APIVersion, "/")
	version := v1alpha1.GroupVersion.String()
	ours := group == v1alpha1.GroupVersion.Group
	switch {
	case ours && kind.APIVersion != version, !ours && !grouped && slices.Contains(ownKinds, kind.Kind):
		return fmt.Errorf("apiVersion %q of kind %q is not known, only %s is", kind.APIVersion, kind.Kind, version)
	case ours && !slices.Contains(ownKinds, kind.Kind):
		return fmt.Errorf("kind %q is not known; %s has %s", kind.Kind, version, strings.Join(ownKinds, ", "))
	}
	return nil
}

// addAll takes the objects of a list, such as kubectl get -o yaml prints. Those of a list of
// one kind, as the API server sends it, may not name it.
func (m *manifests) addAll(at place, kind metav1.TypeMeta, document []byte) error {
	var list struct {
		Items []map[string]any `json:"items"`
	}
	if err := yaml.Unmarshal(document, &list); err != nil {
		return err
	}
	for i, item := range list.Items {
		if one := strings.TrimSuffix(kind.Kind, "List"); one != "" && item != nil && item["kind"] == nil {
			item["apiVersion"], item["kind"] = kind.APIVersion, one
		}
		one, err := yaml.Marshal(item)
		if err == nil {
			err = m.add(at, one)
		}
		if err != nil {
			return fmt.Errorf("items[%d]: %w", i, err)
		}
	}
	return nil
}

// addPolicy also holds it against what the API server holds it against.
func (m *manifests) addPolicy(at place, document []byte) error {
	p, err := parse[v1alpha1.AccessPolicy](document)
	if err != nil {
		return err
	}
	s, err := policySchema()
	if err != nil {
		return fmt.Errorf("the schema of this plugin: %w", err)
	}
	var object map[string]any
	if err := yaml.Unmarshal(document, &object); err != nil {
		return err
	}
	for _, reason := range append(metadataRefuses(p.ObjectMeta), s.refuses(context.Background(), object)...) {
		m.refused = append(m.refused, refusedPolicy{p.Name, reason, at})
	}
	m.policies, m.places = append(m.policies, p), append(m.places, at)
	return nil
}

// parse is strict: a field that is misspelt would otherwise be a policy that says less.
func parse[T any](document []byte) (T, error) {
	var into T
	err := yaml.UnmarshalStrict(document, &into)
	return into, err
}

// role that the files have, or the cluster may have.
func (m *manifests) role(namespace string, ref v1alpha1.RoleRef) policy.Role {
	role, found := m.clusterRoles[ref.Name]
	if ref.Kind != v1alpha1.ClusterRoleKind {
		role, found = m.roles[namespace+"/"+ref.Name]
	}
	if !found {
		return policy.Role{Unread: true}
	}
	return role
}
