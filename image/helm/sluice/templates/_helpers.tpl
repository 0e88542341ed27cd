{{/* Names. */}}
{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* 40 characters at most, so that no suffix makes a name or a pod's label too long. */}}
{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end }}

{{- define "sluice.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "sluice.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "sluice.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{/* Decisions. Each is "true" or empty. */}}
{{- define "sluice.database" -}}
{{- if or .Values.db.useExisting .Values.db.deployStandalone }}true{{ end }}
{{- end }}

{{- define "sluice.stateful" -}}
{{- if eq (toString .Values.persistence.enabled) "auto" }}
{{- include "sluice.database" . }}
{{- else if eq (toString .Values.persistence.enabled) "true" }}true{{ end }}
{{- end }}

{{- define "sluice.migrates" -}}
{{- if and .Values.migrationJob.enabled (include "sluice.database" .) }}true{{ end }}
{{- end }}

{{- define "sluice.replicas" -}}
{{- if kindIs "invalid" .Values.replicaCount }}
{{- if include "sluice.database" . }}2{{ else }}1{{ end }}
{{- else }}
{{- .Values.replicaCount }}
{{- end }}
{{- end }}

{{/* The ConfigMap with config.yaml; empty where there is none. */}}
{{- define "sluice.configMap" -}}
{{- if not .Values.proxyConfigMap.create }}
{{- .Values.proxyConfigMap.name }}
{{- else if .Values.proxy_config }}
{{- .Values.proxyConfigMap.name | default (printf "%s-config" (include "sluice.fullname" .)) }}
{{- end }}
{{- end }}
