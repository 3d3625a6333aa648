#!/usr/bin/env bash
# Builds the control plane of one version of Kubernetes into bin/k8s-VERSION. What
# is there already is left alone.
#
#   hack/controlplane/build.sh 1.34.4
#   hack/controlplane/build.sh 1.34.4 node   # also kube-scheduler and kubelet; no other version has them
#
# Each version has a module of its own in a folder of its name; the newest has this one.
# etcd and kubectl are those of the newest, for all: they work with each API server here.
set -euo pipefail
cd "$(dirname "$0")"

newest=$(go list -m -f '{{slice .Version 1}}' k8s.io/kubernetes)
version=${1:-$newest}
bin=$(mkdir -p ../../bin && cd ../../bin && pwd)

module=$version
[[ $version == "$newest" ]] && module=.
if [[ ! -f $module/go.mod ]]; then
	echo "hack/controlplane builds no Kubernetes $version, only: $(ls -d 1.*/ | tr -d / | xargs) $newest" >&2
	exit 1
fi

# build VERSION MODULE BINARY PACKAGE
build() {
	local version=$1 out=$bin/k8s-$1 binary=$3 package=$4
	[[ -x $out/$binary ]] && return
	mkdir -p "$out"
	IFS=. read -r major minor _ <<<"$version"
	local flags="-s -w"
	for at in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags+=" -X $at.gitVersion=v$version -X $at.gitMajor=$major -X $at.gitMinor=$minor"
	done
	echo "building $binary of Kubernetes $version (the first time takes minutes)"
	# go build prints a dot here for every twentieth package that it compiles.
	(cd "$2" && CGO_ENABLED=0 go build -v -trimpath -ldflags "$flags" -o "$out/.$binary" "$package") 2>&1 |
		awk '/^[^ ]+$/ && !/:/ { if (++n % 20 == 0) { printf "."; fflush() } next } { print } END { if (n >= 20) print "" }'
	mv "$out/.$binary" "$out/$binary" # whole or not at all
}

# In the order of first use, so that a failure shows early.
build "$newest" . etcd go.etcd.io/etcd/server/v3
build "$version" "$module" kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build "$version" "$module" kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
build "$newest" . kubectl k8s.io/kubernetes/cmd/kubectl
if [[ ${2:-} == node ]]; then
	build "$version" "$module" kube-scheduler k8s.io/kubernetes/cmd/kube-scheduler
	build "$version" "$module" kubelet k8s.io/kubernetes/cmd/kubelet
fi
for binary in etcd kubectl; do
	[[ -e $bin/k8s-$version/$binary ]] || ln -s "../k8s-$newest/$binary" "$bin/k8s-$version/$binary"
done
