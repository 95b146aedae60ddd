/**
 * What travels about jobs: a client's job and its state, a task that the edge gives to a host, and what a host tells of
 * itself. A job is layers whose tensors are stored as blobs; a task is one of them, with signed URLs in place of names.
 */

import { z } from "zod";
import { digestSchema } from "./digest.ts";
import { layerQuerySchema } from "./parameters.ts";
import { reportSchema } from "./report.ts";

/** OPT-175B has 576; each layer is one step of a Workflow, which may have 10,000. */
export const MAX_JOB_LAYERS = 4096;

/** Statistics a host names in a heartbeat: what fits its store are dozens. */
export const MAX_FACTORS = 256;

/** How often a host tells of itself. */
export const HEARTBEAT_MILLISECONDS = 10_000;

/** Longest that an answer about a task may be waited for, in seconds (`Prefer: wait=`). */
export const MAX_TASK_WAIT_SECONDS = 60;

const parametersSchema = layerQuerySchema.default(() => layerQuerySchema.parse({})).refine(
  (query) => query.hessian === undefined,
  { path: ["hessian"], error: "is not a parameter of a job's layer: name the blob beside weight" },
);

/** One layer of a job. */
export const jobLayerSchema = z.strictObject({
  name: z.string().min(1).max(512),
  weight: digestSchema.meta({ description: "A safetensors file as the body of POST /v1/layers" }),
  hessian: digestSchema.optional().meta({
    description:
      "A safetensors file as the body of PUT /v1/hessians; absent: the weight's file has the statistics",
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
        message: `${name} is there twice`,
      });
    }
    seen.add(name);
  }
}).meta({ id: "JobRequest" });

/** The states of a job and of its layers. */
export const jobStateSchema = z.enum(["queued", "running", "done", "failed"]);

/** Why a layer failed: a code of the contract's problems, or `cancelled`. */
export const jobErrorSchema = z.object({ code: z.string(), detail: z.string() });

/** What a job tells of one of its layers. */
export const layerStateSchema = z.object({
  name: z.string(),
  state: jobStateSchema,
  attempts: z.int().min(0),
  report: reportSchema.nullable(),
  result: digestSchema.nullable().meta({ description: "The answer's file, as POST /v1/layers gives it" }),
  error: jobErrorSchema.nullable(),
}).meta({ id: "LayerState" });

/** What `GET /v1/jobs/:id` answers. */
export const jobSchema = z.object({
  id: z.string(),
  state: jobStateSchema,
  layers: z.array(layerStateSchema),
}).meta({ id: "Job" });

/** A blob at a signed URL. */
const sourceSchema = z.strictObject({ url: z.url(), sha256: digestSchema });

/** The body of `POST /v1/tasks`. The same id again asks after the same task. */
export const taskRequestSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/),
  weight: sourceSchema,
  hessian: sourceSchema.optional(),
  result: z.strictObject({ url: z.url() }),
  parameters: parametersSchema,
}).meta({ id: "TaskRequest" });

/** What a host answers about a task that has not failed; a failed one answers the problem. */
export const taskAnswerSchema = z.discriminatedUnion("state", [
  z.object({ state: z.literal("running") }),
  z.object({
    state: z.literal("done"),
    report: reportSchema,
    result: z.object({ sha256: digestSchema, bytes: z.int() }),
  }),
]).meta({ id: "TaskAnswer" });

/** A host's name, new with every start: what was said to a process that is gone is then no one's. */
export const hostIdSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/);

/** What a host tells of itself: the body of `PUT /v1/hosts/:id`. */
export const hostStateSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).meta({ description: "Where the edge reaches it" }),
  backend: z.string().max(32),
  adapter: z.string().max(256),
  capacity: z.int().min(1).max(1024).meta({ description: "Layers it holds on its device at once" }),
  queue: z.strictObject({ waiting: z.int().min(0), resident: z.int().min(0) }),
  factors: z.array(digestSchema).max(MAX_FACTORS).meta({ description: "Statistics it has on its device" }),
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

/** The query string of `POST /v1/layers` for parameters as the schema leaves them. */
export function layerSearchParams(parameters: JobLayer["parameters"]): URLSearchParams {
  const defined = Object.entries(parameters).filter(([, value]) => value !== undefined);
  return new URLSearchParams(defined.map(([name, value]) => [name, String(value)]));
}
