// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/lapse-dev/lapse/api/v1alpha1"
	"github.com/lapse-dev/lapse/internal/policy"
	"github.com/lapse-dev/lapse/internal/text"
)

// completionTimeout is as long as somebody waits for a key to do something.
const completionTimeout = 3 * time.Second

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// completeNames offers names from the cluster. An error offers nothing: a shell has no
// place for it.
func (p *plugin) completeNames(read func(context.Context, *cluster) ([]string, error)) completer {
	return func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		ctx, cancel := context.WithTimeout(ctx, completionTimeout)
		defer cancel()
		c, err := p.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names, err := read(ctx, c)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return offer(names, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// offer leaves out what a shell would take for something else: names of roles may hold
// almost anything.
func offer(names []string, typed string) []string {
	var out []string
	for _, name := range names {
		word, _, _ := strings.Cut(name, "\t")
		if strings.HasPrefix(word, typed) && text.Line(word) == word && !strings.ContainsAny(word, " $`\"'\\;&|<>(){}*?!~#") {
			out = append(out, text.Printable(name, "\n\t"))
		}
	}
	return out
}

func pending(req *v1alpha1.AccessRequest) bool {
	return !req.Status.State.Final() && req.Status.State != v1alpha1.StateActive
}

func unfinished(req *v1alpha1.AccessRequest) bool { return !req.Status.State.Final() }

// completeRequests offers the requests of the namespace that keep wants; all without.
func (p *plugin) completeRequests(keep func(*v1alpha1.AccessRequest) bool) completer {
	names := p.completeNames(func(ctx context.Context, c *cluster) ([]string, error) {
		list := &v1alpha1.AccessRequestList{}
		err := c.list(ctx, p.namespace(), list)
		var names []string
		for i := range list.Items {
			req := &list.Items[i]
			if keep == nil || keep(req) {
				names = append(names, req.Name+"\t"+text.Line(policy.RoleArgument(req.Spec.RoleRef)+" for "+grantee(req)+": "+stateText(req)))
			}
		}
		return names, err
	})
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 && cmd.Name() == "why" {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(cmd, args, typed)
	}
}

// completeRoles offers the roles that policies name, which are all that can be had;
// where those may not be read, the ClusterRoles of the cluster.
func (p *plugin) completeRoles(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return p.completeNames(roleNames)(cmd, args, typed)
}

func roleNames(ctx context.Context, c *cluster) ([]string, error) {
	policies := &v1alpha1.AccessPolicyList{}
	if err := c.list(ctx, "", policies); err == nil {
		var names []string
		seen := map[string]bool{}
		for i := range policies.Items {
			for _, ref := range policies.Items[i].Spec.Roles {
				if name := policy.RoleArgument(ref); !seen[name] {
					seen[name] = true
					names = append(names, name)
				}
			}
		}
		return names, nil
	}
	roles := &rbacv1.ClusterRoleList{}
	if err := c.list(ctx, "", roles); err != nil {
		return nil, err
	}
	var names []string
	for i := range roles.Items {
		if !strings.HasPrefix(roles.Items[i].Name, "system:") {
			names = append(names, roles.Items[i].Name)
		}
	}
	return names, nil
}

func (p *plugin) completePolicies(cmd *cobra.Command) {
	register(cmd, "policy", p.completeNames(func(ctx context.Context, c *cluster) ([]string, error) {
		list := &v1alpha1.AccessPolicyList{}
		err := c.list(ctx, "", list)
		names := make([]string, 0, len(list.Items))
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		return names, err
	}))
}

func (p *plugin) completeRequestFlags(cmd *cobra.Command) {
	p.completePolicies(cmd)
	register(cmd, "role", p.completeNames(roleNames))
	register(cmd, "dry-run", cobra.FixedCompletions([]string{"none", "client", "server"}, cobra.ShellCompDirectiveNoFileComp))
}

// completeFlags is for the flags that every command has.
func (p *plugin) completeFlags(root *cobra.Command) {
	register(root, "namespace", p.completeNames(func(ctx context.Context, c *cluster) ([]string, error) {
		list := &corev1.NamespaceList{}
		err := c.list(ctx, "", list)
		names := make([]string, 0, len(list.Items))
		for i := range list.Items {
			names = append(names, list.Items[i].Name)
		}
		return names, err
	}))
	for flag, names := range map[string]func(*api.Config) []string{
		"context": func(c *api.Config) []string { return keys(c.Contexts) },
		"cluster": func(c *api.Config) []string { return keys(c.Clusters) },
		"user":    func(c *api.Config) []string { return keys(c.AuthInfos) },
	} {
		register(root, flag, func(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
			config, err := p.config.load().RawConfig()
			if err != nil {
				return nil, cobra.ShellCompDirectiveError
			}
			return offer(names(&config), typed), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

func keys[T any](m map[string]T) []string {
	out := make([]string, 0, len(m))
	for key := range m {
		out = append(out, key)
	}
	return out
}

func register(cmd *cobra.Command, flag string, complete completer) {
	cobra.CheckErr(cmd.RegisterFlagCompletionFunc(flag, complete)) // only ever a flag that does not exist
}
