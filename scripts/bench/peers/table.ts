/** The table of the bench that compares Pare with llm-compressor. */

import { type Column, formatPerplexity, markdownTable } from "../report/markdown_table.ts";
import type { PeersResult, PeersResults, RunResult } from "./peers_result.ts";

/** One row of the table: a run on a model. */
interface PeersRow {
  readonly model: PeersResult;
  readonly entry: RunResult;
  /** Whether this is the model's first row. Only the first row names the model. */
  readonly isFirst: boolean;
  /** Whether this is the first row with this target. Only the first row shows the target. */
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
  ["method", ({ entry }) => entry.run.title],
  ["perplexity", ({ entry: { perplexity } }) => formatPerplexity(perplexity)],
  ["zeros", ({ entry: { zeros, weights } }) => `${(100 * zeros / weights).toFixed(2)} %`],
  ["compress s", ({ entry: { compressSeconds } }) => compressSeconds.toFixed(2)],
  ["process s", ({ entry: { processSeconds } }) => processSeconds.toFixed(2)],
  ["memory MiB", ({ entry: { peakBytes } }) => (peakBytes / MIB).toFixed(0)],
];

/** Renders one row per model and run. A line below the table shows the versions and the settings. */
export function peersTable({ models, versions, threads, repeat, loadAverage }: PeersResults): string {
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
    `Peers: ${libraries}; threads of OpenMP: ${threads}. Repetitions: ${repeat}. Largest load average: ` +
    `${loadAverage.toFixed(1)}.`;
}
