// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rooms holds what each room imports, directly or not, against what it may know.
package rooms

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module            = "github.com/lapse-dev/lapse/"
	celGo             = "github.com/google/cel-go"
	clientGo          = "k8s.io/client-go"
	controllerRuntime = "sigs.k8s.io/controller-runtime"
	anyOfLapse        = module
)

// What each room may not know. A path stands for all that is below it.
var forbidden = map[string][]string{
	// What ends access can wait for nothing that judges it.
	"controllers/ending": {
		module + "internal/policy", module + "internal/grant", module + "internal/admission",
		module + "controllers/granting", module + "controllers/guarding", module + "controllers/telling", celGo,
	},
	"controllers/granting": {
		module + "controllers/ending", module + "controllers/guarding", module + "controllers/telling", module + "internal/audit",
	},
	"controllers/guarding": {
		module + "controllers/ending", module + "controllers/granting", module + "controllers/telling",
		module + "internal/policy", module + "internal/grant", celGo,
	},
	// Nobody asks it, and it asks nobody.
	"controllers/telling": {
		module + "controllers/ending", module + "controllers/granting", module + "controllers/guarding", module + "internal/grant",
	},
	// The reaper works without the operator, and the plugin links it.
	"internal/reap": {
		module + "internal/policy", module + "internal/grant", module + "internal/admission", module + "controllers", celGo, controllerRuntime,
		clientGo,
	},
	"internal/binding": {
		module + "internal/policy", module + "internal/grant", module + "internal/admission", module + "controllers", celGo, controllerRuntime,
		clientGo,
	},
	"internal/unbind": {
		module + "internal/policy", module + "internal/grant", module + "internal/admission", module + "controllers", celGo,
	},
	"internal/seats":      {anyOfLapse, celGo},
	"internal/servertime": {anyOfLapse, controllerRuntime, clientGo},
	"internal/text":       {anyOfLapse, controllerRuntime, clientGo, "k8s.io"},
	"internal/metrics":    {module + "internal", module + "controllers", celGo},
	// Judging is pure.
	"internal/admission": {module + "controllers", module + "internal/policy", module + "internal/grant", controllerRuntime, clientGo},
	"internal/policy":    {module + "controllers", module + "internal/grant", module + "internal/admission", controllerRuntime},
	"internal/grant":     {module + "controllers", controllerRuntime},
	"internal/audit":     {module + "controllers", module + "internal/admission", controllerRuntime, clientGo},
	// What is said, and how it is sent, know no cluster.
	"internal/message":    {module + "controllers", module + "internal/admission", module + "internal/grant", controllerRuntime, clientGo},
	"internal/receiver":   {module + "controllers", module + "internal/admission", module + "internal/grant", controllerRuntime, clientGo},
	"internal/kubernetes": {anyOfLapse, controllerRuntime, clientGo},
	"internal/build":      {anyOfLapse, "k8s.io"},
	"internal/serving":    {anyOfLapse, celGo},
	"api/v1alpha1":        {module + "internal", module + "controllers", controllerRuntime, clientGo, celGo},
	"cmd/kubectl-lapse":   {module + "controllers"},
	// It serves pages, and knows neither what is on them nor the API server.
	"cmd/kubectl-lapse/internal/ui": {
		module + "api", module + "config", module + "controllers", module + "internal/policy", module + "internal/grant",
		module + "internal/admission", module + "internal/audit", celGo, controllerRuntime, "k8s.io",
	},
}

func TestNoRoomKnowsWhatItMayNot(t *testing.T) {
	imports := importsOf(t)
	for room, paths := range forbidden {
		t.Run(room, func(t *testing.T) {
			if _, there := imports[module+room]; !there {
				t.Fatalf("there is no package %s", room)
			}
			for _, path := range paths {
				if chain := reach(imports, module+room, path); chain != nil {
					t.Errorf("%s may not know %s:\n%s", room, path, strings.Join(chain, "\n  imports "))
				}
			}
		})
	}
}

func TestEachRoomHasARule(t *testing.T) {
	for pkg := range importsOf(t) {
		room, ours := strings.CutPrefix(pkg, module)
		if !ours || !strings.HasPrefix(room, "controllers/") && !strings.HasPrefix(room, "internal/") {
			continue
		}
		if _, there := forbidden[room]; !there {
			t.Errorf("%s has no rule: say in this file what it may not know", room)
		}
	}
}

// importsOf are the imports of each package that the operator and the plugin link.
func importsOf(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Dir", ".", "./cmd/...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	imports := map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Dir string
			Imports         []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return imports
		} else if err != nil {
			t.Fatal(err)
		}
		// go test serves a result from its cache until what the test itself opened has changed.
		if strings.HasPrefix(p.ImportPath+"/", module) {
			if _, err := os.ReadDir(p.Dir); err != nil {
				t.Fatal(err)
			}
		}
		imports[p.ImportPath] = p.Imports
	}
}

// reach is the shortest chain of imports from a package to anything below a path, but for
// itself; nil if there is none.
func reach(imports map[string][]string, from, path string) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && (at == path || strings.HasPrefix(at, strings.TrimSuffix(path, "/")+"/")) {
			var chain []string
			for ; at != ""; at = cameFrom[at] {
				chain = append(chain, at)
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range imports[at] {
			if _, seen := cameFrom[next]; !seen {
				cameFrom[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}
