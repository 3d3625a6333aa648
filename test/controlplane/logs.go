// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

const tailSize = 4 << 10

// logTail keeps the end of a process's log, and passes all of it on if out is
// set.
type logTail struct {
	mu   sync.Mutex
	last []byte
	out  io.Writer
}

// Write never fails: a log that cannot be written must not stop the process.
func (l *logTail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = append(l.last, p...)
	if extra := len(l.last) - tailSize; extra > 0 {
		l.last = append(l.last[:0], l.last[extra:]...)
	}
	if l.out != nil {
		_, _ = l.out.Write(p)
	}
	return len(p), nil
}

func (l *logTail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.TrimSpace(l.last))
}

// lockedWriter lets several processes share one writer.
type lockedWriter struct {
	mu  sync.Mutex
	out io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

// logTo returns the two log writers of a process. They are the same, which
// exec turns into one pipe.
func (c *ControlPlane) logTo(name string) (stdout, stderr io.Writer) {
	tail := &logTail{out: c.out}
	c.logs[name] = tail
	return tail, tail
}

// quoteLog adds the last lines of a process to an error about it.
func (c *ControlPlane) quoteLog(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w; its last lines:\n%s", name, err, c.logs[name])
}
