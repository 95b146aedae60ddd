/**
 * Prunes a model whose blocks a host calibrates and solves (`POST /v1/blocks`). This process reads the blocks, sends
 * them, and hands the answers to the destination. The host computes what this process would compute on the same device,
 * so the result has the same bytes.
 */

import { ConnectionError, PareError } from "../../client/errors.ts";
import type { HessianAccumulator } from "../../layer/calibration/hessian.ts";
import type { ModelQuery, PruneEvent, QueryOf } from "../../client/model_pruner.ts";
import type { LayerGroup, ModelSource } from "../../client/model_source.ts";
import { pruneRounds, type RoundLayer } from "../../client/prune_rounds.ts";
import type { CallOptions } from "../../client/transport.ts";
import { readTensor, type TensorSource } from "../../model/checkpoint/tensor_source.ts";
import { blockTensors, embeddingTensors, type NamedShape } from "../../model/families/check_tensors.ts";
import type { LinearGroup } from "../../model/layer_specs.ts";
import type { Model } from "../../model/model.ts";
import { PRUNED, VALIDATION_WINDOWS, WINDOWS } from "../../protocol/resources/blocks.ts";
import { tensorBytes } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { BlockPlan, weightName } from "../block_plan.ts";
import type { CalibratedModel, CalibrationOptions } from "../calibrated_model.ts";
import type { CalibratedPruner } from "../device_pruner.ts";
import { type CalibratedGroup, type OpenBlock, openRound } from "../open_round.ts";
import { type BlockHost, type BlockTensors, isStatesNotFound } from "./block_host.ts";
import { checkSolved } from "./block_answer.ts";
import type { SolvedBlock, SolvedBlockLayer } from "./prune_block.ts";

/** The number of times that the states of one block are created again, for example after the host was restarted. */
const MAX_REBUILDS = 5;

export interface RemoteBlocksOptions {
  /** The object in config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  /** The layout of rounded weights in the result. */
  readonly format: string;
  /** Called before the states are created again and run through the blocks before `block`. */
  readonly onRebuild?: (block: number) => void;
  /** Called if the host could not delete the states at the end of the run. */
  readonly onNotDeleted?: (error: Error) => void;
}

/** Prunes the blocks of one run at a host. */
export class RemoteBlocks implements CalibratedPruner {
  readonly #host: BlockHost;
  readonly #options: RemoteBlocksOptions;
  /** The layers of the block whose answer has arrived. */
  #solved = new Map<string, SolvedBlockLayer>();

  constructor(host: BlockHost, options: RemoteBlocksOptions) {
    this.#host = host;
    this.#options = options;
  }

  calibrate(model: Model, options: CalibrationOptions, queryOf: QueryOf): CalibratedModel {
    const plan = new BlockPlan(model.spec, options);
    return {
      layerCount: plan.layerCount,
      groups: () =>
        this.#groups(new StatesOfRun(this.#host, this.#options, model, options, queryOf, plan), plan),
    };
  }

  /** Takes the layers of `source`, which `calibrate` has made, from the answers of the host. @throws as `BlockHost` */
  pruneModel(
    source: ModelSource<HessianAccumulator>,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneRounds(source, query, (groups) => this.#answered(groups), options);
  }

  async *#groups(run: StatesOfRun, plan: BlockPlan): AsyncGenerator<CalibratedGroup, void, undefined> {
    for (let block = 0; block <= plan.lastBlock; block++) {
      // The weights of a block are local to this call, so that they are not in memory with those of the next block.
      if (plan.isOpen(block)) yield* this.#groupsOf(run, plan, block);
    }
    if (plan.isEmpty) return;
    try {
      await this.#host.delete({ signal: run.options.signal });
    } catch (error) {
      // The layers are stored already, and the host evicts states that are not used.
      if (!(error instanceof PareError || error instanceof ConnectionError)) throw error;
      this.#options.onNotDeleted?.(error);
    }
  }

  async *#groupsOf(
    run: StatesOfRun,
    plan: BlockPlan,
    block: number,
  ): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { model, options: { onReplace, onDecision, onReconstruct, onBlock, measured, decided } } = run;
    const { layers, decision, reconstructed, error } = await run.solve(block);
    const tokens = new Map(layers.map(({ name, tokens }) => [name, tokens]));
    this.#solved = new Map(layers.map((layer) => [layer.name, layer]));
    if (decision && !decided?.has(block)) await onDecision?.(block, decision);
    const openBlock: OpenBlock = { block, weights: model.weights, replaced: new Map(), onReplace };
    const statisticsOf = ([linear]: LinearGroup) => ({
      tokens: tokens.get(weightName(model.spec, block, linear)),
    });
    for (const round of plan.rounds(block)) yield* openRound(round, openBlock, statisticsOf);
    this.#solved.clear();
    if (reconstructed && plan.epochs(block) > 0) await onReconstruct?.(block, reconstructed);
    if (reconstructed) run.trained.set(block, [...reconstructed.tensors.keys()]);
    if (error !== undefined && !measured?.has(block)) await onBlock?.(block, error);
  }

  async *#answered(
    groups: AsyncGenerator<LayerGroup<HessianAccumulator>, void, undefined>,
  ): AsyncGenerator<RoundLayer<HessianAccumulator>, void, void> {
    for await (const group of groups) {
      for (const { name } of group.layers) {
        const solved = this.#solved.get(name);
        if (!solved) throw new Error(`${name}: the host has not pruned this layer`);
        this.#solved.delete(name);
        yield { group, ...solved };
      }
    }
  }
}

/** The states of one run at the host. */
class StatesOfRun {
  /** The names of the trained tensors of each reconstructed block. */
  readonly trained: Map<number, readonly string[]>;
  /** The block whose inputs the host has. Undefined until the host was asked. */
  #nextBlock?: number;

  constructor(
    readonly host: BlockHost,
    readonly settings: RemoteBlocksOptions,
    readonly model: Model,
    readonly options: CalibrationOptions,
    readonly queryOf: QueryOf,
    readonly plan: BlockPlan,
  ) {
    this.trained = new Map(options.reconstructed);
  }

  /** Has all chosen layers of `block` pruned. If the host has lost the states, they are created again. */
  async solve(block: number): Promise<SolvedBlock> {
    const { host, plan, options, settings } = this,
      { signal, reconstruct, trueSequential, tokenWeightsOf } = options;
    const names = plan.chosenLayers(block);
    const queries = Object.fromEntries(
      names.map((name) => [name, { ...this.queryOf(name), token_weights: tokenWeightsOf?.(name) }]),
    );
    const parameters = {
      block,
      advance: plan.runs(block),
      true_sequential: trueSequential,
      reconstruct,
      format: settings.format,
    };
    this.#nextBlock ??= await host.nextBlock({ signal });
    for (let rebuilds = 0;; rebuilds++) {
      try {
        // The host may have pruned the block already. It then sends its answer again. If the states did not advance,
        // the next block is then the number of blocks.
        if (this.#nextBlock !== undefined && (this.#nextBlock <= block + 1 || !parameters.advance)) {
          if (this.#nextBlock <= block) await this.#advance(block);
          const solved = await host.run(parameters, this.#tensors(block), queries, { signal });
          checkSolved(solved, {
            names,
            tensors: blockTensors(this.model.spec, block),
            isReconstructed: (reconstruct ?? 0) > 0,
            isMeasured: (options.validationWindows ?? []).length > 0,
          });
          this.#nextBlock = block + 1;
          return solved;
        }
      } catch (error) {
        if (!isStatesNotFound(error) || rebuilds === MAX_REBUILDS) throw error;
      }
      if (block > 0) settings.onRebuild?.(block);
      await this.#create();
    }
  }

  async #create(): Promise<void> {
    const { host, model: { spec, weights }, options } = this, { windows, validationWindows = [] } = options;
    const read = async () => {
      const tensors = await readTensors(weights, embeddingTensors(spec));
      tensors.set(WINDOWS, windowsTensor(windows));
      if (validationWindows.length > 0) tensors.set(VALIDATION_WINDOWS, windowsTensor(validationWindows));
      return tensors;
    };
    const target = options.hasTargets ? "dense" : "none";
    const names = blockTensors(spec, 0).map(([name]) => name);
    await host.create(this.settings.config, names, read, { target, signal: options.signal });
    this.#nextBlock = 0;
  }

  /** Runs the states through the blocks before `block`, as they are after this run has pruned them. */
  async #advance(block: number): Promise<void> {
    const { host, options: { signal } } = this;
    for (let next = this.#nextBlock!; next < block; next++) {
      await host.run({ block: next }, this.#prunedTensors(next), undefined, { signal });
      this.#nextBlock = next + 1;
    }
  }

  #tensors(block: number): BlockTensors {
    const { model: { spec, weights } } = this, named = blockTensors(spec, block);
    const byteLength = named.reduce(
      (sum, [name, shape]) => sum + tensorBytes(weights.info(name).dtype, shape),
      0,
    );
    return { byteLength, read: async () => await readTensors(weights, named) };
  }

  /** Returns a block that is pruned. With targets, the states of the dense model run through the dense block. */
  #prunedTensors(block: number): BlockTensors {
    const { plan, options: { finished, hasTargets } } = this, dense = this.#tensors(block);
    const replaced = new Set([...plan.chosenLayers(block), ...this.trained.get(block) ?? []]);
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
