// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
)

// Where the pages are.
const (
	mineAt  = "mine"
	forMeAt = "for-me"
	askAt   = "ask"
	nowAt   = "now"
	storyAt = "story"
	callsAt = "calls"
	doneAt  = "done"
)

// perPage is how many requests are on a page.
const perPage = 50

var views = []struct{ at, title string }{
	{mineAt, "Mine"}, {forMeAt, "To approve"}, {askAt, "Ask"}, {nowAt, "Now"},
}

// body is what is on each page around what it shows. v is nil if it is not known who looks.
func (s *site) body(v *visit, title string, main []ui.Part) []ui.Part {
	var who, said []ui.Part
	if s.called != "" {
		who = append(who, ui.Text(" on "), ui.Said(s.called))
	}
	links := make([]ui.Part, 0, len(views))
	for _, view := range views {
		here := v != nil && strings.HasSuffix(v.r.URL.Path, "/"+view.at)
		links = append(links, ui.El("li", ui.Link(view.at, nil, ui.If(here, ui.Attr("aria-current", "page")), ui.Text(view.title))))
	}
	if v != nil && v.me != nil {
		who = append(who, ui.Text(", as "), ui.Said(v.me.Username))
	}
	if v != nil {
		if n, there := s.noted(v.r.Form.Get("said")); there {
			said = append(said, noteOf(n, ui.Attr("tabindex", "-1"), ui.Attr("autofocus", "")))
		}
	}
	return []ui.Part{
		ui.El("a", ui.Class("skip"), ui.Attr("href", "#main"), ui.Text("Skip to what is shown")),
		ui.El("header",
			ui.El("p", ui.Text("Lapse"), ui.All(who...)),
			ui.El("nav", ui.Attr("aria-label", "Pages"), ui.El("ul", links...)),
		),
		ui.El("main", ui.Attr("id", "main"), ui.Attr("tabindex", "-1"),
			ui.El("h1", ui.Said(title)),
			ui.All(said...),
			ui.El("p", ui.Attr("id", "told"), ui.Class("soft"), ui.Attr("role", "status"), s.gate.Run()),
			ui.All(main...),
		),
	}
}

// noteOf shows what came of something, a paragraph for each line.
func noteOf(n notice, more ...ui.Part) ui.Part {
	kind, role := "note", "status"
	if n.bad {
		kind, role = "note bad", "alert"
	}
	return ui.El("div", ui.Class(kind), ui.Attr("role", role), ui.All(more...), paragraphs(n.text))
}

func paragraphs(lines string) ui.Part {
	var out []ui.Part
	for line := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		out = append(out, ui.El("p", ui.Said(line)))
	}
	return ui.All(out...)
}

// liveList is what the script keeps up to date.
func (v *visit) liveList(revision int, trouble error, parts ...ui.Part) ui.Part {
	if trouble != nil {
		parts = append([]ui.Part{noteOf(notice{"What is shown may be old: " + explainedBy(v.plugin, trouble), true})}, parts...)
	}
	return ui.El("section", ui.Attr("id", "live"), ui.Attr("data-revision", strconv.Itoa(revision)), ui.Attr("aria-label", "Requests"), ui.All(parts...))
}

// pageOf is a part of a list of that length: from one to another, and what leads to the others.
func (v *visit) pageOf(path string, length int) (from, to int, links ui.Part) {
	pages := max((length+perPage-1)/perPage, 1)
	number, err := strconv.Atoi(cmp.Or(v.r.Form.Get("page"), "1"))
	if err != nil || number < 1 || number > pages {
		number = 1
	}
	from, to = (number-1)*perPage, min(number*perPage, length)
	if pages == 1 {
		return from, to, ui.All()
	}
	other := func(n int, words string) ui.Part {
		query := url.Values{"page": {strconv.Itoa(n)}}
		for _, filter := range filters {
			if set := v.r.Form.Get(filter.name); set != "" {
				query.Set(filter.name, set)
			}
		}
		return ui.All(ui.Text(" "), ui.Link(path, query, ui.Attr("id", "page-"+strings.ToLower(words)), ui.Text(words)))
	}
	return from, to, ui.El("nav", ui.Attr("aria-label", "More"),
		ui.El("p", ui.Text(fmt.Sprintf("%d to %d of %d", from+1, to, length)),
			ui.If(number > 1, other(number-1, "Earlier")), ui.If(number < pages, other(number+1, "Later"))))
}
