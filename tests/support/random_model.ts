/** Models with random weights in memory, of any family. */

import type { Settings } from "../../scripts/fixtures/family_models.ts";
import { readModelSpec } from "../../src/model/families/families.ts";
import { blocksOf, type BlockSpec, blockWeights } from "../../src/model/families/family.ts";
import { normTensors, storedShape } from "../../src/model/layer_specs.ts";
import type { Model } from "../../src/model/model.ts";
import { randomWeights, type Shapes } from "./random_weights.ts";

/** Returns the shapes of all tensors of block `index`, by name. */
export function blockShapes(block: BlockSpec, index: number): Shapes {
  const shapes: Record<string, readonly number[]> = {};
  const { prefix, linears, norms, vectors = [] } = blockWeights(block, index);
  for (const linear of linears) {
    shapes[`${prefix}${linear.name}.weight`] = storedShape(linear);
    if (linear.bias) shapes[`${prefix}${linear.name}.bias`] = [linear.outFeatures];
  }
  for (const norm of norms) {
    for (const name of normTensors(norm)) shapes[prefix + name] = [norm.size];
  }
  for (const { name, size, shape = [size] } of vectors) shapes[prefix + name] = shape;
  return shapes;
}

/** Returns a model without a table of positions. */
export function randomModel(settings: Settings): Model {
  const spec = readModelSpec(settings, () => false),
    { embedding, finalNorm, head, hiddenSize, vocabSize } = spec;
  const shapes = Object.assign({
    [embedding.tokens]: [vocabSize, hiddenSize],
    [`${finalNorm!.name}.weight`]: [hiddenSize],
    [`${head.name}.weight`]: [vocabSize, hiddenSize],
  }, ...blocksOf(spec).map(blockShapes));
  return { spec, weights: randomWeights(shapes).source };
}
