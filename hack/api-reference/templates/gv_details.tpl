{{- define "gvDetails" -}}
{{- $gv := . }}
The group and version of all kinds is `{{ $gv.GroupVersionString }}`:
{{ range $gv.SortedKinds }}
- {{ $gv.TypeForKind . | markdownRenderTypeLink }}
{{- end }}
{{ range $gv.SortedKinds }}
{{- $kind := $gv.TypeForKind . }}
## {{ $kind.Name }}

{{ $kind.Doc }}
{{ range $kind.Members }}
{{- if or (eq .Name "spec") (eq .Name "status") }}
{{ template "type" .Type }}
{{- end }}
{{- end }}
{{- end }}
## Types of fields
{{ range $gv.SortedTypes }}
{{- if and (markdownShouldRenderType .) (not .GVK) (not (regexMatch "(Spec|Status)$" .Name)) }}
{{ template "type" . }}
{{- end }}
{{- end }}
{{- end -}}
