/** Prints the result of `pare prune` and the commands that load it. Every number is read from the report of the run. */

import { readConfigText } from "../../model/checkpoint/checkpoint.ts";
import { formatNamed } from "../../model/formats/formats.ts";
import { parseJsonAt } from "../../base/files/whole_file.ts";
import { DEFAULT_MODEL_METHOD } from "../../protocol/methods.ts";
import { divergenceText, numberText, secondsText } from "../../prune/report/format.ts";
import { validationWarnings } from "../../prune/run/warnings.ts";
import { RUN_REPORT_FILE } from "../../prune/report/file_names.ts";
import type { RunReport } from "../../prune/report/run_report.ts";
import { phasesText } from "../../prune/report/run_seconds.ts";
import {
  changesOf,
  keptTargets,
  layersWithFewTokens,
  roundedBits,
  totals,
} from "../../prune/report/summary.ts";
import { PROGRAM_VARIABLE } from "../environment.ts";
import { denoFileSystem } from "../files/deno_file_system.ts";
import type { Output } from "../terminal/output.ts";
import { fileTarget } from "./runtime_format.ts";

/**
 * Prints the totals of a run as lines and how to load the result, or with `--json` every layer.
 * @param alreadyFinished whether an earlier command had finished the run
 */
export async function printRunResult(
  report: RunReport,
  out: string,
  output: Output,
  alreadyFinished = false,
): Promise<void> {
  const { layers, perplexity, seconds } = report;
  const rows = layers.map(({ name, loss, relative_error, zeros, rows, cols }) => (
    { name, loss, relative_error, zeros, rows, cols }
  ));
  const { zeros, entries } = totals(layers), bits = roundedBits(report);
  const isPruned = changesOf(report).includes("pruned");
  const changes = isPruned ? `pruned ${zeros} of ${entries} weights` : `rounded ${entries} weights`;
  const rounding = isPruned || bits === undefined ? "" : ` to ${bits} bits`;
  const few = layersWithFewTokens(layers).length;
  if (few > 0) {
    output.remark(
      `warning: ${few} layers were reached by fewer calibration tokens than they have columns, and were pruned with ` +
        `more damping or by magnitude; ${RUN_REPORT_FILE} has a note for each. More --samples reach more experts`,
    );
  }
  const targets = keptTargets(report);
  for (const warning of validationWarnings(layers)) output.remark(`warning: ${warning}`);
  const { shrunk } = report;
  output.result({ layers: rows, perplexity, seconds, shrunk, out, already_finished: alreadyFinished }, [
    `${changes} in ${layers.length} layers${rounding}, ${secondsText(seconds.total)} (${
      phasesText(seconds)
    })`,
    ...targets === undefined ? [] : [`targets ${targets}`],
    ...reconstructionLines(report),
    ...perplexity.map(perplexityLine),
    alreadyFinished ? `wrote ${out} earlier` : `wrote ${out}`,
  ]);
  for (const line of qualityHints(report)) output.remark(line);
  if (!output.json) { for (const line of await loadingLines(out, report.format)) output.remark(line); }
}

/** Suggests other options for each text on which the perplexity has risen a lot. */
export function qualityHints({ perplexity, parameters }: RunReport): string[] {
  const { pattern, sparsity, method, bits, preset, for: runtime } = parameters;
  const isPruned = pattern !== "unstructured" || Number(sparsity) > 0;
  const zeros = pattern === "unstructured" ? `${100 * Number(sparsity)} %` : String(pattern);
  const change = [...isPruned ? [zeros] : [], ...bits === undefined ? [] : [`${bits} bits`]].join(" and ");
  const advice = !isPruned
    ? `try ${preset === "best" ? "" : "--preset best or "}more bits`
    : runtime !== undefined
    ? `leave out the sparsity, because zeros do not make the output for ${runtime} smaller or faster`
    : `try ${
      method === DEFAULT_MODEL_METHOD ? "--effort best" : `--method ${DEFAULT_MODEL_METHOD}`
    } or more --samples`;
  return perplexityWarnings(perplexity, change, advice);
}

/** The factor by which a perplexity has risen a lot. */
const RISE = 1.5;

/**
 * Warns about each text on which the perplexity has risen a lot.
 * @param change what was done to the model
 * @param advice what may help
 */
export function perplexityWarnings(
  perplexity: RunReport["perplexity"],
  change: string,
  advice: string,
): string[] {
  return perplexity.flatMap(({ text, dense, pruned }) => {
    if (dense === null || (pruned !== null && pruned < RISE * dense)) return [];
    const effect = pruned === null
      ? "ruined the perplexity"
      : `raised the perplexity from ${formatPerplexity(dense)} to ${formatPerplexity(pruned)}`;
    return [`warning: ${change} ${effect} on ${text}; ${advice}`];
  });
}

/** Describes the reconstructions of a run. There are no lines without any. */
export function reconstructionLines({ blocks = [] }: Pick<RunReport, "blocks">): string[] {
  const reconstructed = blocks.flatMap(({ reconstruction }) => reconstruction ?? []);
  if (reconstructed.length === 0) return [];
  const mean = (when: "before" | "after") =>
    numberText(
      reconstructed.reduce((sum, block) => sum + (block[when] ?? Infinity), 0) / reconstructed.length,
    );
  return [
    `reconstructed ${reconstructed.length} blocks: mean error ${mean("before")} before, ${
      mean("after")
    } after`,
  ];
}

/** Describes the perplexities of one text. */
export function perplexityLine(
  { text, windows, seqlen, dense, pruned, divergence }: RunReport["perplexity"][number],
): string {
  return `perplexity on ${text} (${windows} windows of ${seqlen}): ${formatPerplexity(dense)} before, ` +
    `${formatPerplexity(pruned)} after` +
    (typeof divergence === "number" ? `; KL divergence ${divergenceText(divergence)}` : "");
}

/** The report has null for a perplexity that is not finite. */
export function formatPerplexity(value: number | null): string {
  return value === null ? "not finite" : value.toFixed(3);
}

/** Returns the lines that use the result in `out` here and in other programs. */
export async function loadingLines(out: string, format: RunReport["format"]): Promise<string[]> {
  const file = fileTarget(format), path = `${out}/${file?.path}`;
  if (file) return [`wrote ${path}`, file.howToRun(path)];
  const folder = JSON.stringify(out); // a text of JSON is also one of Python and, without dollar signs, of a shell
  const config = parseJsonAt(await readConfigText(denoFileSystem, out), out) as Record<string, unknown>;
  return [
    `see what it writes: ${Deno.env.get(PROGRAM_VARIABLE) ?? "pare"} generate ${folder} "PROMPT"`,
    ...formatNamed(format)?.howToLoad?.(folder, config) ?? [],
  ];
}
