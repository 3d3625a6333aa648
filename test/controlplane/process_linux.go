// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import "syscall"

// childAttr lets the kernel end the child when we are killed and cannot.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
