/** Prunes a model at several hosts. If all have the same adapter, the result has the bytes of a single host. */

import type { CallOptions, TransportOptions } from "./transport.ts";
import { ModelPruner } from "./model_pruner.ts";
import type { SolveRound } from "../protocol/run/solve_round.ts";
import { HostPool } from "./host_pool.ts";
import { type HostDescription, Pare } from "./pare.ts";
import { withFewTokens } from "./few_tokens.ts";

/** The longest check whether a lost host is reachable again, in milliseconds. Layers wait for the check. */
const RECHECK_TIMEOUT_MS = 2000;

/** Options of {@link PareHosts}. */
export interface PareHostsOptions {
  /** Called when a host is lost after all retries. It gets no layers until a check before a later round reaches it. */
  readonly onHostLost?: (baseUrl: string, error: Error) => void;
}

/** A client of several hosts. */
export class PareHosts extends ModelPruner {
  readonly #hosts: readonly { readonly pare: Pare; readonly transport: TransportOptions }[];
  /** Solves the layers of one round. @throws as `pruneModel` */
  readonly solveRound: SolveRound;

  /**
   * Makes a client. No request is sent yet.
   * @throws {RangeError} {TypeError} if `hosts` is empty, or if a `baseUrl` is not an http or https URL
   */
  constructor(hosts: readonly TransportOptions[], { onHostLost }: PareHostsOptions = {}) {
    super();
    if (hosts.length === 0) throw new RangeError("hosts: must be at least one, got 0");
    this.#hosts = hosts.map((transport) => ({ pare: new Pare(transport), transport }));
    const transports = new Map(this.#hosts.map(({ pare, transport }) => [pare, transport]));
    const pool = new HostPool([...transports.keys()], {
      onHostLost: (pare, error) => onHostLost?.(transports.get(pare)!.baseUrl, error),
      isReachable: (pare, options) => isReachable(transports.get(pare)!, options),
    });
    this.solveRound = withFewTokens((...args) => pool.solveRound(...args));
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
