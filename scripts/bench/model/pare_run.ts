/** One run of what `pare prune` does once it has its windows, timed by phase: same modules, same in-process host. */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openLocalHost } from "../../../src/cli/local_host.ts";
import { writePruned } from "../../write_pruned.ts";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { openModel } from "../../../src/models/model.ts";
import { calibratedModel } from "../../../src/prune/prune_model.ts";
import type { BackendChoice } from "../../../src/host/backends.ts";
import { PhaseClock } from "../../demo/phases.ts";
import type { LayerLoss, ModelRun } from "./run.ts";

/** Prunes the checkpoint in `folder` to half into `out`, on a host of its own. */
export async function runPare(
  folder: string,
  out: string,
  windows: readonly Uint32Array[],
  choice: BackendChoice,
): Promise<ModelRun> {
  const clock = new PhaseClock();
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const { backend, pare } = cleanup.use(await openLocalHost(choice));
  const start = elapsed();
  const layers: LayerLoss[] = [];
  let solved = 0;
  await writePruned(checkpoint, out, true, async (writer) => {
    const source = calibratedModel(openModel(checkpoint), backend, {
      windows,
      onReplace: (name, weight) => clock.time("write", () => writer.replace(name, weight)),
    });
    for await (const event of pare.pruneModel(clock.calibrating(source), { sparsity: 0.5, error: false })) {
      if (event.type !== "layer") continue;
      layers.push({ name: event.name, loss: event.report.loss ?? NaN });
      clock.charge(event.report);
    }
    solved = elapsed();
  });
  const total = elapsed();
  const { calibrate, send, read, factor, solve, write } = clock.seconds;
  const seconds = {
    start,
    calibrate,
    // `charge` has taken the host's phases out of it; what remains of the loop is the exchanges themselves.
    exchange: send + solved - start - calibrate - write,
    read,
    factor,
    solve,
    write: write + total - solved,
    total,
  };
  return { seconds, layers };
}
