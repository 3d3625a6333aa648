// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/json"
	"slices"
	"strconv"

	jsonpatch "github.com/evanphx/json-patch/v5"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

// call is what a reconciler asks of the API server or, cached, of its cache.
type call struct {
	verb    verb
	cached  bool
	kind    kind
	first   bool      // what has no order is read, and this is read first
	written bool      // the request, as it was written rather than as the cache has it
	slot    int8      // which binding
	payload id        // the object or the patch that is sent
	uid     types.UID // precondition of a deletion; of decisions, whose
	version string    // precondition of a deletion
}

type (
	verb string
	kind string
)

const (
	get      verb = "GET"
	list     verb = "LIST"
	create   verb = "POST"
	update   verb = "PUT"
	remove   verb = "DELETE"
	patch    verb = "PATCH"
	isSynced verb = "SYNCED"
	remember verb = "REMEMBER" // of the memory of the replica, as is
	recall   verb = "RECALL"
	finish   verb = "FINISH" // there is no further call
)

const (
	requests   kind = "AccessRequest"
	bindings   kind = "RoleBinding"
	decisions  kind = "AccessDecision"
	policies   kind = "AccessPolicy"
	roles      kind = "ClusterRole"
	namespaces kind = "Namespace"
	reviews    kind = "SubjectAccessReview"
	nothing    kind = ""
)

// Answers that are no object.
const (
	notFound id = -iota
	accepted
	conflict
	exists
	lost
	no
)

func version(series, n uint8) string { return strconv.Itoa(int(series)*1000 + int(n)) }

// next is the resource version that follows.
func next(version string) string {
	n, err := strconv.Atoi(version)
	if err != nil {
		panic(err)
	}
	return strconv.Itoa(n + 1)
}

// serve answers a call and changes what is stored. Nothing but this writes for the
// operator.
func (m *machine) serve(s *server, c call) id {
	switch c.verb {
	case get, list:
		return m.read(s, c)
	case create:
		if c.kind == reviews {
			return accepted
		}
		return m.createBinding(s, c)
	case update:
		return m.updateBinding(s, c)
	case patch:
		return m.patchStatus(s, c)
	case remove:
		if c.kind == requests {
			return m.removeRequest(s, c)
		}
		return m.removeBinding(s, c)
	case isSynced, remember, recall, finish:
	}
	panic("no such call: " + c.verb)
}

func (m *machine) read(s *server, c call) id {
	switch c.kind {
	case requests:
		return s.request
	case bindings:
		return s.bindings[c.slot]
	case policies:
		return s.policy
	case decisions:
		return m.decisionsOn(s.decisions, c.uid)
	case roles, namespaces:
		return s.around.answer(c.kind)
	case reviews, nothing:
	}
	panic("nobody reads " + c.kind)
}

// answer says whether a role, or a namespace, is what it was in the beginning.
func (s surroundings) answer(what kind) id {
	if what == roles && s.dangerous || what == namespaces && s.unlabelled {
		return no
	}
	return accepted
}

// decisionsOn are those on one request.
func (m *machine) decisionsOn(all id, uid types.UID) id {
	return m.changes.get(change{from: all, call: call{verb: list, uid: uid}}, func() id {
		some := as[*v1alpha1.AccessDecisionList](m.objects, all).DeepCopy()
		some.Items = slices.DeleteFunc(some.Items, func(d v1alpha1.AccessDecision) bool { return d.Spec.RequestRef.UID != uid })
		return m.put(some)
	})
}

func (m *machine) createBinding(s *server, c call) id {
	if s.bindings[c.slot] != 0 {
		return exists
	}
	s.made[c.slot]++
	n := s.made[c.slot]
	s.bindings[c.slot] = m.changes.get(change{call: c, now: s.now, made: n}, func() id {
		b := as[*rbacv1.RoleBinding](m.objects, c.payload).DeepCopy()
		b.UID = types.UID("binding-" + version(uint8(c.slot), n))
		b.ResourceVersion, b.CreationTimestamp = version(n, 1), metav1.NewTime(at(s.now))
		return m.put(b)
	})
	return accepted
}

func (m *machine) updateBinding(s *server, c call) id {
	old := m.binding(s, c.slot)
	sent := as[*rbacv1.RoleBinding](m.objects, c.payload)
	switch {
	case old == nil:
		return notFound
	case sent.UID != old.UID, sent.ResourceVersion != "" && sent.ResourceVersion != old.ResourceVersion:
		return conflict
	case m.bug == deleteUnrecorded && len(sent.Subjects) == 0:
		return m.removeBinding(s, call{verb: remove, kind: bindings, slot: c.slot, uid: old.UID})
	}
	s.bindings[c.slot] = m.changes.get(change{from: s.bindings[c.slot], call: c}, func() id {
		b := sent.DeepCopy()
		b.ResourceVersion, b.DeletionTimestamp = next(old.ResourceVersion), old.DeletionTimestamp
		if b.DeletionTimestamp != nil && len(b.Finalizers) == 0 {
			return 0
		}
		return m.put(b)
	})
	return accepted
}

func (m *machine) removeBinding(s *server, c call) id {
	old := m.binding(s, c.slot)
	switch {
	case old == nil:
		return notFound
	case c.uid != "" && c.uid != old.UID, c.version != "" && c.version != old.ResourceVersion:
		return conflict
	case len(old.Finalizers) == 0:
		s.bindings[c.slot] = 0
	case old.DeletionTimestamp == nil:
		s.bindings[c.slot] = m.changes.get(change{from: s.bindings[c.slot], call: call{verb: remove}, now: s.now}, func() id {
			b, deleted := old.DeepCopy(), metav1.NewTime(at(s.now))
			b.ResourceVersion, b.DeletionTimestamp = next(old.ResourceVersion), &deleted
			return m.put(b)
		})
	}
	return accepted
}

func (m *machine) removeRequest(s *server, c call) id {
	switch old := m.request(s); {
	case old == nil:
		return notFound
	case c.uid != old.UID:
		return conflict
	}
	s.request = 0
	return accepted
}

func (m *machine) patchStatus(s *server, c call) id {
	old := m.request(s)
	if old == nil {
		return notFound
	}
	sent := as[string](m.objects, c.payload)
	var made struct {
		Metadata struct{ ResourceVersion string }
	}
	mustUnmarshal([]byte(sent), &made)
	if from := made.Metadata.ResourceVersion; m.bug != noLock && from != "" && from != old.ResourceVersion {
		return conflict
	}
	s.request = m.changes.get(change{from: s.request, call: c}, func() id {
		before, err := json.Marshal(old)
		if err != nil {
			panic(err)
		}
		after, err := jsonpatch.MergePatch(before, []byte(sent))
		if err != nil {
			panic(err)
		}
		patched, req := &v1alpha1.AccessRequest{}, old.DeepCopy()
		mustUnmarshal(after, patched)
		req.Status, req.ResourceVersion = patched.Status, next(old.ResourceVersion)
		return m.put(req)
	})
	return accepted
}

func (m *machine) request(s *server) *v1alpha1.AccessRequest {
	if s.request == 0 {
		return nil
	}
	return as[*v1alpha1.AccessRequest](m.objects, s.request)
}

func (m *machine) binding(s *server, slot int8) *rbacv1.RoleBinding {
	if s.bindings[slot] == 0 {
		return nil
	}
	return as[*rbacv1.RoleBinding](m.objects, s.bindings[slot])
}

func mustUnmarshal(text []byte, into any) {
	if err := json.Unmarshal(text, into); err != nil {
		panic(err)
	}
}
