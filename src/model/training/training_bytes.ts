/** Counts the device memory that training a block takes. */

import type { ModelSpec } from "../families/family.ts";
import { type LinearGroup, type LinearSpec, stagesOf, storedShape } from "../layer_specs.ts";

/** The copies of a parameter: its value, gradient, two moments and the remembered value. */
const COPIES = 5;

/** Returns an upper bound of the bytes with which a block is trained on `rows` tokens at a time. All its parameters count as trained. */
export function countTrainingBytes(spec: ModelSpec, rows: number): number {
  const { groups, norms, denseLayers = [] } = spec.block;
  const parameters = sum(groups.flat().map(countElements)) +
    sum(norms.map(({ kind, size }) => kind === "layer" ? 2 * size : size));
  return 4 * (COPIES * parameters + sum(denseLayers.map(countElements)) + rows * countActivations(spec));
}

/**
 * Counts the f32 elements per token of the activations, of their gradients, and of the copies that the backward pass needs. The tape needs
 * all of them until the pass ends.
 */
function countActivations({ hiddenSize, block }: ModelSpec): number {
  const { groups, norms, denseLayers = [], expertsPerToken } = block;
  const outputs = (group: LinearGroup) => sum(group.map(({ outFeatures }) => outFeatures));
  // The inputs and the outputs of a group have gradients. A group of an expert runs on the rows of its tokens, which are copied.
  const counts = stagesOf(groups).map(([group, ...others]) =>
    2 * (group[0].inFeatures + outputs(group)) * (others.length > 0 ? expertsPerToken ?? 1 : 1)
  );
  const largest = Math.max(...groups.map(outputs));
  // The first two norms compute inputs of groups. Further ones normalise outputs, or queries and keys.
  const normalized = 2 * Math.max(0, norms.length - 2) * Math.max(hiddenSize, outputs(groups[0]));
  // The stream is copied before each change, has a gradient after each norm in place, and receives the outputs of experts.
  const streams = (expertsPerToken ?? 0) + 6;
  return sum(counts) + largest + normalized + streams * hiddenSize +
    2 * sum(denseLayers.map(({ outFeatures }) => outFeatures));
}

function countElements(linear: LinearSpec): number {
  const [rows, cols] = storedShape(linear);
  return rows * cols + (linear.bias ? linear.outFeatures : 0);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
