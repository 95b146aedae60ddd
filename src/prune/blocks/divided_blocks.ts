/**
 * Prunes a model whose windows are divided over several hosts. Each host has the hidden states of its windows, and sums
 * their statistics (`POST /v1/blocks` with `solve=false`). This process passes the sums of each layer from host to host in
 * the order of the windows, so that every host adds its own. A client of `src/client` then sends the layers with the whole
 * sums to the hosts. If the layers have targets, the last host, which has all held-out windows, computes the targets from
 * the whole sums, and measures both solutions of a block. At last, every host gets the new block, and runs its states
 * through it. The parts in which windows are summed do not depend on the hosts, so the result has the bytes of a run on one
 * machine.
 */

import { allDone } from "../../base/waiting.ts";
import { BlockHost } from "../../client/blocks/block_host.ts";
import type { AddedSums } from "../../client/blocks/layer_sums.ts";
import type { SumTokens } from "../../client/blocks/solved_block.ts";
import { MalformedAnswerError } from "../../client/errors.ts";
import type { ModelPruner, ModelQuery, PruneEvent } from "../../client/model_pruner.ts";
import type { CallOptions, TransportOptions } from "../../client/transport.ts";
import type { Model } from "../../model/model.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { BlockPlan, type PendingGroup } from "../block_plan.ts";
import { type CalibratedModel, type CalibrationOptions, readFinished } from "../calibrated_model.ts";
import type { CalibratedPruner } from "../device_pruner.ts";
import type { CalibratedGroup, OpenBlock } from "../open_round.ts";
import { pruneAtServers } from "../server_pruner.ts";
import { guardTargets } from "../target_guard.ts";
import { divideOverHosts } from "../window_parts.ts";
import { deleteStates, type RemoteBlocksOptions } from "./remote_blocks.ts";
import {
  openSummedRound,
  type SumsOf,
  type TokenCounts,
  withoutEmptySums,
  withSums,
} from "./summed_layers.ts";
import { prunedBlock, type RemoteRun, type Windows, WindowStates } from "./window_states.ts";

export interface DividedBlocksOptions extends Omit<RemoteBlocksOptions, "format"> {
  readonly hosts: readonly TransportOptions[];
  /** Sends the layers to the hosts. */
  readonly layers: ModelPruner;
  /** Returns the name of the states of share `index` of the windows, of at most 64 characters. */
  readonly nameOf: (index: number) => string;
  /** Called if a host still fails transiently after all retries. Its windows go to another host. */
  readonly onHostLost?: (baseUrl: string, error: Error) => void;
}

/** Prunes the blocks of one run at several hosts. */
export class DividedBlocks implements CalibratedPruner {
  readonly #options: DividedBlocksOptions;
  readonly #lost = new Set<TransportOptions>();
  /** Returns the statistics of the layers of a group of the current round. */
  #sumsOf?: SumsOf;

  constructor(options: DividedBlocksOptions) {
    this.#options = options;
  }

  /** @throws {RangeError} if the blocks are reconstructed */
  calibrate(model: Model, options: CalibrationOptions): CalibratedModel {
    const { hosts, config, onRebuild } = this.#options, plan = new BlockPlan(model.spec, options);
    if (options.reconstruct) {
      throw new RangeError(
        `reconstruct: trains a block on all windows at one host, got ${hosts.length} hosts`,
      );
    }
    const run = { config, onRebuild, model, options, plan, trained: new Map() };
    return { layerCount: plan.layerCount, groups: () => this.#groups(run) };
  }

  /** Prunes `source`, which `calibrate` has made. @throws as `ModelPruner.pruneModel` and `BlockHost` */
  pruneModel(
    source: CalibratedModel,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    return pruneAtServers(
      this.#options.layers,
      withSums(source, (layers) => this.#sumsOf!(layers)),
      query,
      options,
    );
  }

  async *#groups(run: RemoteRun): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { plan, options: { windows, validationWindows = [] } } = run, { hosts } = this.#options;
    if (plan.isEmpty) return;
    const shares = divideOverHosts(windows, validationWindows, hosts.length)
      .map((windows, index) => this.#openShare(run, windows, index));
    for (let block = 0; block <= plan.lastBlock; block++) {
      if (plan.isOpen(block)) yield* this.#groupsOf(run, shares, block);
    }
    await Promise.all(shares.map(({ states }) => deleteStates(states, this.#options)));
  }

  #openShare(run: RemoteRun, windows: Windows, index: number): Share {
    const { hosts, nameOf, onHostLost } = this.#options, name = nameOf(index);
    const clients = hosts.map((host) => ({ host, client: new BlockHost(host, name) }));
    // A share whose host is lost looks for another one behind its own, so that the shares of a lost host are spread.
    const order = [...clients.slice(index), ...clients.slice(0, index)];
    const states = new WindowStates(order[0].client, run, windows, (client, error) => {
      const lost = order.find((entry) => entry.client === client)!.host;
      if (!this.#lost.has(lost)) onHostLost?.(lost.baseUrl, error);
      this.#lost.add(lost);
      return order.find(({ host }) => !this.#lost.has(host))?.client;
    });
    return new Share(states);
  }

  async *#groupsOf(
    run: RemoteRun,
    shares: readonly Share[],
    block: number,
  ): AsyncGenerator<CalibratedGroup, void, undefined> {
    const { model, plan, options } = run, last = shares.at(-1)!;
    const { onReplace, onBlock, validationWindows = [], hasTargets, signal } = options;
    const replaced = await readFinished(plan.finished(block), options);
    const openBlock: OpenBlock = { block, weights: model.weights, replaced, onReplace };
    for (const round of plan.rounds(block)) {
      const collect = collectorOf(run, round, openBlock);
      const tokens = addTokens(round, await allDone(shares.map((share) => share.collect(block, collect))));
      this.#sumsOf = async (layers) => {
        const [{ name, weight: { shape: [outFeatures, inFeatures] } }] = layers;
        const all = new Map(layers.map(({ name, weight }) => [name, weight]));
        let added: AddedSums = { sums: {}, targets: new Map() };
        for (const share of shares) {
          const weights = share === last ? all : new Map();
          const targets = hasTargets ? { outFeatures, weights } : undefined;
          const add = (host: BlockHost) => host.addSums(name, inFeatures, added.sums, { targets, signal });
          added = await share.addSums(block, collect, add);
        }
        return withoutEmptySums(added, layers, tokens.get(name)!);
      };
      const measure = (replaced: ReadonlyMap<string, HostTensor>) =>
        measureAgainstModel(run, last, block, replaced);
      const guard = guardTargets(openBlock, round, options, measure);
      yield* openSummedRound(round, openBlock, (name) => tokens.get(name)!, guard);
    }
    const isMeasured = onBlock !== undefined && validationWindows.length > 0 && replaced.size > 0;
    const error = await advance(run, shares, openBlock, isMeasured);
    if (isMeasured) await onBlock(block, error!);
  }
}

/** Has a host store the statistics of a round. Returns the numbers of tokens in them. */
type Collect = (host: BlockHost) => Promise<readonly SumTokens[]>;

/** A share of the windows, whose states are at one host. */
class Share {
  /** The number of times that the states had been created when the statistics were stored. */
  #collectedAt = NaN;

  constructor(readonly states: WindowStates) {}

  collect(block: number, collect: Collect): Promise<readonly SumTokens[]> {
    return this.states.before(block, (host) => this.#collectAt(host, collect));
  }

  async #collectAt(host: BlockHost, collect: Collect): Promise<readonly SumTokens[]> {
    const tokens = await collect(host);
    this.#collectedAt = this.states.creations;
    return tokens;
  }

  /** Calls `add` when the host has the statistics. If it has lost them, they are computed again. */
  addSums(
    block: number,
    collect: Collect,
    add: (host: BlockHost) => Promise<AddedSums>,
  ): Promise<AddedSums> {
    return this.states.before(block, async (host) => {
      if (this.#collectedAt !== this.states.creations) await this.#collectAt(host, collect);
      return await add(host);
    });
  }
}

/** Returns the function that has a host store the statistics of a round. */
function collectorOf(
  { model, options: { trueSequential, tokenWeightsOf, hasTargets, signal } }: RemoteRun,
  round: readonly PendingGroup[],
  { block, replaced }: OpenBlock,
): Collect {
  const tensors = prunedBlock(model, block, trueSequential ? new Map(replaced) : new Map(), hasTargets);
  const names = round.flatMap(({ layers }) => layers.map(({ name }) => name));
  const layers = Object.fromEntries(names.map((name) => [name, { token_weights: tokenWeightsOf?.(name) }]));
  const parameters = { block, advance: false, solve: false };
  return async (host) => {
    const { sums = [] } = await host.run(parameters, tensors, layers, { signal });
    const missing = names.find((name) => !sums.some((sum) => sum.name === name));
    if (missing === undefined) return sums;
    throw new MalformedAnswerError(`answer of /v1/blocks: the statistics of ${missing} are missing`);
  };
}

/**
 * Has the hosts run their states through the pruned block, if the run needs its outputs.
 * @param isMeasured whether the last host, which has the held-out windows, measures the error of the output
 * @returns the error
 */
async function advance(
  { model, plan, options: { signal, hasTargets } }: RemoteRun,
  shares: readonly Share[],
  { block, replaced }: OpenBlock,
  isMeasured: boolean,
): Promise<number | undefined> {
  const advances = plan.runs(block);
  const errors = await allDone(shares.map(async ({ states }, index) => {
    const measures = isMeasured && index === shares.length - 1;
    if (!advances && !measures) return;
    const tensors = prunedBlock(model, block, replaced, hasTargets || measures);
    const answer = await states.before(
      block,
      (host) => host.run({ block, advance: advances }, tensors, undefined, { signal }),
    );
    states.nextBlock = block + 1;
    return answer.error;
  }));
  const error = errors.at(-1);
  if (error !== undefined || !isMeasured) return error;
  throw new MalformedAnswerError("answer of /v1/blocks: the error on the held-out windows is missing");
}

/**
 * Has the host of a share measure the error of the output of a pruned block on its held-out windows, against that of the
 * dense model.
 */
async function measureAgainstModel(
  { model, options: { signal } }: RemoteRun,
  { states }: Share,
  block: number,
  replaced: ReadonlyMap<string, HostTensor>,
): Promise<number> {
  const tensors = prunedBlock(model, block, replaced, true);
  const parameters = { block, advance: false, error_against: "model" } as const;
  const { error } = await states.before(
    block,
    (host) => host.run(parameters, tensors, undefined, { signal }),
  );
  if (error !== undefined) return error;
  throw new MalformedAnswerError("answer of /v1/blocks: the error against the dense model is missing");
}

/** Adds up the numbers of tokens of all shares, for each layer of a round. */
function addTokens(
  round: readonly PendingGroup[],
  shares: readonly (readonly SumTokens[])[],
): ReadonlyMap<string, TokenCounts> {
  const counts = Map.groupBy(shares.flat(), ({ name }) => name);
  return new Map(round.flatMap(({ layers }) =>
    layers.map(({ name }) => {
      const total = (member: keyof TokenCounts) =>
        counts.get(name)!.reduce((sum, count) => sum + count[member], 0);
      return [name, { tokens: total("tokens"), validation_tokens: total("validation_tokens") }] as const;
    })
  ));
}
