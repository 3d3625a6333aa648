// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// All that containerd writes is in the folder. It may not be allowed to lower the scores by
// which the kernel ends processes, as in a container.
const containerdConfig = `version = 2
root = "${folder}/root"
state = "${folder}/state"
[grpc]
  address = "${folder}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "${folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "${folder}/cni"
`

// Pods reach each other and the node, and nothing beyond.
const networkConfig = `{"cniVersion": "0.4.0", "name": "${network}", "plugins": [{
  "type": "bridge", "bridge": "${bridge}", "isGateway": true, "ipMasq": false,
  "ipam": {
    "type": "host-local", "dataDir": "${folder}/addresses",
    "ranges": [[{"subnet": "${pods}"}]], "routes": [{"dst": "0.0.0.0/0"}]
  }
}]}
`

// This works on cgroup v1, and without the right to make cgroups for kinds of Pods.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ${address}
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "${folder}/api-server.crt"}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
containerRuntimeEndpoint: "unix://${folder}/containerd.sock"
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi}
failCgroupV1: false
failSwapOn: false
healthzPort: 0
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
podLogsDir: "${folder}/logs"
volumePluginDir: "${folder}/plugins"
`

// configure writes all files of a node.
func (n *Node) configure() error {
	values := map[string]string{"folder": n.folder, "address": address, "pods": pods, "bridge": bridge, "network": network}
	for name, text := range map[string]string{
		"containerd.toml": containerdConfig, "cni/10-pods.conflist": networkConfig, "kubelet.yaml": kubeletConfig,
	} {
		if err := os.MkdirAll(filepath.Dir(n.path(name)), 0o700); err != nil {
			return err
		}
		text = os.Expand(text, func(key string) string { return values[key] })
		if err := os.WriteFile(n.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return n.certify()
}

// certify makes what the API server shows to kubelet. It signs itself, and kubelet knows
// nobody else: the CA of the control plane is made only when it starts.
func (n *Node) certify() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	who := cert.Config{CommonName: "kube-apiserver-kubelet-client", Organization: []string{"system:masters"}}
	signed, err := cert.NewSelfSignedCACert(who, key)
	if err != nil {
		return err
	}
	certPEM, err := cert.EncodeCertificates(signed)
	if err != nil {
		return err
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return err
	}
	return errors.Join(cert.WriteCert(n.path("api-server.crt"), certPEM), keyutil.WriteKey(n.path("api-server.key"), keyPEM))
}
