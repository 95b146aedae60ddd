/** The loop over the calibration rounds of a model, which all clients share. */

import { untilAborted } from "../base/waiting.ts";
import type { Report } from "../protocol/messages.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./transport.ts";
import type { ModelQuery, PruneEvent, QueryOf } from "./model_pruner.ts";
import { FewTokens } from "./few_tokens.ts";
import type { LayerGroup, ModelSource } from "./model_source.ts";

/** A solved layer whose weight has not been replaced in the model yet. */
export interface RoundLayer<Hessian = HostTensor> {
  readonly group: LayerGroup<Hessian>;
  readonly name: string;
  readonly weight: HostTensor;
  /** The codes and the grid of the weight, if its query has `bits`. */
  readonly quantized?: QuantizedWeight;
  /** The inputs that remain, if its query has the pattern `columns`. */
  readonly kept?: HostTensor;
  /** The mask of the answer, which is valid until the layer after this one is requested. */
  readonly mask?: HostTensor;
  readonly report: Report;
}

/** Solves one round and yields each layer once, in any order. To save memory, it requests groups only when needed. */
export type SolveRound<Hessian = HostTensor> = (
  groups: AsyncGenerator<LayerGroup<Hessian>, void, undefined>,
  queryOf: QueryOf,
  options: CallOptions,
) => AsyncGenerator<RoundLayer<Hessian>, void, void>;

/** Prunes `source`, replaces each weight in it, and yields the events. `solveRound` solves each round. */
export async function* pruneRounds<Hessian>(
  source: ModelSource<Hessian>,
  query: ModelQuery,
  solveRound: SolveRound<Hessian>,
  options: CallOptions,
): AsyncGenerator<PruneEvent, void, void> {
  const queryOf = typeof query === "function" ? query : () => query;
  const fewTokens = new FewTokens(), dampedQueryOf = fewTokens.withDamping(queryOf);
  const started = performance.now();
  let done = 0;
  yield { type: "start", layers: source.layerCount };
  const groups = untilAborted(source.groups(), options.signal);
  for await (const firstGroup of groups) {
    const round = groupsOfRound(firstGroup, groups, fewTokens);
    for await (const solved of solveRound(round, dampedQueryOf, options)) {
      const { group, name, weight, quantized, kept, mask } = solved;
      await group.replace(name, weight, quantized, kept, mask);
      const report = fewTokens.withNote(name, solved.report);
      const { block, tokens } = group;
      yield { type: "layer", name, block, done: ++done, ...tokens !== undefined && { tokens }, report };
    }
  }
  yield { type: "done", layers: done, seconds: (performance.now() - started) / 1000 };
}

/** Yields `firstGroup` and those of `laterGroups` that are in the same round, and records them in `fewTokens`. */
async function* groupsOfRound<Hessian>(
  firstGroup: LayerGroup<Hessian>,
  laterGroups: AsyncGenerator<LayerGroup<Hessian>, void, undefined>,
  fewTokens: FewTokens,
): AsyncGenerator<LayerGroup<Hessian>, void, undefined> {
  for (let group: LayerGroup<Hessian> | undefined = firstGroup; group;) {
    fewTokens.record(group);
    yield group;
    if (!group.hasMoreInRound) return;
    const next: IteratorResult<LayerGroup<Hessian>, void> = await laterGroups.next();
    group = next.done ? undefined : next.value;
  }
}
