// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"

	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// Results of a test of a request.
const (
	resultOK        = "ok"
	resultFailed    = "FAIL"
	resultError     = "ERROR"
	resultUnchecked = "-" // nothing was expected
)

// verdict is what `policy test` says of one request, as JSON has it.
type verdict struct {
	File     string `json:"file"`
	Request  string `json:"request"` // namespace/name
	Result   string `json:"result"`
	Expected string `json:"expected,omitempty"`
	Verdict  string `json:"verdict,omitempty"`
	Policy   string `json:"policy,omitempty"`
	Message  string `json:"message"`
	// Past are other policies for the request that would not have allowed it so, and why.
	Past []string `json:"past,omitempty"`
}

// tested is what it says of all of them.
type tested struct {
	Requests  []verdict `json:"requests"`
	Different int       `json:"different"`
}

func (t *tested) add(v verdict) {
	if v.differs() {
		t.Different++
	}
	t.Requests = append(t.Requests, v)
}

func (v verdict) differs() bool { return v.Result == resultFailed || v.Result == resultError }

// text is the verdict in a line, and one for each policy that was got past.
func (v verdict) text() string {
	said := v.Verdict + ": " + v.Message
	switch v.Result {
	case resultError:
		said = v.Message
	case resultFailed:
		said = fmt.Sprintf("expected %s, got %s", v.Expected, said)
	}
	lines := make([]string, 0, 1+len(v.Past))
	lines = append(lines, fmt.Sprintf("%-5s %s: %s: %s", v.Result, v.File, v.Request, said))
	for _, other := range v.Past {
		lines = append(lines, "      gets past "+text.Line(other))
	}
	return strings.Join(lines, "\n")
}

func (t *tested) write(o *testOptions) error {
	switch o.format {
	case outputJSON:
		return writeJSON(o.Out, t)
	case outputJUnit:
		written, err := xml.MarshalIndent(t.junit(), "", "  ")
		if err != nil {
			return err
		}
		return writeSafe(o.Out, xml.Header+string(written)+"\n", false)
	default:
		for _, v := range t.Requests {
			fmt.Fprintln(o.Out, text.Printable(v.text(), "\n\t"))
		}
		return nil
	}
}

// What is written of JUnit's form, which every CI reads, and no more of it. The types for it among
// the dependencies are those of a test framework, and those of go-junit-report name no file of a case.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		ClassName string       `xml:"classname,attr"`
		Name      string       `xml:"name,attr"`
		File      string       `xml:"file,attr"`
		Failure   *junitReason `xml:"failure"`
		Error     *junitReason `xml:"error"`
		Skipped   *junitReason `xml:"skipped"`
		Out       string       `xml:"system-out,omitempty"`
	}
	junitReason struct {
		Message string `xml:"message,attr"`
	}
)

func (t *tested) junit() junitSuites {
	suite := junitSuite{Name: "kubectl lapse policy test", Tests: len(t.Requests)}
	for _, v := range t.Requests {
		one := junitCase{ClassName: v.File, Name: v.Request, File: v.File, Out: v.text()}
		switch reason := (&junitReason{strings.Join(slices.Concat([]string{v.Message}, v.Past), "; ")}); v.Result {
		case resultFailed:
			reason.Message = fmt.Sprintf("expected %s, got %s: %s", v.Expected, v.Verdict, reason.Message)
			one.Failure = reason
			suite.Failures++
		case resultError:
			one.Error = reason
			suite.Errors++
		case resultUnchecked:
			one.Skipped = &junitReason{"annotation " + expectAnnotation + " expects nothing"}
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, one)
	}
	return junitSuites{Suites: []junitSuite{suite}}
}

func verdictOf(d policy.Decision) (verdict, by string) {
	if d.Policy != nil {
		by = d.Policy.Name
	}
	switch {
	case d.Verdict != policy.Allowed:
		return expectDenied, ""
	case len(d.Approvals) > 0:
		return expectApproval, by
	default:
		return expectAllowed, by
	}
}

// expectation is what expectAnnotation says.
type expectation struct{ verdict, policy string }

func parseExpectation(s string) (e expectation, problem string) {
	if strings.TrimSpace(s) == "" {
		return e, ""
	}
	e.verdict, e.policy, _ = strings.Cut(strings.Join(strings.Fields(s), " "), " by ")
	switch {
	case e.verdict == expectDenied && e.policy == "", e.verdict == expectAllowed, e.verdict == expectApproval:
		return e, ""
	default:
		return e, fmt.Sprintf("annotation %s is %q; write %s, %s or %s, and perhaps: by POLICY", expectAnnotation, s, expectAllowed, expectApproval, expectDenied)
	}
}
