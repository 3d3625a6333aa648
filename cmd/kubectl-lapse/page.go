// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

// pageHead begins a page that loads nothing and runs nothing, whatever is in it.
const pageHead = `<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<title>Access report</title>
<style>
:root { color-scheme: light dark; --held: #2e7d32; --other: #b26a00; --refused: #b71c1c; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
section { border-top: 1px solid #8888; padding: .5rem 0 1.5rem; break-inside: avoid; }
h2 { font-size: 1.1rem; margin: .5rem 0; } h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
dl { display: grid; grid-template-columns: 8rem 1fr; margin: 0; } dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
svg { width: 100%; height: 3.5rem; display: block; margin: .5rem 0; } svg text { font-size: 11px; fill: currentColor; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; width: 100%; }
th { white-space: nowrap; } th, td { text-align: left; padding: .15rem .75rem .15rem 0; border-bottom: 1px solid #8884; vertical-align: top; overflow-wrap: anywhere; }
.loud { color: var(--refused); font-weight: 600; }
@media print { body { max-width: none; margin: 0; } .scroll { overflow: visible; } }
</style>
<h1>Who had what, and what they did with it</h1>
`

// page writes HTML. All that comes from elsewhere goes through esc.
type page struct{ out strings.Builder }

func printPage(out io.Writer, histories []*audit.History) error {
	p := &page{}
	p.out.WriteString(pageHead)
	fmt.Fprintf(&p.out, "<p>Requests: %d. Times are in UTC.</p>\n", len(histories))
	for _, s := range histories {
		p.history(s)
	}
	p.out.WriteString("</html>\n")
	_, err := io.WriteString(out, p.out.String())
	return err
}

func esc(s string) string { return html.EscapeString(text.Line(s)) }

func (p *page) history(s *audit.History) {
	fmt.Fprintf(&p.out, "<section>\n<h2>%s</h2>\n", esc(headline(s)))
	p.timeline(s)
	p.out.WriteString("<dl>\n")
	for _, f := range factsOf(s) {
		fmt.Fprintf(&p.out, "<dt>%s</dt><dd>%s</dd>\n", esc(f.name), esc(f.value))
	}
	p.out.WriteString("</dl>\n")
	for _, class := range classesOf(s) {
		p.class(class)
	}
	p.out.WriteString("</section>\n")
}

func (p *page) class(c class) {
	if len(c.calls) == 0 {
		return
	}
	fmt.Fprintf(&p.out, "<h3>%s: %d</h3>\n<div class=scroll><table>\n<tr><th>Time<th>User<th>Call<th>Answer<th>From</tr>\n", esc(c.title), len(c.calls))
	for _, call := range c.calls {
		fmt.Fprintf(&p.out, "<tr><td>%s<td>%s<td>%s%s<td>%s<td>%s</tr>\n",
			esc(text.Time(call.At)), esc(callerText(call)), esc(callText(call)+besideText(call)), loud(call), codeText(call), esc(strings.Join(call.From, ", ")))
	}
	p.out.WriteString("</table></div>\n")
}

func loud(c *audit.Call) string {
	if !c.Outlived {
		return ""
	}
	return " <span class=loud>went on after the access had ended</span>"
}

// width of a timeline, and where its bar is, in its own units.
const (
	timelineWidth = 1000
	barTop        = 14
	barHeight     = 12
)

// timeline draws the time in which access was held, and each call in it.
func (p *page) timeline(s *audit.History) {
	if s.Grant == nil {
		return
	}
	from, until := s.Grant.GrantedAt, s.Grant.ExpiresAt
	if s.Grant.EndedAt != nil {
		until = *s.Grant.EndedAt
	}
	times := []time.Time{s.Request.AskedAt, until}
	for _, class := range classesOf(s) {
		for _, call := range class.calls {
			times = append(times, call.At)
			if call.Until != nil {
				times = append(times, *call.Until)
			}
		}
	}
	first, last := slices.MinFunc(times, time.Time.Compare), slices.MaxFunc(times, time.Time.Compare)
	at := func(t time.Time) float64 {
		return timelineWidth * float64(t.Sub(first)) / max(float64(last.Sub(first)), 1)
	}
	fmt.Fprintf(&p.out, "<svg viewBox='0 0 %d 46' preserveAspectRatio=none role=img aria-label='%s'>\n", timelineWidth, esc("access from "+text.Time(from)+" to "+text.Time(until)))
	fmt.Fprintf(&p.out, "<rect x=%.1f y=%d width=%.1f height=%d fill='var(--held)' opacity=.35 />\n", at(from), barTop, max(at(until)-at(from), 1), barHeight)
	for i, class := range classesOf(s) {
		color := []string{"held", "other", "refused"}[i]
		for _, call := range class.calls {
			end := call.At
			if call.Until != nil {
				end = *call.Until
			}
			fmt.Fprintf(&p.out, "<rect x=%.1f y=%d width=%.1f height=%d fill='var(--%s)'><title>%s</title></rect>\n",
				at(call.At), barTop-3+4*i, max(at(end)-at(call.At), 2), barHeight-2, color, esc(callLine(call)))
		}
	}
	p.out.WriteString("</svg>\n")
}
