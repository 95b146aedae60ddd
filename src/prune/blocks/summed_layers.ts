/** Gives layers the statistics that other processes have summed. */

import type { SumTokens } from "../../client/blocks/solved_block.ts";
import type { PackedStatistics } from "../../client/layer_file.ts";
import type { LayerGroup, ModelSource } from "../../client/model_source.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { PendingGroup } from "../block_plan.ts";
import type { CalibratedModel } from "../calibrated_model.ts";
import { type CalibratedGroup, type OpenBlock, openRound } from "../open_round.ts";

/** Returns the statistics of the layer `name` with `inFeatures` inputs. */
export type SumsOf = (name: string, inFeatures: number) => Promise<PackedStatistics>;

/** The numbers of tokens in the statistics of a layer. */
export type TokenCounts = Omit<SumTokens, "name">;

/** Yields the groups of a round, without their statistics. Those of experts have the number of their tokens. */
export function openSummedRound(
  round: readonly PendingGroup[],
  openBlock: OpenBlock,
  tokensOf: (name: string) => TokenCounts,
): AsyncGenerator<CalibratedGroup, void, undefined> {
  return openRound(round, openBlock, (group) => {
    const { layers: [{ name }] } = round.find((pending) => pending.group === group)!;
    return group[0].expertRole === undefined ? {} : { tokens: tokensOf(name).tokens };
  });
}

/** Adds the sums to each group when it is requested, so that only those of a few groups are in memory. */
export function withSums(source: CalibratedModel, sumsOf: SumsOf): ModelSource {
  return {
    layerCount: source.layerCount,
    async *groups(): AsyncGenerator<LayerGroup, void, undefined> {
      for await (const group of source.groups()) {
        const [{ name, weight }] = group.layers;
        const sums = await sumsOf(name, weight.shape[1]);
        yield {
          ...group,
          hessian: sums.hessian_upper,
          validationHessian: sums.validation_hessian_upper,
          replace: (...replacement) => group.replace(...replacement),
        };
      }
    },
  };
}

/** Replaces sums over no tokens as `RoundStatistics.of` does: the identity, and no validation statistics. */
export function withoutEmptySums(
  sums: PackedStatistics,
  inFeatures: number,
  { tokens, validation_tokens }: TokenCounts,
): PackedStatistics {
  return {
    hessian_upper: tokens === 0 ? packedIdentity(inFeatures) : sums.hessian_upper,
    validation_hessian_upper: validation_tokens === 0 ? undefined : sums.validation_hessian_upper,
  };
}

/** Returns the upper triangle of the identity of order n, packed row by row: F32 [n(n+1)/2]. */
function packedIdentity(n: number): HostTensor {
  const entries = new Float32Array(n * (n + 1) / 2);
  for (let row = 0, at = 0; row < n; at += n - row, row++) entries[at] = 1;
  return { dtype: "F32", shape: [entries.length], data: new Uint8Array(entries.buffer) };
}
