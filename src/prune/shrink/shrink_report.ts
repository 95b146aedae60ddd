/** The report of `pare shrink`, which is the content of `pare.json` in the folder of the smaller model. */

import type { Backend } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import { countWeightFileBytes, type WeightFile } from "../../model/checkpoint/weight_files.ts";
import type { ModelSpec } from "../../model/families/family.ts";
import { VERSION } from "../../protocol/version.ts";
import { elementCount } from "../../tensor/dtype.ts";
import { calibrationLabels, calibrationSeed } from "../read_calibration.ts";
import { SHRINK_KIND } from "../report/file_names.ts";
import type { RunReport } from "../report/run_report.ts";
import type { RunTexts } from "../texts/named_texts.ts";
import type { ShrinkResult } from "./shrink_model.ts";
import type { ShareOptions, UnitKind } from "./units.ts";

/** Sizes before and after. */
interface Sizes {
  readonly dense: number;
  readonly shrunk: number;
}

/** For each kind of units that lost some, their numbers in each block. */
type UnitSizes = { readonly [Kind in UnitKind]?: Sizes };

export interface ShrinkReport
  extends
    Pick<RunReport, "version" | "finished" | "model" | "backend" | "adapter" | "bytes" | "perplexity">,
    UnitSizes {
  /** Distinguishes the report from that of `pare prune`. */
  readonly kind: typeof SHRINK_KIND;
  /** The options that chose what was removed. */
  readonly options: ShareOptions & { readonly multiple: number; readonly blocks: number };
  readonly calibration: RunReport["calibration"];
  /** The blocks of the dense model that were dropped. */
  readonly dropped_blocks: readonly number[];
  /** The mean cosine between the input and the output of each dense block. Absent if no block was dropped. */
  readonly similarities?: readonly number[];
  /** The experts of each block before some were removed. Absent if none was. */
  readonly expert_use?: ShrinkResult["experts"];
  /** The reports of the layers that lost columns. Blocks are counted without the dropped ones. */
  readonly layers: readonly Omit<RunReport["layers"][number], "calibration_seconds" | "tokens">[];
  /** The numbers of elements of all tensors. */
  readonly parameters: Sizes;
  /** The seconds of the run until the report was written. */
  readonly seconds: number;
}

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
  readonly units: UnitSizes;
}

export function shrinkReport(
  { name, checkpoint, spec, backend, texts, options, seqlen, heldOut, units, perplexity, seconds }:
    ShrinkFacts,
  { dropped, similarities, experts, layers, plan }: ShrinkResult,
): ShrinkReport {
  const { ffn, heads, experts: share, multiple, blocks, samples, seed } = options;
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
    options: { ffn, heads, experts: share, multiple, blocks },
    calibration: {
      text: calibrationLabels(texts.calibration).join(", "),
      samples,
      validation_samples: heldOut,
      seqlen,
      seed: calibrationSeed(texts.calibration, seed),
    },
    backend: backend.kind,
    adapter: backend.adapter.name,
    dropped_blocks: dropped,
    similarities,
    ...units,
    expert_use: experts,
    layers: layers.map(({ name, block, report }) => ({ ...report, name, block })),
    parameters: { dense: countParameters(checkpoint.shards), shrunk: countParameters(plan.weightFiles) },
    bytes: {
      dense: countWeightFileBytes(checkpoint.shards),
      written: countWeightFileBytes(plan.weightFiles),
    },
    perplexity,
    seconds,
  };
}

function countParameters(files: readonly Pick<WeightFile, "header">[]): number {
  const shapes = files.flatMap(({ header }) => header.tensors.map(({ shape }) => shape));
  return shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
}
