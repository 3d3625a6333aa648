// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package ui

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
)

// openers are what opens a file in the browser, by operating system.
var openers = map[string][]string{
	"darwin":  {"open"},
	"windows": {"rundll32", "url.dll,FileProtocolHandler"},
}

// Open leads the browser of this machine to an address with a secret in it. All users may see
// what a program is called with: so the browser is given a file that only its user may read, and
// that leads on. remove takes it away again.
//
// It is in the home folder, by a name that is not hidden: a browser in a snap reads nothing else.
func Open(address string) (remove func(), err error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(home, "kubectl-lapse-ui-*.html") // which nobody else may read
	if err != nil {
		return nil, err
	}
	remove = func() { _ = os.Remove(file.Name()) }
	if err = leadOn(file, address); err == nil {
		err = show(file.Name())
	}
	if err != nil {
		remove()
		return nil, err
	}
	return remove, nil
}

func leadOn(file *os.File, address string) error {
	var page bytes.Buffer
	err := Render(&page, []Part{
		El("title", Text("Lapse")),
		El("meta", Attr("name", "referrer"), Attr("content", "no-referrer")),
		El("meta", Attr("http-equiv", "refresh"), Attr("content", "0; url="+address)),
	}, []Part{El("a", Attr("href", address), Text("Go on"))})
	if err == nil {
		_, err = file.Write(page.Bytes())
	}
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// show starts the browser, which outlives whatever started it, and does not wait for it.
func show(file string) error {
	command, known := openers[runtime.GOOS]
	if !known {
		command = []string{"xdg-open"}
	}
	cmd := exec.Command(command[0], append(command[1:], file)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
