// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/lapse-dev/lapse/api/v1alpha1"
)

//go:embed ocsf.yaml
var ocsfFile []byte

// ocsfMapping has the attributes of each kind of event, by its name.
var ocsfMapping = sync.OnceValues(func() (map[string]any, error) {
	mapping := map[string]any{}
	if err := yaml.UnmarshalStrict(ocsfFile, &mapping); err != nil {
		return nil, fmt.Errorf("ocsf.yaml: %w", err)
	}
	return mapping, nil
})

// OCSF are the events of the Open Cybersecurity Schema Framework that tell of a grant: that it
// began and, once it has, that it ended. There are none where nothing was given. Calls are not
// among them: kube-apiserver's audit log has those.
func OCSF(s *History) ([]any, error) {
	mapping, err := ocsfMapping()
	if err != nil || s.Grant == nil || s.Request.Subject == nil {
		return nil, err
	}
	to := "user"
	if s.Request.Subject.Kind == v1alpha1.GroupKind {
		to = "group"
	}
	facts := factsOf(s)
	facts["id"], facts["time"], facts["endReason"] = id(s.Request.UID, "granted"), s.Grant.GrantedAt.UnixMilli(), ""
	facts["actor"] = facts["requester"]
	events := []any{filled(mapping[to+"/granted"], facts)}
	if ended := s.Grant.EndedAt; ended != nil {
		facts["id"], facts["time"], facts["endReason"] = id(s.Request.UID, "ended"), ended.UnixMilli(), s.Grant.EndReason
		facts["actor"] = s.Grant.EndedBy
		events = append(events, filled(mapping[to+"/ended"], facts))
	}
	return events, nil
}

// factsOf are what a mapping may name with a $, but for those that differ between beginning and
// end: id, time, actor and endReason.
func factsOf(s *History) map[string]any {
	r := s.Request
	facts := map[string]any{
		"request": r.Namespace + "/" + r.Name, "requestUID": string(r.UID), "namespace": r.Namespace, "reason": r.Reason,
		"requester": "", "subject": holder(r.Subject), "subjectKind": r.Subject.Kind, "role": r.RoleRef.Kind + " " + r.RoleRef.Name,
		"policy": "", "approvedBy": nil, "binding": s.Grant.Binding, "expiresAt": s.Grant.ExpiresAt.UTC().Format(time.RFC3339),
		"message": fmt.Sprintf("%s %s for %s in %s", r.RoleRef.Kind, r.RoleRef.Name, holder(r.Subject), r.Namespace),
	}
	if r.Requester != nil {
		facts["requester"] = r.Requester.Username
	}
	if r.Policy != nil {
		facts["policy"] = r.Policy.Name
	}
	if len(r.Approvals) > 0 {
		approvedBy := make([]string, 0, len(r.Approvals))
		for _, a := range r.Approvals {
			approvedBy = append(approvedBy, a.Reviewer)
		}
		facts["approvedBy"] = approvedBy
	}
	return facts
}

// filled is a value of the mapping with facts in the place of their names; nil if there is
// nothing in it.
func filled(value any, facts map[string]any) any {
	switch v := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, field := range v {
			if f := filled(field, facts); f != nil {
				out[name] = f
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case []any:
		var out []any
		for _, item := range v {
			if f := filled(item, facts); f != nil {
				out = append(out, f)
			}
		}
		if len(out) > 0 {
			return out
		}
		return nil
	case string:
		return named(v, facts)
	}
	return value
}

// named is the fact of that name, nil if nothing is known of it. What people wrote is never
// taken for a name.
func named(s string, facts map[string]any) any {
	name, isName := strings.CutPrefix(s, "$")
	fact, known := facts[name]
	switch {
	case !isName, !known:
		return s
	case fact == "":
		return nil
	}
	return fact
}
