/**
 * The client of several hosts. It prunes a model with one layer at each host at the same time. For results with the same bytes
 * as those of one host, all hosts need the same backend and the same adapter.
 */

import type { CallOptions } from "./call_options.ts";
import type { PruneEvent } from "./events.ts";
import { HostPool } from "./host_pool.ts";
import type { ModelPruner, ModelQuery } from "./model_pruner.ts";
import type { ModelSource } from "./model_source.ts";
import { type HostDescription, Pare } from "./pare.ts";
import { pruneRounds } from "./prune_rounds.ts";
import type { TransportOptions } from "./transport.ts";

/** Longest time that the check of a lost host may take, in milliseconds. Rounds wait for this check. */
const RECHECK_TIMEOUT_MS = 2000;

/** Options of {@link PareHosts}. */
export interface PareHostsOptions {
  /**
   * Called when a host fails transiently although its request was repeated. Its layer is sent to another host, and it gets no
   * layers until it is reachable again at the start of a round.
   */
  readonly onHostLost?: (baseUrl: string, error: Error) => void;
}

/** A client of several hosts. */
export class PareHosts implements ModelPruner {
  readonly #hosts: readonly { readonly pare: Pare; readonly transport: TransportOptions }[];
  readonly #options: PareHostsOptions;

  /**
   * @throws {RangeError} if `hosts` is empty
   * @throws {TypeError} if a `baseUrl` is not an http or https URL
   */
  constructor(hosts: readonly TransportOptions[], options: PareHostsOptions = {}) {
    if (hosts.length === 0) throw new RangeError("hosts: must be at least one, got 0");
    this.#hosts = hosts.map((transport) => ({ pare: new Pare(transport), transport }));
    this.#options = options;
  }

  /** Prunes a model as `Pare.pruneModel` does. If all hosts are lost, it throws the error of the host that was lost last. */
  pruneModel(
    source: ModelSource,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    const transports = new Map(this.#hosts.map(({ pare, transport }) => [pare, transport]));
    const pool = new HostPool([...transports.keys()], {
      onHostLost: (pare, error) => this.#options.onHostLost?.(transports.get(pare)!.baseUrl, error),
      isReachable: (pare, options) => isReachable(transports.get(pare)!, options),
    });
    return pruneRounds(source, query, (...args) => pool.solveRound(...args), options);
  }

  /** Describes the device of each host, in the order of the hosts. @throws the first error of `Pare.describeHost` */
  describeHosts(options: CallOptions = {}): Promise<HostDescription[]> {
    return Promise.all(this.#hosts.map(({ pare }) => pare.describeHost(options)));
  }
}

async function isReachable(transport: TransportOptions, { signal }: CallOptions): Promise<boolean> {
  const timeout = AbortSignal.timeout(RECHECK_TIMEOUT_MS);
  const options = { signal: signal ? AbortSignal.any([signal, timeout]) : timeout };
  return await new Pare({ ...transport, retries: 0 }).describeHost(options).then(() => true, () => false);
}
