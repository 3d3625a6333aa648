// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"
)

const (
	assetsEnv     = "KUBEBUILDER_ASSETS"
	modulePath    = "github.com/lapse-dev/lapse"
	versionModule = "k8s.io/kubernetes"
)

// findAssets returns the folder with the binaries: dir if it is set, else
// KUBEBUILDER_ASSETS, else what `make controlplane` builds.
func findAssets(dir string, binaries ...string) (string, error) {
	if dir == "" {
		dir = os.Getenv(assetsEnv)
	}
	if dir == "" {
		var err error
		if dir, err = builtAssets(); err != nil {
			return "", err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for _, binary := range binaries {
		if _, err := os.Stat(filepath.Join(dir, binary)); err != nil {
			return "", fmt.Errorf("%s is missing in %s; run `make controlplane`: %w", binary, dir, err)
		}
	}
	return dir, nil
}

// builtAssets names the folder that hack/controlplane/build.sh writes to. The
// version comes from the go.mod that the binaries are built with, so that a
// binary of another version is never used by mistake.
func builtAssets() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	goMod := filepath.Join(root, "hack", "controlplane", "go.mod")
	version, err := requiredVersion(goMod, versionModule)
	if err != nil {
		return "", err
	}
	return filepath.Join(root, "bin", "k8s-"+strings.TrimPrefix(version, "v")), nil
}

// Versions are those that hack/controlplane builds, such as 1.37.2, the oldest first.
func Versions() ([]string, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	folder := filepath.Join(root, "hack", "controlplane")
	newest, err := requiredVersion(filepath.Join(folder, "go.mod"), versionModule)
	if err != nil {
		return nil, err
	}
	versions := []string{strings.TrimPrefix(newest, "v")}
	modules, err := filepath.Glob(filepath.Join(folder, "*", "go.mod"))
	for _, module := range modules {
		versions = append(versions, filepath.Base(filepath.Dir(module)))
	}
	slices.SortFunc(versions, func(a, b string) int {
		return slices.Compare(version.MustParseGeneric(a).Components(), version.MustParseGeneric(b).Components())
	})
	return versions, err
}

// AssetsOf is the folder in which the binaries of a version are, once they are built.
func AssetsOf(version string) (string, error) {
	root, err := moduleRoot()
	return filepath.Join(root, "bin", "k8s-"+version), err
}

// moduleRoot looks upwards from the working folder, which is the package's for
// a test and the root for make.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(goMod), "module "+modulePath+"\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside the module %s; set %s", start, modulePath, assetsEnv)
		}
	}
}

// requiredVersion returns the version of module that goMod requires.
func requiredVersion(goMod, module string) (string, error) {
	file, err := os.Open(goMod)
	if err != nil {
		return "", err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(strings.TrimPrefix(lines.Text(), "require"))
		if len(fields) >= 2 && fields[0] == module {
			return fields[1], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	return "", fmt.Errorf("%s does not require %s", goMod, module)
}
