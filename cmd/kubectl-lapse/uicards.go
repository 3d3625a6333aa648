// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// card is a request in a list, with what can be done about it.
func (v *visit) card(t table, req *v1alpha1.AccessRequest, more ...ui.Part) ui.Part {
	facts := []fact{
		{"Why", req.Spec.Reason},
		{"State", stateText(req)},
		{"How long", howLong(req)},
		{endsTitle(req), endsText(t, req)},
		approvalOf(t, req),
	}
	if by := requesterOf(req); by != grantee(req) {
		facts = append(facts, fact{"Asked by", by})
	}
	if ref := req.Status.Policy; ref != nil {
		facts = append(facts, fact{"Policy", ref.Name})
	}
	return ui.El("li", ui.Class("card"),
		ui.El("h2", ui.Link(storyAt, addressOf(req), ui.Attr("id", "of-"+string(req.UID)), ui.Said(fullName(req))),
			ui.Text(": "), ui.Said(policy.RoleArgument(req.Spec.RoleRef)), ui.Text(" for "), ui.Said(grantee(req))),
		timeLeft(t, req), factList(facts), ui.All(more...))
}

// fullName is what messages call a request.
func fullName(req *v1alpha1.AccessRequest) string { return req.Namespace + "/" + req.Name }

// titleText is what the title of a card says, on one line: nobody adds one to what came of something. Of a
// request that is gone no more is known than its name.
func titleText(req *v1alpha1.AccessRequest) string {
	if req.UID == "" {
		return fullName(req)
	}
	return text.Line(fmt.Sprintf("%s: %s for %s", fullName(req), policy.RoleArgument(req.Spec.RoleRef), grantee(req)))
}

// approvalOf says whom a request waits for, as messages do; later how many approved it. Its policy and the
// time are next to it.
func approvalOf(t table, req *v1alpha1.AccessRequest) fact {
	if !pending(req) || !awaited(req) {
		return fact{"Approvals", t.votes(req)}
	}
	said := messageOf(req)
	if p := t.policyOf(req); p != nil {
		said = strings.TrimSuffix(said, fmt.Sprintf(" (policy %s), until %s", p.Name, text.Time(approveBy(req, p))))
	}
	return fact{"Approval", said}
}

// howLong is what was asked for, until access is held: then it says when that ends.
func howLong(req *v1alpha1.AccessRequest) string {
	var said []string
	if req.Status.Grant == nil && req.Spec.Duration != nil {
		said = append(said, text.Duration(req.Spec.Duration.Duration))
	}
	if end := req.Spec.NotAfter; req.Status.Grant == nil && end != nil {
		said = append(said, "not after "+text.Time(end.Time))
	}
	return strings.Join(said, ", ")
}

func factList(facts []fact) ui.Part {
	var out []ui.Part
	for _, f := range facts {
		if f.value != "" {
			out = append(out, ui.El("div", ui.El("dt", ui.Text(f.name)), ui.El("dd", ui.Said(f.value))))
		}
	}
	return ui.El("dl", out...)
}

// endsTitle says what the moment is that endsText tells.
func endsTitle(req *v1alpha1.AccessRequest) string {
	switch {
	case req.Status.Grant != nil && req.Status.Grant.EndedAt != nil:
		return "Ended"
	case req.Status.State == v1alpha1.StatePending:
		return "Waits until"
	case req.Status.State == v1alpha1.StateScheduled:
		return "Starts"
	default:
		return "Ends"
	}
}

// endsText is table.ends, and what the clock says then of what waits for approval: the message about it
// says that, too.
func endsText(t table, req *v1alpha1.AccessRequest) string {
	p := t.policyOf(req)
	if p == nil || req.Status.State != v1alpha1.StatePending {
		return t.ends(req)
	}
	end, layout := givesUp(req, p), "15:04 UTC"
	if end.Sub(t.now).Abs() >= 24*time.Hour {
		layout = "2006-01-02 15:04 UTC"
	}
	return end.UTC().Format(layout) + " (" + t.ends(req) + ")"
}

// addressOf names a request in an address.
func addressOf(req *v1alpha1.AccessRequest) url.Values {
	return url.Values{"namespace": {req.Namespace}, "name": {req.Name}}
}

// timeLeft is a bar of the time for which access is held.
func timeLeft(t table, req *v1alpha1.AccessRequest) ui.Part {
	g := req.Status.Grant
	if g == nil || req.Status.State != v1alpha1.StateActive {
		return ui.All()
	}
	whole, left := g.ExpiresAt.Sub(g.GrantedAt.Time), max(g.ExpiresAt.Sub(t.now), 0)
	return ui.El("meter", ui.Attr("min", "0"), ui.Attr("max", fmt.Sprintf("%.0f", max(whole.Seconds(), 1))), ui.Attr("value", fmt.Sprintf("%.0f", left.Seconds())),
		ui.Attr("aria-label", "Time left of "+text.Duration(whole)), ui.Attr("aria-valuetext", t.ends(req)))
}

// cards are requests in a list; what there is none of is said.
func cards(none string, all []ui.Part) ui.Part {
	if len(all) == 0 {
		return ui.El("p", ui.Class("soft"), ui.Text(none))
	}
	return ui.El("ul", ui.Class("cards"), ui.All(all...))
}

// form is one about a request, which it names as it is shown: the same that is decided on.
func (v *visit) form(action, back string, req *v1alpha1.AccessRequest, parts ...ui.Part) ui.Part {
	return ui.El("form", ui.Attr("method", "post"), ui.Attr("action", action), v.site.gate.Form(),
		ui.Hidden("namespace", req.Namespace), ui.Hidden("name", req.Name), ui.Hidden("uid", string(req.UID)),
		ui.Hidden("shown", asShown(req)), ui.Hidden("back", back), ui.All(parts...))
}

// asShown is what of a request its reader goes by: should it differ when he decides, he is asked
// to look again. What was asked for never changes.
func asShown(req *v1alpha1.AccessRequest) string {
	shown := string(req.Status.State)
	if ref := req.Status.Policy; ref != nil {
		shown += fmt.Sprintf(" %s %s %d", ref.Name, ref.UID, ref.Generation)
	}
	return shown
}

// risksAsShown stands for the risks of a policy, all that its status has. nil is for a policy that
// its reader could not see.
func risksAsShown(p *v1alpha1.AccessPolicy) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%q", p.Status.Risks)))
}

// textField is a line of text to fill in. what it is about makes its id one of a kind.
func textField(name, label, what, value string, more ...ui.Part) ui.Part {
	id := strings.Join([]string{name, what}, "-")
	return ui.El("label", ui.Attr("for", id), ui.Text(label),
		ui.El("input", ui.Attr("id", id), ui.Attr("name", name), ui.Attr("value", value), ui.Attr("autocomplete", "off"), ui.All(more...)))
}

// button says what it does, and for those who hear it alone more of what it does it to.
func button(kind, name, value, label, to string) ui.Part {
	return ui.El("button", ui.If(kind != "", ui.Class(kind)), ui.If(name != "", ui.Attr("name", name), ui.Attr("value", value)),
		ui.If(to != "", ui.Attr("aria-label", label+" "+to)), ui.Said(label))
}

// whichText is a request in few words.
func whichText(req *v1alpha1.AccessRequest) string { return req.Name + " for " + grantee(req) }

// aboutText is what follows them for who hears the name of a button.
func aboutText(req *v1alpha1.AccessRequest) string {
	return fmt.Sprintf("as %s in %s", policy.RoleArgument(req.Spec.RoleRef), req.Namespace)
}

// maxComment is as long as the schema lets a comment be.
const maxComment = "1024"

// decideForm is for who may say yes or no. The key Enter presses the first button of a form, and
// must not approve what somebody comments on in order to deny it: so the first one is dead.
func (v *visit) decideForm(back string, req *v1alpha1.AccessRequest, p *v1alpha1.AccessPolicy, verdicts ...v1alpha1.Verdict) ui.Part {
	buttons := append(make([]ui.Part, 0, 1+len(verdicts)), ui.El("button", ui.Attr("disabled", ""), ui.Attr("hidden", "")))
	for _, verdict := range verdicts {
		kind, label, to := "bad", string(verdict), whichText(req)+" "+aboutText(req)
		if verdict == v1alpha1.VerdictApprove { // one of many in a row that look alike
			kind, label, to = "", label+" "+whichText(req), aboutText(req)
		}
		buttons = append(buttons, button(kind, "verdict", string(verdict), label, to))
	}
	return v.form("decide", back, req, ui.Hidden("risks", risksAsShown(p)),
		textField("comment", "Comment, if you like", string(req.UID), "", ui.Attr("maxlength", maxComment)), ui.All(buttons...))
}

// revokeForm takes access away, which needs a reason.
func (v *visit) revokeForm(back string, req *v1alpha1.AccessRequest) ui.Part {
	return v.form("decide", back, req,
		textField("comment", "Why, for who loses it", string(req.UID), "", ui.Attr("maxlength", maxComment), ui.Attr("required", "")),
		button("bad", "verdict", string(v1alpha1.VerdictRevoke), "Revoke", whichText(req)+" "+aboutText(req)))
}

// returnForm gives back what is one's own.
func (v *visit) returnForm(back string, req *v1alpha1.AccessRequest) ui.Part {
	label := "Give back"
	if req.Status.State != v1alpha1.StateActive {
		label = "Withdraw"
	}
	return v.form("return", back, req, button("plain", "", "", label, whichText(req)+" "+aboutText(req)))
}
