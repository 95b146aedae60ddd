/** Prunes the model of the demo in one way, which is a method and a sparsity, and measures the result. */

import type { Backend } from "../../src/device/backend.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import type { Output } from "../../src/cli/terminal/output.ts";
import type { LayerEvent } from "../../src/protocol/run/solve_round.ts";
import { Pare } from "../../src/client/pare.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { serverPruner } from "../../src/prune/server_pruner.ts";
import { pruneModel } from "../../src/prune/run/prune_model.ts";
import { copyDestination } from "../prune/write_pruned.ts";
import type { DemoModel } from "./demo_model.ts";
import { PhaseClock } from "./phase_clock.ts";
import type { DemoRun } from "./tables.ts";

/** One way to prune the model. */
export interface PruneWay {
  readonly title: string;
  readonly folder: string;
  /** The parameters of each layer's request. */
  readonly query: LayerQuery;
}

export interface DemoSetting {
  /** Runs the forward passes of calibration and evaluation, in this process. */
  readonly backend: Backend;
  /** The origin of the host that solves the layers. */
  readonly hostUrl: string;
  readonly demoModel: DemoModel;
  readonly output: Output;
}

/** Measures the perplexity of the model without pruning it. */
export async function measureDense(setting: DemoSetting): Promise<DemoRun> {
  const clock = new PhaseClock();
  const measured = await clock.time("evaluate", () => measurePerplexity(setting.demoModel.model, setting));
  return { title: "dense", perplexity: measured, layers: [], seconds: clock.seconds };
}

/** Prunes the model in one way, writes the checkpoint, opens it again and measures its perplexity. */
export async function measurePruned(way: PruneWay, setting: DemoSetting): Promise<DemoRun> {
  const clock = new PhaseClock();
  const layers = await prune(way, clock, setting);
  const measured = await clock.time("evaluate", async () => {
    await using cleanup = new AsyncDisposableStack();
    const checkpoint = cleanup.adopt(
      await openCheckpoint(way.folder, denoFileSystem),
      (opened) => opened.close(),
    );
    return await measurePerplexity(openModel(checkpoint), setting);
  });
  return { title: way.title, perplexity: measured, layers, seconds: clock.seconds };
}

async function prune(
  { title, folder, query }: PruneWay,
  clock: PhaseClock,
  { backend, hostUrl, demoModel: { checkpoint, model, calibration }, output }: DemoSetting,
): Promise<LayerEvent[]> {
  await using cleanup = new AsyncDisposableStack();
  const progress = cleanup.adopt(output.progress(title.padEnd(14)), (bar) => bar.stop());
  const pare = new Pare({ baseUrl: hostUrl, fetch: clock.fetch });
  const layers: LayerEvent[] = [];
  const copy = copyDestination(checkpoint, folder, true);
  const destination: typeof copy = {
    fill: (prune) =>
      copy.fill((open) =>
        prune({ ...open, replace: (...weight) => clock.time("write", () => open.replace(...weight)) })
      ),
  };
  await pruneModel({ model, windows: calibration, queryOf: () => query, destination }, {
    backend,
    pruner: serverPruner(pare),
    onCalibrationStep({ done, total, seconds }) {
      clock.seconds.calibrate += seconds;
      progress.note(`calibrating ${done}/${total}`);
    },
    onLayerDone(done, total, event) {
      progress.step(done, total, event?.name);
      if (!event) return;
      layers.push(event);
      clock.charge(event.report);
    },
  });
  return layers;
}

async function measurePerplexity(
  model: Model,
  { backend, demoModel: { evaluation, evaluationWindows, seqlen } }: DemoSetting,
): Promise<number> {
  const options = { seqlen, windows: evaluationWindows };
  return (await computePerplexity(model, backend, evaluation, options)).perplexity;
}
