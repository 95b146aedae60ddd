/**
 * The hidden states of a run whose windows are divided over several hosts. Each host has the states of a share of the
 * windows. If blocks are reconstructed, one host also has the states of all windows, with which it trains each block.
 */

import { allDone } from "../../base/waiting.ts";
import { checkTrained } from "../../client/blocks/check_block.ts";
import type { BlockHost } from "../../client/blocks/block_host.ts";
import type { AddedSums } from "../../client/blocks/layer_sums.ts";
import type { ReconstructedBlock, SolvedBlock, SumTokens } from "../../protocol/blocks/solved_block.ts";
import { MalformedAnswerError } from "../../client/errors.ts";
import { convertReplacement } from "../../model/checkpoint/tensor_source.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import type { BlockPlan, PendingGroup } from "../block_plan.ts";
import { readFinished } from "../local_states.ts";
import type { CollectedRound, OpenBlock } from "../open_block.ts";
import type { BlockStates, Round } from "../steps.ts";
import { type SumsOf, type TokenCounts, withoutEmptySums } from "./summed_layers.ts";
import { prunedBlock, type RemoteRun, type WindowStates } from "./window_states.ts";

export class DividedStates implements BlockStates {
  readonly plan: BlockPlan;
  readonly blocks: readonly number[];
  readonly #shares: readonly Share[];
  /** Returns the statistics of the layers of a group of the current round. */
  #sumsOf?: SumsOf;

  /**
   * @param shares the states of the shares in the order of the windows. The last one has the held-out windows
   * @param trainer the states of all windows, which a reconstruction needs
   * @param end deletes all states at the end of the run
   */
  constructor(
    private readonly run: RemoteRun,
    shares: readonly WindowStates[],
    private readonly trainer: WindowStates | undefined,
    readonly end: () => Promise<void>,
  ) {
    this.#shares = shares.map((states) => new Share(states));
    this.plan = run.plan;
    this.blocks = openBlocks(run.plan);
  }

  async open(block: number): Promise<OpenBlock> {
    const { plan, model: { weights }, options } = this.run;
    return { block, weights, replaced: await readFinished(plan, block, options) };
  }

  /** Returns the statistics of the layers of a group, of the round that was collected last. */
  sumsOf(layers: Parameters<SumsOf>[0]): ReturnType<SumsOf> {
    return this.#sumsOf!(layers);
  }

  async collect(open: OpenBlock, { groups: round, hasTargets }: Round): Promise<CollectedRound> {
    const { block } = open, { options: { signal } } = this.run, shares = this.#shares, last = shares.at(-1)!;
    const collect = this.#collectorOf(round, open, hasTargets);
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
    return {
      // The statistics are fetched when the group is sent. Those of experts have the number of their tokens.
      group: ({ group: [{ expertRole }], layers: [{ name }] }, layers) => (
        { block, layers, ...expertRole !== undefined && { tokens: tokens.get(name)!.tokens } }
      ),
      destroy: () => {},
    };
  }

  /** Has the host of all windows train the block. The states stay before the block. */
  async train({ block, replaced }: OpenBlock, epochs: number): Promise<ReconstructedBlock> {
    const { model, options: { signal }, trained } = this.run, { weights } = model;
    const tensors = prunedBlock(model, block, replaced, true);
    const { reconstructed } = await this.trainer!.before(
      block,
      (host) => host.run({ kind: "train", block, epochs }, tensors, undefined, { signal }),
    );
    checkTrained(reconstructed, replaced, tensors);
    const stored = Array.from(
      reconstructed.tensors,
      ([name, tensor]) => [name, convertReplacement(weights, name, tensor)] as const,
    );
    for (const [name, tensor] of stored) replaced.set(name, tensor);
    trained.set(block, stored.map(([name]) => name));
    return { ...reconstructed, tensors: new Map(stored) };
  }

  /** Has the hosts run their states through the pruned block. The host with the held-out windows measures the error. */
  async advance({ block, replaced }: OpenBlock, measures: boolean): Promise<number | undefined> {
    const { model, plan, options: { signal, hasTargets = false } } = this.run;
    const last = this.#shares.at(-1)!.states, advance = plan.runs(block);
    const all = [...this.#shares.map(({ states }) => states), ...this.trainer ? [this.trainer] : []];
    const errors = await allDone(all.map(async (states) => {
      const isMeasured = measures && states === last;
      if (!advance && !isMeasured) return undefined;
      const tensors = prunedBlock(model, block, replaced, hasTargets || isMeasured);
      const step = { kind: advance ? "run" as const : "measure" as const, block };
      const request = (host: BlockHost) => host.run(step, tensors, undefined, { signal });
      const { error } = await states.before(block, request);
      states.nextBlock = block + 1;
      return isMeasured ? error : undefined;
    }));
    return measures ? measured({ error: errors.find((error) => error !== undefined) }) : undefined;
  }

  destroy(): void {}

  /** Returns the function that has a host store the statistics of a round. */
  #collectorOf(
    round: readonly PendingGroup[],
    { block, weights, replaced }: OpenBlock,
    hasTargets: boolean,
  ): Collect {
    const { plan, model: { spec }, options: { tokenWeightsOf, signal, ...run } } = this.run;
    const tensors = prunedBlock({ spec, weights }, block, plan.seen(replaced), hasTargets);
    const names = round.flatMap(({ layers }) => layers.map(({ name }) => name));
    const layers = Object.fromEntries(names.map((name) => [name, { token_weights: tokenWeightsOf?.(name) }]));
    // The states of the dense model are not needed for a round without targets.
    const targets = run.hasTargets && !hasTargets ? false : undefined;
    const step = { kind: "collect", block, targets } as const;
    return async (host) => {
      const { sums = [] } = await host.run(step, tensors, layers, { signal });
      const missing = names.find((name) => !sums.some((sum) => sum.name === name));
      if (missing === undefined) return sums;
      throw new MalformedAnswerError(`answer of /v1/blocks: the statistics of ${missing} are missing`);
    };
  }

  /**
   * Has the host with the held-out windows measure the error of the output of a pruned block, against the output of the block in the
   * dense model.
   */
  async measure({ block }: OpenBlock, replaced: ReadonlyMap<string, HostTensor>): Promise<number> {
    const { model, options: { signal } } = this.run, { states } = this.#shares.at(-1)!;
    const tensors = prunedBlock(model, block, replaced, true);
    const step = { kind: "measure", block, against: "model" } as const;
    return measured(await states.before(block, (host) => host.run(step, tensors, undefined, { signal })));
  }
}

/** Returns the error in an answer. @throws {MalformedAnswerError} if there is none */
function measured({ error }: Pick<SolvedBlock, "error">): number {
  if (error !== undefined) return error;
  throw new MalformedAnswerError("answer of /v1/blocks: the error on the held-out windows is missing");
}

/** Returns the blocks with work to do. The others need no visit, because hosts run states through them when they need to. */
export function openBlocks(plan: BlockPlan): number[] {
  return Array.from({ length: plan.lastBlock + 1 }, (_, block) => block).filter((block) =>
    plan.isOpen(block)
  );
}

/** Has a host store the statistics of a round. Returns the numbers of tokens in them. */
type Collect = (host: BlockHost) => Promise<readonly SumTokens[]>;

/** A share of the windows, whose states are at one host. */
class Share {
  /** The host that has stored the statistics, and the number of times that the states had been created then. */
  #collectedAt?: { readonly host: BlockHost; readonly creations: number };

  constructor(readonly states: WindowStates) {}

  collect(block: number, collect: Collect): Promise<readonly SumTokens[]> {
    return this.states.before(block, (host) => this.#collectAt(host, collect));
  }

  async #collectAt(host: BlockHost, collect: Collect): Promise<readonly SumTokens[]> {
    const tokens = await collect(host);
    this.#collectedAt = { host, creations: this.states.creations };
    return tokens;
  }

  /**
   * Calls `add` when the host has the statistics. If it has lost them, or the states are now at another host, they are computed
   * again. The other host may have statistics of an earlier process, which may belong to another round.
   */
  addSums(
    block: number,
    collect: Collect,
    add: (host: BlockHost) => Promise<AddedSums>,
  ): Promise<AddedSums> {
    return this.states.before(block, async (host) => {
      const { host: collector, creations } = this.#collectedAt ?? {};
      if (collector !== host || creations !== this.states.creations) await this.#collectAt(host, collect);
      return await add(host);
    });
  }
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
