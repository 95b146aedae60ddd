/** Stores the result of a layer, or of a block of a model. */

import type { Digest } from "../../protocol/digest.ts";
import type { Report } from "../../protocol/messages.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { LONGEST_PAUSE } from "./await_task.ts";
import { HostFailedError } from "./host_answer.ts";
import type { JobContext } from "./job_context.ts";

/** An object in the bucket that a host says to have written. */
interface WrittenObject {
  readonly host: WokenHost;
  readonly key: string;
  readonly sha256: Digest;
  readonly bytes: number;
}

/**
 * Makes the object a blob, and records it as the result.
 * @param report the report of a layer
 * @throws {HostFailedError} if the object is not what the host says
 */
export async function storeResult(
  { host, key, sha256, bytes }: WrittenObject,
  report: Report | undefined,
  position: number,
  { blobs, record }: JobContext,
): Promise<void> {
  // A large answer is verified for minutes. Meanwhile the record is called, because a repeated request restarts a job
  // whose record has not been called for a minute. A call that fails is ignored, because the next one follows.
  const timer = setInterval(
    () => void Promise.resolve(record.isWanted(position)).catch(() => {}),
    LONGEST_PAUSE,
  );
  try {
    if (!await blobs.publish(key, sha256, bytes)) {
      throw new HostFailedError(
        `host ${host.url}: did not write the ${bytes} bytes of its answer, or they are not ${sha256}`,
      );
    }
  } finally {
    clearInterval(timer);
  }
  await record.settleLayer(position, { report, result: sha256 });
}
