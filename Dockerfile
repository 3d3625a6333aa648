# The stage that the image takes its files from: builder compiles them here, prebuilt
# takes those that make image compiled outside. It pulls no base image. buildah 1.28 finds
# neither unless --build-arg FILES names it.
ARG FILES=builder
# Name it by digest where the image is for others.
ARG GO_IMAGE=docker.io/library/golang:1.26

# The builder runs on the machine's own platform and cross-compiles, which is faster
# than emulating the target.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS builder
ARG TARGETOS
ARG TARGETARCH
# What the binary says of itself; make gives the version and the commit.
ARG LDFLAGS="-s -w -funcalign=8"
WORKDIR /workspace

# Modules first: they change less often than the code, and stay cached.
COPY go.mod go.sum ./
RUN go mod download

COPY *.go ./
COPY api/ api/
COPY config/admission/ config/admission/
COPY controllers/ controllers/
COPY internal/ internal/

# As GO_BUILD of the Makefile.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -buildvcs=false -tags timberjack_nozstd -ldflags "${LDFLAGS}" -o /image/manager . && \
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch AS prebuilt
COPY dist/image/ /image/

FROM ${FILES} AS files

# The operator, and by whom it trusts https receivers of records. There is nothing else:
# no shell, no package manager, no base image.
FROM scratch
LABEL org.opencontainers.image.title="lapse" \
      org.opencontainers.image.source="https://github.com/lapse-dev/lapse" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=files /image/ /
# As a number, so that runAsNonRoot can tell.
USER 65532:65532
ENTRYPOINT ["/manager"]
