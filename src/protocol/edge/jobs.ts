/**
 * The messages of `/v1/jobs` between a client and an edge, the public server in front of GPU hosts. A job is a list of layers whose tensors
 * are stored at the edge as blobs. A blob is a file that is named by its digest.
 */

import { z } from "zod";
import { digestSchema } from "../digest.ts";
import { layerQuerySchema } from "../parameters.ts";
import { reportSchema } from "../report.ts";

/** The largest number of layers in a job. OPT-175B has 576. Each layer is a step of a Cloudflare Workflow, which may have 10,000 steps. */
export const MAX_JOB_LAYERS = 4096;

/** The parameters of a job's layer: those of `POST /v1/layers`, except `hessian`. */
export const jobParametersSchema = layerQuerySchema.default(() => layerQuerySchema.parse({})).refine(
  (query) => query.hessian === undefined,
  {
    path: ["hessian"],
    error: "is not a parameter of a job's layer: give the digest in the member hessian of the layer instead",
  },
);

/** One layer of a job. */
const jobLayerSchema = z.strictObject({
  name: z.string().min(1).max(512),
  weight: digestSchema.meta({ description: "A safetensors file like the body of POST /v1/layers" }),
  hessian: digestSchema.optional().meta({
    description:
      "A safetensors file like the body of PUT /v1/hessians. If absent, the file of the weight has the statistics",
  }),
  parameters: jobParametersSchema,
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

const jobStateSchema = z.enum(["queued", "running", "done", "failed"]);

/** The code of the reason why a layer failed: an error code of the HTTP API (`problem.ts`), or `cancelled`. */
const jobErrorSchema = z.object({ code: z.string(), detail: z.string() });

/** The state of one layer of a job. */
const layerStateSchema = z.object({
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

/** A request to start a job. */
export type JobRequest = z.output<typeof jobRequestSchema>;

/** One layer of a requested job. */
export type JobLayer = z.output<typeof jobLayerSchema>;

/** The state of a job or of one of its layers. */
export type JobState = z.infer<typeof jobStateSchema>;

/** The reason why a layer failed. */
export type JobError = z.infer<typeof jobErrorSchema>;

/** The state of one layer of a job. */
export type LayerState = z.infer<typeof layerStateSchema>;

/** A job and the states of its layers. */
export type Job = z.infer<typeof jobSchema>;

/** Whether `state` is final. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed";
}
