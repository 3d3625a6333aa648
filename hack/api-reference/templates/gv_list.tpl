{{- define "gvList" -}}
# API reference

Generated from `api/v1alpha1` by `make generate`; edit the comments there instead. `kubectl explain accessrequest.spec` prints the
same. [Concepts](concepts.md) says what the kinds are for, and what each condition and reason means.
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
