/** Chooses one kind of grid for all layers of a model, so that as many layers as possible keep their weights. */

import type { TensorSource } from "../checkpoint/tensor_source.ts";
import { PACKED_BITS } from "../checkpoint/quantized/layout.ts";
import { exactCodes, type SymmetricGrid, type WeightShape } from "./exact_codes.ts";

/** The sizes of groups for which programs have kernels, the best first: larger groups have fewer scales. */
export const GROUP_SIZES: readonly number[] = [128, 64, 32];

export interface GridChoice {
  readonly grid: SymmetricGrid;
  /** The names of the weights that are exactly on grids of this kind. */
  readonly exact: readonly string[];
  /** The other weights, and the reason for each, as the end of a sentence about the weight. */
  readonly misfits: ReadonlyMap<string, string>;
}

/**
 * Compares the weights with every kind of grid. If no weight is on grids of any kind, the choice is 4 bits in the
 * smallest groups, 32, because rounding to nearest changes the weights less in smaller groups.
 * @param weights the columns of each are a multiple of 32
 */
export async function chooseGrid(source: TensorSource, weights: readonly WeightShape[]): Promise<GridChoice> {
  const choices: GridChoice[] = [];
  for (const bits of PACKED_BITS) {
    const choice = await chooseGroups(source, weights, bits);
    if (choice.misfits.size === 0) return choice;
    choices.push(choice);
  }
  return choices.reduce((best, other) => other.exact.length > best.exact.length ? other : best);
}

async function chooseGroups(
  source: TensorSource,
  weights: readonly WeightShape[],
  bits: number,
): Promise<GridChoice> {
  let sizes = GROUP_SIZES.filter((size) => weights.every(({ cols }) => cols % size === 0));
  const exact: string[] = [], misfits = new Map<string, string>();
  for (const weight of weights) {
    const fitting: number[] = [], reasons: string[] = [];
    for (const groupSize of sizes) {
      const codes = await exactCodes(source, weight, { bits, groupSize });
      if (typeof codes === "string") reasons.push(codes);
      else fitting.push(groupSize);
    }
    if (fitting.length === 0) misfits.set(weight.name, reasons[0]);
    else {
      exact.push(weight.name);
      sizes = fitting;
    }
  }
  return { grid: { bits, groupSize: exact.length === 0 ? sizes.at(-1)! : sizes[0] }, exact, misfits };
}
