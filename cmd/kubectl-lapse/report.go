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
	unused       bool
	policyFile   string
	policy       *auditPolicy // nil without --audit-policy
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
grants alone are told. In OCSF, one event to a line, that is always so.

With --unused it tells, of each role that was granted, which of its rules no call used,
and suggests a smaller Role or ClusterRole made of what calls used: a manifest, in which
all else is a comment, or JSON. The rules are those at the time of the grant. Calls that
something else allowed count as used if the role allows them. A role is not held to names
of objects that it does not name itself. No smaller role is suggested where the log may
not tell all: without --audit-log, where that begins after a grant or ends before it does,
has no reads, or where the policy in --audit-policy leaves out what the role allows.

Exit codes: 0 told; 1 error; 4 --unused cannot suggest a smaller role for some role.`,
		Example: `  kubectl lapse report --records records/ --audit-log /var/log/kubernetes/audit/ -n payments --since 2026-11-01
  kubectl lapse report --records records/ --audit-log audit.log.gz --person alice -o csv
  kubectl lapse report --records records/ --audit-log audit/ --policy oncall --unused --audit-policy policy.yaml`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return o.run() },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.records, "records", nil, "Records of the operator; may be given again.")
	f.StringArrayVar(&o.logs, "audit-log", nil, "Audit log of kube-apiserver; may be given again.")
	f.StringVar(&o.question.Request, "request", "", "Only the request of this name or UID.")
	f.StringVar(&o.question.Person, "person", "", "Only what this user or group asked for, got, decided, or called under access of a group.")
	f.StringVar(&o.question.Role, "role", "", "Only requests for the role of this name.")
	f.StringVar(&o.question.Policy, "policy", "", "Only requests under the policy of this name.")
	f.StringVar(&o.since, "since", "", "Only access that was held at this time or later: RFC 3339, or a date, which is in UTC.")
	f.StringVar(&o.until, "until", "", "Only access that began at this time or earlier; a date is with all of that day.")
	f.StringVarP(&o.format, "output", "o", reportText, "Output format. One of: text, json, csv, html, ocsf.")
	f.BoolVar(&o.unused, "unused", false, "Tell what of each role no call used, and suggest a smaller one.")
	f.StringVar(&o.policyFile, "audit-policy", "", "With --unused: the audit policy of kube-apiserver, to see what it does not log.")
	p.completePolicies(cmd)
	register(cmd, "output", cobra.FixedCompletions([]string{reportText, outputJSON, reportCSV, reportHTML, reportOCSF}, cobra.ShellCompDirectiveNoFileComp))
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
	if o.unused {
		r.Survey()
	}
	for _, path := range o.records {
		if err := eachFile(o.In, path, r.ReadRecords); err != nil {
			return err
		}
	}
	r.Choose()
	for _, path := range o.logs {
		if err := eachFile(o.In, path, r.ReadCalls); err != nil {
			return err
		}
	}
	o.sayWhatIsMissing(r)
	if o.unused {
		return o.printUnused(r)
	}
	return tell(o.Out, r.Histories())
}

func (o *reportOptions) sayWhatIsMissing(r *audit.Reporter) {
	switch {
	case len(o.logs) > 0:
	case o.question.Person != "":
		o.say("no --audit-log is given: what was done with the access is not told, nor is access of groups, whose members are known by their calls alone")
	default:
		o.say("no --audit-log is given: what was done with the access is not told")
	}
	if r.Withheld > 0 {
		o.say("%d records do not say what happened: the receiver that these are from refused it; another sink has them whole", r.Withheld)
	}
	if r.Missed > 0 {
		o.say("of %d requests not all records are there: they were deleted while the sink that these are from was away", r.Missed)
	}
	if unread := r.Unread(); unread > 0 {
		o.say("%d lines of the audit log were not understood", unread)
	}
}

// ask makes a question of the flags.
func (o *reportOptions) ask() (err error) {
	if who := o.config.overrides.Context.AuthInfo; who != "" {
		return fmt.Errorf("--user is about the kubeconfig, which is not used here; to ask about a person: --person %s", text.Line(who))
	}
	if o.question.From, err = parseTime("--since", o.since); err != nil {
		return err
	}
	if o.question.Until, err = parseTime("--until", o.until); err != nil {
		return err
	}
	if len(o.until) == len(time.DateOnly) {
		o.question.Until = o.question.Until.AddDate(0, 0, 1).Add(-time.Second) // with that day
	}
	o.question.Namespace = o.config.overrides.Context.Namespace // not that of the kubeconfig
	return o.askWhatIsUnused()
}

func (o *reportOptions) askWhatIsUnused() (err error) {
	switch {
	case o.unused && o.format != reportText && o.format != outputJSON:
		return fmt.Errorf("--output is %q, and has to be text or json with --unused", o.format)
	case !o.unused && o.policyFile != "":
		return errors.New("--audit-policy is for --unused, which is missing")
	case o.policyFile != "":
		o.policy, err = readAuditPolicy(o.policyFile)
	}
	return err
}

func (o *reportOptions) printer() (func(io.Writer, []*audit.History) error, error) {
	switch o.format {
	case reportText:
		return printHistories, nil
	case reportCSV:
		return printCSV, nil
	case reportHTML:
		return printPage, nil
	case reportOCSF:
		return printOCSF, nil
	case outputJSON:
		return func(out io.Writer, histories []*audit.History) error { return writeJSON(out, histories) }, nil
	}
	return nil, fmt.Errorf("--output is %q, and has to be text, json, csv, html or ocsf", o.format)
}

// printOCSF writes events, one to a line.
func printOCSF(out io.Writer, histories []*audit.History) error {
	for _, s := range histories {
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
