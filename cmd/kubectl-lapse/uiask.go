// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
	"github.com/lapse-dev/lapse/internal/text"
)

// whileTyped is what the script asks while somebody types: the answer in the form, and no more. What
// else may be asked for takes a look at each role, and does not change by it.
const whileTyped = "typed"

// askView is what may be asked for, and the form that asks. A form that was sent here is checked.
func askView(ctx context.Context, v *visit) (title string, main []ui.Part, err error) {
	said, there := notice{}, url.Values(nil)
	switch {
	case v.r.Method != http.MethodPost:
	case v.r.PostForm.Get("do") == "ask":
		said, there = v.sendIt(ctx)
	case v.r.PostForm.Get("do") == "try":
		said, _ = v.sendIt(ctx, metav1.DryRunAll)
	default:
		said = v.check(ctx)
	}
	if there != nil {
		return "", nil, &elsewhere{target{storyAt, there}, said}
	}
	main = []ui.Part{v.askForm(said)}
	if v.r.PostForm.Get("do") != whileTyped {
		main = append(main, ui.El("h2", ui.Text("What may be asked for in "), ui.Said(v.namespace())), v.offered(ctx))
	}
	return "Ask", main, nil
}

// askForm has the form, with what was filled in, and what is to be said of that. The first button is
// what the key Enter presses.
func (v *visit) askForm(said notice) ui.Part {
	given := func(name string) string { return v.r.Form.Get(name) }
	answer := ui.All()
	if said.text != "" {
		answer = noteOf(said)
	}
	return ui.El("form", ui.Attr("id", "ask"), ui.Attr("method", "post"), ui.Attr("action", askAt), v.site.gate.Form(),
		textField("role", "Role: NAME, or role/NAME", "ask", given("role"), ui.Attr("required", "")),
		textField("namespace", "Namespace", "ask", v.namespace(), ui.Attr("required", "")),
		textField("for", "For how long, such as 1h30m", "ask", cmp.Or(given("for"), "1h"), ui.Attr("required", "")),
		ui.El("div", ui.Class("wide"),
			textField("reason", "Why: whoever approves reads it", "ask", given("reason"), ui.Attr("required", ""), ui.Attr("maxlength", maxComment))),
		ui.El("details", ui.If(given("subject")+given("not-before")+given("not-after")+given("policy") != "", ui.Attr("open", "")),
			ui.El("summary", ui.Text("More")), ui.El("div",
				textField("subject", "Who gets it, if not you: user:NAME, group:NAME or sa:NAMESPACE/NAME", "ask", given("subject")),
				textField("not-before", "Not before: a time, or 2h from now", "ask", given("not-before")),
				textField("not-after", "Not after: a time, or 2h from now", "ask", given("not-after")),
				textField("policy", "The only policy that may allow it", "ask", given("policy")),
			)),
		ui.El("div", ui.Attr("id", "answer"), ui.Class("wide"), ui.Attr("aria-live", "polite"), answer),
		button("", "do", "ask", "Ask", ""),
		button("plain", "do", "try", "Try, and store nothing", ""),
		button("plain", "do", "check", "Check", ""),
	)
}

// request is what the form says, as the flags of the verb request.
func (v *visit) request() (*requestOptions, error) {
	form := v.r.PostForm
	lasting, err := time.ParseDuration(strings.TrimSpace(form.Get("for")))
	if err != nil {
		return nil, fmt.Errorf("how long: %q is no duration; write such as 1h30m, 10s to 24h", form.Get("for"))
	}
	return &requestOptions{
		plugin: v.plugin, output: newOutput("created"), role: strings.TrimSpace(form.Get("role")), reason: form.Get("reason"), lasting: lasting,
		subject: form.Get("subject"), notBefore: form.Get("not-before"), notAfter: form.Get("not-after"), policyName: form.Get("policy"), dryRun: "none",
	}, nil
}

// check says what would become of a request, as the verb can does. What is not filled in yet is
// not held against it.
func (v *visit) check(ctx context.Context) notice {
	given, err := v.request()
	if err != nil {
		return notice{err.Error(), true}
	}
	if given.role == "" {
		return notice{"Which role? Those that may be asked for are below.", true}
	}
	o := &canOptions{
		plugin: v.plugin, lasting: given.lasting, reason: given.reason, policyName: given.policyName, subject: given.subject,
		notBefore: given.notBefore, notAfter: given.notAfter,
	}
	req, err := o.build(given.role, v.me)
	if err != nil {
		return notice{err.Error(), true}
	}
	w, err := v.observe(ctx, v.site.c, req.Namespace)
	if err != nil {
		return notice{"What would become of it cannot be told: " + explainedBy(v.plugin, err), true}
	}
	d, objection, err := w.outlook(ctx, v.site.c, v.clock.now(), req)
	if err != nil {
		return notice{explainedBy(v.plugin, err), true}
	}
	answer, allowed := answerText(req, d, objection)
	w.sayUnknown(v.plugin)
	return notice{answer + "\n" + v.heard.String(), !allowed}
}

// sendIt creates the request, or has the API server try that; what becomes of it is said then.
func (v *visit) sendIt(ctx context.Context, dryRun ...string) (said notice, there url.Values) {
	o, err := v.request()
	if err != nil {
		return notice{err.Error(), true}, nil
	}
	if err := o.complete(nil); err != nil {
		return notice{err.Error(), true}, nil
	}
	req, err := o.build()
	if err != nil {
		return notice{err.Error(), true}, nil
	}
	if err := ask(ctx, v.site.c, req, dryRun...); err != nil {
		return notice{"Nothing was asked for: " + explainedBy(v.plugin, err), true}, nil
	}
	if len(dryRun) == 0 {
		return notice{"It is asked for.", false}, addressOf(req)
	}
	no, err := v.foretell(ctx, v.site.c, req)
	if err != nil {
		return notice{explainedBy(v.plugin, err), true}, nil
	}
	return notice{"The API server would take it. What would become of it: " + v.heard.String(), no}, nil
}

// offered is what policies offer to who looks.
func (v *visit) offered(ctx context.Context) ui.Part {
	o := &canOptions{plugin: v.plugin}
	req, err := o.build("any", v.me)
	if err != nil {
		return noteOf(notice{err.Error(), true})
	}
	w, err := v.observe(ctx, v.site.c, req.Namespace)
	if err != nil {
		return noteOf(notice{"This cannot be told: " + explainedBy(v.plugin, err), true})
	}
	all, err := w.offers(v.clock.now(), req)
	switch {
	case err != nil:
		return noteOf(notice{explainedBy(v.plugin, err), true})
	case len(all) == 0:
		return ui.El("p", ui.Class("soft"), ui.Text("No policy offers you a role here."))
	}
	var rows []ui.Part
	for _, offer := range all[:min(len(all), perPage)] {
		query := url.Values{"role": {offer.role}, "namespace": {req.Namespace}}
		rows = append(rows, ui.El("tr", ui.El("td", ui.Link(askAt, query, ui.Said(offer.role))), ui.El("td", ui.Text(text.Duration(offer.longest))),
			ui.El("td", ui.Said(offer.policy)), ui.El("td", ui.Said(offer.needs))))
	}
	head := ui.El("tr", th("Role"), th("Up to"), th("Policy"), th("Needs"))
	more := ui.If(len(all) > perPage, ui.El("p", ui.Text(fmt.Sprintf("And %d more: kubectl lapse can lists them all.", len(all)-perPage))))
	return ui.All(ui.El("div", ui.Class("scroll"), ui.El("table", ui.El("thead", head), ui.El("tbody", rows...))), more)
}

func th(title string) ui.Part { return ui.El("th", ui.Attr("scope", "col"), ui.Text(title)) }
