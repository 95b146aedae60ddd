/** The report of `pare shrink`, which is the content of `pare.json` in the folder of the smaller model. */

import { z } from "zod";
import type { Backend } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { countWeightFileBytes, type WeightFile } from "../../model/checkpoint/weight_files.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { VERSION } from "../../protocol/version.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { calibrationLabels, calibrationSeed } from "../read_calibration.ts";
import { SHRINK_KIND } from "../report/file_names.ts";
import { removalSchema, runReportSchema } from "../report/run_report.ts";
import { CALIBRATION_TEXT, type RunFingerprint } from "../run/fingerprint.ts";
import type { RunTexts } from "../texts/named_texts.ts";
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
  fingerprint: true,
}).extend(removalSchema.shape).extend({
  /** Distinguishes the report from that of `pare prune`. */
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
export interface ShrinkFacts extends Pick<ShrinkReport, "options" | "perplexity" | "seconds"> {
  readonly name: string;
  readonly checkpoint: Checkpoint;
  /** The dense model. */
  readonly spec: ModelSpec;
  readonly backend: Backend;
  readonly texts: RunTexts;
  readonly options: ShrinkReport["options"] & { readonly samples: number; readonly seed?: number };
  readonly seqlen: number;
  /** The number of held-out windows. */
  readonly heldOut: number;
  /** The numbers of units in each block, for the kinds that lost some. */
  readonly units: Pick<ShrinkReport, UnitKind>;
  /** That of the command. */
  readonly fingerprint: RunFingerprint;
}

export function shrinkReport(
  { name, checkpoint, spec, backend, texts, options, seqlen, heldOut, units, ...facts }: ShrinkFacts,
  { dropped, similarities = [], experts: uses, run, plan }: WrittenModel,
): ShrinkReport {
  const { ffn, heads, experts, multiple, blocks, target, reconstruct, samples, seed } = options;
  const { perplexity, seconds, fingerprint } = facts;
  return {
    kind: SHRINK_KIND,
    version: VERSION,
    finished: new Date().toISOString(),
    model: {
      name,
      model_type: String(checkpoint.config.model_type),
      blocks: spec.blockCount,
      hidden_size: spec.hiddenSize,
    },
    options: { ffn, heads, experts, multiple, blocks, target, reconstruct },
    calibration: {
      text: calibrationLabels(texts.calibration).join(", "),
      digest: fingerprint[CALIBRATION_TEXT],
      samples,
      validation_samples: heldOut,
      seqlen,
      seed: calibrationSeed(texts.calibration, seed),
    },
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
    parameters: { dense: countParameters(checkpoint.shards), shrunk: countParameters(plan.weightFiles) },
    bytes: {
      dense: countWeightFileBytes(checkpoint.shards),
      written: countWeightFileBytes(plan.weightFiles),
    },
    perplexity,
    seconds,
    fingerprint: { ...fingerprint },
  };
}

function countParameters(files: readonly Pick<WeightFile, "header">[]): number {
  const shapes = files.flatMap(({ header }) => header.tensors.map(({ shape }) => shape));
  return shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
}
