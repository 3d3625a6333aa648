// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"debug/buildinfo"
	"fmt"
	"runtime/debug"
)

const (
	manager = "github.com/lapse-dev/lapse"
	plugin  = "github.com/lapse-dev/lapse/cmd/kubectl-lapse"
)

// binary is a program that Go built. It says itself for which platform.
type binary struct {
	path string
	*debug.BuildInfo
}

func (b binary) setting(key string) string {
	for _, s := range b.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// programs tells the managers from the plugins.
func programs(paths []string) (managers, plugins []binary, err error) {
	for _, path := range paths {
		info, err := buildinfo.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		switch b := (binary{path: path, BuildInfo: info}); info.Path {
		case manager:
			managers = append(managers, b)
		case plugin:
			plugins = append(plugins, b)
		default:
			return nil, nil, fmt.Errorf("%s is %s, and not of a release", path, info.Path)
		}
	}
	return managers, plugins, nil
}
