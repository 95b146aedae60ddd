{{- /* The specification of a Job that prunes a model in the volume. If the pod is stopped, its replacement continues the
run, because the volume holds the finished layers. The exit codes of `pare` (src/cli/README.md) decide whether there is
a replacement. The argument is the chart and the further arguments of the command. */}}
{{- define "pare.run" -}}
{{- $chart := index . 0 }}{{ $further := index . 1 }}
{{- with $chart.Values.run -}}
{{- $isLocal := not (or .server .hosts) }}
# Limits how often the Job starts again after exit code 4 and after a kill.
backoffLimit: 20
podFailurePolicy:
  rules:
    # 1 is a defect, 2 a mistake in the arguments, 3 a bad model, text or key. The next pod would fail in the same way.
    - action: FailJob
      onExitCodes:
        containerName: prune
        operator: In
        values: [1, 2, 3]
    # The pod was shut down, for example because its node is drained. This does not count as a failure of the run.
    - action: Ignore
      onExitCodes:
        containerName: prune
        operator: In
        values: [143]
    - action: Ignore
      onPodConditions:
        - type: DisruptionTarget
          status: "True"
    # 4: a host or the hub is unreachable or busy, or the disk is full. Kubernetes waits longer before each attempt.
    - action: Count
      onExitCodes:
        containerName: prune
        operator: In
        values: [4]
template:
  spec:
    {{- include "pare.pod" $chart | nindent 4 }}
    restartPolicy: Never
    # The command needs a moment to flush the current layer when it is stopped.
    terminationGracePeriodSeconds: 60
    containers:
      - name: prune
        {{- include "pare.container" $chart | nindent 8 }}
        args: {{ concat (list "prune") .args (ternary (list "--backend=webgpu") $further $isLocal) | toJson }}
        {{- if not $isLocal }}
        env:
          {{- include "pare.secret" (list $chart "PARE_API_KEY") | nindent 10 }}
        {{- end }}
        resources:
          requests:
            cpu: "4"
            memory: 8Gi
          limits:
            memory: 16Gi
            {{- if $isLocal }}
            nvidia.com/gpu: "1"
            {{- end }}
        volumeMounts:
          - name: models
            mountPath: /models
    volumes:
      - name: models
        persistentVolumeClaim:
          claimName: {{ .claim }}
{{- end }}
{{- end }}
