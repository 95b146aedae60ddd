/** The loop over the calibration rounds of a source, which the clients of the SDK share. */

import { untilAborted } from "../base/waiting.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { Report } from "../protocol/messages.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./transport.ts";
import type { ModelQuery, PruneEvent } from "./model_pruner.ts";
import type { LayerGroup, LayerInputs, ModelSource, SourceLayer } from "./model_source.ts";

/** A solved layer whose weight has not been replaced in the model yet. */
export interface RoundLayer {
  /** The group that the solver was given, or a copy with its statistics in another form. */
  readonly group: Pick<LayerInputs, "block" | "tokens">;
  readonly layer: SourceLayer;
  readonly weight: HostTensor;
  /** The codes and the grid of the weight, if its query has `bits`. */
  readonly quantized?: QuantizedWeight;
  /** The inputs that remain, if its query has the pattern `columns`. */
  readonly kept?: HostTensor;
  /** The mask of the answer, which is valid until the layer after this one is requested. */
  readonly mask?: HostTensor;
  readonly report: Report;
}

/** Returns the parameters with which a layer is solved. */
export type LayerQueryOf = (layer: SourceLayer) => LayerQuery;

/** Solves one round and yields each layer once, in any order. To save memory, it requests groups only when needed. */
export type SolveRound<Hessian = HostTensor> = (
  groups: AsyncGenerator<LayerInputs<Hessian>, void, undefined>,
  queryOf: LayerQueryOf,
  options: CallOptions,
) => AsyncGenerator<RoundLayer, void, void>;

/** Prunes `source`, replaces each weight in it, and yields the events. `solveRound` solves each round. */
export async function* pruneRounds<Hessian>(
  source: ModelSource<Hessian>,
  query: ModelQuery,
  solveRound: SolveRound<Hessian>,
  options: CallOptions,
): AsyncGenerator<PruneEvent, void, void> {
  const queryOf = typeof query === "function" ? query : () => query;
  const started = performance.now();
  let done = 0;
  yield { type: "start", layers: source.layerCount };
  const groups = untilAborted(source.groups(), options.signal);
  for await (const firstGroup of groups) {
    const round = groupsOfRound(firstGroup, groups);
    for await (const solved of solveRound(round, ({ name }) => queryOf(name), options)) {
      const { layer: { name }, weight, quantized, kept, mask, report } = solved;
      const group = solved.group as LayerGroup<Hessian>; // a solver returns the groups that it was given
      await group.replace(name, weight, quantized, kept, mask);
      const { block, tokens } = group;
      yield { type: "layer", name, block, done: ++done, ...tokens !== undefined && { tokens }, report };
    }
  }
  yield { type: "done", layers: done, seconds: (performance.now() - started) / 1000 };
}

/** Yields `firstGroup` and those of `laterGroups` that are in the same round. */
async function* groupsOfRound<Hessian>(
  firstGroup: LayerGroup<Hessian>,
  laterGroups: AsyncGenerator<LayerGroup<Hessian>, void, undefined>,
): AsyncGenerator<LayerGroup<Hessian>, void, undefined> {
  for (let group: LayerGroup<Hessian> | undefined = firstGroup; group;) {
    yield group;
    if (!group.hasMoreInRound) return;
    const next: IteratorResult<LayerGroup<Hessian>, void> = await laterGroups.next();
    group = next.done ? undefined : next.value;
  }
}
