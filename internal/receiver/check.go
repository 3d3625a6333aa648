// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"crypto/x509"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/text"
)

// nameForm is of names: they are part of an annotation and labels of metrics.
var nameForm = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

const (
	// endsIn is how long before its end it is told that access ends, if the file does not say.
	endsIn = 10 * time.Minute
	// minEndsIn is the least that the file may say.
	minEndsIn = time.Minute
	// maxEndsIn is the most that the file may say.
	maxEndsIn = 12 * time.Hour
)

// receiver of an entry. It is of use if nothing is wrong.
func (e *entry) receiver(path string, wrong *mistakes, env Env) *Receiver {
	r := &Receiver{Name: e.Name, Type: e.Type, Options: message.Options{Alerts: e.Type == typeAlertmanager}}
	if !nameForm.MatchString(e.Name) {
		wrong.add(path+".name", "is %q; 1 to 40 of a-z, 0-9 and - are allowed, with a letter or digit at both ends", text.Line(e.Name))
	}
	r.events = e.events(path+".events", wrong)
	r.namespaces = e.only(path+".namespaces", "namespaces", e.Namespaces, validation.IsDNS1123Label, wrong)
	r.policies = e.only(path+".policies", "policies", e.Policies, validation.IsDNS1123Subdomain, wrong)
	if r.Options.Alerts && slices.Contains(r.events, message.Granted) && r.policies == nil {
		wrong.add(path+".policies", "is left out; name the policies of which a grant that is held is an alert, or leave granted out of events")
	}
	r.Options.EndsIn = e.endsIn(path+".endsIn", r.events, wrong)
	wrong.file(path+".caFile", e.CAFile, func(pem []byte) string {
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return "a file with certificates in PEM"
		}
		return ""
	})
	switch e.Type {
	case typeMail:
		r.Send = e.mail(path, wrong)
	case typeWebhook, typeSlack, typeTeams, typeAlertmanager:
		r.Send = e.web(path, wrong, env)
	}
	return r
}

func (e *entry) events(path string, wrong *mistakes) (out []message.Event) {
	allowed := message.Events()
	if e.Type == typeAlertmanager {
		allowed = message.Alertable()
	}
	names := make([]string, 0, len(allowed))
	for _, event := range allowed {
		names = append(names, string(event))
	}
	if len(e.Events) == 0 {
		wrong.add(path, "is empty; name some of %s", strings.Join(names, ", "))
	}
	for _, name := range e.Events {
		switch event := message.Event(name); {
		case !slices.Contains(allowed, event):
			wrong.add(path, "has %q; for type %s are allowed %s", text.Line(name), text.Line(e.Type), strings.Join(names, ", "))
		case slices.Contains(out, event):
			wrong.add(path, "has %q twice; once is allowed", name)
		default:
			out = append(out, event)
		}
	}
	return out
}

// only is nil if the field is left out, which stands for all. What is empty is a mistake: a
// template that yields nothing is not to tell everybody of everything.
func (e *entry) only(path, field string, names []string, problems func(string) []string, wrong *mistakes) []string {
	if _, there := e.has[field]; there && len(names) == 0 {
		wrong.add(path, "is empty; name some, or leave it out for all")
	}
	for _, name := range names {
		if len(problems(name)) > 0 {
			wrong.add(path, "has %q; allowed are whole names, nothing is a wildcard", text.Line(name))
		}
	}
	return names
}

func (e *entry) endsIn(path string, events []message.Event, wrong *mistakes) time.Duration {
	wanted := slices.Contains(events, message.EndingSoon)
	if _, there := e.has["endsIn"]; !there {
		if wanted {
			return endsIn
		}
		return 0
	}
	d, err := time.ParseDuration(e.EndsIn)
	switch {
	case err != nil || d < minEndsIn || d > maxEndsIn:
		wrong.add(path, "is %q; %s to %s are allowed, such as 10m", text.Line(e.EndsIn), text.Duration(minEndsIn), text.Duration(maxEndsIn))
	case !wanted:
		wrong.add(path, "is %q; it is allowed with event endingSoon", e.EndsIn)
	}
	return d
}

// file that has to be there; check says what would be allowed in it, or nothing. What is in it
// is never said.
func (m *mistakes) file(path, name string, check func([]byte) string) {
	if name == "" {
		return
	}
	if !filepath.IsAbs(name) {
		m.add(path, "is %q; an absolute path is allowed", text.Line(name))
		return
	}
	data, err := os.ReadFile(name)
	if err != nil {
		m.add(path, "is %q, and cannot be read: %v; a file is allowed that the operator may read", text.Line(name), err)
		return
	}
	if allowed := check(data); allowed != "" {
		m.add(path, "is %q; allowed is %s", text.Line(name), allowed)
	}
}

// cluster is how people call it. Alerts have it as a label, so it is one of Kubernetes' form.
func (m *mistakes) cluster(raw json.RawMessage) (name string) {
	m.read("cluster", raw, &name, "a text")
	if string(raw) == `""` || len(content.IsLabelValue(name)) > 0 {
		m.add("cluster", "is %q; 1 to %d of a-z, A-Z, 0-9, -, _ and . are allowed, with a letter or digit at both ends, such as prod-eu; leave it out to name none",
			text.Cut(text.Line(name), 60), content.LabelValueMaxLength)
	}
	return name
}

func (m *mistakes) link(base string) {
	u, err := url.Parse(base)
	if base != "" && (err != nil || !safe(u) || u.RawQuery != "" || u.Fragment != "" || u.User != nil || strings.ContainsAny(base, "|<>\"' ")) {
		m.add("link", "is %q; an https URL is allowed, without query, fragment and password, such as https://lapse.example.com/requests", text.Line(base))
	}
}

// addressOf is what is wrong with an address, as what would be allowed; empty if nothing is.
func (e *entry) addressOf(address string) (allowed string) {
	u, err := url.Parse(address)
	if err == nil && u.Host != "" && u.User == nil && u.Fragment == "" && (safe(u) || e.AllowHTTP && u.Scheme == "http") {
		return ""
	}
	allowed = "an https URL without a password; http is for 127.0.0.1, ::1 and localhost"
	if e.Type == typeAlertmanager {
		allowed += ", and with allowHTTP"
	}
	return allowed
}

// safe says whether nobody on the way can read what is sent.
func safe(u *url.URL) bool {
	local := slices.Contains([]string{"127.0.0.1", "::1", "localhost"}, u.Hostname())
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && local)
}
