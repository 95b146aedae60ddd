/** The table of the bench of the peers, which compares Pare with llm-compressor. */

import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { NotBuilt, PeersResult, PeersResults, RunResult } from "./peers_result.ts";

/** One row of the table: a run on a model. Only the first row of a model names it, and only the first row of a target. */
interface PeersRow {
  readonly model: PeersResult;
  readonly entry: RunResult | NotBuilt;
  readonly isFirst: boolean;
  readonly isFirstOfTarget: boolean;
}

const MIB = 2 ** 20;

const COLUMNS: readonly Column<PeersRow>[] = [
  [
    "model (dense perplexity)",
    ({ model, isFirst }) => isFirst ? `${model.name} (${formatPerplexity(model.dense)})` : "",
  ],
  ["target", ({ entry, isFirstOfTarget }) => isFirstOfTarget ? entry.run.target : ""],
  ["program", ({ entry }) => entry.run.program],
  ["method", ({ entry }) => "notBuilt" in entry ? `${entry.run.title} (not built)` : entry.run.title],
  ["perplexity", measured(({ perplexity }) => formatPerplexity(perplexity))],
  ["zeros", measured(({ zeros, weights }) => `${(100 * zeros / weights).toFixed(2)} %`)],
  ["compress s", measured(({ compressSeconds }) => compressSeconds.toFixed(2))],
  ["process s", measured(({ processSeconds }) => processSeconds.toFixed(2))],
  ["memory MiB", measured(({ peakBytes }) => (peakBytes / MIB).toFixed(0))],
];

/** Renders one row per model and run, and a line with the versions and the settings. */
export function peersTable({ models, versions, threads, repeat }: PeersResults): string {
  const rows = models.flatMap((model) =>
    model.runs.map((entry, i): PeersRow => ({
      model,
      entry,
      isFirst: i === 0,
      isFirstOfTarget: entry.run.target !== model.runs[i - 1]?.run.target,
    }))
  );
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  return `${markdownTable(COLUMNS, rows)}\n\n` +
    `Peers: ${libraries}; ${threads} threads of OpenMP. Repetitions: ${repeat}.`;
}

function measured(cell: (result: RunResult) => string): Column<PeersRow>[1] {
  return ({ entry }) => "notBuilt" in entry ? NOT_MEASURED : cell(entry);
}

function formatPerplexity(perplexity: number): string {
  return perplexity < 1e4 ? perplexity.toPrecision(4) : perplexity.toExponential(1);
}
