/**
 * The messages of `/v1/jobs` between a client and an edge, the public server in front of GPU hosts. A job is a list of layers whose tensors
 * are stored at the edge as blobs. A blob is a file that is named by its digest.
 */

import { z } from "zod";
import { JOB_STATES } from "../answers/jobs.ts";
import { digestSchema } from "../digest_schema.ts";
import { jobParametersSchema, numeric } from "../parameters.ts";
import { reportSchema } from "../report.ts";

/** The largest number of characters in the name of a job or of a layer. */
const MAX_NAME_CHARACTERS = 512;

/** The largest number of layers in a job. OPT-175B has 576. Each layer is a step of a Cloudflare Workflow, which may have 10,000 steps. */
export const MAX_JOB_LAYERS = 4096;

/** The parameters of a job's layer, with all defaults if the layer has none. */
export const layerParametersSchema = jobParametersSchema.default(() => jobParametersSchema.parse({}));

/**
 * A name. Half of a surrogate pair is refused, because UTF-8 cannot store it: two names that differ only there
 * would become the same.
 */
const nameSchema = z.string().min(1).max(MAX_NAME_CHARACTERS).refine((name) => name.isWellFormed(), {
  error: "must not have half of a surrogate pair",
});

const layerNameSchema = nameSchema.meta({
  description: "The name of the layer, unique in the job",
});

const jobNameSchema = nameSchema.meta({
  description: "A name for people. It need not be unique",
});

/** One layer of a job. */
const jobLayerSchema = z.strictObject({
  name: layerNameSchema,
  weight: digestSchema.meta({ description: "A safetensors file like the body of POST /v1/layers" }),
  hessian: digestSchema.optional().meta({
    description:
      "A safetensors file like the body of PUT /v1/hessians. If absent, the file of the weight has the statistics",
  }),
  parameters: layerParametersSchema,
});

/** The body of `POST /v1/jobs`. */
export const jobRequestSchema = z.strictObject({
  name: jobNameSchema.optional(),
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

const jobStateSchema = z.enum(JOB_STATES);

/** The code of the reason why a layer has no result: an error code of the HTTP API (`problem.ts`), or `cancelled`. */
const jobErrorSchema = z.object({ code: z.string(), detail: z.string() });

/** The state of one layer of a job, and what was asked for. */
const layerStateSchema = z.object({
  name: layerNameSchema,
  weight: digestSchema.meta({ description: "The blob with the weight, as the job names it" }),
  hessian: digestSchema.nullable().meta({
    description: "The blob with the statistics, if the job names one",
  }),
  parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).meta({
    description: "The parameters of the job, with the defaults of those that it does not give",
  }),
  state: jobStateSchema,
  attempts: z.int().min(0),
  host: z.string().nullable().meta({ description: "The id of the host of the latest attempt" }),
  // The generator of the OpenAPI document drops the null of `reportSchema.nullable()`.
  report: z.union([reportSchema, z.null()]),
  result: digestSchema.nullable().meta({
    description: "The digest of the answer, a file like the answer of POST /v1/layers",
  }),
  error: jobErrorSchema.nullable(),
}).meta({ id: "LayerState", description: "The state of one layer of a job" });

/** The members that a job and its entry in the list of jobs have in common. */
const jobHeadSchema = z.object({
  id: z.string(),
  name: jobNameSchema.nullable(),
  state: jobStateSchema,
  created: z.iso.datetime(),
  ended: z.iso.datetime().nullable().meta({ description: "Null until the job has ended" }),
});

/** The answer of `GET /v1/jobs/:id`. */
export const jobSchema = jobHeadSchema.extend({ layers: z.array(layerStateSchema) }).meta({
  id: "Job",
  description: "A job with its layers",
});

/** One job in the answer of `GET /v1/jobs`. */
const jobSummarySchema = jobHeadSchema.extend({
  layers: z.object({
    queued: z.int().min(0),
    running: z.int().min(0),
    done: z.int().min(0),
    failed: z.int().min(0),
    cancelled: z.int().min(0),
  }).meta({ description: "The number of layers in each state" }),
}).meta({ id: "JobSummary", description: "A job without its layers" });

/** The largest number of jobs in one answer of `GET /v1/jobs`, and the number without the parameter `limit`. */
const MAX_JOBS_PER_PAGE = 100, DEFAULT_JOBS_PER_PAGE = 20;

/** The query of `GET /v1/jobs`. */
export const jobListQuerySchema = z.strictObject({
  state: jobStateSchema.optional().meta({ description: "Lists only the jobs in this state" }),
  limit: numeric(z.int().min(1).max(MAX_JOBS_PER_PAGE)).default(DEFAULT_JOBS_PER_PAGE).meta({
    description: "The largest number of jobs in the answer",
  }),
  cursor: z.string().regex(/^\d{1,15}-[0-9a-f]{32}$/, {
    error: "must be the cursor of an earlier answer",
  }).optional().meta({ description: "The cursor of the page before, to continue after it" }),
});

/** The answer of `GET /v1/jobs`. */
export const jobListSchema = z.object({
  jobs: z.array(jobSummarySchema),
  cursor: z.string().nullable().meta({ description: "The cursor of the next page. Null on the last page" }),
}).meta({ id: "JobList", description: "A page of jobs, newest first" });

/** A request to start a job. */
export type JobRequest = z.output<typeof jobRequestSchema>;

/** One layer of a requested job. */
export type JobLayer = z.output<typeof jobLayerSchema>;

/** The query of `GET /v1/jobs`, with its defaults. */
export type JobListQuery = z.output<typeof jobListQuerySchema>;

export { hasEnded, JOB_STATES } from "../answers/jobs.ts";
export type { Job, JobError, JobList, JobState, JobSummary, LayerState } from "../answers/jobs.ts";
