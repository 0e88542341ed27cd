{{/* What cannot work is refused here, in one sentence that says what to do. */}}
{{- define "sluice.checks" -}}
{{- $v := .Values }}
{{- if not (include "sluice.database" .) }}
{{- if gt (include "sluice.replicas" . | int) 1 }}
{{- fail (printf "replicaCount is %s and there is no database: pods without one do not know each other's keys. Set db.useExisting=true and db.endpoint or db.url, or replicaCount=1." (include "sluice.replicas" .)) }}
{{- end }}
{{- if $v.autoscaling.enabled }}
{{- fail "autoscaling.enabled needs a database: pods without one do not know each other's keys. Set db.useExisting=true and db.endpoint or db.url." }}
{{- end }}
{{- if or $v.db.url $v.db.endpoint $v.db.secret.urlKey }}
{{- fail "db.url, db.endpoint or db.secret.urlKey is set and db.useExisting is not: set db.useExisting=true." }}
{{- end }}
{{- with $v.proxy_config }}
{{- if (.general_settings | default dict).database_url }}
{{- fail "proxy_config.general_settings.database_url is set: the chart has to know of the database, for the migration job. Set db.useExisting=true and db.secret or db.url." }}
{{- end }}
{{- end }}
{{- end }}
{{- if and $v.db.useExisting $v.db.deployStandalone }}
{{- fail "db.useExisting and db.deployStandalone are both true: choose one." }}
{{- end }}
{{- if and $v.db.useExisting $v.db.endpoint (not $v.db.secret.name) (not $v.db.url) (not $v.environmentSecrets) }}
{{- fail "db.endpoint is set without a user: make a Secret with the keys username and password and set db.secret.name, or set db.url." }}
{{- end }}
{{- if and $v.db.useExisting $v.db.secret.name (not $v.db.secret.urlKey) (not $v.db.url) (not $v.db.endpoint) (not $v.db.secret.endpointKey) }}
{{- fail "db.secret.name is set and nothing says where the database is: set db.endpoint, db.secret.endpointKey or db.secret.urlKey." }}
{{- end }}
{{- if and (include "sluice.urlTemplate" .) (not $v.db.secret.name) }}
{{- fail "db.url refers to variables and db.secret.name, where they come from, is not set: set it, or write the URL without $(…)." }}
{{- end }}
{{- if and (include "sluice.migrates" .) (not $v.migrationJob.hooks.helm.enabled) (not $v.migrationJob.hooks.argocd.enabled) }}
{{- fail "migrationJob.hooks.helm.enabled and migrationJob.hooks.argocd.enabled are both false: nothing would run the job in time. Set one, or migrationJob.enabled=false, and the pods migrate." }}
{{- end }}
{{- if $v.migrationJob.hooks.argocd.enabled }}
{{- if include "sluice.generates" . }}
{{- fail "Argo CD renders without the cluster, so that a generated master key would be another one at each sync: make a Secret and set masterkeySecretName (and saltkeySecretName)." }}
{{- end }}
{{- if and $v.db.deployStandalone (not $v.postgresql.auth.existingSecret) }}
{{- fail "Argo CD renders without the cluster, so that a generated password would be another one at each sync: make a Secret and set postgresql.auth.existingSecret." }}
{{- end }}
{{- end }}
{{- if and $v.masterkey (not (hasPrefix "sk-" $v.masterkey)) }}
{{- fail "masterkey must begin with sk-." }}
{{- end }}
{{- if and (not $v.proxyConfigMap.create) (not $v.proxyConfigMap.name) }}
{{- fail "proxyConfigMap.create is false and proxyConfigMap.name is empty: name the ConfigMap that holds config.yaml." }}
{{- end }}
{{- if and $v.redis.enabled (not $v.redis.host) }}
{{- fail "redis.enabled is true and redis.host is empty: this chart brings no Redis, so name one, or leave redis.enabled false (limits are then counted by each pod)." }}
{{- end }}
{{- if contains "berriai/litellm" $v.image.repository }}
{{- fail (printf "image.repository is %s, an image of LiteLLM: this chart runs the image of Sluice. Set image.repository to where you have pushed that, and image.tag to its release or to nothing." $v.image.repository) }}
{{- end }}
{{- range $name := list "SLUICE_HEALTH_TLS" "SSL_CERTFILE_PATH" "SSL_KEYFILE_PATH" }}
{{- $twice := and $v.tls.secretName (ne $name "SLUICE_HEALTH_TLS") }}
{{- $given := hasKey $v.envVars $name }}
{{- range $v.extraEnvVars }}{{ if eq .name $name }}{{ $given = true }}{{ end }}{{ end }}
{{- if and $given (eq $name "SLUICE_HEALTH_TLS") }}
{{- fail "SLUICE_HEALTH_TLS is among the variables: the probes would not know. Set tls.health=true instead." }}
{{- else if and $given $twice }}
{{- fail (printf "%s is among the variables, and tls.secretName is set: choose one." $name) }}
{{- end }}
{{- end }}
{{- if and $v.tls.health (not (or $v.tls.secretName $v.envVars.SSL_CERTFILE_PATH $v.extraEnvVars $v.environmentConfigMaps $v.environmentSecrets $v.args)) }}
{{- fail "tls.health is true and there is no certificate: set tls.secretName." }}
{{- end }}
{{- with $v.command }}
{{- fail "command is set: the image has one program to start. Set args to flags of the supervisor." }}
{{- end }}
{{- if and $v.db.deployStandalone (not (kindIs "string" $v.postgresql.image)) }}
{{- fail "postgresql.image is not a text: write it in one piece, as postgres:17." }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- fail (printf "autoscaling.minReplicas is %d, more than autoscaling.maxReplicas, %d." (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) }}
{{- end }}
{{- if and (hasKey $v "keda") ($v.keda).enabled }}
{{- fail "keda.enabled: this chart has no ScaledObject. Use autoscaling, or write one into extraObjects." }}
{{- end }}
{{- if and $v.pdb.enabled (not (kindIs "invalid" $v.pdb.minAvailable)) (not (kindIs "invalid" $v.pdb.maxUnavailable)) }}
{{- fail "pdb.minAvailable and pdb.maxUnavailable are both set: Kubernetes takes one. Set pdb.maxUnavailable=null." }}
{{- end }}
{{- $fewest := ternary $v.autoscaling.minReplicas (include "sluice.replicas" .) $v.autoscaling.enabled | int }}
{{- if and $v.pdb.enabled (regexMatch "^[0-9]+$" (toString $v.pdb.minAvailable)) (ge (int $v.pdb.minAvailable) $fewest) }}
{{- fail (printf "pdb.minAvailable is %d and there may be no more than %d pod(s): no node that has one could ever be drained. Set pdb.maxUnavailable instead, or less." (int $v.pdb.minAvailable) $fewest) }}
{{- end }}
{{- if and $v.networkPolicy.enabled (kindIs "slice" $v.networkPolicy.egress) (not $v.networkPolicy.egress) }}
{{- fail "networkPolicy.egress is an empty list: pods could reach no name server, database or provider. Write rules, or leave it out, and everything is allowed." }}
{{- end }}
{{- if or (regexMatch "[0-9][mh]([0-9]|$)" $v.prestopDelay) (gt (regexFind "[0-9]+(\\.[0-9]+)?s" $v.prestopDelay | regexFind "^[0-9]+" | int) 45) }}
{{- fail (printf "prestopDelay is %s: more than 45s leaves no time, of the 60 s that a stop has besides the running requests, for the last journals." $v.prestopDelay) }}
{{- end }}
{{- if le (int $v.terminationGracePeriodSeconds) 60 }}
{{- fail "terminationGracePeriodSeconds must be more than 60: that is what the end of a stop takes besides the running requests." }}
{{- end }}
{{- end }}
