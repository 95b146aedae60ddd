/**
 * Runs one task of an edge: fetches tensors, has them processed, and writes the answer to a signed URL. The work is done
 * by requests to the host's own application (`PUT /v1/hessians` and `POST /v1/layers`, or for blocks the requests of
 * `run_states_task.ts`), which are calls within the process. The answer is therefore the same as for a client of the host.
 */

import { shortened } from "../../base/texts.ts";
import { readRefusal, Refusal } from "../../protocol/refusal.ts";
import type { FinishedTask, LayerTask, TaskRequest } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { openSafetensors } from "../../tensor/safetensors/decode.ts";
import type { BlobBody } from "./blob_store.ts";
import { joinedFile } from "./joined_file.ts";
import { runStatesTask } from "./run_states_task.ts";
import { bodyRequest, type TaskContext, uploadResult } from "./task_context.ts";

/**
 * The largest number of attempts. An attempt fails if the stored statistics are evicted before the layer that needs
 * them is solved. The next attempt stores them again.
 */
const MAX_ATTEMPTS = 3;

/**
 * Runs `task`.
 * @throws {Refusal} with the code of the application's refusal, or of `BlobStore`
 * @throws the signal's reason when it is aborted
 */
export async function runTask(
  task: TaskRequest,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  // All URLs are checked before the task takes a place on the device.
  for (const member of Object.values(task).flat()) {
    if (typeof member === "object" && "url" in member) context.blobs.requireAllowed(member.url);
  }
  const end = new AbortController(), either = AbortSignal.any([signal, end.signal]);
  try {
    return await ("states" in task
      ? runStatesTask(task, context, either)
      : attemptLayer(task, context, either));
  } finally {
    // Ends unfinished downloads, for example after the host has refused the body.
    end.abort();
  }
}

async function attemptLayer(
  task: LayerTask,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  for (let attempt = 1;; attempt++) {
    const isStored = task.hessian !== undefined && await storeHessian(task.hessian, task, context, signal);
    const response = await solveLayer(task, isStored, context, signal);
    if (response.ok) return await uploadResult(response, task.result.url, context, signal);
    const refusal = await readRefusal(response);
    if (refusal.code !== "hessian_not_found" || attempt === MAX_ATTEMPTS) throw refusal;
  }
}

/** Stores the statistics at the host, unless it has them already. @returns false if they are too large for its store */
async function storeHessian(
  source: NonNullable<LayerTask["hessian"]>,
  task: LayerTask,
  { blobs, host }: TaskContext,
  signal: AbortSignal,
): Promise<boolean> {
  const path = `/v1/hessians/${source.sha256}`;
  const existing = await host(new Request(`http://host${path}`));
  await existing.body?.cancel();
  if (existing.ok) return true;
  const response = await host(bodyRequest("PUT", path, await blobs.open(source, signal), task, signal));
  if (response.ok) {
    await response.body?.cancel();
    return true;
  }
  const refusal = await readRefusal(response);
  if (refusal.code === "too_large") return false;
  throw refusal;
}

/** Sends the layer to the host. If its statistics are not stored, they are sent in the same body. */
async function solveLayer(
  task: LayerTask,
  isHessianStored: boolean,
  { blobs, host }: TaskContext,
  signal: AbortSignal,
): Promise<Response> {
  const { weight, hessian } = task;
  const query = searchParamsOf(task.parameters);
  if (isHessianStored) query.set("hessian", hessian!.sha256);
  let body = await blobs.open(weight, signal);
  if (hessian && !isHessianStored) body = await joinFiles(body, await blobs.open(hessian, signal));
  return await host(bodyRequest("POST", `/v1/layers?${query}`, body, task, signal));
}

/**
 * Returns a file with the tensors of `first`, followed by the tensors of `second`.
 * @throws {SafetensorsError} if a header is malformed
 * @throws {Refusal} `shape_mismatch` if both files have a tensor with the same name
 */
async function joinFiles(first: BlobBody, second: BlobBody): Promise<BlobBody> {
  const a = await openSafetensors(first.bytes, first);
  const b = await openSafetensors(second.bytes, second);
  const names = new Set(a.header.tensors.map(({ name }) => name));
  const duplicate = b.header.tensors.find(({ name }) => names.has(name));
  if (duplicate) {
    await Promise.all([a.close(), b.close()]);
    throw new Refusal("shape_mismatch", `tensor ${shortened(duplicate.name)} is in both files`, {
      members: { tensor: duplicate.name },
    });
  }
  return joinedFile([a, b]);
}
