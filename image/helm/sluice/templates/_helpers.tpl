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

{{/* The job's: where Helm runs it before the release's objects are there, the chart's own account is not either. */}}
{{- define "sluice.jobAccount" -}}
{{- $named := "" }}
{{- if not .Values.serviceAccount.create }}{{ $named = .Values.serviceAccount.name }}{{ end }}
{{- .Values.migrationJob.serviceAccountName | default $named | default "default" }}
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

{{/* Port 4000 speaks TLS, by the chart's Secret or by variables of the operator's. */}}
{{- define "sluice.secure" -}}
{{- if or .Values.tls.secretName .Values.envVars.SSL_CERTFILE_PATH }}true{{ end }}
{{- end }}

{{/* What a probe of port 4001 asks for besides path and port. */}}
{{- define "sluice.probed" -}}
{{- if .Values.tls.health }}, scheme: HTTPS{{ end }}
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

{{/* Values that nothing here reads: a misspelt one, or one that only LiteLLM's chart has. NOTES.txt names them. */}}
{{- define "sluice.values" -}}
replicaCount image imagePullSecrets nameOverride fullnameOverride serviceAccount masterkey masterkeySecretName
masterkeySecretKey saltkey saltkeySecretName saltkeySecretKey keyring proxy_config proxyConfigMap
environmentSecrets environmentConfigMaps envVars logLevel extraEnvVars secretFiles numWorkers args db
postgresql redis persistence migrationJob service separateHealthPort tls ingress startupProbe livenessProbe
readinessProbe terminationGracePeriodSeconds prestopDelay lifecycle minReadySeconds strategy updateStrategy
resources autoscaling pdb networkPolicy serviceMonitor topologySpread topologySpreadConstraints nodeSelector
tolerations affinity priorityClassName runtimeClassName podAnnotations podLabels podSecurityContext
securityContext sysctls extraContainers extraInitContainers volumes volumeMounts extraObjects
extraResources global
{{- end }}

{{- define "sluice.passedOver" -}}
{{- $known := include "sluice.values" . | replace "\n" " " | splitList " " }}
{{- $over := list }}
{{- $values := .Values }}
{{- range keys $values | sortAlpha }}
{{- if and (not (has . $known)) (get $values .) }}{{ $over = append $over . }}{{ end }}
{{- end }}
{{- $over | join ", " }}
{{- end }}
