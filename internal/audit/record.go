// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
)

// Type is what happened, as the type of a CloudEvent.
type Type string

// What happens to a request.
const (
	// Asked: somebody made the request.
	Asked Type = "dev.lapse.request.asked.v1"
	// Refused: the request is over, and gave nothing.
	Refused Type = "dev.lapse.request.refused.v1"
	// Approved: somebody said that access may be given. Whether his word counted is told by
	// the approvals of what was granted.
	Approved Type = "dev.lapse.decision.approved.v1"
	// Denied: somebody said that access must not be given.
	Denied Type = "dev.lapse.decision.denied.v1"
	// Revoked: somebody said that access has to end.
	Revoked Type = "dev.lapse.decision.revoked.v1"
	// Granted: access began.
	Granted Type = "dev.lapse.access.granted.v1"
	// RoleChanged: the role became another one while access was held.
	RoleChanged Type = "dev.lapse.access.rolechanged.v1"
	// Ended: access was seen to be over.
	Ended Type = "dev.lapse.access.ended.v1"
	// Forgotten: the request was deleted.
	Forgotten Type = "dev.lapse.request.forgotten.v1"
)

// What happens to whoever keeps the records.
const (
	// GapBegan and GapEnded: the admission policies were not known to be in force in between.
	GapBegan Type = "dev.lapse.admission.gapbegan.v1"
	GapEnded Type = "dev.lapse.admission.gapended.v1"
	// WriterMissed: the sink took nothing for so long that not all of what was deleted could
	// be kept for it.
	WriterMissed Type = "dev.lapse.writer.missed.v1"
	// WriterBegan and WriterEnded: the first and the last record of a writer.
	WriterBegan Type = "dev.lapse.writer.began.v1"
	WriterEnded Type = "dev.lapse.writer.ended.v1"
)

// Record is one thing that happened: a CloudEvent 1.0 in its JSON format.
type Record struct {
	SpecVersion string `json:"specversion"`
	// ID is the UID of the object and what happened. It is the same if the record is
	// written again, by whichever replica.
	ID string `json:"id"`
	// Source is the cluster.
	Source string `json:"source"`
	Type   Type   `json:"type"`
	// Subject is namespace and name of the request.
	Subject string `json:"subject,omitempty"`
	// Time at which it happened, by the API server's clock.
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            Data      `json:"data"`
	Link
}

// Link is a record's place in the chain of its writer; they are extension attributes of a
// CloudEvent.
type Link struct {
	// Writer is who wrote the chain. No two processes have the same.
	Writer string `json:"lapsewriter,omitempty"`
	// Sequence counts from 1.
	Sequence int64 `json:"lapsesequence,omitempty"`
	// Previous is the hash of the record before, empty for the first.
	Previous string `json:"lapseprevious,omitempty"`
}

// Data is what is known of it. What is said of the request is the whole of it as it was when
// the record was written, so that each record can be read alone.
type Data struct {
	Request  *Request  `json:"request,omitempty"`
	Decision *Decision `json:"decision,omitempty"`
	Grant    *Grant    `json:"grant,omitempty"`
	Gap      string    `json:"gap,omitempty"`
	Began    *Began    `json:"writer,omitempty"`
	// Missed is how many requests were deleted of which not all could be told.
	Missed int64 `json:"missed,omitempty"`
	// Withheld says why the record says less than it knows: the receiver refused it.
	Withheld string `json:"withheld,omitempty"`
}

// Request is what was asked for, by whom and why, and what became of it.
type Request struct {
	Kind      string    `json:"kind"`
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	UID       types.UID `json:"uid"`
	AskedAt   time.Time `json:"askedAt"`
	// Requester asked, and Subject is to have the role.
	Requester *v1alpha1.Identity `json:"requester,omitempty"`
	Subject   *v1alpha1.Subject  `json:"subject,omitempty"`
	RoleRef   v1alpha1.RoleRef   `json:"roleRef"`
	Reason    string             `json:"reason,omitempty"`
	// Duration in seconds, NotBefore and NotAfter as they were asked for.
	Duration  int64      `json:"duration,omitempty"`
	NotBefore *time.Time `json:"notBefore,omitempty"`
	NotAfter  *time.Time `json:"notAfter,omitempty"`
	// Policy, Approvals, Outcome and Message are what status says.
	Policy    *v1alpha1.PolicyReference `json:"policy,omitempty"`
	Approvals []v1alpha1.Approval       `json:"approvals,omitempty"`
	Outcome   string                    `json:"outcome,omitempty"`
	Message   string                    `json:"message,omitempty"`
}

// Decision is one person's word.
type Decision struct {
	Name     string             `json:"name"`
	UID      types.UID          `json:"uid"`
	Verdict  v1alpha1.Verdict   `json:"verdict"`
	Reviewer *v1alpha1.Identity `json:"reviewer,omitempty"`
	Comment  string             `json:"comment,omitempty"`
}

// Grant is access that was given.
type Grant struct {
	// Binding is the RoleBinding, which the audit log of the API server names with each call
	// that it allowed.
	Binding   string     `json:"binding"`
	GrantedAt time.Time  `json:"grantedAt"`
	ExpiresAt time.Time  `json:"expiresAt"`
	EndedAt   *time.Time `json:"endedAt,omitempty"`
	EndReason string     `json:"endReason,omitempty"`
	EndedBy   string     `json:"endedBy,omitempty"`
	// RoleUID and RoleDigest say which role it was. RoleRules, of Granted alone, say what it
	// allowed; they are null where the request has none, since they were too many.
	RoleUID    types.UID `json:"roleUID,omitempty"`
	RoleDigest string    `json:"roleDigest,omitempty"`
	RoleRules  *Rules    `json:"roleRules,omitempty"`
	// RoleChange is how the role differs from that.
	RoleChange string `json:"roleChange,omitempty"`
}

// Rules are those of a role. To unpack them takes a while, so it is done when they are written.
type Rules struct {
	packed   *v1alpha1.GrantedRole
	unpacked []rbacv1.PolicyRule
}

// All of them.
func (r *Rules) All() []rbacv1.PolicyRule {
	if r.packed != nil {
		r.unpacked, _ = policy.GrantedRules(r.packed)
		r.packed = nil
	}
	return r.unpacked
}

// MarshalJSON writes them.
func (r *Rules) MarshalJSON() ([]byte, error) { return json.Marshal(r.All()) }

// UnmarshalJSON reads them.
func (r *Rules) UnmarshalJSON(data []byte) error { return json.Unmarshal(data, &r.unpacked) }

// Began is how a writer introduces himself.
type Began struct {
	Version string `json:"version"`
	// Predecessor is the last that is known of who wrote before, nil if nothing is.
	Predecessor *Head `json:"predecessor,omitempty"`
}

// Redacted is without what people wrote, which may name what must not leave the cluster.
func (r Record) Redacted() Record {
	if asked := r.Data.Request; asked != nil {
		without := *asked
		without.Reason, without.Message = "", ""
		r.Data.Request = &without
	}
	if decision := r.Data.Decision; decision != nil {
		without := *decision
		without.Comment = ""
		r.Data.Decision = &without
	}
	return r
}

// Withheld are forms of the record for a receiver that refuses it, with the reason: one without
// what people wrote, and one that says nothing but what happened to which request.
func (r Record) Withheld(why string) []Record {
	redacted, bare := r.Redacted(), r
	redacted.Data.Withheld, bare.Data = why, Data{Withheld: why}
	return []Record{redacted, bare}
}
