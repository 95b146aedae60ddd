/**
 * Prunes a model whose blocks a host calibrates and solves (`POST /v1/blocks`), or a job of an edge. This process reads the
 * blocks, sends them, and hands the answers to the destination. A host computes what this process would compute on the
 * same device, so the result has the same bytes.
 */

import { ConnectionError, PareError } from "../../client/errors.ts";
import type { HessianAccumulator } from "../../layer/calibration/hessian.ts";
import type { ModelQuery, PruneEvent, QueryOf } from "../../client/model_pruner.ts";
import type { LayerGroup, ModelSource } from "../../client/model_source.ts";
import { pruneRounds, type RoundLayer } from "../../client/prune_rounds.ts";
import type { CallOptions } from "../../client/transport.ts";
import type { LinearGroup } from "../../model/layer_specs.ts";
import type { Model } from "../../model/model.ts";
import { BlockPlan, weightName } from "../block_plan.ts";
import type { CalibratedModel, CalibrationOptions } from "../calibrated_model.ts";
import type { CalibratedPruner } from "../device_pruner.ts";
import { type CalibratedGroup, type OpenBlock, openRound } from "../open_round.ts";
import { BlockHost, isStatesNotFound } from "./block_host.ts";
import { BlockRequests } from "./block_requests.ts";
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

/** Has the blocks of one run pruned, in their order. */
export interface BlockSolver {
  /** Returns the checked answer for a block. */
  solve(block: number): Promise<SolvedBlock>;
  /** Ends the run, whose layers are all stored. */
  end(): Promise<void>;
}

/** A place that prunes the blocks of runs, such as an edge. */
export interface BlockServer {
  begin(requests: BlockRequests, config: RemoteBlocksOptions["config"]): BlockSolver;
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
    const plan = new BlockPlan(model.spec, options);
    return {
      layerCount: plan.layerCount,
      groups: () => this.#groups(new BlockRequests(this.#options.format, model, options, queryOf, plan)),
    };
  }

  /** Takes the layers of `source`, which `calibrate` has made, from the answers of the server. @throws as `BlockHost` */
  pruneModel(
    source: ModelSource<HessianAccumulator>,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneRounds(source, query, (groups) => this.#answered(groups), options);
  }

  async *#groups(requests: BlockRequests): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { plan } = requests, solver = this.#begin(requests);
    for (let block = 0; block <= plan.lastBlock; block++) {
      // The weights of a block are local to this call, so that they are not in memory with those of the next block.
      if (plan.isOpen(block)) yield* this.#groupsOf(block, requests, solver);
    }
    if (!plan.isEmpty) await solver.end();
  }

  #begin(requests: BlockRequests): BlockSolver {
    const server = this.#server;
    if (server instanceof BlockHost) return new StatesOfRun(server, this.#options, requests);
    return server.begin(requests, this.#options.config);
  }

  async *#groupsOf(
    block: number,
    { plan, trained, model, options }: BlockRequests,
    solver: BlockSolver,
  ): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { onReplace, onDecision, onReconstruct, onBlock, measured, decided } = options;
    const { layers, decision, reconstructed, error } = await solver.solve(block);
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
    if (reconstructed) trained.set(block, [...reconstructed.tensors.keys()]);
    if (error !== undefined && !measured?.has(block)) await onBlock?.(block, error);
  }

  async *#answered(
    groups: AsyncGenerator<LayerGroup<HessianAccumulator>, void, undefined>,
  ): AsyncGenerator<RoundLayer<HessianAccumulator>, void, void> {
    for await (const group of groups) {
      for (const { name } of group.layers) {
        const solved = this.#solved.get(name);
        if (!solved) throw new Error(`${name}: the server has not pruned this layer`);
        this.#solved.delete(name);
        yield { group, ...solved };
      }
    }
  }
}

/** The states of one run at the host. */
class StatesOfRun implements BlockSolver {
  /** The block whose inputs the host has. Undefined until the host was asked. */
  #nextBlock?: number;

  constructor(
    readonly host: BlockHost,
    readonly settings: RemoteBlocksOptions,
    readonly requests: BlockRequests,
  ) {}

  /** Has all chosen layers of `block` pruned. If the host has lost the states, they are created again. */
  async solve(block: number): Promise<SolvedBlock> {
    const { host, requests, settings } = this, { signal } = requests.options;
    const parameters = requests.parameters(block), queries = requests.queries(block);
    this.#nextBlock ??= await host.nextBlock({ signal });
    for (let rebuilds = 0;; rebuilds++) {
      try {
        // The host may have pruned the block already. It then sends its answer again. If the states did not advance,
        // the next block is then the number of blocks.
        if (this.#nextBlock !== undefined && (this.#nextBlock <= block + 1 || !parameters.advance)) {
          if (this.#nextBlock <= block) await this.#advance(block);
          const solved = await host.run(parameters, requests.tensors(block), queries, { signal });
          requests.check(block, solved);
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

  /** Deletes the states. If the host does not delete them, the run ends too, because the host evicts unused states. */
  async end(): Promise<void> {
    try {
      await this.host.delete({ signal: this.requests.options.signal });
    } catch (error) {
      if (!(error instanceof PareError || error instanceof ConnectionError)) throw error;
      this.settings.onNotDeleted?.(error);
    }
  }

  async #create(): Promise<void> {
    const { host, settings: { config }, requests } = this, { target, options: { signal } } = requests;
    await host.create(config, requests.firstNames(), () => requests.readStates(), { target, signal });
    this.#nextBlock = 0;
  }

  /** Runs the states through the blocks before `block`, as they are after this run has pruned them. */
  async #advance(block: number): Promise<void> {
    const { host, requests } = this, { signal } = requests.options;
    for (let next = this.#nextBlock!; next < block; next++) {
      await host.run({ block: next }, requests.prunedTensors(next), undefined, { signal });
      this.#nextBlock = next + 1;
    }
  }
}
