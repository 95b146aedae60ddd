/** The checks by which the SDK reads JSON answers. `deno task generate` writes this file from the schemas in `src/protocol`. */

import * as z from "zod/mini";
import { list } from "../base/list.ts";
import type {
  CompletedUpload,
  EdgeHost,
  Job,
  JobError,
  JobList,
  JobModel,
  JobSummary,
  LayerState,
  Ready,
  Report,
  ReportSeconds,
  Run,
  RunFile,
  RunPerplexity,
  RunPlan,
  RunProgress,
  RunResult,
  StoredHessian,
  StoredStates,
  Upload,
} from "./messages.ts";

export const receivedStoredStates: z.ZodMiniType<StoredStates> = z.object({
  next_block: z.int(),
  windows: z.int(),
  tokens: z.int(),
});

export const receivedStoredHessian: z.ZodMiniType<StoredHessian> = z.object({
  digest: z.string(),
  order: z.int(),
});

export const receivedEdgeHost: z.ZodMiniType<EdgeHost> = z.object({
  url: z.url({ protocol: /^https?$/ }),
  backend: z.string(),
  adapter: z.string(),
  capacity: z.int().check(z.minimum(1)),
  queue: z.object({ waiting: z.int().check(z.minimum(0)), resident: z.int().check(z.minimum(0)) }),
  factors: list(z.string()),
  id: z.string(),
  seen: z.int(),
});

export const receivedJobSummary: z.ZodMiniType<JobSummary> = z.object({
  id: z.string(),
  name: z.nullable(z.string()),
  state: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  created: z.string(),
  ended: z.nullable(z.string()),
  layers: z.object({
    queued: z.int().check(z.minimum(0)),
    running: z.int().check(z.minimum(0)),
    done: z.int().check(z.minimum(0)),
    failed: z.int().check(z.minimum(0)),
    cancelled: z.int().check(z.minimum(0)),
  }),
});

export const receivedJobList: z.ZodMiniType<JobList> = z.object({
  jobs: list(receivedJobSummary),
  cursor: z.nullable(z.string()),
});

export const receivedJobModel: z.ZodMiniType<JobModel> = z.object({
  states: z.string(),
  target: z._default(z.enum(["none", "dense"]), "none"),
});

export const receivedReportSeconds: z.ZodMiniType<ReportSeconds> = z.object({
  read: z.number().check(z.minimum(0)),
  factor: z.number().check(z.minimum(0)),
  solve: z.number().check(z.minimum(0)),
  refit: z.number().check(z.minimum(0)),
  total: z.number().check(z.minimum(0)),
});

export const receivedReport: z.ZodMiniType<Report> = z.object({
  method: z.string(),
  rows: z.int().check(z.minimum(1)),
  cols: z.int().check(z.minimum(1)),
  pattern: z.string(),
  sparsity: z.number().check(z.minimum(0)),
  zeros: z.int().check(z.minimum(0)),
  loss: z.nullable(z.number()),
  relative_error: z.nullable(z.number()),
  validation_loss: z.optional(z.nullable(z.number())),
  validation_error: z.optional(z.nullable(z.number())),
  validation_choice: z.optional(z.enum(["method", "magnitude"])),
  nearest_rows: z.optional(z.int().check(z.minimum(0))),
  damping: z.nullable(z.number()),
  shrinkage: z.optional(z.number()),
  iterations: z._default(z.int().check(z.minimum(0)), 0),
  refit_steps: z._default(z.int().check(z.minimum(0)), 0),
  target_step: z.optional(z.number()),
  target_change: z.optional(
    z.object({
      result: z.nullable(z.number()),
      step: z.nullable(z.number()),
      validation: z.optional(z.nullable(z.number())),
    }),
  ),
  notes: z._default(list(z.string()), () => []),
  backend: z.string(),
  adapter: z.string(),
  seconds: receivedReportSeconds,
  factor_reused: z.boolean(),
});

export const receivedJobError: z.ZodMiniType<JobError> = z.object({ code: z.string(), detail: z.string() });

export const receivedLayerState: z.ZodMiniType<LayerState> = z.object({
  name: z.string(),
  weight: z.string(),
  hessian: z.nullable(z.string()),
  parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  state: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  attempts: z.int().check(z.minimum(0)),
  host: z.nullable(z.string()),
  report: z.nullable(receivedReport),
  result: z.nullable(z.string()),
  error: z.nullable(receivedJobError),
});

export const receivedJob: z.ZodMiniType<Job> = z.object({
  id: z.string(),
  name: z.nullable(z.string()),
  state: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  created: z.string(),
  ended: z.nullable(z.string()),
  model: z.optional(receivedJobModel),
  layers: list(receivedLayerState),
});

export const receivedRunPlan: z.ZodMiniType<RunPlan> = z.object({
  layers: z.int(),
  seconds: z.number(),
  memory_bytes: z.int(),
  disk_bytes: z.int(),
  device: z.string(),
});

export const receivedRunProgress: z.ZodMiniType<RunProgress> = z.object({
  phase: z.string(),
  done: z.int(),
  total: z.int(),
  time_left: z.nullable(z.string()),
  detail: z.string(),
});

export const receivedRunPerplexity: z.ZodMiniType<RunPerplexity> = z.object({
  dense: z.nullable(z.number()),
  pruned: z.nullable(z.number()),
  divergence: z.nullable(z.number()),
});

export const receivedRunFile: z.ZodMiniType<RunFile> = z.object({ name: z.string(), bytes: z.int() });

export const receivedRunResult: z.ZodMiniType<RunResult> = z.object({
  dense_bytes: z.int(),
  written_bytes: z.int(),
  seconds: z.number(),
  perplexity: z.nullable(receivedRunPerplexity),
  files: list(receivedRunFile),
});

export const receivedRun: z.ZodMiniType<Run> = z.object({
  id: z.string(),
  model: z.string(),
  options: list(z.string()),
  state: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  created: z.string(),
  plan: z.nullable(receivedRunPlan),
  progress: z.nullable(receivedRunProgress),
  result: z.nullable(receivedRunResult),
  error: z.nullable(z.string()),
});

export const receivedReady: z.ZodMiniType<Ready> = z.object({
  status: z.literal(["ready"]),
  version: z.string(),
  backend: z.string(),
  adapter: z.object({ name: z.string(), software: z.boolean() }),
  limits: z.object({
    max_body_bytes: z.int(),
    max_features: z.int(),
    max_blocksize: z.int(),
    max_buffer_bytes: z.int(),
  }),
  self_check: z.nullable(z.object({ passed: z.literal([true]), seconds: z.number() })),
  queue: z.object({ waiting: z.int(), resident: z.int() }),
});

export const receivedCompletedUpload: z.ZodMiniType<CompletedUpload> = z.object({ blob: z.string() });

export const receivedUpload: z.ZodMiniType<Upload> = z.object({
  upload: z.string(),
  part_size: z.int().check(z.minimum(1)),
  parts: list(z.object({ number: z.int().check(z.minimum(1)), url: z.url({ protocol: /^https?$/ }) })),
  expires: z.string(),
});
