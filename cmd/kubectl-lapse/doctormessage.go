// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lapse-dev/lapse/internal/message"
	"github.com/lapse-dev/lapse/internal/receiver"
)

// attemptTimeout bounds the one attempt to send a message; the operator's are bounded by as much.
const attemptTimeout = 10 * time.Second

// message sends one test message, by the code with which the operator reads its file and sends.
func (d *doctor) message(ctx context.Context) []diagnosis {
	data, err := d.messagesFile()
	if err != nil {
		return bad("", "the file of messages cannot be read: %s", err)
	}
	all, err := receiver.Parse(data, receiver.Env{Now: d.clock.now})
	if err != nil {
		return d.wrongIn(err)
	}
	names := make([]string, 0, len(all))
	for _, to := range all {
		if to.Name == d.receiver {
			return d.sendTo(ctx, to)
		}
		names = append(names, to.Name)
	}
	return bad("", "%s has no receiver %q; it has %s", d.messages, d.receiver, strings.Join(names, ", "))
}

func (d *doctor) messagesFile() ([]byte, error) {
	if d.messages == "-" {
		return io.ReadAll(d.In)
	}
	return os.ReadFile(d.messages)
}

// wrongIn are all mistakes in the file.
func (d *doctor) wrongIn(mistakes error) (out []diagnosis) {
	for mistake := range strings.SplitSeq(mistakes.Error(), "\n") {
		out = append(out, bad("", "%s: %s", d.messages, mistake)...)
	}
	const here = "files that it names are read on this machine, by the paths that they have in the operator's Pod"
	return append(out, diagnosis{health: noted, text: here})
}

// sendTo a receiver, in one attempt. It names the cluster as the operator does.
func (d *doctor) sendTo(ctx context.Context, to *receiver.Receiver) []diagnosis {
	me, err := d.c.whoami(ctx)
	if err != nil {
		return d.cannotTell(err)
	}
	system := &corev1.Namespace{}
	if err := d.c.get(ctx, "", metav1.NamespaceSystem, system); err != nil {
		return d.cannotTell(err)
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	one := message.NewTest("/clusters/"+string(system.UID), to.Name, me.Username, d.clock.now())
	if err := to.Send(ctx, one); err != nil {
		return bad("", "%s (%s) did not take the test message: %s", to.Name, to.Type, err)
	}
	return ok("%s (%s) took the test message %s", to.Name, to.Type, one.ID)
}
