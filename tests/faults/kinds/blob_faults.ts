/** Errors and slow operations of the bucket while blobs are uploaded to an edge. */

import { sleep } from "../../../src/base/waiting.ts";
import { memoryEdge } from "../../edge/memory_edge.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { equalBytes } from "../../../scripts/soak/comparable_answer.ts";
import { type FaultKind, require } from "../fault_kind.ts";

/** The longest delay of a slow operation, in milliseconds. */
const SLOW_MILLISECONDS = 20;
/** A client gives up after this many attempts at an upload. */
const ATTEMPTS = 6;

/** R2, Cloudflare's bucket, fails at one of the operations of an upload, and every operation is slow. The client repeats the upload. */
export const blobFaults: FaultKind = {
  name: "blob_faults",
  fault: "errors of R2 at each operation of an upload, with slow parts",
  survival: "The repeated upload succeeds, and the blob has the same bytes.",
  processes: false,
  tries: { full: 120, test: 12 },
  async run(tries, tally, seed) {
    const random = uniform(seed), { error } = console;
    console.error = () => {}; // the edge logs the errors
    try {
      for (let i = 0; i < tries; i++) {
        const operation = i % 12, errors = 1 + Math.floor(random() * 3);
        await tally.attempt(`${errors} errors from operation ${operation} on`, async () => {
          const { bucket, send, upload } = await memoryEdge();
          const bytes = new TextEncoder().encode(`blob ${i} ${random()}`.repeat(50));
          let number = 0;
          bucket.before = async (call) => {
            await sleep(random() * SLOW_MILLISECONDS);
            const failing = number++;
            if (failing < operation || failing >= operation + errors) return;
            tally.hit(call.split(" ")[0]);
            throw new Error("We encountered an internal error. Please try again. (10001)");
          };
          let blob: string | undefined;
          for (let attempt = 0; blob === undefined && attempt < ATTEMPTS; attempt++) {
            const answer = await upload(bytes).catch(() => undefined);
            blob = answer?.body.blob;
          }
          require(blob !== undefined, `the upload failed ${ATTEMPTS} times`);
          bucket.before = () => {};
          const { status, body } = await send("GET", `/v1/blobs/${blob}`);
          require(
            status === 200 && equalBytes(new TextEncoder().encode(body), bytes),
            `${status}: other bytes`,
          );
        });
      }
    } finally {
      console.error = error;
    }
  },
};
