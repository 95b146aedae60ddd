/**
 * Prunes a model whose blocks a host calibrates and solves (`POST /v1/blocks`), or a job of an edge. This process reads the
 * blocks, sends them, and hands the answers to the destination. A host computes what this process would compute on the
 * same device, so the result has the same bytes.
 */

import { ConnectionError, PareError } from "../../client/errors.ts";
import { freeArray } from "../../device/host_memory.ts";
import type { HessianAccumulator } from "../../layer/calibration/hessian.ts";
import type { ModelQuery, PruneEvent, QueryOf } from "../../client/model_pruner.ts";
import type { LayerGroup, ModelSource } from "../../client/model_source.ts";
import { pruneRounds, type RoundLayer } from "../../client/prune_rounds.ts";
import type { CallOptions } from "../../client/transport.ts";
import type { LinearGroup } from "../../model/layer_specs.ts";
import type { Model } from "../../model/model.ts";
import { BlockPlan, weightName } from "../block_plan.ts";
import type { CalibrationOptions } from "../calibrated_model.ts";
import type { CalibratedPruner } from "../device_pruner.ts";
import { type CalibratedGroup, type CalibratedModel, type OpenBlock, openRound } from "../open_round.ts";
import { BlockHost } from "../../client/blocks/block_host.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import { blockRequest, type SolvedRun } from "./block_request.ts";
import { type RemoteRun, WindowStates } from "./window_states.ts";

export interface RemoteBlocksOptions extends Pick<RemoteRun, "config" | "onRebuild"> {
  /** The layout of rounded weights in the result. */
  readonly format: string;
  /** Called if the host could not delete the states at the end of the run. */
  readonly onNotDeleted?: (error: Error) => void;
}

/** Has the blocks of one run pruned, in their order. */
export interface BlockSolver {
  /** Returns the checked answer for a block. */
  solve(block: number): Promise<SolvedBlock>;
  /** Ends the run, whose layers are all stored. */
  end(): Promise<void>;
}

/** A place that prunes the blocks of runs, such as an edge. */
export interface BlockServer {
  begin(run: SolvedRun): BlockSolver;
}

/** Prunes the blocks of one run at a host, or at another place. */
export class RemoteBlocks implements CalibratedPruner {
  readonly #server: BlockHost | BlockServer;
  readonly #options: RemoteBlocksOptions;
  /** The layers of the block whose answer has arrived. */
  #solved = new Map<string, SolvedBlockLayer>();

  constructor(server: BlockHost | BlockServer, options: RemoteBlocksOptions) {
    this.#server = server;
    this.#options = options;
  }

  calibrate(model: Model, options: CalibrationOptions, queryOf: QueryOf): CalibratedModel {
    const plan = new BlockPlan(model.spec, options), trained = new Map(options.reconstructed);
    const run = { ...this.#options, model, options, plan, trained, queryOf };
    return { layerCount: plan.layerCount, groups: () => this.#groups(run) };
  }

  /** Takes the layers of `source`, which `calibrate` has made, from the answers of the server. @throws as `BlockHost` */
  pruneModel(
    source: ModelSource<HessianAccumulator>,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneRounds(source, query, (groups) => this.#answered(groups), options);
  }

  async *#groups(run: SolvedRun): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { plan } = run, server = this.#server;
    if (plan.isEmpty) return;
    const solver = server instanceof BlockHost
      ? statesSolver(new WindowStates(server, run, run.options), run, this.#options)
      : server.begin(run);
    for (let block = 0; block <= plan.lastBlock; block++) {
      // The weights of a block are local to this call, so that they are not in memory with those of the next block.
      if (plan.isOpen(block)) yield* this.#groupsOf(run, block, solver);
    }
    await solver.end();
  }

  async *#groupsOf(
    { model, options, plan, trained }: SolvedRun,
    block: number,
    solver: BlockSolver,
  ): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { onReplace, onDecision, onReconstruct, onBlock, measured, decided } = options;
    const { layers, decision, reconstructed, error } = await solver.solve(block);
    const tokens = new Map(layers.map(({ name, tokens }) => [name, tokens]));
    this.#solved = new Map(layers.map((layer) => [layer.name, layer]));
    if (decision && !decided?.has(block)) await onDecision?.(block, decision);
    const solved = this.#solved;
    const openBlock: OpenBlock = { block, weights: model.weights, solved, replaced: new Map(), onReplace };
    const statisticsOf = ([linear]: LinearGroup) => ({
      tokens: tokens.get(weightName(model.spec, block, linear)),
    });
    for (const round of plan.rounds(block)) yield* openRound(round, openBlock, statisticsOf);
    if (reconstructed && plan.epochs(block) > 0) await onReconstruct?.(block, reconstructed);
    if (reconstructed) trained.set(block, [...reconstructed.tensors.keys()]);
    if (error !== undefined && !measured?.has(block)) await onBlock?.(block, error);
    this.#solved.clear();
    // The tensors of an answer share its memory, which garbage collection would free only after the next block.
    const [tensor] = [...layers.map(({ weight }) => weight), ...reconstructed?.tensors.values() ?? []];
    if (tensor) freeArray(tensor.data);
  }

  async *#answered(
    groups: AsyncGenerator<LayerGroup<HessianAccumulator>, void, undefined>,
  ): AsyncGenerator<RoundLayer<HessianAccumulator>, void, void> {
    for await (const group of groups) {
      for (const { name } of group.layers) {
        const solved = this.#solved.get(name);
        if (!solved) throw new Error(`${name}: the server has not pruned this layer`);
        yield { group, ...solved };
      }
    }
  }
}

/** Returns a solver that has the blocks pruned at the host of `states`. */
function statesSolver(states: WindowStates, run: SolvedRun, options: RemoteBlocksOptions): BlockSolver {
  return {
    async solve(block) {
      const { parameters, tensors, queries, ...expected } = blockRequest(run, block),
        { signal } = run.options;
      const request = (host: BlockHost) => host.run(parameters, tensors, queries, { signal, ...expected });
      // The host may have pruned the block already. It then sends its answer again. If the states did not advance, the
      // next block is then the number of blocks.
      const isAnswered = (next: number) => next === block + 1 || !parameters.advance;
      const solved = await states.before(block, request, isAnswered);
      states.nextBlock = block + 1;
      return solved;
    },
    end: () => deleteStates(states, options),
  };
}

/** Deletes the states at the end of a run. If the host cannot be reached, it evicts them later. */
export async function deleteStates(
  states: WindowStates,
  { onNotDeleted }: Pick<RemoteBlocksOptions, "onNotDeleted">,
): Promise<void> {
  try {
    await states.delete();
  } catch (error) {
    if (!(error instanceof PareError || error instanceof ConnectionError)) throw error;
    onNotDeleted?.(error);
  }
}
