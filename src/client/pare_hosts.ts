/** The SDK over several hosts: prunes a model with as many layers under way as there are hosts. All need the same backend and adapter where the same bytes are wanted. */

import type { CallOptions } from "./call_options.ts";
import type { PruneEvent } from "./events.ts";
import { HostPool } from "./host_pool.ts";
import type { ModelSource } from "./model_source.ts";
import { type HostDescription, Pare } from "./pare.ts";
import { type ModelPruner, type ModelQuery, pruneRounds } from "./rounds.ts";
import type { TransportOptions } from "./transport.ts";

/** Longest that a lost host is waited for before a round, in milliseconds. */
const BACK_MS = 2000;

/** Hears of hosts. */
export interface PareHostsOptions {
  /** Told when a host's retries are over: its layer goes to the others, and it has none until it is back. */
  readonly onLost?: (baseUrl: string, error: Error) => void;
}

/** A client of several hosts. */
export class PareHosts implements ModelPruner {
  readonly #hosts: readonly { readonly pare: Pare; readonly transport: TransportOptions }[];
  readonly #options: PareHostsOptions;

  /** @throws {RangeError} no hosts; {TypeError} a `baseUrl` is no http(s) URL */
  constructor(hosts: readonly TransportOptions[], options: PareHostsOptions = {}) {
    if (hosts.length === 0) throw new RangeError("hosts: must be at least one, got 0");
    this.#hosts = hosts.map((transport) => ({ pare: new Pare(transport), transport }));
    this.#options = options;
  }

  /** As `Pare.pruneModel`; with the error of the last host when all are lost. */
  pruneModel(
    source: ModelSource,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    const transports = new Map(this.#hosts.map(({ pare, transport }) => [pare, transport]));
    const pool = new HostPool([...transports.keys()], {
      onLost: (pare, error) => this.#options.onLost?.(transports.get(pare)!.baseUrl, error),
      isBack: (pare, options) => isUp(transports.get(pare)!, options),
    });
    return pruneRounds(source, query, (...round) => pool.solveRound(...round), options);
  }

  /** What each host solves on, in their order. @throws as `Pare.describeHost`, of the first that does not tell */
  describeHosts(options: CallOptions = {}): Promise<HostDescription[]> {
    return Promise.all(this.#hosts.map(({ pare }) => pare.describeHost(options)));
  }
}

async function isUp(transport: TransportOptions, { signal }: CallOptions): Promise<boolean> {
  const timeout = AbortSignal.timeout(BACK_MS);
  const options = { signal: signal ? AbortSignal.any([signal, timeout]) : timeout };
  return await new Pare({ ...transport, retries: 0 }).describeHost(options).then(() => true, () => false);
}
