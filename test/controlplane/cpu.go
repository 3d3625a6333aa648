// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/procfs"
)

// CPU is how much time of processors the process has taken. Linux counts that in hundredths of a
// second.
func (p *Process) CPU() (time.Duration, error) {
	proc, err := procfs.NewProc(p.PID())
	if err != nil {
		return 0, err
	}
	return taken(proc)
}

// CPU is how much time of processors the API server and etcd have taken. envtest does not say
// which processes they are; they are found by their folders.
func (c *ControlPlane) CPU() (time.Duration, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return 0, err
	}
	folders := []string{"--data-dir=" + c.path("etcd"), "--cert-dir=" + c.path("apiserver")}
	sum, found := time.Duration(0), 0
	for _, proc := range all {
		args, err := proc.CmdLine()
		if err != nil || !slices.ContainsFunc(args, func(arg string) bool { return slices.Contains(folders, arg) }) {
			continue // some other process, which may have ended meanwhile
		}
		cpu, err := taken(proc)
		if err != nil {
			return 0, err
		}
		sum, found = sum+cpu, found+1
	}
	if found != len(folders) {
		return 0, fmt.Errorf("%d processes run with one of %q, want one for each", found, folders)
	}
	return sum, nil
}

func taken(proc procfs.Proc) (time.Duration, error) {
	stat, err := proc.Stat()
	return time.Duration(stat.CPUTime() * float64(time.Second)), err
}
