// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/lapse-dev/lapse/internal/build"
)

// configFlags are kubectl's own flags about where the API server is and who asks it.
// genericclioptions has them as well, and links kustomize and every kind of Kubernetes
// with them, which would be half of what a start takes; a test compares the two.
type configFlags struct {
	kubeconfig string
	extras     []string
	overrides  clientcmd.ConfigOverrides
	loader     clientcmd.ClientConfig
}

func (f *configFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&f.kubeconfig, clientcmd.RecommendedConfigPathFlag, "", "Path to the kubeconfig file to use for CLI requests.")
	flags.StringArrayVar(&f.extras, "as-user-extra", nil, "User extras to impersonate for the operation, this flag can be repeated to specify multiple values for the same key.")
	flags.String("cache-dir", "", "Taken as kubectl takes it, and not used: nothing is cached.")
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ClusterOverrideFlags.APIServer.ShortName = "s"
	// As in kubectl: basic authentication is long gone.
	names.AuthOverrideFlags.Username.LongName, names.AuthOverrideFlags.Password.LongName = "", ""
	clientcmd.BindOverrideFlags(&f.overrides, flags, names)
}

// load is the kubeconfig with the flags over it. It is read once, after the flags
// were parsed.
func (f *configFlags) load() clientcmd.ClientConfig {
	if f.loader != nil {
		return f.loader
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	for _, extra := range f.extras {
		if key, value, found := strings.Cut(extra, "="); found {
			if f.overrides.AuthInfo.ImpersonateUserExtra == nil {
				f.overrides.AuthInfo.ImpersonateUserExtra = map[string][]string{}
			}
			f.overrides.AuthInfo.ImpersonateUserExtra[key] = append(f.overrides.AuthInfo.ImpersonateUserExtra[key], value)
		}
	}
	f.loader = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &f.overrides)
	return f.loader
}

// clusterName is what the kubeconfig calls the cluster: the context, or what a flag puts in its
// place. It is empty if nothing is called so, as where a flag has the address itself.
func (f *configFlags) clusterName() string {
	if f.overrides.ClusterInfo.Server != "" {
		return ""
	}
	raw, err := f.load().RawConfig()
	if err != nil {
		return "" // connect says what is wrong with it
	}
	return cmp.Or(f.overrides.Context.Cluster, f.overrides.CurrentContext, raw.CurrentContext)
}

// restConfig is how the API server is reached.
func (p *plugin) restConfig() (*rest.Config, error) {
	config, err := p.config.load().ClientConfig()
	if err != nil {
		return nil, err
	}
	config.UserAgent = "kubectl-lapse/" + build.Version()
	config.QPS = -1 // the server has limits of its own
	config.WarningHandler = rest.NewWarningWriter(safeWriter{p.ErrOut}, rest.WarningWriterOptions{Deduplicate: true})
	config.Wrap(p.clock.wrap)
	if config.ExecProvider != nil {
		p.credentials = config.ExecProvider.Command
	}
	return config, nil
}
