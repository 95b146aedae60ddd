/**
 * Measures the cells of the solvers bench on one model. A cell is one pruning method at one target, such as
 * 50 %.
 */

import { calibrationWindows } from "../../../../src/calibration/windows.ts";
import { denoFileSystem } from "../../../../src/cli/files/deno_file_system.ts";
import type { LocalHost } from "../../../../src/cli/local_host.ts";
import { computePerplexity } from "../../../../src/evaluation/perplexity.ts";
import { openModelFolder } from "../../../../src/models/model.ts";
import type { BenchedModel } from "../../families/models.ts";
import type { Cell } from "./cells.ts";
import { collectDenseLayers } from "./dense_layers.ts";
import { type CellResult, measureCell } from "./measure_cell.ts";

/** The figures of one model. */
export interface ModelResult {
  readonly name: string;
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  /** The perplexity before pruning. */
  readonly dense: number;
  /** The names of the weights of all linear layers in the transformer blocks. */
  readonly layers: readonly string[];
  readonly cells: readonly CellResult[];
}

/**
 * The number of calibration windows of every model. If the text is too short, all windows that fit are used.
 */
const CALIBRATION_WINDOWS = 128;

/**
 * Measures the cells that are missing in `earlier`, the result of an earlier run. After each new cell, the
 * result with all cells so far is passed to `save`.
 * @param log receives one line of text per cell
 */
export async function benchModel(
  host: LocalHost,
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
  const layers = await collectDenseLayers(model, host.backend, windows);
  const dense = await computePerplexity(model, host.backend, evaluation, evaluationOptions);
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
      host,
      { model, layers, windows, evaluation, evaluationOptions },
      cell,
    );
    const { perplexity, solveSeconds, refused } = measured;
    log(`${title}: ${refused ?? `perplexity ${perplexity?.toFixed(3)}, ${solveSeconds?.toFixed(2)} s`}`);
    result = { ...result, cells: [...result.cells, measured] };
    await save(result);
  }
}

/** Returns `result` without the figures of `cells`, so that these cells are measured again. */
export function withoutCells(result: ModelResult, cells: readonly Cell[]): ModelResult {
  const isListed = (measured: CellResult) =>
    cells.some(({ method, target }) => measured.method === method && measured.target === target);
  return { ...result, cells: result.cells.filter((measured) => !isListed(measured)) };
}

/** Returns the figures of one cell, or undefined if they were not measured. */
export function findCell({ cells }: ModelResult, method: string, target: string): CellResult | undefined {
  return cells.find((cell) => cell.method === method && cell.target === target);
}
