/**
 * The messages about jobs between client, edge and hosts. A *job* is a list of layers whose tensors are stored at the edge as blobs. A
 * *task* is one of those layers, given to a host, with signed URLs in place of the blobs' digests. A host also reports its own state.
 */

import { z } from "zod";
import { digestSchema } from "./digest.ts";
import { layerQuerySchema } from "./parameters.ts";
import { reportSchema } from "./report.ts";

/** OPT-175B has 576 layers. Each layer is one step of a Workflow, and a Workflow may have 10,000 steps. */
export const MAX_JOB_LAYERS = 4096;

/** The largest number of stored statistics in a heartbeat. A host's store holds a few dozen. */
export const MAX_FACTORS = 256;

/** The interval of a host's heartbeats. */
export const HEARTBEAT_MILLISECONDS = 10_000;

/** The longest wait for the answer to a task, in seconds (`Prefer: wait=`). */
export const MAX_TASK_WAIT_SECONDS = 60;

const parametersSchema = layerQuerySchema.default(() => layerQuerySchema.parse({})).refine(
  (query) => query.hessian === undefined,
  { path: ["hessian"], error: "is not a parameter of a job's layer: give the digest beside weight instead" },
);

/** One layer of a job. */
export const jobLayerSchema = z.strictObject({
  name: z.string().min(1).max(512),
  weight: digestSchema.meta({ description: "A safetensors file like the body of POST /v1/layers" }),
  hessian: digestSchema.optional().meta({
    description:
      "A safetensors file like the body of PUT /v1/hessians. If absent, the file of the weight has the statistics",
  }),
  parameters: parametersSchema,
});

/** The body of `POST /v1/jobs`. */
export const jobRequestSchema = z.strictObject({
  layers: z.array(jobLayerSchema).min(1).max(MAX_JOB_LAYERS),
}).superRefine(({ layers }, context) => {
  const seen = new Set<string>();
  for (const [index, { name }] of layers.entries()) {
    if (seen.has(name)) {
      context.addIssue({
        code: "custom",
        path: ["layers", index, "name"],
        message: `${name} occurs twice`,
      });
    }
    seen.add(name);
  }
}).meta({ id: "JobRequest" });

/** The states of a job and of its layers. */
export const jobStateSchema = z.enum(["queued", "running", "done", "failed"]);

/** The reason why a layer failed: a problem code of the contract, or `cancelled`. */
export const jobErrorSchema = z.object({ code: z.string(), detail: z.string() });

/** The state of one layer of a job. */
export const layerStateSchema = z.object({
  name: z.string(),
  state: jobStateSchema,
  attempts: z.int().min(0),
  report: reportSchema.nullable(),
  result: digestSchema.nullable().meta({
    description: "The digest of the answer, a file like the answer of POST /v1/layers",
  }),
  error: jobErrorSchema.nullable(),
}).meta({ id: "LayerState" });

/** The answer of `GET /v1/jobs/:id`. */
export const jobSchema = z.object({
  id: z.string(),
  state: jobStateSchema,
  layers: z.array(layerStateSchema),
}).meta({ id: "Job" });

/** A blob at a signed URL. */
const sourceSchema = z.strictObject({ url: z.url(), sha256: digestSchema });

/** The body of `POST /v1/tasks`. A second request with the same id asks for the state of the same task. */
export const taskRequestSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  weight: sourceSchema,
  hessian: sourceSchema.optional(),
  result: z.strictObject({ url: z.url() }),
  parameters: parametersSchema,
}).meta({ id: "TaskRequest" });

/** The answer about a task that has not failed. A failed task answers with its problem. */
export const taskAnswerSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("running") }),
  z.object({
    state: z.literal("done"),
    report: reportSchema,
    result: z.object({ sha256: digestSchema, bytes: z.int() }),
  }),
]).meta({ id: "TaskAnswer" });

/** The id of a host. A host has a new id after every start, so that messages for an earlier process do not reach the new one. */
export const hostIdSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);

/** The state of a host, the body of `PUT /v1/hosts/:id`. */
export const hostStateSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).meta({ description: "The URL at which the edge reaches the host" }),
  backend: z.string().max(32),
  adapter: z.string().max(256),
  capacity: z.int().min(1).max(1024).meta({
    description: "The number of layers that the host holds on its device at once",
  }),
  queue: z.strictObject({ waiting: z.int().min(0), resident: z.int().min(0) }),
  factors: z.array(digestSchema).max(MAX_FACTORS).meta({
    description: "The digests of the statistics on the host's device",
  }),
}).meta({ id: "HostState" });

export type JobRequest = z.output<typeof jobRequestSchema>;
export type JobLayer = z.output<typeof jobLayerSchema>;
export type JobState = z.infer<typeof jobStateSchema>;
export type JobError = z.infer<typeof jobErrorSchema>;
export type LayerState = z.infer<typeof layerStateSchema>;
export type Job = z.infer<typeof jobSchema>;
export type TaskRequest = z.output<typeof taskRequestSchema>;
export type TaskAnswer = z.infer<typeof taskAnswerSchema>;
export type HostState = z.infer<typeof hostStateSchema>;

/** Whether a job or a layer in `state` will not change any more. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed";
}
