/** Gives layers the statistics that other processes have summed. */

import type { AddedSums } from "../../client/blocks/layer_sums.ts";
import type { SumTokens } from "../../protocol/blocks/solved_block.ts";
import type { LayerInputs, SourceLayer } from "../../protocol/run/solve_round.ts";
import { bytesToFloats, type FloatDtype } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { CalibratedGroup } from "../open_block.ts";

/** Returns the statistics of layers with the same input, and their targets. */
export type SumsOf = (layers: readonly SourceLayer[]) => Promise<AddedSums>;

/** The numbers of tokens in the statistics of a layer. */
export type TokenCounts = Omit<SumTokens, "name">;

/** Adds the sums to each group when it is requested, so that only the sums of a few groups are in memory. */
export async function* withSums(
  groups: AsyncIterable<CalibratedGroup>,
  sumsOf: SumsOf,
): AsyncGenerator<LayerInputs, void, undefined> {
  for await (const { block, tokens, layers } of groups) {
    const { sums, targets } = await sumsOf(layers);
    yield {
      block,
      tokens,
      layers: layers.map((layer) =>
        layer.solution === "without" ? layer : { ...layer, ...targets.get(layer.name) }
      ),
      hessian: sums.hessian_upper,
      validationHessian: sums.validation_hessian_upper,
    };
  }
}

/**
 * Replaces sums over no tokens as `RoundStatistics.of` does: the identity with the weights as targets, and no validation
 * statistics.
 */
export function withoutEmptySums(
  { sums, targets }: AddedSums,
  layers: readonly SourceLayer[],
  { tokens, validation_tokens }: TokenCounts,
): AddedSums {
  const entries = layers.map(({ name, weight }) => {
    const { target, validationTarget } = targets.get(name) ?? {};
    return [name, {
      target: target && tokens === 0 ? asFloat32Tensor(weight) : target,
      validationTarget: validation_tokens === 0 ? undefined : validationTarget,
    }] as const;
  });
  return {
    sums: {
      hessian_upper: tokens === 0 ? packedIdentity(layers[0].weight.shape[1]) : sums.hessian_upper,
      validation_hessian_upper: validation_tokens === 0 ? undefined : sums.validation_hessian_upper,
    },
    targets: new Map(entries),
  };
}

/** Returns a tensor of floats as F32. */
function asFloat32Tensor({ dtype, shape, data }: HostTensor): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype);
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) };
}

/** Returns the upper triangle of the identity of order n, packed row by row: F32 [n(n+1)/2]. */
export function packedIdentity(n: number): HostTensor {
  const entries = new Float32Array(n * (n + 1) / 2);
  for (let row = 0, at = 0; row < n; at += n - row, row++) entries[at] = 1;
  return { dtype: "F32", shape: [entries.length], data: new Uint8Array(entries.buffer) };
}
