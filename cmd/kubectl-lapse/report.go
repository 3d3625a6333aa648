// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/lapse-dev/lapse/internal/audit"
	"github.com/lapse-dev/lapse/internal/text"
)

// reportOptions are those of `kubectl lapse report`.
type reportOptions struct {
	*plugin
	question     audit.Question
	since, until string
	records      []string
	logs         []string
	format       string
}

// Formats of a report.
const (
	reportText = "text"
	reportCSV  = "csv"
	reportHTML = "html"
	reportOCSF = "ocsf"
)

func (p *plugin) reportCommand() *cobra.Command {
	o := &reportOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "report --records FILE... [--audit-log FILE...]",
		Short: "Tell who had what, when, why, who let them, and what they did with it",
		Long: `Tell of each request its story, from the records of the operator, and every call that
it made possible, from the audit log of kube-apiserver. No cluster is needed.

FILE is a file, a folder or - for stdin; what ends in .gz is unpacked. The audit log may
be as kube-apiserver writes it, or as EKS, AKS and GKE export it.

Calls are of three kinds, which are never mixed:
  allowed by the grant;
  of its holder, in its time and namespace, allowed by something else. Of several
    bindings that allow a call, kube-apiserver names the first one only;
  of its holder, in its time and namespace, refused.

What the audit policy of the cluster does not log is not told. Without --audit-log the
grants alone are told. In OCSF, one event to a line, that is always so.`,
		Example: `  kubectl lapse report --records records/ --audit-log /var/log/kubernetes/audit/ -n payments --since 2026-11-01
  kubectl lapse report --records records/ --audit-log audit.log.gz --person alice -o csv`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.records, "records", nil, "Records of the operator; may be given again.")
	f.StringArrayVar(&o.logs, "audit-log", nil, "Audit log of kube-apiserver; may be given again.")
	f.StringVar(&o.question.Request, "request", "", "Only the request of this name or UID.")
	f.StringVar(&o.question.Person, "person", "", "Only what this user or group asked for, got or decided.")
	f.StringVar(&o.question.Role, "role", "", "Only requests for the role of this name.")
	f.StringVar(&o.since, "since", "", "Only access that was held at this time or later: RFC 3339, or a date, which is in UTC.")
	f.StringVar(&o.until, "until", "", "Only access that began at this time or earlier; a date is with all of that day.")
	f.StringVarP(&o.format, "output", "o", reportText, "Output format. One of: text, json, csv, html, ocsf.")
	return cmd
}

func (o *reportOptions) run() error {
	if len(o.records) == 0 {
		return errors.New("--records is missing: the files to which the operator writes records, see --record-to of the operator")
	}
	tell, err := o.printer()
	if err != nil {
		return err
	}
	if err := o.ask(); err != nil {
		return err
	}
	r := audit.NewReporter(o.question)
	for _, path := range o.records {
		if err := eachFile(o.In, path, r.ReadRecords); err != nil {
			return err
		}
	}
	r.Choose()
	unread := 0
	for _, path := range o.logs {
		err := eachFile(o.In, path, func(file string, in io.Reader) error {
			others, err := audit.ReadCalls(file, in, r.Concerns, r.Take)
			unread += others
			return err
		})
		if err != nil {
			return err
		}
	}
	if len(o.logs) == 0 {
		o.say("no --audit-log is given: what was done with the access is not told")
	}
	if unread > 0 {
		o.say("%d lines of the audit log were not understood", unread)
	}
	return tell(o.Out, r.Stories())
}

// ask makes a question of the flags.
func (o *reportOptions) ask() (err error) {
	if who := o.config.overrides.Context.AuthInfo; who != "" {
		return fmt.Errorf("--user is about the kubeconfig, which is not used here; to ask about a person: --person %s", text.Line(who))
	}
	if o.question.From, err = moment("since", o.since); err != nil {
		return err
	}
	if o.question.Until, err = moment("until", o.until); err != nil {
		return err
	}
	if len(o.until) == len(time.DateOnly) {
		o.question.Until = o.question.Until.AddDate(0, 0, 1).Add(-time.Second) // with that day
	}
	o.question.Namespace = o.config.overrides.Context.Namespace // not that of the kubeconfig
	return nil
}

func (o *reportOptions) printer() (func(io.Writer, []*audit.Story) error, error) {
	switch o.format {
	case reportText:
		return printStories, nil
	case reportCSV:
		return printCSV, nil
	case reportHTML:
		return printPage, nil
	case reportOCSF:
		return printOCSF, nil
	case outputJSON:
		return func(out io.Writer, stories []*audit.Story) error { return writeJSON(out, stories) }, nil
	}
	return nil, fmt.Errorf("--output is %q, and has to be text, json, csv, html or ocsf", o.format)
}

// printOCSF writes events, one to a line.
func printOCSF(out io.Writer, stories []*audit.Story) error {
	for _, s := range stories {
		events, err := audit.OCSF(s)
		if err != nil {
			return err
		}
		for _, event := range events {
			line, err := json.Marshal(event)
			if err != nil {
				return err
			}
			if err := writeSafe(out, string(line)+"\n", true); err != nil {
				return err
			}
		}
	}
	return nil
}

// moment reads a time, or a date, which begins at midnight in UTC.
func moment(flag, value string) (time.Time, error) {
	if value == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, value); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("--%s is %q, and has to be a time such as 2026-11-29T06:00:00Z, or a date such as 2026-11-29", flag, value)
}
