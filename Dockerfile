# The builder runs on the machine's own platform and cross-compiles, which is faster
# than emulating the target.
FROM --platform=$BUILDPLATFORM golang:1.26 AS builder
ARG TARGETOS
ARG TARGETARCH
# What the binary says of itself; make image gives the version and the commit.
ARG LDFLAGS="-s -w"
WORKDIR /workspace

# Modules first: they change less often than the code, and stay cached.
COPY go.mod go.sum ./
RUN go mod download

COPY *.go ./
COPY api/ api/
COPY config/admission/ config/admission/
COPY controllers/ controllers/
COPY internal/ internal/

# Without cgo the binary needs no C library; with -trimpath it is the same wherever
# it is built.
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} \
    go build -trimpath -ldflags "${LDFLAGS}" -o manager .

# No shell and no package manager.
FROM gcr.io/distroless/static:nonroot
WORKDIR /
COPY --from=builder /workspace/manager /manager
# As a number, so that runAsNonRoot can tell.
USER 65532:65532
ENTRYPOINT ["/manager"]
