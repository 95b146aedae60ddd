/** Solves the layers of one calibration round at several hosts. If a host is lost, another one solves its layer. */

import type { CallOptions } from "./transport.ts";
import { ConnectionError, MalformedAnswerError, PareError } from "./errors.ts";
import type { PrunedLayer } from "./layer_file.ts";
import type { LayerInputs, LayerQueryOf, RoundLayer, SourceLayer } from "../protocol/run/solve_round.ts";
import { type LayerHost, SharedStatistics } from "./shared_statistics.ts";

export interface HostPoolOptions<Host> {
  /** Called when a host still fails transiently after all retries. The host gets no more layers in this round. */
  readonly onHostLost?: (host: Host, error: Error) => void;
  /** Returns whether a lost host works again. Called before each round. By default, lost hosts are never used again. */
  readonly isReachable?: (host: Host, options: CallOptions) => Promise<boolean>;
}

/** One layer that a host will solve or is solving. */
interface LayerTask<Host> {
  readonly group: LayerInputs;
  readonly layer: SourceLayer;
  /** The statistics of the group at each host that has got one of its layers. All tasks of the group share this map. */
  readonly statistics: Map<Host, SharedStatistics>;
  /** The layers of the group that are not solved yet. All tasks of the group share this set. */
  readonly unsolved: Set<SourceLayer>;
}

/** The layers of one calibration round that wait for a host. A group is requested only when a host is free. */
class LayerTaskQueue<Host> {
  readonly #groups: AsyncGenerator<LayerInputs, void, undefined>;
  #hasMoreGroups = true;
  readonly #waiting: LayerTask<Host>[] = [];

  constructor(groups: AsyncGenerator<LayerInputs, void, undefined>) {
    this.#groups = groups;
  }

  /** Whether no layer waits and the round has no more groups. */
  get isExhausted(): boolean {
    return !this.#hasMoreGroups && this.#waiting.length === 0;
  }

  /** Removes and returns the next layer, preferably one whose statistics are at `host`. Undefined if there is none. */
  async next(host: Host): Promise<LayerTask<Host> | undefined> {
    while (this.#waiting.length === 0 && this.#hasMoreGroups) {
      const { done, value } = await this.#groups.next();
      if (done) this.#hasMoreGroups = false;
      else {
        const shared = { group: value, statistics: new Map(), unsolved: new Set(value.layers) };
        this.#waiting.push(...value.layers.map((layer) => ({ ...shared, layer })));
      }
    }
    const index = this.#waiting.findIndex(({ statistics }) => statistics.has(host));
    return this.#waiting.splice(Math.max(index, 0), 1)[0];
  }

  /** Puts back a layer that its host did not solve. It becomes the first in the queue. */
  putBack(task: LayerTask<Host>): void {
    this.#waiting.unshift(task);
  }
}

type Outcome<Host> =
  & { readonly host: Host; readonly task: LayerTask<Host> }
  & ({ readonly pruned: PrunedLayer } | { readonly error: unknown });

/** The running requests of a round. The key is the host. */
type RunningRequests<Host> = Map<Host, Promise<Outcome<Host>>>;

export class HostPool<Host extends LayerHost> {
  readonly #hosts: readonly Host[];
  readonly #options: HostPoolOptions<Host>;
  readonly #lostHosts = new Set<Host>();
  /** The error of the host that was lost most recently. */
  #lastHostError: Error | undefined;

  constructor(hosts: readonly Host[], options: HostPoolOptions<Host> = {}) {
    this.#hosts = hosts;
    this.#options = options;
  }

  /**
   * Solves the groups of one round and yields each layer once, in any order.
   * @throws {PareError} if a host refuses a layer permanently
   * @throws {MalformedAnswerError} if an answer is not the requested layer
   * @throws {PareError} {ConnectionError} the error of the host that was lost last, if all hosts are lost
   */
  async *solveRound(
    groups: AsyncGenerator<LayerInputs, void, undefined>,
    queryOf: LayerQueryOf,
    options: CallOptions,
  ): AsyncGenerator<RoundLayer, void, void> {
    await this.#recheckLostHosts(options);
    const roundController = new AbortController();
    const signals = [roundController.signal, ...options.signal ? [options.signal] : []];
    const requestOptions = { signal: AbortSignal.any(signals) };
    const queue = new LayerTaskQueue<Host>(groups), running: RunningRequests<Host> = new Map();
    try {
      let solved: RoundLayer | undefined;
      for (;;) {
        await this.#assign(queue, running, queryOf, requestOptions);
        // The caller stores the layer while its host already solves the next one.
        if (solved) yield solved;
        if (running.size === 0) break;
        const outcome = await Promise.race(running.values());
        running.delete(outcome.host);
        solved = this.#settle(outcome, queue);
        if (solved) await this.#finish(outcome.task, options);
      }
      if (!queue.isExhausted) throw this.#lastHostError;
    } finally {
      roundController.abort(new DOMException("the round has ended", "AbortError"));
      await Promise.all(running.values());
    }
  }

  /** Gives each free host its next layer. */
  async #assign(
    queue: LayerTaskQueue<Host>,
    running: RunningRequests<Host>,
    queryOf: LayerQueryOf,
    options: CallOptions,
  ): Promise<void> {
    for (const host of this.#hosts) {
      if (this.#lostHosts.has(host) || running.has(host)) continue;
      const task = await queue.next(host);
      if (task) running.set(host, solveTask(host, task, queryOf, options));
    }
  }

  /** Returns the solved layer. If its host is lost, puts it back and returns undefined. @throws any other error */
  #settle(outcome: Outcome<Host>, queue: LayerTaskQueue<Host>): RoundLayer | undefined {
    const { host, task } = outcome;
    if ("error" in outcome) {
      if (!this.#markLost(host, outcome.error)) throw nameLayer(outcome.error, task.layer.name);
      task.statistics.delete(host);
      queue.putBack(task);
      return undefined;
    }
    return { group: task.group, layer: task.layer, ...outcome.pruned };
  }

  /** Records that a layer is solved. After the last layer of its group, deletes the stored statistics at all hosts. */
  async #finish({ layer, statistics, unsolved }: LayerTask<Host>, options: CallOptions): Promise<void> {
    unsolved.delete(layer);
    if (unsolved.size > 0) return;
    await Promise.all([...statistics].map(async ([host, shared]) => {
      if (this.#lostHosts.has(host)) return;
      try {
        await shared.delete(options);
      } catch (error) {
        // A host that cannot be reached evicts the statistics when its store needs the memory.
        if (!this.#markLost(host, error)) throw error;
      }
    }));
  }

  /** Marks `host` as lost after a transient error, if there are other hosts. Returns whether `host` is lost. */
  #markLost(host: Host, error: unknown): boolean {
    const isLoss = (error instanceof ConnectionError || error instanceof PareError) && error.isTransient;
    if (!isLoss || this.#hosts.length === 1) return false;
    this.#lostHosts.add(host);
    this.#lastHostError = error;
    this.#options.onHostLost?.(host, error);
    return true;
  }

  async #recheckLostHosts(options: CallOptions): Promise<void> {
    const { isReachable } = this.#options;
    if (!isReachable) return;
    await Promise.all([...this.#lostHosts].map(async (host) => {
      if (await isReachable(host, options)) this.#lostHosts.delete(host);
    }));
  }
}

/** Adds the name of the layer to the message of an error of its request. */
function nameLayer(error: unknown, layer: string): unknown {
  if (
    error instanceof PareError || error instanceof ConnectionError || error instanceof MalformedAnswerError
  ) {
    error.message = `${layer}: ${error.message}`;
  }
  return error;
}

/** Sends one layer to a host. The promise never rejects, because the round may end without waiting for its outcome. */
async function solveTask<Host extends LayerHost>(
  host: Host,
  task: LayerTask<Host>,
  queryOf: LayerQueryOf,
  options: CallOptions,
): Promise<Outcome<Host>> {
  const { group, layer, statistics } = task;
  try {
    const shared = statistics.get(host) ?? new SharedStatistics(host, group);
    statistics.set(host, shared);
    const pruned = await shared.prune(layer, queryOf(layer), options);
    return { host, task, pruned };
  } catch (error) {
    return { host, task, error };
  }
}
