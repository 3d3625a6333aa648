// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// tokenSeconds is long enough for a day of `make dev`.
const tokenSeconds = 24 * 60 * 60

// AdminConfig is for setting things up: system:masters may do everything, past
// RBAC. What a user may do has to be shown with User or ServiceAccountConfig.
func (c *ControlPlane) AdminConfig() *rest.Config {
	return rest.CopyConfig(c.admin)
}

func (c *ControlPlane) addAdmin(context.Context) error {
	var err error
	c.admin, err = c.User("admin", "system:masters")
	return err
}

// User returns a config with a client certificate for name in groups. Nothing
// needs to exist for that, and the user has only the rights that RBAC gives.
func (c *ControlPlane) User(name string, groups ...string) (*rest.Config, error) {
	c.certificates.Lock() // the CA of envtest counts serial numbers without a lock
	defer c.certificates.Unlock()
	user, err := c.plane.AddUser(envtest.User{Name: name, Groups: groups}, &rest.Config{QPS: -1})
	if err != nil {
		return nil, err
	}
	return user.Config(), nil
}

// ServiceAccountConfig returns a config with a token of an existing
// ServiceAccount.
func (c *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	admin, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return nil, err
	}
	seconds := int64(tokenSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	token, err := admin.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("requesting a token for ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config := rest.AnonymousClientConfig(c.admin)
	config.BearerToken = token.Status.Token
	return config, nil
}

// Kubeconfig returns a kubeconfig file that says the same as config.
func Kubeconfig(config *rest.Config) ([]byte, error) {
	const name = "lapse"
	file := clientcmdapi.NewConfig()
	file.Clusters[name] = &clientcmdapi.Cluster{Server: config.Host, CertificateAuthorityData: config.CAData}
	file.AuthInfos[name] = &clientcmdapi.AuthInfo{
		ClientCertificateData: config.CertData,
		ClientKeyData:         config.KeyData,
		Token:                 config.BearerToken,
	}
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.CurrentContext = name
	return clientcmd.Write(*file)
}

// WriteKubeconfig writes Kubeconfig to path, readable only for its owner.
func WriteKubeconfig(path string, config *rest.Config) error {
	data, err := Kubeconfig(config)
	if err != nil {
		return err
	}
	// An older file would keep its mode, and its readers.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// KubectlPath is the kubectl of the same version, for who runs it in his own way.
func (c *ControlPlane) KubectlPath() string { return c.plane.KubectlPath }

// Kubectl runs kubectl as the user of config. It sees neither the home folder
// nor the kubeconfig of whoever runs it. PATH is kept, for plugins.
func (c *ControlPlane) Kubectl(ctx context.Context, config *rest.Config, args ...string) (stdout, stderr string, err error) {
	home, err := os.MkdirTemp(c.dir, "kubectl-")
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(home)
	kubeconfig := filepath.Join(home, "kubeconfig")
	if err := WriteKubeconfig(kubeconfig, config); err != nil {
		return "", "", err
	}
	var outBuf, errBuf bytes.Buffer
	cmd := exec.CommandContext(ctx, c.plane.KubectlPath, args...)
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + kubeconfig, "PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &outBuf, &errBuf
	err = cmd.Run()
	return outBuf.String(), errBuf.String(), err
}
