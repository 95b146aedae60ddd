import type { LayerInputs, SourceLayer } from "../protocol/run/solve_round.ts";
import type { SharedStatistics } from "./shared_statistics.ts";

/** One layer that a host will solve or is solving. */
export interface LayerTask<Host> {
  readonly group: LayerInputs;
  readonly layer: SourceLayer;
  /** The statistics of the group at each host that has got one of its layers. All tasks of the group share this map. */
  readonly statistics: Map<Host, SharedStatistics>;
  /** The layers of the group that are not solved yet. All tasks of the group share this set. */
  readonly unsolved: Set<SourceLayer>;
}

/** The layers of one calibration round that wait for a host. A group is requested only when a host is free. */
export class LayerTaskQueue<Host> {
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
      else this.#waiting.push(...tasksOf<Host>(value));
    }
    const index = this.#waiting.findIndex(({ statistics }) => statistics.has(host));
    return this.#waiting.splice(Math.max(index, 0), 1)[0];
  }

  /** Puts back a layer that its host did not solve. It becomes the first in the queue. */
  putBack(task: LayerTask<Host>): void {
    this.#waiting.unshift(task);
  }
}

function tasksOf<Host>(group: LayerInputs): LayerTask<Host>[] {
  const statistics = new Map<Host, SharedStatistics>();
  const unsolved = new Set(group.layers);
  return group.layers.map((layer) => ({ group, layer, statistics, unsolved }));
}
