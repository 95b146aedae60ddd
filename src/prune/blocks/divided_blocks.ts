/**
 * Prunes a model whose windows are divided over several hosts. Each host has the hidden states of its windows, and sums
 * their statistics (`POST /v1/blocks/collect`). This process passes the sums of each layer from host to host in
 * the order of the windows, so that every host adds its own sums. A client of `src/client` then sends the layers with the whole
 * sums to the hosts. If the layers have targets, the last host, which has all held-out windows, computes the targets from
 * the whole sums, and measures both solutions of a block. If blocks are reconstructed, one host has the hidden states of all
 * windows too, and trains the block. At last, every host gets the new block, and runs its states through it. The parts in
 * which windows are summed do not depend on the hosts, so the result has the bytes of a run on one machine.
 */

import { BlockHost } from "../../client/blocks/block_host.ts";
import type { ModelPruner } from "../../client/model_pruner.ts";
import type { TransportOptions } from "../../client/transport.ts";
import { BlockPlan } from "../block_plan.ts";
import type { BlockStates, CalibrationRun, RoundSolver } from "../steps.ts";
import { divideOverHosts } from "../window_parts.ts";
import { DividedStates } from "./divided_states.ts";
import { deleteStates, type RemoteBlocksOptions } from "./remote_blocks.ts";
import { withSums } from "./summed_layers.ts";
import { type RemoteRun, type Windows, WindowStates } from "./window_states.ts";

export interface DividedBlocksOptions extends Omit<RemoteBlocksOptions, "format"> {
  readonly hosts: readonly TransportOptions[];
  /** Sends the layers to the hosts. */
  readonly layers: Pick<ModelPruner, "solveRound">;
  /**
   * Returns the name of the states of share `index` of the windows, of at most 64 characters. The states of all windows have the
   * number of shares as their index.
   */
  readonly nameOf: (index: number) => string;
  /** Called if a host still fails transiently after all retries. Its windows go to another host. */
  readonly onHostLost?: (baseUrl: string, error: Error) => void;
}

/** Prunes the blocks of one run at several hosts. */
export class DividedBlocks implements RoundSolver {
  readonly #lost = new Set<TransportOptions>();
  #states?: DividedStates;

  constructor(private readonly options: DividedBlocksOptions) {}

  begin({ model, options }: CalibrationRun): BlockStates {
    const { config, onRebuild, hosts } = this.options, plan = new BlockPlan(model.spec, options);
    const run: RemoteRun = {
      config,
      onRebuild,
      model,
      options,
      plan,
      trained: new Map(options.reconstructed),
    };
    const { windows, validationWindows = [] } = options;
    const shares = divideOverHosts(windows, validationWindows, hosts.length)
      .map((windows, index) => this.#openStates(run, windows, index));
    const trainer = plan.trains
      ? this.#openStates(run, { windows, validationWindows }, shares.length)
      : undefined;
    const end = async () => {
      await Promise.all(
        [...shares, ...trainer ? [trainer] : []].map((states) => deleteStates(states, this.options)),
      );
    };
    return this.#states = new DividedStates(run, shares, trainer, end);
  }

  /** Solves the layers of a round of the states that `begin` has returned last. */
  readonly solveRound: RoundSolver["solveRound"] = (groups, ...options) =>
    this.options.layers.solveRound(withSums(groups, (layers) => this.#states!.sumsOf(layers)), ...options);

  /** Returns states that are first at the host of the same index, or at the first host if there is none. */
  #openStates(run: RemoteRun, windows: Windows, index: number): WindowStates {
    const { hosts, nameOf, onHostLost } = this.options, name = nameOf(index);
    const clients = hosts.map((host) => ({ host, client: new BlockHost(host, name) }));
    // States whose host is lost go to another one behind their own, so that those of a lost host are spread.
    const order = [...clients.slice(index), ...clients.slice(0, index)];
    return new WindowStates(order[0].client, run, windows, (client, error) => {
      const lost = order.find((entry) => entry.client === client)!.host;
      if (!this.#lost.has(lost)) onHostLost?.(lost.baseUrl, error);
      this.#lost.add(lost);
      return order.find(({ host }) => !this.#lost.has(host))?.client;
    });
  }
}
