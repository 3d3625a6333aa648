// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/internal/text"
)

// logTo has all that is logged, by libraries too, written as one JSON object a line.
func logTo(out io.Writer, o *zap.Options) {
	logger := newLogger(out, o)
	ctrl.SetLogger(logger)
	klog.SetLoggerWithOptions(logger, klog.ContextualLogger(true)) // client-go writes lines of text otherwise
}

func newLogger(out io.Writer, o *zap.Options) logr.Logger {
	return zap.New(zap.UseFlagOptions(o), zap.WriteTo(escaped{out}))
}

// escaped writes JSON with an escape for what cannot be seen: people read logs on terminals.
type escaped struct{ out io.Writer }

// Write takes whole lines.
func (e escaped) Write(line []byte) (int, error) {
	if _, err := io.WriteString(e.out, text.JSON(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}
