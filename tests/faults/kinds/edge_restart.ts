/** An edge that is restarted in the middle of a job. */

import { sleep } from "../../../src/base/waiting.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { startEdge } from "../../../scripts/processes/child_edge.ts";
import { startHost } from "../../../scripts/processes/child_host.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { requireSameFiles } from "../same_files.ts";
import { makeTinyRun, sendSignal } from "../tiny_run.ts";
import { hasEnded, layersOf } from "./sigkill_prune.ts";

const REGISTRATION_MILLISECONDS = 60_000;
/** A run over an edge whose jobs have to be submitted again takes at most this long. */
const RUN_MILLISECONDS = 180_000;

/**
 * `pare prune --server` at an edge in the local Workers runtime. The edge is stopped in the middle of a job
 * and started again on the same data.
 */
export const edgeRestart: FaultKind = {
  name: "edge_restart",
  fault: "restart of the edge in the middle of a job",
  survival: "The run continues without help and ends in the same bytes.",
  processes: true,
  tries: { full: 5, test: 1 },
  async run(tries, tally, seed) {
    await using tiny = await makeTinyRun();
    const random = uniform(seed), secret = crypto.getRandomValues(new Uint8Array(32)).toHex();
    // The local runtime does not resume Workflows, so the edge restarts a job as soon as it is submitted again.
    const vars = { EDGE_HOST_SECRET: secret, EDGE_JOB_SILENCE: "0" }, folder = `${tiny.folder}/edge`;
    let edge = await startEdge({ folder, vars });
    const port = Number(new URL(edge.url).port);
    const host = await startHost(["--backend", "cpu", "--edge", edge.url], {
      EDGE_HOST_SECRET: secret,
      PARE_BLOB_ORIGINS: edge.url,
    });
    try {
      await waitForHost(edge.url);
      for (let i = 0; i < tries; i++) {
        const layers = 1 + Math.floor(random() * 18), out = `${tiny.folder}/over-edge-${i}`;
        await tally.attempt(`restart after ${layers} layers`, async () => {
          const run = tiny.start(out, "--server", edge.url);
          try {
            while (layersOf(run) < layers && !await hasEnded(run, 2)) { /* waits */ }
            require(
              !await hasEnded(run, 20 * random()),
              `the run ended before the restart: ${run.printed()}`,
            );
            await edge[Symbol.asyncDispose]();
            edge = await startEdge({ folder, port, vars });
            require(await hasEnded(run, RUN_MILLISECONDS), `the run did not end: ${run.printed()}`);
            const { code, stderr } = await run.ended;
            require(code === 0, `ended with ${code}: ${stderr}`);
            await requireSameFiles(out, tiny.expected);
          } finally {
            sendSignal(run, "SIGKILL");
          }
        });
      }
    } finally {
      await host[Symbol.asyncDispose]();
      await edge[Symbol.asyncDispose]();
    }
  },
};

async function waitForHost(url: string): Promise<void> {
  for (const end = performance.now() + REGISTRATION_MILLISECONDS;; await sleep(50)) {
    const { hosts } = await (await fetch(`${url}/v1/hosts`)).json();
    if (hosts.length > 0) return;
    require(performance.now() < end, "the host did not register");
  }
}
