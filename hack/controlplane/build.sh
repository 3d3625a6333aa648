#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl into the
# folder named by its argument. What is there already is left alone: a folder
# belongs to one version, which the Makefile writes into its name.
set -euo pipefail

out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")"

version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) # v1.37.2
IFS=. read -r major minor _ <<<"${version#v}"
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
	flags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
done

# In the order of first use, so that a failure shows early.
sources=(
	go.etcd.io/etcd/server/v3
	k8s.io/kubernetes/cmd/kube-apiserver
	k8s.io/kubernetes/cmd/kube-controller-manager
	k8s.io/kubernetes/cmd/kubectl
)
binaries=(etcd kube-apiserver kube-controller-manager kubectl)

for i in "${!binaries[@]}"; do
	binary=${binaries[$i]}
	[[ -x $out/$binary ]] && continue
	echo "building $binary of Kubernetes $version ($((i + 1)) of ${#binaries[@]}; the first time takes minutes)"
	# go build prints a dot here for every package that it compiles.
	CGO_ENABLED=0 go build -v -trimpath -ldflags "$flags" -o "$out/.$binary" "${sources[$i]}" 2>&1 |
		awk '/^[^ ]+$/ && !/:/ { if (++n % 20 == 0) { printf "."; fflush() } next } { print } END { if (n >= 20) print "" }'
	mv "$out/.$binary" "$out/$binary" # whole or not at all
done
