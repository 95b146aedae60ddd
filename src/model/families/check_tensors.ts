/**
 * Compares the tensors of a checkpoint with its configuration, before any work. Otherwise, if the configuration had too few blocks, the last
 * blocks would silently stay dense. If it had too many blocks, a run would fail only after hours.
 */

import { configError } from "./config/config.ts";
import { checkTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import { type LinearSpec, type NormSpec, normTensors, storedShape } from "../layer_specs.ts";
import type { ModelSpec } from "./family.ts";

/**
 * Checks that the checkpoint has every tensor of every block, and every tensor before and after the blocks, with their shapes. It must not have
 * more blocks than the configuration.
 * @param names the names of all tensors of the checkpoint
 * @throws {ModelError} naming the first tensor that disagrees
 */
export function checkTensors(spec: ModelSpec, weights: TensorSource, names: Iterable<string>): void {
  const { blockCount } = spec;
  requireNoBlockAfter(spec, names);
  for (let index = 0; index < blockCount; index++) {
    for (const [name, shape] of blockTensors(spec, index)) {
      if (!weights.has(name)) {
        throw configError(`describes ${blockCount} blocks, but the checkpoint has no tensor ${name}`);
      }
      checkTensor(weights, name, shape);
    }
  }
  const { finalNorm, headProjection, head } = spec;
  const after = tensorsOf(headProjection ? [headProjection] : [], finalNorm ? [finalNorm] : []);
  const around = [...tensorsOf([head], []), ...embeddingTensors(spec), ...after];
  // A missing tensor explains a fault of config.json better than a wrong shape, so it is reported first.
  for (const [name] of around) {
    if (!weights.has(name)) {
      throw configError(`describes a tensor ${name}, which the checkpoint does not have`);
    }
  }
  for (const [name, shape] of around) checkTensor(weights, name, shape);
}

/** The name and the shape of a tensor. */
export type NamedShape = readonly [name: string, shape: readonly number[]];

/** Lists the tensors of block `index`. */
export function blockTensors(spec: ModelSpec, index: number): NamedShape[] {
  const block = spec.block(index), linears = [...block.groups.flat(), ...block.denseLayers ?? []];
  const vectors = (block.vectors ?? []).map(({ name, size, shape = [size] }): NamedShape => [name, shape]);
  const prefix = block.prefix(index);
  return [...tensorsOf(linears, block.norms), ...vectors].map(([name, shape]) => [prefix + name, shape]);
}

/**
 * Lists the tensors before the first block.
 * @param rows the number of rows of the table of tokens. By default, it has a row for each id of the vocabulary
 */
export function embeddingTensors(spec: ModelSpec, rows = spec.vocabSize): NamedShape[] {
  const { embedding: { tokens, positions, projection, norm }, tokenInputs, hiddenSize, maxTokens } = spec;
  return [
    [tokens, [rows, projection?.inFeatures ?? hiddenSize]],
    ...tokenInputs
      ? [[tokenInputs.table, [tokenInputs.rows, tokenInputs.projection.outFeatures]] as const]
      : [],
    ...positions ? [[positions.name, [maxTokens + positions.offset, hiddenSize]] as const] : [],
    ...tensorsOf(projection ? [projection] : [], norm ? [norm] : []),
    ...tokenInputs ? tensorsOf([tokenInputs.projection], [tokenInputs.norm]) : [],
  ];
}

/** Lists the tensors of layers and norms. */
function tensorsOf(linears: readonly LinearSpec[], norms: readonly NormSpec[]): NamedShape[] {
  return [
    ...linears.flatMap((linear): NamedShape[] => [
      [`${linear.name}.weight`, storedShape(linear)],
      ...linear.bias ? [[`${linear.name}.bias`, [linear.outFeatures]] as const] : [],
    ]),
    ...norms.flatMap((norm) => normTensors(norm).map((name): NamedShape => [name, [norm.size]])),
  ];
}

/** @throws {ModelError} if a name belongs to a block that the configuration does not have */
function requireNoBlockAfter(
  { block, blockCount, furtherBlocks = 0 }: ModelSpec,
  names: Iterable<string>,
): void {
  const root = block(0).prefix(0).replace(/0\.$/, "");
  for (const name of names) {
    const index = name.startsWith(root) ? /^(\d+)\./.exec(name.slice(root.length))?.[1] : undefined;
    if (index === undefined || Number(index) < blockCount + furtherBlocks) continue;
    throw configError(`describes ${blockCount} blocks, but the checkpoint has a tensor ${name}`);
  }
}
