{{- define "member" -}}
{{- $optional := true -}}
{{- range .Validation }}{{ if hasPrefix "Required" . }}{{ $optional = false }}{{ end }}{{ end -}}
{{- $name := markdownRenderType .Type -}}
{{- /* Types of Kubernetes, in the words that a reader of YAML has for them. */ -}}
{{- $name = regexReplaceAll "\\[UID\\]\\([^)]*\\)" $name "string" -}}
{{- $name = regexReplaceAll "\\[Duration\\]\\([^)]*\\)" $name "[duration](concepts.md#time)" -}}
{{- $name = regexReplaceAll "\\[Time\\]\\([^)]*\\)" $name "[time](concepts.md#time)" -}}
{{- $name = regexReplaceAll "\\[Condition\\]\\([^)]*\\)" $name "[condition](concepts.md#states)" -}}
{{- $name = regexReplaceAll "\\[LabelSelector\\]\\([^)]*\\)" $name "[label selector](https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors)" -}}
{{- if and .Type.UnderlyingType (eq .Type.UnderlyingType.Name "byte") }}{{ $name = "bytes, as base64" }}{{ end -}}
{{- $name = regexReplaceAll "^object \\(keys:(.*), values:(.*)\\)$" $name "map of ${1} to ${2}" -}}
{{- $meaning := regexReplaceAll "\\s+" .Doc " " | trim | replace "|" "\\|" | replace "<" "&lt;" | replace "*" "\\*" -}}
`{{ .Name }}`{{ if not $optional }}, required{{ end }} | {{ regexReplaceAll "^(.*) array$" $name "list of ${1}" }} | {{ $meaning }}
{{- end -}}
