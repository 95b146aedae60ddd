/** The tables of the bench of `prune_` and `prune_folder`, two functions of the Python package. */

import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";

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
  /** The seconds of the process of `pare prune`, and of the call of `prune_` in its fastest setting of threads. */
  readonly seconds: { readonly command: number; readonly python: number };
  /** The setting of threads in which `prune_` was fastest. Absent in results from before settings were tried. */
  readonly setting?: string;
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
  ["`pare prune` s", ({ seconds }) => seconds.command.toFixed(1)],
  ["`prune_` s", ({ seconds }) => seconds.python.toFixed(1)],
  ["setting of `prune_`", ({ setting }) => setting ?? NOT_MEASURED],
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
