/**
 * Reads the event stream of a job. `EventSource` cannot send an API key, so the stream is read with `fetch`. If the
 * connection breaks, it is opened again, and the edge then begins with the whole job.
 */

import { type Job, type LayerState, PareError } from "../../../client/mod.ts";
import { currentKey } from "../api_key.ts";

/** One event: the whole job, a layer that has changed, or the opening or the end of the connection. */
export type JobEvent =
  | { readonly type: "job"; readonly job: Job }
  | { readonly type: "layer"; readonly layer: LayerState }
  | { readonly type: "connection"; readonly isOpen: boolean };

/** The pause before the stream is opened again, in milliseconds. */
const RECONNECT_MILLISECONDS = 2000;

/** Yields the events of a job until the job has ended. @throws {PareError} if the edge refuses the request */
export async function* jobEvents(id: string, signal: AbortSignal): AsyncGenerator<JobEvent, void, void> {
  while (!signal.aborted) {
    try {
      const response = await fetchWithKey(
        `/v1/jobs/${encodeURIComponent(id)}`,
        { Accept: "text/event-stream" },
        signal,
      );
      yield { type: "connection", isOpen: true };
      for await (const event of readEvents(response)) {
        yield event;
        if (event.type === "job" && event.job.ended !== null) return;
      }
    } catch (error) {
      // A broken connection is a TypeError. Anything else is an answer of the edge.
      if (!(error instanceof TypeError) || signal.aborted) throw error;
    }
    yield { type: "connection", isOpen: false };
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MILLISECONDS));
  }
}

/** Sends a request with the key of the page. @throws {PareError} if the server refuses the request */
export async function fetchWithKey(
  path: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
  method = "GET",
): Promise<Response> {
  const key = currentKey();
  if (key !== undefined) headers = { ...headers, Authorization: `Bearer ${key}` };
  const response = await fetch(path, { method, headers, signal });
  if (response.ok) return response;
  const problem = await response.json().catch(() => ({ detail: response.statusText }));
  throw new PareError(response.status, problem);
}

/** Reads server-sent events. An event ends with an empty line. */
async function* readEvents({ body }: Response): AsyncGenerator<JobEvent, void, void> {
  if (!body) return;
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const parts = (text + chunk).split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const event = parseEvent(part);
      if (event) yield event;
    }
  }
}

/** Returns an event, or undefined for a comment or an event of another type. */
function parseEvent(text: string): JobEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":"), name = line.slice(0, colon), value = line.slice(colon + 1).trimStart();
    if (colon > 0) fields.set(name, fields.has(name) ? `${fields.get(name)}\n${value}` : value);
  }
  const data = fields.get("data");
  if (data === undefined) return undefined;
  if (fields.get("event") === "job") return { type: "job", job: JSON.parse(data) };
  if (fields.get("event") === "layer") return { type: "layer", layer: JSON.parse(data) };
}
