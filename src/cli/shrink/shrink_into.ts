/** The first run of `pare shrink`, which writes the smaller model. */

import type { ModelFolder } from "../../model/model.ts";
import { DevicePruner } from "../../prune/device_pruner.ts";
import { serverPruner } from "../../prune/server_pruner.ts";
import { readBaseCard } from "../../prune/report/base_card.ts";
import { REPORT_FILES } from "../../prune/report/file_names.ts";
import { removalLines } from "../../prune/report/summary.ts";
import {
  commandFingerprint,
  type FingerprintSources,
  FORWARD_BACKEND,
  OtherRunError,
  type RunFingerprint,
  runFingerprint,
} from "../../prune/run/fingerprint.ts";
import { PruneRun } from "../../prune/run/prune_run.ts";
import { tokenWarnings, validationWarnings } from "../../prune/run/warnings.ts";
import {
  rehearsedJob,
  SHRINK_QUERY,
  type ShrinkJob,
  shrinkModel,
  type ShrinkServices,
} from "../../prune/shrink/shrink_model.ts";
import { givenOptions, type ShrinkReport, shrinkReport } from "../../prune/shrink/shrink_report.ts";
import { requireBlocks } from "../../prune/shrink/smaller_network.ts";
import {
  countKept,
  type KeptUnits,
  readingLayers,
  readUnits,
  requireShrinkable,
  type ShareOptions,
  UNIT_KINDS,
  type UnitKind,
  UNITS,
} from "../../prune/shrink/units.ts";
import { UsageError } from "../errors.ts";
import { denoFileSystem as fs } from "../files/deno_file_system.ts";
import { readModelCard, readShrinkReport, shrinkReportFiles } from "../files/run_report_files.ts";
import { openRunTexts } from "../files/text_source.ts";
import { openBackend } from "../open_backend.ts";
import { type BackendFlags, type CommonOptions, windowTokens } from "../options/common_options.ts";
import { serverUrls } from "../options/server_options.ts";
import { comparePerplexity, readRunTexts } from "../prune/compare_perplexity.ts";
import { planRun, printPlan } from "../prune/plan/plan_run.ts";
import { findFinishedRun } from "../prune/finished_run.ts";
import type { RunModel } from "../prune/open_model.ts";
import { progressCallbacks } from "../prune/progress_callbacks.ts";
import { remotePruner } from "../remote_client.ts";
import type { SecondRunFlags } from "./second_run.ts";

/** The options as commander parses them. */
export interface ShrinkOptions extends CommonOptions, BackendFlags, SecondRunFlags, ShareOptions {
  readonly out: string;
  /** The share of all parameters to remove as neurons. `ffn` is then computed from it. */
  readonly smaller?: number;
  readonly multiple: number;
  readonly blocks: number;
  readonly calibration: readonly string[];
  readonly text: readonly string[];
}

export interface ShrinkCommand extends RunModel {
  readonly options: ShrinkOptions;
}

/**
 * Shrinks the model into the folder `out` unless this run is finished, and returns the report. With `--plan`, prints the
 * plan and returns undefined.
 * @throws {UsageError} if no layer would be solved, by which the plan is measured
 */
export async function shrinkInto(
  out: string,
  { name, stored: opened, freeBytes, options, output, signal }: ShrinkCommand,
): Promise<ShrinkReport | undefined> {
  await using cleanup = new AsyncDisposableStack();
  const servers = serverUrls(options), { checkpoint, model } = opened;
  const { units, kept } = planUnits(opened, options);
  const seqlen = windowTokens(model, options), texts = await openRunTexts(options, output, signal);
  const fingerprint = await shrinkFingerprint({ checkpoint, texts, seqlen }, options);
  const finished = await findOwnRun(out, fingerprint, options);
  if (finished) {
    output.remark(`${out}: this run is finished already; add --overwrite to shrink again`);
    return finished;
  }
  const recorded = options.restart ? undefined : (await PruneRun.fingerprint(fs, out))?.[FORWARD_BACKEND];
  const backend = await openBackend({ ...options, recorded }, cleanup, model);
  const remote = await remotePruner({ ...options, server: servers }, name, output, signal);
  const tokenizer = await opened.loadTokenizer();
  const { evaluated, ...windows } = await readRunTexts(tokenizer, texts, { ...options, seqlen });
  const progress = cleanup.adopt(output.progress("shrinking"), (bar) => bar.stop());
  const solved = readingLayers(kept, checkpoint.config, model.spec);
  for (const warning of tokenWarnings({ ...windows, queryOf: () => SHRINK_QUERY }, solved)) {
    output.remark(`warning: ${warning}`);
  }
  const job: ShrinkJob = {
    checkpoint,
    model,
    ...options,
    ...windows,
    kept,
    out,
    fingerprint: runFingerprint(fingerprint, backend),
    loadSeconds: performance.now() / 1000, // performance.now() counts from the start of the process
    evaluatedWindows: evaluated.map(({ windows }) => windows),
    reportFileNames: REPORT_FILES,
    async reportFiles(written) {
      const perplexity = await comparePerplexity({ dense: model, pruned: written.model }, evaluated, {
        seqlen,
        backend,
        signal,
        progress,
      });
      const facts = { name, dense: opened, backend, options, texts, seqlen, units, fingerprint };
      const seconds = performance.now() / 1000, heldOut = windows.validationWindows.length;
      const report = shrinkReport({ ...facts, perplexity, seconds, heldOut }, written);
      return await shrinkReportFiles(report, readBaseCard(await readModelCard(checkpoint)));
    },
  };
  const services: ShrinkServices = {
    fs,
    backend,
    pruner: remote ? serverPruner(remote) : new DevicePruner(backend),
    signal,
    onSimilarityStep: (done, total) => progress.note(`comparing blocks ${done}/${total}`),
    onExpertStep: (done, total) => progress.note(`scoring experts ${done}/${total}`),
    ...progressCallbacks(progress, output),
  };
  if (options.plan) {
    if (solved.length === 0) {
      throw new UsageError("option --plan: needs --ffn or --heads, because it times their layers");
    }
    const measured = {
      ...{ ...services, onLayerDone: undefined, onCalibrationStep: undefined },
      hosts: servers.length,
      freeBytes,
      exported: { lines: removalLines({ dropped_blocks: [], ...units }) },
    };
    const facts = { name, parameters: givenOptions(options), seqlen };
    return void printPlan(await planRun(await rehearsedJob(job, fs), facts, measured), output);
  }
  await shrinkModel(job, services);
  progress.stop();
  const report = (await readShrinkReport({ folder: out, files: await fs.list(out) ?? [] }))!; // the run has written it
  for (const warning of validationWarnings(report.layers)) output.remark(`warning: ${warning}`);
  return report;
}

/**
 * Returns the report of the finished run in `out`. With `--overwrite`, a finished run in the output folder is ignored.
 * The smaller model that an earlier process left for the second run is used again.
 */
async function findOwnRun(
  out: string,
  fingerprint: RunFingerprint,
  options: ShrinkOptions,
): Promise<ShrinkReport | undefined> {
  if (options.overwrite && out === options.out) return undefined;
  try {
    return await findFinishedRun(out, fingerprint, fs, readShrinkReport);
  } catch (error) {
    if (options.overwrite && error instanceof OtherRunError) return undefined;
    throw error;
  }
}

/** Computes the fingerprint of the command (see `commandFingerprint`). */
async function shrinkFingerprint(
  sources: Omit<FingerprintSources, "query" | "options" | "fs">,
  options: ShrinkOptions,
): Promise<RunFingerprint> {
  const { ffn, heads, experts, multiple, blocks } = options;
  // A second run does not change the smaller model.
  const settings = { ...options, format: "dense", for: undefined } as const;
  const removed = Object.entries({ ffn, heads, experts, multiple, blocks }).map((
    [name, value],
  ) => [`--${name}`, String(value)]);
  const command = await commandFingerprint({ ...sources, query: SHRINK_QUERY, options: settings, fs });
  return { ...command, ...Object.fromEntries(removed) };
}

/** Lists the kinds of units that the options remove. */
export function unitKinds(options: ShareOptions): UnitKind[] {
  return UNIT_KINDS.filter((kind) => options[UNITS[kind].option] > 0);
}

/** The numbers of units in each block, for the kinds that lose some. */
interface PlannedUnits {
  readonly units: Pick<ShrinkReport, UnitKind>;
  readonly kept: KeptUnits;
}

/**
 * Returns the numbers of units that the options ask for.
 * @throws {UsageError} if rounding lets no unit be removed, or if no block would remain
 * @throws {ModelError} if the model cannot be shrunk, or cannot lose as many units of a kind
 */
export function planUnits(opened: ModelFolder, options: ShrinkOptions): PlannedUnits {
  const { checkpoint: { config }, model: { spec } } = opened;
  requireShrinkable(config, spec);
  try {
    requireBlocks(spec.blockCount, options.blocks);
    const sizes = unitKinds(options).map((kind) => {
      const units = readUnits(kind, config, spec), share = options[UNITS[kind].option];
      const multiple = kind === "neurons" ? options.multiple : units.together;
      return { kind, dense: units.count, shrunk: countKept(kind, units, share, multiple) };
    });
    return {
      units: Object.fromEntries(sizes.map(({ kind, ...size }) => [kind, size])),
      kept: Object.fromEntries(sizes.map(({ kind, shrunk }) => [kind, shrunk])),
    };
  } catch (error) {
    throw error instanceof RangeError ? new UsageError(error.message, { cause: error }) : error;
  }
}
