/**
 * Chooses the sparsity of each transformer block by the share of outliers among its weights (`owl.ts`). The outliers are found with one
 * forward pass of the dense model.
 */

import { checkTensor } from "../../model/checkpoint/tensor_source.ts";
import { storedShape } from "../../model/layer_specs.ts";
import type { Model } from "../../model/model.ts";
import { bytesToFloats } from "../../tensor/dtype.ts";
import { type SizedLayer, weightName } from "../block_plan.ts";
import { readLayerWeight } from "../open_block.ts";
import type { AllocationTask, WantedSparsities } from "./allocation.ts";
import { type BlockNorms, inputNorms } from "../input_norms.ts";
import { outlierPercentage, owlSparsities, type ScoredLayer } from "./owl.ts";

/**
 * Returns the sparsity of each layer. All layers of a block get the same sparsity. Outliers are counted only in `task.layers`.
 * @throws the errors of `inputNorms`
 */
export async function allocateOwl(task: AllocationTask): Promise<WantedSparsities> {
  const { model, layers, sparsity, backend } = task;
  const byBlock = Map.groupBy(layers, ({ block }) => block);
  const lastBlock = Math.max(...byBlock.keys());
  const outliers = new Map<number, number>();
  let block = 0;
  for await (const norms of inputNorms(model, backend, { ...task, lastBlock })) {
    const inBlock = byBlock.get(block);
    if (inBlock) outliers.set(block, outlierPercentage(await scoredLayers(model, block, inBlock, norms)));
    block++;
  }
  const blocks = [...outliers.keys()];
  const entries = blocks.map((index) =>
    byBlock.get(index)!.reduce((sum, { rows, cols }) => sum + rows * cols, 0)
  );
  const wanted = owlSparsities([...outliers.values()], entries, sparsity);
  const ofBlock = new Map(blocks.map((index, i) => [index, wanted[i]]));
  const list = blocks.map((index) => `block ${index} ${outliers.get(index)!.toFixed(3)} %`).join(", ");
  return {
    sparsities: layers.map((layer) => ofBlock.get(layer.block)!),
    notes: [`The share of outliers among the weights of each block: ${list}.`],
  };
}

/** Reads the weights of the layers of one block, and adds the squared norms of their inputs. */
async function scoredLayers(
  { spec, weights }: Model,
  block: number,
  layers: readonly SizedLayer[],
  norms: BlockNorms,
): Promise<ScoredLayer[]> {
  const normsOf = new Map(
    spec.block(block).groups.flatMap((group) =>
      group.map((linear) => [weightName(spec, block, linear), norms.get(group)!] as const)
    ),
  );
  return await Promise.all(layers.map(async ({ name, linear }) => {
    const dtype = checkTensor(weights, name, storedShape(linear));
    const { data } = await readLayerWeight(weights, name, linear);
    return { weight: bytesToFloats(data, dtype), squaredNorms: normsOf.get(name)! };
  }));
}
