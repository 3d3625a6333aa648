{{/* The image, by digest if there is one. */}}
{{- define "lapse.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end -}}

{{/* Whether the API server fills in who asks and who decides. */}}
{{- define "lapse.stamps" -}}
{{- if eq .Values.stamps "auto" -}}
{{- .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- else -}}
{{- eq .Values.stamps "always" -}}
{{- end -}}
{{- end -}}

{{/* The admission policies know the operator by its namespace. */}}
{{- define "lapse.checkNamespace" -}}
{{- if and .Values.namespace.create (eq .Release.Namespace "lapse-system") -}}
{{- fail "namespace.create makes lapse-system, so the release has to be stored in another namespace, such as default: helm install … --namespace default" -}}
{{- end -}}
{{- if and (not .Values.namespace.create) (ne .Release.Namespace "lapse-system") -}}
{{- fail (printf "the namespace is %s, but the admission policies know the operator in lapse-system alone: helm install … --namespace lapse-system --create-namespace" .Release.Namespace) -}}
{{- end -}}
{{- end -}}
