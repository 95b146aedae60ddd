/** The table of a projection, which estimates the time of pruning a model from the rates of one layer. */

import type { LayersResults } from "../layers/layers_results.ts";
import { sum } from "../measure/statistics.ts";
import { type Column, markdownTable } from "../report/markdown_table.ts";
import type { ModelShapes } from "./model_shapes.ts";
import {
  hours,
  MODEL_PHASES,
  modelMemory,
  type ModelPhase,
  modelWork,
  movesBytes,
  ratesOf,
} from "./projection.ts";

/** Renders one row per phase of pruning `model` at the rates of `results`, and a row with the total time. */
export function projectionTable(model: ModelShapes, results: LayersResults): string {
  const work = modelWork(model), memory = modelMemory(model), rates = ratesOf(results);
  const phaseHours = hours(work, rates);
  const amount = (phase: ModelPhase) =>
    movesBytes(phase) ? `${(work[phase] / 1e12).toFixed(2)} TB` : `${(work[phase] / 1e15).toFixed(2)} PFLOP`;
  const rate = (phase: ModelPhase) =>
    movesBytes(phase)
      ? `${(rates[phase] / 1e9).toFixed(2)} GB/s`
      : `${(rates[phase] / 1e9).toFixed(1)} GFLOP/s`;
  const total = sum(Object.values(phaseHours));
  const columns: readonly Column<ModelPhase | "total">[] = [
    [model.title, (row) => row],
    ["work", (row) => row === "total" ? "" : amount(row)],
    ["device memory", (row) => row === "total" ? "" : `${(memory[row] / 1e9).toFixed(1)} GB`],
    ["rate", (row) => row === "total" ? "" : rate(row)],
    ["hours", (row) => (row === "total" ? total : phaseHours[row]).toFixed(1)],
  ];
  return markdownTable(columns, [...MODEL_PHASES, "total"]);
}
