/**
 * The routes of `/v1/jobs`. A durable job prunes layers whose tensors are blobs, which are stored under their
 * digests. If the client sends an idempotency key, the id of the job is derived from the key. A repeated
 * request therefore finds the job that the first one created.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { formatDigest, sha256 } from "../../protocol/digest.ts";
import { hasEnded, type JobRequest, jobRequestSchema, jobSchema } from "../../protocol/edge/jobs.ts";
import { problemResponses } from "../../protocol/openapi.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { requireEdgeKey } from "../auth.ts";
import type { EdgeBindings } from "../bindings.ts";
import { limitBody } from "../body_length.ts";
import type { EdgeApp } from "../edge_env.ts";
import { wholeNumber } from "../settings.ts";
import { streamJobEvents } from "./events.ts";
import { findJob } from "./find_job.ts";
import type { VersionedJob } from "./job_record.ts";
import type { WorkflowInstance } from "../runtime/workflow.ts";

const security = [{ key: [] }];
const params = z.object({ id: z.string().regex(/^[0-9a-f]{32}$/) });

/** The Retry-After of a job that has not ended, in seconds. */
const POLL_SECONDS = 2;

/**
 * If the Workflow of a job has not called the job's record for this long, the Workflow is not running. An
 * attempt at a layer calls the record at least every half minute.
 */
const DEFAULT_SILENCE_SECONDS = 60;

/** The largest request in bytes. It has room for 4096 layers (`MAX_JOB_LAYERS`) of 2 KiB each. */
const MAX_JOB_BYTES = 8 * 2 ** 20;

const create = createRoute({
  method: "post",
  path: "/v1/jobs",
  summary: "Start a job",
  security,
  request: {
    headers: z.object({
      "idempotency-key": z.string().min(1).max(256).optional().meta({
        description:
          "A repeated request with the same key and body returns the same job. The same key with another body is refused",
      }),
    }),
    body: { required: true, content: { "application/json": { schema: jobRequestSchema } } },
  },
  responses: {
    202: {
      description: "The job is queued, or existed already",
      headers: { Location: { description: "The URL of the job", schema: { type: "string" } } },
      content: { "application/json": { schema: jobSchema } },
    },
    ...problemResponses([
      "invalid_parameter",
      "unauthorized",
      "forbidden",
      "idempotency_conflict",
      "length_required",
      "too_large",
      "unsupported",
      "busy",
    ]),
  },
});

const read = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  summary: "Read the state of a job",
  description:
    "With `Accept: text/event-stream` the answer is a stream: the event `job`, then a `layer` for each layer that changes, then `job` again.",
  security,
  request: { params },
  responses: {
    200: {
      description: "The job. Retry-After says when to ask again",
      headers: { ETag: { description: "Changes when the job changes", schema: { type: "string" } } },
      content: { "application/json": { schema: jobSchema } },
    },
    304: { description: "The job has not changed: its ETag is still that of If-None-Match" },
    ...problemResponses(["unauthorized", "forbidden", "not_found", "unsupported", "busy"]),
  },
});

const cancel = createRoute({
  method: "delete",
  path: "/v1/jobs/{id}",
  summary: "Cancel a job",
  description: "Finished layers keep their results. The others fail with the code `cancelled`.",
  security,
  request: { params },
  responses: {
    204: { description: "The job is cancelled, or had ended before" },
    ...problemResponses(["unauthorized", "forbidden", "not_found", "unsupported", "busy"]),
  },
});

/** Mounts the resources. */
export function jobRoutes(app: EdgeApp): void {
  app.use("/v1/jobs/*", requireEdgeKey("jobs"));
  app.use("/v1/jobs", async (c, next) => {
    limitBody(c, MAX_JOB_BYTES, "the job");
    await next();
  });

  app.openapi(create, async (c) => {
    const { layers } = c.req.valid("json"), key = c.req.valid("header")["idempotency-key"];
    // The digest includes the client's API key, so that clients cannot find each other's jobs.
    const id = key === undefined ? crypto.randomUUID().replaceAll("-", "") : await hexDigest([
      c.req.header("Authorization") ?? "",
      key,
    ]);
    await startJob(c.env, id, layers);
    const job = await requireJob(c.env, id);
    return c.json(job.job, 202, { Location: `/v1/jobs/${id}`, ...jobHeaders(job) });
  });

  app.openapi(read, async (c) => {
    const { id } = c.req.valid("param"), job = await requireJob(c.env, id);
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      return streamSSE(c, (stream) => streamJobEvents(stream, findJob(c.env, id), job)) as never;
    }
    const headers = jobHeaders(job);
    if (c.req.header("If-None-Match") === headers.ETag) return c.body(null, 304, headers);
    return c.json(job.job, 200, headers);
  });

  app.openapi(cancel, async (c) => {
    const { id } = c.req.valid("param");
    await requireJob(c.env, id);
    await findJob(c.env, id).cancel();
    return c.body(null, 204);
  });
}

/**
 * Creates the record of the job and then the Workflow that runs it. If a request fails between these steps, a
 * repeated request creates the Workflow. If the Workflow makes no progress, a repeated request restarts it.
 * Layers that already have an outcome are not solved again.
 * @throws {Refusal} `unsupported`, or `idempotency_conflict` if the job exists with other layers
 */
async function startJob(env: EdgeBindings, id: string, layers: JobRequest["layers"]): Promise<void> {
  const { JOBS } = env;
  if (!JOBS) throw new Refusal("unsupported", "this edge runs no jobs, because JOBS is not bound");
  const outcome = await findJob(env, id).create(id, await hexDigest(layers), layers);
  if (outcome === "conflict") {
    throw new Refusal("idempotency_conflict", "the idempotency key was used for a job with other layers");
  }
  const instance = outcome === "same" ? await JOBS.get(id).catch(() => undefined) : undefined;
  if (instance) {
    if (await isAbandoned(env, id, instance)) await instance.restart();
    return;
  }
  await JOBS.create({ id, params: { job: id } });
}

/**
 * Whether the Workflow of a job has stopped before the job has ended. A Workflow that is queued has not
 * started yet, so it has not stopped.
 */
async function isAbandoned(env: EdgeBindings, id: string, instance: WorkflowInstance): Promise<boolean> {
  if (hasEnded((await requireJob(env, id)).job.state)) return false;
  const limit = 1000 * wholeNumber(env, "EDGE_JOB_SILENCE", DEFAULT_SILENCE_SECONDS, 0);
  return await findJob(env, id).millisecondsSinceProgress() > limit &&
    (await instance.status()).status !== "queued";
}

/** Returns the job. @throws {Refusal} `not_found` if it does not exist */
async function requireJob(env: EdgeBindings, id: string): Promise<VersionedJob> {
  const job = await findJob(env, id).read();
  if (!job) {
    throw new Refusal("not_found", `there is no job ${id}, or its record was deleted after its lifetime`);
  }
  return job;
}

/** Returns the headers of an answer with a job. */
function jobHeaders({ job: { state }, version }: VersionedJob): Record<string, string> {
  return {
    ETag: `"${version}"`,
    "Cache-Control": "private, no-cache",
    ...(hasEnded(state) ? {} : { "Retry-After": String(POLL_SECONDS) }),
  };
}

/** Returns the first 128 bits of the sha-256 of a value's JSON, in hexadecimal. */
async function hexDigest(value: unknown): Promise<string> {
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(value)));
  return formatDigest(hash).slice("sha256:".length, "sha256:".length + 32);
}
