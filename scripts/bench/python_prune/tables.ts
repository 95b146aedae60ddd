/** The tables of the bench of `prune_` and `prune_folder`, two functions of the Python package. */

import { type Column, markdownTable } from "../report/markdown_table.ts";

/** The results of one run, as they are stored in `results/python_prune.json`. */
export interface PythonPruneResults {
  readonly models: readonly ModelResult[];
  readonly memory: MemoryResult;
}

/** The perplexities of one model. */
interface ModelResult {
  readonly model: string;
  readonly method: string;
  readonly sparsity: number;
  readonly perplexity: { readonly dense: number; readonly command: number; readonly python: number };
}

/** Numbers of bytes, which `block_memory.py` describes. */
type MemoryResult = Readonly<
  Record<"model" | "block" | "embeddings" | "statistics" | "states" | "tensors" | "process", number>
>;

const MODEL_COLUMNS: readonly Column<ModelResult>[] = [
  ["model", ({ model }) => model],
  ["method", ({ method, sparsity }) => `${method}, ${100 * sparsity} %`],
  ["dense", ({ perplexity }) => perplexity.dense.toFixed(3)],
  ["`pare prune`", ({ perplexity }) => perplexity.command.toFixed(3)],
  ["`prune_`", ({ perplexity }) => perplexity.python.toFixed(3)],
  ["difference", ({ perplexity: { command, python } }) => `${(100 * (python / command - 1)).toFixed(2)} %`],
];

/** Renders one row per model. */
export function pythonPruneTable({ models }: Pick<PythonPruneResults, "models">): string {
  return markdownTable(MODEL_COLUMNS, models);
}

const MEMORY_COLUMNS: readonly Column<MemoryResult>[] = [
  ["model MB", ({ model }) => formatMegabytes(model)],
  ["block MB", ({ block }) => formatMegabytes(block)],
  ["its Hessians MB", ({ statistics }) => formatMegabytes(statistics)],
  ["hidden states MB", ({ states }) => formatMegabytes(states)],
  ["peak of tensors MB", ({ tensors }) => formatMegabytes(tensors)],
  ["peak of the process MB", ({ process }) => formatMegabytes(process)],
];

/** Renders one row with the peak memory of `prune_folder`. */
export function pythonMemoryTable({ memory }: Pick<PythonPruneResults, "memory">): string {
  return markdownTable(MEMORY_COLUMNS, [memory]);
}

function formatMegabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}
