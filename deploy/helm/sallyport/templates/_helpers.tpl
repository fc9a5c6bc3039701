{{- define "sallyport.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sallyport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "sallyport.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sallyport.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.selector" -}}
app.kubernetes.io/name: {{ include "sallyport.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sallyport.labels" -}}
{{ include "sallyport.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "sallyport.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "sallyport.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "sallyport.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{- define "sallyport.configMap" -}}
{{ .Values.existingConfigMap | default (include "sallyport.fullname" .) }}
{{- end -}}

{{- define "sallyport.tlsSecret" -}}
{{- if .Values.tls.existingSecret -}}
{{ .Values.tls.existingSecret }}
{{- else if .Values.tls.certManager.enabled -}}
{{ include "sallyport.fullname" . }}-tls
{{- end -}}
{{- end -}}

{{- define "sallyport.adminSecret" -}}
{{- if .Values.admin.tlsSecret -}}
{{ .Values.admin.tlsSecret }}
{{- else -}}
{{- include "sallyport.tlsSecret" . | required "admin.enabled needs a certificate: admin.tlsSecret, tls.existingSecret or tls.certManager.enabled" -}}
{{- end -}}
{{- end -}}

{{- define "sallyport.adminName" -}}
{{- .Values.admin.serverName | default (printf "%s.%s.svc" (include "sallyport.fullname" .) .Release.Namespace) -}}
{{- end -}}

{{- /* sallyport.yaml, with the admin endpoints that admin asks for. */ -}}
{{- define "sallyport.config" -}}
{{- $config := .Values.config -}}
{{- if .Values.admin.enabled -}}
{{- $tls := dict "certificate" "../admin/tls.crt" "key" "../admin/tls.key" "client_ca" "../admin-clients/ca.crt" "client_auth" "require" -}}
{{- $config = set (omit $config "admin") "admin" (dict "address" (printf "0.0.0.0:%d" (int .Values.metrics.port)) "tls" $tls "users" .Values.admin.users) -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{- /* Whether the pods have the admin port. */ -}}
{{- define "sallyport.adminPort" -}}
{{- if .Values.admin.enabled -}}
true
{{- else if .Values.metrics.serviceMonitor.enabled -}}
{{- if and (not .Values.existingConfigMap) (hasPrefix "unix:" (dig "admin" "address" "unix:" .Values.config)) -}}
{{- fail "metrics.serviceMonitor: nobody can scrape a socket in the pod: set admin.enabled, or config.admin.address" -}}
{{- end -}}
true
{{- end -}}
{{- end -}}

{{- /* A command that asks the pod's own admin endpoints. */ -}}
{{- define "sallyport.ask" -}}
{{- if .root.Values.admin.enabled -}}
{{- $at := printf "127.0.0.1:%d" (int .root.Values.metrics.port) -}}
{{- $from := "/etc/sallyport/admin-probe" -}}
{{- list "/usr/bin/sallyport" "admin" .what "--address" $at "--ca" "/etc/sallyport/admin/ca.crt" "--cert" (print $from "/tls.crt") "--key" (print $from "/tls.key") "--server-name" (include "sallyport.adminName" .root) | toJson -}}
{{- else -}}
{{- $admin := dig "admin" "address" "unix:/run/sallyport/admin.sock" .root.Values.config -}}
{{- list "/usr/bin/sallyport" "admin" .what "--address" $admin | toJson -}}
{{- end -}}
{{- end -}}
