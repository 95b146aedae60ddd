/** The report of `pare shrink`, which is the content of `pare.json` in the folder of the smaller model. */

import { z } from "zod";
import type { Backend } from "../../device/backend.ts";
import { countParameters, countWeightFileBytes } from "../../model/checkpoint/weight_files.ts";
import type { ModelFolder } from "../../model/model.ts";
import { SHRINK_KIND } from "../report/file_names.ts";
import { removalSchema, type RunReport, runReportSchema } from "../report/run_report.ts";
import { runSecondsSchema } from "../report/run_seconds.ts";
import { type CommonFacts, commonMembers, repeatCommand, type RepeatedOptions } from "../run/run_report.ts";
import type { WrittenModel } from "./shrink_model.ts";
import type { UnitKind } from "./units.ts";

export const shrinkReportSchema = runReportSchema.pick({
  version: true,
  finished: true,
  model: true,
  calibration: true,
  backend: true,
  adapter: true,
  resumed: true,
  layers: true,
  blocks: true,
  command: true,
  fingerprint: true,
}).extend(removalSchema.shape).extend({
  /** Distinguishes the report from a report of `pare prune`. */
  kind: z.literal(SHRINK_KIND),
  /** The mean cosine between the input and the output of each dense block. Absent if no block was dropped. */
  similarities: z.array(z.number()).optional(),
  /** The experts of each block before some were removed, and those that remain. Absent if none was removed. */
  expert_use: z.array(z.object({
    tokens: z.array(z.int()),
    factors: z.array(z.number()),
    scores: z.array(z.number()),
    kept: z.array(z.int()),
  })).optional(),
  /** The seconds from the start of the last process until it wrote the report. */
  seconds: z.number(),
});

/** The report. Its layers are those that lost columns. Their blocks are counted without the dropped ones. */
export type ShrinkReport = z.infer<typeof shrinkReportSchema>;

/** The facts that are not in the result of the run. */
export interface ShrinkFacts extends CommonFacts, Pick<ShrinkReport, "perplexity" | "seconds"> {
  readonly dense: ModelFolder;
  readonly backend: Backend;
  readonly options:
    & ShrinkReport["options"]
    & CommonFacts["options"]
    & Pick<RepeatedOptions, "validation" | "windows">;
  /** The number of held-out windows. */
  readonly heldOut: number;
  /** The numbers of units in each block, for the kinds that lost some. */
  readonly units: Pick<ShrinkReport, UnitKind>;
}

export function shrinkReport(
  facts: ShrinkFacts,
  { dropped, similarities = [], experts: uses, run, plan }: WrittenModel,
): ShrinkReport {
  const { dense, backend, options, units, perplexity, seconds } = facts, { shards } = dense.checkpoint;
  const { calibration, ...head } = commonMembers(facts, dense, facts.heldOut);
  return {
    kind: SHRINK_KIND,
    ...head,
    options: removalSchema.shape.options.parse(options),
    calibration,
    backend: backend.kind,
    adapter: backend.adapter.name,
    resumed: run.resumeCount,
    dropped_blocks: [...dropped],
    ...dropped.length > 0 && { similarities: [...similarities] },
    ...units,
    ...uses && {
      expert_use: uses.map(({ tokens, factors, scores, kept }) => ({
        ...{ tokens: [...tokens], factors: [...factors], scores: [...scores], kept: [...kept] },
      })),
    },
    layers: run.layers.map(({ name, block, report }) => ({ ...report, name, block })),
    ...run.blocks.length > 0 && { blocks: run.blocks },
    parameters: { dense: countParameters(shards), shrunk: countParameters(plan.weightFiles) },
    bytes: {
      dense: countWeightFileBytes(shards),
      written: countWeightFileBytes(plan.weightFiles),
    },
    perplexity,
    seconds,
    command: repeatCommand("shrink", { ...head, calibration, parameters: givenOptions(options) }, {
      ...options,
      ...facts.texts,
    }),
    fingerprint: { ...facts.fingerprint },
  };
}

/** Returns the options that differ from what a command without them does. */
export function givenOptions(options: ShrinkReport["options"]) {
  const { ffn, heads, experts, multiple, blocks, ...training } = removalSchema.shape.options.parse(options);
  const given = { ffn, heads, experts, blocks, multiple, ...training };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== 0 && value !== "none"));
}

/** Returns the report as one of `pare prune`, from which the page and the card are drawn. */
export function asRunReport({ options, seconds, ...report }: ShrinkReport): RunReport {
  const { kind: _kind, similarities: _similarities, expert_use: _use, ...members } = report;
  return {
    ...members,
    parameters: givenOptions(options),
    seconds: runSecondsSchema.parse({ total: seconds }),
    skipped: [],
    format: "dense",
    shrunk: removalSchema.parse({ options, ...report }),
  };
}
