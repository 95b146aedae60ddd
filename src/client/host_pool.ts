/**
 * Solves a round at several hosts at once: each has one layer at a time, so that the next goes to whichever is free first. What a
 * host that is lost had goes to the others. Of statistics it holds those of the groups that are under way, a round's at most.
 */

import type { CallOptions } from "./call_options.ts";
import { ConnectionError, PareError } from "./errors.ts";
import type { PrunedLayer } from "./layer_file.ts";
import type { LayerGroup, SourceLayer } from "./model_source.ts";
import type { QueryOf, SolvedLayer } from "./rounds.ts";
import { type LayerHost, SharedStatistics } from "./shared_statistics.ts";

/** Hears of hosts, and asks after them. */
export interface PoolOptions<Host> {
  /** Told when a host's retries are over: it has no more layers in this round. */
  readonly onLost?: (host: Host, error: Error) => void;
  /** Whether a lost host is back; asked before each round. Never unless given. */
  readonly isBack?: (host: Host, options: CallOptions) => Promise<boolean>;
}

/** A layer that waits for a host or is at one. */
interface Task<Host> {
  readonly group: LayerGroup;
  readonly layer: SourceLayer;
  /** Of the group, at each host that has had a layer of it. */
  readonly statistics: Map<Host, SharedStatistics>;
  /** Layers of the group that are not solved. */
  readonly left: Set<string>;
}

type Outcome<Host> =
  & { readonly host: Host; readonly task: Task<Host> }
  & (
    { readonly pruned: PrunedLayer } | { readonly error: unknown }
  );

/** Hosts for one run. */
export class HostPool<Host extends LayerHost> {
  readonly #hosts: readonly Host[];
  readonly #options: PoolOptions<Host>;
  readonly #lost = new Set<Host>();
  #lastLoss: Error | undefined;

  constructor(hosts: readonly Host[], options: PoolOptions<Host> = {}) {
    this.#hosts = hosts;
    this.#options = options;
  }

  /** @throws {PareError} a layer is refused; {PareError} {ConnectionError} of the host that was lost last, when all are */
  async *solveRound(
    groups: AsyncGenerator<LayerGroup, void, undefined>,
    queryOf: QueryOf,
    options: CallOptions,
  ): AsyncGenerator<SolvedLayer, void, void> {
    await this.#askAfterLost(options);
    const left = new AbortController();
    const signal = AbortSignal.any(options.signal ? [options.signal, left.signal] : [left.signal]);
    const waiting: Task<Host>[] = [], running = new Map<Host, Promise<Outcome<Host>>>();
    let more = true;
    try {
      for (;;) {
        for (const host of this.#hosts) {
          if (this.#lost.has(host) || running.has(host)) continue;
          while (more && waiting.length === 0) {
            const { done, value } = await groups.next();
            if (done) more = false;
            else waiting.push(...tasksOf<Host>(value));
          }
          const task = takeFor(host, waiting);
          if (task) running.set(host, attempt(host, task, queryOf, { signal }));
        }
        if (running.size === 0) {
          if (waiting.length > 0 || more) throw this.#lastLoss;
          return;
        }
        const outcome = await Promise.race(running.values()), { host, task } = outcome;
        running.delete(host);
        if ("error" in outcome) {
          if (!this.#lose(host, outcome.error)) throw outcome.error;
          task.statistics.delete(host);
          waiting.unshift(task);
          continue;
        }
        const { group, layer: { name }, statistics } = task, { weight, report } = outcome.pruned;
        yield { group, name, weight, report };
        task.left.delete(name);
        if (task.left.size === 0) await this.#forget(statistics, options);
      }
    } finally {
      left.abort(new DOMException("the round has ended", "AbortError"));
      await Promise.all(running.values());
    }
  }

  /** Whether others can have the layer that failed at `host`. */
  #lose(host: Host, error: unknown): boolean {
    const isLoss = error instanceof ConnectionError || (error instanceof PareError && error.passing);
    if (!isLoss || this.#hosts.length === 1) return false;
    this.#lost.add(host);
    this.#lastLoss = error;
    this.#options.onLost?.(host, error);
    return true;
  }

  async #askAfterLost(options: CallOptions): Promise<void> {
    const { isBack } = this.#options;
    if (!isBack) return;
    await Promise.all([...this.#lost].map(async (host) => {
      if (await isBack(host, options)) this.#lost.delete(host);
    }));
  }

  /** A host that cannot be told to forget evicts what it has by itself, in time. */
  async #forget(statistics: ReadonlyMap<Host, SharedStatistics>, options: CallOptions): Promise<void> {
    await Promise.all([...statistics].map(async ([host, shared]) => {
      if (this.#lost.has(host)) return;
      try {
        await shared.forget(options);
      } catch (error) {
        if (!this.#lose(host, error)) throw error;
      }
    }));
  }
}

function tasksOf<Host>(group: LayerGroup): Task<Host>[] {
  const statistics = new Map<Host, SharedStatistics>(), left = new Set(group.layers.map(({ name }) => name));
  return group.layers.map((layer) => ({ group, layer, statistics, left }));
}

/** The next for `host`: one whose statistics it has, else the first. */
function takeFor<Host>(host: Host, waiting: Task<Host>[]): Task<Host> | undefined {
  const known = waiting.findIndex(({ statistics }) => statistics.has(host));
  return waiting.splice(Math.max(known, 0), 1)[0];
}

/** Never rejects: an outcome may come when nobody waits for it any longer. */
async function attempt<Host extends LayerHost>(
  host: Host,
  task: Task<Host>,
  queryOf: QueryOf,
  options: CallOptions,
): Promise<Outcome<Host>> {
  const { group, layer, statistics } = task;
  try {
    const shared = statistics.get(host) ?? new SharedStatistics(host, group);
    statistics.set(host, shared);
    return { host, task, pruned: await shared.prune(layer.weight, queryOf(layer.name), options) };
  } catch (error) {
    return { host, task, error };
  }
}
