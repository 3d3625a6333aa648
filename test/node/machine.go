// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// commandTimeout bounds a command that should take a moment.
	commandTimeout = time.Minute
	// deviceSocket is kubelet's, wherever its folder is. It stays when kubelet has ended.
	deviceSocket = "/var/lib/kubelet/device-plugins/kubelet.sock"
)

// settings are those of the kernel that kubelet sets, and the bridge of the Pods.
var settings = []string{
	"kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
	"net/ipv4/ip_forward", "vm/overcommit_memory", "vm/panic_on_oom",
}

// machine is what was before a node came.
type machine struct {
	settings map[string][]byte
	lent     bool
}

// lend gives the machine the address of the node.
func (m *machine) lend() error {
	m.settings = map[string][]byte{}
	for _, name := range settings {
		path := filepath.Join("/proc/sys", name)
		value, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		m.settings[path] = value
	}
	_, err := run("ip", "address", "replace", address+"/32", "dev", "lo")
	m.lent = err == nil
	return err
}

// restore puts all back. Processes of the node have ended.
func (m *machine) restore(folder string) error {
	err := errors.Join(m.restoreSettings(), m.removeNetwork(), unmountBelow(folder), removeTraces(folder))
	if err != nil {
		return err // what is still mounted below the folder must not be removed with it
	}
	return os.RemoveAll(folder)
}

func (m *machine) restoreSettings() error {
	var failed error
	for path, before := range m.settings {
		now, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(now, before) {
			err = os.WriteFile(path, before, 0o644)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

func (m *machine) removeNetwork() error {
	var errs []error
	if _, err := os.Stat(filepath.Join("/sys/class/net", bridge)); err == nil {
		_, err := run("ip", "link", "delete", "dev", bridge)
		errs = append(errs, err)
	}
	if m.lent {
		_, err := run("ip", "address", "delete", address+"/32", "dev", "lo")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endShims ends what containerd has lost and left behind, as when a Pod ends while it starts.
func endShims(socket string) error {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	var errs []error
	for _, process := range processes {
		text, err := readText(process)
		args := strings.Split(text, "\x00")
		if err != nil || !strings.Contains(args[0], "containerd-shim") || !slices.Contains(args, socket) {
			continue // it has ended, or is another
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(process)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// unmountBelow takes volumes, root file systems and network namespaces of Pods away, which
// outlive kubelet and containerd.
func unmountBelow(folder string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	var errs []error
	for _, line := range slices.Backward(strings.Split(string(mounts), "\n")) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], folder+"/") {
			_, err := run("umount", "--lazy", fields[4])
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeTraces removes what has its place outside of the folder, whatever is configured:
// kubelet's socket for devices and its links to logs, and results of CNI. Empty folders stay,
// and empty control groups.
func removeTraces(folder string) error {
	traces := []string{deviceSocket}
	for pattern, read := range map[string]func(path string) (string, error){
		"/var/lib/cni/results/*": readText,
		"/var/log/containers/*":  os.Readlink,
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, path := range paths {
			if text, err := read(path); err == nil && strings.Contains(text, folder+"/") {
				traces = append(traces, path)
			}
		}
	}
	var errs []error
	for _, trace := range traces {
		if err := os.Remove(trace); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	return string(data), err
}

// run runs a command, and returns what it prints.
func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}
