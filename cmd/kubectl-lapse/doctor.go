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

// doctor is `kubectl lapse doctor`.
type doctor struct {
	*plugin
	c      *cluster
	server string // the version of Kubernetes
}

func (p *plugin) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check that Lapse is installed, enforced and at work",
		Long: `Check what Lapse needs: its kinds, the admission policies (also that they are enforced,
by a request and a decision in a false name that are not stored), the stamps, the operator,
its rights to grant and to bind what policies offer, that it answers requests, clocks, and
that no access is past its time. Each failure comes with the command that mends it.

A cluster admin can check all of it; what you may not read is marked "?". Of the audit log of
kube-apiserver, what can be seen in the cluster is marked "-", and counts for nothing. Exit
codes: 0 all well, 1 something is wrong, 3 something could not be checked.`,
		Example: "  kubectl lapse doctor",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.doctor(cmd.Context()) },
	}
}

func (p *plugin) doctor(ctx context.Context) error {
	c, err := p.connect()
	if err != nil {
		return err
	}
	server, err := c.version(ctx)
	if err != nil {
		return err // there is nothing to check
	}
	d := &doctor{plugin: p, c: c, server: server.GitVersion}
	failed, unknown := d.examine(ctx)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case failed > 0:
		return &exitError{exitFailed, fmt.Sprintf("checks that failed: %d; that could not be made: %d", failed, unknown)}
	case unknown > 0:
		return &exitError{exitUnknown, fmt.Sprintf("%d checks could not be made; a cluster admin can make them", unknown)}
	default:
		p.say("all is well")
		return nil
	}
}

// examine makes all checks and prints what they find.
func (d *doctor) examine(ctx context.Context) (failed, unknown int) {
	for _, check := range []struct {
		name string
		run  func(context.Context) []diagnosis
	}{
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
	} {
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
