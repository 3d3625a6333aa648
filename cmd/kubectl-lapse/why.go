// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/grant"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

func (p *plugin) whyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "why NAME",
		Short: "Tell the whole story of a request: who asked, who decided, what came of it",
		Long: `Tell the story of a request: who asked for what and why, how policies judged it, who
decided, when access began, and when, how and by whom it ended.`,
		Example:           "  kubectl lapse why edit-x7k2p -n payments",
		Args:              oneName,
		ValidArgsFunction: p.completeRequests(nil),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.why(cmd.Context(), requestName(args[0]))
		},
	}
}

func (p *plugin) why(ctx context.Context, name string) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	req, err := p.find(ctx, c, name)
	if err != nil {
		return err
	}
	s, err := p.storyOf(ctx, c, req)
	if err != nil {
		return err
	}
	return s.print(p.Out)
}

// storyOf reads what there is to tell of a request. What may not be read is a part of it.
func (p *plugin) storyOf(ctx context.Context, c *cluster, req *v1alpha1.AccessRequest) (s *story, err error) {
	s = &story{now: p.clock.now(), req: req}
	s.decisions, err = decisionsOn(ctx, c, req)
	if apierrors.IsForbidden(err) {
		s.unread = append(s.unread, "who decided what: "+p.explain(err))
	} else if err != nil {
		return nil, err
	}
	if ref := req.Status.Policy; ref != nil {
		s.policy = &v1alpha1.AccessPolicy{}
		if err := c.get(ctx, "", ref.Name, s.policy); err != nil {
			s.policy = nil
			s.unread = append(s.unread, "policy "+ref.Name+": "+p.explain(err))
		}
	}
	return s, nil
}

// story is what there is to tell of a request.
type story struct {
	now       time.Time
	req       *v1alpha1.AccessRequest
	decisions []v1alpha1.AccessDecision
	policy    *v1alpha1.AccessPolicy // nil if there is none, or it could not be read
	unread    []string
}

func (s *story) print(w io.Writer) error {
	_, err := io.WriteString(w, s.tell(newScreen(w).width()))
	return err
}

// tell it in the order in which it happened, to a number of columns; 0 is any number.
func (s *story) tell(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s in namespace %s: %s\n", text.Line(s.req.Name), text.Line(s.req.Namespace), text.Line(stateText(s.req)))
	for _, chapter := range append(s.chapters(), chapter{"next", s.next()}, chapter{"not read", s.unread}) {
		for i, line := range chapter.lines {
			title := chapter.title
			if i > 0 {
				title = ""
			}
			paragraph(&b, margin, title, line, width)
		}
	}
	return b.String()
}

// chapter is a part of a story.
type chapter struct {
	title string
	lines []string
}

// chapters are what happened, in that order; what did not has no lines.
func (s *story) chapters() []chapter {
	return []chapter{
		{"asked", s.asked()},
		{"judged", s.judged()},
		{"risks", s.risks()},
		{"decided", s.decided()},
		{"granted", s.granted()},
		{"ended", s.ended()},
	}
}

// margin is where texts begin. Titles stand before it, and what users wrote never does.
const margin = 10

// paragraph writes a line with its title before the margin, and what does not fit, or follows
// a line break, below it and further in: YAML can be applied as it stands, and nobody's words
// look like a line of ours.
func paragraph(b *strings.Builder, margin int, title, line string, width int) {
	for i, part := range strings.Split(strings.TrimSpace(line), "\n") {
		indent := margin
		if i > 0 {
			indent, part = margin+2, text.Printable(part, "")
		} else {
			part = text.Line(part)
		}
		own := len(part) - len(strings.TrimLeft(part, " ")) // of YAML, say
		for j, piece := range wrap(part, width-indent-own-2) {
			if j == 1 {
				indent += own + 2
			}
			fmt.Fprintf(b, "%-*s%s\n", indent, title, piece)
			title = ""
		}
	}
}

func (s *story) asked() []string {
	spec := &s.req.Spec
	lasting := "as long as the policy says"
	if spec.Duration != nil {
		lasting = text.Duration(spec.Duration.Duration)
	}
	lines := []string{
		at(s.now, s.req.CreationTimestamp) + " by " + requesterOf(s.req),
		fmt.Sprintf("%s %s for %s, for %s", spec.RoleRef.Kind, spec.RoleRef.Name, grantee(s.req), lasting),
	}
	if spec.NotBefore != nil {
		lines = append(lines, "not before "+at(s.now, *spec.NotBefore))
	}
	if spec.NotAfter != nil {
		lines = append(lines, "not after "+at(s.now, *spec.NotAfter))
	}
	if spec.PolicyName != "" {
		lines = append(lines, "under policy "+spec.PolicyName+" and no other")
	}
	return append(lines, "reason: "+spec.Reason)
}

func (s *story) judged() []string {
	if s.req.Status.State == "" {
		return []string{"not yet: the operator has not looked at it"}
	}
	if ref := s.req.Status.Policy; ref != nil {
		line := "by policy " + ref.Name
		if s.policy != nil && len(s.policy.Spec.Approvals) == 0 {
			line += ", which asks for no approval"
		} else if s.policy != nil {
			line += ", which asks for " + rulesText(s.policy.Spec.Approvals)
		}
		if s.policy != nil && !s.judgedBy() {
			line += "; it has changed since"
		}
		return []string{line}
	}
	return []string{messageOf(s.req)}
}

// maxRisks is how many lines of a story are about risks. The worst come first.
const maxRisks = 8

// risks are shown while somebody may have to decide.
func (s *story) risks() []string {
	if s.policy == nil || s.req.Status.State.Final() {
		return nil
	}
	all := s.policy.Status.Risks
	if len(all) <= maxRisks {
		return all
	}
	more := fmt.Sprintf("and %d more lines: kubectl get accesspolicy %s -o jsonpath='{.status.risks}'", len(all)-maxRisks+1, s.policy.Name)
	return append(slices.Clone(all[:maxRisks-1]), more)
}

func (s *story) decided() (lines []string) {
	slices.SortStableFunc(s.decisions, func(a, b v1alpha1.AccessDecision) int {
		// Within one second, in which nobody can tell, Approve is before Deny and Revoke.
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Spec.Verdict, b.Spec.Verdict), cmp.Compare(a.Name, b.Name))
	})
	listed := map[string]bool{}
	for i := range s.decisions {
		d := &s.decisions[i]
		listed[d.Name] = true
		line := fmt.Sprintf("%s %s by %s", at(s.now, d.CreationTimestamp), d.Spec.Verdict, d.Spec.Reviewer.Username)
		switch why := s.uncounted(d); {
		case why != "":
			line += " (did not count: " + why + ")"
		case d.Spec.Verdict != v1alpha1.VerdictApprove || s.counted(d.Name):
		case pending(s.req):
			line += " (not counted yet)"
		default:
			line += " (did not count)"
		}
		if d.Spec.Comment != "" {
			line += ": " + d.Spec.Comment
		}
		lines = append(lines, line)
	}
	for _, a := range s.req.Status.Approvals {
		if !listed[a.Decision] {
			lines = append(lines, fmt.Sprintf("%s Approve by %s (the decision is not there any more)", at(s.now, a.Time), a.Reviewer))
		}
	}
	return lines
}

// uncounted is why a decision changes nothing, as the operator says it in an Event; empty if it
// counts, or if that cannot be told.
func (s *story) uncounted(d *v1alpha1.AccessDecision) string {
	counting := grant.Counting{Decisions: s.decisions, MayEnd: func(who *v1alpha1.Identity) (bool, error) {
		// Without approvals whoever may delete the request may end it, too, which is not asked here.
		return len(s.policy.Spec.Approvals) == 0 || policy.MayEnd(&s.policy.Spec, who), nil
	}}
	if s.judgedBy() {
		counting.Policy = s.policy
	}
	why, err := counting.Uncounted(s.req, d)
	if err != nil {
		return ""
	}
	return why
}

// judgedBy says whether the policy is still what the request was judged by.
func (s *story) judgedBy() bool {
	ref := s.req.Status.Policy
	return s.policy != nil && ref != nil && s.policy.UID == ref.UID && s.policy.Generation == ref.Generation
}

func (s *story) counted(decision string) bool {
	return slices.ContainsFunc(s.req.Status.Approvals, func(a v1alpha1.Approval) bool { return a.Decision == decision })
}

func (s *story) granted() []string {
	g := s.req.Status.Grant
	if g == nil {
		return nil
	}
	end := at(s.now, g.ExpiresAt)
	if s.req.Status.State.Final() {
		end = text.Time(g.ExpiresAt.Time) // "in 42m" would read as if it were held still
	}
	return []string{
		at(s.now, g.GrantedAt) + ", until " + end,
		"as RoleBinding " + g.Binding + ", which the audit log of the API server names",
	}
}

func (s *story) ended() []string {
	if !s.req.Status.State.Final() {
		return nil
	}
	if s.req.Status.Grant == nil && s.req.Status.Policy == nil {
		return nil // the judgement says it all
	}
	line := stateText(s.req)
	if g := s.req.Status.Grant; g != nil && g.EndedAt != nil {
		line = at(s.now, *g.EndedAt) + " " + line
		if g.EndedBy != "" {
			line += " by " + g.EndedBy
		}
	} else if ready := conditionOf(s.req, v1alpha1.ConditionReady); ready != nil {
		line = at(s.now, ready.LastTransitionTime) + " " + line
	}
	return []string{line, messageOf(s.req)}
}
