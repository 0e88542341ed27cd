{{/*
Secrets reach the programs as files: each variable NAME is read from the file
that NAME_FILE names, below /run/sluice/secrets/ENTRY/. "sluice.secrets" is the
list of them, as JSON: name of the variable, Secret, key in it.

Those given as values are in a Secret of the chart: FULLNAME-values for pods, and a copy,
FULLNAME-migration, for the job, which runs before anything of the release exists.
*/}}
{{- define "sluice.generated" -}}
{{ include "sluice.fullname" . }}-generated
{{- end }}

{{/* The keys are made here unless somebody gives a master key. */}}
{{- define "sluice.generates" -}}
{{- if not (or .Values.masterkey .Values.masterkeySecretName) }}true{{ end }}
{{- end }}

{{/* A template for Kubernetes to fill in, as LiteLLM's chart has it. */}}
{{- define "sluice.urlTemplate" -}}
{{- if contains "$(" .Values.db.url }}true{{ end }}
{{- end }}

{{/* What stands in values, as name in the Secret -> text. */}}
{{- define "sluice.ownSecrets" -}}
{{- $own := dict }}
{{- with .Values.masterkey }}{{ $_ := set $own "masterkey" . }}{{ end }}
{{- with .Values.saltkey }}{{ $_ := set $own "saltkey" . }}{{ end }}
{{- if and .Values.db.useExisting .Values.db.url (not (include "sluice.urlTemplate" .)) }}{{ $_ := set $own "database-url" .Values.db.url }}{{ end }}
{{- $own | toJson }}
{{- end }}

{{- define "sluice.secrets" -}}
{{- $root := .root }}
{{- $v := $root.Values }}
{{- $own := printf "%s-%s" (include "sluice.fullname" $root) (ternary "migration" "values" .job) }}
{{- $list := list }}
{{- $master := dict "secret" (include "sluice.generated" $root) "key" "masterkey" }}
{{- if $v.masterkeySecretName }}{{ $master = dict "secret" $v.masterkeySecretName "key" ($v.masterkeySecretKey | default "masterkey") }}
{{- else if $v.masterkey }}{{ $master = dict "secret" $own "key" "masterkey" }}{{ end }}
{{- $list = append $list (dict "name" "LITELLM_MASTER_KEY" "secret" $master.secret "key" $master.key) }}
{{- /* LiteLLM's chart calls it so, and configurations refer to it. */}}
{{- $list = append $list (dict "name" "PROXY_MASTER_KEY" "secret" $master.secret "key" $master.key) }}
{{- if $v.saltkeySecretName }}{{ $list = append $list (dict "name" "LITELLM_SALT_KEY" "secret" $v.saltkeySecretName "key" $v.saltkeySecretKey) }}
{{- else if $v.saltkey }}{{ $list = append $list (dict "name" "LITELLM_SALT_KEY" "secret" $own "key" "saltkey") }}
{{- else if and (include "sluice.generates" $root) (not $v.keyring.secretName) }}{{ $list = append $list (dict "name" "LITELLM_SALT_KEY" "secret" (include "sluice.generated" $root) "key" "saltkey") }}
{{- end }}
{{- with $v.keyring.secretName }}{{ $list = append $list (dict "name" "SLUICE_KEYRING" "secret" . "key" $v.keyring.secretKey) }}{{ end }}
{{- if $v.db.deployStandalone }}
{{- $list = append $list (dict "name" "DATABASE_PASSWORD" "secret" (include "sluice.postgresSecret" $root) "key" $v.postgresql.auth.passwordKey) }}
{{- else if $v.db.useExisting }}
{{- $s := $v.db.secret }}
{{- if and $s.name $s.urlKey }}{{ $list = append $list (dict "name" "DATABASE_URL" "secret" $s.name "key" $s.urlKey) }}
{{- else if and $v.db.url (not (include "sluice.urlTemplate" $root)) }}{{ $list = append $list (dict "name" "DATABASE_URL" "secret" $own "key" "database-url") }}
{{- else if and $v.db.url $s.name }}{{/* its parts are variables */}}
{{- else if $s.name }}{{ $list = append $list (dict "name" "DATABASE_PASSWORD" "secret" $s.name "key" $s.passwordKey) }}
{{- end }}
{{- if and $s.name $s.directUrlKey }}{{ $list = append $list (dict "name" "DIRECT_URL" "secret" $s.name "key" $s.directUrlKey) }}{{ end }}
{{- end }}
{{- if and $v.redis.enabled $v.redis.secretName }}{{ $list = append $list (dict "name" "REDIS_PASSWORD" "secret" $v.redis.secretName "key" $v.redis.secretKey) }}{{ end }}
{{- range $v.secretFiles }}{{ $list = append $list (dict "name" .name "secret" .secretName "key" .key) }}{{ end }}
{{- $list | toJson }}
{{- end }}

{{- define "sluice.secretVolume" -}}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range include "sluice.secrets" . | fromJsonArray }}
      - secret:
          name: {{ .secret }}
          items: [{key: {{ .key | quote }}, path: {{ .name | lower | quote }}}]
    {{- end }}
{{- end }}

{{- define "sluice.secretMount" -}}
- name: secrets
  mountPath: /run/sluice/secrets
  readOnly: true
{{- end }}

{{/* Variables of pods and job: where secrets are, the database, Redis, and what the operator adds. */}}
{{- define "sluice.env" -}}
{{- $v := .root.Values }}
{{- range include "sluice.secrets" . | fromJsonArray }}
- name: {{ .name }}_FILE
  value: /run/sluice/secrets/{{ .name | lower }}
{{- end }}
{{- if $v.db.deployStandalone }}
- name: DATABASE_HOST
  value: {{ include "sluice.fullname" .root }}-postgresql
- name: DATABASE_USERNAME
  value: {{ $v.postgresql.auth.username | quote }}
- name: DATABASE_NAME
  value: {{ $v.postgresql.auth.database | quote }}
{{- else if $v.db.useExisting }}
{{- $s := $v.db.secret }}
{{- $parts := and $s.name (not $s.urlKey) (or (include "sluice.urlTemplate" .root) (not $v.db.url)) }}
{{- if $parts }}
- name: DATABASE_USERNAME
  valueFrom: {secretKeyRef: {name: {{ $s.name }}, key: {{ $s.usernameKey | quote }}}}
{{- if $s.endpointKey }}
- name: DATABASE_HOST
  valueFrom: {secretKeyRef: {name: {{ $s.name }}, key: {{ $s.endpointKey | quote }}}}
{{- end }}
{{- if include "sluice.urlTemplate" .root }}
- name: DATABASE_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ $s.name }}, key: {{ $s.passwordKey | quote }}}}
{{- end }}
{{- end }}
{{- if and $v.db.endpoint (not $s.endpointKey) }}
{{- if and (regexMatch "^([^:]+|\\[.+\\]):[0-9]+$" $v.db.endpoint) (not (include "sluice.urlTemplate" .root)) }}
- name: DATABASE_HOST
  value: {{ regexReplaceAll ":[0-9]+$" $v.db.endpoint "" | quote }}
- name: DATABASE_PORT
  value: {{ regexFind "[0-9]+$" $v.db.endpoint | quote }}
{{- else }}
- name: DATABASE_HOST
  value: {{ $v.db.endpoint | quote }}
{{- end }}
{{- end }}
{{- if or $parts $v.db.endpoint }}
- name: DATABASE_NAME
  value: {{ $v.db.database | quote }}
{{- end }}
{{- if include "sluice.urlTemplate" .root }}
- name: DATABASE_URL
  value: {{ $v.db.url | quote }}
{{- end }}
{{- end }}
{{- if $v.redis.enabled }}
- name: REDIS_HOST
  value: {{ $v.redis.host | quote }}
- name: REDIS_PORT
  value: {{ $v.redis.port | quote }}
{{- end }}
{{- range $name, $value := $v.envVars }}
- name: {{ $name }}
  value: {{ if kindIs "string" $value }}{{ $value | quote }}{{ else }}{{ $value | toJson | quote }}{{/* not 1e+07 */}}{{ end }}
{{- end }}
{{- if and $v.logLevel (not (hasKey $v.envVars "LITELLM_LOG")) }}
- name: LITELLM_LOG
  value: {{ $v.logLevel | quote }}
{{- end }}
{{- with $v.extraEnvVars }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sluice.envFrom" -}}
{{- range .Values.environmentSecrets }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- range .Values.environmentConfigMaps }}
- configMapRef: {name: {{ . }}}
{{- end }}
{{- end }}
