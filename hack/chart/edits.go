// Copyright The Lapse Authors.
// SPDX-License-Identifier: Apache-2.0

package main

// An edit has the chart take a value where config/ has something, or nothing.
type edit struct {
	object string // Kind/name; * is every name
	path   string // an index for an item of a list, + for one more
	// Value is where values.yaml keeps what config/ has there; empty if it has nothing.
	value string
	// Text stands there in the template. INDENT is how far what belongs to a key is in.
	text string
}

const (
	operator = "Deployment/lapse-manager"
	reaper   = "CronJob/lapse-reaper"
	drain    = "Job/lapse-drain"

	operatorPod       = "spec.template.spec."
	operatorContainer = operatorPod + "containers.0."
	reaperPod         = "spec.jobTemplate.spec.template.spec."
	reaperContainer   = reaperPod + "containers.0."
)

// hooks are folders that are part of no installation: Helm makes what they have before it
// removes a release, and deletes it when that went well. What failed stays, with its log.
var hooks = []string{"drain"}

// hook annotates what Helm makes before it removes a release. The Job comes after what it
// needs.
func hook(objects []object) {
	for _, o := range objects {
		weight := "-1"
		if o["kind"] == "Job" {
			weight = "0"
		}
		if meta, ok := o["metadata"].(map[string]any); ok {
			meta["annotations"] = map[string]any{
				"helm.sh/hook": "pre-delete", "helm.sh/hook-weight": weight,
				"helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
			}
		}
	}
}

// tree is a value that is more than a scalar.
func tree(value string) string { return "{{- toYaml .Values." + value + " | nindent INDENT }}" }

// optional is a key that is there if its value is not empty.
func optional(key, value string) string {
	return "{{- with .Values." + value + " }}\n" + key + ":\n  {{- toYaml . | nindent INDENT }}\n{{- end }}"
}

// merged are more entries of a map, or of a list.
func merged(value string) string {
	return "{{- with .Values." + value + " }}\n{{- toYaml . | nindent INDENT }}\n{{- end }}"
}

const (
	image      = `{{ include "lapse.image" . | quote }}`
	pullPolicy = "{{- with .Values.image.pullPolicy }}\nimagePullPolicy: {{ . }}\n{{- end }}"
	// The flag has this default.
	maxDuration = "{{- if ne .Values.maxDuration \"24h\" }}\n- {{ printf \"--max-duration=%s\" .Values.maxDuration | quote }}\n{{- end }}"
	openKube    = "{{- if .Values.openKubeNamespaces }}\n- --reserved-namespaces=\n{{- end }}"
	extraArgs   = "{{- range .Values.extraArgs }}\n- {{ . | quote }}\n{{- end }}"
	keep        = "{{- if .Values.crds.keep }}\nhelm.sh/resource-policy: keep\n{{- end }}"
	fsGroup     = "{{- with .Values.podSecurityContext.fsGroup }}\nfsGroup: {{ . | int64 }}\n{{- end }}"
	priority    = "{{ .Values.priorityClassName | quote }}"
)

var edits = []edit{
	{object: "CustomResourceDefinition/*", path: "metadata.annotations.", text: keep},

	{operator, "spec.replicas", "replicaCount", "{{ .Values.replicaCount }}"},
	{object: operator, path: "spec.template.metadata.labels.", text: merged("podLabels")},
	{object: operator, path: "spec.template.metadata.annotations.", text: merged("podAnnotations")},
	{operator, operatorPod + "priorityClassName", "priorityClassName", priority},
	{operator, operatorPod + "affinity", "affinity", tree("affinity")},
	{operator, operatorPod + "topologySpreadConstraints", "topologySpreadConstraints", tree("topologySpreadConstraints")},
	{object: operator, path: operatorPod, text: optional("nodeSelector", "nodeSelector")},
	{object: operator, path: operatorPod, text: optional("tolerations", "tolerations")},
	{object: operator, path: operatorPod, text: optional("imagePullSecrets", "imagePullSecrets")},
	{object: operator, path: operatorPod, text: optional("volumes", "extraVolumes")},
	{operator, operatorContainer + "image", "image", image},
	{operator, operatorContainer + "env.0.value", "goMemLimit", "{{ .Values.goMemLimit | quote }}"},
	{operator, operatorContainer + "resources", "resources", tree("resources")},
	{object: operator, path: operatorPod + "securityContext.", text: fsGroup},
	{object: operator, path: operatorContainer + "env.+", text: merged("extraEnv")},
	{object: operator, path: operatorContainer, text: pullPolicy},
	{object: operator, path: operatorContainer, text: optional("volumeMounts", "extraVolumeMounts")},
	{object: operator, path: operatorContainer + "args.+", text: maxDuration},
	{object: operator, path: operatorContainer + "args.+", text: openKube},
	{object: operator, path: operatorContainer + "args.+", text: extraArgs},

	{reaper, "spec.schedule", "reaper.schedule", "{{ .Values.reaper.schedule | quote }}"},
	{object: reaper, path: reaperPod + "priorityClassName", text: priority},
	{object: reaper, path: reaperPod, text: optional("nodeSelector", "nodeSelector")},
	{object: reaper, path: reaperPod, text: optional("tolerations", "tolerations")},
	{object: reaper, path: reaperPod, text: optional("imagePullSecrets", "imagePullSecrets")},
	{object: reaper, path: reaperContainer + "image", text: image},
	{reaper, reaperContainer + "args.1", "maxDuration", `{{ printf "--max-duration=%s" .Values.maxDuration | quote }}`},
	{reaper, reaperContainer + "resources", "reaper.resources", tree("reaper.resources")},
	{object: reaper, path: reaperContainer, text: pullPolicy},

	{object: drain, path: operatorPod + "priorityClassName", text: priority},
	{object: drain, path: operatorPod, text: optional("nodeSelector", "nodeSelector")},
	{object: drain, path: operatorPod, text: optional("tolerations", "tolerations")},
	{object: drain, path: operatorPod, text: optional("imagePullSecrets", "imagePullSecrets")},
	{object: drain, path: operatorContainer + "image", text: image},
	{object: drain, path: operatorContainer + "resources", text: tree("reaper.resources")},
	{object: drain, path: operatorContainer, text: pullPolicy},
}

// conditions say when a folder, or an object (Kind/name), is in the chart. All others are
// always.
var conditions = map[string]string{
	"crd":                         ".Values.crds.enabled",
	"admission/stamps":            `eq (include "lapse.stamps" .) "true"`,
	"reaper":                      ".Values.reaper.enabled",
	"drain":                       ".Values.drainOnUninstall",
	"Namespace/lapse-system":      ".Values.namespace.create",
	"NetworkPolicy/lapse-manager": ".Values.networkPolicy.enabled",
	"ValidatingAdmissionPolicy/lapse-reserved-namespaces":        "not .Values.openKubeNamespaces",
	"ValidatingAdmissionPolicyBinding/lapse-reserved-namespaces": "not .Values.openKubeNamespaces",
}
