/**
 * Prunes a checkpoint as `pare prune` does and times each phase. It runs the modules of `pare prune`, and a
 * host that solves the layers, in this process. The caller passes the calibration windows, so that reading
 * and tokenizing the text are not timed.
 */

import type { BackendChoice, BlasChoice } from "../../../src/host/backends.ts";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { openLocalHost } from "../../../src/cli/local_host.ts";
import { PhaseClock } from "../../../src/prune/phase_clock.ts";
import { openCheckpoint } from "../../../src/checkpoint/checkpoint.ts";
import { openModel } from "../../../src/models/model.ts";
import { calibratedModel } from "../../../src/prune/calibrated_model.ts";
import { writePruned } from "../../prune/write_pruned.ts";
import type { LayerLoss, ModelRun } from "./model_run.ts";

/** Prunes the checkpoint in `folder` to 50 % and writes the result to `out`. Opening the backend is part of the timed run. */
export async function runPare(
  folder: string,
  out: string,
  windows: readonly Uint32Array[],
  choice: BackendChoice,
  blas: BlasChoice,
): Promise<ModelRun> {
  const clock = new PhaseClock();
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  await using cleanup = new AsyncDisposableStack();
  const checkpoint = cleanup.adopt(await openCheckpoint(folder, denoFileSystem), (opened) => opened.close());
  const { backend, pare } = cleanup.use(await openLocalHost(choice, { blas }));
  const start = elapsed();
  const layers: LayerLoss[] = [];
  let solved = 0;
  await writePruned(checkpoint, out, true, async (copy) => {
    const source = calibratedModel(openModel(checkpoint), backend, {
      windows,
      onReplace: (name, weight) => clock.time("write", () => copy.replace(name, weight)),
    });
    for await (
      const event of pare.pruneModel(clock.timeCalibration(source), { sparsity: 0.5, error: false })
    ) {
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
    // No request is timed as `send` here. `charge` has subtracted the seconds of the host's phases from
    // `send`, so `send` is negative. The exchange is the part of the loop that is not calibration, a phase of
    // the host, or writing.
    exchange: send + solved - start - calibrate - write,
    read,
    factor,
    solve,
    write: write + total - solved,
    total,
  };
  return { seconds, layers };
}
