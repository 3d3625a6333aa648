// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package message

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	words "github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/hostile"
)

// base of links. Nobody else's address may be in a message.
const base = "https://lapse.example.com/look"

// moreHostile is what chats and mail act upon.
var moreHostile = []string{
	"<!channel> <!here> <@U024BE7LH> <#C1> <https://evil.example|approve>", "&lt;!channel&gt;", "@channel @here",
	"[approve](https://evil.example)",
	"<at>everyone</at>", strings.Repeat("<", 1024),
	"**bold** _x_ ~y~ `z`", "# title", "{{ .CommonLabels }}", "x\r\nBcc: all@example.com", "x\r\n.\r\nMAIL FROM:<a@b>", "${jndi:ldap://evil}",
	"approve fix-1; rm -rf /", ":rotating_light:", "|||", "- [ ] task",
}

// hostileViews are of a request in which all that people write is one string.
func hostileViews(s string) (out []View) {
	for range 3 {
		v := asked()
		req := v.req()
		req.Spec.Reason, req.Spec.RoleRef.Name, req.Spec.Subject.Name, req.Spec.Requester.Username = s, s, s, s
		v.decide(v1alpha1.VerdictDeny, s, time.Second, "leads")
		v.Decisions[0].Spec.Comment, v.Decisions[0].Name, v.Decisions[0].UID = s, s, "uid-d"
		v.Policy.Status.Risks = []string{s}
		out = append(out, v)
	}
	out[0].Now = start.Add(40 * time.Minute)
	out[1].finish(v1alpha1.StateDenied, v1alpha1.ReasonDenied, time.Second)
	out[1].req().Status.Conditions[0].Message = s
	if len(validation.IsDNS1123Label(s)) > 0 { // Kubernetes has no such names; we do not rely on it
		out[1].req().Name, out[1].req().Namespace = s, s
	}
	out[2].grant(0, time.Hour)
	out[2].end(v1alpha1.ReasonRevoked, s, time.Minute)
	return out
}

// hostileMessages are all messages of all of them, by the string.
func hostileMessages(t *testing.T, check func(s string, m Message)) {
	t.Helper()
	n := 0
	for _, s := range append(hostile.Strings(t), moreHostile...) {
		s = s[:min(len(s), 2<<10)] // twice what the schema lets in, and perhaps a half of a character
		for _, v := range hostileViews(s) {
			out, _ := Of(v, Options{EndsIn: 10 * time.Minute, Alerts: strings.HasSuffix(t.Name(), "Alerts"), Base: base})
			for _, m := range out {
				check(s, m)
				n++
			}
		}
	}
	if n < 1000 {
		t.Errorf("only %d messages were checked", n)
	}
}

// parsed JSON, and all strings in it with the key under which they are. No terminal may act upon it.
func parsed(t *testing.T, body []byte, err error, into any) (texts map[string][]string) {
	t.Helper()
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	var tree any
	if err != nil || json.Unmarshal(body, &tree) != nil {
		t.Fatalf("%v: %.300q", err, body)
	}
	if got := string(body); got != words.Printable(got, "") {
		t.Errorf("a terminal would act on %.300q", got)
	}
	texts = map[string][]string{}
	var walk func(string, any)
	walk = func(key string, node any) {
		switch node := node.(type) {
		case string:
			texts[key] = append(texts[key], node)
		case []any:
			for _, child := range node {
				walk(key, child)
			}
		case map[string]any:
			for name, child := range node {
				walk(name, child)
			}
		}
	}
	walk("", tree)
	return texts
}

// ours fails for an address that is not below the base.
func ours(t *testing.T, s, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil || address != base+"/payments/fix-1" || u.Host != "lapse.example.com" {
		t.Errorf("%.60q made the address %q", s, address)
	}
}

// plain fails unless a text is one line that can be seen.
func plain(t *testing.T, s, got string) {
	t.Helper()
	if got != words.Printable(got, "") || len(got) > maxValue {
		t.Errorf("%.60q is told as %.200q", s, got)
	}
}

func TestHostileStringsAreInertInWhatAllTypesAreMadeOf(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		for _, f := range m.Facts {
			plain(t, s, f.Value)
		}
		if m.Command != "" && m.Command != "kubectl lapse approve fix-1 -n payments" && m.Command != "kubectl lapse why fix-1 -n payments" {
			t.Errorf("%.60q made the command %q", s, m.Command)
		}
		if m.Link != "" {
			ours(t, s, m.Link)
		}
		if m.ID != words.Printable(m.ID, "") || !strings.HasPrefix(m.ID, "uid-") ||
			strings.Contains(strings.TrimPrefix(m.ID, "uid-"), s) && len(s) > 7 {
			t.Errorf("%.60q made the ID %q", s, m.ID)
		}
		for _, less := range m.Less(s)[1:] {
			if less.Facts != nil {
				t.Errorf("%.60q: %v", s, less.Facts)
			}
		}
	})
}

func TestHostileStringsAreInertInSlack(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		var got slackMessage
		body, err := m.Slack()
		parsed(t, body, err, &got)
		var fields []slackText
		for _, block := range got.Blocks {
			fields = append(fields, block.Fields...)
			if block.Text != nil && block.Text.Type == "mrkdwn" {
				want := "`" + m.Command + "`\n<" + base + "/payments/fix-1|Look at it>"
				if block.Text.Text != want || !block.Text.Verbatim {
					t.Errorf("%.60q made the markup %q", s, block.Text.Text)
				}
			}
		}
		plainInSlack(t, s, fields, m.Facts)
		if strings.ContainsAny(got.Text, "<>@") || got.UnfurlLinks || got.UnfurlMedia || got.LinkNames {
			t.Errorf("%.60q: %+v", s, got)
		}
	})
}

// plainInSlack fails unless the fields are the facts, of which Slack makes nothing.
func plainInSlack(t *testing.T, s string, fields []slackText, facts []Fact) {
	t.Helper()
	if len(fields) != len(facts) {
		t.Fatalf("%.60q: %d of %d facts", s, len(fields), len(facts))
	}
	for i, field := range fields {
		want := slackEscapes.Replace(facts[i].Label + "\n" + facts[i].Value)
		if field.Text != want && len(want) <= slackFieldSize || len(field.Text) > slackFieldSize {
			t.Errorf("%.60q is told as %.200q, want %.200q", s, field.Text, want)
		}
		if field.Type != "plain_text" || *field.Emoji || strings.ContainsAny(field.Text, "<>") {
			t.Errorf("%.60q: Slack would act on %.200q", s, field.Text)
		}
	}
}

func TestHostileStringsAreInertInTeams(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		var got teamsMessage
		body, err := m.Teams()
		texts := parsed(t, body, err, &got)
		for _, block := range got.Attachments[0].Content.Body {
			if block.Type != "RichTextBlock" || slices.ContainsFunc(block.Inlines, func(r teamsRun) bool { return r.Type != "TextRun" }) {
				t.Errorf("%.60q: Teams would read Markdown in %+v", s, block)
			}
		}
		for _, address := range texts["url"] {
			ours(t, s, address)
		}
		for _, key := range []string{"entities", "text/html", "selectAction"} {
			if texts[key] != nil {
				t.Errorf("%.60q made %s %q", s, key, texts[key])
			}
		}
		if types := texts["type"]; slices.ContainsFunc(types, func(is string) bool {
			return !slices.Contains([]string{"message", "AdaptiveCard", "RichTextBlock", "TextRun", "Action.OpenUrl"}, is)
		}) {
			t.Errorf("%.60q made %q", s, types)
		}
	})
}

func TestHostileStringsAreInertInAlerts(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		if !slices.Contains(Alertable(), m.Event) {
			return
		}
		var got []alert
		body, err := m.Alert()
		parsed(t, body, err, &got)
		for label, value := range got[0].Labels {
			if value == s && len(s) > 0 || value != words.Printable(value, "") {
				t.Errorf("%.60q is label %s", s, label)
			}
		}
		if said := got[0].Annotations["description"]; strings.ContainsAny(said, "<>&*`[]|@{}") || strings.Contains(said, "Why:") {
			t.Errorf("%.60q is told as %.200q", s, said)
		}
		if got[0].GeneratorURL != "" {
			ours(t, s, got[0].GeneratorURL)
		}
	})
}

func TestHostileStringsAreInertInMail(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		subject := m.Subject()
		if !strings.HasPrefix(subject, "[Lapse] ") || len(subject) > 150 || subject != words.Printable(subject, "") {
			t.Errorf("%.60q made the subject %q", s, subject)
		}
		lines := strings.Split(strings.TrimSuffix(m.Body(), "\n"), "\n")
		for i, f := range m.Facts {
			if lines[i] != f.Label+": "+f.Value {
				t.Errorf("%.60q forged the line %.200q", s, lines[i])
			}
		}
	})
}

func TestHostileStringsAreInertInCloudEvents(t *testing.T) {
	hostileMessages(t, func(s string, m Message) {
		var got cloudEvent
		body, err := m.CloudEvent()
		texts := parsed(t, body, err, &got)
		if want := string([]rune(s)); got.Data.Request.Reason != want {
			t.Errorf("%.60q came back as %.60q", want, got.Data.Request.Reason)
		}
		for _, address := range texts["link"] {
			ours(t, s, address)
		}
	})
}
