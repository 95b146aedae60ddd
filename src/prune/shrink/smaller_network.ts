/**
 * The network of a smaller model and the shapes of its tensors, which do not depend on which units remain. A check of these sizes
 * cannot see the values of the smaller model. A fault in the values, such as a weight that is not finite, shows in the run itself.
 */

import type { TensorShape } from "../../model/checkpoint/tensor_source.ts";
import { readModelSpec } from "../../model/families/families.ts";
import { countParameters } from "../../model/checkpoint/weight_files.ts";
import { blocksOf, countWeights, type ModelSpec } from "../../model/families/family.ts";
import type { DescribedModel, ModelFolder } from "../../model/model.ts";
import { shareText } from "../report/format.ts";
import type { RenamedModel } from "./renamed_model.ts";
import { type Cut, unitCuts } from "./shrunk_output.ts";
import {
  keptSettings,
  type KeptUnits,
  type ReadingLayer,
  readingLayers,
  readUnits,
  requireShrinkable,
} from "./units.ts";
import { withoutBlocks } from "./without_blocks.ts";
import { withoutExperts } from "./without_experts.ts";

interface SmallerNetwork {
  readonly config: RenamedModel["config"];
  readonly spec: ModelSpec;
  /** The layers that lose columns. */
  readonly readers: readonly ReadingLayer[];
  readonly cuts: ReadonlyMap<string, Cut>;
  /** Returns the dtype and the shape of a tensor of the smaller model. */
  infoOf(name: string): TensorShape;
}

/**
 * @param dense the model before units are removed
 * @param smaller the model without the dropped blocks and experts, whose other tensors have their old shapes
 * @throws {ModelError} if the family does not allow the numbers of units
 */
export function smallerNetwork(
  kept: KeptUnits,
  { checkpoint: { config: denseConfig }, model: dense }: DescribedModel,
  { config: ownConfig, model: { spec: ownSpec, weights } }: Pick<RenamedModel, "config" | "model">,
): SmallerNetwork {
  const config = { ...ownConfig, ...keptSettings(kept, denseConfig, dense.spec) };
  const readers = readingLayers(kept, denseConfig, ownSpec), cuts = unitCuts(ownSpec, readers);
  return {
    config,
    spec: readModelSpec(config, (name) => weights.has(name)),
    readers,
    cuts,
    infoOf(name) {
      const { dtype, shape } = weights.info(name);
      return { dtype, shape: cutShape(shape, cuts.get(name)) };
    },
  };
}

/** Returns the shape of a tensor without the removed rows or columns. */
function cutShape([rows, ...others]: readonly number[], cut?: Cut): readonly number[] {
  if (!cut) return [rows, ...others];
  const remaining = cut.size - Math.round(cut.reader.share * cut.size);
  return cut.axis === "rows" ? [remaining, ...others] : [rows, remaining];
}

/**
 * Returns a model with the sizes of the smaller model, so that a later run can be checked before the model is shrunk.
 * The names, dtypes and shapes of its tensors are those of the smaller model. Their values are not.
 * @throws {ModelError} if the family does not allow the numbers of units
 * @throws {RangeError} naming the option, if all blocks would be dropped
 */
export async function withSmallerSizes(
  dense: DescribedModel,
  kept: KeptUnits,
  blocks: number,
): Promise<DescribedModel> {
  const smaller = await withoutLastParts(dense, kept, blocks), network = smallerNetwork(kept, dense, smaller);
  return {
    checkpoint: { folder: dense.checkpoint.folder, config: network.config },
    model: { spec: network.spec, weights: { ...smaller.model.weights, info: network.infoOf } },
  };
}

/**
 * Returns the model without its last blocks and experts. It has the sizes of the model without other blocks and experts,
 * which are chosen by measurements.
 * @throws {RangeError} naming the option, if all blocks would be dropped
 */
export async function withoutLastParts(
  { checkpoint: { config }, model }: DescribedModel,
  kept: KeptUnits,
  blocks: number,
): Promise<RenamedModel> {
  const { blockCount } = model.spec;
  requireBlocks(blockCount, blocks);
  const dropped = new Set(firstNumbers(blocks).map((i) => blockCount - 1 - i));
  const remaining = withoutBlocks(config, model, dropped);
  const experts = kept.experts && firstNumbers(blockCount - blocks).map(() => firstNumbers(kept.experts!));
  return experts ? await withoutExperts(remaining.config, remaining.model, experts) : remaining;
}

/**
 * Returns the share of the neurons that have `share` of all parameters.
 * @throws {RangeError} naming the option, if all neurons together have fewer
 * @throws {ModelError} if the model cannot lose neurons
 */
export async function neuronShare(
  dense: Pick<ModelFolder, "checkpoint" | "model">,
  share: number,
): Promise<number> {
  const { checkpoint: { config, shards }, model: { spec } } = dense;
  requireShrinkable(config, spec);
  const { count } = readUnits("neurons", config, spec),
    one = await withSmallerSizes(dense, { neurons: 1 }, 0);
  const countAll = (spec: ModelSpec) => blocksOf(spec).reduce((sum, block) => sum + countWeights(block), 0);
  const perNeuron = (countAll(spec) - countAll(one.model.spec)) / (count - 1);
  const ofAll = count * perNeuron / countParameters(shards);
  if (share < ofAll) return share / ofAll;
  throw new RangeError(
    `--smaller ${share}: the neurons have only ${
      shareText(ofAll)
    } of the parameters; give a smaller share, or add ` +
      "--heads, --experts or --blocks in place of it",
  );
}

/** @throws {RangeError} naming the option, if no block would remain */
export function requireBlocks(blockCount: number, dropped: number): void {
  if (dropped < blockCount) return;
  throw new RangeError(`--blocks ${dropped}: the model has ${blockCount} blocks, of which one must remain`);
}

function firstNumbers(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
