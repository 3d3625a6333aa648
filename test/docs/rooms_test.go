// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lapse-dev/lapse/"

// inCode is a word in a cell of a table.
var inCode = regexp.MustCompile("`([^`]+)`")

func TestTheArchitectureNamesWhatRoomsImport(t *testing.T) {
	said := map[string][]string{}
	_, table, _ := strings.Cut(prose(t, "docs/architecture.md"), "| Room |")
	table, _, _ = strings.Cut(table, "\n\n")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) == 3 && strings.HasPrefix(cells[0], "| `") {
			said[words(cells[0])[0]] = words(cells[2])
		}
	}
	for room, imports := range importsOfRooms(t) {
		there, named := said[room]
		switch {
		case !named:
			t.Errorf("docs/architecture.md does not name %s", room)
		case !slices.Equal(there, imports):
			t.Errorf("%s imports %v; docs/architecture.md says %v", room, imports, there)
		}
	}
}

func words(cell string) (found []string) {
	for _, word := range inCode.FindAllStringSubmatch(cell, -1) {
		found = append(found, word[1])
	}
	return found
}

// importsOfRooms are, by short names, what each room imports of Lapse.
func importsOfRooms(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`,
		"./api/...", "./controllers/...", "./internal/...", "./cmd/kubectl-lapse")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	rooms := map[string][]string{}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		room := strings.TrimPrefix(fields[0], module)
		rooms[room] = nil
		// go test serves a result from its cache until what the test itself opened has changed.
		if _, err := os.ReadDir(filepath.Join(root, room)); err != nil {
			t.Fatal(err)
		}
		for _, path := range fields[1:] {
			name, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			if !strings.HasPrefix(name, "config/") {
				name = name[strings.LastIndex(name, "/")+1:]
			}
			rooms[room] = append(rooms[room], name)
		}
	}
	return rooms
}
