// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lapse-dev/lapse/internal/message"
)

var start = time.Date(2026, 11, 29, 6, 0, 0, 0, time.UTC)

func env() Env { return Env{Now: func() time.Time { return start }} }

// key of a webhook, of 24 bytes.
const key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func file(t *testing.T, data string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatAFileMaySay(t *testing.T) {
	_, err := Parse([]byte(`
link: https://lapse.example.com/requests
receivers:
- {name: siem, type: webhook, url: https://siem.example.com/in, secretFile: `+file(t, key+"\n"+key)+`, events: [asked, guardBroken]}
- {name: sre, type: slack, urlFile: `+file(t, "https://hooks.slack.com/services/T/B/x\n")+`, events: [endingSoon]}
- {name: leads, type: teams, url: "https://prod.example.com/workflows/1?sig=secret", events: [asked], endsIn: null}
- {name: pager, type: alertmanager, url: "http://alertmanager.monitoring:9093", allowHTTP: true, events: [granted], policies: [break-glass]}
- {name: mails, type: mail, server: "smtp.example.com:587", from: lapse@example.com, to: [sre@example.com], events: [refused]}
`), env())
	if err == nil || !strings.Contains(err.Error(), "receivers[2].endsIn: is null") {
		t.Fatalf("null: %v", err)
	}
	receivers, err := Parse([]byte(`
cluster: gke_acme_europe-west1_prod.1
receivers:
- {name: sre, type: slack, url: https://h.example.com/x, events: [endingSoon, guardBroken], namespaces: [payments], policies: [hotfix]}
- {name: all, type: slack, url: https://hooks.slack.com/services/T/B/x, events: [endingSoon], endsIn: 1h}
`), env())
	if err != nil {
		t.Fatal(err)
	}
	sre, all := receivers[0], receivers[1]
	if sre.Options.EndsIn != 10*time.Minute || all.Options.EndsIn != time.Hour {
		t.Errorf("%+v %+v", sre.Options, all.Options)
	}
	for _, tc := range []struct {
		m         message.Message
		sre, them bool
	}{
		{message.Message{Event: message.EndingSoon, Namespace: "payments", Policy: "hotfix"}, true, true},
		{message.Message{Event: message.EndingSoon, Namespace: "other", Policy: "hotfix"}, false, true},
		{message.Message{Event: message.EndingSoon, Namespace: "payments", Policy: "other"}, false, true},
		{message.Message{Event: message.EndingSoon, Namespace: "payments"}, false, true},
		{message.Message{Event: message.Asked, Namespace: "payments", Policy: "hotfix"}, false, false},
		{message.Message{Event: message.GuardBroken}, true, false},
	} {
		if sre.Wants(tc.m) != tc.sre || all.Wants(tc.m) != tc.them {
			t.Errorf("%+v: %v, %v", tc.m, sre.Wants(tc.m), all.Wants(tc.m))
		}
	}
}

func TestEachMistakeIsNamed(t *testing.T) {
	const slack = `name: a, type: slack, url: "https://h.example.com/x", events: [asked]`
	const mail = `name: a, type: mail, server: "s:25", from: a@example.com, to: [b@example.com], events: [asked]`
	const alert = `name: a, type: alertmanager, url: "https://a.example.com", events: [stillWaiting]`
	secret := file(t, key)
	for _, tc := range []struct {
		text string
		want []string
	}{
		{`{`, []string{"no YAML"}},
		{`receivers: [{` + slack + `}]` + "\nmore: 1", []string{"more: there is no such field", "allowed are cluster, link, receivers"}},
		{`receivers: []`, []string{"receivers: there are 0; 1 to 32"}},
		{`{}`, []string{"receivers: there are 0"}},
		{`receivers: {}`, []string{"receivers: is {}; a list"}},
		{`receivers: [3]`, []string{"receivers[0]: is 3"}},
		{`receivers: [{` + slack + `}, {` + slack + `}]`, []string{`receivers[1].name: is "a", which receivers[0] has`}},
		{`receivers: [{` + slack + `, chanel: x}]`, []string{"receivers[0].chanel: there is no such field", "urlFile"}},
		{`receivers: [{` + slack + `, secretFile: /x}]`, []string{"receivers[0].secretFile: there is no such field here"}},
		{`receivers: [{` + slack + `, name: b}]`, []string{"already set in map"}},
		{`receivers: [{` + slack + `, namespaces: []}]`, []string{"receivers[0].namespaces: is empty; name some, or leave it out for all"}},
		{`receivers: [{` + slack + `, namespaces: ["pay*"]}]`, []string{`receivers[0].namespaces: has "pay*"`, "wildcard"}},
		{`receivers: [{` + slack + `, policies: null}]`, []string{"receivers[0].policies: is null"}},
		{`receivers: [{` + slack + `, policies: ["A b"]}]`, []string{`receivers[0].policies: has "A b"`}},
		{`receivers: [{` + slack + `, endsIn: 5m}]`, []string{`receivers[0].endsIn: is "5m"`, "with event endingSoon"}},
		{
			`receivers: [{name: a, type: slack, url: "https://h/x", events: []}]`,
			[]string{"receivers[0].events: is empty", "asked, stillWaiting"},
		},
		{`receivers: [{name: a, type: slack, url: "https://h/x", events: [ask]}]`, []string{`receivers[0].events: has "ask"`, "asked"}},
		{`receivers: [{name: a, type: slack, url: "https://h/x", events: [asked, asked]}]`, []string{`"asked" twice`}},
		{
			`receivers: [{name: a, type: slack, url: "https://h/x", events: asked}]`,
			[]string{`receivers[0].events: is "asked"; a list of texts`},
		},
		{
			`receivers: [{name: a, type: slack, url: "https://h/x", events: [endingSoon], endsIn: 30s}]`,
			[]string{`receivers[0].endsIn: is "30s"; 1m to 12h`},
		},
		{
			`receivers: [{name: a, type: slack, url: "https://h/x", events: [endingSoon], endsIn: 600}]`,
			[]string{`receivers[0].endsIn: is 600; a text`},
		},
		{`receivers: [{name: A, type: slack, url: "https://h/x", events: [asked]}]`, []string{`receivers[0].name: is "A"`}},
		{
			`receivers: [{name: a, type: pager, events: [asked]}]`,
			[]string{`receivers[0].type: is "pager"; allowed are alertmanager, mail, slack, teams, webhook`},
		},
		{`receivers: [{name: a, type: slack, events: [asked]}]`, []string{"receivers[0]: has url and urlFile, or neither"}},
		{`receivers: [{` + slack + `, urlFile: /x}]`, []string{"receivers[0]: has url and urlFile"}},
		{
			`receivers: [{name: a, type: slack, url: "http://h/SECRET", events: [asked]}]`,
			[]string{"receivers[0].url: is http://h; an https URL"},
		},
		{`receivers: [{name: a, type: slack, url: "https://u:SECRET@h/x", events: [asked]}]`, []string{"receivers[0].url: is https://h;"}},
		{`receivers: [{name: a, type: slack, url: [SECRET], events: [asked]}]`, []string{"receivers[0].url: is none"}},
		{`receivers: [{name: a, type: slack, urlFile: x, events: [asked]}]`, []string{`receivers[0].urlFile: is "x"; an absolute path`}},
		{`receivers: [{name: a, type: slack, urlFile: /there/is/none, events: [asked]}]`, []string{"receivers[0].urlFile:", "cannot be read"}},
		{
			`receivers: [{name: a, type: slack, urlFile: ` + file(t, "ftp://SECRET") + `, events: [asked]}]`,
			[]string{"receivers[0].urlFile:", "a file with an https URL"},
		},
		{`receivers: [{` + slack + `, caFile: ` + file(t, "SECRET") + `}]`, []string{"receivers[0].caFile:", "certificates in PEM"}},
		{`receivers: [{` + slack + `, allowHTTP: true}]`, []string{"receivers[0].allowHTTP: there is no such field here"}},
		{
			`receivers: [{name: a, type: webhook, url: "https://h/x", events: [asked]}]`,
			[]string{"receivers[0].secretFile: is left out", "whsec_"},
		},
		{
			`receivers: [{name: a, type: webhook, url: "https://h/x", events: [asked], secretFile: ` + file(t, "SECRET") + `}]`,
			[]string{"receivers[0].secretFile:", "whsec_"},
		},
		{
			`receivers: [{name: a, type: webhook, url: "https://h/x", events: [asked], secretFile: ` + file(t, "whsec_c2hvcnQ=") + `}]`,
			[]string{"24 to 64 bytes"},
		},
		{
			`receivers: [{name: a, type: alertmanager, url: "https://h", events: [asked]}]`,
			[]string{`has "asked"; for type alertmanager are allowed stillWaiting, granted`},
		},
		{
			`receivers: [{name: a, type: alertmanager, url: "https://h", events: [granted]}]`,
			[]string{"receivers[0].policies: is left out; name the policies"},
		},
		{
			`receivers: [{name: a, type: alertmanager, url: "http://h", events: [stillWaiting]}]`,
			[]string{"receivers[0].url: is http://h;", "allowHTTP"},
		},
		{`receivers: [{` + alert + `, allowHTTP: "yes"}]`, []string{`receivers[0].allowHTTP: is "yes"; true or false`}},
		{
			`receivers: [{` + alert + `, allowHTTP: true, secretFile: ` + secret + `}]`,
			[]string{"receivers[0].secretFile:", "without allowHTTP"},
		},
		{`receivers: [{` + alert + `, secretFile: ` + file(t, " ") + `}]`, []string{"a bearer token"}},
		{`receivers: [{` + mail + `, to: []}]`, []string{"already set in map"}},
		{
			`receivers: [{name: a, type: mail, events: [asked]}]`,
			[]string{`receivers[0].server: is ""`, `receivers[0].from: is ""`, "receivers[0].to: is empty"},
		},
		{
			`receivers: [{name: a, type: mail, events: [asked], server: smtp, from: "A <a@b>", to: ["x@y, z@y"]}]`,
			[]string{`.server: is "smtp"`, `.from: is "A <a@b>"`, `.to: has "x@y, z@y"`},
		},
		{`receivers: [{` + mail + `, username: u}]`, []string{`receivers[0].username: is "u", and secretFile ""; both`}},
		{"link: http://lapse.example.com\nreceivers: [{" + slack + "}]", []string{`link: is "http://lapse.example.com"; an https URL`}},
		{"link: https://lapse.example.com/?a=b\nreceivers: [{" + slack + "}]", []string{"without query"}},
		{"link: [1]\nreceivers: [{" + slack + "}]", []string{"link: is [1]; an address"}},
		{"cluster: ''\nreceivers: [{" + slack + "}]", []string{`cluster: is ""; 1 to 63 of a-z`, "leave it out to name none"}},
		{"cluster: prod eu\nreceivers: [{" + slack + "}]", []string{`cluster: is "prod eu"; 1 to 63`}},
		{"cluster: <!channel>\nreceivers: [{" + slack + "}]", []string{`cluster: is "<!channel>"; 1 to 63`}},
		{"cluster: " + strings.Repeat("x", 64) + "\nreceivers: [{" + slack + "}]", []string{`cluster: is "xxx`, "1 to 63"}},
		{"cluster: 7\nreceivers: [{" + slack + "}]", []string{"cluster: is 7; a text"}},
	} {
		_, err := Parse([]byte(tc.text), env())
		if err == nil {
			t.Errorf("%s: no mistake", tc.text)
			continue
		}
		for _, part := range tc.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q", tc.text, err, part)
			}
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("a secret is told: %v", err)
		}
	}
}

func TestAllMistakesAreNamedAtOnce(t *testing.T) {
	_, err := Parse([]byte("receivers:\n- {name: A, type: slack, events: [asked]}\n- {name: b, type: x}\nmore: 1"), env())
	if err == nil || len(strings.Split(err.Error(), "\n")) < 5 {
		t.Errorf("%v", err)
	}
}

func TestTypesAndEventsOfThePageAreThose(t *testing.T) {
	page, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	for kind, fields := range fieldsOf {
		for _, word := range append(slices.Clone(fields), append(slices.Clone(fieldsOfAll), kind)...) {
			if !strings.Contains(string(page), "`"+word+"`") {
				t.Errorf("docs/messages.md does not name %s", word)
			}
		}
	}
	for _, event := range message.Events() {
		if !strings.Contains(string(page), "`"+string(event)+"`") {
			t.Errorf("docs/messages.md does not name event %s", event)
		}
	}
}
