/** The services that a task of an edge uses: the blob store, and requests to the host's own application. */

import { parseJson } from "../../base/json.ts";
import { REQUEST_ID_HEADER, SAFETENSORS_TYPE } from "../../protocol/headers.ts";
import { reportSchema } from "../../protocol/resources/layers.ts";
import type { FinishedTask, TaskRequest } from "../../protocol/resources/tasks.ts";
import type { StatesStore } from "../blocks/states_store.ts";
import type { BlobBody, BlobStore } from "./blob_store.ts";

export interface TaskContext {
  readonly blobs: BlobStore;
  /** The host's application. It must accept requests without an API key, and act for `TASK_OWNER`. */
  readonly host: (request: Request) => Response | Promise<Response>;
  /** Returns the hidden states of models. Those of tasks belong to `TASK_OWNER`. */
  readonly states: () => StatesStore;
}

/** Writes the host's answer to the URL. If that fails, cancels the answer, which frees a place on the device. */
export async function uploadResult(
  response: Response,
  url: string,
  { blobs }: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  const body = response.body!;
  try {
    const json = response.headers.get("Pare-Report"),
      report = json ? reportSchema.parse(parseJson(json)) : undefined;
    const length = Number(response.headers.get("Content-Length"));
    const result = await blobs.put(url, body, length, signal);
    return { state: "done", report, result };
  } catch (error) {
    // A stream that `put` has begun to read is locked, and was cancelled by it.
    if (!body.locked) await body.cancel();
    throw error;
  }
}

/** Builds a request to the host. Its request id is the id of the task, so that the host's log shows the task. */
export function bodyRequest(
  method: string,
  path: string,
  { totalBytes, bytes }: BlobBody,
  { id }: Pick<TaskRequest, "id">,
  signal: AbortSignal,
): Request {
  return new Request(`http://host${path}`, {
    method,
    headers: {
      "Content-Type": SAFETENSORS_TYPE,
      "Content-Length": String(totalBytes),
      [REQUEST_ID_HEADER]: id,
    },
    body: ReadableStream.from(bytes),
    signal,
  });
}
