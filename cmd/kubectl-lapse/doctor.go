// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lapse-dev/lapse/internal/text"
)

// health is how one check came out.
type health string

const (
	healthy   health = "ok"
	unhealthy health = "FAIL"
	unchecked health = "?"
	// noted is what is worth knowing, and neither well nor wrong.
	noted health = "-"
)

// diagnosis is what a check found, in words; mend is the command that mends it.
type diagnosis struct {
	health health
	text   string
	mend   string
}

// check is one that the doctor makes.
type check struct {
	name string
	run  func(context.Context) []diagnosis
}

// doctor is `kubectl lapse doctor`.
type doctor struct {
	*plugin
	c      *cluster
	server string // the version of Kubernetes
	// receiver is who is sent a test message, and messages the file that has it; both are empty if
	// nobody is.
	receiver, messages string
}

func (p *plugin) doctorCommand() *cobra.Command {
	d := &doctor{plugin: p}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that Lapse is installed, enforced and at work",
		Long: `Check what Lapse needs: its kinds, the admission policies (also that they are enforced,
by a request and a decision in a false name that are not stored), the stamps, the operator,
its rights to grant and to bind what policies offer, that it answers requests, clocks, and
that no access is past its time. Each failure comes with the command that mends it.

A cluster admin can check all of it; what you may not read is marked "?". Marked "-" is what
counts for nothing: what can be seen of the audit log of kube-apiserver, and namespaces that
policies name and that do not exist now. Exit codes: 0 all well, 1 something is wrong, 3
something could not be checked.

With --message it checks one receiver of messages and nothing else: it sends one message, from
this machine, that says that it is a test, who sent it, and that nobody has to do anything. The
file is read as the operator reads it, and the files that it names are read here, by the same
paths.`,
		Example: `  kubectl lapse doctor

  # send a test message, with secrets that are still in this folder
  sed "s|/etc/lapse-messages|$PWD|" messages.yaml | kubectl lapse doctor --message sre --messages -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tries := cmd.Flags().Changed("message") || cmd.Flags().Changed("messages")
			if tries && (d.receiver == "" || d.messages == "") {
				return fmt.Errorf("--message is %q and --messages %q; a receiver and the file that has it are needed, such as --message sre --messages messages.yaml",
					d.receiver, d.messages)
			}
			return d.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&d.receiver, "message", "", "Send a test message to the receiver of this name in --messages, and check nothing else.")
	f.StringVar(&d.messages, "messages", "", "The file that the operator gets as --messages, or - for stdin.")
	return cmd
}

func (d *doctor) run(ctx context.Context) error {
	c, err := d.connect()
	if err != nil {
		return err
	}
	server, err := c.version(ctx)
	if err != nil {
		return err // there is nothing to check
	}
	d.c, d.server = c, server.GitVersion
	checks := d.checks()
	if d.receiver != "" {
		checks = []check{{"message", d.message}}
	}
	failed, unknown := d.examine(ctx, checks)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed > 0:
		return &exitError{exitFailed, fmt.Sprintf("checks that failed: %d; that could not be made: %d", failed, unknown)}
	case unknown > 0:
		return &exitError{exitUnknown, fmt.Sprintf("checks that could not be made: %d; the lines marked ? say why", unknown)}
	case d.receiver == "":
		d.say("all is well")
	}
	return nil
}

func (d *doctor) checks() []check {
	return []check{
		{"kubernetes", d.kubernetes},
		{"kinds", d.kinds},
		{"admission", d.admission},
		{"stamps", d.stamps},
		{"canary", d.canary},
		{"operator", d.operator},
		{"policies", d.policies},
		{"grants", d.grants},
		{"bind", d.bind},
		{"requests", d.unanswered},
		{"clocks", d.clocks},
		{"overdue", d.pastTheirTime},
		{"audit log", d.auditLog},
	}
}

// examine makes checks and prints what they find.
func (d *doctor) examine(ctx context.Context, checks []check) (failed, unknown int) {
	for _, check := range checks {
		for _, found := range check.run(ctx) {
			switch found.health {
			case healthy, noted:
			case unhealthy:
				failed++
			case unchecked:
				unknown++
			default:
				unknown++ // never taken for well
			}
			fmt.Fprintf(d.Out, "%-4s  %-10s  %s\n", found.health, check.name, text.Line(found.text))
			if found.mend != "" {
				fmt.Fprintf(d.Out, "%16s  mend it: %s\n", "", text.Line(found.mend))
			}
		}
	}
	return failed, unknown
}

func ok(format string, args ...any) []diagnosis {
	return []diagnosis{{health: healthy, text: fmt.Sprintf(format, args...)}}
}

func bad(mend, format string, args ...any) []diagnosis {
	return []diagnosis{{unhealthy, fmt.Sprintf(format, args...), mend}}
}

// cannotTell is for a check that could not be made, and so is not well.
func (d *doctor) cannotTell(err error) []diagnosis {
	return []diagnosis{{health: unchecked, text: "could not check: " + d.explain(err)}}
}
