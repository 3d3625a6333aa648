// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lapse-dev/lapse/internal/build"
	"github.com/lapse-dev/lapse/internal/text"
)

// Formats of reports for a CI.
const (
	outputSARIF = "sarif"
	outputJUnit = "junit"
)

func addReportFormat(cmd *cobra.Command, format *string, formats ...string) {
	cmd.Flags().StringVarP(format, "output", "o", "", "Output format. One of: "+strings.Join(formats, ", ")+".")
	register(cmd, "output", func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		return offer(formats, typed), cobra.ShellCompDirectiveNoFileComp
	})
}

func knownFormat(format string, formats ...string) error {
	if format != "" && !slices.Contains(formats, format) {
		return fmt.Errorf("-o %s is not known; use one of %s", format, strings.Join(formats, ", "))
	}
	return nil
}

// linted is what lint says, as JSON has it.
type linted struct {
	// Policies is how many there are.
	Policies int       `json:"policies"`
	Mistakes int       `json:"mistakes"`
	Findings []foundAt `json:"findings"`
}

// foundAt is a finding and where it is. Without a file it is in the cluster.
type foundAt struct {
	Policy  string `json:"policy"`
	Level   string `json:"level"`
	Message string `json:"message"`
	File    string `json:"file,omitempty"`
	// Line at which the document begins; 0 if it is not known.
	Line int `json:"line,omitempty"`
}

// Levels of a finding.
const (
	levelMistake = "mistake"
	levelRisk    = "risk"
)

func (l *linted) add(name string, at place, f finding) {
	level := levelRisk
	if f.mistake {
		level = levelMistake
		l.Mistakes++
	}
	l.Findings = append(l.Findings, foundAt{name, level, f.text, at.file, at.line})
}

func (l *linted) write(o *lintOptions) error {
	switch o.format {
	case outputJSON:
		if l.Findings == nil {
			l.Findings = []foundAt{} // and not null
		}
		return writeJSON(o.Out, l)
	case outputSARIF:
		return writeJSON(o.Out, l.sarif())
	default:
		for _, f := range l.Findings {
			fmt.Fprintf(o.Out, "%-8s %s: %s\n", f.Level, text.Line(f.Policy), text.Line(f.Message))
		}
		return nil
	}
}

// What is written of SARIF 2.1.0, and no more of it. The library go-sarif brings a type for each
// object, the schema and a validator, which all would download in place of these few without logic.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version,omitempty"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string    `json:"id"`
		ShortDescription sarifText `json:"shortDescription"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical *sarifPhysical `json:"physicalLocation,omitempty"`
		Logical  []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region *sarifRegion `json:"region,omitempty"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

// sarifLevels are what SARIF calls ours.
var sarifLevels = map[string]string{levelMistake: "error", levelRisk: "warning"}

func (l *linted) sarif() sarifLog {
	run := sarifRun{Results: []sarifResult{}, Tool: sarifTool{sarifDriver{
		Name: "kubectl lapse policy lint", Version: build.Version(), InformationURI: "https://github.com/lapse-dev/lapse",
		Rules: []sarifRule{
			{levelMistake, sarifText{"The policy does not do what it seems to, or the API server would refuse it."}},
			{levelRisk, sarifText{"The policy gives more than it may seem to."}},
		},
	}}}
	for _, f := range l.Findings {
		location := sarifLocation{Logical: []sarifLogical{{"accesspolicy/" + f.Policy, "resource"}}}
		if f.File != "" {
			location.Physical = &sarifPhysical{}
			location.Physical.Artifact.URI = (&url.URL{Path: filepath.ToSlash(f.File)}).String()
			if f.Line > 0 {
				location.Physical.Region = &sarifRegion{f.Line}
			}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Level, Level: sarifLevels[f.Level], Message: sarifText{f.Policy + ": " + f.Message}, Locations: []sarifLocation{location},
		})
	}
	return sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}}
}
