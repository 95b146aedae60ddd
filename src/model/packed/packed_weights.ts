/** Lists the linear layers of a model that a layout replaces by codes. */

import { ModelError } from "../../base/files/file_error.ts";
import { stemOf } from "../checkpoint/quantized/layout.ts";
import { checkTensor } from "../checkpoint/tensor_source.ts";
import { blocksOf } from "../families/family.ts";
import { storedShape } from "../layer_specs.ts";
import type { Model } from "../model.ts";
import { moduleName } from "../module_names.ts";
import { GROUP_SIZES } from "./choose_grid.ts";
import type { PackedLayout, PackedWeight } from "./packed_layout.ts";

const SMALLEST_GROUP = Math.min(...GROUP_SIZES);

/**
 * Returns the weights of all linear layers in the blocks.
 * @param folder the folder of the checkpoint, for messages
 * @throws {ModelError} if the layout has no place for a layer
 */
export function packedWeights(
  folder: string,
  { spec, weights }: Model,
  layout: PackedLayout,
): PackedWeight[] {
  return blocksOf(spec).flatMap((block, index) =>
    block.groups.flat().map((linear) => {
      const { inFeatures: cols, outFeatures: rows, isTransposed, expertRole } = linear;
      const name = `${block.prefix(index)}${linear.name}.weight`, stem = stemOf(name);
      const dtype = checkTensor(weights, name, storedShape(linear));
      const weight = { name, rows, cols, dtype, stem, module: moduleName(stem) };
      const reason = expertRole !== undefined
        ? `belongs to an expert, which ${layout.name} does not support`
        : isTransposed
        ? `is stored transposed (Conv1D), which ${layout.name} does not support`
        : cols % SMALLEST_GROUP !== 0
        ? `has rows of ${cols} weights, but ${layout.name} needs a multiple of ${SMALLEST_GROUP}`
        : layout.misfit(weight);
      if (reason !== undefined) throw new ModelError(`${folder}: ${name} ${reason}`);
      return weight;
    })
  );
}
