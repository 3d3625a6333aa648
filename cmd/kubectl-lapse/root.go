// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/text"
)

// plugin is what all verbs share.
type plugin struct {
	genericiooptions.IOStreams
	config *configFlags
	clock  *serverClock
	// credentials is the command of the kubeconfig that gives them, if one does.
	credentials string
	// within is the namespace that a page is about, whatever the kubeconfig says.
	within string
	// terminal is that of whoever serves a page, and nil without one: what errors say of the
	// kubeconfig, of credentials and of the way to the API server is for nobody else.
	terminal *terminal
}

// run is the whole program; what it returns is the exit code.
func run(ctx context.Context, args []string, streams genericiooptions.IOStreams) int {
	p := newPlugin(streams)
	root := p.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var ended *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ended):
		if ended.message != "" {
			p.say("%s", ended.message)
		}
		return ended.code
	default:
		p.say("error: %s", p.explain(err))
		return exitFailed
	}
}

func newPlugin(streams genericiooptions.IOStreams) *plugin {
	return &plugin{IOStreams: streams, config: &configFlags{}, clock: &serverClock{}}
}

func (p *plugin) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "kubectl-lapse",
		Short: "Ask for access that ends by itself, decide on it, look at it, give it back",
		Long: `Ask for a role in a namespace for a time and a reason, decide on what others ask
for, see who holds what until when, and give it back.

Data goes to stdout and talk to stderr. Exit codes: 0 done, or granted; 1 error;
2 refused, taken away or withdrawn; 3 not known yet: still waiting, or something
could not be checked; 4 no smaller role can be suggested (report --unused); 130
interrupted.`,
		Example: `  # ask for ClusterRole edit for an hour, and wait until it is there
  kubectl lapse request edit -n payments --for 1h --reason "INC-4211: checkout returns 500" --wait

  # who holds what, and what waits for whom
  kubectl lapse get -A`,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl lapse"},
		// The nearest verb is offered for one that is misspelt.
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		DisableAutoGenTag:          true,
		Args:                       cobra.ArbitraryArgs,
		RunE:                       verbless,
	}
	root.SetOut(p.Out)
	root.SetErr(p.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())
	})
	p.config.addTo(root.PersistentFlags())
	root.AddCommand(
		p.requestCommand(), p.getCommand(), p.whyCommand(), p.canCommand(),
		p.decideCommand(v1alpha1.VerdictApprove), p.decideCommand(v1alpha1.VerdictDeny), p.decideCommand(v1alpha1.VerdictRevoke),
		p.returnCommand(), p.uiCommand(), p.policyCommand(), p.auditCommand(), p.reportCommand(), p.doctorCommand(), p.reapCommand(), p.drainCommand(),
		p.versionCommand(),
	)
	for _, cmd := range root.Commands() {
		cmd.SuggestFor = otherNames[cmd.Name()]
	}
	p.completeFlags(root)
	return root
}

// otherNames are what other tools call our verbs.
var otherNames = map[string][]string{
	"request": {"ask", "elevate", "escalate", "extend", "grant", "renew", "sudo"},
	"get":     {"list", "ls", "show", "status"},
	"why":     {"describe", "events", "explain", "history", "log", "logs"},
	"can":     {"can-i", "check"},
	"approve": {"accept", "allow"},
	"deny":    {"decline", "refuse", "reject"},
	"revoke":  {"end", "remove", "terminate"},
	"ui":      {"browser", "dashboard", "gui", "page", "web"},
	"return":  {"cancel", "delete", "drop", "release", "withdraw"},
}

// verbless is for a command line without a verb that is known: most likely somebody
// who wants the role that he names.
func verbless(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	role := slices.Contains([]string{"view", "edit", "admin"}, args[0]) // those of every cluster
	if similar := cmd.SuggestionsFor(args[0]); len(similar) > 0 && !role {
		return fmt.Errorf("%q is not a command; did you mean %s?", args[0], strings.Join(quoted(similar), " or "))
	}
	return fmt.Errorf(`%q is not a command; to ask for a role: kubectl lapse request %s --for 1h --reason "why"`, args[0], text.Line(args[0]))
}

func quoted(words []string) []string {
	out := slices.Clone(words)
	for i, word := range out {
		out[i] = fmt.Sprintf("kubectl lapse %s", word)
	}
	return out
}

// say writes a line of talk. Nothing in it can move the cursor.
func (p *plugin) say(format string, args ...any) {
	fmt.Fprintln(p.ErrOut, text.Printable(fmt.Sprintf(format, args...), "\n\t"))
}
