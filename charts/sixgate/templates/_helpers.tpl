{{- /* One installation for each cluster, so names are fixed: the alerts, the documentation and config/webhook have the same. */ -}}

{{- define "sixgate.labels" -}}
app.kubernetes.io/name: sixgate
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The annotations in metadata: those of all objects and those in extra; nothing where there are none. */ -}}
{{- define "sixgate.annotations" -}}
{{- with mergeOverwrite (dict) (.root.Values.annotations | default dict) (.extra | default dict) }}
  annotations:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end }}

{{- define "sixgate.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end }}
{{- end }}

{{- define "sixgate.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "sixgate.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* The policy file. YAML 1.1, which Helm reads values by, takes off for false: it is put back. */ -}}
{{- define "sixgate.policy" -}}
{{- if kindIs "string" .Values.policy -}}
{{ .Values.policy }}
{{- else -}}
{{- $policy := deepCopy (.Values.policy | default dict) -}}
{{- $rules := dict -}}
{{- range $id, $setting := $policy.rules -}}
{{- if kindIs "bool" $setting -}}
{{- $setting = "off" -}}
{{- else if kindIs "map" $setting -}}
{{- if kindIs "bool" $setting.level -}}{{- $setting = set $setting "level" "off" -}}{{- end -}}
{{- end -}}
{{- $rules = set $rules $id $setting -}}
{{- end -}}
{{- if $rules -}}{{- $policy = set $policy "rules" $rules -}}{{- end -}}
{{- if $policy.services -}}
{{- if kindIs "bool" $policy.services.whenHeadlessUnsafe -}}
{{- $policy = set $policy "services" (set $policy.services "whenHeadlessUnsafe" "off") -}}
{{- end -}}
{{- end -}}
{{- $policy = set $policy "apiVersion" "sixgate.io/v1alpha1" -}}
{{- $policy = set $policy "kind" "Policy" -}}
{{ toYaml $policy }}
{{- end -}}
{{- end }}

{{- /* What the registration says now: Fail stays in force while an upgrade runs. */ -}}
{{- define "sixgate.failurePolicy" -}}
{{- $want := (index .root.Values.webhooks .verb).failurePolicy -}}
{{- if or (eq $want "Ignore") (not .root.Values.check.enabled) -}}
{{ $want }}
{{- else -}}
{{- $now := "Ignore" -}}
{{- $name := printf "%s.sixgate.io" .verb -}}
{{- range (lookup "admissionregistration.k8s.io/v1" .kind "" "sixgate").webhooks -}}
{{- if eq .name $name -}}{{- $now = .failurePolicy -}}{{- end -}}
{{- end -}}
{{ $now }}
{{- end -}}
{{- end }}

{{- /* The webhooks that the check turns to Fail. */ -}}
{{- define "sixgate.enforced" -}}
{{- $out := list -}}
{{- if .Values.check.enabled -}}
{{- range $verb := list "mutate" "validate" -}}
{{- if eq (index $.Values.webhooks $verb).failurePolicy "Fail" -}}{{- $out = append $out $verb -}}{{- end -}}
{{- end -}}
{{- end -}}
{{ join "," $out }}
{{- end }}

{{- define "sixgate.clientConfig" -}}
service:
  namespace: {{ toYaml .root.Release.Namespace }}
  name: sixgate-webhook
  path: /{{ .verb }}
  port: 443
{{- if and (eq .root.Values.certificates.mode "mounted") .root.Values.certificates.caBundle }}
caBundle: {{ .root.Values.certificates.caBundle | b64enc }}
{{- end }}
{{- end }}

{{- /* The webhooks of one registration: the verb, and the one that only the check asks. */ -}}
{{- define "sixgate.webhooks" -}}
{{- $w := index .root.Values.webhooks .verb -}}
{{- $policy := fromYaml (include "sixgate.policy" .root) -}}
- name: {{ .verb }}.sixgate.io
  admissionReviewVersions: [v1]
  clientConfig:
    {{- include "sixgate.clientConfig" . | nindent 4 }}
  failurePolicy: {{ include "sixgate.failurePolicy" . }}
  matchPolicy: Equivalent
  {{- if eq .verb "mutate" }}
  reinvocationPolicy: IfNeeded
  {{- end }}
  sideEffects: None
  timeoutSeconds: {{ $w.timeoutSeconds }}
  namespaceSelector:
    {{- with $w.namespaceSelector.matchLabels }}
    matchLabels:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: [{{ toYaml .root.Release.Namespace }}]
    {{- with $w.namespaceSelector.matchExpressions }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $w.objectSelector }}
  objectSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  matchConditions:
  {{- include (printf "sixgate.%s.conditions" .verb) . | nindent 2 }}
  {{- with $w.matchConditions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  rules:
  {{- include (printf "sixgate.%s.rules" .verb) . | nindent 2 }}
  {{- if and (eq .verb "validate") $policy.secrets }}
  {{- include "sixgate.secrets.rule" . | nindent 2 }}
  {{- end }}
  {{- if eq .verb "mutate" }}
  {{- $repair := false }}
  {{- range $id := fromYamlArray (include "sixgate.repairsConfigMaps" .) }}
  {{- $setting := index ($policy.rules | default dict) $id }}
  {{- if kindIs "map" $setting }}{{- if $setting.mutate }}{{- $repair = true }}{{- end }}{{- end }}
  {{- end }}
  {{- if $repair }}
  {{- include "sixgate.configmaps.rule" . | nindent 2 }}
  {{- end }}
  {{- end }}
- name: {{ .verb }}-check.sixgate.io
  admissionReviewVersions: [v1]
  clientConfig:
    {{- include "sixgate.clientConfig" . | nindent 4 }}
  failurePolicy: Ignore
  matchPolicy: Equivalent
  {{- if eq .verb "mutate" }}
  reinvocationPolicy: Never
  {{- end }}
  sideEffects: None
  timeoutSeconds: {{ $w.timeoutSeconds }}
  namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ toYaml .root.Release.Namespace }}
  matchConditions:
  - name: is-the-check
    expression: request.name == 'sixgate-check'
  rules:
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [configmaps]
    scope: Namespaced
{{- end }}

{{- define "sixgate.checkPod" -}}
serviceAccountName: sixgate-check
restartPolicy: Never
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with .root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
securityContext:
  {{- include "sixgate.podSecurityContext" .root | nindent 2 }}
containers:
- name: check
  image: {{ include "sixgate.image" .root | quote }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  args:
  - --check={{ .root.Values.check.timeout }}
  {{- range .args }}
  - {{ . }}
  {{- end }}
  env:
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef:
        fieldPath: metadata.namespace
  {{- with .root.Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "sixgate.containerSecurityContext" .root | nindent 4 }}
{{- end }}
