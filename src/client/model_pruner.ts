/** The code that all clients share that prune whole models: the loop over the calibration rounds, its source and its events. */

import { untilAborted } from "../base/waiting.ts";
import type { LayerQuery } from "../protocol/layer_query.ts";
import type { LayerEvent, LayerInputs, QueryOf, SolveRound } from "../protocol/run/solve_round.ts";
import type { HostTensor, QuantizedWeight } from "../tensor/host_tensor.ts";
import type { CallOptions } from "./transport.ts";

/**
 * A model whose layers can be pruned.
 * @typeParam Hessian the form of the statistics. A client that sends layers to a server needs tensors
 */
export interface ModelSource<Hessian = HostTensor> {
  /** Total number of layers in all groups. */
  readonly layerCount: number;
  /**
   * Yields all groups once, in the order in which they must be pruned. A round is one group, or several that
   * `hasMoreInRound` joins. All layers of a round must be replaced before the next round is requested. If the caller
   * leaves the loop early, the source frees its resources.
   */
  groups(): AsyncGenerator<LayerGroup<Hessian>, void, undefined>;
}

/** Linear layers of a source, whose weights can be replaced. */
export interface LayerGroup<Hessian = HostTensor> extends LayerInputs<Hessian> {
  /**
   * Whether the next group belongs to the same calibration round, so that it may be requested and pruned before the
   * layers of this group are replaced. A caller that does so holds the statistics of several groups in memory.
   */
  readonly hasMoreInRound?: boolean;
  /**
   * Replaces the weight of the layer `name` of this group by a pruned weight. A layer may be replaced again.
   * @param quantized the codes and the grid of the weight, if it was quantised. A source may ignore them
   * @param kept the inputs that the weight has, ascending, U32, if its query has the pattern `columns`. The weight is then (out, length of
   *   `kept`), so only a source that knows this parameter can be pruned with this pattern
   * @param mask one bit per weight, 1 where the weight was not pruned: U8 [out, ⌈in/8⌉], if the pruner knows it. Its memory may be freed
   *   after the call
   * @throws {RangeError} if this group has no such layer, if the shape differs, or if the next round has been requested
   */
  replace(
    name: string,
    weight: HostTensor,
    quantized?: QuantizedWeight,
    kept?: HostTensor,
    mask?: HostTensor,
  ): Promise<void>;
}

/** Parameters of a model run: one query for all layers, or a function that returns the query of each layer. */
export type ModelQuery = LayerQuery | QueryOf;

/** Prunes whole models. */
export abstract class ModelPruner<Hessian = HostTensor> {
  /** Solves the layers of one round. @throws as `pruneModel` */
  abstract readonly solveRound: SolveRound<Hessian>;

  /**
   * Prunes the layers of `source`, replaces each weight in `source` as soon as it is solved, and yields the events.
   * @throws {PareError} {ConnectionError} if the server refuses a layer or cannot be reached. Layers that were replaced before stay replaced
   * @throws {MalformedAnswerError} if an answer is not the requested layer
   * @throws {JobFailedError} if jobs solve the layers, and a layer is refused or fails transiently in several jobs
   * @throws the signal's reason as soon as the signal is aborted. `source` may still be executing a step at that time
   */
  async *pruneModel(
    source: ModelSource<Hessian>,
    query: ModelQuery = {},
    options: CallOptions = {},
  ): AsyncGenerator<PruneEvent, void, void> {
    const queryOf = typeof query === "function" ? query : () => query;
    const started = performance.now();
    let done = 0;
    yield { type: "start", layers: source.layerCount };
    const groups = untilAborted(source.groups(), options.signal);
    for await (const firstGroup of groups) {
      const round = groupsOfRound(firstGroup, groups);
      for await (const solved of this.solveRound(round, ({ name }) => queryOf(name), options)) {
        const { layer: { name }, weight, quantized, kept, mask, report } = solved;
        const group = solved.group as LayerGroup<Hessian>; // a solver returns the groups that it was given
        await group.replace(name, weight, quantized, kept, mask);
        const { block, tokens } = group;
        yield { type: "layer", name, block, done: ++done, ...tokens !== undefined && { tokens }, report };
      }
    }
    yield { type: "done", layers: done, seconds: (performance.now() - started) / 1000 };
  }
}

/** The first event. */
export interface StartEvent {
  /** The kind of the event. */
  readonly type: "start";
  /** Number of layers that will be pruned. */
  readonly layers: number;
}

/** The last event: all layers are pruned. */
export interface DoneEvent {
  /** The kind of the event. */
  readonly type: "done";
  /** Number of layers that were pruned. */
  readonly layers: number;
  /** Wall-clock seconds since the start event, including the calibration. */
  readonly seconds: number;
}

/** One event of pruning a model. Its `type` distinguishes the three kinds. */
export type PruneEvent = StartEvent | LayerEvent | DoneEvent;

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
