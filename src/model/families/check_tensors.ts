/**
 * Compares the tensors of a checkpoint with those that its configuration describes, before any work. Otherwise a configuration with too
 * few blocks would leave the last blocks dense silently, and one with too many would fail only after hours.
 */

import { ModelError } from "../../base/files/file_error.ts";
import { checkTensor, type TensorSource } from "../checkpoint/tensor_source.ts";
import { type LinearSpec, type NormSpec, normTensors, storedShape } from "../layer_specs.ts";
import type { ModelSpec } from "./family.ts";

/**
 * Checks that the checkpoint has every tensor of every block with its shape, and the tensors before and after the blocks. It must not
 * have more blocks than the configuration.
 * @param names the names of all tensors of the checkpoint
 * @throws {ModelError} naming the first tensor that disagrees
 */
export function checkTensors(spec: ModelSpec, weights: TensorSource, names: Iterable<string>): void {
  const { blockCount } = spec;
  requireNoBlockAfter(spec, names);
  for (let index = 0; index < blockCount; index++) {
    const block = spec.block(index), prefix = block.prefix(index);
    const linears = [...block.groups.flat(), ...block.denseLayers ?? []];
    const vectors = (block.vectors ?? []).map((
      { name, size, shape = [size] },
    ): [string, readonly number[]] => [name, shape]);
    for (const [name, shape] of [...tensorsOf(linears, block.norms), ...vectors]) {
      if (!weights.has(prefix + name)) {
        throw new ModelError(
          `config.json: describes ${blockCount} blocks, but the checkpoint has no tensor ${prefix}${name}`,
        );
      }
      checkTensor(weights, prefix + name, shape);
    }
  }
  const { embedding, finalNorm, headProjection, head } = spec;
  const around = [embedding.projection, headProjection].filter((linear) => linear !== undefined);
  const norms = [embedding.norm, finalNorm].filter((norm) => norm !== undefined);
  const others = [
    embedding.tokens,
    embedding.positions?.name,
    `${head.name}.weight`,
    head.bias ? `${head.name}.bias` : undefined,
  ];
  for (const name of [...others, ...tensorsOf(around, norms).map(([name]) => name)]) {
    if (name !== undefined && !weights.has(name)) {
      throw new ModelError(`config.json: describes a tensor ${name}, which the checkpoint does not have`);
    }
  }
}

/** Lists the names and shapes of the tensors of layers and norms. */
function tensorsOf(linears: readonly LinearSpec[], norms: readonly NormSpec[]): [string, number[]][] {
  return [
    ...linears.flatMap((linear): [string, number[]][] => [
      [`${linear.name}.weight`, storedShape(linear)],
      ...linear.bias ? [[`${linear.name}.bias`, [linear.outFeatures]] as [string, number[]]] : [],
    ]),
    ...norms.flatMap((norm) => normTensors(norm).map((name): [string, number[]] => [name, [norm.size]])),
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
    throw new ModelError(
      `config.json: describes ${blockCount} blocks, but the checkpoint has a tensor ${name}`,
    );
  }
}
