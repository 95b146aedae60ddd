/**
 * `/v1/jobs`: durable jobs over layers whose tensors are blobs. A job's id follows from the client's idempotency key, so that
 * a request that is sent again finds the job it made.
 */

import { createRoute, z } from "@hono/zod-openapi";
import { streamSSE } from "hono/streaming";
import { formatDigest, sha256 } from "../../protocol/digest.ts";
import { type JobRequest, jobRequestSchema, jobSchema, type JobState } from "../../protocol/jobs.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { requireKey } from "../auth.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { EdgeApp } from "../edge_env.ts";
import { bodyLength } from "../pass_on.ts";
import { problemResponses } from "../../protocol/problem_responses.ts";
import { wholeNumber } from "../settings.ts";
import { jobEvents } from "./events.ts";
import { recordOf } from "./job_object.ts";
import type { VersionedJob } from "./record.ts";
import type { WorkflowInstance } from "./workflow_types.ts";

const security = [{ key: [] }];
const params = z.object({ id: z.string().regex(/^[0-9a-f]{32}$/) });

/** Seconds after which it is worth asking again. */
const POLL_SECONDS = 2;

/** An attempt asks the record at least this often: between two questions it waits for a host's answer, for half a minute at most. */
const DEFAULT_SILENCE_SECONDS = 60;

/** `MAX_JOB_LAYERS` of 2 KiB each. */
const MAX_JOB_BYTES = 8 * 2 ** 20;

const create = createRoute({
  method: "post",
  path: "/v1/jobs",
  summary: "Start a job",
  security,
  request: {
    headers: z.object({
      "idempotency-key": z.string().min(1).max(256).optional().meta({
        description: "The same key and body again is the same job; the same key with another body is refused",
      }),
    }),
    body: { required: true, content: { "application/json": { schema: jobRequestSchema } } },
  },
  responses: {
    202: {
      description: "It is queued, or was before",
      headers: { Location: { description: "The job", schema: { type: "string" } } },
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
  summary: "Ask after a job",
  description:
    "With `Accept: text/event-stream`: the event `job`, then a `layer` for each that changes, and the last `job`.",
  security,
  request: { params },
  responses: {
    200: {
      description: "The job; Retry-After tells when to ask again",
      headers: { ETag: { description: "Changes when the job does", schema: { type: "string" } } },
      content: { "application/json": { schema: jobSchema } },
    },
    304: { description: "It has not changed since If-None-Match" },
    ...problemResponses(["unauthorized", "forbidden", "not_found", "unsupported", "busy"]),
  },
});

const cancel = createRoute({
  method: "delete",
  path: "/v1/jobs/{id}",
  summary: "Cancel a job",
  description: "Layers that are done stay done; the others fail with the code `cancelled`.",
  security,
  request: { params },
  responses: {
    204: { description: "It is cancelled, or had ended" },
    ...problemResponses(["unauthorized", "forbidden", "not_found", "unsupported", "busy"]),
  },
});

/** Mounts the resource. */
export function jobRoutes(app: EdgeApp): void {
  app.use("/v1/jobs/*", requireKey("jobs"));
  app.use("/v1/jobs", async (c, next) => {
    const length = bodyLength(c);
    if (length > MAX_JOB_BYTES) {
      throw new Refusal("too_large", `a job of ${length} bytes is over the limit of ${MAX_JOB_BYTES}`, {
        members: { limit: MAX_JOB_BYTES },
      });
    }
    await next();
  });

  app.openapi(create, async (c) => {
    const { layers } = c.req.valid("json"), key = c.req.valid("header")["idempotency-key"];
    // Keys of different clients never meet.
    const id = key === undefined ? crypto.randomUUID().replaceAll("-", "") : await hexDigest([
      c.req.header("Authorization") ?? "",
      key,
    ]);
    await startJob(c.env, id, layers);
    const job = await jobOf(c.env, id);
    return c.json(job.job, 202, { Location: `/v1/jobs/${id}`, ...headersOf(job) });
  });

  app.openapi(read, async (c) => {
    const { id } = c.req.valid("param"), job = await jobOf(c.env, id);
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      return streamSSE(c, (stream) => jobEvents(stream, recordOf(c.env, id), job)) as never;
    }
    const headers = headersOf(job);
    if (c.req.header("If-None-Match") === headers.ETag) return c.body(null, 304, headers);
    return c.json(job.job, 200, headers);
  });

  app.openapi(cancel, async (c) => {
    const { id } = c.req.valid("param");
    await jobOf(c.env, id);
    await recordOf(c.env, id).cancel();
    return c.body(null, 204);
  });
}

/**
 * Makes the record, then what runs the job; a request that failed between the two is made good by the next. A job that has been silent is
 * run anew: what is settled stays, and an attempt that went on unheard costs its work alone.
 */
async function startJob(env: EdgeBindings, id: string, layers: JobRequest["layers"]): Promise<void> {
  const { JOBS } = env;
  if (!JOBS) throw new Refusal("unsupported", "this edge runs no jobs: JOBS is not bound");
  const outcome = await recordOf(env, id).create(id, await hexDigest(layers), layers);
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

/** Whether nothing runs a job that has not ended. One that is queued has yet to say its first. */
async function isAbandoned(env: EdgeBindings, id: string, instance: WorkflowInstance): Promise<boolean> {
  if (hasEnded((await jobOf(env, id)).job.state)) return false;
  const limit = 1000 * wholeNumber(env, "EDGE_JOB_SILENCE", DEFAULT_SILENCE_SECONDS, 0);
  return await recordOf(env, id).silence() > limit && (await instance.status()).status !== "queued";
}

function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed";
}

/** @throws {Refusal} not_found */
async function jobOf(env: EdgeBindings, id: string): Promise<VersionedJob> {
  const job = await recordOf(env, id).read();
  if (!job) throw new Refusal("not_found", `there is no job ${id}, or its days are over`);
  return job;
}

function headersOf({ job: { state }, version }: VersionedJob): Record<string, string> {
  return {
    ETag: `"${version}"`,
    "Cache-Control": "private, no-cache",
    ...(hasEnded(state) ? {} : { "Retry-After": String(POLL_SECONDS) }),
  };
}

/** The first 128 bits of the sha-256 of a value's JSON, in hexadecimal. */
async function hexDigest(value: unknown): Promise<string> {
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(value)));
  return formatDigest(hash).slice("sha256:".length, "sha256:".length + 32);
}
