// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/cmd/kubectl-lapse/internal/ui"
)

// uiOptions are those of `kubectl lapse ui`.
type uiOptions struct {
	*plugin
	address   string
	port      int
	noBrowser bool
	logs      []string
}

func (p *plugin) uiCommand() *cobra.Command {
	o := &uiOptions{plugin: p}
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Open a page in the browser: what you hold, what waits for you, what you may ask for",
		Long: `Serve a page to the browser of this machine, with your own kubeconfig: what you hold, what
waits for your word, what you may ask for, who has what, and the story of each request. It
asks the API server as you, and nobody else. It ends with Ctrl-C, and with its terminal.

The address works once, in one browser. It shows the requests of all namespaces, or those
of one: with -n, or where you may not list them all.`,
		Example: `  kubectl lapse ui

  # on another machine: print the address, and lead to it by ssh -t -L 8080:127.0.0.1:8080
  kubectl lapse ui --no-browser --port 8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd.Context(), cmd.Flags().Changed("namespace"))
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.address, "address", "127.0.0.1", "Where to serve the page; only this machine: 127.0.0.1, localhost or ::1.")
	f.IntVar(&o.port, "port", 0, "The port. Default: any that is free.")
	f.BoolVar(&o.noBrowser, "no-browser", false, "Print the address, and open no browser.")
	f.StringArrayVar(&o.logs, "audit-log", nil, "Audit log of kube-apiserver, for what was done with access; may be given again.")
	return cmd
}

func (o *uiOptions) run(ctx context.Context, one bool) error {
	ctx, stop := untilHangup(ctx)
	defer stop()
	if err := o.checkLogs(); err != nil {
		return err
	}
	l, hosts, err := ui.Listen(ctx, o.address, o.port)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	c, err := o.connect()
	if err != nil {
		return err
	}
	if _, err := c.whoami(ctx); err != nil {
		return err
	}
	namespace, err := o.scope(ctx, c, one)
	if err != nil {
		return err
	}
	gate := ui.NewGate(hosts...)
	gate.Again = func() {
		o.say("the address was used a second time, and let nobody in. If the page is not open in your browser, somebody else has it: press Ctrl-C")
	}
	s := newSite(o.plugin, c, gate, namespace)
	s.logs = o.logs
	go s.live.follow(ctx, o.plugin, c, namespace)
	defer o.lead(gate.Address())()
	return ui.Serve(ctx, l, gate.Guard(s.routes()))
}

// checkLogs says before a page is open what is wrong with a log.
func (o *uiOptions) checkLogs() error {
	for _, path := range o.logs {
		if path == "-" {
			return errors.New("--audit-log -: it is read for each page anew, so it has to be a file or a folder")
		}
		if _, err := os.Stat(path); err != nil {
			return &exitError{exitFailed, "error: --audit-log: " + err.Error()}
		}
	}
	return nil
}

// untilHangup ends, too, when the terminal is closed, or the ssh client is gone that had it: else the
// process would be killed, and leave the file by which the browser was led here. Who started it with
// nohup wants it to go on.
func untilHangup(ctx context.Context) (context.Context, context.CancelFunc) {
	if signal.Ignored(syscall.SIGHUP) {
		return context.WithCancel(ctx)
	}
	return signal.NotifyContext(ctx, syscall.SIGHUP)
}

// scope is the namespace that is looked at; empty is all of them.
func (o *uiOptions) scope(ctx context.Context, c *cluster, one bool) (string, error) {
	if one {
		return o.namespace(), nil
	}
	err := c.listBy(ctx, "", &metav1.ListOptions{Limit: 1}, &v1alpha1.AccessRequestList{})
	if apierrors.IsForbidden(err) {
		o.say("you may not list the requests of all namespaces: these are those of %s; -n names another", o.namespace())
		return o.namespace(), nil
	}
	return "", err
}

// lead leads to the page; what it returns cleans up.
func (o *uiOptions) lead(address string) (clean func()) {
	if o.noBrowser {
		fmt.Fprintln(o.Out, address)
		o.say("it works once, in one browser; Ctrl-C ends the page")
		return func() {}
	}
	clean, err := ui.Open(address)
	if err != nil {
		o.say("no browser could be opened: %s", err)
		clean = func() {}
	}
	o.say("the page opens in your browser; if it does not, open this, which works once:\n%s\nCtrl-C ends the page", address)
	return clean
}
