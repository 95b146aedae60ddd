/** The requests that one run makes about its blocks, to a host or in a job of an edge. */

import type { QueryOf } from "../../client/model_pruner.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { PRUNED, VALIDATION_WINDOWS, WINDOWS } from "../../protocol/resources/blocks.ts";
import { readTensor, type TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors, embeddingTensors, type NamedShape } from "../../model/families/check_tensors.ts";
import type { Model } from "../../model/model.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BlockPlan } from "../block_plan.ts";
import type { CalibrationOptions } from "../calibrated_model.ts";
import { checkSolved } from "./block_answer.ts";
import type { BlockParameters, BlockTensors } from "./block_host.ts";
import type { SolvedBlock } from "./prune_block.ts";

/** The model and the parameters of a run. The requests about a block are the same in every process of the run. */
export class BlockRequests {
  /** The names of the trained tensors of each reconstructed block. */
  readonly trained: Map<number, readonly string[]>;

  /** @param format the layout of rounded weights in the result */
  constructor(
    readonly format: string,
    readonly model: Model,
    readonly options: CalibrationOptions,
    readonly queryOf: QueryOf,
    readonly plan: BlockPlan,
  ) {
    this.trained = new Map(options.reconstructed);
  }

  /** The target of the states. */
  get target(): "none" | "dense" {
    return this.options.hasTargets ? "dense" : "none";
  }

  /** Returns the parameters of `POST /v1/blocks`. */
  parameters(block: number): BlockParameters {
    const { plan, format, options: { trueSequential, reconstruct } } = this;
    return { block, advance: plan.runs(block), true_sequential: trueSequential, reconstruct, format };
  }

  /** Returns the parameters of all chosen layers of a block. */
  queries(block: number): Record<string, LayerQuery> {
    const { plan, queryOf, options: { tokenWeightsOf } } = this;
    return Object.fromEntries(
      plan.chosenLayers(block).map((
        name,
      ) => [name, { ...queryOf(name), token_weights: tokenWeightsOf?.(name) }]),
    );
  }

  /** Returns the tensors of a block before it is pruned. */
  tensors(block: number): BlockTensors {
    const { model: { spec, weights } } = this, named = blockTensors(spec, block);
    const byteLength = named.reduce(
      (sum, [name, shape]) => sum + tensorBytes(weights.info(name).dtype, shape),
      0,
    );
    return { byteLength, read: () => readTensors(weights, named) };
  }

  /** Returns a block that is pruned. With targets, the states of the dense model run through the dense block. */
  prunedTensors(block: number): BlockTensors {
    const { plan, trained, options: { finished, hasTargets } } = this, dense = this.tensors(block);
    const replaced = new Set([...plan.chosenLayers(block), ...trained.get(block) ?? []]);
    return {
      ...dense,
      read: async () => {
        const tensors = new Map(await dense.read());
        for (const name of replaced) {
          if (!finished) {
            throw new Error(
              `${name}: the host has lost the hidden states, and the pruned weights are not stored`,
            );
          }
          tensors.set(hasTargets ? PRUNED + name : name, await finished.read(name));
        }
        return tensors;
      },
    };
  }

  /** The names of the tensors of the first block, by which a host tells the variants of a family apart. */
  firstNames(): string[] {
    return blockTensors(this.model.spec, 0).map(([name]) => name);
  }

  /** Reads the windows, and the tensors of the model before its first block. */
  async readStates(): Promise<ReadonlyMap<string, HostTensor>> {
    const { model: { spec, weights }, options: { windows, validationWindows = [] } } = this;
    const tensors = await readTensors(weights, embeddingTensors(spec));
    tensors.set(WINDOWS, windowsTensor(windows));
    if (validationWindows.length > 0) tensors.set(VALIDATION_WINDOWS, windowsTensor(validationWindows));
    return tensors;
  }

  /** @throws {MalformedAnswerError} as `checkSolved` */
  check(block: number, solved: SolvedBlock): void {
    const { plan, model: { spec }, options: { reconstruct = 0, validationWindows = [] } } = this;
    checkSolved(solved, {
      names: plan.chosenLayers(block),
      tensors: blockTensors(spec, block),
      isReconstructed: reconstruct > 0,
      isMeasured: validationWindows.length > 0,
    });
  }
}

async function readTensors(
  source: TensorSource,
  named: readonly NamedShape[],
): Promise<Map<string, HostTensor>> {
  const tensors = new Map<string, HostTensor>();
  for (const [name] of named) tensors.set(name, await readTensor(source, name));
  return tensors;
}

/** Returns the token ids of windows as a tensor, U32 [windows, tokens]. */
function windowsTensor(windows: readonly Uint32Array[]): HostTensor {
  const tokens = windows[0].length, ids = new Uint32Array(windows.length * tokens);
  for (const [i, window] of windows.entries()) ids.set(window, i * tokens);
  return { dtype: "U32", shape: [windows.length, tokens], data: new Uint8Array(ids.buffer) };
}
