{{/* Name of everything that lives in the release's namespace. 40 characters, so that "-agent" and the hashes of pods still fit. */}}
{{- define "bluegreen.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of what belongs to the whole cluster: two releases of the same name in two namespaces must not share it. */}}
{{- define "bluegreen.clusterName" -}}
{{- printf "%s.%s" (include "bluegreen.name" .) .Release.Namespace -}}
{{- end -}}

{{/* Name of the agent's DaemonSet and ServiceAccount. */}}
{{- define "bluegreen.agentName" -}}
{{- printf "%s-agent" (include "bluegreen.name" .) -}}
{{- end -}}

{{- define "bluegreen.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- $image.repository }}{{ with $image.tag }}:{{ . }}{{ end }}@{{ $image.digest -}}
{{- else -}}
{{- $image.repository }}:{{ $image.tag | default .Chart.AppVersion -}}
{{- end -}}
{{- end -}}

{{- define "bluegreen.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of objects. The chart's version is not among those of pods: it would restart them without need. */}}
{{- define "bluegreen.labels" -}}
{{ include "bluegreen.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What the controller does in the namespaces of the applications. Each verb is one the controller uses. */}}
{{- define "bluegreen.workRules" -}}
- apiGroups: [bluegreen.dev]
  resources: [bluegreendeployments]
  verbs: [get, list, watch, patch]
- apiGroups: [bluegreen.dev]
  resources: [bluegreendeployments/status]
  verbs: [patch]
# Asked for where OwnerReferencesPermissionEnforcement is on: ReplicaSets block their owner's deletion.
- apiGroups: [bluegreen.dev]
  resources: [bluegreendeployments/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch, delete]
{{- if .Values.allowExec }}
# Commands in pods of releases. From Kubernetes 1.35 on the API server wants create also of those who ask by WebSocket, which is a GET.
- apiGroups: [""]
  resources: [pods/exec]
  verbs: [get, create]
{{- end }}
{{- if .Values.jobLogs }}
# The end of the log of a Job that failed.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- end }}
{{- if ne .Values.configSnapshots "None" }}
# Configuration that is kept with each revision (spec.configSnapshots).
- apiGroups: [""]
  resources: [configmaps{{ if eq .Values.configSnapshots "ConfigMapsAndSecrets" }}, secrets{{ end }}]
  verbs: [get, list, watch, create, delete]
{{- end }}
{{- if .Values.allowProxy }}
# Probes that go through the API server (through: ApiServer): get for httpGet, create for httpPost.
- apiGroups: [""]
  resources: [pods/proxy]
  verbs: [get, create]
{{- end }}
# Hooks of a release (spec.hooks), and probes that are Jobs.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, patch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
# The budget that follows the revision that serves (spec.disruptionBudget).
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{- define "bluegreen.nodeRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}
