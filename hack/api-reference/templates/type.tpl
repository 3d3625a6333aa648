{{- define "type" -}}
{{- $type := . -}}
### {{ $type.Name }}

{{ $type.Doc }}
{{- if $type.EnumValues }}

| Value | Meaning |
|---|---|
{{- range $type.EnumValues }}
| `{{ .Name }}` | {{ regexReplaceAll "^[A-Za-z]+: " .Doc "" | trim | replace "\n" " " }} |
{{- end }}
{{- else if $type.Members }}

| Field | Type | Meaning |
|---|---|---|
{{- range $type.Members }}
| {{ template "member" . }} |
{{- end }}
{{- end }}
{{- if $type.References }}
{{- $in := list }}
{{- range $type.SortedReferences }}
{{- if not .GVK }}{{ $in = append $in (markdownRenderTypeLink .) }}{{ end }}
{{- end }}
{{- if $in }}

Used in {{ join ", " $in }}.
{{- end }}
{{- end }}
{{ end -}}
