/** Streams a job as server-sent events: `job` first and last, and a `layer` for each layer that changes in between. */

import type { ObservedJob } from "./observed_job.ts";
import type { SSEStreamingApi } from "hono/streaming";
import type { Remote } from "../durable_objects/durable_object.ts";
import type { VersionedJob } from "./record.ts";

/** The longest time without an event. Proxies close connections without any traffic. */
const SILENCE_MILLISECONDS = 15_000;

/** Writes events until the job has ended or the client has disconnected. @param job the current state */
export async function jobEvents(
  stream: SSEStreamingApi,
  record: Remote<ObservedJob>,
  job: VersionedJob,
): Promise<void> {
  await writeJob(stream, job);
  let { version, job: { state } } = job;
  while (state === "queued" || state === "running") {
    const changes = await record.changesAfter(version, SILENCE_MILLISECONDS);
    if (stream.aborted || !changes) return;
    if (changes.version === version) await stream.write(": still there\n\n");
    for (const layer of changes.job.layers) {
      await stream.writeSSE({ event: "layer", id: String(changes.version), data: JSON.stringify(layer) });
    }
    ({ version, job: { state } } = changes);
  }
  const last = job.version === version ? undefined : await record.read();
  if (last) await writeJob(stream, last);
}

async function writeJob(stream: SSEStreamingApi, { job, version }: VersionedJob): Promise<void> {
  await stream.writeSSE({ event: "job", id: String(version), data: JSON.stringify(job) });
}
