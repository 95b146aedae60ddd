/** The table of the bench that compares Pare with llm-compressor. */

import { formatProducts } from "../measure/matrix_products.ts";
import { describeBuilds } from "../torch/torch_builds.ts";
import { trialsTable } from "../torch/trials_table.ts";
import { type Column, formatPerplexity, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
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
  ["products", ({ entry }) => entry.run.program === "Pare" ? formatProducts(entry) : NOT_MEASURED],
  ["perplexity", ({ entry: { perplexity } }) => formatPerplexity(perplexity)],
  ["zeros", ({ entry: { zeros, weights } }) => `${(100 * zeros / weights).toFixed(2)} %`],
  ["compress s", ({ entry: { compressSeconds } }) => compressSeconds.toFixed(2)],
  ["× llm-compressor", ({ model, entry }) => speedup(model, entry)?.toFixed(2) ?? NOT_MEASURED],
  ["process s", ({ entry: { processSeconds } }) => processSeconds.toFixed(2)],
  ["memory MiB", ({ entry: { peakBytes } }) => (peakBytes / MIB).toFixed(0)],
];

/** Returns the time of llm-compressor's run with the same work divided by the time of Pare's run, if there is such a run. */
export function speedup(
  { runs }: Pick<PeersResult, "runs">,
  { run, compressSeconds }: RunResult,
): number | undefined {
  if (run.program !== "Pare" || run.counterpart === undefined) return undefined;
  const peer = runs.find(({ run: other }) =>
    other.program === "llm-compressor" && other.recipe === run.counterpart
  );
  return peer && peer.compressSeconds / compressSeconds;
}

/**
 * Renders one row per model, run and way to multiply matrices. The lines below the table show the versions, the
 * settings of llm-compressor, and the builds of PyTorch that it cannot use.
 */
export function peersTable(
  { models, versions, build, unusable = [], repeat, loadAverage }: PeersResults,
): string {
  const rows = models.flatMap((model) =>
    model.runs.map((entry, i): PeersRow => ({
      model,
      entry,
      isFirst: i === 0,
      isFirstOfTarget: entry.run.target !== model.runs[i - 1]?.run.target,
    }))
  );
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const settings = models.flatMap(({ name, setting }) => setting ? [`${name}: ${setting}`] : []).join("; ");
  return [
    markdownTable(COLUMNS, rows),
    "",
    `Peers: ${libraries}. Repetitions: ${repeat}. Largest load average: ${loadAverage.toFixed(1)}.`,
    ...(build ? [`${describeBuilds([build])} Threads of llm-compressor: ${settings}.`] : []),
    ...unusable.map(({ build, reason }) => `Not tried: ${build}, because ${reason}.`),
  ].join("\n");
}

/** Renders one row per setting of threads of llm-compressor and one column per model: the seconds of the trials. */
export function peersSettingsTable({ models }: PeersResults): string {
  return trialsTable(models.map(({ name: title, trials = [] }) => ({ title, trials })));
}
