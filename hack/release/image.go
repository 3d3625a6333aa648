// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// writeImage writes an archive of an OCI layout. It has one index, with an image for each
// platform: what the Dockerfile makes.
func (r release) writeImage(managers []binary, archive string) (digest v1.Hash, err error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, m := range managers {
		image, err := r.imageOf(m)
		if err != nil {
			return digest, err
		}
		platform := &v1.Platform{OS: m.setting("GOOS"), Architecture: m.setting("GOARCH")}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	// A registry shows those of the index.
	index, _ = mutate.Annotations(index, r.labels()).(v1.ImageIndex)
	if digest, err = index.Digest(); err != nil {
		return digest, err
	}
	folder, err := os.MkdirTemp("", "layout-")
	if err != nil {
		return digest, err
	}
	defer os.RemoveAll(folder)
	written, err := layout.Write(folder, empty.Index)
	if err != nil {
		return digest, err
	}
	// By these containerd and others call it as the manifests do when they load the archive.
	names := map[string]string{"org.opencontainers.image.ref.name": r.version, "io.containerd.image.name": r.image}
	if err := written.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return digest, err
	}
	return digest, pack(folder, archive, r.when)
}

func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":    "lapse",
		"org.opencontainers.image.source":   "https://github.com/lapse-dev/lapse",
		"org.opencontainers.image.licenses": "Apache-2.0",
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.commit,
	}
}

func (r release) imageOf(m binary) (v1.Image, error) {
	program, err := os.ReadFile(m.path)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	if err := writeTar(&files, []file{
		{name: "etc/", mode: 0o755},
		{name: "etc/ssl/", mode: 0o755},
		{name: "etc/ssl/certs/", mode: 0o755},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, data: certificates()},
		{name: "manager", mode: 0o755, data: program},
	}, r.when); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files.Bytes())), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: m.setting("GOOS"), Architecture: m.setting("GOARCH"), Created: v1.Time{Time: r.when}, RootFS: v1.RootFS{Type: "layers"},
		// The user as a number, so that runAsNonRoot can tell.
		Config: v1.Config{User: "65532:65532", Entrypoint: []string{"/manager"}, Labels: r.labels()},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: r.when}, CreatedBy: "make release", Comment: r.commit,
	}})
}

// certificates are Mozilla's, of the version in go.mod and not of the machine. A file cannot
// say that one is trusted only for what it signed until some day: such are left out.
func certificates() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			all.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return all.Bytes()
}
