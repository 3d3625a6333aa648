# Everything that is needed is built from Go modules into bin/. A bare `make`
# lists what there is.

SHELL := /usr/bin/env bash -o pipefail -e
.DEFAULT_GOAL := help

# hack/controlplane builds these; the newest by default: make test KUBE_VERSION=1.34.4
KUBE_VERSION := 1.37.2
OLDEST := 1.31.13
# A folder of its own for each version: a new version is built, an old one is not
# built again. KUBEBUILDER_ASSETS, when set, is used instead.
CONTROLPLANE := bin/k8s-$(KUBE_VERSION)
ASSETS := $(or $(KUBEBUILDER_ASSETS),$(abspath $(CONTROLPLANE)))

CONTROLLER_GEN := bin/controller-gen
GOLANGCI_LINT := bin/golangci-lint
ACTIONLINT := bin/actionlint
CRD_REF_DOCS := bin/crd-ref-docs
# The jq of the examples in docs/.
GOJQ := bin/gojq
# By these the alerts and the dashboard are tried.
PROMETHEUS := bin/prometheus
PROMTOOL := bin/promtool
# It is told, as people's receivers are.
ALERTMANAGER := bin/alertmanager
# It packs what a release publishes, with the time of the commit.
RELEASE := bin/release
RELEASE_RUN := SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 0) $(RELEASE)
# As people have it, of the version by which the chart is tested.
HELM := bin/helm
# Flux's, and beside it, as .yaml, the kind that it reconciles.
KUSTOMIZE_CONTROLLER := bin/kustomize-controller
# Ginkgo colours also what goes into a file.
export GINKGO_NO_COLOR := 1
VERSION ?= v0.1.0
IMG ?= ghcr.io/lapse-dev/lapse:$(VERSION)
# docker, podman or buildah.
ENGINE ?= docker
# What the image is for: make image PLATFORM=linux/arm64
PLATFORM ?= linux/$(shell go env GOARCH)
# By which the operator trusts https receivers of records.
CA_CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt
COMMIT := $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null)
BUILD := github.com/lapse-dev/lapse/internal/build
# Functions begin at every eighth byte, and not at every 32nd: 0.6 MB of each manager is then
# no padding.
LDFLAGS := -s -w -funcalign=8 -X $(BUILD).version=$(VERSION) -X $(BUILD).commit=$(COMMIT)
# Without cgo a binary needs no C library. It has the same bits wherever it is built, by
# the same version of Go: without paths, and without what git knows besides the commit.
# Files of records are packed by gzip alone.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags timberjack_nozstd -ldflags '$(LDFLAGS)'
PLUGIN_PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
IMAGE_PLATFORMS := linux/amd64 linux/arm64
PLUGIN_ARCHIVES := $(foreach platform,$(PLUGIN_PLATFORMS),dist/kubectl-lapse_$(subst /,_,$(platform)).tar.gz)

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### Try it

.PHONY: demo
demo: build controlplane ## Watch access being asked for, given, used and ended on a real API server
	KUBEBUILDER_ASSETS=$(ASSETS) go run ./hack/demo

.PHONY: dev
dev: build controlplane ## Leave a cluster running and print its KUBECONFIG; Ctrl-C ends it
	KUBEBUILDER_ASSETS=$(ASSETS) go run ./hack/dev

##### Build

.PHONY: build
build: ## Build the manager and the kubectl plugin into bin/
	$(GO_BUILD) -o bin/manager .
	$(GO_BUILD) -o bin/kubectl-lapse ./cmd/kubectl-lapse
	install -m 755 cmd/kubectl-lapse/kubectl_complete-lapse bin/

.PHONY: plugin
plugin: $(PLUGIN_PLATFORMS:%=plugin/%) ## Build the archives of the kubectl plugin, as hack/krew/lapse.yaml names them, into dist/

plugin/%: $(RELEASE)
	rm -rf dist/$* && mkdir -p dist/$*
	GOOS=$(*D) GOARCH=$(*F) $(GO_BUILD) -o dist/$*/ ./cmd/kubectl-lapse
	cp cmd/kubectl-lapse/kubectl_complete-lapse LICENSE dist/$*/
	$(RELEASE_RUN) pack dist/$* dist/kubectl-lapse_$(*D)_$(*F).tar.gz

.PHONY: controlplane
controlplane: ## Build etcd, kube-apiserver, kube-controller-manager and kubectl into bin/ (minutes, once)
ifndef KUBEBUILDER_ASSETS
	@hack/controlplane/build.sh $(KUBE_VERSION)
endif

# What goes into the image is built outside of it: it takes no base image, no registry and
# no emulation. docker build . does all of it inside, see the Dockerfile.
.PHONY: image
image: ## Build the container image IMG by ENGINE (docker, podman, buildah) for PLATFORM
	umask 022 && rm -rf dist/image && mkdir -p dist/image/etc/ssl/certs # for user 65532
	umask 022 && GOOS=$(word 1,$(subst /, ,$(PLATFORM))) GOARCH=$(word 2,$(subst /, ,$(PLATFORM))) $(GO_BUILD) -o dist/image/manager .
	install -m 644 '$(CA_CERTIFICATES)' dist/image/etc/ssl/certs/ca-certificates.crt
	$(ENGINE) build --platform $(PLATFORM) --build-arg FILES=prebuilt \
		--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$(COMMIT) -t $(IMG) .

.PHONY: install-manifest
install-manifest: ## Write a manifest for each supported way to install, with the image IMG, into dist/
	go run ./hack/install -image '$(IMG)' -out dist

.PHONY: chart
chart: ## Pack the Helm chart, with the version VERSION and the image IMG, into dist/
	go run ./hack/chart -version '$(VERSION)' -image '$(IMG)' -pack dist

##### Release

# Beside dist/linux/amd64, all of which is packed with the plugin.
manager/%:
	GOOS=$(*D) GOARCH=$(*F) $(GO_BUILD) -o dist/manager/$*/manager .

# Of what is there, committed or not: for make test-release.
.PHONY: release-files
release-files: $(IMAGE_PLATFORMS:%=manager/%) plugin
	rm -rf dist/release && mkdir -p dist/release
	cp $(PLUGIN_ARCHIVES) dist/release/
	go run ./hack/install -image '$(IMG)' -out dist/release
	go run ./hack/chart -version '$(VERSION)' -image '$(IMG)' -pack dist/release
	$(RELEASE_RUN) all -version '$(VERSION)' -commit '$(COMMIT)' -image '$(IMG)' \
		$(IMAGE_PLATFORMS:%=dist/manager/%/manager) $(PLUGIN_PLATFORMS:%=dist/%/kubectl-lapse*)

.PHONY: release
release: ## Make all that the release VERSION publishes, from what is committed, into dist/release
	@[[ '$(origin VERSION)' != file && '$(VERSION)' =~ ^v(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}(-[0-9A-Za-z.-]+)?$$ ]] || \
		{ echo 'which version? name it by semver, with a v: make release VERSION=v1.2.3' >&2; exit 1; }
	@changed=$$(git status --porcelain) && [[ -z $$changed ]] || \
		{ printf 'a release is of a commit; commit or stash these, or remove them:\n%s\n' "$$changed" >&2; exit 1; }
	@$(MAKE) --no-print-directory release-files

# The second time in a clone, by an empty cache and with other rights of files: none of that may
# be seen in what is published.
.PHONY: reproduce
reproduce: release ## Make the release VERSION twice, in different folders, print the digests and fail if one differs (many minutes)
	@a=$$(mktemp -d) && trap 'rm -rf "$$a"' EXIT && git clone --quiet . "$$a/in/another/place" && umask 077 && \
		GOCACHE="$$a/cache" $(MAKE) --no-print-directory -C "$$a/in/another/place" release && \
		cat dist/release/SHA256SUMS && diff -r dist/release "$$a/in/another/place/dist/release" && echo 'the same bits'

##### Change it

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Generate CRDs, pages, the chart and the dashboard from what they are written from
	$(CONTROLLER_GEN) object:headerFile=hack/boilerplate/boilerplate.go.txt paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:dir=config/crd/bases
	go test ./config/crd -count=1 -run TestAnAdmissionPolicyChangesWithTheFields -update
	$(CRD_REF_DOCS) --config hack/api-reference/config.yaml --templates-dir hack/api-reference/templates \
		--source-path api/v1alpha1 --renderer markdown --output-path docs/api.md --log-level ERROR
	go test ./cmd/kubectl-lapse -count=1 -run 'TestReferenceIsUpToDate|TestTable|TestWhy|TestSARIF|TestJUnit' -update
	go test ./test/docs -count=1 -run TestTheTableOfTimes -update
	go run ./hack/chart
	cd hack/monitoring && go run . > ../../bin/dashboard.json && cp ../../bin/dashboard.json ../../config/monitoring/

.PHONY: docs
docs: controlplane ## Print anew into docs/ what the operator may do
	UPDATE_DOCS=1 KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/integration -count=1 -ginkgo.focus 'is what the security model says'

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code
	$(GOLANGCI_LINT) fmt

# Modules of their own are linted one by one. What test/chart, test/ui and hack/monitoring have
# to say is not mended yet, and hack/flux and test/argocd take minutes to build.
LINTED_MODULES := hack/crds hack/release test/flux test/messages
# The same everywhere: actionlint runs shellcheck and pyflakes where they are installed.
.PHONY: lint
lint: $(GOLANGCI_LINT) $(ACTIONLINT) ## Lint the code, and the workflows of GitHub
	$(GOLANGCI_LINT) run
	for module in $(LINTED_MODULES); do (cd $$module && $(CURDIR)/$(GOLANGCI_LINT) run) || exit 1; done
	$(ACTIONLINT) -shellcheck= -pyflakes=

.PHONY: verify
verify: generate fmt lint ## Fail if anything generated, formatted or linted differs from what is committed, or a kind breaks what was released
	go mod tidy -diff
	cd hack/tools && go mod tidy -diff
	cd hack/controlplane && go mod tidy -diff
	cd test/chart && go mod tidy -diff
	cd test/ui && go mod tidy -diff
	cd test/messages && go mod tidy -diff
	cd test/flux && go mod tidy -diff
	cd hack/flux && go mod tidy -diff
	cd test/argocd && go mod tidy -diff
	cd hack/monitoring && go mod tidy -diff
	cd hack/crds && go mod tidy -diff && go test ./... && go run .
	cd hack/release && go mod tidy -diff
	@changed=$$(git status --porcelain); if [[ -n $$changed ]]; then \
		printf 'these files differ from what is committed; commit them:\n%s\n' "$$changed"; git --no-pager diff; exit 1; fi

##### Test

# A line at a time, also into a file: a long run is to be watched.
RESULTS := grep --line-buffered -vE '^=== (RUN|PAUSE|CONT|NAME)'
# What failed is said last, where whoever sees only the end of a long log finds it.
FAILURES := ^ *--- FAIL: |^panic: |^ *\[(FAIL|FAILED|TIMEDOUT|PANICKED|INTERRUPTED)\] |^FAIL.*\[

# Tests that start a control plane import one of these two rooms; all other tests are unit tests.
CLUSTER_TESTS := /test/(controlplane|operator)
.PHONY: test-unit
test-unit: ## Run all tests that need no control plane (half a minute; next time, only what changed)
	@go test $$(go list -f '{{.ImportPath}} {{join .TestImports " "}} {{join .XTestImports " "}}' ./... | grep -vE '$(CLUSTER_TESTS)' | cut -d' ' -f1) | \
		grep -v 'no test files'

# Two packages at a time: they wait for deadlines most of the time. test/upgrade takes
# control planes of several versions, test/monitoring a Prometheus, and test/node the machine.
.PHONY: test
test: build controlplane $(GOJQ) ## Run all tests, on a real API server, and fuzz for a few seconds each
	@KUBEBUILDER_ASSETS=$(ASSETS) go test $$(go list ./... | grep -vE '/test/(upgrade|monitoring|node)') -v -count=1 -p 2 -timeout 20m | $(RESULTS) | tee bin/test.log || \
		{ printf '\nWhat failed (all of it: bin/test.log):\n'; grep -av '^ *{"' bin/test.log | grep -aE -B3 -A6 '$(FAILURES)' | cut -c1-300; exit 1; }
	@$(MAKE) --no-print-directory fuzz-short

# As on a new machine: nothing is compiled, no module is there, and no settings of a home.
.PHONY: fresh
fresh: ## Time the two commands of README in a clean clone, with empty caches (takes some GB below TMPDIR)
	@a=$$(mktemp -d) && trap 'chmod -R u+w "$$a" && rm -rf "$$a"' EXIT && git clone --quiet . "$$a/lapse" && \
		export HOME="$$a" GOPATH="$$a/go" GOMODCACHE="$$a/go/pkg/mod" GOCACHE="$$a/cache" && unset KUBEBUILDER_ASSETS && \
		for target in demo test; do \
			begun=$$SECONDS && $(MAKE) --no-print-directory -C "$$a/lapse" $$target && \
			echo "make $$target took $$((SECONDS - begun)) s" || exit 1; done

# A module of its own, so that nothing of Helm reaches the product.
.PHONY: test-chart
test-chart: build controlplane ## Hold the chart against config/ and its values against their schema, and install, upgrade, roll back and remove it
	cd test/chart && KUBEBUILDER_ASSETS=$(ASSETS) go test ./... -v -count=1 -timeout 20m | $(RESULTS)

.PHONY: test-release
test-release: release-files ## Look into all that a release publishes (seconds, once the binaries are built)
	cd hack/release && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) VERSION='$(VERSION)' COMMIT='$(COMMIT)' IMG='$(IMG)' go test ./... -count=1

# Another module of its own. Chromium is a package of Debian; axe-core is one of npm.
.PHONY: test-ui
test-ui: build controlplane ## Have three people use the pages of kubectl lapse ui, each in a browser of his own (PICTURES=folder keeps pictures)
	command -v $${CHROMIUM:-chromium} || apt-get install -y --no-install-recommends chromium
	cd test/ui && npm ci --ignore-scripts --no-fund --no-audit
	cd test/ui && KUBEBUILDER_ASSETS=$(ASSETS) go test ./... -v -count=1 -timeout 20m | $(RESULTS)

# This kubelet and Debian's containerd go together. buildah needs neither an engine nor an
# overlay, and what it makes is loaded from archives: no registry is asked.
NODE_VERSION := 1.34.4
NODE_NEEDS := containerd ctr runc buildah ip /usr/lib/cni/bridge
NODE_PACKAGES := containerd runc buildah iproute2 containernetworking-plugins
NODE_IMAGE := localhost/lapse:node
PAUSE_IMAGE := localhost/pause:1
BUILDAH := buildah --root $(abspath bin/node/storage) --runroot $(abspath bin/node/run) --storage-driver vfs
.PHONY: node-image
node-image: export BUILDAH_ISOLATION := chroot
node-image: ## As root, on Debian: make into bin/node what make test-node installs, and kube-scheduler and kubelet
	@[[ $$EUID = 0 ]] || { echo 'make test-node runs containers on this machine: run it as root' >&2; exit 1; }
	@for needed in $(NODE_NEEDS); do command -v $$needed > /dev/null || \
		{ apt-get update; apt-get install -y --no-install-recommends $(NODE_PACKAGES); break; }; done
	@hack/controlplane/build.sh $(NODE_VERSION) node
	rm -rf bin/node && mkdir -p bin/node/pause
	$(MAKE) --no-print-directory image ENGINE='$(BUILDAH)' IMG=$(NODE_IMAGE)
	$(GO_BUILD) -o bin/node/pause/ ./test/node/pause
	$(BUILDAH) build -f test/node/pause/Dockerfile -t $(PAUSE_IMAGE) bin/node/pause
	$(BUILDAH) push $(NODE_IMAGE) docker-archive:bin/node/lapse.tar:$(NODE_IMAGE)
	$(BUILDAH) push $(PAUSE_IMAGE) docker-archive:bin/node/pause.tar:$(PAUSE_IMAGE)
	rm -rf bin/node/storage bin/node/run
	go run ./hack/install -image $(NODE_IMAGE) -out bin/node
	go run ./hack/chart -version $(VERSION) -image $(NODE_IMAGE) -pack bin/node

.PHONY: test-node
test-node: build $(HELM) node-image ## As root, on Debian: install what ships on a real node, replace its Pods, drain it, let it die, upgrade and remove it
	KUBEBUILDER_ASSETS=$(abspath bin/k8s-$(NODE_VERSION)) go test ./test/node -v -count=1 -timeout 40m -ginkgo.timeout 35m | $(RESULTS)

.PHONY: model
model: ## Explore millions of orders of crashes, lost answers, edits and time (ten minutes)
	go test ./test/model -run '^TestNoOrder' -full -v -count=1 -timeout 20m | $(RESULTS)

.PHONY: test-oldest
test-oldest: build ## Run the suites of the API and the plugin on the oldest supported Kubernetes (minutes, once it is built)
	go run ./hack/versions -versions $(OLDEST) -suites 'integration cli story'

.PHONY: test-versions
test-versions: build ## Run all suites on each supported version of Kubernetes, and an upgrade through them (an hour and a half, once they are compiled)
	go run ./hack/versions

.PHONY: test-installs
test-installs: build $(HELM) install-manifest ## Run all suites with each way to install, on the oldest, a middle and the newest version (an hour and three quarters)
	go run ./hack/versions -ways

.PHONY: test-faults
test-faults: build controlplane ## Break everything around the operator, and print how late access ended (most of an hour)
	FAULTS=full KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/faults -v -count=1 -timeout 3h | $(RESULTS)

.PHONY: test-guards
test-guards: controlplane ## Take each guard against what attackers found away, and see its test fail (half an hour)
	KUBEBUILDER_ASSETS=$(ASSETS) go run ./hack/guards

.PHONY: test-rules
test-rules: $(PROMTOOL) $(GOJQ) ## Have promtool try each alert (minutes, once)
	$(GOJQ) --yaml-input .spec config/monitoring/rules.yaml > bin/rules.json
	$(PROMTOOL) check rules bin/rules.json
	$(PROMTOOL) test rules hack/monitoring/rules_test.yaml

.PHONY: test-monitoring
test-monitoring: build controlplane $(PROMETHEUS) ## Have a real Prometheus scrape a real manager, and look by each alert and query of the dashboard
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/monitoring -v -count=1 -timeout 10m | $(RESULTS)

# It is not Grafana that draws it, see hack/monitoring/picture.
VALUES := $(abspath bin/dashboard-values.json)
.PHONY: dashboard-picture
dashboard-picture: build controlplane $(PROMETHEUS) ## Draw the dashboard, with what a real Prometheus answers, into docs/images (six minutes)
	DASHBOARD_VALUES=$(VALUES) KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/monitoring -v -count=1 -timeout 15m \
		-ginkgo.focus 'has values for each panel of the dashboard' | $(RESULTS)
	cd hack/monitoring && go run ./picture ../../config/monitoring/dashboard.json $(VALUES) ../../docs/images/dashboard.png

# A module of its own, too, so that no mail server reaches the product.
.PHONY: test-messages
test-messages: build controlplane $(ALERTMANAGER) ## Have a real manager tell a real Alertmanager and a mail server, and look at what they understood
	cd test/messages && KUBEBUILDER_ASSETS=$(ASSETS) go test ./... -v -count=1 -timeout 10m | $(RESULTS)

# Another module of its own, and hack/flux for what it runs.
.PHONY: test-flux
test-flux: build controlplane $(KUSTOMIZE_CONTROLLER) ## Have Flux's kustomize-controller apply policies and requests, look for drift and prune
	cd test/flux && KUBEBUILDER_ASSETS=$(ASSETS) go test ./... -v -count=1 -timeout 20m | $(RESULTS)

# A module of its own, with the library by which Argo CD applies and compares.
.PHONY: test-argocd
test-argocd: build controlplane ## Apply policies and requests, look for drift and prune by what Argo CD does that with
	cd test/argocd && KUBEBUILDER_ASSETS=$(ASSETS) go test ./... -v -count=1 -timeout 20m | $(RESULTS)

.PHONY: bench
bench: ## Run the benchmarks of the evaluator
	go test ./internal/policy -run '^$$' -bench . -benchmem

.PHONY: bench-revocation
bench-revocation: build controlplane ## Measure 200 revocations next to plain deletions of a RoleBinding
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Revocation -benchtime 1x

.PHONY: bench-admission
bench-admission: controlplane ## Measure what the admission policies cost, next to a control plane without them
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Admission -benchtime 1x

.PHONY: bench-audit
bench-audit: build controlplane ## Measure what the audit log takes by config/audit/policy.yaml, next to Metadata of all calls
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Audit -benchtime 1x

.PHONY: bench-report
bench-report: build ## Measure kubectl lapse report over 1 GB of audit log next to wc -l and gzip -dc (minutes)
	go test ./test/perf -run '^$$' -bench Report -benchtime 1x -timeout 30m

.PHONY: bench-records
bench-records: build controlplane ## Measure what records cost while 10 000 grants end at once, ten times (35 minutes, on an idle machine)
	go test ./controllers/telling -run '^$$' -bench TellAnEnd -benchtime 10x -count 5
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Records -benchtime 1x -timeout 1h

.PHONY: bench-load
bench-load: build controlplane ## Measure asking, bursts and a full namespace next to plain writes, five times (minutes)
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Load -benchtime 5x -timeout 1h

.PHONY: bench-size
bench-size: build controlplane ## Measure 10 000 who ask at once, and what memory that takes, three times (a quarter of an hour)
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Size -benchtime 3x -timeout 1h

.PHONY: bench-many
bench-many: build controlplane ## Measure a start with ACTIVE requests that are held (100 000) and twice as many over, in 1 GiB (stops after 45 minutes)
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench Many -benchtime 1x -timeout 45m

.PHONY: bench-cli
bench-cli: build controlplane ## Measure the start of kubectl lapse get next to that of kubectl get areq
	KUBEBUILDER_ASSETS=$(ASSETS) go test ./test/perf -run '^$$' -bench PluginStart -benchtime 1x

FUZZTIME ?= 200000x
FUZZ := -test.run '^$$' -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 10x
# A package is built once; go test would do so for each of its fuzz tests.
.PHONY: fuzz
fuzz: ## Fuzz every parser and what leads from input to a decision, FUZZTIME each: a quarter of an hour
	@grep -rlE '^func Fuzz' --include=*_test.go . | xargs -n 1 dirname | sort -u | while read -r dir; do \
		go test -c -fuzz . -o bin/fuzz.test $$dir && cache=$$(go env GOCACHE)/fuzz/$$(go list $$dir) || exit 1; \
		grep -ohE '^func Fuzz[A-Za-z]+' $$dir/*_test.go | sed 's/func //' | while read -r name; do \
			(cd $$dir && $(CURDIR)/bin/fuzz.test $(FUZZ) -test.fuzzcachedir $$cache -test.fuzz "^$$name\$$" < /dev/null) || exit 1; done || exit 1; done

# A number of inputs, and not a time: Go's fuzzer fails when its time ends while it is
# busy (https://go.dev/issue/75804).
.PHONY: fuzz-short
fuzz-short: ## Fuzz with 5000 inputs each, a few seconds
	@$(MAKE) --no-print-directory fuzz FUZZTIME=5000x

##### Tools

# Their versions are in hack/tools/go.mod.
$(CONTROLLER_GEN): hack/tools/go.mod
	cd hack/tools && go build -o ../../$@ sigs.k8s.io/controller-tools/cmd/controller-gen

# Of hack/release: it does not compile by the yaml of golangci-lint.
$(ACTIONLINT): hack/release/go.mod
	cd hack/release && go build -o ../../$@ github.com/rhysd/actionlint/cmd/actionlint

$(CRD_REF_DOCS): hack/tools/go.mod
	cd hack/tools && go build -o ../../$@ github.com/elastic/crd-ref-docs

$(GOJQ): hack/tools/go.mod
	cd hack/tools && go build -o ../../$@ github.com/itchyny/gojq/cmd/gojq

# Without what finds targets in clouds, which is most of it.
$(PROMETHEUS) $(PROMTOOL): hack/monitoring/go.mod
	cd hack/monitoring && go build -tags remove_all_sd -o ../../$@ github.com/prometheus/prometheus/cmd/$(@F)

# Its module lacks the pages, which npm makes, and does not compile without that folder: in
# a copy there is one, with a line. It is of the version that Prometheus uses, with the
# dependencies that it names itself.
$(ALERTMANAGER): hack/monitoring/go.mod
	cd hack/monitoring && go mod download github.com/prometheus/alertmanager
	copy=$$(mktemp -d) && trap 'rm -rf "$$copy"' EXIT && \
		cp -R "$$(cd hack/monitoring && go list -m -f '{{.Dir}}' github.com/prometheus/alertmanager)"/. "$$copy" && chmod -R u+w "$$copy" && \
		mkdir "$$copy/ui/app/dist" && echo 'built without pages' > "$$copy/ui/app/dist/index.html" && \
		go build -C "$$copy" -trimpath -o '$(CURDIR)/$@' ./cmd/alertmanager

$(RELEASE): hack/release/go.mod $(wildcard hack/release/*.go)
	cd hack/release && go build -o ../../$@ .

$(HELM): test/chart/go.mod
	cd test/chart && go build -o ../../$@ helm.sh/helm/v4/cmd/helm

# The binary last: what is there is not made again.
$(KUSTOMIZE_CONTROLLER): hack/flux/go.mod
	cd hack/flux && go mod download github.com/fluxcd/kustomize-controller
	mkdir -p $(@D) && install -m 644 "$$(cd hack/flux && go list -m -f '{{.Dir}}' github.com/fluxcd/kustomize-controller)"/config/crd/bases/kustomize.toolkit.fluxcd.io_kustomizations.yaml $@.yaml
	cd hack/flux && CGO_ENABLED=0 go build -o ../../$@ github.com/fluxcd/kustomize-controller

# golangci-lint with kube-api-linter inside.
$(GOLANGCI_LINT): hack/tools/go.mod
	@echo "building golangci-lint (the first time takes minutes)"
	cd hack/tools && go build -o ../../$@ sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

.PHONY: clean
clean: ## Remove bin/
	rm -rf bin
