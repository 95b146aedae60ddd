/** The tables of the bench `peers`. */

import { PRECISIONS } from "../../../src/host/backends.ts";
import { formatProducts } from "../measure/matrix_products.ts";
import {
  type Column,
  formatPercent,
  formatPerplexity,
  markdownTable,
  NOT_MEASURED,
} from "../report/markdown_table.ts";
import { trialsTable } from "../torch/choose_fastest.ts";
import { describeBuilds } from "../torch/torch_builds.ts";
import { compareWithPeer, type PeersResult, type PeersResults, type RunResult } from "./results.ts";

/** One row of the table: a run on a model. */
interface PeersRow {
  readonly model: PeersResult;
  readonly entry: RunResult;
}

const MIB = 2 ** 20;

const COLUMNS: readonly Column<PeersRow>[] = [
  ["model (dense perplexity)", ({ model }) => `${model.name} (${formatPerplexity(model.dense)})`],
  ["target", ({ entry }) => entry.run.target],
  ["program", ({ entry }) => entry.run.program],
  ["method", ({ entry }) => entry.run.title],
  [
    "setting",
    ({ model, entry }) => entry.run.program === "Pare" ? wayTitle(entry) : model.setting ?? NOT_MEASURED,
  ],
  ["perplexity", ({ entry: { perplexity } }) => formatPerplexity(perplexity)],
  ["zeros", ({ entry: { zeros, weights } }) => `${(100 * zeros / weights).toFixed(2)} %`],
  ["compress s", ({ entry: { compressSeconds } }) => compressSeconds.toFixed(2)],
  ["× peer's best", ({ model, entry }) => formatTimes(compareWithPeer(model, entry)?.speedup)],
  ["process s", ({ entry: { processSeconds } }) => processSeconds.toFixed(2)],
  [
    "× peer's best, process",
    ({ model, entry }) => formatTimes(compareWithPeer(model, entry)?.processSpeedup),
  ],
  ["memory MiB", ({ entry: { peakBytes } }) => (peakBytes / MIB).toFixed(0)],
  ["of the peer's", ({ model, entry }) => formatShare(compareWithPeer(model, entry)?.memoryShare)],
];

function wayTitle({ way, library }: RunResult): string {
  return way === "default" ? `default: ${formatProducts({ library })}` : formatProducts({ library });
}

function formatTimes(factor?: number): string {
  return factor?.toFixed(2) ?? NOT_MEASURED;
}

function formatShare(share?: number): string {
  return share === undefined ? NOT_MEASURED : formatPercent(share);
}

/** Renders one row per model, run and setting. The lines below the table show the versions and the settings of llm-compressor. */
export function peersTable({ models, versions, build, repeat, loadAverage }: PeersResults): string {
  const rows = models.flatMap((model) => model.runs.map((entry): PeersRow => ({ model, entry })));
  const libraries = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const settings = models.flatMap(({ name, setting }) => setting ? [`${name}: ${setting}`] : []).join("; ");
  return [
    markdownTable(COLUMNS, rows, 2),
    "",
    `Peers: ${libraries}. Repetitions: ${repeat}. Largest load average: ${loadAverage.toFixed(1)}.`,
    ...(build ? [`${describeBuilds([build])} Fastest settings of llm-compressor: ${settings}.`] : []),
    ...models.map((model) => `${model.name}: llm-compressor was tried in ${triedDtypes(model)}.`),
  ].join("\n");
}

/** Names the dtypes in which llm-compressor was tried. Results from before the trials in bfloat16 have float32 only. */
export function triedDtypes({ trials = [] }: Pick<PeersResult, "trials">): string {
  const tried = PRECISIONS.filter((dtype) => trials.some(({ title }) => title.startsWith(dtype)));
  return tried.length === 0 ? "float32 only" : tried.join(" and ");
}

/** Renders one row per setting of llm-compressor and one column per model: the seconds of the trials. */
export function peersSettingsTable({ models }: PeersResults): string {
  return trialsTable(models.map(({ name: title, trials = [] }) => ({ title, trials })));
}
