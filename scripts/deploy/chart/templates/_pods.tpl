{{- /* The labels by which services and budgets select the pods of this release. */}}
{{- define "pare.labels" -}}
app.kubernetes.io/name: pare
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* The fields of every pod. */}}
{{- define "pare.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 1993
  fsGroup: 1993
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.pod }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The fields of every container. */}}
{{- define "pare.container" -}}
image: {{ .Values.image }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: ["ALL"]
{{- end }}

{{- /* A variable whose value is in the secret, under the same name. The argument is the chart and the name. */}}
{{- define "pare.secret" -}}
{{- $chart := index . 0 }}{{ $name := index . 1 -}}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $chart.Values.secret }}
      key: {{ $name }}
{{- end }}

{{- /* The specification of the pod of a GPU host. */}}
{{- define "pare.host" -}}
{{ include "pare.pod" . }}
# A stopping host finishes its layer first. The grace period covers the largest layer.
terminationGracePeriodSeconds: 600
containers:
  - name: host
    {{- include "pare.container" . | nindent 4 }}
    args: ["serve", "--host", "0.0.0.0", "--port", "8000", "--backend", "webgpu"]
    env:
      # A mounted secret follows each change of the secret, so keys change without a restart.
      - name: PARE_KEYS_FILE
        value: /etc/pare/keys
      {{- with .Values.hosts.edge }}
      - name: POD_NAME
        valueFrom:
          fieldRef:
            fieldPath: metadata.name
      - name: PARE_PUBLIC_URL
        value: https://$(POD_NAME).{{ $.Values.hosts.domain }}
      - name: PARE_EDGE
        value: {{ . }}
      - name: PARE_BLOB_ORIGINS
        value: {{ $.Values.hosts.bucket }}
      {{- include "pare.secret" (list $ "EDGE_HOST_SECRET") | nindent 6 }}
      {{- end }}
    volumeMounts:
      - name: keys
        mountPath: /etc/pare
        readOnly: true
    ports:
      - name: http
        containerPort: 8000
        protocol: TCP
    # Checks that the process answers. A host also answers while it solves a layer, so the timeout can be short.
    livenessProbe:
      httpGet:
        path: /healthz
        port: http
      periodSeconds: 10
      timeoutSeconds: 5
    # Checks that the GPU can be used. If the GPU is lost, the host opens it again without a restart.
    readinessProbe:
      httpGet:
        path: /readyz
        port: http
      periodSeconds: 5
      timeoutSeconds: 5
    # The host compiles its shaders when it starts, which can take up to two minutes.
    startupProbe:
      httpGet:
        path: /readyz
        port: http
      periodSeconds: 5
      failureThreshold: 24
    resources:
      requests:
        cpu: "2"
        memory: 2Gi
      limits:
        memory: 4Gi
        nvidia.com/gpu: "1"
volumes:
  - name: keys
    secret:
      secretName: {{ .Values.secret }}
      items:
        - key: PARE_KEYS
          path: keys
{{- end }}
