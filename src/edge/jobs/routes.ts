/** The routes of `/v1/jobs`. A job's id comes from its idempotency key, so repeated requests find the same job. */

import pMap from "p-map";
import { streamSSE } from "hono/streaming";
import { guardedRoute, requireClient } from "../auth.ts";
import type { EdgeApp, EdgeBindings } from "../bindings.ts";
import { streamJobEvents } from "./events.ts";
import type { JobRecord, VersionedJob } from "./job_record.ts";
import { findBlob, isFresh, MAX_CONCURRENT_LOOKUPS } from "../blobs/store.ts";
import { requireJsonBody } from "../requests/body_length.ts";
import { earlyStatus } from "../requests/preconditions.ts";
import type { Remote, WorkflowInstance } from "../runtime.ts";
import { findJob, findJobIndex, wholeNumber } from "../settings.ts";
import { type Digest, formatDigest, sha256 } from "../../protocol/digest.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import type { JobList } from "../../protocol/messages.ts";
import { Refusal } from "../../protocol/refusal.ts";
import {
  CANCEL_JOB,
  type JobListQuery,
  type JobRequest,
  LIST_JOBS,
  READ_JOB,
  START_JOB,
} from "../../protocol/resources/jobs.ts";

/** The Retry-After of a job that has not ended, in seconds. */
const POLL_SECONDS = 2;

/** A Workflow that has not called its job's record for this long has stopped. It normally calls every ten seconds. */
const DEFAULT_SILENCE_SECONDS = 60;

/** The largest request in bytes. It has room for 4096 layers (`MAX_JOB_LAYERS`) of 2 KiB each. */
const MAX_JOB_BYTES = 8 * 2 ** 20;

export function jobRoutes(app: EdgeApp): void {
  const jobBody = requireJsonBody(MAX_JOB_BYTES, "the job");

  app.openapi(guardedRoute(START_JOB, jobBody), async (c) => {
    const request = c.req.valid("json"), key = c.req.valid("header")["idempotency-key"];
    const client = requireClient(c);
    // The digest includes the client, so that clients cannot find each other's jobs.
    const id = key === undefined ? crypto.randomUUID().replaceAll("-", "") : await hexDigest([client, key]);
    await startJob(c.env, client, id, request);
    const job = await requireJob(c.env, client, id);
    return c.json(job.job, 202, { Location: `/v1/jobs/${id}`, ...jobHeaders(job) });
  });

  app.openapi(
    guardedRoute(LIST_JOBS, jobBody),
    async (c) => c.json(await listJobs(c.env, requireClient(c), c.req.valid("query")), 200),
  );

  app.openapi(guardedRoute(READ_JOB, jobBody), async (c) => {
    const { id } = c.req.valid("param"), job = await requireJob(c.env, requireClient(c), id);
    if (c.req.header("Accept")?.includes("text/event-stream")) {
      return streamSSE(c, (stream) => streamJobEvents(stream, findJob(c.env, id), job));
    }
    const headers = jobHeaders(job);
    const early = earlyStatus(c.req, headers.ETag);
    if (early !== undefined) return c.body(null, early, headers);
    return c.json(job.job, 200, headers);
  });

  app.openapi(guardedRoute(CANCEL_JOB, jobBody), async (c) => {
    const { id } = c.req.valid("param");
    await requireJob(c.env, requireClient(c), id);
    await findJob(c.env, id).cancel();
    return c.body(null, 204);
  });
}

/**
 * Creates the record of a job and its Workflow. A repeated request creates a missing Workflow, or restarts a stopped
 * one.
 * @throws {Refusal} `unsupported` if a binding is missing, `not_found` if a blob is, or `idempotency_conflict`
 */
async function startJob(env: EdgeBindings, client: string, id: string, request: JobRequest): Promise<void> {
  const { JOBS } = env;
  if (!JOBS) throw new Refusal("unsupported", "this edge runs no jobs, because JOBS is not bound");
  const index = findJobIndex(env, client), digest = await hexDigest(request);
  // The list of the client's jobs is asked first, because a call to a record that does not exist makes the
  // runtime load an empty object.
  if (!await index.has(id)) await requireBlobs(env, request);
  const record = findJob(env, id);
  const match = await record.create(id, digest, request);
  if (match === "conflict") {
    throw new Refusal("idempotency_conflict", "the idempotency key was used for another job");
  }
  const summary = await record.summary();
  if (summary) await index.put([summary]);
  const instance = match === "same" ? await JOBS.get(id).catch(() => undefined) : undefined;
  if (instance) {
    if (await isAbandoned(env, record, instance)) await instance.restart();
    return;
  }
  await JOBS.create({ id, params: { job: id } });
}

/**
 * Checks that the blobs of a new job exist and will exist for at least another day.
 * @throws {Refusal} `not_found` with the digest in the member `blob`, and the layer or block that names the blob
 */
async function requireBlobs(env: EdgeBindings, { layers = [], model }: JobRequest): Promise<void> {
  const users = new Map<Digest, string>();
  const named = [
    ...layers.map(({ name, weight, hessian }) => [`layer ${name}`, weight, hessian] as const),
    ...model ? [["states", model.states, undefined] as const] : [],
    ...(model?.blocks ?? []).map(({ name, weight, result }) => [`block ${name}`, weight, result] as const),
  ];
  for (const [name, ...digests] of named) {
    for (const digest of digests) if (digest !== undefined && !users.has(digest)) users.set(digest, name);
  }
  const requireBlob = async ([blob, user]: [Digest, string]) => {
    const found = await findBlob(env, blob);
    if (found && isFresh(env, found)) return;
    throw new Refusal("not_found", `${user}: blob ${blob} is not stored`, { members: { blob } });
  };
  await pMap(users, requireBlob, { concurrency: MAX_CONCURRENT_LOOKUPS });
}

/** Whether the Workflow of a job stopped before the job had ended. A queued Workflow has not started yet. */
async function isAbandoned(
  env: EdgeBindings,
  record: Remote<JobRecord>,
  instance: WorkflowInstance,
): Promise<boolean> {
  const summary = await record.summary();
  if (!summary || hasEnded(summary.state)) return false;
  const limit = 1000 * wholeNumber(env, "EDGE_JOB_SILENCE", DEFAULT_SILENCE_SECONDS, 0);
  return await record.millisecondsSinceProgress() > limit &&
    (await instance.status()).status !== "queued";
}

/**
 * Returns the job. Its record is called only if the job is in the client's own list.
 * @throws {Refusal} `not_found` also for a job of another client, so that clients cannot find out which jobs exist
 */
async function requireJob(env: EdgeBindings, client: string, id: string): Promise<VersionedJob> {
  const job = await findJobIndex(env, client).has(id) ? await findJob(env, id).read() : undefined;
  if (!job) {
    throw new Refusal("not_found", `there is no job ${id}, or its record was deleted after its lifetime`);
  }
  return job;
}

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

/** The number of records that are asked for their summaries at once. */
const MAX_CONCURRENT_RECORDS = 32;

/** Returns a page of a client's jobs in their current states. @throws {Refusal} `unsupported` without a binding */
export async function listJobs(env: EdgeBindings, client: string, query: JobListQuery): Promise<JobList> {
  const index = findJobIndex(env, client), ids = await index.unfinished();
  const summaries = await pMap(ids, (id) => findJob(env, id).summary(), {
    concurrency: MAX_CONCURRENT_RECORDS,
  });
  await index.put(summaries.filter((summary) => summary !== undefined));
  await index.remove(ids.filter((_, position) => summaries[position] === undefined));
  return await index.page(query);
}
