/**
 * `/v1/jobs` at an edge. A job is a list of layers that the edge solves at its hosts, or a model whose blocks the hosts
 * prune in order. The tensors are stored at the edge as blobs, which are files named by their digests.
 */

import { z } from "zod";
import { described, digestSchema, numeric } from "./fields.ts";
import { JOB_STATES } from "../job_state.ts";
import { jobParametersSchema } from "../parameters.ts";
import { BLOCK_STEPS, CREATE_STATES } from "./blocks.ts";
import { reportSchema } from "./layers.ts";
import { EDGE_PROBLEMS, json, JSON_PROBLEMS, NO_QUERY, type Operation } from "./operation.ts";

/** The largest number of characters in the name of a job or of a layer. */
const MAX_NAME_CHARACTERS = 512;

/** The largest number of layers in a job. OPT-175B has 576. Each is a step of a Workflow, which may have 10,000. */
export const MAX_JOB_LAYERS = 4096;

/** The parameters of a job's layer, with all defaults if the layer has none. */
export const layerParametersSchema = jobParametersSchema.default(() => jobParametersSchema.parse({}));

/** A name. Half of a surrogate pair is refused, because UTF-8 cannot store it, and two different names could then be stored as the same bytes. */
const nameSchema = z.string().min(1).max(MAX_NAME_CHARACTERS).refine((name) => name.isWellFormed(), {
  error: "must not have half of a surrogate pair",
});

const layerNameSchema = nameSchema.meta({
  description: "The name of the layer, unique in the job",
});

const jobNameSchema = nameSchema.meta({
  description: "A name for people. It need not be unique",
});

const jobLayerSchema = z.strictObject({
  name: layerNameSchema,
  weight: digestSchema.meta({ description: "A safetensors file like the body of POST /v1/layers" }),
  hessian: digestSchema.optional().meta({
    description:
      "A safetensors file like the body of PUT /v1/hessians. If absent, the file of the weight has the statistics",
  }),
  parameters: layerParametersSchema,
});

const blockFields = BLOCK_STEPS.prune.request.query.omit({ states: true, block: true });

/** The parameters of a block in a job, with all defaults if the block has none. */
export const blockParametersSchema = blockFields.default(() => blockFields.parse({}));

/** Whether the hidden states of the dense model are stored too, so that the layers have targets. */
export const targetSchema = CREATE_STATES.request.query.shape.target;

const jobBlockSchema = z.strictObject({
  name: nameSchema.meta({ description: "The name of the block, unique in the job" }),
  weight: digestSchema.meta({ description: "A safetensors file like the body of POST /v1/blocks/prune" }),
  parameters: blockParametersSchema,
  result: digestSchema.optional().meta({
    description: "The result of the block, if an earlier job has pruned it. It is not pruned again",
  }),
});

const jobModelSchema = z.strictObject({
  states: digestSchema.meta({ description: "A safetensors file like the body of PUT /v1/states/{name}" }),
  target: targetSchema,
}).meta({ id: "JobModel", description: "The calibration windows of a model" });

/** The body of `POST /v1/jobs`. */
export const jobRequestSchema = z.strictObject({
  name: jobNameSchema.optional(),
  layers: z.array(jobLayerSchema).min(1).max(MAX_JOB_LAYERS).optional(),
  model: jobModelSchema.extend({
    blocks: z.array(jobBlockSchema).min(1).max(MAX_JOB_LAYERS).meta({
      description: "The blocks of the model from the first one on. They are pruned in this order",
    }),
  }).optional(),
}).superRefine(({ layers, model }, context) => {
  const report = (path: PropertyKey[], message: string) =>
    context.addIssue({ code: "custom", path, message });
  if ((layers === undefined) === (model === undefined)) {
    report(["layers"], "is required without model, and not allowed with it");
  }
  const seen = new Set<string>();
  for (const [index, { name }] of (layers ?? model?.blocks ?? []).entries()) {
    if (seen.has(name)) {
      report([...layers ? ["layers"] : ["model", "blocks"], index, "name"], `${name} occurs twice`);
    }
    seen.add(name);
  }
}).meta({ id: "JobRequest" });

const jobStateSchema = described(z.enum(JOB_STATES), "`done`, `failed` and `cancelled` are final");

const jobErrorSchema = described(
  z.object({
    code: described(z.string(), "An error code of the HTTP API, or `cancelled`"),
    detail: described(z.string(), "A description for people"),
  }),
  "The reason why a layer has no result",
);

const layerStateSchema = z.object({
  name: layerNameSchema,
  weight: digestSchema.meta({ description: "The blob with the weight, as the job names it" }),
  hessian: digestSchema.nullable().meta({
    description: "The blob with the statistics, if the job names one",
  }),
  parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).meta({
    description: "The parameters of the layer. Parameters that the job does not give have their defaults",
  }),
  state: jobStateSchema,
  attempts: described(z.int().min(0), "The number of times that a host was asked to solve the layer"),
  host: z.string().nullable().meta({ description: "The id of the host of the latest attempt" }),
  // The generator of the OpenAPI document drops the null of `reportSchema.nullable()`.
  report: described(
    z.union([reportSchema, z.null()]),
    "Null unless the state is `done`. Always null for a block, whose result has the reports of its layers",
  ),
  result: digestSchema.nullable().meta({
    description:
      "The digest of the answer, a file like the answer of POST /v1/layers or POST /v1/blocks/prune",
  }),
  error: described(jobErrorSchema.nullable(), "Null unless the state is `failed` or `cancelled`"),
}).meta({ id: "LayerState", description: "The state of one layer of a job, or of one block of its model" });

/** The members that a job and its summary have in common. */
const jobHeadSchema = z.object({
  id: described(z.string(), "The id of the job"),
  name: jobNameSchema.nullable(),
  state: jobStateSchema,
  created: described(z.iso.datetime(), "The time of the submission, in ISO 8601"),
  ended: z.iso.datetime().nullable().meta({ description: "Null until the job has ended" }),
});

/** The answer of `GET /v1/jobs/:id`. */
export const jobSchema = jobHeadSchema.extend({
  model: described(jobModelSchema.optional(), "The model, if the job prunes the blocks of one"),
  layers: described(z.array(layerStateSchema), "The layers or blocks, in the order of the submission"),
}).meta({
  id: "Job",
  description: "A job with its layers, or with the blocks of its model",
});

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
  }).optional().meta({
    description: "The cursor in the answer with the previous page, to list the next one",
  }),
});

/** The answer of `GET /v1/jobs`. */
export const jobListSchema = z.object({
  jobs: described(z.array(jobSummarySchema), "The jobs of this page"),
  cursor: z.string().nullable().meta({ description: "The cursor of the next page. Null on the last page" }),
}).meta({ id: "JobList", description: "A page of jobs, newest first" });

export type JobRequest = z.output<typeof jobRequestSchema>;

export type JobLayer = z.output<typeof jobLayerSchema>;

export type JobBlock = z.output<typeof jobBlockSchema>;

export type JobModel = z.output<typeof jobModelSchema>;

/** The query of `GET /v1/jobs`, with its defaults. */
export type JobListQuery = z.output<typeof jobListQuerySchema>;

const params = z.object({
  id: z.string().regex(/^[0-9a-f]{32}$/, { error: "must be 32 lowercase hexadecimal digits" }).meta({
    description: "The id of the job",
  }),
});

const JOB_HEADERS = {
  ETag: { description: "Changes when the job changes", schema: { type: "string" as const } },
  "Retry-After": {
    description: "The seconds after which to ask again. Absent once the job has ended",
    schema: { type: "integer" as const },
  },
};

export const START_JOB = {
  method: "post",
  path: "/v1/jobs",
  operationId: "startJob",
  summary: "Start a job",
  description:
    "Prunes layers whose tensors are blobs. The layers are solved at the hosts of the edge, several at the same time. With `model` in " +
    "place of `layers`, the job prunes the blocks of a model in their order, at one host. If a host is lost, another one continues. " +
    "A blob that does not exist is refused at once.",
  tags: ["Jobs"],
  scope: "jobs",
  request: {
    query: NO_QUERY,
    headers: z.object({
      "idempotency-key": z.string().min(1).max(256).optional().meta({
        description:
          "A repeated request with the same key and body finds the same job. The same key with another body is refused",
      }),
    }),
    body: { required: true, content: json(jobRequestSchema) },
  },
  responses: {
    202: {
      description: "The job is queued, or existed already",
      headers: {
        ...JOB_HEADERS,
        Location: { description: "The path of the job", schema: { type: "string" } },
      },
      content: json(jobSchema),
    },
  },
  problems: [...EDGE_PROBLEMS, ...JSON_PROBLEMS, "not_found", "idempotency_conflict"],
} satisfies Operation;

export const LIST_JOBS = {
  method: "get",
  path: "/v1/jobs",
  operationId: "listJobs",
  summary: "List jobs",
  description: "Lists the jobs that were started with the same API key, newest first, page by page.",
  tags: ["Jobs"],
  scope: "jobs",
  request: { query: jobListQuerySchema },
  responses: { 200: { description: "A page of jobs", content: json(jobListSchema) } },
  problems: EDGE_PROBLEMS,
} satisfies Operation;

export const READ_JOB = {
  method: "get",
  path: "/v1/jobs/{id}",
  operationId: "readJob",
  summary: "Read a job",
  description:
    "With `Accept: text/event-stream` the answer is a stream of events: `job`, then `layer` for each layer that changes, then `job` again. " +
    "The data of an event is a `Job` or a `LayerState`.",
  tags: ["Jobs"],
  scope: "jobs",
  request: {
    params,
    query: NO_QUERY,
    headers: z.object({
      "if-match": z.string().optional().meta({ description: "ETags, one of which the job must have" }),
      "if-none-match": z.string().optional().meta({ description: "The ETags of earlier answers" }),
    }),
  },
  responses: {
    200: {
      description: "The job",
      headers: JOB_HEADERS,
      content: { ...json(jobSchema), "text/event-stream": { schema: z.string() } },
    },
    304: {
      description: "The job has not changed: its ETag is in If-None-Match",
      headers: JOB_HEADERS,
    },
    412: { description: "The job has changed: its ETag is not in If-Match" },
  },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;

export const CANCEL_JOB = {
  method: "delete",
  path: "/v1/jobs/{id}",
  operationId: "cancelJob",
  summary: "Cancel a job",
  description: "Layers that are done keep their results. The others are `cancelled`.",
  tags: ["Jobs"],
  scope: "jobs",
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The job is cancelled, or had ended before" } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;
