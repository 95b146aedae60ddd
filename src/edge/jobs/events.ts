/**
 * Streams the state of a job as server-sent events. The first and the last event, `job`, have the whole job. In
 * between, an event `layer` is sent for each layer that changes.
 */

import type { SSEStreamingApi } from "hono/streaming";
import { hasEnded } from "../../protocol/job_state.ts";
import type { Remote } from "../runtime.ts";
import type { JobRecord, VersionedJob } from "./job_record.ts";

/** The longest time between two writes, in milliseconds. It is short because proxies close idle connections. */
const KEEP_ALIVE_MILLISECONDS = 15_000;

/** Writes events until the job has ended or the client has disconnected. @param job the current state of the job */
export async function streamJobEvents(
  stream: SSEStreamingApi,
  record: Remote<JobRecord>,
  job: VersionedJob,
): Promise<void> {
  await writeJob(stream, job);
  let { version, job: { state } } = job;
  while (!hasEnded(state)) {
    const changes = await record.waitForChanges(version, KEEP_ALIVE_MILLISECONDS);
    if (stream.aborted || !changes) return;
    // A line that begins with a colon is a comment, which clients ignore.
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
