// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// Process is a child that is not envtest's.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // how it ended; read only after done
}

// StartProcess starts cmd in a process group of its own, so that a Ctrl-C at
// the terminal reaches only us and we end things in order.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	cmd.SysProcAttr = childAttr()
	started := make(chan error)
	go func() {
		// The kernel ties the death signal of the child to the thread that made
		// it, so the thread must live as long as the child does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	return p, <-started
}

// Stop asks the process to end, and makes it end after timeout.
func (p *Process) Stop(timeout time.Duration) error {
	if p.Ended() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		err := p.Signal(syscall.SIGKILL)
		<-p.done
		return errors.Join(fmt.Errorf("%s had to be killed, it did not end within %s", p.cmd.Path, timeout), err)
	}
}

// Signal goes to the group; it has ended already if there is no such group.
func (p *Process) Signal(sig syscall.Signal) error {
	if err := syscall.Kill(-p.cmd.Process.Pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signalling %s: %w", p.cmd.Path, err)
	}
	return nil
}

// Ended says whether the process has ended.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process ended; nil while it runs, and after a clean end.
func (p *Process) Err() error {
	if !p.Ended() {
		return nil
	}
	return p.err
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }
