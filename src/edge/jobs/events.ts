/** A job as server-sent events: `job` first and last, and between them a `layer` for each that changes. */

import type { SSEStreamingApi } from "hono/streaming";
import type { Remote } from "../hosts/durable_object.ts";
import type { JobMethods } from "./job_methods.ts";
import type { VersionedJob } from "./record.ts";

/** Longest silence: proxies give up connections on which nothing moves. */
const SILENCE_MILLISECONDS = 15_000;

/** Writes the events until the job has ended or the client has left. `job`: as it is now. */
export async function jobEvents(
  stream: SSEStreamingApi,
  record: Remote<JobMethods>,
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
