// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"k8s.io/apimachinery/pkg/util/uuid"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/lapse-dev/lapse/controllers/telling"
	"github.com/lapse-dev/lapse/internal/build"
)

// tell adds what writes records and what tells people.
func (o *operator) tell(mgr ctrl.Manager) error {
	problem := func() string { return o.guard.Admission().Problem }
	behind := func() []string { return nil }
	if len(o.sinks) > 0 {
		host, err := os.Hostname()
		if err != nil {
			return err
		}
		tellers, err := telling.Setup(mgr, telling.Options{
			Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Writer: mgr.GetClient(), Clock: o.clock, Namespace: o.flags.namespace,
			Name: host + "/" + string(uuid.NewUUID()), Version: build.Version(), Admission: problem, Sinks: o.sinks, Signer: o.signer, Redact: o.flags.redact,
		})
		if err != nil {
			return err
		}
		behind = tellers.Behind
	}
	if o.flags.messages == "" {
		return nil
	}
	return telling.SetupMessages(mgr, telling.MessageOptions{
		Path: o.flags.messages, Cached: mgr.GetClient(), Live: mgr.GetAPIReader(), Writer: mgr.GetClient(), Informers: mgr.GetCache(), Clock: o.clock,
		Namespace: o.flags.namespace, Admission: problem, Behind: behind, Redact: o.flags.redact,
	})
}
