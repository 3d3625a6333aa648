// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"strings"
	"testing"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/lapse-dev/lapse/internal/text"
	"github.com/lapse-dev/lapse/test/hostile"
)

// asShipped are the options without any flag.
func asShipped(t *testing.T) *zap.Options {
	t.Helper()
	o := &zap.Options{}
	o.BindFlags(flag.NewFlagSet("manager", flag.ContinueOnError))
	return o
}

func TestALogLineIsOneJSONObjectWhateverPeopleWrote(t *testing.T) {
	for _, s := range hostile.Strings(t) {
		var out bytes.Buffer
		log := newLogger(&out, asShipped(t))
		log.Info(s, "requester", s, "groups", []string{s}, "grant", map[string]string{"endedBy": s})
		log.Error(errors.New(s), s, s, s)
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != 2 {
			t.Fatalf("%.60q: %d lines", s, len(lines))
		}
		for _, line := range lines {
			if line != text.Printable(line, "") {
				t.Errorf("%.60q: a terminal would act on %.200q", s, line)
			}
			var logged map[string]any
			if err := json.Unmarshal([]byte(line), &logged); err != nil {
				t.Fatalf("%.60q: %v in %.200q", s, err, line)
			}
			if want := string([]rune(s)); logged["msg"] != want {
				t.Errorf("%.60q is logged as %.60q", want, logged["msg"])
			}
		}
	}
}

func TestLibrariesLogJSONToo(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	var out bytes.Buffer
	logTo(&out, asShipped(t))
	klog.Warning("from a library")
	klog.Background().Info("and another one")
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), out.String())
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("%s is no JSON", line)
		}
	}
}
