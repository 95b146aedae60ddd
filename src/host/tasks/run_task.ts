/**
 * Runs one task: fetches the operands, solves the layer, and writes the answer to its blob. The layer is solved through the host's own
 * HTTP contract (`PUT /v1/hessians`, `POST /v1/layers`), called in process. The answer is therefore the same as for a client of the host.
 */

import { SAFETENSORS_TYPE } from "../../protocol/media_type.ts";
import type { TaskAnswer, TaskRequest } from "../../protocol/jobs.ts";
import { layerSearchParams } from "../../protocol/layer_query.ts";
import type { Problem } from "../../protocol/problem.ts";
import { Refusal } from "../../protocol/refusal.ts";
import { reportSchema } from "../../protocol/report.ts";
import type { BlobBody, BlobStore } from "./blob_store.ts";
import { joinFiles } from "./join_files.ts";

/** What a task needs from its host. */
export interface TaskTools {
  readonly blobs: BlobStore;
  /** The host's application, which requires no key here. */
  readonly host: (request: Request) => Response | Promise<Response>;
}

/** The answer of a finished task. */
export type TaskDone = Extract<TaskAnswer, { state: "done" }>;

/** Stored statistics may be evicted before the layer that needs them is solved. They are then stored again, up to this many times. */
const STORE_ATTEMPTS = 3;

/** Runs `task`. @throws {Refusal} the host's refusal, forbidden, blob_unavailable, digest_mismatch @throws the signal's reason */
export async function runTask(task: TaskRequest, tools: TaskTools, signal: AbortSignal): Promise<TaskDone> {
  const over = new AbortController();
  try {
    return await attemptTask(task, tools, AbortSignal.any([signal, over.signal]));
  } finally {
    // Ends downloads that were not read to their end, for example because the host refused the body.
    over.abort();
  }
}

async function attemptTask(task: TaskRequest, tools: TaskTools, signal: AbortSignal): Promise<TaskDone> {
  for (let attempt = 1;; attempt++) {
    const stored = task.hessian !== undefined && await storeHessian(task.hessian, task, tools, signal);
    const response = await solve(task, stored, tools, signal);
    if (response.ok) return await deliver(response, task, tools, signal);
    const refusal = await refusalOf(response);
    if (refusal.code !== "hessian_not_found" || attempt === STORE_ATTEMPTS) throw refusal;
  }
}

/** Stores the statistics at the host. Returns false if they are too large for its store. */
async function storeHessian(
  source: NonNullable<TaskRequest["hessian"]>,
  task: TaskRequest,
  { blobs, host }: TaskTools,
  signal: AbortSignal,
): Promise<boolean> {
  const path = `/v1/hessians/${source.sha256}`;
  const known = await host(new Request(`http://host${path}`));
  await known.body?.cancel();
  if (known.ok) return true;
  const response = await host(bodyRequest("PUT", path, await blobs.open(source, signal), task, signal));
  if (response.ok) {
    await response.body?.cancel();
    return true;
  }
  const refusal = await refusalOf(response);
  if (refusal.code === "too_large") return false;
  throw refusal;
}

async function solve(
  task: TaskRequest,
  stored: boolean,
  tools: TaskTools,
  signal: AbortSignal,
): Promise<Response> {
  const { weight, hessian } = task, { blobs, host } = tools;
  const query = layerSearchParams(task.parameters);
  if (stored) query.set("hessian", hessian!.sha256);
  let body = await blobs.open(weight, signal);
  if (hessian && !stored) body = await joinFiles(body, await blobs.open(hessian, signal));
  return await host(bodyRequest("POST", `/v1/layers?${query}`, body, task, signal));
}

async function deliver(
  response: Response,
  task: TaskRequest,
  { blobs }: TaskTools,
  signal: AbortSignal,
): Promise<TaskDone> {
  const report = reportSchema.parse(JSON.parse(response.headers.get("Pare-Report")!));
  const length = Number(response.headers.get("Content-Length"));
  const result = await blobs.put(task.result.url, response.body!, length, signal);
  return { state: "done", report, result };
}

/** Builds a request to the host. Its request id is the id of the task, so that the host's log shows it. */
function bodyRequest(
  method: string,
  path: string,
  { totalBytes, bytes }: BlobBody,
  { id }: TaskRequest,
  signal: AbortSignal,
): Request {
  return new Request(`http://host${path}`, {
    method,
    headers: { "Content-Type": SAFETENSORS_TYPE, "Content-Length": String(totalBytes), "X-Request-Id": id },
    body: ReadableStream.from(bytes),
    signal,
  });
}

async function refusalOf(response: Response): Promise<Refusal> {
  const { code, detail, type: _type, title: _title, status: _status, request_id: _id, ...members }: Problem =
    await response.json();
  const retryAfter = response.headers.get("Retry-After");
  return new Refusal(code, detail, {
    members,
    retryAfter: retryAfter === null ? undefined : Number(retryAfter),
  });
}
