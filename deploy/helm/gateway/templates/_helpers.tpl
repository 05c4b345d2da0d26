{{- define "gateway.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains "gateway" .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-gateway" (.Release.Name | trunc 42) -}}
{{- end -}}
{{- end -}}

{{- /* What chooses the pods. */ -}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.common" -}}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gateway.labels" -}}
app.kubernetes.io/name: gateway
{{ include "gateway.common" . }}
{{- end -}}

{{- define "gateway.redis.labels" -}}
app.kubernetes.io/name: gateway-redis
{{ include "gateway.common" . }}
{{- end -}}

{{- define "gateway.redis.selector" -}}
app.kubernetes.io/name: gateway-redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gateway.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "gateway.name" .) -}}
{{- end -}}

{{- define "gateway.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* A setting's value as the environment has it. Helm makes 1e+06 of a million unless it is told that it is whole. */ -}}
{{- define "gateway.setting" -}}
{{- if kindIs "slice" . -}}
{{- join "," . -}}
{{- else if kindIs "float64" . -}}
{{- int64 . -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{- /* The settings as variables, as YAML. Sections are one deep; null leaves a setting out. */ -}}
{{- define "gateway.settings" -}}
{{- $variables := dict "GATEWAY_INTERNAL_LISTEN" "0.0.0.0:3001" -}}
{{- range $name, $value := .Values.settings -}}
{{- if kindIs "map" $value -}}
{{- range $key, $inner := $value -}}
{{- if not (kindIs "invalid" $inner) -}}
{{- $_ := set $variables (printf "GATEWAY_%s_%s" $name $key | upper) (include "gateway.setting" $inner) -}}
{{- end -}}
{{- end -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $variables (printf "GATEWAY_%s" $name | upper) (include "gateway.setting" $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $variables -}}
{{- end -}}

{{- /* The secrets that the chart makes a Secret of, as YAML. */ -}}
{{- define "gateway.secrets" -}}
{{- $secrets := dict -}}
{{- if .Values.redis.enabled -}}
{{- $_ := set $secrets "GATEWAY_REDIS_URL" (printf "redis://%s-redis:6379" (include "gateway.name" .)) -}}
{{- $_ := set $secrets "GATEWAY_CLUSTER_SECRET" "a secret for trying it out" -}}
{{- end -}}
{{- toYaml (merge (dict) .Values.secrets.values $secrets) -}}
{{- end -}}

{{- define "gateway.hasOwnSecret" -}}
{{- if or .Values.secrets.values .Values.redis.enabled -}}true{{- end -}}
{{- end -}}

{{- /* Whole seconds of a duration as the program writes it, rounded up. */ -}}
{{- define "gateway.seconds" -}}
{{- $number := regexFind "^[0-9]+" . | int64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- if eq $unit "ms" -}}
{{- div (add $number 999) 1000 -}}
{{- else -}}
{{- mul $number (get (dict "" 1 "s" 1 "m" 60 "h" 3600 "d" 86400) $unit) -}}
{{- end -}}
{{- end -}}

{{- /* A setting in a section: list of the root, section, key and default. Both may be null. */ -}}
{{- define "gateway.in" -}}
{{- $value := get (get (index . 0).Values.settings (index . 1) | default dict) (index . 2) -}}
{{- if or (kindIs "invalid" $value) (eq (toString $value) "") -}}
{{- index . 3 -}}
{{- else -}}
{{- include "gateway.setting" $value -}}
{{- end -}}
{{- end -}}

{{- define "gateway.drain" -}}
{{- include "gateway.seconds" (include "gateway.in" (list . "shutdown" "drain" "30s")) -}}
{{- end -}}

{{- /* The path of clients, without a slash at its end. */ -}}
{{- define "gateway.path" -}}
{{- include "gateway.in" (list . "engine" "path" "/socket.io") | trimSuffix "/" -}}
{{- end -}}

{{- /* A backend, here or in a namespace of backends. */ -}}
{{- define "gateway.backends" -}}
- podSelector:
    matchLabels:
      gateway-backend: "true"
- namespaceSelector:
    matchLabels:
      gateway-backend: "true"
  podSelector:
    matchLabels:
      gateway-backend: "true"
{{- end -}}
