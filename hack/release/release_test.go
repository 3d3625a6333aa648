// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"sigs.k8s.io/yaml"
)

// make test-release says what it made.
var version, commit, image = os.Getenv("VERSION"), os.Getenv("COMMIT"), os.Getenv("IMG")

const (
	root      = "../.."
	published = "../../dist/release"
)

func TestMain(m *testing.M) {
	if version == "" || commit == "" || image == "" {
		fmt.Fprintln(os.Stderr, "run this by make test-release")
		os.Exit(1)
	}
	m.Run()
}

func read(t *testing.T, elements ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// unzipped fails on a name and on a time of gzip. What is not packed stays as it is.
func unzipped(t *testing.T, data []byte) io.Reader {
	t.Helper()
	out, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return bytes.NewReader(data)
	}
	if out.Name != "" || !out.ModTime.IsZero() {
		t.Errorf("gzip has the name %q and the time %s", out.Name, out.ModTime)
	}
	return out
}

// opened has what is in an archive by name, and fails on an owner and on another time.
func opened(t *testing.T, data []byte, epoch int64) map[string]file {
	t.Helper()
	files, last := map[string]file{}, ""
	for archive := tar.NewReader(unzipped(t, data)); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.Gname != "" || header.ModTime.Unix() != epoch {
			t.Errorf("%s has the owner %d:%d %q:%q and the time %s", header.Name, header.Uid, header.Gid, header.Uname, header.Gname, header.ModTime)
		}
		if header.Name <= last {
			t.Errorf("%s comes after %s", header.Name, last)
		}
		last = header.Name
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = file{header.Name, header.Mode, content}
	}
}

func modes(files map[string]file) string {
	out := make([]string, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		out = append(out, fmt.Sprintf("%s %o", name, files[name].mode))
	}
	return strings.Join(out, ", ")
}

// holdsProgram looks at a binary as go version -m does, and for the version and the commit in it.
func holdsProgram(t *testing.T, data []byte, program, platform string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	b := binary{BuildInfo: info}
	if got := b.setting("GOOS") + "/" + b.setting("GOARCH"); info.Path != program || got != platform {
		t.Errorf("it is %s for %s, and not %s for %s", info.Path, got, program, platform)
	}
	if b.setting("CGO_ENABLED") != "0" || b.setting("-trimpath") != "true" {
		t.Errorf("it needs a C library, or has paths in it: %v", info.Settings)
	}
	if !bytes.Contains(data, []byte(version)) || !bytes.Contains(data, []byte(commit)) {
		t.Errorf("it does not say that it is %s of %s", version, commit)
	}
}

func TestThePluginIsPackedForEachPlatform(t *testing.T) {
	for _, platform := range []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64"} {
		t.Run(platform, func(t *testing.T) {
			files := opened(t, read(t, published, "kubectl-lapse_"+strings.ReplaceAll(platform, "/", "_")+".tar.gz"), epoch(t))
			program := "kubectl-lapse"
			if strings.HasPrefix(platform, "windows/") {
				program += ".exe"
			}
			if got, want := modes(files), "LICENSE 644, "+program+" 755, kubectl_complete-lapse 755"; got != want {
				t.Errorf("it holds %s, and not %s", got, want)
			}
			holdsProgram(t, files[program].data, plugin, platform)
		})
	}
}

// krewPlugin is what krew reads of a manifest.
type krewPlugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string         `json:"version"`
		Homepage         string         `json:"homepage"`
		ShortDescription string         `json:"shortDescription"`
		Description      string         `json:"description"`
		Caveats          string         `json:"caveats"`
		Platforms        []krewPlatform `json:"platforms"`
	} `json:"spec"`
}

type krewPlatform struct {
	Selector struct {
		MatchLabels struct{ OS, Arch string } `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
}

func TestTheKrewManifestIsWhatKrewAsksFor(t *testing.T) {
	var p krewPlugin
	if err := yaml.UnmarshalStrict(read(t, published, "krew-lapse.yaml"), &p); err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "lapse" ||
		p.Spec.Version != version || len(p.Spec.ShortDescription) > 50 || len(p.Spec.Platforms) != 5 {
		t.Errorf("krew would refuse this, or it is of another release: %+v", p)
	}
	for _, on := range p.Spec.Platforms {
		archive := "kubectl-lapse_" + on.Selector.MatchLabels.OS + "_" + on.Selector.MatchLabels.Arch + ".tar.gz"
		if on.URI != "https://github.com/lapse-dev/lapse/releases/download/"+version+"/"+archive {
			t.Errorf("%s is not %s of this release", on.URI, archive)
		}
		data := read(t, published, archive)
		if sum := fmt.Sprintf("%x", sha256.Sum256(data)); sum != on.SHA256 {
			t.Errorf("the checksum of %s is %s, and not %s", archive, sum, on.SHA256)
		}
		if _, ok := opened(t, data, epoch(t))[on.Bin]; !ok {
			t.Errorf("%s has no %s", archive, on.Bin)
		}
	}
}

func TestTheBOMsNameAllThatBinariesHave(t *testing.T) {
	for name, binaries := range map[string]string{"manager": "dist/manager/*/*/manager", "kubectl-lapse": "dist/*/*/kubectl-lapse*"} {
		t.Run(name, func(t *testing.T) {
			var bom cdx.BOM
			if err := cdx.NewBOMDecoder(bytes.NewReader(read(t, published, name+".cdx.json")), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
				t.Fatal(err)
			}
			if bom.SerialNumber == "" || bom.Metadata.Timestamp != "" || bom.Metadata.Component.Version != version {
				t.Errorf("the number is %q, the time %q, and it is of %+v", bom.SerialNumber, bom.Metadata.Timestamp, bom.Metadata.Component)
			}
			has := map[string]bool{}
			for _, c := range *bom.Components {
				has[c.Name+" "+c.Version] = true
			}
			paths, err := filepath.Glob(filepath.Join(root, binaries))
			if err != nil || len(paths) < 2 {
				t.Fatalf("%q (%v)", paths, err)
			}
			for _, path := range paths {
				for _, part := range partsOf(t, path) {
					if !has[part] {
						t.Errorf("%s has %s, and %s.cdx.json does not", path, part, name)
					}
				}
			}
		})
	}
}

func partsOf(t *testing.T, path string) []string {
	t.Helper()
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	parts := make([]string, 0, 1+len(info.Deps))
	parts = append(parts, "stdlib "+strings.TrimPrefix(info.GoVersion, "go"))
	for _, m := range info.Deps {
		parts = append(parts, m.Path+" "+m.Version)
	}
	return parts
}

func TestTheWaysToInstallNameTheImage(t *testing.T) {
	for _, name := range []string{"install-default.yaml", "install-without-mutating.yaml"} {
		images := regexp.MustCompile(`(?m)^ +(?:- )?image: (.*)$`).FindAllSubmatch(read(t, published, name), -1)
		for _, named := range images {
			if string(named[1]) != image {
				t.Errorf("%s names %s", name, named[1])
			}
		}
		if len(images) != 2 {
			t.Errorf("%s has %d images, and not those of operator and reaper", name, len(images))
		}
	}
	number := strings.TrimPrefix(version, "v")
	chart := string(opened(t, read(t, published, "lapse-"+number+".tgz"), 0)["lapse/Chart.yaml"].data)
	for _, part := range []string{"\nversion: " + number + "\n", "\nappVersion: " + version + "\n", "image: " + image + "\n"} {
		if !strings.Contains(chart, part) {
			t.Errorf("Chart.yaml has no %q:\n%s", part, chart)
		}
	}
}

func TestChecksumsAreOfAllThatIsPublished(t *testing.T) {
	entries, err := os.ReadDir(published)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, entry := range entries {
		if entry.Name() == "SHA256SUMS" {
			continue
		}
		sum, err := sha256Of(filepath.Join(published, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		want.WriteString(sum + "  " + entry.Name() + "\n")
	}
	if got := string(read(t, published, "SHA256SUMS")); got != want.String() || len(entries) != 13 {
		t.Errorf("of %d files the checksums are\n%s, and not\n%s", len(entries), got, want.String())
	}
}

func epoch(t *testing.T) int64 {
	t.Helper()
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seconds
}
