/** The death of a worker thread of the `cpu` backend. */

import { createCpuBackend } from "../../../src/device/cpu/backend.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { startFailingHost } from "../failing_host.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { layerBody, requireSameAnswer } from "../fault_layer.ts";

const THREADS = 2;
/** The thread dies after up to this number of work items. */
const MAX_ITEMS = 40;

/** One of two threads of the `cpu` backend dies by an uncaught exception after some work items. */
export const workerDeath: FaultKind = {
  name: "worker_death",
  fault: "death of a worker thread in the middle of a solve",
  survival: "503 `device_lost` with Retry-After. The next request gets the same bytes.",
  processes: false,
  tries: { full: 50, test: 4 },
  async run(tries, tally, seed) {
    const body = layerBody(96, 256), random = uniform(seed);
    await using undisturbed = await startFailingHost(() => createCpuBackend({ threads: THREADS }));
    const expected = await undisturbed.solve(body);
    require(expected !== undefined, "the undisturbed request failed");
    for (let i = 0; i < tries; i++) {
      let items = 2 + Math.floor(random() * MAX_ITEMS);
      await tally.attempt(`a thread dies after ${items} items`, async () => {
        for (;; items >>= 1) {
          let opened = 0;
          const open = () => opened++ === 0 ? withDyingThread(items) : createCpuBackend({ threads: THREADS });
          await using host = await startFailingHost(open);
          const answer = await host.solve(body);
          if (answer === undefined) return await host.requireRecovery(body, expected);
          // The other thread was faster, so the thread lived until the end of the request.
          requireSameAnswer(answer, expected);
        }
      });
    }
  },
};

/** Opens a backend whose first thread dies after `items` work items. */
async function withDyingThread(items: number) {
  const { Worker: RealWorker } = globalThis;
  let workers = 0;
  globalThis.Worker = class extends RealWorker {
    constructor(specifier: string | URL, options?: WorkerOptions) {
      const dying = new URL(`../dying_worker.ts?items=${items}`, import.meta.url);
      super(workers++ === 0 ? dying : specifier, options);
    }
  };
  try {
    return await createCpuBackend({ threads: THREADS });
  } finally {
    globalThis.Worker = RealWorker;
  }
}
