/** The operations of `/v1/jobs` at an edge. A job is a list of layers that the edge solves at its hosts. */

import { z } from "zod";
import { jobListQuerySchema, jobListSchema, jobRequestSchema, jobSchema } from "../edge/jobs.ts";
import { EDGE_PROBLEMS, json, JSON_PROBLEMS, NO_QUERY, type Operation, WITH_KEY } from "./operation.ts";

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

/** Starts a job. */
export const START_JOB = {
  method: "post",
  path: "/v1/jobs",
  operationId: "startJob",
  summary: "Start a job",
  description:
    "Prunes layers whose tensors are blobs. The layers are solved at the hosts of the edge, several at the same time. A blob that does " +
    "not exist is refused at once.",
  tags: ["Jobs"],
  security: WITH_KEY,
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

/** Lists jobs. */
export const LIST_JOBS = {
  method: "get",
  path: "/v1/jobs",
  operationId: "listJobs",
  summary: "List jobs",
  description: "Lists the jobs that were started with the same API key, newest first, page by page.",
  tags: ["Jobs"],
  security: WITH_KEY,
  request: { query: jobListQuerySchema },
  responses: { 200: { description: "A page of jobs", content: json(jobListSchema) } },
  problems: EDGE_PROBLEMS,
} satisfies Operation;

/** Reads a job. */
export const READ_JOB = {
  method: "get",
  path: "/v1/jobs/{id}",
  operationId: "readJob",
  summary: "Read a job",
  description:
    "With `Accept: text/event-stream` the answer is a stream of events: `job`, then `layer` for each layer that changes, then `job` again. " +
    "The data of an event is a `Job` or a `LayerState`.",
  tags: ["Jobs"],
  security: WITH_KEY,
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
      description: "The job has not changed, because its ETag is still that of If-None-Match",
      headers: JOB_HEADERS,
    },
    412: { description: "The job has changed, because its ETag is not one of If-Match" },
  },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;

/** Cancels a job. */
export const CANCEL_JOB = {
  method: "delete",
  path: "/v1/jobs/{id}",
  operationId: "cancelJob",
  summary: "Cancel a job",
  description: "Layers that are done keep their results. The others are `cancelled`.",
  tags: ["Jobs"],
  security: WITH_KEY,
  request: { params, query: NO_QUERY },
  responses: { 204: { description: "The job is cancelled, or had ended before" } },
  problems: [...EDGE_PROBLEMS, "not_found"],
} satisfies Operation;
