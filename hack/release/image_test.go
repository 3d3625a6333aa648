// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/x509"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// loaded is the index of the layout.
func loaded(t *testing.T) v1.ImageIndex {
	t.Helper()
	folder := t.TempDir()
	for name, f := range opened(t, read(t, published, "lapse-image.tar"), epoch(t)) {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(all); err != nil { // every digest and size
		t.Fatal(err)
	}
	manifest, err := all.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("the layout has not one index: %+v (%v)", manifest, err)
	}
	if name := manifest.Manifests[0].Annotations["io.containerd.image.name"]; name != image {
		t.Errorf("containerd would call it %q", name)
	}
	index, err := all.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func TestTheImageIsForBothPlatforms(t *testing.T) {
	index := loaded(t)
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	platforms := make([]string, 0, len(manifest.Manifests))
	for _, m := range manifest.Manifests {
		platform := m.Platform.String()
		platforms = append(platforms, platform)
		t.Run(platform, func(t *testing.T) {
			img, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			isWhatTheDockerfileMakes(t, img, platform)
			holdsTheManager(t, img, platform)
		})
	}
	if !slices.Equal(platforms, []string{"linux/amd64", "linux/arm64"}) {
		t.Errorf("it is for %v", platforms)
	}
}

func isWhatTheDockerfileMakes(t *testing.T, img v1.Image, platform string) {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Platform().String() != platform || config.Created.Unix() != epoch(t) {
		t.Errorf("it is for %s, of %s", config.Platform(), config.Created)
	}
	dockerfile := string(read(t, root, "Dockerfile"))
	user := regexp.MustCompile(`(?m)^USER (.*)$`).FindStringSubmatch(dockerfile)
	entrypoint := regexp.MustCompile(`(?m)^ENTRYPOINT \["(.*)"\]$`).FindStringSubmatch(dockerfile)
	if config.Config.User != user[1] || !slices.Equal(config.Config.Entrypoint, entrypoint[1:]) {
		t.Errorf("%s runs %q, and in the Dockerfile %s runs %s", config.Config.User, config.Config.Entrypoint, user[1], entrypoint[1])
	}
	want := map[string]string{"org.opencontainers.image.version": version, "org.opencontainers.image.revision": commit}
	for _, label := range regexp.MustCompile(`(org\.opencontainers\S+)="(.*)"`).FindAllStringSubmatch(dockerfile, -1) {
		want[label[1]] = label[2]
	}
	if !maps.Equal(config.Config.Labels, want) || len(want) != 5 {
		t.Errorf("the labels are %v, and not %v", config.Config.Labels, want)
	}
}

func holdsTheManager(t *testing.T, img v1.Image, platform string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers (%v)", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(content)
	if err != nil {
		t.Fatal(err)
	}
	files := opened(t, data, epoch(t))
	const want = "etc/ 755, etc/ssl/ 755, etc/ssl/certs/ 755, etc/ssl/certs/ca-certificates.crt 644, manager 755"
	if got := modes(files); got != want {
		t.Errorf("it holds %s, and not %s", got, want)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"].data) {
		t.Error("Go reads no certificate")
	}
	program := files["manager"].data
	holdsProgram(t, program, manager, platform)
	if !bytes.Equal(program, read(t, root, "dist/manager", platform, "manager")) {
		t.Error("it is not the manager that make built")
	}
	if platform != runtime.GOOS+"/"+runtime.GOARCH {
		return
	}
	runs := filepath.Join(t.TempDir(), "manager")
	if err := os.WriteFile(runs, program, 0o755); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), runs, "version").CombinedOutput()
	if err != nil || strings.TrimSpace(string(said)) != version+" commit "+commit {
		t.Errorf("it says that it is %s (%v)", said, err)
	}
}
