/**
 * Measures the duration of kernels with the clock of the device, so that the measurement contains no waiting on the
 * CPU. It is for benchmarks only, because it submits the measured work separately from everything before and after it.
 */

import type { SubmissionQueue } from "./submission_queue.ts";

/** The size in bytes of the two timestamps, begin and end. Each is a u64 in nanoseconds. */
const RESULT_BYTES = 16;

/**
 * Returns the duration of the compute pass that `work` encodes into `queue`, in seconds. `work` must encode at most one
 * batch of dispatches.
 * @throws {TypeError} if the device cannot measure times
 */
export async function timePass(device: GPUDevice, queue: SubmissionQueue, work: () => void): Promise<number> {
  if (!device.features.has("timestamp-query")) {
    throw new TypeError("timing a pass: the device does not have the feature timestamp-query");
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
