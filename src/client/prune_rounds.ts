/** The loop over the calibration rounds of a source, which the clients of the SDK share. */

import { untilAborted } from "../base/waiting.ts";
import type { CallOptions } from "./transport.ts";
import type { ModelQuery, PruneEvent } from "./model_pruner.ts";
import type { LayerGroup, ModelSource } from "./model_source.ts";
import type { SolveRound } from "./solve_round.ts";

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
