{{/* The pod of the Deployment and of the StatefulSet. */}}
{{- define "sluice.pod" -}}
{{- $here := dict "root" . "job" false }}
metadata:
  labels:
    {{- include "sluice.labels" . | nindent 4 }}
    app.kubernetes.io/component: gateway
    {{- with .Values.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    # Another configuration or secret of this chart makes new pods. Of the secrets 24
    # bits of a digest: enough to differ, too few to try guesses on.
    checksum/config: {{ .Values.proxy_config | toJson | sha256sum }}
    checksum/secrets: {{ include "sluice.ownSecrets" . | sha256sum | trunc 6 | quote }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "sluice.serviceAccount" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ int .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
    {{- if .Values.sysctls.enabled }}
    sysctls: [{name: net.ipv4.tcp_migrate_req, value: "1"}]
    {{- end }}
  {{- with .Values.extraInitContainers }}
  initContainers: {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: sluice
      image: {{ include "sluice.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- if include "sluice.configMap" . }}
        - --config
        - /etc/sluice/{{ .Values.proxyConfigMap.key }}
        {{- end }}
        - --port
        - "4000"
        {{- if .Values.numWorkers }}
        - --num_workers
        - {{ .Values.numWorkers | toString | quote }}
        {{- end }}
        {{- range .Values.args }}
        - {{ . | quote }}
        {{- end }}
      env:
        - name: SLUICE_STATE_DIR
          value: /var/lib/sluice
        - name: SEPARATE_HEALTH_PORT
          value: {{ .Values.separateHealthPort | quote }}
        - name: SUPERVISORD_STOPWAITSECS
          value: {{ sub (int .Values.terminationGracePeriodSeconds) 60 | quote }}
        - name: SLUICE_PRESTOP_DELAY
          value: {{ .Values.prestopDelay | quote }}
        # The job migrates. Beside db.deployStandalone it runs after the pods have started (and
        # `helm install --wait` waits for the pods before it runs the job), so that they do.
        - name: DISABLE_SCHEMA_UPDATE
          value: {{ ternary "true" "false" (and (ne (include "sluice.migrates" .) "") (not .Values.db.deployStandalone)) | quote }}
        {{- if .Values.tls.secretName }}
        - name: SSL_CERTFILE_PATH
          value: /run/sluice/tls/tls.crt
        - name: SSL_KEYFILE_PATH
          value: /run/sluice/tls/tls.key
        {{- end }}
        {{- if .Values.tls.health }}
        - name: SLUICE_HEALTH_TLS
          value: "true"
        {{- end }}
        {{- include "sluice.env" $here | nindent 8 }}
      {{- with include "sluice.envFrom" . }}
      envFrom: {{- . | nindent 8 }}
      {{- end }}
      ports:
        - {name: http, containerPort: 4000, protocol: TCP}
        - {name: health, containerPort: {{ .Values.separateHealthPort }}, protocol: TCP}
      startupProbe:
        httpGet: {path: /health/liveliness, port: health{{ include "sluice.probed" . }}}
        {{- toYaml (omit .Values.startupProbe "path") | nindent 8 }}
      livenessProbe:
        httpGet: {path: /health/liveliness, port: health{{ include "sluice.probed" . }}}
        {{- toYaml (omit .Values.livenessProbe "path") | nindent 8 }}
      readinessProbe:
        httpGet: {path: /health/readiness, port: health{{ include "sluice.probed" . }}}
        {{- toYaml (omit .Values.readinessProbe "path") | nindent 8 }}
      {{- with .Values.lifecycle }}
      lifecycle: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .Values.resources }}
      resources: {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext: {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: state, mountPath: /var/lib/sluice}
        - {name: tmp, mountPath: /tmp}
        {{- include "sluice.secretMount" $here | nindent 8 }}
        {{- if .Values.tls.secretName }}
        - {name: tls, mountPath: /run/sluice/tls, readOnly: true}
        {{- end }}
        {{- if include "sluice.configMap" . }}
        - {name: config, mountPath: /etc/sluice, readOnly: true}
        {{- end }}
        {{- with .Values.volumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
    {{- with .Values.extraContainers }}{{ toYaml . | nindent 4 }}{{ end }}
  volumes:
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if not (include "sluice.stateful" .) }}
    - name: state
      emptyDir: {}
    {{- end }}
    {{- include "sluice.secretVolume" $here | nindent 4 }}
    {{- with .Values.tls.secretName }}
    - name: tls
      secret: {secretName: {{ . }}, defaultMode: 0440}
    {{- end }}
    {{- with include "sluice.configMap" . }}
    - name: config
      configMap: {name: {{ . }}}
    {{- end }}
    {{- with .Values.volumes }}{{ toYaml . | nindent 4 }}{{ end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- else if .Values.topologySpread.enabled }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "sluice.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
{{- end }}
