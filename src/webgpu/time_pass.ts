/** Times a pass with the device's own clock, so that waits of the host do not count. For benches, because it waits for the device twice. */

import type { SubmissionQueue } from "./submission_queue.ts";

/** The start and the end, in u64 nanoseconds. */
const RESULT_BYTES = 16;

/** Runs the pass that `work` encodes into `queue`, at most one batch, and returns its duration on the device in seconds. */
export async function timePass(device: GPUDevice, queue: SubmissionQueue, work: () => void): Promise<number> {
  if (!device.features.has("timestamp-query")) {
    throw new TypeError("timing a pass: the device has no timestamp-query");
  }
  const querySet = device.createQuerySet({ type: "timestamp", count: 2 });
  const resolved = device.createBuffer({
    size: RESULT_BYTES,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const staging = device.createBuffer({
    size: RESULT_BYTES,
    usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
  });
  try {
    queue.submit();
    queue.timestamps = { querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 };
    try {
      work();
    } finally {
      queue.submit();
      queue.timestamps = undefined;
    }
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, RESULT_BYTES);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const [begin, end] = new BigUint64Array(staging.getMappedRange());
    return Number(end - begin) / 1e9;
  } finally {
    for (const resource of [querySet, resolved, staging]) resource.destroy();
  }
}
