/**
 * Compares all solvers on whole models by the relative error of every layer, the perplexity of the pruned model, and the
 * time. The results file is written after each cell. Cells that are already in the file are skipped, so an interrupted
 * run can be continued.
 */

import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openBackend } from "../../src/cli/open_backend.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { DevicePruner } from "../../src/prune/device_pruner.ts";
import { type BenchedModel, listModels } from "../fixtures/trained_models.ts";
import type { Bench } from "./bench.ts";
import {
  type Cell,
  findCell,
  listCells,
  type ModelResult,
  type SolverResults,
  withoutCells,
} from "./solvers/cells.ts";
import { collectDenseLayers, measureCell } from "./solvers/measure_cell.ts";
import { comparisonTable, errorTable, perplexityTable, roundingTable } from "./solvers/tables.ts";

interface SolversOptions {
  readonly models?: string;
  readonly methods?: string;
  readonly again: boolean;
}

export const bench: Bench<SolversOptions, SolverResults> = {
  description: "all solvers on whole models, by the errors of the layers, perplexity and seconds",
  options: (command) =>
    command
      .option("--models <list>", "comma-separated names; all models on this machine by default")
      .option("--methods <list>", "comma-separated methods, as the tables name them; all by default")
      .option("--again", "measure the chosen cells again if the results file has them", false),
  async measure({ models: names, methods, again, backend }, { earlier, save }) {
    const chosen = names?.split(","), chosenMethods = methods?.split(",");
    const cells = listCells().filter(({ method }) => chosenMethods?.includes(method) ?? true);
    const models = (await listModels(console.error)).filter(({ name }) => chosen?.includes(name) ?? true);
    const results = new Map<string, ModelResult>(earlier?.models.map((model) => [model.name, model]));
    await using cleanup = new AsyncDisposableStack();
    const opened = cleanup.adopt(await openBackend(backend), (opened) => opened.dispose());
    const pruner = new DevicePruner(opened), device = { backend: opened.kind, adapter: opened.adapter.name };
    for (const model of models) {
      const stored = results.get(model.name);
      await benchModel(pruner, model, cells, again && stored ? withoutCells(stored, cells) : stored, {
        log: console.error,
        async save(result) {
          results.set(model.name, result);
          await save(device, { models: [...results.values()] });
        },
      });
    }
    return { models: [...results.values()] };
  },
  tables: {
    errors: errorTable,
    perplexity: perplexityTable,
    rounding: roundingTable,
    comparison: comparisonTable,
  },
};

/** The number of calibration windows of every model. If the text is too short, all windows that fit are used. */
const CALIBRATION_WINDOWS = 128;

/**
 * Measures the cells that are missing in `earlier`, the result of an earlier run. After each new cell, the
 * result with all cells so far is passed to `save`.
 * @param log receives one line of text per cell
 */
async function benchModel(
  pruner: DevicePruner,
  benched: BenchedModel,
  cells: readonly Cell[],
  earlier: ModelResult | undefined,
  { log, save }: { log(text: string): void; save(result: ModelResult): Promise<void> },
): Promise<void> {
  const { name, folder, seqlen, evaluationWindows } = benched;
  const missing = cells.filter(({ method, target }) => !earlier || !findCell(earlier, method, target));
  if (missing.length === 0) return log(`${name}: skipped, because earlier runs have measured all cells`);
  const texts = await benched.tokens();
  const windowCount = Math.min(CALIBRATION_WINDOWS, Math.floor(texts.calibration.length / seqlen));
  const windows = calibrationWindows(texts.calibration, { windows: windowCount, seqlen });
  await using opened = await openModelFolder(folder, denoFileSystem);
  const model = opened.model, evaluation = texts.evaluation;
  const evaluationOptions = { seqlen, windows: evaluationWindows };
  const layers = await collectDenseLayers(model, pruner.backend, windows);
  const dense = await computePerplexity(model, pruner.backend, evaluation, evaluationOptions);
  let result: ModelResult = {
    name,
    seqlen,
    calibrationWindows: windowCount,
    evaluationWindows,
    dense: dense.perplexity,
    layers: layers.map((layer) => layer.name),
    cells: earlier?.cells ?? [],
  };
  for (const cell of missing) {
    const title = `${name} ${cell.method} ${cell.target}`;
    const measured = await measureCell(
      pruner,
      { model, layers, windows, evaluation, evaluationOptions },
      cell,
    );
    const { perplexity, solveSeconds, refused } = measured;
    log(`${title}: ${refused ?? `perplexity ${perplexity?.toFixed(3)}, ${solveSeconds?.toFixed(2)} s`}`);
    result = { ...result, cells: [...result.cells, measured] };
    await save(result);
  }
}
