// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"strings"
	"testing"
)

func TestValuesThatMeanNothingAreRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		set  values
		says string
	}{
		"a name that does not exist":  {values{"replicas": 3}, "replicas"},
		"one below":                   {values{"image": values{"name": "x"}}, "name"},
		"no number":                   {values{"replicaCount": "two"}, "replicaCount"},
		"a negative one":              {values{"replicaCount": -1}, "replicaCount"},
		"a tag with a colon":          {values{"image": values{"tag": "a:b"}}, "tag"},
		"a digest that is none":       {values{"image": values{"digest": "sha256:abc"}}, "digest"},
		"a repository with a digest":  {values{"image": values{"repository": "a@sha256:0"}}, "repository"},
		"a pull policy":               {values{"image": values{"pullPolicy": "Sometimes"}}, "pullPolicy"},
		"a secret that is a string":   {values{"imagePullSecrets": []any{"registry"}}, "imagePullSecrets"},
		"stamps as a boolean":         {values{"stamps": true}, "stamps"},
		"a duration without a unit":   {values{"maxDuration": "24"}, "maxDuration"},
		"a flag with one dash":        {values{"extraArgs": []any{"-retention=1h"}}, "extraArgs"},
		"a limit of Go in Mi":         {values{"goMemLimit": "450Mi"}, "goMemLimit"},
		"resources with a wrong name": {values{"resources": values{"limit": values{"memory": "1Gi"}}}, "limit"},
		"keep as a string":            {values{"crds": values{"keep": "yes"}}, "keep"},
		"an empty schedule":           {values{"reaper": values{"schedule": ""}}, "schedule"},
		"a variable without a name":   {values{"extraEnv": []any{values{"value": "x"}}}, "name"},
		"a variable with a number":    {values{"extraEnv": []any{values{"name": "X", "value": 1}}}, "value"},
		"a second limit of Go":        {values{"extraEnv": []any{values{"name": "GOMEMLIMIT", "value": "1GiB"}}}, "extraEnv"},
		"root's group":                {values{"podSecurityContext": values{"fsGroup": 0}}, "fsGroup"},
		"a group by its name":         {values{"podSecurityContext": values{"fsGroup": "lapse"}}, "fsGroup"},
		"another user":                {values{"podSecurityContext": values{"runAsUser": 0}}, "runAsUser"},
		"a drain as a string":         {values{"drainOnUninstall": "no"}, "drainOnUninstall"},
		"an affinity that is none":    {values{"affinity": values{"antiAffinity": values{}}}, "antiAffinity"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := render(t, home, tc.set); err == nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the answer is %v, and does not name %s", err, tc.says)
			}
		})
	}
}

func TestTheReleaseLivesWhereThePoliciesKnowTheOperator(t *testing.T) {
	for name, tc := range map[string]struct {
		namespace string
		create    bool
		says      string
	}{
		"in its namespace":               {home, false, ""},
		"in another one":                 {"default", false, "--namespace lapse-system"},
		"in another one that makes it":   {"default", true, ""},
		"in the one that it has to make": {home, true, "another namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := render(t, tc.namespace, values{"namespace": values{"create": tc.create}})
			if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("the answer is %v, not %q", err, tc.says)
			}
		})
	}
}

func TestEachValueIsSeen(t *testing.T) {
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for name, tc := range map[string]struct {
		set  values
		in   string // kind and name
		has  []string
		gone string // what is not there any more
	}{
		"replicas":     {set: values{"replicaCount": 3}, in: "Deployment lapse-manager", has: []string{"replicas: 3\n"}},
		"no replicas":  {set: values{"replicaCount": 0}, in: "Deployment lapse-manager", has: []string{"replicas: 0\n"}},
		"a tag":        {set: values{"image": values{"tag": "v9"}}, in: "CronJob lapse-reaper", has: []string{"image: ghcr.io/lapse-dev/lapse:v9\n"}},
		"a repository": {set: values{"image": values{"repository": "r:5000/l"}}, in: "Deployment lapse-manager", has: []string{"image: r:5000/l:v"}},
		"a digest": {
			set: values{"image": values{"tag": "v9", "digest": digest}}, in: "Deployment lapse-manager",
			has: []string{"image: ghcr.io/lapse-dev/lapse@" + digest},
		},
		"where and how it runs": {
			set: values{
				"image": values{"pullPolicy": "Always"}, "imagePullSecrets": []any{values{"name": "secret"}},
				"nodeSelector": values{"disk": "ssd"}, "tolerations": []any{values{"key": "infra"}}, "priorityClassName": "mine",
				"podLabels": values{"team": "platform"}, "podAnnotations": values{"note": "true"}, "goMemLimit": "900MiB",
				"extraVolumes":      []any{values{"name": "key", "secret": values{"secretName": "signing"}}},
				"extraVolumeMounts": []any{values{"name": "key", "mountPath": "/key"}},
				"resources":         values{"limits": values{"memory": "1Gi"}},
			},
			in: "Deployment lapse-manager",
			has: []string{
				"imagePullPolicy: Always\n", "imagePullSecrets:\n      - name: secret\n", "disk: ssd\n", "key: infra\n", "priorityClassName: mine\n",
				"team: platform\n", "note: \"true\"\n", "value: 900MiB\n", "secretName: signing\n", "mountPath: /key\n", "memory: 1Gi\n", "cpu: 50m\n",
			},
			gone: "memory: 512Mi",
		},
		"where the reaper runs": {
			set: values{
				"imagePullSecrets": []any{values{"name": "secret"}}, "nodeSelector": values{"disk": "ssd"}, "tolerations": []any{values{"key": "infra"}},
				"reaper": values{"schedule": "* * * * *", "resources": values{"limits": values{"memory": "1Gi"}}},
			},
			in:  "CronJob lapse-reaper",
			has: []string{"name: secret\n", "disk: ssd\n", "key: infra\n", "schedule: '* * * * *'\n", "memory: 1Gi\n"}, gone: "memory: 128Mi",
		},
		"flags": {
			set: values{"extraArgs": []any{"--retention=168h"}, "maxDuration": "8h"}, in: "Deployment lapse-manager",
			has: []string{"- --leader-elect\n", "- --max-duration=8h\n", "- --retention=168h\n"},
		},
		"the reaper's longest grant": {
			set: values{"maxDuration": "8h"}, in: "CronJob lapse-reaper", has: []string{"- --max-duration=8h\n"}, gone: "24h",
		},
		"a place for records": {
			set: values{
				"extraArgs": []any{"--record-to=file:/var/lib/lapse/$(POD_NAME).jsonl"},
				"extraEnv": []any{
					values{"name": "POD_NAME", "valueFrom": values{"fieldRef": values{"fieldPath": "metadata.name"}}}, values{"name": "X", "value": "1"},
				},
				"podSecurityContext": values{"fsGroup": 65532},
			},
			in: "Deployment lapse-manager",
			has: []string{
				"- name: GOMEMLIMIT\n          value: 450MiB\n", "- name: POD_NAME\n          valueFrom:\n            fieldRef:\n",
				"- name: X\n          value: \"1\"\n", "fsGroup: 65532\n        runAsNonRoot: true\n", "- --record-to=file:/var/lib/lapse/$(POD_NAME).jsonl\n",
			},
		},
		"where the drain runs": {
			set: values{
				"imagePullSecrets": []any{values{"name": "secret"}}, "nodeSelector": values{"disk": "ssd"}, "tolerations": []any{values{"key": "infra"}},
				"image": values{"tag": "v9", "pullPolicy": "Always"}, "priorityClassName": "mine",
			},
			in:  "Job lapse-drain",
			has: []string{"name: secret\n", "disk: ssd\n", "key: infra\n", "lapse:v9\n", "imagePullPolicy: Always\n", "priorityClassName: mine\n"},
		},
		"open kube-*": {set: values{"openKubeNamespaces": true}, in: "Deployment lapse-manager", has: []string{"- --reserved-namespaces=\n"}},
		"CRDs that stay": {
			set: values{"crds": values{"keep": true}}, in: "CustomResourceDefinition accessrequests.lapse.dev",
			has: []string{"helm.sh/resource-policy: keep\n", "controller-gen.kubebuilder.io/version"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := render(t, home, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			got := text(t, objects(t, files)[tc.in])
			for _, part := range tc.has {
				if !strings.Contains(got, part) {
					t.Errorf("%s has no %q:\n%s", tc.in, part, got)
				}
			}
			if tc.gone != "" && strings.Contains(got, tc.gone) {
				t.Errorf("%s still has %q:\n%s", tc.in, tc.gone, got)
			}
		})
	}
}

func TestWhatIsSwitchedOffIsNotThere(t *testing.T) {
	for off, tc := range map[string]struct {
		set values
		ids []string
	}{
		"crds": {
			values{"crds": values{"enabled": false}},
			[]string{"CustomResourceDefinition accessrequests.lapse.dev", "CustomResourceDefinition accesspolicies.lapse.dev"},
		},
		"the reaper": {
			values{"reaper": values{"enabled": false}},
			[]string{"CronJob lapse-reaper", "ServiceAccount lapse-reaper", "ClusterRole lapse-reaper", "ClusterRoleBinding lapse-reaper"},
		},
		"the drain": {
			values{"drainOnUninstall": false},
			[]string{"Job lapse-drain", "ServiceAccount lapse-drain", "ClusterRole lapse-drain", "ClusterRoleBinding lapse-drain"},
		},
		"the network policy": {values{"networkPolicy": values{"enabled": false}}, []string{"NetworkPolicy lapse-manager"}},
		"what closes kube-*": {
			values{"openKubeNamespaces": true},
			[]string{"ValidatingAdmissionPolicy lapse-reserved-namespaces", "ValidatingAdmissionPolicyBinding lapse-reserved-namespaces"},
		},
	} {
		t.Run(off, func(t *testing.T) {
			all, err := render(t, home, nil)
			if err != nil {
				t.Fatal(err)
			}
			less, err := render(t, home, tc.set)
			if err != nil {
				t.Fatal(err)
			}
			before, after := objects(t, all), objects(t, less)
			for _, id := range tc.ids {
				if before[id] == nil || after[id] != nil {
					t.Errorf("%s: it was there: %t, and is now: %t", id, before[id] != nil, after[id] != nil)
				}
			}
			if want := len(before) - len(tc.ids); off != "crds" && len(after) != want {
				t.Errorf("%d objects are left, not %d", len(after), want)
			}
		})
	}
}
