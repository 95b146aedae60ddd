/**
 * A model as rounds: the groups whose statistics come from one calibration, which may be pruned side by side. What solves a round (one
 * host, several, an edge's jobs) is the caller's; replacing and telling are here, one layer at a time.
 */

import type { Report } from "../protocol/report.ts";
import type { HostTensor } from "../tensor/host_tensor.ts";
import { untilAborted } from "../async/abort.ts";
import type { CallOptions } from "./call_options.ts";
import type { PruneEvent } from "./events.ts";
import type { LayerGroup, ModelSource } from "./model_source.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";

/** The parameters of every layer, or those of a layer by its name. */
export type ModelQuery = LayerQuery | QueryOf;

/** What prunes whole models: `Pare`, `PareHosts`, `PareJobs`. */
export interface ModelPruner {
  /**
   * Streams a model through, replacing each weight in `source` as it comes back.
   * @throws {PareError} a layer is refused; layers already replaced stay replaced
   * @throws the signal's reason as soon as it is aborted, though the source may still be at its current step
   */
  pruneModel(
    source: ModelSource,
    query?: ModelQuery,
    options?: CallOptions,
  ): AsyncGenerator<PruneEvent, void, void>;
}

/** A layer that is solved, and not yet replaced. */
export interface SolvedLayer {
  readonly group: LayerGroup;
  readonly name: string;
  readonly weight: HostTensor;
  readonly report: Report;
}

/** The parameters of a layer by its name. */
export type QueryOf = (name: string) => LayerQuery;

/** Solves the groups of one round, each layer once, in any order. It asks for no more groups than it works on. */
export type SolveRound = (
  groups: AsyncGenerator<LayerGroup, void, undefined>,
  queryOf: QueryOf,
  options: CallOptions,
) => AsyncGenerator<SolvedLayer, void, void>;

/** Has `solve` do each round of `source`, as `ModelPruner.pruneModel`. */
export async function* pruneRounds(
  source: ModelSource,
  query: ModelQuery,
  solve: SolveRound,
  options: CallOptions,
): AsyncGenerator<PruneEvent, void, void> {
  const queryOf = typeof query === "function" ? query : () => query;
  const started = performance.now();
  let done = 0;
  yield { type: "start", layers: source.layerCount };
  const groups = untilAborted(source.groups(), options.signal);
  for await (const first of groups) {
    for await (const { group, name, weight, report } of solve(roundFrom(first, groups), queryOf, options)) {
      await group.replace(name, weight);
      yield { type: "layer", name, block: group.block, done: ++done, report };
    }
  }
  yield { type: "done", layers: done, seconds: (performance.now() - started) / 1000 };
}

/** `first` and those after it in its round. */
async function* roundFrom(
  first: LayerGroup,
  rest: AsyncGenerator<LayerGroup, void, undefined>,
): AsyncGenerator<LayerGroup, void, undefined> {
  for (let group: LayerGroup | undefined = first; group;) {
    yield group;
    if (!group.hasMoreInRound) return;
    const next: IteratorResult<LayerGroup, void> = await rest.next();
    group = next.done ? undefined : next.value;
  }
}
