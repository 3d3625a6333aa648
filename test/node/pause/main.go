// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Command pause holds a Pod, and its one container: it waits until it is told to end. With
// an argument it says again what it hears, for whoever execs.
package main

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		if _, err := io.Copy(os.Stdout, os.Stdin); err != nil {
			os.Exit(1)
		}
		return
	}
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	<-told
}
