// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"io"
	"strings"
	"testing"
)

// readLog has a log read, of which each text with "alice" in it concerns somebody.
func readLog(log io.Reader) (ids string, others int, err error) {
	var read []string
	concerns := func(text []byte) bool { return strings.Contains(string(text), "alice") }
	others, err = eachEvent("log", log, concerns, func(e *event) { read = append(read, e.AuditID) })
	return strings.Join(read, " "), others, err
}

func TestALogIsReadPastWhatIsBroken(t *testing.T) {
	long := text(t, logged("long", 10, func(e *event) { e.Agent = strings.Repeat("a", 1<<20) }))
	next, last := text(t, logged("next", 11, nil)), text(t, logged("last", 12, nil))
	half := next[:len(next)/2]
	const time = "2026-12-01T12:00:00.000Z "
	for name, tc := range map[string]struct {
		lines []string
		want  string
	}{
		"the last line of a live log":                       {[]string{next, last, half}, "next last, 1"},
		"the same, after a long first one":                  {[]string{long, next, last, half}, "long next last, 1"},
		"one that is followed by others":                    {[]string{long, half, next, last}, "long next last, 1"},
		"several":                                           {[]string{long, next[:9], half, next, half, last}, "long next last, 2"},
		"none, in an export to S3 with a long first line":   {[]string{time + long, time + next, time + last}, "long next last, 0"},
		"one, in an export to S3 with a long first line":    {[]string{time + long, time + half, time + last}, "long last, 1"},
		"the last of what Firehose writes without newlines": {[]string{next + last + half}, "next last, 1"},
	} {
		ids, others, err := readLog(strings.NewReader(strings.Join(tc.lines, "\n")))
		if got := fmt.Sprintf("%s, %d", ids, others); got != tc.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, got, err, tc.want)
		}
	}
}

// batched is a message of CloudWatch or Azure, with the beginning and the end of it and a text each.
func batched(t *testing.T, beginning, each string, texts ...string) string {
	t.Helper()
	values := make([]string, 0, len(texts))
	for _, in := range texts {
		values = append(values, fmt.Sprintf(each, text(t, in)))
	}
	return beginning + "[" + strings.Join(values, ",") + "]}"
}

const (
	eksText = `{"message":%s}`
	aksText = `{"category":"kube-audit","properties":{"log":%s}}`
)

func TestWhatIsCutInABatchIsCounted(t *testing.T) {
	whole := text(t, logged("whole", 10, nil))
	cut, strange := whole[:len(whole)-9], "alicia"
	for name, tc := range map[string]struct{ log, want string }{
		"EKS":                   {batched(t, `{"logEvents":`, eksText, whole, cut, strange), "whole, 1"},
		"EKS, all of it":        {batched(t, `{"events":`, eksText, cut, cut), ", 2"},
		"AKS":                   {batched(t, `{"records":`, aksText, cut, whole, strange), "whole, 1"},
		"AKS, a record alone":   {fmt.Sprintf(aksText, text(t, cut)), ", 1"},
		"AKS, without the text": {`{"category":"kube-audit","properties":{"other":"alice"}}`, ", 1"},
		"what is no object":     {`{"user":{"username":"alice"},"items":["x",` + whole + `]}`, "whole, 1"},
	} {
		ids, others, err := readLog(strings.NewReader(tc.log))
		if got := fmt.Sprintf("%s, %d", ids, others); got != tc.want || err != nil {
			t.Errorf("%s: %s, %v; want %s", name, got, err, tc.want)
		}
	}
}

func TestOnlyStreamsOfAuditAreBelieved(t *testing.T) {
	event := text(t, logged("x", 10, nil))
	eks := func(stream string) string { return batched(t, `{`+stream+`"logEvents":`, eksText, event) }
	filtered := func(stream string) string { return batched(t, `{"events":`, `{`+stream+`"message":%s}`, event) }
	aks := func(category string) string {
		return fmt.Sprintf(`{`+category+`"properties":{"log":%s}}`, text(t, event))
	}
	for log, want := range map[string]string{
		eks(``): "x",
		eks(`"logStream":"kube-apiserver-audit-9f2c",`): "x",
		eks(`"logStream":"kube-apiserver-9f2c",`):       "",
		// CloudWatch tries whether somebody listens.
		eks(`"logStream":"",`): "",
		filtered(`"logStreamName":"kube-apiserver-audit-9f2c",`):                                   "x",
		filtered(`"logStreamName":"authenticator-9f2c",`):                                          "",
		aks(`"category":"kube-audit",`):                                                            "x",
		aks(`"category":"kube-audit-admin",`):                                                      "x",
		aks(`"category":"kube-apiserver",`):                                                        "",
		`{"records":[` + aks(`"category":"guard",`) + `,` + aks(`"category":"kube-audit",`) + `]}`: "x",
	} {
		if ids, others, err := readLog(strings.NewReader(log)); ids != want || others != 0 || err != nil {
			t.Errorf("%.60s: %q, %d, %v; want %q", log, ids, others, err, want)
		}
	}
}

func TestWhatIsNoLogIsAnError(t *testing.T) {
	for _, log := range []string{"kind: Policy\n", "\x1f\x8b", `{"kind":"EventList","items":[`} {
		if _, _, err := readLog(strings.NewReader(log)); err == nil {
			t.Errorf("%q is read", log)
		}
	}
}

// endless is a text of JSON without an end.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	if e.read == 0 {
		p[0] = '"'
	}
	e.read += len(p)
	return len(p), nil
}

func TestWhatHasNoEndIsNotReadForEver(t *testing.T) {
	for name, beginning := range map[string]string{
		"a value": "", "one of several": "{} ", "a line": "{}\n", "spaces": `{} {"a":` + strings.Repeat(" ", 1<<20),
	} {
		text := &endless{}
		_, _, err := readLog(io.MultiReader(strings.NewReader(beginning), io.LimitReader(text, 3*maxText)))
		if err == nil || !strings.Contains(err.Error(), "longer than 16777216 bytes") || text.read > maxText+2<<20 {
			t.Errorf("%s: %v, after %d bytes", name, err, text.read)
		}
	}
}
